//! A task as people see it: its history, read without running its code.

use std::collections::HashMap;

use csf_core::Stamp;
use csf_core::port::Json;
use serde::{Deserialize, Serialize};

use super::assignment::{Assignment, Holder, MOVE, Move};
use super::{TASK_WORKFLOW, TaskRequest};
use crate::{HistoryEntry, HistoryEvent};

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It waits for an agent.
    Queued,
    /// An agent has it.
    Running,
    /// It is done.
    Completed,
    /// It is not done, and will not be.
    Failed,
    /// It was asked to end.
    Cancelled,
}

impl TaskState {
    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskResult {
    /// Whether it was done.
    pub success: bool,
    /// What the agent made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Task {
    /// Its id, which is its run's.
    pub id: String,
    /// What was asked.
    #[serde(flatten)]
    pub request: TaskRequest,
    /// How far it is.
    pub state: TaskState,
    /// The agent that has it, or had it at its end.
    pub assigned_agent: Option<String>,
    /// Agents that have had it.
    pub attempt: u32,
    /// What the agent said last about how far it is; not kept over a restart of the node.
    pub progress: Option<Json>,
    /// Why the last agent that gave it back did so.
    pub last_failure: Option<String>,
    /// What came of it.
    pub result: Option<TaskResult>,
    /// When it was submitted.
    pub submitted_at: Stamp,
    /// When it ended.
    pub ended_at: Option<Stamp>,
    #[serde(skip)]
    pub(super) token: Option<String>,
}

impl Task {
    /// The task of this history; `None` when that is no task's.
    pub(super) fn of(id: &str, history: &[HistoryEntry]) -> Option<Self> {
        let first = history.first()?;
        let HistoryEvent::Started { workflow, input, .. } = &first.event else { return None };
        let request: TaskRequest = input.parse().ok().filter(|_| workflow == TASK_WORKFLOW)?;
        let mut assignment = Assignment { attempts_max: request.attempts, ..Assignment::default() };
        let mut accepted: HashMap<&str, Move> = HashMap::new();
        let (mut end, mut ended_at) = (None, None);
        for entry in &history[1..] {
            match &entry.event {
                HistoryEvent::UpdateAccepted { id, name, payload } if name == MOVE => {
                    accepted.extend(payload.parse().ok().map(|change| (id.as_str(), change)));
                }
                HistoryEvent::UpdateCompleted { id, outcome: Ok(_) } => {
                    accepted.remove(id.as_str()).into_iter().for_each(|change| assignment.apply(change));
                }
                other if other.is_end() => (end, ended_at) = (Some(other), Some(entry.stamp)),
                _ => {}
            }
        }
        let (state, result) = match end {
            None if assignment.holder.is_some() => (TaskState::Running, None),
            None => (TaskState::Queued, None),
            Some(HistoryEvent::Completed { result }) => {
                (TaskState::Completed, Some(TaskResult { success: true, output: Some(result.clone()), error: None }))
            }
            Some(HistoryEvent::Failed { failure } | HistoryEvent::Terminated { failure }) => {
                let state = if failure.is_cancelled() { TaskState::Cancelled } else { TaskState::Failed };
                (state, Some(TaskResult { success: false, output: None, error: Some(failure.message.clone()) }))
            }
            Some(_) => return None,
        };
        let (assigned_agent, token) = match assignment.holder {
            Some(Holder { agent, token }) => (Some(agent), Some(token)),
            None => (None, None),
        };
        Some(Self {
            id: id.to_owned(),
            request,
            state,
            assigned_agent,
            attempt: assignment.attempt,
            progress: None,
            last_failure: assignment.last_failure,
            result,
            submitted_at: first.stamp,
            ended_at,
            token,
        })
    }
}
