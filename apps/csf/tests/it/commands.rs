//! Every command of the command line, for people and with `--json`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::scratch::Scratch;
use crate::world::{Running, csf, failure, json, repository, run, text};

#[test]
fn a_running_node_can_be_watched_fed_and_asked() {
    let state = Scratch::new();
    let _node = Running::demo(&state);

    let status = json(&state, &["status", "--json"]);
    assert_eq!((&status["node"]["name"], &status["node"]["state"]), (&"demo".into(), &"running".into()));
    assert!(text(&state, &["status"]).contains("fusion"));

    let receipt = json(&state, &["pub", "nav.land", r#"{"measured_at_ns":1,"is_landed":true}"#, "--json"]);
    let id = receipt["id"].as_str().unwrap();
    let last: Value = serde_json::from_str(&text(&state, &["sub", "nav.land", "-n", "1", "--json"])).unwrap();
    assert_eq!((last["id"].as_str(), last["author"].as_str()), (Some(id), Some("api")));
    assert!(text(&state, &["sub", "nav.phase", "-n", "1"]).contains("nav.phase"));

    let mut tap = csf(&state, &["tap", "host.*", "--where", "load_1m >= 0", "-n", "2", "--json"]);
    let mut tap = tap.stdout(Stdio::piped()).spawn().unwrap();
    let lines: Vec<String> = BufReader::new(tap.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    assert!(tap.wait().unwrap().success());
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|l| l.contains("host.cpu")), "only processor packets have that field: {lines:?}");

    let why = json(&state, &["why", "nav.state", "--json"]);
    assert_eq!(why["causes"][0]["packet"]["topic"], "nav.imu");
    let id = why["packet"]["id"].as_str().unwrap();
    assert!(text(&state, &["why", id]).contains("remembered"));
    assert!(json(&state, &["trace", id, "--json"])["effects"].to_string().contains("nav.score"));

    assert!(failure(&state, &["pub", "nav.lnd", "{}"]).contains("did you mean `nav.land`"));
    assert!(failure(&state, &["pub", "nav.land", "{}"]).contains("CSF-0305"));
    assert!(failure(&state, &["why", "nothing"]).contains("CSF-0306"));
    assert!(failure(&state, &["tap", "nav.state", "--where", "a ==="]).contains("CSF-0307"));
}

#[test]
fn without_a_node_the_remedy_is_named() {
    let state = Scratch::new();
    let stderr = failure(&state, &["status"]);
    assert!(stderr.contains("CSF-0308") && stderr.contains("csf up --demo"), "{stderr}");
}

#[test]
fn a_topology_can_be_checked_and_drawn_before_it_runs() {
    let state = Scratch::new();
    assert_eq!(json(&state, &["validate", "--demo", "--json"])["problems"], Value::Array(Vec::new()));
    assert!(text(&state, &["graph", "--demo"]).contains("fusion"));
    assert!(text(&state, &["graph", "--demo", "--format", "dot"]).starts_with("digraph"));
    assert!(text(&state, &["graph", "--demo", "--format", "mermaid"]).starts_with("flowchart"));
    assert!(json(&state, &["graph", "--demo", "--json"])["nodes"].as_array().unwrap().len() >= 7);
}

#[test]
fn a_value_says_where_it_comes_from() {
    let state = Scratch::new();
    state.write("csf.toml", "[node]\nname = \"ground\"\n");
    let shown = text(&state, &["config", "show", "--origin", "--set", "node.listen=\"127.0.0.1:9\""]);
    let line = |key: &str| shown.lines().find(|l| l.contains(key)).unwrap_or_else(|| panic!("{key} in\n{shown}"));
    assert!(line("name").contains("csf.toml:2"), "{shown}");
    assert!(line("listen").contains("flags"), "{shown}");
    assert!(json(&state, &["config", "show", "--origin", "--json"]).to_string().contains("csf.toml"));
    assert!(json(&state, &["config", "schema"]).to_string().contains("avionics.fusion"));
}

#[test]
fn the_machine_and_every_error_can_be_asked_about() {
    let state = Scratch::new();
    let doctor = json(&state, &["doctor", "--demo", "--json"]);
    assert!(doctor["findings"].as_array().unwrap().len() >= 3, "{doctor}");
    for entry in std::fs::read_dir(repository().join("docs/errors")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let code = name.trim_end_matches(".md");
        assert!(text(&state, &["explain", code]).contains(code));
    }
    assert!(json(&state, &["explain", "CSF-0201", "--json"])["code"] == "CSF-0201");
    assert!(!run(&state, &["explain", "CSF-nope"]).status.success());
}

#[test]
fn every_shell_gets_its_completions() {
    let state = Scratch::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(text(&state, &["completions", shell]).contains("replay"), "{shell}");
    }
    assert!(json(&state, &["completions", "bash", "--json"]).to_string().contains("replay"));
}

#[test]
fn every_command_says_what_it_is_for() {
    let state = Scratch::new();
    let help = text(&state, &["help"]);
    for command in [
        "up",
        "new",
        "validate",
        "graph",
        "status",
        "pub",
        "sub",
        "tap",
        "why",
        "trace",
        "replay",
        "export",
        "doctor",
        "bench",
        "explain",
        "config",
        "completions",
    ] {
        assert!(
            help.lines().any(|l| l.trim_start().starts_with(&format!("{command} "))),
            "{command} is not in\n{help}"
        );
        assert!(text(&state, &["help", command]).contains("--json") || command == "config", "{command} has no --json");
    }
}

#[test]
fn a_new_project_is_written_once_and_names_what_comes_next() {
    let state = Scratch::new();
    let dry = json(&state, &["new", "busy-alarm", "--dry-run", "--json"]);
    assert_eq!(dry["written"], false);
    assert!(!state.join("busy-alarm").exists());
    let output = run(&state, &["new", "busy-alarm"]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stderr).contains("cargo test"));
    for file in ["Cargo.toml", "csf.toml", "csf.schema.json", "src/main.rs", "src/alarm.rs"] {
        assert!(state.join("busy-alarm").join(file).exists(), "{file}");
    }
    assert!(failure(&state, &["new", "busy-alarm"]).contains("exists already"));
    failure(&state, &["new", "Not A Name"]);
}
