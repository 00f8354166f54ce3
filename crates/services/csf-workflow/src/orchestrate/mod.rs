//! Workflows whose steps are done by services: each step is placed on a service that can do it, begins after its causes, and is proven to have done so
//! (INT-050, INT-052).
//!
//! Four phases: the constraints are analysed, steps are matched to services of the registry, executed as a durable run, and the stamps of what was
//! executed are compared with the constraints. Invariant: a result is given only for an execution in causal order.

mod causality;
mod engine;
mod error;
mod matching;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use csf_core::Stamp;
use csf_core::port::{Json, ServiceId, TimingRequirements};
use serde::{Deserialize, Serialize};

pub use causality::CausalityTracker;
pub use engine::{Coordination, ORCHESTRATED_WORKFLOW, TemporalOrchestrator};
pub use error::OrchestratorError;

use crate::Failure;

/// Most steps of one workflow.
pub const STEPS_MAX: usize = 1000;

/// A workflow as people write it down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistributedWorkflow {
    /// Id of its run.
    pub id: String,
    /// Its steps, at most [`STEPS_MAX`], in any order.
    pub steps: Vec<WorkflowStep>,
    /// Which steps come before which.
    #[serde(default)]
    pub constraints: CausalityConstraints,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowStep {
    /// Its name in the workflow.
    pub id: String,
    /// What a service must be able to execute.
    pub operation_type: String,
    /// Limits of the service's timing.
    #[serde(default)]
    pub timing_requirements: TimingRequirements,
    /// What the service must have.
    #[serde(default)]
    pub resource_requirements: ResourceRequirements,
    /// For the service, beside what came of the steps before.
    pub input: Json,
}

/// What a step needs of a service beside its timing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResourceRequirements {
    /// Requests the service is able to work on at once.
    pub capacity_min: u32,
    /// Of these, requests it has room for now.
    pub free_min: u32,
}

/// The steps that must be complete before a step begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CausalityConstraints(pub BTreeMap<String, BTreeSet<String>>);

impl CausalityConstraints {
    /// With this step after that one.
    #[must_use]
    pub fn after(mut self, step: impl Into<String>, dependency: impl Into<String>) -> Self {
        self.0.entry(step.into()).or_default().insert(dependency.into());
        self
    }

    /// What a step waits for; empty if nothing.
    #[must_use]
    pub fn get_dependencies(&self, step: &str) -> BTreeSet<String> {
        self.0.get(step).cloned().unwrap_or_default()
    }
}

/// What holds for the execution of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionRequirements {
    /// Limits of the service's timing.
    pub temporal_constraints: TimingRequirements,
    /// What the service must have.
    pub resource_requirements: ResourceRequirements,
    /// Steps that are complete before.
    pub causality_dependencies: BTreeSet<String>,
}

/// A step and the service it is placed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAssignment {
    /// The step.
    pub step_id: String,
    /// The service.
    pub service_id: ServiceId,
    /// What holds for its execution.
    pub execution_requirements: ExecutionRequirements,
}

/// A step as a service is asked to do it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepCall {
    /// Id of the workflow's run.
    pub workflow: String,
    /// Which step, where, and under which limits.
    pub assignment: ServiceAssignment,
    /// What is to be executed.
    pub operation_type: String,
    /// The step's own input.
    pub input: Json,
    /// What came of the steps before it, by step.
    pub causes: BTreeMap<String, Json>,
    /// Greater than the stamp of every cause: a service whose clock merges it begins later.
    pub after: Stamp,
    /// The same for every try: a service that knows it does the step once.
    pub key: String,
}

/// What a service says it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReply {
    /// When it began, on its hybrid logical clock.
    pub started: Stamp,
    /// When it was done.
    pub ended: Stamp,
    /// What came of it.
    pub output: Json,
}

/// An answer of a [`StepService`].
pub type StepFuture<'a> = Pin<Box<dyn Future<Output = Result<StepReply, Failure>> + Send + 'a>>;

/// The way to the services: carries a step to the one it is placed on.
pub trait StepService: Send + Sync {
    /// Has the step done. It may be asked several times for one `key`.
    fn execute(&self, call: StepCall) -> StepFuture<'_>;
}

/// What came of a step, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutedStep {
    /// The step and its service.
    pub assignment: ServiceAssignment,
    /// What the service says.
    pub reply: StepReply,
}

/// What came of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkflowResult {
    /// Its steps, in the order in which they ended.
    pub steps: Vec<ExecutedStep>,
}
