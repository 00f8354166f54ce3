//! What a guard does, as plain data: [`Policy`] with its limits, [`Section`] as it stands in a configuration file.

mod problem;
mod resolve;
mod section;
mod write;

use std::time::Duration;

pub(crate) use csf_core::span;
use serde::{Deserialize, Serialize};

pub(crate) use problem::Problems;
pub use problem::{PolicyError, Problem};
pub use section::{
    BreakerSection, BudgetSection, BulkheadSection, FallbackSection, RateLimitSection, RetrySection, Section,
};

use crate::breaker::BreakerPolicy;
use crate::bulkhead::BulkheadPolicy;
use crate::fallback::FallbackStrategy;
use crate::rate_limit::RateLimitPolicy;
use crate::retry::RetryPolicy;

/// Everything a [`crate::Guard`] does. The default does nothing: every stage is added by setting it.
///
/// Stages apply from outside in: fallback, total time-out, retry, breaker, bulkhead, rate limit, time-out of a try. Read from a file it
/// has the form of a [`Section`].
///
/// ```
/// use csf_resilience::Policy;
/// let policy: Policy = toml::from_str(
///     r#"
///     timeout = "10s"
///     [circuit_breaker]
///     failure_threshold = 5
///     timeout_seconds = 60
///     [retry_policy]
///     max_attempts = 3
///     initial_delay_ms = 100
///     "#,
/// )?;
/// assert_eq!(policy.retry.unwrap().max_delay.as_millis(), 5_000);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Section", into = "Section")]
pub struct Policy {
    /// Limit of a whole call, with its retries and waits, without its fallback.
    pub timeout: Option<Duration>,
    /// Limit of one try, without what it waited for a slot.
    pub try_timeout: Option<Duration>,
    /// Circuit breaker.
    pub breaker: Option<BreakerPolicy>,
    /// Retries.
    pub retry: Option<RetryPolicy>,
    /// Limit of concurrent tries.
    pub bulkhead: Option<BulkheadPolicy>,
    /// Limit of tries in time.
    pub rate_limit: Option<RateLimitPolicy>,
    /// What answers when the service does not, tried in this order.
    pub fallback: Vec<FallbackStrategy>,
}

impl Policy {
    /// Most fallback strategies of one policy.
    pub const FALLBACKS_MAX: usize = 8;

    /// The values of the specification for calls of quantum backends: INT-083, INT-084, and INT-085 with 10 calls and 1,000 ms.
    #[must_use]
    pub fn quantum_integration() -> Self {
        Self::integration(BulkheadPolicy::quantum_integration())
    }

    /// The values of the specification for calls of neuromorphic devices: INT-083, INT-084, and INT-085 with 50 calls and 500 ms.
    #[must_use]
    pub fn neuromorphic_integration() -> Self {
        Self::integration(BulkheadPolicy::neuromorphic_integration())
    }

    fn integration(bulkhead: BulkheadPolicy) -> Self {
        let (breaker, retry) = (BreakerPolicy::default(), RetryPolicy::default());
        Self { breaker: Some(breaker), retry: Some(retry), bulkhead: Some(bulkhead), ..Self::default() }
    }

    /// Every problem of the values, with key, reason and remedy; empty when a guard can be built.
    #[must_use]
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Problems::default();
        self.check(&mut problems);
        problems.found
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        let least = Duration::from_micros(1);
        if let Some(timeout) = self.timeout {
            problems.span("timeout", timeout, least, span::DAY);
        }
        if let Some(timeout) = self.try_timeout {
            problems.span("try_timeout", timeout, least, span::DAY);
        }
        if let (Some(total), Some(each)) = (self.timeout, self.try_timeout)
            && each > total
        {
            let (each, total) = (span::text(each), span::text(total));
            problems.add(
                "try_timeout",
                format!("a try may take {each}, the whole call only {total}"),
                "make `timeout` the longer one",
            );
        }
        if let Some(breaker) = &self.breaker {
            problems.within("circuit_breaker", |problems| breaker.validate(problems));
        }
        if let Some(retry) = &self.retry {
            problems.within("retry_policy", |problems| retry.validate(problems));
        }
        if let Some(bulkhead) = &self.bulkhead {
            problems.within("bulkhead", |problems| bulkhead.validate(problems));
        }
        if let Some(rate_limit) = &self.rate_limit {
            problems.within("rate_limit", |problems| rate_limit.validate(problems));
        }
        if self.fallback.len() > Self::FALLBACKS_MAX {
            let message = format!("{} strategies, at most {} are tried", self.fallback.len(), Self::FALLBACKS_MAX);
            problems.add("fallback", message, "keep the ones that can answer");
        }
        for (index, strategy) in self.fallback.iter().enumerate() {
            problems.within(&format!("fallback[{index}]"), |problems| strategy.validate(problems));
        }
    }
}

impl schemars::JsonSchema for Policy {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Section::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Section::json_schema(generator)
    }
}

impl TryFrom<Section> for Policy {
    type Error = PolicyError;

    fn try_from(section: Section) -> Result<Self, PolicyError> {
        section.resolve().map_err(|problems| PolicyError { problems })
    }
}
