//! The JSON Schema that editors check configurations with: it is not stale, admits what is right and refuses what is wrong.

use std::path::Path;

use jsonschema::Validator;
use serde_json::Value;

use crate::scratch::Scratch;
use crate::world::{json, repository, run};

const RENEW: &str = "cargo run -p csf -- config schema > docs/formats/csf.schema.json";

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft7::meta::validate(schema).unwrap();
    jsonschema::draft7::new(schema).unwrap()
}

fn committed() -> Validator {
    validator(&serde_json::from_str(&read(repository().join("docs/formats/csf.schema.json"))).unwrap())
}

/// What the schema says against a TOML text.
fn findings(validator: &Validator, toml: &str) -> Vec<String> {
    let value = serde_json::to_value(toml::from_str::<toml::Table>(toml).unwrap()).unwrap();
    validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The text between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    text.split_once(from)?.1.split_once(to).map(|(inside, _)| inside)
}

#[test]
fn the_committed_schema_is_what_the_code_says() {
    let state = Scratch::new();
    let committed: Value = serde_json::from_str(&read(repository().join("docs/formats/csf.schema.json"))).unwrap();
    assert!(
        committed == json(&state, &["config", "schema"]),
        "docs/formats/csf.schema.json is stale; renew it: {RENEW}"
    );
}

#[test]
fn what_we_ship_fits_the_schema() {
    assert_eq!(findings(&committed(), &read(repository().join("apps/csf/src/demo.toml"))), [""; 0]);
    let state = Scratch::new();
    // A new project's schema admits the pack that is still to be written.
    for (project, text) in [("busy-alarm", None), ("house", Some("examples/src/bin/02_component_and_replay.rs"))] {
        assert!(run(&state, &["new", project]).status.success());
        let folder = state.join(project);
        let toml = read(folder.join("csf.toml"));
        assert!(toml.starts_with("#:schema ./csf.schema.json\n"), "{toml}");
        let schema = validator(&serde_json::from_str(&read(folder.join("csf.schema.json"))).unwrap());
        assert_eq!(findings(&schema, &toml), [""; 0]);
        assert!(!findings(&schema, &toml.replace("host.telemetry", "host.telemetri")).is_empty(), "its pack is known");
        assert!(!findings(&committed(), &toml).is_empty(), "{project} is in no pack of this binary");
        if let Some(example) = text {
            let source = read(repository().join(example));
            assert_eq!(findings(&schema, between(&source, "const CONFIG: &str = r#\"", "\"#").unwrap()), [""; 0]);
        }
    }
    for page in ["resilience.md", "supervision.md"] {
        let page = read(repository().join("docs/book/src").join(page));
        let blocks: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!blocks.is_empty());
        for block in blocks {
            assert_eq!(findings(&committed(), block), [""; 0], "{block}");
        }
    }
}

const SMALL: &str = "[service.machine]\ntype = \"host.telemetry\"\nwrites = { cpu = \"host.cpu\" }\n";

#[test]
fn known_mistakes_are_refused_by_the_schema_and_by_the_reader() {
    let state = Scratch::new();
    let schema = committed();
    let both = |toml: &str| {
        std::fs::write(state.join("csf.toml"), toml).unwrap();
        (findings(&schema, toml).is_empty(), run(&state, &["validate"]).status.success())
    };
    assert_eq!(both(SMALL), (true, true));
    let machine = |lines: &str| format!("{SMALL}{lines}\n");
    for fine in [
        "stop_within = \"2 min\"",
        "restart = { policy = \"permanent\", at_most = 0, backoff = false }",
        "restart = { backoff = { min = \"1µs\", factor = 3, jitter = 0.5 } }",
        "[topic.\"host.cpu\"]\ncapacity = 4096\nresilience = \"gate\"\n[resilience.gate]\ncircuit_breaker = { half_open_max = 3 }",
    ] {
        assert_eq!(both(&machine(fine)), (true, true), "{fine}");
    }
    for mistake in [
        "[nodes]",
        "[node]\nnmae = \"x\"",
        "[node]\nname = 3",
        "stop_within = 5",
        "stop_within = \"5 parsecs\"",
        "stop_within = \"-5s\"",
        "after = \"x\"",
        "restart = { policy = \"sometimes\" }",
        "restart = { at_most = -1 }",
        "restart = { at_most = 2000000 }",
        "restart = { backoff = true }",
        "restart = { backoff = { jitter = 1.5 } }",
        "resilience = \"gate\"\n[resilience.gate]",
        "interval = \"5s\"",
        "[service.other]",
        "[service.other]\ntype = \"host.telemetri\"",
        "[service.other]\ntype = \"host.telemetry\"\nwrites = { cpuu = \"x\" }",
        "[component.watch]\ntype = \"host.telemetry\"",
        "[component.watch]\ntype = \"host.watch\"\nreads = \"host.cpu\"",
        "[component.watch]\ntype = \"host.watch\"\nrestart = { policy = \"transient\" }",
        "[topic.\"host.cpu\"]\ncapacity = 1",
        "[topic.\"host.cpu\"]\nhistory = \"all\"",
        "[supervisor.s]\nstrategy = \"one_for_two\"",
        "[resilience.gate]\ntimeuot = \"1s\"",
        "[resilience.gate.circuit_breaker]\nfailure_threshold = \"five\"",
        "[resilience.gate.retry_policy]\njitter = \"some\"",
        "[resilience.gate.rate_limit]\ncalls = 0",
        "[resilience.gate.circuit_breaker]\nfailure_rate = 1.5",
    ] {
        assert_eq!(both(&machine(mistake)), (false, false), "{mistake}");
    }
}

#[test]
fn the_schemas_form_of_a_time_is_the_readers() {
    let schema = committed();
    for time in ["1ns", "2us", "2µs", "3ms", "4s", "5min", "6h", "1.5s", " 2 min ", "0s"] {
        assert!(csf_core::span::parse(time).is_some(), "{time}");
        assert_eq!(findings(&schema, &format!("{SMALL}stop_within = {time:?}")), [""; 0], "{time}");
    }
    for time in ["", "5", "s", "-5s", "1e3s", "5 parsecs", "5 s s"] {
        assert!(csf_core::span::parse(time).is_none(), "{time}");
        assert!(!findings(&schema, &format!("{SMALL}stop_within = {time:?}")).is_empty(), "{time}");
    }
}
