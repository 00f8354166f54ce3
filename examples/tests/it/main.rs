//! The examples that promise to outlive a crash are killed again and again.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may fail as the tests do")]

mod agent_tasks;
mod bank;
mod order_saga;
mod process;
