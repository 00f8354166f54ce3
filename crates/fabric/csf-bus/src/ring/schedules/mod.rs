//! The ring under random schedules, in configurations too large for the models: lanes of hundreds of packets, a component that answers
//! one on the other, readers of every policy, sleepers that take their marks back, visitors that come and go.
//!
//! The code is the very code, over shuttle's words: each access is a place where another thread may go on. Shuttle knows sequential
//! consistency only, no stale values and no missing fences, and it visits some schedules, not all; it supplements the models in
//! `model/` and replaces none.
//!
//! A failure prints the seed of its schedule and the command that repeats it. `CSF_SCHEDULES=5000` looks at that many schedules.

mod bursts;
mod machine;
mod node;

use bursts::{explore, refuted};
use node::{Fault, Node};

#[test]
fn a_node_keeps_its_books_under_any_schedule() {
    explore("ring::schedules::a_node_keeps_its_books", 100, |seed| Node { seed, packets: 200, fault: None }.run());
}

#[test]
fn a_reader_that_gives_back_before_it_reads_is_found() {
    refuted(50, &["carries something else"], |seed| Node { seed, packets: 60, fault: Some(Fault::Hasty) }.run());
}

#[test]
fn a_reader_that_takes_one_look_for_a_cause_is_found() {
    refuted(200, &["without its cause"], |seed| Node { seed, packets: 60, fault: Some(Fault::OneLook) }.run());
}

/// Others look again and again, so what shuttle sees is a run that never ends.
#[test]
fn a_sleeper_that_does_not_ask_again_is_found() {
    refuted(50, &["exceeded max_steps"], |seed| Node { seed, packets: 60, fault: Some(Fault::AsksOnce) }.run());
}
