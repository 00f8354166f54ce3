//! A guard at a glance, for metrics and for people.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::meters::Meters;
use super::run::lock;
use super::stages::Stages;
use crate::breaker::BreakerReport;
use crate::bulkhead::BulkheadReport;
use crate::rate_limit::RateLimitReport;

/// A guard at a glance. Counters run since the guard was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GuardReport {
    /// Its name.
    pub name: String,
    /// Calls begun.
    pub calls: u64,
    /// Calls running.
    pub running: u64,
    /// Calls the service answered.
    pub answered: u64,
    /// Calls it did not, answered by a fallback or not. Dropped calls are neither.
    pub failed: u64,
    /// Tries of the service.
    pub attempts: u64,
    /// Calls ended by `timeout`.
    pub timeouts: u64,
    /// Tries ended by `try_timeout`.
    pub try_timeouts: u64,
    /// The breaker, if there is one.
    pub breaker: Option<BreakerReport>,
    /// Retries, if there are any.
    pub retry: Option<RetryReport>,
    /// The bulkhead, if there is one.
    pub bulkhead: Option<BulkheadReport>,
    /// The rate limit, if there is one.
    pub rate_limit: Option<RateLimitReport>,
    /// Answers that were fallbacks.
    pub fallbacks: FallbackReport,
}

/// Retries at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetryReport {
    /// Retries paid from the budget.
    pub spent: u64,
    /// Retries left in the budget.
    pub left: f64,
    /// Retries the budget refused.
    pub refused: u64,
}

/// Fallbacks at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FallbackReport {
    /// Answers from the cache.
    pub cache: u64,
    /// Answers from the configuration.
    pub default: u64,
    /// Answers of another service.
    pub alternative: u64,
    /// Answers without some features.
    pub degraded: u64,
    /// Calls that no fallback could answer.
    pub none: u64,
}

pub(super) fn of(name: &str, stages: &Stages, meters: &Meters, now: Duration) -> GuardReport {
    GuardReport {
        name: name.to_owned(),
        calls: meters.calls.read(),
        running: meters.running.read(),
        answered: meters.answered.read(),
        failed: meters.failed.read(),
        attempts: meters.attempts.read(),
        timeouts: meters.timeouts.read(),
        try_timeouts: meters.try_timeouts.read(),
        breaker: stages.breaker.as_ref().map(crate::CircuitBreaker::report),
        retry: stages.budget.as_ref().map(|budget| {
            let mut budget = lock(budget);
            RetryReport { left: budget.left(now), spent: budget.spent(), refused: budget.refused() }
        }),
        bulkhead: stages.bulkhead.as_ref().map(crate::Bulkhead::report),
        rate_limit: stages.rate_limit.as_ref().map(crate::RateLimiter::report),
        fallbacks: FallbackReport {
            cache: meters.from_cache.read(),
            default: meters.from_default.read(),
            alternative: meters.from_alternative.read(),
            degraded: meters.degraded.read(),
            none: meters.no_fallback.read(),
        },
    }
}
