//! Resilience as configuration: a [`Guard`] built from a [`Policy`] stands around any call.
//!
//! From outside in: fallback, total time-out, retry, circuit breaker, bulkhead, rate limit, time-out of a try, the try. Every stage is
//! optional, works alone, and has its limits in the policy; the limits change while calls run. Time comes from [`csf_core::port::Timer`]
//! and chance from [`csf_core::port::Rng`], so everything runs alike on a machine and in simulation. [`layer`] has the stages for `tower`.
//!
//! The breaker follows the rules that resilience4j documents; `docs/book/src/resilience.md` lists them with the differences.
//! There is no hedging (a second try beside a slow first one): it multiplies load where there is least room for it, and a service that
//! wants it can make two calls.

mod breaker;
mod bulkhead;
mod call;
mod classify;
mod error;
mod fallback;
mod guard;
pub mod layer;
mod policy;
mod ports;
mod rate_limit;
mod retry;

pub use breaker::{
    Breaker, BreakerPermit, BreakerPolicy, BreakerReport, BreakerState, Cause, CircuitBreaker, Command, Counts,
    IllegalCommand, Outcome, Permit, Refusal, Transition, Window,
};
pub use bulkhead::{Bulkhead, BulkheadPolicy, BulkheadReport, Full, Slot};
pub use call::{Call, Guarded, Origin};
pub use classify::{Classify, EveryError, Verdict};
pub use error::GuardError;
pub use fallback::{FallbackStrategy, Standby};
pub use guard::{FallbackReport, Guard, GuardReport, Guards, RetryReport};
pub use policy::{
    BreakerSection, BudgetSection, BulkheadSection, FallbackSection, Policy, PolicyError, Problem, RateLimitSection,
    RetrySection, Section,
};
pub use ports::Ports;
pub use rate_limit::{Limited, RateLimitPolicy, RateLimitReport, RateLimiter};
pub use retry::{Again, Budget, FailedAttempt, GaveUp, Jitter, RetryBudget, RetryPolicy};
