//! What a run's task is told, and who waits for the answer.

use csf_core::port::{EventId, Json, Origin};
use tokio::sync::oneshot;

use crate::history::HistoryEvent;
use crate::{Failure, FailureKind, ParentClosePolicy, WorkflowError};

pub(super) type Answer<T> = oneshot::Sender<Result<T, WorkflowError>>;

/// What a run's task is told.
pub(super) enum Input {
    /// The run is to begin.
    Start {
        started: HistoryEvent,
        id: Option<EventId>,
        origin: Origin,
        /// Whether this begins it, and not an earlier one of the same name.
        done: Answer<bool>,
    },
    /// Something happened.
    Happened {
        event: HistoryEvent,
        id: Option<EventId>,
        done: Option<Answer<()>>,
    },
    Update {
        id: EventId,
        name: String,
        payload: Json,
        done: Answer<Json>,
    },
    Query {
        name: String,
        input: Json,
        done: Answer<Json>,
    },
    Terminate {
        failure: Failure,
        done: Option<Answer<()>>,
    },
    /// There may be something to carry out.
    Wake,
    /// Others need the room: it is to leave the memory if nothing else has come.
    Leave,
}

impl Input {
    /// What a parent's end means to a child under this policy.
    pub(super) fn parent_ended(policy: ParentClosePolicy) -> Self {
        let reason = "its parent has ended";
        match policy {
            ParentClosePolicy::Terminate => {
                Self::Terminate { failure: Failure::of(FailureKind::Terminated, reason), done: None }
            }
            _ => {
                let event = HistoryEvent::CancelRequested { reason: reason.to_owned() };
                Self::Happened { event, id: None, done: None }
            }
        }
    }

    pub(super) fn refuse(self, error: &WorkflowError) {
        // Who asked may have gone away.
        match self {
            Self::Start { done, .. } => _ = done.send(Err(error.clone())),
            Self::Happened { done, .. } | Self::Terminate { done, .. } => {
                done.into_iter().for_each(|done| _ = done.send(Err(error.clone())));
            }
            Self::Update { done, .. } | Self::Query { done, .. } => _ = done.send(Err(error.clone())),
            Self::Wake | Self::Leave => {}
        }
    }
}
