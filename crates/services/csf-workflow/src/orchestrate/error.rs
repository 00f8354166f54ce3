//! Why a workflow of steps is not carried out, or its result not given.

use csf_core::Stamp;
use csf_core::port::OrchestrationError;
use serde::{Deserialize, Serialize};

use super::STEPS_MAX;
use crate::WorkflowError;

/// A workflow of steps that cannot be, or did not go as it must.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OrchestratorError {
    /// Two steps of one id.
    #[error("step `{step}` is there twice; give each step an id of its own")]
    DuplicateStep {
        /// The id.
        step: String,
    },
    /// A constraint names a step that is not there.
    #[error("the constraint on `{step}` after `{dependency}` names a step that is not there")]
    UnknownStep {
        /// Who waits.
        step: String,
        /// For what.
        dependency: String,
    },
    /// More steps than one workflow has.
    #[error("the workflow has {steps} steps, and {STEPS_MAX} go; split it")]
    TooManySteps {
        /// Its steps.
        steps: usize,
    },
    /// Steps that wait for each other.
    #[error("steps wait for each other: {}", steps.join(" after "))]
    Cycle {
        /// Each waits for the next; the first is the last.
        steps: Vec<String>,
    },
    /// No registered service can do this step.
    #[error("no registered service can execute step `{0}` within its timing and resources")]
    NoCapableService(String),
    /// The registry cannot be asked.
    #[error("the registry cannot be asked: {reason}")]
    Registry {
        /// In its words.
        reason: String,
    },
    /// A step began before one of its causes was complete, by the stamps of their services.
    #[error(
        "step `{step}` began at {started}, before `{dependency}`, which it follows from, was complete at {ended}; the result does not count"
    )]
    OutOfOrder {
        /// The cause.
        dependency: String,
        /// When that was complete.
        ended: Stamp,
        /// The step.
        step: String,
        /// When it began.
        started: Stamp,
    },
    /// A step failed.
    #[error("step `{step}` failed: {reason}")]
    Step {
        /// The step.
        step: String,
        /// Why.
        reason: String,
    },
    /// The engine failed.
    #[error("{reason}")]
    Engine {
        /// In its words.
        reason: String,
    },
}

impl From<WorkflowError> for OrchestratorError {
    /// What the run says of itself comes back as it was said.
    fn from(error: WorkflowError) -> Self {
        let own = match &error {
            WorkflowError::Refused(failure) => failure.details.as_ref().and_then(|details| details.parse().ok()),
            _ => None,
        };
        own.unwrap_or_else(|| Self::Engine { reason: error.to_string() })
    }
}

impl From<OrchestrationError> for OrchestratorError {
    fn from(error: OrchestrationError) -> Self {
        match error {
            OrchestrationError::NoCapableService(step) => Self::NoCapableService(step),
            other => Self::Registry { reason: other.to_string() },
        }
    }
}
