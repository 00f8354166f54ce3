//! Why a step or a workflow did not succeed, as the history keeps it.

use csf_core::port::Json;
use serde::{Deserialize, Serialize};

/// What kind of failure it is. Retry policies go by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The code says so, under a name of its own.
    Application(String),
    /// A time-out: `schedule_to_start`, `start_to_close`, `schedule_to_close`, `heartbeat` or `run`.
    TimedOut(TimeoutKind),
    /// It was asked to end.
    Cancelled,
    /// Its code panicked.
    Panic,
    /// Input, output or signal that does not have the expected form.
    BadPayload,
    /// No workflow or activity of this name is registered.
    Unknown,
    /// It was ended from outside, without being asked.
    Terminated,
    /// No failure: the run goes on as a new one with this input.
    ContinueAsNew,
}

/// Which time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutKind {
    /// No worker took it in time.
    ScheduleToStart,
    /// One try took too long.
    StartToClose,
    /// All tries together took too long.
    ScheduleToClose,
    /// It gave no sign of life.
    Heartbeat,
    /// The whole run took too long.
    Run,
}

/// Why something did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Failure {
    /// What kind it is.
    pub kind: FailureKind,
    /// What happened, for people.
    pub message: String,
    /// Whether another try may help. A retry policy may still say no.
    pub is_retryable: bool,
    /// What the code adds; the new input of [`FailureKind::ContinueAsNew`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Json>,
}

impl Failure {
    /// A failure of the code, that another try may mend.
    #[must_use]
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { is_retryable: true, ..Self::of(FailureKind::Application(name.into()), message) }
    }

    /// A failure of the code, that no try will mend.
    #[must_use]
    pub fn fatal(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::of(FailureKind::Application(name.into()), message)
    }

    pub(crate) fn of(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), is_retryable: false, details: None }
    }

    pub(crate) fn timed_out(kind: TimeoutKind, message: impl Into<String>) -> Self {
        Self { is_retryable: kind != TimeoutKind::ScheduleToClose, ..Self::of(FailureKind::TimedOut(kind), message) }
    }

    pub(crate) fn cancelled() -> Self {
        Self::of(FailureKind::Cancelled, "it was cancelled")
    }

    pub(crate) fn panic(panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let message = format!("it panicked: {}", text.unwrap_or_else(|| "without a message".into()));
        Self { is_retryable: true, ..Self::of(FailureKind::Panic, message) }
    }

    pub(crate) fn bad_payload(what: &str, error: &serde_json::Error) -> Self {
        Self::of(FailureKind::BadPayload, format!("{what} does not have the expected form: {error}"))
    }

    /// Whether it was asked to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.kind == FailureKind::Cancelled
    }

    /// With this beside the message.
    #[must_use]
    pub fn with_details(self, details: Json) -> Self {
        Self { details: Some(details), ..self }
    }
}
