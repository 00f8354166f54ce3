//! Who has a task: the pure rule, and the workflow that goes by it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use csf_core::port::Json;
use serde::{Deserialize, Serialize};

use super::{TASK_WORKFLOW, TaskRequest};
use crate::{Failure, Workflow, WorkflowContext};

/// The update by which a task changes hands.
pub(super) const MOVE: &str = "move";

/// The query by which an agent that has taken a task learns what it is.
pub(super) const SEEN: &str = "task";

/// A task as its run sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) request: TaskRequest,
    /// Of the agent that has it.
    pub(super) token: Option<String>,
    /// Agents that have had it.
    pub(super) attempt: u32,
}

/// A change of hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Move {
    /// An agent takes it.
    Take { agent: String, token: String },
    /// The agent has done it.
    Complete { token: String, output: Json },
    /// The agent has not done it, or nobody has heard of it.
    GiveBack { token: String, reason: String, then: Then },
}

/// What follows when a task is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Then {
    /// Another agent may try.
    Retry,
    /// As if this one had never had it.
    Forget,
    /// It has failed.
    Fail,
}

/// The agent that has the task, or had it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) agent: String,
    pub(super) token: String,
}

/// Who has a task, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Assignment {
    /// Agents that may have it; 0 means any number.
    pub(super) attempts_max: u32,
    /// Agents that have had it.
    pub(super) attempt: u32,
    pub(super) holder: Option<Holder>,
    /// Why the last agent gave it back.
    pub(super) last_failure: Option<String>,
    pub(super) outcome: Option<Result<Json, String>>,
}

impl Assignment {
    /// Whether the change is the holder's to make, or the task free to be taken.
    pub(super) fn check(&self, change: &Move) -> Result<(), String> {
        match (change, &self.holder) {
            _ if self.outcome.is_some() => Err("the task has ended".into()),
            (Move::Take { .. }, None) => Ok(()),
            (Move::Take { .. }, Some(holder)) => Err(format!("agent `{}` has the task", holder.agent)),
            (Move::Complete { .. } | Move::GiveBack { .. }, None) => Err("the task waits for another agent".into()),
            (Move::Complete { token, .. } | Move::GiveBack { token, .. }, Some(holder)) if *token == holder.token => {
                Ok(())
            }
            (_, Some(holder)) => Err(format!("agent `{}` has the task now", holder.agent)),
        }
    }

    /// Makes the change; one that is not allowed changes nothing.
    pub(super) fn apply(&mut self, change: Move) {
        if self.check(&change).is_err() {
            return;
        }
        match change {
            Move::Take { agent, token } => {
                self.attempt += 1;
                self.holder = Some(Holder { agent, token });
            }
            Move::Complete { output, .. } => self.outcome = Some(Ok(output)),
            Move::GiveBack { then: Then::Forget, .. } => {
                self.attempt -= 1;
                self.holder = None;
            }
            Move::GiveBack { reason, then, .. } => {
                let is_last = self.attempts_max > 0 && self.attempt >= self.attempts_max;
                if then == Then::Fail || is_last {
                    self.outcome = Some(Err(reason.clone()));
                } else {
                    self.holder = None;
                }
                self.last_failure = Some(reason);
            }
        }
    }
}

fn lock(assignment: &Mutex<Assignment>) -> MutexGuard<'_, Assignment> {
    assignment.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The workflow of tasks: it waits for agents, and ends when one has done the task, none may try any more, or it is asked to end.
#[must_use]
pub fn task_workflow() -> Workflow {
    Workflow::new(TASK_WORKFLOW, |cx: WorkflowContext, request: TaskRequest| async move {
        request.check().map_err(|error| Failure::fatal("task", error.to_string()))?;
        let own = Assignment { attempts_max: request.attempts, ..Assignment::default() };
        let assignment = Arc::new(Mutex::new(own));
        let (checked, changed) = (assignment.clone(), assignment.clone());
        cx.on_update(
            MOVE,
            move |change: &Move| lock(&checked).check(change).map_err(|reason| Failure::fatal("stale", reason)),
            move |_, change: Move| {
                let changed = changed.clone();
                async move {
                    lock(&changed).apply(change);
                    Ok::<_, Failure>(())
                }
            },
        );
        let shown = assignment.clone();
        cx.on_query(SEEN, move |(): ()| {
            let shown = lock(&shown);
            let token = shown.holder.as_ref().map(|holder| holder.token.clone());
            Ok(Seen { request: request.clone(), token, attempt: shown.attempt })
        });
        // Code is asked again after every update.
        let over = poll_fn(|_| lock(&assignment).outcome.take().map_or(Poll::Pending, Poll::Ready));
        tokio::select! {
            biased;
            outcome = over => outcome.map_err(|reason| Failure::fatal("task", reason)),
            _ = cx.cancelled() => Err(Failure::cancelled()),
        }
    })
}
