//! What a run's stream holds: what happened to it, and what it decided.
//!
//! The stream of the run is `workflow-ID`, that of its n-th continuation `workflow-ID~n`. After each thing that happened stand the decisions that
//! followed from it, in one append: a history is always whole.

use std::collections::BTreeMap;

use csf_core::Stamp;
use csf_core::port::{Json, StoredEvent};
use serde::{Deserialize, Serialize};

use crate::attributes::{Attribute, Attributes};
use crate::{ActivityOptions, Failure, ParentClosePolicy};

/// Category of the streams of runs.
pub const WORKFLOW_CATEGORY: &str = "workflow";

/// Who started a run as a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its stream.
    pub stream: String,
    /// The number of the step that is the child.
    pub seq: u32,
}

/// What a run has from the one it was reset from: its first entries, and after them what was told that one later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// The stream of the run it goes on for.
    pub stream: String,
    /// Entries kept, from the first.
    pub to: u64,
    /// Entries carried over behind them: signals, and the ends of children.
    pub carried: u64,
}

/// One entry of a history. The type in the JSON form is the type of the event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum HistoryEvent {
    /// The run begins.
    Started {
        /// Name of the workflow.
        workflow: String,
        /// Its input.
        input: Json,
        /// 0, and one more with each continuation. A run that was reset keeps it, since its code may have decided by it.
        #[serde(default)]
        run: u32,
        /// Who waits for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<Parent>,
        /// The run is ended when it has not ended by then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Stamp>,
        /// The resets it came about by, oldest first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        resets: Vec<Reset>,
        /// What it is found by, to begin with.
        #[serde(default, skip_serializing_if = "Attributes::is_empty")]
        attributes: Attributes,
    },
    /// Decided: something is to be done in the world.
    ActivityScheduled {
        /// Number of the step in the run, from 1.
        seq: u32,
        /// Name of the activity.
        activity: String,
        /// Its input.
        input: Json,
        /// Times and tries. Left out when they are the default, which therefore stays what it is.
        #[serde(default, skip_serializing_if = "ActivityOptions::is_default")]
        options: ActivityOptions,
    },
    /// A try failed; another one follows. The code does not see it.
    ActivityRetrying {
        /// The step.
        seq: u32,
        /// Number of the try that failed, from 1.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// When the next one begins.
        next_at: Stamp,
    },
    /// It was done.
    ActivityCompleted {
        /// The step.
        seq: u32,
        /// What came of it.
        result: Json,
    },
    /// It was not done.
    ActivityFailed {
        /// The step.
        seq: u32,
        /// Why.
        failure: Failure,
    },
    /// Decided: nobody waits for it any more.
    ActivityCancelled {
        /// The step.
        seq: u32,
    },
    /// Decided: wait.
    TimerStarted {
        /// The step.
        seq: u32,
        /// Until then.
        fires_at: Stamp,
    },
    /// The time has come.
    TimerFired {
        /// The step.
        seq: u32,
    },
    /// Decided: nobody waits for it any more.
    TimerCancelled {
        /// The step.
        seq: u32,
    },
    /// Somebody told it something.
    SignalReceived {
        /// Name of the signal.
        name: String,
        /// What was told.
        payload: Json,
    },
    /// Somebody asked it to change something, and it agreed to look at that.
    UpdateAccepted {
        /// The update's own id.
        id: String,
        /// Name of the update.
        name: String,
        /// What is asked.
        payload: Json,
    },
    /// Decided: the answer to an update.
    UpdateCompleted {
        /// The update's own id.
        id: String,
        /// The answer.
        outcome: Result<Json, Failure>,
    },
    /// Decided: another workflow is started.
    ChildStarted {
        /// The step.
        seq: u32,
        /// Id of the child.
        id: String,
        /// Name of its workflow.
        workflow: String,
        /// Its input.
        input: Json,
        /// What becomes of it when this run ends first.
        policy: ParentClosePolicy,
    },
    /// The child ended.
    ChildCompleted {
        /// The step.
        seq: u32,
        /// How.
        outcome: Result<Json, Failure>,
    },
    /// Decided: another run is told something.
    SignalSent {
        /// Id of the other run.
        to: String,
        /// Name of the signal.
        name: String,
        /// What it is told.
        payload: Json,
    },
    /// Decided: the changed code is taken.
    Patched {
        /// Name of the change.
        id: String,
    },
    /// Decided: a value from outside, kept so that it stays the same.
    SideEffect {
        /// The value.
        value: Json,
    },
    /// Decided: it is found by something else.
    AttributesUpserted {
        /// What has changed; null removes one.
        attributes: BTreeMap<String, Option<Attribute>>,
    },
    /// Somebody asks it to end.
    CancelRequested {
        /// Why.
        reason: String,
    },
    /// Decided: it has ended well.
    Completed {
        /// What came of it.
        result: Json,
    },
    /// Decided: it has ended badly.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Decided: it goes on as a new run.
    ContinuedAsNew {
        /// The new run's input.
        input: Json,
    },
    /// It was ended from outside.
    Terminated {
        /// Why.
        failure: Failure,
    },
}

