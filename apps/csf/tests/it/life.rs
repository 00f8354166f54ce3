//! How a node's life ends: signals at every moment of its start and under load.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use csf_core::port::JournalReader;
use csf_data::SqliteReader;
use csf_sim::SeededRng;
use serde_json::Value;

use crate::scratch::Scratch;
use crate::world::{Running, csf, failure, json, run};

/// Lines that a start prints: one for each of its eleven phases.
const PHASES: u64 = 11;

fn kill(child: &Child, name: &str) {
    // It may have ended by itself meanwhile.
    let _ = Command::new("kill").args([name, &child.id().to_string()]).stderr(Stdio::null()).status();
}

/// A signal after a seeded number of phases and a seeded number of turns after that.
#[test]
fn a_signal_at_any_moment_of_the_start_ends_it_in_order() {
    let mut untouched = 0;
    for seed in 0..24 {
        let mut rng = SeededRng::new(seed);
        let state = Scratch::new();
        let journal = state.join("journal").display().to_string();
        let mut child = csf(&state, &["up", "--demo", "--listen", "127.0.0.1:0", "--journal", &journal])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (phases, turns) = (rng.below(PHASES + 1), rng.below(20_000));
        let mut said = String::new();
        for _ in 0..phases {
            assert!(lines.read_line(&mut said).unwrap() > 0, "seed {seed}: the node ended early\n{said}");
        }
        (0..turns).for_each(|_| std::thread::yield_now());
        kill(&child, if rng.below(2) == 0 { "-INT" } else { "-TERM" });
        lines.read_to_string(&mut said).unwrap();
        let code = child.wait().unwrap().code();
        if code.is_none() {
            // The signal came before the listeners: then nothing was touched yet.
            assert!(
                phases == 0 && !state.join("journal").exists(),
                "seed {seed}: killed after {phases} phases\n{said}"
            );
            untouched += 1;
            continue;
        }
        assert_eq!(code, Some(0), "seed {seed}, after {phases} phases\n{said}");
        assert!(!state.join("journal/api.token").exists(), "seed {seed}: the token stays behind");
        let nodes = std::fs::read_dir(state.join("nodes")).into_iter().flatten().count();
        assert_eq!(nodes, 0, "seed {seed}: the node's file stays behind");
        if phases > 4 {
            // Phase 4 has written the start into the journal.
            assert_eq!(json(&state, &["replay", &journal, "--json"])["equal"], true, "seed {seed}");
        }
    }
    assert!(untouched < 12, "{untouched} of 24 signals came before anything");
}

/// What is published under load.
const LAND: &str = r#"{"measured_at_ns":7,"is_landed":true}"#;

/// What a publisher has in writing.
#[derive(Default)]
struct Receipts {
    durable: Vec<String>,
    refused: usize,
}

/// Publishes until it is refused or the node is gone; `published` counts along.
fn publish_until_refused(address: &str, token: &str, published: &AtomicU64) -> Receipts {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut receipts = Receipts::default();
    let land: Value = serde_json::from_str(LAND).unwrap();
    loop {
        let sent = agent
            .post(format!("http://{address}/api/v1/topics/nav.land"))
            .header("authorization", format!("Bearer {token}"))
            .send_json(serde_json::json!({ "payload": land }));
        // The node is gone; this request was not accepted, or the journal would hold more than there are receipts.
        let Ok(mut response) = sent else { return receipts };
        let wait = response.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse::<u32>().ok());
        let status = response.status();
        let answer: Value = response.body_mut().read_json().unwrap();
        if status == 503 {
            assert_eq!((answer["error"]["code"].as_str(), wait), (Some("CSF-0310"), Some(5)), "{answer}");
            receipts.refused += 1;
            return receipts;
        }
        assert_eq!((status.as_u16(), answer["durability"].as_str()), (200, Some("disk")), "{answer}");
        receipts.durable.push(answer["id"].as_str().unwrap().to_owned());
        published.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_stop_under_load_answers_what_it_accepted_and_loses_no_receipt() {
    let state = Scratch::new();
    let journal = state.join("journal");
    let up = ["up", "--demo", "--speed", "20", "--listen", "127.0.0.1:0", "--journal", &journal.display().to_string()];
    let mut node = Running::up(&state, &up);
    let (address, token, published) = (node.address.clone(), node.token(&state), AtomicU64::new(0));
    let (receipts, by_command) = std::thread::scope(|scope| {
        let publish = || publish_until_refused(&address, &token, &published);
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(publish)).collect();
        let commands = scope.spawn(|| {
            let mut ids = Vec::new();
            loop {
                let sent = run(&state, &["pub", "nav.land", LAND, "--json"]);
                let Ok(receipt) = serde_json::from_slice::<Value>(&sent.stdout) else { return ids };
                ids.push(receipt["id"].as_str().unwrap().to_owned());
                published.fetch_add(1, Ordering::SeqCst);
            }
        });
        while published.load(Ordering::SeqCst) < 50 {
            std::thread::yield_now();
        }
        node.signal("-TERM");
        let receipts: Vec<Receipts> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        (receipts, commands.join().unwrap())
    });
    assert_eq!(node.end().0, Some(0));
    let mut reader = SqliteReader::open_read_only(&journal).unwrap();
    let ids: Vec<String> = receipts.iter().flat_map(|r| r.durable.clone()).chain(by_command).collect();
    for id in &ids {
        let found = reader.packet(id.parse().unwrap()).unwrap();
        assert!(found.is_some(), "{id} was acknowledged as durable and is not in the journal");
    }
    let lanes: Vec<_> =
        reader.lanes().unwrap().into_iter().filter(|l| l.topic == "nav.land" && l.author == "api").collect();
    let kept: usize = lanes.iter().map(|l| reader.lane(l.id, 0, 1_000_000).unwrap().len()).sum();
    assert_eq!(kept, ids.len(), "every request that was accepted got its receipt");
    let replayed = json(&state, &["replay", &journal.display().to_string(), "--json"]);
    assert_eq!(replayed["equal"], true);
}

