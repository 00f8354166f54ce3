//! A run: workflow code and its history, and nothing else. Pure: it is told what happened and says what follows.
//!
//! After every input the code is polled until it waits for something that has not happened. What it decided meanwhile is compared with the
//! history when there is one, and appended to it when there is none.
//! Invariant: the same code and the same history give the same decisions.

mod context;
mod machine;
mod saga;
mod state;

pub use context::{Pending, WorkflowContext};
pub(crate) use machine::{Machine, PendingActivity, Pendings};
pub use saga::Saga;
