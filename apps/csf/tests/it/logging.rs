//! The log of a start: what was said before the configuration is in the final sink, in order.

use std::fs;

use crate::scratch::Scratch;
use crate::world::{failure, run};

const CONFIG: &str = "[source.host]\ntype = \"host.telemetry\"\nwrites = { cpu = \"host.cpu\" }\n";

/// The start's lines, by what they must contain, in this order.
const START: [&str; 5] =
    ["csf begins", "reading the configuration", "name=\"pre-flight\"", "name=\"configuration\"", "name=\"data\""];

fn in_order(text: &str) -> bool {
    let places: Vec<Option<usize>> = START.iter().map(|words| text.find(words)).collect();
    places.iter().all(Option::is_some) && places.is_sorted()
}

fn up(state: &Scratch, more: &[&str]) -> (bool, String) {
    let arguments = ["up", "--listen", "127.0.0.1:0", "--for", "1s", "--journal", "journal"];
    let output = run(state, &[&arguments[..], more].concat());
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn lines_from_before_the_configuration_are_in_the_final_sink() {
    let state = Scratch::new();
    fs::write(state.join("csf.toml"), CONFIG).unwrap();
    let (is_ok, stderr) = up(&state, &["--verbose", "--log-file", "node.log"]);
    let log = fs::read_to_string(state.join("node.log")).unwrap();
    assert!(is_ok, "{stderr}");
    assert!(in_order(&log), "{log}");
    assert!(!stderr.contains("csf begins"), "{stderr}");

    let (_, stderr) = up(&state, &["--verbose"]);
    assert!(in_order(&stderr), "{stderr}");
    assert_eq!(fs::read_to_string(state.join("node.log")).unwrap(), log, "the file was not named");
}

#[test]
fn a_start_that_fails_before_its_configuration_still_says_what_it_said() {
    let state = Scratch::new();
    fs::write(state.join("csf.toml"), "[nonsense]\n").unwrap();
    let (is_ok, stderr) = up(&state, &["--verbose"]);
    assert!(!is_ok && stderr.contains("csf begins") && stderr.contains("reading the configuration"), "{stderr}");
    let (_, stderr) = up(&state, &[]);
    assert!(!stderr.contains("csf begins"), "nobody asked for it\n{stderr}");
}

#[test]
fn a_log_file_that_cannot_be_written_is_refused_before_anything_starts() {
    let state = Scratch::new();
    fs::write(state.join("csf.toml"), CONFIG).unwrap();
    let stderr = failure(&state, &["up", "--journal", "journal", "--log-file", "nowhere/node.log"]);
    assert!(stderr.contains("CSF-0220"), "{stderr}");
    assert!(!state.join("journal").exists());
}
