//! The saga: killed at every step, and again.

use std::collections::BTreeMap;

use csf_sim::SeededRng;
use rusqlite::Connection;

use crate::process::{Example, Scratch};

const PROGRAM: &str = env!("CARGO_BIN_EXE_05_order_saga");

/// Effects in the world outside, by order.
fn effects(scratch: &Scratch) -> BTreeMap<u32, Vec<String>> {
    let outside = Connection::open(scratch.path().join("outside.db")).unwrap();
    let mut rows = outside.prepare("SELECT number, action FROM effect ORDER BY number, action").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let mut effects: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    rows.map(Result::unwrap).for_each(|(number, action)| effects.entry(number).or_default().push(action));
    effects
}

#[test]
fn orders_that_are_killed_at_each_step_are_carried_out_or_taken_back_once() {
    let mut kills = 0;
    for step in 0..14 {
        let scratch = Scratch::new(&format!("saga-{step}"));
        let mut rng = SeededRng::new(step as u64);
        // An effect is told before the history has it: the worst moment. Later lives are killed anywhere.
        for life in 0..4 {
            let lines = if life == 0 { step } else { rng.below(12) as usize };
            kills += usize::from(Example::start(PROGRAM, &scratch, &[]).says(lines).len() == lines);
        }
        let said = Example::start(PROGRAM, &scratch, &[]).ends();
        assert!(said.iter().any(|line| line == "each effect happened once"), "{said:#?}");

        for (number, actions) in effects(&scratch) {
            let wanted: &[&str] = match number % 3 {
                1 => &["charge", "reserve", "ship"],
                2 => &["release", "reserve"],
                _ => &["charge", "refund", "release", "reserve"],
            };
            assert_eq!(actions, wanted, "order {number}, killed at step {step}");
        }
        let mut histories: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in scratch.events("workflow") {
            histories.entry(event.stream).or_default().push(event.kind);
        }
        assert_eq!(histories.len(), 6);
        for (run, history) in histories {
            let times = |kinds: &[&str]| history.iter().filter(|kind| kinds.contains(&kind.as_str())).count();
            assert_eq!((times(&["started"]), times(&["completed", "failed"])), (1, 1), "{run}: {history:?}");
        }
    }
    assert!(kills >= 40, "{kills} lives were cut short");
}
