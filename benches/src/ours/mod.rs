//! Our side of every load: all that the bench knows of ChronoFabric's crates.

pub mod actor;
pub mod batch;
pub mod bus;
pub mod component;
pub mod guard;
pub mod journal;
pub mod matching;
pub mod time;
pub mod topics;
pub mod workflow;
