//! Retries: how long to wait before trying again, and when to stop. Pure: time, randomness and the error's verdict come in.
//!
//! The delay before retry `n` (from 1) is `initial_delay · multiplier^(n-1)`, at most `max_delay`, and jitter only shortens it: INT-084
//! bounds every delay. That is why the crate `backon` 1.6 does not compute it: its jitter adds up to the delay itself on top of
//! `max_delay` (it yields 9.8 s where 5 s is the limit), its factors are `f32` (the second delay is 200.000003 ms), and its randomness is
//! its own. Budget: Finagle's `RetryBudget`. Jitter: Brooker, "Exponential Backoff and Jitter" (2015).

mod budget;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use budget::{Budget, RetryBudget};

use crate::policy::{Problems, span};

/// How chance shortens a delay, so that callers that failed together do not come again together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// The delay itself.
    #[default]
    None,
    /// Anything from nothing to the delay.
    Full,
    /// Anything from half the delay to the delay.
    Equal,
}

/// Settings of retries. The default is INT-084: three attempts, 100 ms, at most 5,000 ms, doubled.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Tries of a call, the first included; 1 never retries.
    pub max_attempts: u32,
    /// Wait before the first retry.
    pub initial_delay: Duration,
    /// Longest wait.
    pub max_delay: Duration,
    /// Factor from one wait to the next, from 1.
    pub backoff_multiplier: f64,
    /// How chance shortens a wait.
    pub jitter: Jitter,
    /// Longest wait that a service may ask for, `None` = `max_delay`. A service that asks for more is not tried again: to come earlier
    /// than it asked would be no answer to it.
    pub retry_after_max: Option<Duration>,
    /// Retries of all calls together.
    pub budget: RetryBudget,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_delay: Duration::from_millis(100),
            max_delay: Duration::from_millis(5_000),
            backoff_multiplier: 2.0,
            jitter: Jitter::None,
            retry_after_max: None,
            budget: RetryBudget::default(),
        }
    }
}

/// Whether an error is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The same again would fail again.
    No,
    /// It may pass.
    Yes,
    /// It may pass after this time: the service said so (`Retry-After`).
    After(Duration),
}

/// Why a call was not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GaveUp {
    /// The policy has no retries.
    #[error("retries are off")]
    Off,
    /// The error said that the same again would fail.
    #[error("the error is not retryable")]
    NotRetryable,
    /// The call was not declared idempotent.
    #[error("the call is not idempotent")]
    NotIdempotent,
    /// `max_attempts` were made.
    #[error("`max_attempts` = {limit}")]
    Attempts {
        /// The limit.
        limit: u32,
    },
    /// The guard's calls have used up their retries.
    #[error("the retry budget of {burst} is used up")]
    Budget {
        /// Most retries it can hold.
        burst: u32,
    },
    /// The service asked for a longer wait than allowed.
    #[error("the service asks to wait {asked:?}, `retry_after_max` = {limit:?}")]
    RetryAfter {
        /// What the service asked for.
        asked: Duration,
        /// The limit.
        limit: Duration,
    },
    /// The next try would start after the call's time is over.
    #[error("the next try in {wait:?} would start after the call's time-out")]
    NoTime {
        /// The wait before it.
        wait: Duration,
    },
    /// The next try was refused by a stage of the guard.
    #[error("the next try was refused: {code}")]
    Refused {
        /// The code of the refusal.
        code: &'static str,
    },
}

/// An attempt that failed, and what its call allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Its number, from 1.
    pub number: u32,
    /// What its error says of another try.
    pub again: Again,
    /// The call may be made twice.
    pub is_idempotent: bool,
    /// What is left of the call's time; `None` without a limit.
    pub left: Option<Duration>,
}

