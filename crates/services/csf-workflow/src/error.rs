//! What an engine answers when it cannot do as asked.

use csf_core::port::LogError;

use crate::Failure;

/// Code that decides otherwise than its history says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error(
    "entry {event} of the history is {expected}, the code decides {got}; keep the old code behind `patch`, or reset the run to before it"
)]
pub struct NonDeterminism {
    /// Number of the entry where they part.
    pub event: u64,
    /// What the history has there.
    pub expected: String,
    /// What the code decides.
    pub got: String,
}

impl NonDeterminism {
    pub(crate) fn new(event: u64, expected: &str, got: &str) -> Self {
        Self { event, expected: expected.to_owned(), got: got.to_owned() }
    }
}

/// A failed call of an engine.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkflowError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// No workflow of this name is registered.
    #[error("no workflow `{name}` is registered here; there are {known:?}")]
    UnknownWorkflow {
        /// The name.
        name: String,
        /// Those that are.
        known: Vec<String>,
    },
    /// There is no such run.
    #[error("there is no workflow run `{id}`")]
    UnknownRun {
        /// The id.
        id: String,
    },
    /// The id is taken.
    #[error("workflow run `{id}` exists already; choose another id")]
    Exists {
        /// The id.
        id: String,
    },
    /// The run has ended.
    #[error("workflow run `{id}` has ended: {how}")]
    Ended {
        /// The id.
        id: String,
        /// How.
        how: String,
    },
    /// An id that cannot be one.
    #[error("`{id}` is no id of a workflow run: 1 to {limit} bytes without control characters and `~`")]
    BadId {
        /// The id.
        id: String,
        /// Longest id, bytes.
        limit: usize,
    },
    /// Search attributes outside the limits.
    #[error("{reason}")]
    BadAttributes {
        /// Which, and the limit.
        reason: String,
    },
    /// The code does not fit the history.
    #[error("run `{id}` cannot go on: {reason}")]
    NonDeterminism {
        /// The id.
        id: String,
        /// Where they part.
        reason: NonDeterminism,
    },
    /// The run cannot go on as things are, so it has no end to wait for.
    #[error("run `{id}` is blocked: {reason}")]
    Blocked {
        /// The id.
        id: String,
        /// Why.
        reason: String,
    },
    /// The run cannot be reset to that entry.
    #[error("run `{id}` cannot be reset to entry {to}: {reason}")]
    Reset {
        /// The id.
        id: String,
        /// Number of the last entry that was to be kept.
        to: u64,
        /// Why, and what to do.
        reason: String,
    },
    /// The history cannot be read.
    #[error("the history of run `{id}` cannot be read at entry {version}: {reason}")]
    BadHistory {
        /// The id.
        id: String,
        /// Number of the entry.
        version: u64,
        /// Why.
        reason: String,
    },
    /// The run's own refusal: of an update or a query.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// The engine has been closed.
    #[error("the workflow engine is closed")]
    Closed,
}
