//! What a desk answers when it cannot do as asked.

use crate::WorkflowError;

/// A failed call of a [`TaskDesk`](super::TaskDesk).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// A request that does not have the expected form.
    #[error("{reason}")]
    Bad {
        /// What is wrong, and the limit.
        reason: String,
    },
    /// There is no such task.
    #[error("there is no task `{id}`")]
    Unknown {
        /// The id.
        id: String,
    },
    /// The lease is over: the task is another agent's, waits for one, or has ended. Nothing was changed.
    #[error("the lease on task `{id}` is over: {reason}")]
    Stale {
        /// The id.
        id: String,
        /// Who has the task now.
        reason: String,
    },
    /// The agent cannot work at all; the task that it had was released.
    #[error("the agent cannot work: {reason}")]
    Unable {
        /// Why.
        reason: String,
    },
    /// The engine failed.
    #[error(transparent)]
    Workflow(#[from] WorkflowError),
}
