//! Tasks for agents: work that somebody outside the engine does, one agent at a time, until it is done.
//!
//! A task is a run of the workflow [`TASK_WORKFLOW`]. Who has it is in its history: an agent takes it under a lease, and what it hands in counts
//! while nobody else has taken the task since. The [`TaskDesk`] knows who waits for what and which leases are over; it can be made again
//! from the histories at any time.
//! Invariant: a task ends once, by the agent that holds it.

mod assignment;
mod book;
mod desk;
mod error;
mod view;
mod worker;

use csf_core::port::Json;
use serde::{Deserialize, Serialize};

use crate::fair::{Priority, is_one};

pub use assignment::task_workflow;
pub use desk::{TaskDesk, TaskLease};
pub use error::TaskError;
pub use view::{Task, TaskResult, TaskState};
pub use worker::{TaskContext, TaskOutcome};

/// Name of the workflow of tasks.
pub const TASK_WORKFLOW: &str = "agent-task";
/// Longest kind of task and name of an agent, bytes.
pub const TASK_WORD_BYTES_MAX: usize = 128;
/// Shortest and longest lease, milliseconds.
const LEASE_MS: std::ops::RangeInclusive<u64> = 100..=86_400_000;

/// What is asked of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// What agents ask for: 1 to [`TASK_WORD_BYTES_MAX`] bytes without control characters.
    pub kind: String,
    /// For the agent.
    #[serde(default = "nothing")]
    pub input: Json,
    /// An agent that is not heard of for this long loses the task; 100 ms to a day.
    #[serde(default = "half_a_minute")]
    pub lease_ms: u64,
    /// Agents that may have it, one after the other; 0 means any number.
    #[serde(default = "five")]
    pub attempts: u32,
    /// 1 to 5; the lower goes first.
    #[serde(default = "three", skip_serializing_if = "is_three")]
    pub priority: u8,
    /// Tasks of one key share an agent's time with those of others by weight, such as a tenant's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fairness_key: String,
    /// The key's share beside others of its kind and priority: 0.001 to 1000.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub fairness_weight: f64,
}

fn nothing() -> Json {
    serde_json::Value::Null.into()
}

const fn half_a_minute() -> u64 {
    30_000
}

const fn five() -> u32 {
    5
}

const fn three() -> u8 {
    3
}

const fn one() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
const fn is_three(priority: &u8) -> bool {
    *priority == three()
}

impl TaskRequest {
    /// A task under the default lease and number of attempts.
    #[must_use]
    pub fn new(kind: impl Into<String>, input: impl Into<Json>) -> Self {
        Self {
            kind: kind.into(),
            input: input.into(),
            lease_ms: half_a_minute(),
            attempts: five(),
            priority: three(),
            fairness_key: String::new(),
            fairness_weight: one(),
        }
    }

    /// Checks names and limits.
    ///
    /// # Errors
    /// [`TaskError::Bad`].
    pub fn check(&self) -> Result<(), TaskError> {
        check_word("kind", &self.kind)?;
        if !LEASE_MS.contains(&self.lease_ms) {
            let (least, most) = (LEASE_MS.start(), LEASE_MS.end());
            return Err(TaskError::Bad {
                reason: format!("`lease_ms` = {} is outside {least}..={most}", self.lease_ms),
            });
        }
        self.precedence().check().map_err(|reason| TaskError::Bad { reason })
    }

    /// Where it stands among those that wait.
    pub(crate) fn precedence(&self) -> Priority {
        let (fairness_key, fairness_weight) = (self.fairness_key.clone(), self.fairness_weight);
        Priority { priority: self.priority, fairness_key, fairness_weight }
    }
}

/// Checks the kind of a task or the name of an agent.
fn check_word(what: &str, word: &str) -> Result<(), TaskError> {
    if word.is_empty() || word.len() > TASK_WORD_BYTES_MAX || word.chars().any(char::is_control) {
        let word: String = word.chars().take(TASK_WORD_BYTES_MAX).collect();
        let reason = format!("`{what}` has 1 to {TASK_WORD_BYTES_MAX} bytes without control characters, not `{word}`");
        return Err(TaskError::Bad { reason });
    }
    Ok(())
}
