//! Configurations and what is said about them.

use std::sync::Arc;

use csf_runtime::config::{Layers, Settings, Source, environment_layer};
use proptest::prelude::*;

use crate::world::{SMALL, check};

/// Code, message, line and column, label.
type Finding = (String, String, Option<(usize, usize)>, String);

fn findings(text: &str) -> Vec<Finding> {
    let problems = check(text).err().unwrap_or_default();
    let row = |p: csf_runtime::config::Problem| {
        let place = p.location.as_ref().map(csf_runtime::config::Location::line_column);
        (p.code.to_owned(), p.message, place, p.label)
    };
    problems.into_iter().map(row).collect()
}

fn only(text: &str) -> Finding {
    let mut found = findings(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

#[test]
fn a_sound_configuration_has_no_findings() {
    assert_eq!(findings(SMALL), []);
}

#[test]
fn a_key_without_end_is_a_problem_and_no_overflow_of_the_stack() {
    let mut layers = Layers::new("");
    layers.add_pairs("environment", &[(vec!["a".to_owned(); 100_000], "1".to_owned())]);
    assert_eq!(layers.finish().1.len(), 1);
}

#[test]
fn syntax_errors_have_a_place() {
    let (code, _, place, _) = only("[node]\nname = \"x\n");
    assert_eq!((code.as_str(), place.unwrap().0), ("CSF-0102", 2));
}

#[test]
fn unknown_keys_and_sections_get_a_did_you_mean() {
    let found = only("[nodes]\n");
    assert_eq!((found.0.as_str(), found.3.as_str()), ("CSF-0103", "did you mean `node`?"));
    let found = only(&SMALL.replace("type = \"test.counter\"", "type = \"test.counter\"\ncuont = 3"));
    assert_eq!((found.0.as_str(), found.3.as_str()), ("CSF-0103", "did you mean `count`?"));
    assert_eq!(found.2, Some((4, 1)));
}

#[test]
fn unknown_types_ports_and_names_get_a_did_you_mean() {
    let found = only(&SMALL.replace("test.adder", "test.addr"));
    assert_eq!((found.0.as_str(), found.3.as_str()), ("CSF-0105", "did you mean `test.adder`?"));
    let found = findings(&SMALL.replace("{ sum =", "{ summ ="));
    assert_eq!((found[0].0.as_str(), found[0].3.as_str()), ("CSF-0112", "did you mean `sum`?"));
    let found = only(&format!("{SMALL}after = [\"number\"]\n"));
    assert_eq!((found.0.as_str(), found.3.as_str()), ("CSF-0106", "did you mean `numbers`?"));
}

#[test]
fn dangling_topics_are_named_with_what_is_close() {
    let text =
        SMALL.replace("\"n\"", "\"numbers.raw\"").replace("reads = [\"numbers.raw\"]", "reads = [\"numbers.row\"]");
    let found = only(&text);
    assert_eq!(found.0, "CSF-0107");
    assert_eq!(found.1, "topic `numbers.row` is read, but nothing writes it");
    assert_eq!(found.3, "did you mean `numbers.raw`?");
}

#[test]
fn a_topic_has_one_type() {
    let found = findings(&SMALL.replace("sum = \"s\"", "sum = \"n\""));
    assert!(found.iter().any(|f| f.0 == "CSF-0108" && f.1.contains("test.number@1")), "{found:#?}");
}

#[test]
fn missing_types_wrong_values_and_negative_options_are_told() {
    assert_eq!(only("[component.x]\nreads = []\n").0, "CSF-0113");
    assert_eq!(only(&SMALL.replace("reads = [\"n\"]", "reads = \"n\"")).0, "CSF-0104");
    let found = only(&SMALL.replace("type = \"test.counter\"", "type = \"test.counter\"\ncount = -4"));
    assert_eq!((found.0.as_str(), found.1.as_str()), ("CSF-0104", "`count` = -4 is negative"));
    let found = only(&format!("{SMALL}restart = {{ at_most = 3, within = \"soon\" }}\n"));
    assert_eq!((found.0.as_str(), found.1.as_str()), ("CSF-0104", "`soon` is no duration"));
}

#[test]
fn start_cycles_and_data_cycles_are_refused_and_feedback_is_allowed() {
    let text = format!(
        "{}\n[component.b]\ntype = \"test.adder\"\nreads = [\"s\"]\nwrites = {{ sum = \"t\" }}\nafter = [\"adder\"]\n",
        SMALL
    );
    assert_eq!(findings(&text), []);
    let circular = text.replace("reads = [\"n\"]", "reads = [\"n\"]\nafter = [\"b\"]");
    let found = only(&circular);
    assert_eq!(found.0, "CSF-0110");
    assert!(found.1.contains("adder → b → adder"), "{}", found.1);
    let looped = text.replace("reads = [\"n\"]", "reads = [\"n\", \"t\"]");
    let found = only(&looped);
    assert_eq!(found.0, "CSF-0111");
    assert!(found.1.contains("adder") && found.1.contains('b'), "{}", found.1);
    let fed_back = text.replace("reads = [\"n\"]", "reads = [\"n\", \"t\"]\nfeedback = [\"t\"]");
    assert_eq!(findings(&fed_back), []);
}

#[test]
fn one_name_is_for_one_thing() {
    let text = format!("{SMALL}\n[service.adder]\ntype = \"test.counter\"\n");
    assert!(findings(&text).iter().any(|f| f.0 == "CSF-0109"));
}

#[test]
fn all_problems_come_at_once() {
    let text =
        "[nodes]\n[component.a]\ntype = \"test.add\"\n[component.b]\ntype = \"test.adder\"\nreads = [\"gone\"]\n";
    let codes: Vec<String> = findings(text).into_iter().map(|f| f.0).collect();
    assert_eq!(codes, ["CSF-0103", "CSF-0105", "CSF-0107"]);
}

#[test]
fn later_layers_win_and_say_where_a_value_comes_from() {
    let file = |name: &str, text: &str| Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
    let mut layers = Layers::new("[node]\nname = \"default\"\nlisten = \"127.0.0.1:1\"\n");
    layers.add(&file("csf.toml", "[node]\nname = \"file\"\n"));
    let variables = [("CSF_NODE__NAME", "from-env"), ("CSF_LOG", "debug"), ("PATH", "/bin")];
    layers.add_pairs("environment", &environment_layer(variables.map(|(k, v)| (k.to_owned(), v.to_owned()))));
    let (item, problems) = layers.finish();
    assert_eq!(problems, []);
    let leaves: Vec<(String, String)> =
        item.leaves().into_iter().map(|(p, i)| (p, i.location.source.name.clone())).collect();
    assert_eq!(
        leaves,
        [("node.listen".to_owned(), "defaults".to_owned()), ("node.name".to_owned(), "environment".to_owned())]
    );
    assert_eq!(Settings::read(&item).0.node.name, "from-env");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_a_place(text in "[a-z\\[\\]\\.=\"{}, \n0-9]{0,80}") {
        if let Err(problems) = check(&text) {
            prop_assert!(problems.iter().all(|p| p.code.starts_with("CSF-01")));
        }
    }

    #[test]
    fn any_values_under_a_guards_keys_are_read_or_refused_with_a_place(
        lines in prop::collection::vec((prop::sample::select(GUARD_KEYS), prop::sample::select(VALUES)), 0..6)
    ) {
        let lines: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let text = format!("{SMALL}\n[topic.n]\nresilience = \"gate\"\n[resilience.gate]\n{lines}");
        for problem in check(&text).err().unwrap_or_default() {
            let place = problem.location.clone().expect("every problem has a place");
            prop_assert!(problem.code.starts_with("CSF-01") && place.span.end <= text.len(), "{:?}", problem);
            // Two lines with one key are no TOML; everything else is said where it stands.
            prop_assert!(problem.code == "CSF-0102" || place.line_column().0 > 10, "{:?}", problem);
        }
    }
}

const GUARD_KEYS: &[&str] = &[
    "timeout",
    "try_timeout",
    "circuit_breaker",
    "circuit_breaker.timeout_seconds",
    "circuit_breaker.half_open_max",
    "circuit_breaker.failure_rate",
    "retry_policy.jitter",
    "retry_policy.budget",
    "retry_policy.budget.share",
    "bulkhead",
    "rate_limit.calls",
    "fallback",
    "unknown",
];

const VALUES: &[&str] = &[
    "0",
    "-1",
    "3",
    "1e9",
    "nan",
    "true",
    "\"1s\"",
    "\"full\"",
    "\"\"",
    "{}",
    "[]",
    "[{}]",
    "[{ cache = { ttl = \"x\" } }, { cache = { ttl = 1 } }, { nothing = 1 }]",
    "{ share = \"x\", brust = 1 }",
    "2026-01-01",
];
