//! From a section of a file to the policy it means, and every problem on the way.

use std::time::Duration;

use super::section::{BreakerSection, BulkheadSection, FallbackSection, RateLimitSection, RetrySection, Section};
use super::{Policy, Problem, Problems, span};
use crate::breaker::{BreakerPolicy, Window};
use crate::bulkhead::BulkheadPolicy;
use crate::fallback::FallbackStrategy;
use crate::rate_limit::RateLimitPolicy;
use crate::retry::{RetryBudget, RetryPolicy};

impl Section {
    /// The policy it means.
    ///
    /// # Errors
    /// Every problem, with keys relative to this section.
    pub fn resolve(&self) -> Result<Policy, Vec<Problem>> {
        let mut read = Problems::default();
        let policy = Policy {
            timeout: self.timeout.as_deref().map(|text| read.time("timeout", text)),
            try_timeout: self.try_timeout.as_deref().map(|text| read.time("try_timeout", text)),
            breaker: self.circuit_breaker.as_ref().map(|s| read.within("circuit_breaker", |read| s.resolve(read))),
            retry: self.retry_policy.as_ref().map(|s| read.within("retry_policy", |read| s.resolve(read))),
            bulkhead: self.bulkhead.as_ref().map(|s| read.within("bulkhead", |read| s.resolve(read))),
            rate_limit: self.rate_limit.as_ref().map(|s| read.within("rate_limit", |read| s.resolve(read))),
            fallback: self
                .fallback
                .iter()
                .enumerate()
                .map(|(index, entry)| read.within(&format!("fallback[{index}]"), |read| entry.resolve(read)))
                .collect(),
        };
        let unreadable: Vec<String> = read.found.iter().map(|problem| problem.key.clone()).collect();
        let mut values = policy.validate();
        // A time that could not be read stands as zero: one finding is enough.
        values.retain(|problem| !unreadable.contains(&problem.key));
        read.found.extend(values);
        if read.found.is_empty() { Ok(policy) } else { Err(read.found) }
    }
}

impl Problems {
    fn time(&mut self, key: &str, text: &str) -> Duration {
        span::parse(text).unwrap_or_else(|| {
            let help = "write a number with a unit: ns, us, ms, s, min or h, such as \"60s\"";
            self.add(key, format!("`{text}` is no duration"), help);
            Duration::ZERO
        })
    }

    fn time_or(&mut self, key: &str, text: Option<&String>, default: Duration) -> Duration {
        text.map_or(default, |text| self.time(key, text))
    }

    /// A time that has two keys.
    fn either(
        &mut self,
        key: &str,
        text: Option<&String>,
        unit: &str,
        number: Option<Duration>,
        default: Duration,
    ) -> Duration {
        if text.is_some() && number.is_some() {
            self.add(key, format!("`{key}` and `{key}_{unit}` are both set"), "keep one of them");
        }
        number.unwrap_or_else(|| self.time_or(key, text, default))
    }
}

impl BreakerSection {
    fn resolve(&self, read: &mut Problems) -> BreakerPolicy {
        let default = BreakerPolicy::default();
        if self.window_calls.is_some() && self.window_time.is_some() {
            read.add("window_time", "`window_calls` and `window_time` are both set", "keep one of them");
        }
        if self.half_open_max_calls.is_some() && self.half_open_max.is_some() {
            let message = "`half_open_max_calls` and `half_open_max` are both set";
            read.add("half_open_max_calls", message, "keep one of them");
        }
        let window = match (&self.window_time, self.window_calls) {
            (Some(text), _) => Window::Time(read.time("window_time", text)),
            (None, Some(calls)) => Window::Calls(calls),
            (None, None) => default.window,
        };
        let seconds = self.timeout_seconds.map(Duration::from_secs);
        BreakerPolicy {
            failure_threshold: self.failure_threshold.unwrap_or(default.failure_threshold),
            failure_rate: self.failure_rate,
            slow_rate: self.slow_rate,
            slow_call: read.time_or("slow_call", self.slow_call.as_ref(), default.slow_call),
            window,
            minimum_calls: self.minimum_calls.unwrap_or(default.minimum_calls),
            open_for: read.either("timeout", self.timeout.as_ref(), "seconds", seconds, default.open_for),
            open_growth: self.open_growth.unwrap_or(default.open_growth),
            open_max: read.time_or("open_max", self.open_max.as_ref(), default.open_max),
            half_open_max: self.half_open_max_calls.or(self.half_open_max).unwrap_or(default.half_open_max),
            half_open_timeout: read.time_or(
                "half_open_timeout",
                self.half_open_timeout.as_ref(),
                default.half_open_timeout,
            ),
            success_threshold: self.success_threshold,
        }
    }
}

impl RetrySection {
    fn resolve(&self, read: &mut Problems) -> RetryPolicy {
        let default = RetryPolicy::default();
        let initial_ms = self.initial_delay_ms.map(Duration::from_millis);
        let max_ms = self.max_delay_ms.map(Duration::from_millis);
        let budget = self.budget.clone().unwrap_or_default();
        RetryPolicy {
            max_attempts: self.max_attempts.unwrap_or(default.max_attempts),
            initial_delay: read.either(
                "initial_delay",
                self.initial_delay.as_ref(),
                "ms",
                initial_ms,
                default.initial_delay,
            ),
            max_delay: read.either("max_delay", self.max_delay.as_ref(), "ms", max_ms, default.max_delay),
            backoff_multiplier: self.backoff_multiplier.unwrap_or(default.backoff_multiplier),
            jitter: self.jitter.unwrap_or(default.jitter),
            retry_after_max: self.retry_after_max.as_deref().map(|text| read.time("retry_after_max", text)),
            budget: RetryBudget {
                share: budget.share.unwrap_or(default.budget.share),
                per_second: budget.per_second.unwrap_or(default.budget.per_second),
                burst: budget.burst.unwrap_or(default.budget.burst),
            },
        }
    }
}

impl BulkheadSection {
    fn resolve(&self, read: &mut Problems) -> BulkheadPolicy {
        let default = BulkheadPolicy::default();
        let wait_ms = self.max_wait_duration_ms.map(Duration::from_millis);
        BulkheadPolicy {
            max_concurrent: self.max_concurrent_calls.unwrap_or(default.max_concurrent),
            max_wait: read.either(
                "max_wait_duration",
                self.max_wait_duration.as_ref(),
                "ms",
                wait_ms,
                default.max_wait,
            ),
            max_waiting: self.max_waiting.unwrap_or(default.max_waiting),
        }
    }
}

impl RateLimitSection {
    fn resolve(&self, read: &mut Problems) -> RateLimitPolicy {
        let default = RateLimitPolicy::default();
        RateLimitPolicy {
            calls: self.calls.unwrap_or(default.calls),
            per: read.time_or("per", self.per.as_ref(), default.per),
            burst: self.burst,
            max_wait: read.time_or("max_wait", self.max_wait.as_ref(), default.max_wait),
        }
    }
}

impl FallbackSection {
    fn resolve(&self, read: &mut Problems) -> FallbackStrategy {
        match self.clone() {
            Self::Cache { ttl } => FallbackStrategy::Cache { ttl: read.time("cache.ttl", &ttl) },
            Self::Default { value } => FallbackStrategy::Default { value },
            Self::Alternative { service } => FallbackStrategy::Alternative { service },
            Self::Degrade { features } => FallbackStrategy::Degrade { features },
        }
    }
}
