//! What the simulation itself promises: a seed repeats, and each fault shows.

use std::sync::Arc;
use std::time::Duration;

use csf_runtime::config::{Item, Settings, Source};
use csf_runtime::topology::Topology;

use super::{Faults, Planted, Run, Scenario, run};
use crate::packs;

/// A machine and its watch: no recording has to be read.
const CONFIG: &str = r#"
[service.machine]
type = "host.telemetry"
writes = { cpu = "host.cpu", memory = "host.memory", pressure = "host.pressure" }

[component.watch]
type = "host.watch"
reads = ["host.cpu", "host.memory", "host.pressure"]
writes = { anomaly = "host.anomaly" }
"#;

fn scenario(faults: &str) -> Scenario {
    scenario_of(CONFIG, faults)
}

fn scenario_of(text: &str, faults: &str) -> Scenario {
    let catalogue = packs::catalogue();
    let source = Arc::new(Source { name: "csf.toml".to_owned(), text: text.to_owned() });
    let (settings, problems) = Settings::read(&Item::parse(&source).unwrap());
    assert!(problems.is_empty(), "{problems:?}");
    let topology = Topology::check(settings, &catalogue).unwrap().simulated().unwrap();
    let (span, faults) = (Duration::from_secs(10), Faults::parse(faults).unwrap());
    Scenario { topology, catalogue, span, faults, plant: None, measurements: Arc::default() }.with_measurements()
}

/// The first of some seeds for which this holds.
fn find(scenario: &Scenario, is_it: impl Fn(&Run) -> bool) -> Run {
    (1..=60).map(|seed| run(scenario, seed)).find(is_it).expect("one of 60 seeds shows it")
}

fn holds(run: &Run) {
    assert_eq!(run.violations, Vec::<String>::new(), "csf sim --seed {}\n{}", run.seed, run.trace.join("\n"));
}

#[test]
fn a_seed_repeats_with_every_fault() {
    let scenario = scenario("all");
    for seed in 1..=6 {
        let first = run(&scenario, seed);
        holds(&first);
        let second = run(&scenario, seed);
        assert_eq!((&first.trace, &first.digest), (&second.trace, &second.digest));
    }
}

#[test]
fn every_fault_has_a_name_and_lists_come_back_as_they_were_read() {
    let all = Faults::parse("all").unwrap();
    assert_eq!(Faults::parse(&all.to_string()), Ok(all));
    assert_eq!(Faults::parse("none").unwrap().to_string(), "none");
    assert!(Faults::parse("slow-disk,earthquake").unwrap_err().contains("`earthquake`"));
}

#[test]
fn services_that_fail_are_started_again_within_their_budgets() {
    let run = find(&scenario("service-crash"), |run| run.service_restarts >= 2);
    holds(&run);
    assert!(run.trace.iter().any(|line| line.contains("service machine")), "{:?}", run.trace);
}

#[test]
fn a_running_node_takes_valid_changes_and_refuses_the_others() {
    let run = find(&scenario("reload,crash"), |run| run.reloads >= 2 && run.refused_reloads >= 1 && run.crashes >= 1);
    holds(&run);
}

#[test]
fn nothing_is_acknowledged_before_a_slow_disk_has_it() {
    let run = find(&scenario("slow-disk,crash"), |run| run.crashes >= 1 && run.acknowledged > 0);
    holds(&run);
    let lying = Scenario { plant: Some(Planted::LyingDisk), ..scenario("slow-disk,crash") };
    find(&lying, |run| run.violations.iter().any(|v| v.contains("was acknowledged and is not in the journal")));
}

#[test]
fn a_component_is_restarted_with_its_service_within_their_budget_and_replay_says_the_same() {
    let grouped = CONFIG.replace("writes =", "supervisor = \"both\"\nwrites =");
    let text = format!("{grouped}[supervisor.both]\nstrategy = \"one_for_all\"\nbackoff = {{ min = \"10ms\" }}\n");
    let scenario = scenario_of(&text, "service-crash,crash,torn-write,disk-full,slow-disk");
    let runs: Vec<Run> = (1..=6).map(|seed| run(&scenario, seed)).collect();
    runs.iter().for_each(holds);
    assert!(runs.iter().any(|run| run.service_restarts > 2), "a service and its component, twice");
}
