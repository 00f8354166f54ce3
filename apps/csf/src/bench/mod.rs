//! `csf bench`: this machine measured with what is in the binary.
//!
//! A bench is a list of experiments; an experiment runs its sides in turn, round by round, so that whatever else the machine does meets
//! all of them alike. Peers here are what the binary carries anyway; the full list is `cargo xtask bench`'s.
//! Invariant: what could not be measured has a reason and no figure.

mod budget;
mod channel;
mod clock;
mod cpu;
mod environment;
mod experiment;
mod fabric;
mod floor;
mod latency;
mod machine;
mod memory;
mod routing;
mod row;
mod samples;
mod stats;
mod stopwatch;
mod table;
mod throughput;

pub(crate) use budget::Budget;
pub(crate) use environment::judge;
pub(crate) use experiment::{Effort, Experiment};
pub(crate) use fabric::experiments as fabric;
pub(crate) use machine::Machine;
pub(crate) use row::Row;
pub(crate) use samples::Form;
pub(crate) use table::table;
