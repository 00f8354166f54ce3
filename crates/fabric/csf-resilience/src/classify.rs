//! What an error says: of the service's health, and of another try.

use std::time::Duration;

use crate::breaker::Outcome;
use crate::retry::Again;

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// For the breaker, and for the fallback: only a failure of the service gets one.
    pub outcome: Outcome,
    /// For the retries.
    pub again: Again,
}

impl Verdict {
    /// The service failed; another try may pass.
    pub const TRANSIENT: Self = Self { outcome: Outcome::Failure, again: Again::Yes };
    /// The service failed; another try would fail too.
    pub const PERMANENT: Self = Self { outcome: Outcome::Failure, again: Again::No };
    /// The caller's own mistake, such as bad input: says nothing about the service.
    pub const IGNORED: Self = Self { outcome: Outcome::Ignored, again: Again::No };
    /// An error in form, but the service works: "not found".
    pub const SUCCESS: Self = Self { outcome: Outcome::Success, again: Again::No };

    /// The service failed and asks to come again after `wait`.
    #[must_use]
    pub fn retry_after(wait: Duration) -> Self {
        Self { outcome: Outcome::Failure, again: Again::After(wait) }
    }
}

/// Judges errors. A closure `|error: &E| Verdict` is one.
pub trait Classify<E: ?Sized> {
    /// What `error` says.
    fn classify(&self, error: &E) -> Verdict;
}

/// Every error is a failure of the service that may pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EveryError;

impl<E: ?Sized> Classify<E> for EveryError {
    fn classify(&self, _: &E) -> Verdict {
        Verdict::TRANSIENT
    }
}

impl<E: ?Sized, F: Fn(&E) -> Verdict> Classify<E> for F {
    fn classify(&self, error: &E) -> Verdict {
        self(error)
    }
}
