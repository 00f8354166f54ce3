//! The circuit breaker: stops calling what keeps failing, and finds out carefully whether it works again.
//!
//! [`Breaker`] is the state machine, pure; [`CircuitBreaker`] is the same on a clock, shared between tasks.

mod machine;
mod policy;
mod shared;
mod state;
mod window;

pub use machine::{Breaker, Permit};
pub use policy::{BreakerPolicy, Window};
pub use shared::{BreakerPermit, CircuitBreaker};
pub use state::{BreakerReport, BreakerState, Cause, Command, IllegalCommand, Outcome, Refusal, Transition};
pub use window::Counts;
