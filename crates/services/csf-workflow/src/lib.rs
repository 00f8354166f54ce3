//! Durable workflows: ordinary async code whose progress is a stream of events, so that it goes on where it was after any crash.
//!
//! A [`Workflow`] decides, an [`Activity`] does. Every decision and everything that happened stands in the run's history; when a run is needed
//! again its code is replayed against that. A step is one append: what happened and what follows from it, together or not at all.
//! Invariant: a decision that is in the history is carried out at least once, and none that is not.
//! Reference: the semantics follow Temporal's (docs.temporal.io, "Workflow Execution"); the form of the log is `docs/adr/0009`.

mod activity;
mod attributes;
mod definition;
mod engine;
mod error;
mod failure;
mod fair;
mod history;
mod options;
pub mod orchestrate;
mod run;
pub mod task;

pub use activity::{ActivityContext, ActivityKey};
pub use attributes::{
    ATTRIBUTE_NAME_BYTES_MAX, ATTRIBUTES_MAX, Attribute, AttributeFilter, Attributes, BadFilter, KEYWORD_BYTES_MAX,
};
pub use definition::{Activity, Workflow};
pub use engine::{Engine, EngineOptions, RunStatus, RunSummary, StartOptions, World};
pub use error::{NonDeterminism, WorkflowError};
pub use failure::{Failure, FailureKind, TimeoutKind};
pub use fair::{FAIRNESS_KEY_BYTES_MAX, FAIRNESS_WEIGHT, PRIORITY, Priority};
pub use history::{HistoryEntry, HistoryEvent, Parent, Reset, WORKFLOW_CATEGORY};
pub use options::{ActivityOptions, ParentClosePolicy, RetryPolicy};
pub use run::{Pending, Saga, WorkflowContext};
