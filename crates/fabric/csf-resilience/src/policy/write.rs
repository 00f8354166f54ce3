//! From a policy to the section of a file that means it, with every value written out.

use super::section::{
    BreakerSection, BudgetSection, BulkheadSection, FallbackSection, RateLimitSection, RetrySection, Section,
};
use super::{Policy, span};
use crate::breaker::{BreakerPolicy, Window};
use crate::bulkhead::BulkheadPolicy;
use crate::fallback::FallbackStrategy;
use crate::rate_limit::RateLimitPolicy;
use crate::retry::{RetryBudget, RetryPolicy};

impl From<Policy> for Section {
    fn from(policy: Policy) -> Self {
        Self {
            timeout: policy.timeout.map(span::text),
            try_timeout: policy.try_timeout.map(span::text),
            circuit_breaker: policy.breaker.map(Into::into),
            retry_policy: policy.retry.map(Into::into),
            bulkhead: policy.bulkhead.map(Into::into),
            rate_limit: policy.rate_limit.map(Into::into),
            fallback: policy.fallback.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<BreakerPolicy> for BreakerSection {
    fn from(policy: BreakerPolicy) -> Self {
        let (window_calls, window_time) = match policy.window {
            Window::Calls(calls) => (Some(calls), None),
            Window::Time(time) => (None, Some(span::text(time))),
        };
        Self {
            failure_threshold: Some(policy.failure_threshold),
            failure_rate: policy.failure_rate,
            slow_rate: policy.slow_rate,
            slow_call: Some(span::text(policy.slow_call)),
            window_calls,
            window_time,
            minimum_calls: Some(policy.minimum_calls),
            timeout: Some(span::text(policy.open_for)),
            timeout_seconds: None,
            open_growth: Some(policy.open_growth),
            open_max: Some(span::text(policy.open_max)),
            half_open_max_calls: Some(policy.half_open_max),
            half_open_max: None,
            half_open_timeout: Some(span::text(policy.half_open_timeout)),
            success_threshold: policy.success_threshold,
        }
    }
}

impl From<RetryPolicy> for RetrySection {
    fn from(policy: RetryPolicy) -> Self {
        let RetryBudget { share, per_second, burst } = policy.budget;
        Self {
            max_attempts: Some(policy.max_attempts),
            initial_delay: Some(span::text(policy.initial_delay)),
            max_delay: Some(span::text(policy.max_delay)),
            backoff_multiplier: Some(policy.backoff_multiplier),
            jitter: Some(policy.jitter),
            retry_after_max: policy.retry_after_max.map(span::text),
            budget: Some(BudgetSection { share: Some(share), per_second: Some(per_second), burst: Some(burst) }),
            initial_delay_ms: None,
            max_delay_ms: None,
        }
    }
}

impl From<BulkheadPolicy> for BulkheadSection {
    fn from(policy: BulkheadPolicy) -> Self {
        Self {
            max_concurrent_calls: Some(policy.max_concurrent),
            max_wait_duration: Some(span::text(policy.max_wait)),
            max_wait_duration_ms: None,
            max_waiting: Some(policy.max_waiting),
        }
    }
}

impl From<RateLimitPolicy> for RateLimitSection {
    fn from(policy: RateLimitPolicy) -> Self {
        let (per, max_wait) = (Some(span::text(policy.per)), Some(span::text(policy.max_wait)));
        Self { calls: Some(policy.calls), per, burst: policy.burst, max_wait }
    }
}

impl From<FallbackStrategy> for FallbackSection {
    fn from(strategy: FallbackStrategy) -> Self {
        match strategy {
            FallbackStrategy::Cache { ttl } => Self::Cache { ttl: span::text(ttl) },
            FallbackStrategy::Default { value } => Self::Default { value },
            FallbackStrategy::Alternative { service } => Self::Alternative { service },
            FallbackStrategy::Degrade { features } => Self::Degrade { features },
        }
    }
}