#[test]
fn an_emergency_ends_the_process_with_the_code_of_its_reason_and_saves_the_journal() {
    for (fault, code) in [("panic", 101), ("critical", 102), ("exhausted", 103), ("breach", 104)] {
        let state = Scratch::new();
        let journal = state.join("journal").display().to_string();
        let up = ["up", "--demo", "--listen", "127.0.0.1:0", "--journal", &journal, "--fault", fault];
        let ended = run(&state, &up);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(code), "{fault}\n{said}");
        for line in
            ["emergency stop, ", "journal: the node was running, its journal is durable to position", "final state: "]
        {
            assert!(said.contains(line), "{fault}: no `{line}` in\n{said}");
        }
        assert!(!state.join("journal/api.token").exists(), "{fault}: the token stays behind");
        assert_eq!(json(&state, &["replay", &journal, "--json"])["equal"], true, "{fault}");
    }
}

#[test]
fn a_task_that_panics_is_left_to_its_supervisor() {
    let state = Scratch::new();
    let mut child = csf(&state, &["up", "--demo", "--listen", "127.0.0.1:0", "--fault", "panic-task"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while said.matches("left to its supervisor: seeded with --fault").count() < 3 {
        assert!(lines.read_line(&mut said).unwrap() > 0, "the node ended\n{said}");
    }
    kill(&child, "-TERM");
    lines.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert!(!said.contains("emergency"), "{said}");
}

#[test]
fn persisted_state_is_proved_at_the_next_start_and_a_damaged_file_is_named() {
    let state = Scratch::new();
    let journal = state.join("journal").display().to_string();
    let key = format!("k1=file:{}", state.write("key", "5a".repeat(32)));
    let up = ["up", "--demo", "--speed", "50", "--for", "1s", "--listen", "127.0.0.1:0", "--journal", &journal];
    let with_key = [&up[..], &["--state-key", &key]].concat();
    let said = |arguments: &[&str]| {
        let ended = run(&state, arguments);
        assert!(ended.status.success());
        String::from_utf8(ended.stderr).unwrap()
    };
    assert!(said(&with_key).contains("states sealed at"));
    let second = said(&with_key);
    assert!(second.contains("5 of 5 components equal"), "{second}");
    let sets = std::fs::read_dir(state.join("journal/state")).unwrap().flatten().map(|e| e.path());
    let damaged = sets.max().unwrap().join("fusion.state");
    std::fs::write(&damaged, "not a state").unwrap();
    let third = said(&with_key);
    assert!(third.contains("CSF-0211") && third.contains("fusion.state is damaged"), "{third}");
    let refused = failure(&state, &[&up[..], &["--state-key", "k1=file:/no/such/key"]].concat());
    assert!(refused.contains("CSF-0211") && refused.contains("/no/such/key"), "{refused}");
}
