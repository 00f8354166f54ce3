//! FRM-095: a node whose store is cut off under load says that it is degraded, fails no request, and is healthy again soon.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use csf_tests::{NatsServer, PostgresServer, Proxy};
use serde_json::json;

use crate::http::Request;
use crate::scratch::Scratch;
use crate::stores::available;
use crate::world::{Running, json as run_json};

/// How long the store is away.
const PARTITION: Duration = Duration::from_secs(5);
/// How long the node may take to be healthy again.
const RECOVERY: Duration = Duration::from_secs(30);
/// Users at once.
const USERS: u64 = 100;

/// Users that append events and look at them, each one request after the other.
struct Load {
    users: Vec<JoinHandle<u64>>,
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

/// FRM-095 names it so.
fn start_background_load(users: u64, address: &str, token: &str) -> Load {
    let (is_over, answered, failed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let user = |user: u64| {
        let (is_over, answered, failed) = (is_over.clone(), answered.clone(), failed.clone());
        let (address, token) = (address.to_owned(), token.to_owned());
        std::thread::spawn(move || {
            let mut appended = 0;
            while !is_over.load(Ordering::Relaxed) {
                let path = format!("/api/v1/streams/user-{user}");
                let body =
                    json!({ "events": [{ "kind": "clicked", "data": appended }], "expected": { "exactly": appended } });
                let answer = Request::post(&path, body).bearer(&token).send(&address);
                if answer.status == 201 {
                    appended += 1;
                } else {
                    let status = answer.status;
                    eprintln!("user {user}: {status} {}", answer.text());
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                let path = format!("/api/v1/events?stream=user-{user}&limit=1&direction=backward");
                let answer = Request::get(&path).bearer(&token).send(&address);
                let newest = answer.json()["events"][0]["version"].as_u64();
                if newest != Some(appended) {
                    eprintln!("user {user}: {newest:?} after {appended}");
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                answered.fetch_add(2, Ordering::Relaxed);
            }
            appended
        })
    };
    Load { users: (0..users).map(user).collect(), is_over, answered, failed }
}

impl Load {
    /// Ends it; events appended by user, and failed requests.
    fn stop(self) -> (Vec<u64>, u64) {
        self.is_over.store(true, Ordering::Relaxed);
        let appended = self.users.into_iter().map(|user| user.join().unwrap()).collect();
        (appended, self.failed.load(Ordering::Relaxed))
    }
}

#[expect(clippy::disallowed_methods, reason = "the limits of FRM-095 are real time")]
fn now() -> Instant {
    Instant::now()
}

/// Asks until the answer is this; panics after `limit`.
#[track_caller]
fn wait_for_status(state: &Scratch, wanted: &str, limit: Duration) {
    let begun = now();
    loop {
        let health = run_json(state, &["status", "--json"])["health"].clone();
        if health["overall_status"] == wanted {
            return;
        }
        assert!(begun.elapsed() < limit, "not {wanted} within {limit:?}: {health}");
    }
}

fn test_system_resilience(proxy: &Proxy, journal: &str) {
    let state = Scratch::new();
    let config = state.join("node.toml");
    std::fs::write(&config, "[node]\nname = \"resilient\"\n").unwrap();
    let arguments = ["up", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0", "--journal", journal];
    let node = Running::up(&state, &arguments);
    wait_for_status(&state, "healthy", RECOVERY);
    let load = start_background_load(USERS, &node.address, &node.token(&state));
    let begun = now();
    while load.answered.load(Ordering::Relaxed) < 2 * USERS {
        assert!(begun.elapsed() < RECOVERY, "there is no load");
    }

    let begun = now();
    proxy.part();
    wait_for_status(&state, "degraded", PARTITION);
    let during = load.answered.load(Ordering::Relaxed);
    while begun.elapsed() < PARTITION {
        std::thread::yield_now();
    }
    let answered = load.answered.load(Ordering::Relaxed) - during;
    let away = run_json(&state, &["status", "--json"])["node"]["journal"]["away"].clone();
    proxy.join();
    wait_for_status(&state, "healthy", RECOVERY);

    let (appended, failed) = load.stop();
    assert_eq!(failed, 0);
    assert!(away["spooled_bytes"].as_u64() > Some(1_000), "{away}");
    assert!(answered > USERS, "only {answered} answers while the store was away");
    drop(node);
    // The store itself has everything, once.
    let mut stored = vec![Vec::new(); appended.len()];
    let mut from = 1;
    loop {
        let first = from.to_string();
        let page = ["events", "ls", "--journal", journal, "--from", &first, "--limit", "1000", "--json"];
        let page = run_json(&state, &page);
        let Some(last) = page.as_array().unwrap().last() else { break };
        from = last["position"].as_u64().unwrap() + 1;
        for event in page.as_array().unwrap() {
            let user =
                event["stream"].as_str().unwrap().strip_prefix("user-").map(|user| user.parse::<usize>().unwrap());
            user.into_iter().for_each(|user| stored[user].push(event["data"].as_u64().unwrap()));
        }
    }
    for (user, (stored, appended)) in stored.into_iter().zip(appended).enumerate() {
        assert_eq!(stored, (0..appended).collect::<Vec<_>>(), "user {user}");
    }
}

#[test]
fn test_system_resilience_with_postgresql_cut_off() {
    let Some(server) = available(PostgresServer::start("")) else { return };
    let proxy = Proxy::start(server.address()).unwrap();
    test_system_resilience(&proxy, &format!("postgresql://csf@{}/postgres?schema=resilient", proxy.address()));
}

#[test]
fn test_system_resilience_with_jetstream_cut_off() {
    let folder = Scratch::new();
    let Some(server) = available(NatsServer::start(Path::new(folder.path()), "")) else { return };
    let proxy = Proxy::start(server.address()).unwrap();
    test_system_resilience(&proxy, &format!("nats://{}/resilient", proxy.address()));
}
