//! What is measured: the rows of the bus's and the clocks' table, with their sides, goals and floors.

mod batch;
mod clock;
mod component;
mod fan;
mod floor;
mod growth;
mod guard;
mod journal;
mod matching;
mod publish;
mod round_trip;
mod runtime;
mod stamp;
mod stream;
mod task;
mod workflow;

use std::path::Path;

use crate::experiment::Experiment;
use crate::ours::reopen;

pub use floor::PREFIX as FLOORS;
pub use growth::{Curve, curves, experiments as growth};

/// Key of our bus.
const BUS: &str = "csf-bus";

/// A load that is a process of its own, by its command: it gets a folder and a count.
pub fn process(command: &str) -> Option<fn(&Path, u64) -> Result<(), String>> {
    match command {
        workflow::SLEEP => Some(workflow::sleep),
        reopen::FILL => Some(reopen::fill),
        _ => None,
    }
}

/// The bus's table.
pub fn bus() -> Vec<Experiment> {
    vec![
        floor::experiment(),
        round_trip::spinning(),
        stream::experiment(),
        fan::out(),
        fan::into(),
        publish::unheard(),
        publish::heard(),
        batch::experiment(),
        task::experiment(),
        round_trip::waiting(),
        round_trip::ablation(),
        matching::experiment(),
        component::experiment(),
    ]
}

/// The guards' table.
pub fn guard() -> Vec<Experiment> {
    vec![floor::counter(), guard::experiment()]
}

/// The actors' and supervisors' table.
pub fn runtime() -> Vec<Experiment> {
    vec![floor::counter(), runtime::tells(), runtime::asks(), runtime::starts(), runtime::restarts()]
}

/// The log's table.
pub fn journal() -> Vec<Experiment> {
    vec![floor::counter(), journal::many(), journal::engines(), journal::one(), journal::replays(), journal::reopened()]
}

/// The workflows' table.
pub fn workflow() -> Vec<Experiment> {
    vec![floor::counter(), workflow::steps(), workflow::sleepers(), workflow::replays()]
}

/// The clocks' table.
pub fn time() -> Vec<Experiment> {
    vec![floor::counter(), stamp::experiment(), clock::error(), clock::cost()]
}
