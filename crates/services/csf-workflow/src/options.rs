//! How activities, children and runs are to be treated.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Failure, FailureKind};

/// Which failed tries are followed by another one, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Pause after the first try.
    pub initial: Duration,
    /// Each pause is this many times the one before; at least 1.
    pub factor: f64,
    /// Longest pause.
    pub max: Duration,
    /// Tries in all; 0 means no limit but the time-outs.
    pub attempts: u32,
    /// Names of application failures that end it at once.
    pub fatal: Vec<String>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            factor: 2.0,
            max: Duration::from_secs(100),
            attempts: 0,
            fatal: Vec::new(),
        }
    }
}

impl RetryPolicy {
    /// One try.
    #[must_use]
    pub fn never() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// At most this many tries.
    #[must_use]
    pub fn attempts(attempts: u32) -> Self {
        Self { attempts, ..Self::default() }
    }

    /// The pause after try number `attempt` (from 1) that ended so; `None` when it was the last.
    #[must_use]
    pub fn pause(&self, attempt: u32, failure: &Failure) -> Option<Duration> {
        let is_fatal = matches!(&failure.kind, FailureKind::Application(name) if self.fatal.contains(name));
        if !failure.is_retryable || is_fatal || (self.attempts > 0 && attempt >= self.attempts) {
            return None;
        }
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let pause = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        Some(Duration::try_from_secs_f64(pause).unwrap_or(self.max).min(self.max))
    }
}

/// The times and tries of an activity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActivityOptions {
    /// From when it is scheduled to when a worker takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_to_start: Option<Duration>,
    /// One try.
    pub start_to_close: Duration,
    /// All tries and the pauses between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_to_close: Option<Duration>,
    /// Between two signs of life of a try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Duration>,
    /// Which failed tries are followed by another one.
    pub retry: RetryPolicy,
}

impl ActivityOptions {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Part of the form of histories: a run that was scheduled under the default is under this one for ever.
impl Default for ActivityOptions {
    fn default() -> Self {
        Self {
            schedule_to_start: None,
            start_to_close: Duration::from_secs(60),
            schedule_to_close: None,
            heartbeat: None,
            retry: RetryPolicy::default(),
        }
    }
}

/// What becomes of a child when its parent ends first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentClosePolicy {
    /// It is asked to end.
    #[default]
    Cancel,
    /// It is ended.
    Terminate,
    /// It goes on.
    Abandon,
}
