//! The bounded form of `cargo xtask crash`: some dozens of kills of each store, and bugs put in on purpose.

use std::process::Command;

use csf_tests::Backing;
use serde_json::Value;

use crate::{backings, say};

/// What the program prints, and whether it was content.
fn crash(arguments: &[&str]) -> (Value, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_crash")).args(arguments).arg("--json").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let words = String::from_utf8_lossy(&output.stderr);
    let result = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}{words}"));
    (result, output.status.success())
}

#[track_caller]
fn nothing_is_lost(backend: &str, kills: &str) {
    let (result, is_content) = crash(&["--backend", backend, "--kills", kills, "--seed", "1"]);
    say(&result.to_string());
    assert!(is_content, "{result}");
    for count in ["lost", "duplicated", "steps_twice", "astray"] {
        assert_eq!(result[count], 0, "{result}");
    }
    assert!(result["acknowledged"].as_u64() > Some(20) && result["orders"].as_u64() > Some(2), "{result}");
}

#[test]
fn processes_that_are_killed_on_sqlite_lose_and_double_nothing() {
    nothing_is_lost("sqlite", "40");
}

#[test]
fn processes_and_servers_that_are_killed_on_postgresql_lose_and_double_nothing() {
    if backings().contains(&Backing::Servers) {
        nothing_is_lost("postgres", "24");
    }
}

#[test]
fn processes_that_are_killed_while_their_log_waits_for_postgresql_lose_and_double_nothing() {
    if backings().contains(&Backing::Servers) {
        nothing_is_lost("postgres-spool", "20");
    }
}

#[test]
fn processes_and_servers_that_are_killed_on_jetstream_lose_and_double_nothing() {
    if backings().contains(&Backing::Servers) {
        nothing_is_lost("jetstream", "24");
    }
}

#[test]
fn an_answer_before_the_commit_is_found() {
    let (result, is_content) =
        crash(&["--backend", "sqlite", "--kills", "20", "--seed", "1", "--plant", "early-acknowledgement"]);
    assert!(!is_content && result["lost"].as_u64() > Some(0), "{result}");
}

#[test]
fn events_that_are_published_after_the_commit_are_missed() {
    let (result, is_content) =
        crash(&["--backend", "sqlite", "--kills", "30", "--seed", "1", "--plant", "detached-publish"]);
    assert!(!is_content && result["lost"].as_u64() > Some(0), "{result}");
}

#[test]
fn a_step_that_is_tried_again_under_another_key_is_found() {
    let (result, is_content) = crash(&["--backend", "sqlite", "--kills", "20", "--seed", "1", "--plant", "new-keys"]);
    assert!(!is_content && result["steps_twice"].as_u64() > Some(0), "{result}");
}