impl RetryPolicy {
    /// The wait before retry `retry` (from 1), given a draw from [0, 1).
    #[must_use]
    pub fn delay(&self, retry: u32, draw: f64) -> Duration {
        let power = i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX);
        let full = span::scaled(self.initial_delay, self.backoff_multiplier.powi(power)).min(self.max_delay);
        match self.jitter {
            Jitter::None => full,
            Jitter::Full => span::scaled(full, draw),
            Jitter::Equal => full - span::scaled(full, 0.5 * draw).min(full),
        }
    }

    /// How long to wait for the next attempt, paid from `budget`; `draw` is from [0, 1).
    ///
    /// # Errors
    /// [`GaveUp`] when there is no next one; the budget keeps what it has.
    pub fn next(
        &self,
        failed: FailedAttempt,
        budget: &mut Budget,
        now: Duration,
        draw: f64,
    ) -> Result<Duration, GaveUp> {
        let wait = match failed.again {
            Again::No => return Err(GaveUp::NotRetryable),
            _ if !failed.is_idempotent => return Err(GaveUp::NotIdempotent),
            _ if failed.number >= self.max_attempts => return Err(GaveUp::Attempts { limit: self.max_attempts }),
            Again::Yes => self.delay(failed.number, draw),
            Again::After(asked) => {
                let limit = self.retry_after_max.unwrap_or(self.max_delay);
                if asked > limit {
                    return Err(GaveUp::RetryAfter { asked, limit });
                }
                asked
            }
        };
        if failed.left.is_some_and(|left| left <= wait) {
            return Err(GaveUp::NoTime { wait });
        }
        if budget.withdraw(now) { Ok(wait) } else { Err(GaveUp::Budget { burst: self.budget.burst }) }
    }

    pub(crate) fn validate(&self, problems: &mut Problems) {
        problems.range("max_attempts", u64::from(self.max_attempts), 1, 1_000);
        problems.span("initial_delay", self.initial_delay, Duration::from_micros(1), span::DAY);
        problems.span("max_delay", self.max_delay, Duration::from_micros(1), span::DAY);
        if self.initial_delay > self.max_delay {
            let (initial, most) = (span::text(self.initial_delay), span::text(self.max_delay));
            problems.add(
                "initial_delay",
                format!("the first wait of {initial} is longer than `max_delay` = {most}"),
                "raise `max_delay`",
            );
        }
        let is_factor = (1.0..=100.0).contains(&self.backoff_multiplier);
        problems.check("backoff_multiplier", self.backoff_multiplier, is_factor, "a factor from 1 to 100");
        if let Some(limit) = self.retry_after_max {
            problems.span("retry_after_max", limit, Duration::ZERO, span::DAY);
        }
        problems.within("budget", |problems| self.budget.validate(problems));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_delays_of_the_specification_are_exact() {
        let policy = RetryPolicy::default();
        let delays: Vec<Duration> = (1..=8).map(|retry| policy.delay(retry, 0.9)).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000].map(|ms| ms * MS));
    }

    #[test]
    fn retry_after_wins_within_its_limit_and_ends_the_call_beyond_it() {
        let policy = RetryPolicy { retry_after_max: Some(30_000 * MS), ..RetryPolicy::default() };
        let mut budget = Budget::new(policy.budget, Duration::ZERO);
        let mut ask = |again| {
            let failed = FailedAttempt { number: 1, again, is_idempotent: true, left: None };
            policy.next(failed, &mut budget, Duration::ZERO, 0.0)
        };
        assert_eq!(ask(Again::After(20_000 * MS)), Ok(20_000 * MS));
        assert_eq!(ask(Again::After(MS)), Ok(MS), "earlier than the delay, as asked");
        let (asked, limit) = (31_000 * MS, 30_000 * MS);
        assert_eq!(ask(Again::After(limit)), Ok(limit));
        assert_eq!(ask(Again::After(asked)), Err(GaveUp::RetryAfter { asked, limit }));
        assert_eq!(ask(Again::No), Err(GaveUp::NotRetryable));
        assert!((budget.left(Duration::ZERO) - 7.0).abs() < 1e-9, "a refusal costs nothing");
    }

    proptest! {
        #[test]
        fn no_delay_exceeds_its_limit(
            retry in 1u32..2_000, draw in 0.0..1.0f64, initial_ms in 1u32..10_000, more_ms in 0u32..10_000, factor in 1.0..100.0f64,
        ) {
            for jitter in [Jitter::None, Jitter::Full, Jitter::Equal] {
                let policy = RetryPolicy {
                    initial_delay: initial_ms * MS,
                    max_delay: (initial_ms + more_ms) * MS,
                    backoff_multiplier: factor,
                    jitter,
                    ..RetryPolicy::default()
                };
                let (delay, full) = (policy.delay(retry, draw), RetryPolicy { jitter: Jitter::None, ..policy.clone() }.delay(retry, 0.0));
                prop_assert!(delay <= policy.max_delay);
                prop_assert!(delay <= full);
                prop_assert!(jitter != Jitter::Equal || delay >= full / 2);
            }
        }
    }
}
