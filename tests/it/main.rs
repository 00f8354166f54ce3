//! Integration tests across the parts, on real servers where those are installed and on the embedded defaults everywhere.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod causal_trace;
mod crash;
mod data;
mod data_faults;
mod event_bus;
mod event_store;
mod harness;
mod histories;
mod journal_jetstream;
mod journal_postgres;
mod matrix;
mod node;
mod orchestrator;
mod patterns;
mod spool;
mod supervision;

use std::io::Write;

use csf_tests::Backing;

/// The ways a test runs here. What is left out is said on the real stderr, which libtest does not keep to itself.
fn backings() -> Vec<Backing> {
    Backing::available(say).unwrap()
}

fn say(text: &str) {
    // Nobody to tell is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{text}");
}
