//! How a guarded call fails. Every variant names the guard, the limit with its key and value, and what to do.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::breaker::{BreakerState, Outcome, Refusal};
use crate::bulkhead::Full;
use crate::rate_limit::Limited;
use crate::retry::GaveUp;

/// No answer.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardError<E> {
    /// `CSF-0701`: the breaker lets nothing through; the service was not called.
    Open {
        /// The guard.
        guard: Arc<str>,
        /// Where the breaker stands.
        state: BreakerState,
        /// When probes pass, if a time is set.
        retry_in: Option<Duration>,
    },
    /// `CSF-0702`: no slot came free; the service was not called.
    BulkheadFull {
        /// The guard.
        guard: Arc<str>,
        /// The limits, and the wait.
        full: Full,
    },
    /// `CSF-0703`: the turn comes too late; the service was not called.
    RateLimited {
        /// The guard.
        guard: Arc<str>,
        /// The limits, and the next turn.
        limited: Limited,
    },
    /// `CSF-0704`: the call's time is over.
    TimedOut {
        /// The guard.
        guard: Arc<str>,
        /// The limit.
        limit: Duration,
        /// Tries begun.
        attempts: u32,
        /// The last error before, if a try failed.
        source: Option<E>,
    },
    /// `CSF-0705`: the last try took too long.
    TryTimedOut {
        /// The guard.
        guard: Arc<str>,
        /// The limit.
        limit: Duration,
        /// Tries made.
        attempts: u32,
        /// Why there was no other.
        gave_up: GaveUp,
    },
    /// `CSF-0706`: the service failed.
    Failed {
        /// The guard.
        guard: Arc<str>,
        /// Tries made.
        attempts: u32,
        /// Why there was no other.
        gave_up: GaveUp,
        /// What the error says of the service.
        outcome: Outcome,
        /// The last error.
        source: E,
    },
    /// `CSF-0707`: the service gave no answer, and no fallback had one.
    NoFallback {
        /// Why the service gave none.
        error: Box<GuardError<E>>,
        /// Why each fallback gave none.
        missed: Vec<String>,
    },
}

impl<E> GuardError<E> {
    /// The error's page in `docs/errors`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "CSF-0701",
            Self::BulkheadFull { .. } => "CSF-0702",
            Self::RateLimited { .. } => "CSF-0703",
            Self::TimedOut { .. } => "CSF-0704",
            Self::TryTimedOut { .. } => "CSF-0705",
            Self::Failed { .. } => "CSF-0706",
            Self::NoFallback { .. } => "CSF-0707",
        }
    }

    /// The guard refused: the service was not called.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Open { .. } | Self::BulkheadFull { .. } | Self::RateLimited { .. } => true,
            Self::NoFallback { error, .. } => error.is_refusal(),
            _ => false,
        }
    }

    /// When another call may pass, where that is known.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::Open { retry_in, .. } => *retry_in,
            Self::RateLimited { limited, .. } => Some(limited.retry_in),
            Self::NoFallback { error, .. } => error.retry_in(),
            _ => None,
        }
    }

    /// The service's own error, if it gave one.
    #[must_use]
    pub fn into_service_error(self) -> Option<E> {
        match self {
            Self::Failed { source, .. } => Some(source),
            Self::TimedOut { source, .. } => source,
            Self::NoFallback { error, .. } => error.into_service_error(),
            _ => None,
        }
    }

    /// The caller's own mistake gets no fallback; everything else does.
    pub(crate) fn wants_fallback(&self) -> bool {
        !matches!(self, Self::Failed { outcome: Outcome::Ignored | Outcome::Success, .. })
    }
}

impl<E> fmt::Display for GuardError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { guard, state, retry_in: Some(wait) } => write!(
                f,
                "guard `{guard}`: the circuit breaker is {state} and lets probes pass in {wait:?}; \
                 answer without the service until then"
            ),
            Self::Open { guard, state, retry_in: None } => {
                write!(f, "guard `{guard}`: the circuit breaker is {state}; answer without the service for now")
            }
            Self::BulkheadFull { guard, full } => {
                let Full { max_concurrent, max_wait, waited, waiting } = full;
                write!(f, "guard `{guard}`: all `bulkhead.max_concurrent_calls` = {max_concurrent} slots are taken")?;
                match waiting {
                    Some(waiting) => {
                        write!(f, " and {waiting} calls wait already, as many as `bulkhead.max_waiting` allows")?
                    }
                    None => write!(f, " after {waited:?} of `bulkhead.max_wait_duration` = {max_wait:?}")?,
                }
                f.write_str("; raise a limit, or call less at a time")
            }
            Self::RateLimited { guard, limited: Limited { calls, per, max_wait, retry_in } } => write!(
                f,
                "guard `{guard}`: `rate_limit.calls` = {calls} in {per:?} are made; the next turn is {retry_in:?} away, \
                 further than `rate_limit.max_wait` = {max_wait:?}; raise a limit, or call less"
            ),
            Self::TimedOut { guard, limit, attempts, .. } => write!(
                f,
                "guard `{guard}`: no answer within `timeout` = {limit:?}, {attempts} tries begun; \
                 raise it, or shorten the tries and their waits"
            ),
            Self::TryTimedOut { guard, limit, attempts, gave_up } => write!(
                f,
                "guard `{guard}`: try {attempts} took longer than `try_timeout` = {limit:?}, no other is made: {gave_up}"
            ),
            Self::Failed { guard, attempts, gave_up, .. } => {
                write!(f, "guard `{guard}`: try {attempts} failed, no other is made: {gave_up}")
            }
            Self::NoFallback { error, missed } => write!(f, "{error}; no fallback answered: {}", missed.join(", ")),
        }
    }
}

impl<E: Error + 'static> Error for GuardError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed { source, .. } | Self::TimedOut { source: Some(source), .. } => Some(source),
            Self::NoFallback { error, .. } => error.source(),
            _ => None,
        }
    }
}

/// A stage let no try through.
pub(crate) enum Refused {
    Breaker(Refusal),
    Bulkhead(Full),
    RateLimit(Limited),
}

impl Refused {
    pub(crate) fn into_error<E>(self, guard: Arc<str>) -> GuardError<E> {
        match self {
            Self::Breaker(Refusal { state, retry_in, .. }) => GuardError::Open { guard, state, retry_in },
            Self::Bulkhead(full) => GuardError::BulkheadFull { guard, full },
            Self::RateLimit(limited) => GuardError::RateLimited { guard, limited },
        }
    }

    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Breaker(_) => "CSF-0701",
            Self::Bulkhead(_) => "CSF-0702",
            Self::RateLimit(_) => "CSF-0703",
        }
    }
}
