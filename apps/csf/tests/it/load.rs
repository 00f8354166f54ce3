//! The load test (FRM-097) on the real binary, in its short form; `cargo xtask load` is the long one.

use std::time::Duration;

use csf_tests::load::{LEVELS, LoadScenario, NodeProcess, NodeUser, TOPIC, load_test_concurrency};

use crate::world::{csf_path, recording};

fn short(concurrent_users: usize, user_rate_hz: f64) -> LoadScenario {
    let (duration, ramp_up) = (Duration::from_secs(2), Duration::from_millis(200));
    LoadScenario { duration, ramp_up, user_rate_hz, ..LoadScenario::of(concurrent_users) }
}

#[test]
fn test_load_concurrency() {
    let node = NodeProcess::start(&csf_path(), &recording(), "").unwrap();
    // A thousand users on whatever machine and build this is: half a request per second of each.
    let scenarios = LEVELS.map(|users| short(users, 0.5));
    let report = load_test_concurrency(&scenarios, |n| Ok(NodeUser::new(node.target(), n)), |_| {}).unwrap();
    println!("{report}");
    assert_eq!(report.warning, None, "{report}");
    for (result, users) in report.results.iter().zip(LEVELS) {
        assert_eq!((result.concurrent_users, result.requests()), (users, users as u64), "{report}");
        assert!(result.latency_us.max() > 0 && result.errors() == 0, "{report}");
    }
    // What was acknowledged is there: half of all requests of every level, those of the ramps too, were packets.
    let topics = node.get("/topics").unwrap();
    let topic = topics.as_array().unwrap().iter().find(|topic| topic["name"] == TOPIC).unwrap();
    let asked: u64 = report.results.iter().map(|result| result.requests()).sum();
    assert!(topic["packets"].as_u64().unwrap() >= asked / 2 - 5, "{topic} after {asked} requests");
}

#[test]
fn a_load_test_stops_with_a_warning_at_the_level_that_fails() {
    // The node takes thirty packets a second from outside: twenty-five come from ten users, and a hundred from forty.
    let limit = format!(
        "[topic.\"{TOPIC}\"]\nresilience = \"intake\"\n\n[resilience.intake]\nrate_limit = {{ calls = 30, per = \"1s\" }}\n"
    );
    let node = NodeProcess::start(&csf_path(), &recording(), &limit).unwrap();
    let scenarios = [10, 40, 50].map(|users| short(users, 5.0));
    let report = load_test_concurrency(&scenarios, |n| Ok(NodeUser::new(node.target(), n)), |_| {}).unwrap();
    println!("{report}");
    let [first, second] = &report.results[..] else { panic!("a level too many or too few\n{report}") };
    assert_eq!(first.errors(), 0, "{report}");
    assert!(second.error_rate() > 0.01 && second.failures.keys().all(|why| why == "429 CSF-0703"), "{report}");
    assert!(report.warning.as_ref().unwrap().starts_with("warning: stopped at 40 users"), "{report}");
    assert_eq!(report.to_json()["levels"][1]["errors"], second.errors());
}