/// How an entry comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It happened to the run; the code is asked what follows.
    Input,
    /// The code decided it.
    Decision,
    /// It is kept for people and restarts.
    Note,
}

impl HistoryEvent {
    pub(crate) const fn role(&self) -> Role {
        match self {
            Self::Started { .. }
            | Self::ActivityCompleted { .. }
            | Self::ActivityFailed { .. }
            | Self::TimerFired { .. }
            | Self::SignalReceived { .. }
            | Self::UpdateAccepted { .. }
            | Self::ChildCompleted { .. }
            | Self::CancelRequested { .. } => Role::Input,
            Self::ActivityScheduled { .. }
            | Self::ActivityCancelled { .. }
            | Self::TimerStarted { .. }
            | Self::TimerCancelled { .. }
            | Self::UpdateCompleted { .. }
            | Self::ChildStarted { .. }
            | Self::SignalSent { .. }
            | Self::Patched { .. }
            | Self::SideEffect { .. }
            | Self::AttributesUpserted { .. }
            | Self::Completed { .. }
            | Self::Failed { .. }
            | Self::ContinuedAsNew { .. } => Role::Decision,
            Self::ActivityRetrying { .. } | Self::Terminated { .. } => Role::Note,
        }
    }

    /// A start on behalf of a parent's step.
    pub(crate) fn of_parent(mut self, stream: &str, step: u32) -> Self {
        if let Self::Started { parent, .. } = &mut self {
            *parent = Some(Parent { stream: stream.to_owned(), seq: step });
        }
        self
    }

    /// The resets a run came about by, of its first entry.
    pub(crate) fn resets(&self) -> &[Reset] {
        if let Self::Started { resets, .. } = self { resets } else { &[] }
    }

    /// Entries a run has before its code is asked for the first time, of its first entry.
    pub(crate) fn begun_with(&self) -> u64 {
        self.resets().last().map_or(1, |reset| reset.to + reset.carried)
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(
            self,
            Self::Completed { .. } | Self::Failed { .. } | Self::ContinuedAsNew { .. } | Self::Terminated { .. }
        )
    }

    /// Its type, as the event's.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::ActivityScheduled { .. } => "activity_scheduled",
            Self::ActivityRetrying { .. } => "activity_retrying",
            Self::ActivityCompleted { .. } => "activity_completed",
            Self::ActivityFailed { .. } => "activity_failed",
            Self::ActivityCancelled { .. } => "activity_cancelled",
            Self::TimerStarted { .. } => "timer_started",
            Self::TimerFired { .. } => "timer_fired",
            Self::TimerCancelled { .. } => "timer_cancelled",
            Self::SignalReceived { .. } => "signal_received",
            Self::UpdateAccepted { .. } => "update_accepted",
            Self::UpdateCompleted { .. } => "update_completed",
            Self::ChildStarted { .. } => "child_started",
            Self::ChildCompleted { .. } => "child_completed",
            Self::SignalSent { .. } => "signal_sent",
            Self::Patched { .. } => "patched",
            Self::SideEffect { .. } => "side_effect",
            Self::AttributesUpserted { .. } => "attributes_upserted",
            Self::CancelRequested { .. } => "cancel_requested",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::ContinuedAsNew { .. } => "continued_as_new",
            Self::Terminated { .. } => "terminated",
        }
    }

    /// What makes it this decision and no other: type, step and name. Inputs, options and times may change with the code.
    pub(crate) fn identity(&self) -> String {
        match self {
            Self::ActivityScheduled { seq, activity, .. } => format!("step {seq}: activity `{activity}`"),
            Self::ActivityCancelled { seq } => format!("step {seq}: activity cancelled"),
            Self::TimerStarted { seq, .. } => format!("step {seq}: timer"),
            Self::TimerCancelled { seq } => format!("step {seq}: timer cancelled"),
            Self::ChildStarted { seq, id, workflow, .. } => format!("step {seq}: child `{workflow}` as `{id}`"),
            Self::SignalSent { to, name, .. } => format!("signal `{name}` to `{to}`"),
            Self::UpdateCompleted { id, .. } => format!("answer to update `{id}`"),
            Self::Patched { id } => format!("patch `{id}`"),
            other => other.kind().replace('_', " "),
        }
    }
}

/// An entry where it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HistoryEntry {
    /// Number in the history, from 1.
    pub version: u64,
    /// Position in the log.
    pub position: u64,
    /// When.
    pub stamp: Stamp,
    /// What.
    #[serde(flatten)]
    pub event: HistoryEvent,
}

impl HistoryEntry {
    /// From its event.
    ///
    /// # Errors
    /// When it is no entry of a history.
    pub fn of(event: &StoredEvent) -> Result<Self, serde_json::Error> {
        let entry = event.parse()?;
        Ok(Self { version: event.version, position: event.position, stamp: event.stamp, event: entry })
    }
}
