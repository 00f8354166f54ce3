//! A whole node in a simulated world: no thread, no runtime, one seed.

use csf_core::port::{Scan, Timer};
use csf_runtime::World;
use csf_runtime::node::boot;
use csf_runtime::replay::replay;
use csf_sim::{MemoryStore, SeededRng, SimClock, SimExecutor};
use serde_json::json;

use crate::world::{SMALL, catalogue, options_in};

/// Runs a node for a minute, publishing a number a second, and returns what its journal holds.
fn minute(seed: u64) -> (Vec<String>, u64) {
    minute_of(seed, |second| second).0
}

/// [`minute`] with these numbers, and what it stored.
fn minute_of(seed: u64, number: impl Fn(i64) -> i64) -> ((Vec<String>, u64), MemoryStore) {
    minute_under(SMALL, seed, number)
}

fn minute_under(text: &str, seed: u64, number: impl Fn(i64) -> i64) -> ((Vec<String>, u64), MemoryStore) {
    let sim = SimExecutor::new(seed);
    let store = MemoryStore::default();
    let world = World::simulated(sim.clone(), move || Box::new(SeededRng::new(seed)));
    let mut options = options_in(world, text, &store);
    options.clock = SimClock::new(&sim, 1_700_000_000_000_000_000, 0);
    sim.block_on(async {
        let node = boot(options).await.unwrap();
        for value in 0..60 {
            sim.sleep(std::time::Duration::from_secs(1)).await;
            let (id, _) = node.publish_json("n", json!({ "value": number(value) })).unwrap();
            node.feed().durable(id).await.unwrap();
        }
        node.shutdown().await;
    })
    .unwrap();
    let packets = store.reader().scan(&Scan { from_position: 1, limit: 10_000, lanes: Vec::new() }).unwrap();
    ((packets.iter().map(|p| format!("{p:?}")).collect(), sim.polls()), store)
}

#[test]
fn failures_are_mended_in_simulation_too_and_one_seed_repeats_them() {
    let poison = |second: i64| if second == 30 { -2 } else { second };
    let (first, store) = minute_of(7, poison);
    assert_eq!(first.0.len(), 3 * 59 + 4, "poison is a number and three deliveries");
    assert_eq!(first, minute_of(7, poison).0);
    let report = replay(store.reader().as_mut(), &catalogue(), None, &mut |_| ()).unwrap().report;
    assert_eq!((report.compared, report.equal, report.first_difference), (59, 59, None));
}

#[test]
fn a_group_pauses_and_goes_on_in_simulation_too_and_one_seed_repeats_it() {
    let sibling =
        "[component.sibling]\ntype = \"test.adder\"\nreads = [\"s\"]\nwrites = { sum = \"t\" }\nsupervisor = \"g\"\n";
    let group = "[supervisor.g]\nstrategy = \"one_for_all\"\nbackoff = { min = \"3s\", jitter = 0.5 }\n";
    let text = format!("{SMALL}supervisor = \"g\"\n{sibling}{group}");
    let poison = |second: i64| if second % 30 == 15 { -2 } else { second };
    let ((packets, polls), store) = minute_under(&text, 7, poison);
    let again = minute_under(&text, 7, poison).0;
    assert_eq!((&packets, polls), (&again.0, again.1));
    let report = replay(store.reader().as_mut(), &catalogue(), None, &mut |_| ()).unwrap().report;
    // Five restarts are allowed, and the sixth failure gives the group up: nothing after the second poison is handled.
    assert_eq!((report.compared, report.equal, report.first_difference), (2 * 44, 2 * 44, None));
    assert_eq!(
        packets.len(),
        60 + 2 * 44 + 2 * 44 + 6 + 5,
        "numbers, sums, deliveries, failures, renewals of the sibling"
    );
}

#[test]
fn a_node_lives_a_minute_in_simulation_and_one_seed_repeats_it() {
    let (first, polls) = minute(7);
    assert_eq!(first.len(), 180, "60 numbers, deliveries, sums");
    assert_eq!((first, polls), minute(7));
    assert_ne!(minute(8).1, polls, "another seed takes another way");
}
