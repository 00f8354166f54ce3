//! What a supervisor says of its children, for logs, the restart history and the trace that is compared with OTP's.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{ExitReason, Pid, StartError};

/// One thing that happened to a child.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Time of the tree's timer.
    pub at: Duration,
    /// The supervisor, as a path from the root: `root/services`.
    pub supervisor: Arc<str>,
    /// The child.
    pub child: Arc<str>,
    /// Its instance, where there was one.
    pub pid: Option<Pid>,
    /// What happened.
    pub kind: ReportKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ReportKind {
    /// It runs.
    Started,
    /// It could not be started in a group or again.
    StartFailed {
        /// Why.
        #[serde(serialize_with = "as_text")]
        reason: StartError,
    },
    /// It ended by itself although it should run.
    Terminated {
        /// Why.
        reason: ExitReason,
    },
    /// It will be started again after a pause.
    Delayed {
        /// How long.
        pause: Duration,
    },
    /// It did not stop as it should when it was asked.
    ShutdownFailed {
        /// How it ended instead.
        reason: ExitReason,
    },
    /// Its failure was one too many: the supervisor stops.
    BudgetSpent {
        /// Restarts within the period, this one among them.
        restarts: usize,
    },
}

fn as_text<S: serde::Serializer>(error: &StartError, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(error)
}
