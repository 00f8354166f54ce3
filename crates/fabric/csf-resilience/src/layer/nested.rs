//! Judging errors through layers.

use crate::breaker::Outcome;
use crate::classify::{Classify, Verdict};
use crate::error::GuardError;
use crate::retry::Again;

/// Judges a lower layer's error: the service's own by the classifier inside, a time-out as a failure that may pass, and a refusal as
/// nothing of the service's, not to be repeated.
#[derive(Clone, Copy, Debug)]
pub struct Nested<C>(pub C);

impl<E, C: Classify<E>> Classify<GuardError<E>> for Nested<C> {
    fn classify(&self, error: &GuardError<E>) -> Verdict {
        match error {
            GuardError::Failed { source, .. } => self.0.classify(source),
            GuardError::TimedOut { .. } | GuardError::TryTimedOut { .. } => {
                Verdict { outcome: Outcome::Failure, again: Again::Yes }
            }
            GuardError::NoFallback { error, .. } => self.classify(error.as_ref()),
            GuardError::Open { .. } | GuardError::BulkheadFull { .. } | GuardError::RateLimited { .. } => {
                Verdict { outcome: Outcome::Ignored, again: Again::No }
            }
        }
    }
}
