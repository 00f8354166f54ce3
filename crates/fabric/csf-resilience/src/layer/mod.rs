//! The stages as `tower` layers, each alone, and the whole guard as one.
//!
//! A layer holds its stage's state, so services made by one layer share it. Errors are [`crate::GuardError`] around the inner service's;
//! [`Nested`] judges the errors of a layer below by what is inside.

mod breaker;
mod bulkhead;
mod guard;
mod nested;
mod rate_limit;
mod retry;
mod timeout;

use std::future::Future;
use std::pin::Pin;

pub use breaker::{CircuitBreakerLayer, CircuitBreakerService};
pub use bulkhead::{BulkheadLayer, BulkheadService};
pub use guard::{GuardLayer, GuardService};
pub use nested::Nested;
pub use rate_limit::{RateLimitLayer, RateLimitService};
pub use retry::{RetryLayer, RetryService};
pub use timeout::{TimeoutLayer, TimeoutService};

use crate::breaker::Outcome;
use crate::error::GuardError;
use crate::retry::GaveUp;

/// What a service of this module returns.
pub type Response<T, E> = Pin<Box<dyn Future<Output = Result<T, GuardError<E>>> + Send>>;

/// An inner service's error, passed on.
fn passed_on<E>(name: &std::sync::Arc<str>, source: E, outcome: Outcome) -> GuardError<E> {
    GuardError::Failed { guard: name.clone(), attempts: 1, gave_up: GaveUp::Off, outcome, source }
}
