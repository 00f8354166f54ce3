//! The simulated world: adapters of the ports of [`csf_core::port`] that need no machine, and one conformance suite per port.
//!
//! A real adapter and its simulated twin pass the same suite, so what holds in simulation holds on the machine. The suites are
//! plain functions that panic with a claim; each adapter's crate calls them from its `tests/it`.
//! Invariant: everything here repeats from its seed and its inputs.

pub mod conformance;
mod environment;
mod executor;
pub mod linearizability;
mod memory_events;
mod memory_journal;
mod memory_state;
mod seeded_rng;
mod sim_clock;
mod sim_disk;
mod sim_log;

pub use environment::init_test_environment;
pub use executor::{SimExecutor, Stalled};
pub use memory_journal::{MemoryJournal, MemoryStore};
pub use seeded_rng::SeededRng;
pub use sim_clock::SimClock;
pub use sim_disk::{NextWrite, SimDisk, SimJournal};
pub use sim_log::SimLog;
