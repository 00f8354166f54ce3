//! When a breaker opens, for how long, and what it takes to close again.

use std::time::Duration;

use crate::policy::{Problems, span};

/// Which calls the rates are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last so many calls.
    Calls(u32),
    /// The calls of this last stretch of time. Kept in buckets of a second where 10 to 60 of them make the window; shorter windows have
    /// 10 buckets, longer ones 60.
    Time(Duration),
}

/// Settings of a circuit breaker. The default is INT-083: five consecutive failures open it, after 60 s at most ten probes pass.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerPolicy {
    /// Consecutive failures that open it; 0 turns this rule off.
    pub failure_threshold: u32,
    /// Share of failed calls in the window that opens it, in (0, 1]; compared with `>=`.
    pub failure_rate: Option<f64>,
    /// Share of slow calls in the window that opens it, in (0, 1]; compared with `>=`.
    pub slow_rate: Option<f64>,
    /// A call that took longer than this is slow.
    pub slow_call: Duration,
    /// What the rates are taken over.
    pub window: Window,
    /// Calls the window must hold before a rate is judged; at most the window's size where that counts calls.
    pub minimum_calls: u32,
    /// How long it stays open.
    pub open_for: Duration,
    /// Factor on `open_for` for every further opening without a closing between, from 1.
    pub open_growth: f64,
    /// Limit of the grown wait.
    pub open_max: Duration,
    /// Probes at the same time, and in total until their verdict where `success_threshold` asks for no more.
    pub half_open_max: u32,
    /// How long it stays half-open without a verdict; then it opens again.
    pub half_open_timeout: Duration,
    /// Successful probes that close it; one failed probe opens it. `None`: the rates decide where `failure_rate` is set (over
    /// `minimum_calls` probes, at most `half_open_max`), otherwise `half_open_max` successes (FRM-112).
    pub success_threshold: Option<u32>,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            failure_threshold: 5,
            failure_rate: None,
            slow_rate: None,
            slow_call: minute,
            window: Window::Calls(100),
            minimum_calls: 100,
            open_for: minute,
            open_growth: 1.0,
            open_max: Duration::from_secs(3_600),
            half_open_max: 10,
            half_open_timeout: minute,
            success_threshold: None,
        }
    }
}

/// How probes are judged.
pub(super) enum ProbeRule {
    /// So many successes close, one failure opens.
    Successes(u32),
    /// The rates decide once so many probes are recorded.
    Rates(u32),
}

impl BreakerPolicy {
    /// Largest count window, in calls.
    pub const WINDOW_CALLS_MAX: u32 = 1_000_000;

    pub(super) fn probe_rule(&self) -> ProbeRule {
        match (self.success_threshold, self.failure_rate) {
            (Some(successes), _) => ProbeRule::Successes(successes),
            (None, Some(_)) => ProbeRule::Rates(self.minimum_calls.min(self.half_open_max)),
            (None, None) => ProbeRule::Successes(self.half_open_max),
        }
    }

    /// Probes that may be recorded or running in one half-open period.
    pub(super) fn probes_total(&self) -> u32 {
        self.half_open_max.max(self.success_threshold.unwrap_or(0))
    }

    /// Calls the closed window must hold before its rates count.
    pub(super) fn judged_from(&self) -> u32 {
        match self.window {
            Window::Calls(size) => self.minimum_calls.min(size),
            Window::Time(_) => self.minimum_calls,
        }
    }

    /// The wait of the `opening`-th opening in a row, from 1.
    pub(super) fn open_wait(&self, opening: u32) -> Duration {
        let factor = self.open_growth.powi(i32::try_from(opening.saturating_sub(1)).unwrap_or(i32::MAX));
        span::scaled(self.open_for, factor).min(self.open_max.max(self.open_for))
    }

    pub(crate) fn validate(&self, problems: &mut Problems) {
        for (key, rate) in [("failure_rate", self.failure_rate), ("slow_rate", self.slow_rate)] {
            if let Some(rate) = rate {
                problems.check(key, rate, rate > 0.0 && rate <= 1.0, "a share above 0 and at most 1");
            }
        }
        if self.failure_threshold == 0 && self.failure_rate.is_none() && self.slow_rate.is_none() {
            problems.add(
                "failure_threshold",
                "nothing opens this breaker",
                "set `failure_threshold`, `failure_rate` or `slow_rate`",
            );
        }
        match self.window {
            Window::Calls(size) => {
                problems.range("window_calls", u64::from(size), 1, u64::from(Self::WINDOW_CALLS_MAX))
            }
            Window::Time(span) => problems.span("window_time", span, Duration::from_millis(10), span::DAY),
        }
        problems.range("minimum_calls", u64::from(self.minimum_calls), 1, u64::from(Self::WINDOW_CALLS_MAX));
        problems.span("slow_call", self.slow_call, Duration::from_nanos(1), span::DAY);
        problems.span("timeout", self.open_for, Duration::from_millis(1), span::DAY);
        problems.check(
            "open_growth",
            self.open_growth,
            (1.0..=100.0).contains(&self.open_growth),
            "a factor from 1 to 100",
        );
        problems.span("open_max", self.open_max, Duration::from_millis(1), 7 * span::DAY);
        problems.range("half_open_max_calls", u64::from(self.half_open_max), 1, 100_000);
        problems.span("half_open_timeout", self.half_open_timeout, Duration::from_millis(1), span::DAY);
        if let Some(successes) = self.success_threshold {
            problems.range("success_threshold", u64::from(successes), 1, 100_000);
        }
    }
}
