//! What the breaker remembers of past calls: a ring of outcomes or buckets of time, and their sums.
//!
//! Invariant: the sums equal a recount of what the window holds; the property test does the recount.

use std::collections::VecDeque;
use std::time::Duration;

use super::Window;

/// Calls by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Recorded calls.
    pub calls: u64,
    /// Of those, failed.
    pub failures: u64,
    /// Of those, slow, failed or not.
    pub slow: u64,
    /// Of those, slow and failed.
    pub slow_failures: u64,
}

impl Counts {
    /// Share of failed calls in [0, 1]; 0 without calls.
    #[must_use]
    pub fn failure_rate(&self) -> f64 {
        share(self.failures, self.calls)
    }

    /// Share of slow calls in [0, 1]; 0 without calls.
    #[must_use]
    pub fn slow_rate(&self) -> f64 {
        share(self.slow, self.calls)
    }

    pub(super) fn add(&mut self, has_failed: bool, is_slow: bool) {
        self.calls += 1;
        self.failures += u64::from(has_failed);
        self.slow += u64::from(is_slow);
        self.slow_failures += u64::from(has_failed && is_slow);
    }

    fn subtract(&mut self, gone: Self) {
        self.calls -= gone.calls;
        self.failures -= gone.failures;
        self.slow -= gone.slow;
        self.slow_failures -= gone.slow_failures;
    }
}

/// A correctly rounded quotient: 11 of 20 is exactly the number that `0.55` is.
#[expect(clippy::cast_precision_loss, reason = "windows hold far fewer than 2^53 calls")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

enum Kept {
    Calls {
        size: usize,
        ring: VecDeque<Counts>,
    },
    /// Buckets by number, oldest first; a bucket without calls is not kept.
    Time {
        bucket_ns: u128,
        buckets_max: u128,
        buckets: VecDeque<(u128, Counts)>,
    },
}

/// The window of a [`super::Breaker`].
pub(super) struct History {
    kept: Kept,
    sum: Counts,
}

impl History {
    pub(super) fn new(window: Window) -> Self {
        let kept = match window {
            Window::Calls(size) => Kept::Calls { size: size.max(1) as usize, ring: VecDeque::new() },
            Window::Time(span) => {
                let span_ns = span.as_nanos().max(1);
                let buckets_max = (span_ns / 1_000_000_000).clamp(10, 60);
                Kept::Time { bucket_ns: span_ns.div_ceil(buckets_max), buckets_max, buckets: VecDeque::new() }
            }
        };
        Self { kept, sum: Counts::default() }
    }

    pub(super) fn record(&mut self, now: Duration, has_failed: bool, is_slow: bool) {
        self.expire(now);
        let mut one = Counts::default();
        one.add(has_failed, is_slow);
        match &mut self.kept {
            Kept::Calls { size, ring } => {
                if ring.len() == *size
                    && let Some(oldest) = ring.pop_front()
                {
                    self.sum.subtract(oldest);
                }
                ring.push_back(one);
            }
            Kept::Time { bucket_ns, buckets, .. } => {
                let number = now.as_nanos() / *bucket_ns;
                match buckets.back_mut() {
                    Some((last, counts)) if *last == number => counts.add(has_failed, is_slow),
                    _ => buckets.push_back((number, one)),
                }
            }
        }
        self.sum.add(has_failed, is_slow);
    }

    /// What the window holds at `now`.
    pub(super) fn counts(&mut self, now: Duration) -> Counts {
        self.expire(now);
        self.sum
    }

    fn expire(&mut self, now: Duration) {
        let Kept::Time { bucket_ns, buckets_max, buckets } = &mut self.kept else { return };
        let current = now.as_nanos() / *bucket_ns;
        while let Some((number, counts)) = buckets.front().copied()
            && number + *buckets_max <= current
        {
            buckets.pop_front();
            self.sum.subtract(counts);
        }
    }
}
