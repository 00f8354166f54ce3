//! The retries that all calls of a guard share: a bucket that calls and time fill, and retries empty.
//!
//! It bounds the load that retries add when everything fails: with a share of 0.1, a tenth of the calls.

use std::time::Duration;

use crate::policy::Problems;

/// Settings of a [`Budget`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Retries that a call earns.
    pub share: f64,
    /// Retries that a second earns, so that rare calls may be retried too.
    pub per_second: f64,
    /// Most retries that can be saved up; as many are there at the start.
    pub burst: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { share: 0.1, per_second: 1.0, burst: 10 }
    }
}

impl RetryBudget {
    pub(crate) fn validate(&self, problems: &mut Problems) {
        problems.check("share", self.share, (0.0..=100.0).contains(&self.share), "a number from 0 to 100");
        problems.check(
            "per_second",
            self.per_second,
            (0.0..=1e6).contains(&self.per_second),
            "a number from 0 to 1000000",
        );
        problems.range("burst", u64::from(self.burst), 1, 1_000_000);
    }
}

/// The bucket.
#[derive(Clone, Debug)]
pub struct Budget {
    settings: RetryBudget,
    tokens: f64,
    at: Duration,
    spent: u64,
    refused: u64,
}

impl Budget {
    /// A full bucket.
    #[must_use]
    pub fn new(settings: RetryBudget, now: Duration) -> Self {
        Self { settings, tokens: f64::from(settings.burst), at: now, spent: 0, refused: 0 }
    }

    /// A call was made.
    pub fn deposit(&mut self, now: Duration) {
        self.fill(now);
        self.tokens = (self.tokens + self.settings.share).min(f64::from(self.settings.burst));
    }

    /// Takes one retry, if one is there.
    pub fn withdraw(&mut self, now: Duration) -> bool {
        self.fill(now);
        // Ten deposits of a tenth are one retry, whatever their rounding.
        let is_enough = self.tokens > 1.0 - 1e-9;
        if is_enough {
            self.tokens = (self.tokens - 1.0).max(0.0);
            self.spent += 1;
        } else {
            self.refused += 1;
        }
        is_enough
    }

    /// Retries that are there.
    pub fn left(&mut self, now: Duration) -> f64 {
        self.fill(now);
        self.tokens
    }

    /// Retries taken ever.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent
    }

    /// Retries refused ever.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// New settings; what is saved stays, up to the new limit.
    pub fn reconfigure(&mut self, settings: RetryBudget, now: Duration) {
        self.fill(now);
        self.settings = settings;
        self.tokens = self.tokens.min(f64::from(settings.burst));
    }

    fn fill(&mut self, now: Duration) {
        let earned = now.saturating_sub(self.at).as_secs_f64() * self.settings.per_second;
        self.at = self.at.max(now);
        self.tokens = (self.tokens + earned).min(f64::from(self.settings.burst));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_calls_earn_one_retry_and_time_another() {
        let mut budget = Budget::new(RetryBudget::default(), Duration::ZERO);
        let start = Duration::ZERO;
        assert!((0..10).all(|_| budget.withdraw(start)));
        assert!(!budget.withdraw(start));
        (0..9).for_each(|_| budget.deposit(start));
        assert!(!budget.withdraw(start));
        budget.deposit(start);
        assert!(budget.withdraw(start) && !budget.withdraw(start));
        assert!(budget.withdraw(Duration::from_secs(1)));
        assert!((budget.left(Duration::from_secs(3_600)) - 10.0).abs() < 1e-9, "no more than the burst");
        assert_eq!((budget.spent(), budget.refused()), (12, 3));
    }
}
