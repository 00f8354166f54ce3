//! A node whose journal is on a server: run, killed, read from outside, replayed and continued.

use std::path::Path;

use csf_tests::{NatsServer, PostgresServer, TestError};

use crate::scratch::Scratch;
use crate::world::{Running, failure, json, text};

/// Nothing where the server is not installed; that is told, or an error where it must be there.
pub(crate) fn available<S>(started: Result<S, TestError>) -> Option<S> {
    match started {
        Ok(server) => Some(server),
        Err(missing @ TestError::NotInstalled { .. }) if std::env::var("CSF_TEST_SERVERS").is_err() => {
            eprintln!("SKIPPED: {missing}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn demo(state: &Scratch, journal: &str) -> Running {
    let mut node =
        Running::up(state, &["up", "--demo", "--speed", "20", "--listen", "127.0.0.1:0", "--journal", journal]);
    while !node.line().starts_with("prove it") {}
    node
}

fn lives_on(journal: &str, words: &str, durability: &str) {
    let state = Scratch::new();
    let mut node = demo(&state, journal);
    let status = json(&state, &["status", "--json"]);
    assert_eq!(status["node"]["journal"]["place"], words);
    let receipt = json(&state, &["events", "append", "order-1", "placed", "1", "--json"]);
    assert_eq!(receipt["durability"], durability);
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    drop(node);

    let events = json(&state, &["events", "ls", "--journal", journal, "--stream", "order-1", "--json"]);
    assert_eq!(events[0]["data"], 1);
    let replayed = json(&state, &["replay", journal, "--json"]);
    assert_eq!(replayed["equal"], true, "{replayed}");
    assert!(replayed["report"]["deliveries"].as_u64() > Some(1_000), "{replayed}");

    let mut node = demo(&state, journal);
    let again = json(&state, &["status", "--json"]);
    assert_eq!(again["node"]["incarnation"], 2);
    assert!(again["node"]["resumed"]["deliveries"].as_u64() > Some(1_000), "{again}");
    assert!(text(&state, &["events", "append", "order-1", "paid", "2", "--expected", "1"]).contains("order-1@2"));
    node.signal("-TERM");
    assert_eq!(node.end().0, Some(0));
}

#[test]
fn a_node_lives_on_in_postgresql() {
    let Some(server) = available(PostgresServer::start("")) else { return };
    let base = format!("postgresql://csf@{}/postgres", server.address());
    lives_on(&format!("{base}?schema=flight"), &format!("{base}?schema=flight"), "disk");
}

#[test]
fn a_node_lives_on_in_jetstream() {
    let folder = Scratch::new();
    let Some(server) = available(NatsServer::start(Path::new(folder.path()), "")) else { return };
    let url = format!("nats://{}/flight", server.address());
    lives_on(&url, &url, "os");
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let state = Scratch::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let said = failure(&state, &["events", "ls", "--journal", &format!("postgresql://csf@127.0.0.1:{port}/none")]);
    assert!(said.contains("127.0.0.1"), "{said}");
    let said = failure(&state, &["up", "--demo", "--journal", "postgresql://csf:secret@127.0.0.1/none"]);
    assert!(said.contains("PGPASSWORD") && !said.contains("secret"), "{said}");
}
