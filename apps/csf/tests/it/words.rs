//! What commands say to people, where other tests ask for JSON.

use serde_json::Value;

use crate::scratch::Scratch;
use crate::world::{Running, failure, json, run, text};

#[test]
fn a_finished_run_is_replayed_and_exported() {
    let state = Scratch::new();
    let journal = state.join("journal").display().to_string();
    let flown = ["up", "--demo", "--speed", "max", "--json", "--listen", "127.0.0.1:0", "--journal", &journal];
    let samples = json(&state, &flown)["samples"].as_u64().unwrap();

    let told = text(&state, &["replay", &journal]);
    assert!(told.contains("(this one)") && told.contains("equal bit for bit"), "{told}");

    let file = state.join("flight.mcap");
    let place = file.display().to_string();
    let exported = json(&state, &["export", &journal, "--mcap", &place, "--json"]);
    let bytes = std::fs::read(&file).unwrap();
    let messages: Vec<_> = mcap::MessageStream::new(&bytes).unwrap().map(Result::unwrap).collect();
    assert_eq!(exported["messages"], messages.len() as u64);
    assert_eq!(messages.iter().filter(|m| m.channel.topic == "nav.imu").count() as u64, samples);
    let imu = messages.iter().find(|m| m.channel.topic == "nav.imu").unwrap();
    let payload: Value = serde_json::from_slice(&imu.data).unwrap();
    assert!(payload.is_object() && imu.channel.schema.as_ref().unwrap().encoding == "jsonschema", "{payload}");
    let told = text(&state, &["export", &journal, "--mcap", &place, "--topics", "nav.imu"]);
    assert!(told.contains(&samples.to_string()), "{told}");
    assert!(failure(&state, &["export", &journal, "--mcap", "/nowhere/flight.mcap"]).contains("CSF-0210"));
}

#[test]
fn a_packet_is_published_and_a_doctor_asked_in_words() {
    let state = Scratch::new();
    let _node = Running::demo(&state);
    let landed = r#"{"measured_at_ns":1,"is_landed":true}"#;
    let told = text(&state, &["pub", "nav.land", landed, "--dry-run"]);
    assert!(told.contains("nothing was published"), "{told}");
    assert!(text(&state, &["pub", "nav.land", landed]).contains("durability disk"));
    assert!(failure(&state, &["pub", "nav.land", "{"]).contains("CSF-0305"));
    let output = run(&state, &["doctor", "memory"]);
    assert!(String::from_utf8(output.stdout).unwrap().lines().any(|line| line.starts_with("ok  ")));
}

#[test]
fn a_doctor_names_what_is_wrong_with_a_configuration() {
    let state = Scratch::new();
    let bad = state.write("bad.toml", "[node]\nnmae = \"x\"\n");
    let output = run(&state, &["doctor", "config", "--config", &bad]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && told.contains("FAIL configuration") && told.contains("fix: "), "{told}");
    let journal = state.join("journal").display().to_string();
    let good = state.write("good.toml", format!("[node]\njournal = \"{journal}\"\n"));
    let told = text(&state, &["doctor", "config", "--config", &good, "--json"]);
    assert!(told.contains("will be made"), "{told}");

    let output = run(&state, &["validate", "--config", &bad, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["valid"]), (Some(2), &false.into()));
    assert_eq!(report["problems"][0]["place"]["line"], 2, "{report}");
}
