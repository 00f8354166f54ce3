//! `csf doctor` on real nodes with seeded faults: it names the cause (FAB-120 to FAB-122).

use serde_json::Value;

use crate::scratch::Scratch;
use crate::world::{Running, run};

/// Looks at a node until a diagnosis holds: a fault takes some traffic to show.
const LOOKS: usize = 60;

fn node(state: &Scratch, fault: &[&str]) -> Running {
    let demo = ["up", "--demo", "--for", "600s", "--speed", "10", "--listen", "127.0.0.1:0"];
    Running::up(state, &[&demo, fault].concat())
}

fn findings(state: &Scratch, scope: &str) -> Vec<Value> {
    let output = run(state, &["doctor", scope, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("doctor {scope} printed no JSON: {e}\n{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(report["ok"].as_bool(), Some(output.status.success()), "the exit code is the verdict");
    report["findings"].as_array().unwrap().clone()
}

/// The detail of the first finding of this kind that is not ok.
fn diagnosis(state: &Scratch, scope: &str, check: &str) -> String {
    for _ in 0..LOOKS {
        let found = findings(state, scope).into_iter().find(|f| f["check"] == check && f["ok"] == false);
        if let Some(finding) = found {
            assert!(!finding["fix"].as_str().unwrap().is_empty(), "a finding comes with its fix");
            return finding["detail"].as_str().unwrap().to_owned();
        }
    }
    panic!("doctor {scope} never spoke of {check}: {:#?}", findings(state, scope));
}

#[test]
fn a_slow_subscriber_is_named_with_its_topic() {
    let state = Scratch::new();
    let _node = node(&state, &["--fault", "slow-subscriber"]);
    let detail = diagnosis(&state, "latency", "slow subscriber");
    assert!(detail.starts_with("`fault:slow-subscriber` is ") && detail.contains(" packets behind on `"), "{detail}");
    assert!(diagnosis(&state, "memory", "slow subscriber").contains("fault:slow-subscriber"));
}

#[test]
fn a_clock_without_the_counter_is_named_with_its_reason() {
    let state = Scratch::new();
    let _node = node(&state, &["--fault", "no-tsc"]);
    for scope in ["latency", "time"] {
        let detail = diagnosis(&state, scope, "clock");
        assert!(detail.contains("it was switched off with --fault no-tsc"), "{scope}: {detail}");
    }
}

#[test]
fn large_payloads_are_named_with_their_size() {
    let state = Scratch::new();
    let _node = node(&state, &["--fault", "large-payload"]);
    for scope in ["latency", "memory"] {
        let detail = diagnosis(&state, scope, "large payload");
        assert!(detail.contains("`fault.large-payload`") && detail.contains("8.0 MiB"), "{scope}: {detail}");
    }
    let memory = findings(&state, "memory");
    let largest = memory.iter().find(|f| f["check"] == "stream").unwrap();
    assert!(largest["detail"].as_str().unwrap().starts_with("fault.large-payload holds about"), "{largest}");
}

#[test]
fn skew_and_violations_are_named_by_stream() {
    let state = Scratch::new();
    let skewed = node(&state, &["--fault", "skew"]);
    let detail = diagnosis(&state, "time", "skew");
    assert!(detail.starts_with("stamps on `fault.skew` run ") && detail.contains(" ms ahead"), "{detail}");
    drop(skewed);
    let _violating = node(&state, &["--fault", "violation"]);
    let detail = diagnosis(&state, "time", "causal order");
    assert!(detail.starts_with("`fault.violation`: "), "{detail}");
}

#[test]
fn a_node_without_faults_is_in_time_and_has_no_slow_subscriber() {
    let state = Scratch::new();
    let _node = node(&state, &[]);
    for scope in ["latency", "memory", "time"] {
        for finding in findings(&state, scope) {
            let symptom = finding["check"] == "health";
            assert!(finding["ok"] == true || symptom, "{scope}: {finding}");
        }
    }
}
