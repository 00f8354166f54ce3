//! The orchestrator: the four phases, the middle ones as a durable run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use csf_core::Stamp;
use csf_core::port::{Json, ServiceRegistry};
use csf_time::Hlc;
use futures_util::future::select_all;
use serde::{Deserialize, Serialize};

use super::causality::analyze_workflow_causality;
use super::matching::match_service;
use super::{
    CausalityTracker, DistributedWorkflow, ExecutedStep, OrchestratorError, ServiceAssignment, StepCall, StepReply,
    StepService, WorkflowResult, WorkflowStep,
};
use crate::{
    Activity, ActivityContext, ActivityOptions, Engine, Failure, RetryPolicy, StartOptions, Workflow, WorkflowContext,
};

/// Name of the workflow that carries out workflows of steps.
pub const ORCHESTRATED_WORKFLOW: &str = "orchestrated";
const MATCH: &str = "orchestrated.match";
const EXECUTE: &str = "orchestrated.execute";
/// Tries of a step.
const TRIES: u32 = 5;

/// What an engine needs to carry workflows of steps out.
#[derive(Clone)]
pub struct Coordination {
    /// Who can do what.
    pub registry: Arc<dyn ServiceRegistry>,
    /// The way to them.
    pub services: Arc<dyn StepService>,
    /// The hybrid logical clock of this place: requests leave with its stamps, replies are merged into it.
    pub clock: Arc<Mutex<Hlc>>,
}

/// What the matching activity is asked.
#[derive(Serialize, Deserialize)]
struct Matching {
    step: WorkflowStep,
    constraints: super::CausalityConstraints,
    after: Stamp,
}

impl Coordination {
    /// The workflow to open an engine with.
    #[must_use]
    pub fn workflow() -> Workflow {
        Workflow::new(ORCHESTRATED_WORKFLOW, |cx: WorkflowContext, workflow: DistributedWorkflow| async move {
            execute_with_temporal_coordination(&cx, &workflow).await.map_err(|error| failed(&error))
        })
    }

    /// The activities to open an engine with.
    #[must_use]
    pub fn activities(self) -> [Activity; 2] {
        let registry = self.registry.clone();
        let matching = Activity::new(MATCH, move |_, asked: Matching| {
            let registry = registry.clone();
            async move {
                let placed = match_service(&*registry, &asked.constraints, &asked.step, asked.after).await;
                placed.map_err(|error| match error {
                    // It may answer the next time.
                    OrchestratorError::Registry { .. } => Failure { is_retryable: true, ..failed(&error) },
                    error => failed(&error),
                })
            }
        });
        let execute = Activity::new(EXECUTE, move |cx: ActivityContext, call: StepCall| {
            let own = self.clone();
            async move { own.execute(&cx, call).await }
        });
        [matching, execute]
    }

    async fn execute(&self, cx: &ActivityContext, call: StepCall) -> Result<StepReply, Failure> {
        let tick = |after: Stamp| self.clock.lock().unwrap_or_else(PoisonError::into_inner).tick_at(after);
        let after = tick(call.after.after(1)).map_err(|e| Failure::new("clock", e.to_string()))?;
        let reply = self.services.execute(StepCall { after, key: cx.key().to_string(), ..call }).await?;
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).observe(reply.ended);
        Ok(reply)
    }
}

fn failed(error: &OrchestratorError) -> Failure {
    Failure { details: Json::of(error).ok(), ..Failure::fatal("orchestration", error.to_string()) }
}

/// What a step's failure is to the whole: what the activity said of itself, or that the step failed.
fn of_step(step: &str, failure: Failure) -> OrchestratorError {
    let own = failure.details.as_ref().and_then(|details| details.parse().ok());
    own.unwrap_or_else(|| OrchestratorError::Step { step: step.to_owned(), reason: failure.message })
}

/// Phases two to four. Every step is matched before the first one begins; each begins when those it waits for are complete.
async fn execute_with_temporal_coordination(
    cx: &WorkflowContext,
    workflow: &DistributedWorkflow,
) -> Result<WorkflowResult, OrchestratorError> {
    let order = analyze_workflow_causality(workflow)?;
    let options = ActivityOptions { retry: RetryPolicy::attempts(TRIES), ..ActivityOptions::default() };
    let mut assignments: BTreeMap<&str, ServiceAssignment> = BTreeMap::new();
    for step in order.iter().map(|place| &workflow.steps[*place]) {
        let asked = Matching { step: step.clone(), constraints: workflow.constraints.clone(), after: Stamp::ZERO };
        let placed = cx.activity_with(MATCH, &asked, options.clone()).await;
        assignments.insert(&step.id, placed.map_err(|failure| of_step(&step.id, failure))?);
    }
    let mut waiting: Vec<&WorkflowStep> = order.iter().map(|place| &workflow.steps[*place]).collect();
    let (mut tracker, mut outputs, mut steps) = (CausalityTracker::default(), BTreeMap::new(), Vec::new());
    let mut running = Vec::new();
    loop {
        let (ready, rest): (Vec<&WorkflowStep>, Vec<&WorkflowStep>) = waiting.into_iter().partition(|step| {
            workflow.constraints.get_dependencies(&step.id).iter().all(|id| outputs.contains_key(id))
        });
        waiting = rest;
        for step in ready {
            let assignment = assignments[step.id.as_str()].clone();
            let dependencies = &assignment.execution_requirements.causality_dependencies;
            let call = StepCall {
                workflow: workflow.id.clone(),
                operation_type: step.operation_type.clone(),
                input: step.input.clone(),
                causes: dependencies
                    .iter()
                    .filter_map(|id| Some((id.clone(), Json::clone(outputs.get(id)?))))
                    .collect(),
                after: tracker.latest(dependencies),
                key: String::new(),
                assignment: assignment.clone(),
            };
            let done = cx.activity_with::<_, StepReply>(EXECUTE, &call, options.clone());
            running.push(Box::pin(async move { (assignment, done.await) }));
        }
        if running.is_empty() {
            break;
        }
        // Asked in order, so that a replay finds the same one first.
        let ((assignment, done), _, others) = select_all(running).await;
        running = others;
        let reply = done.map_err(|failure| of_step(&assignment.step_id, failure))?;
        tracker.executed(&assignment.step_id, reply.started, reply.ended);
        outputs.insert(assignment.step_id.clone(), reply.output.clone());
        steps.push(ExecutedStep { assignment, reply });
    }
    tracker.validate_execution_causality(workflow)?;
    Ok(WorkflowResult { steps })
}

/// Carries workflows of steps out on an engine that has [`Coordination::workflow`] and [`Coordination::activities`].
#[derive(Clone, Debug)]
pub struct TemporalOrchestrator {
    engine: Engine,
}

impl TemporalOrchestrator {
    /// On this engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Carries a workflow out. Asked again under the same id, after a crash too, it waits for the same run. Dropped, the run goes on.
    ///
    /// # Errors
    /// [`OrchestratorError`], the first one that was met.
    pub async fn execute_distributed_workflow(
        &self,
        workflow: &DistributedWorkflow,
    ) -> Result<WorkflowResult, OrchestratorError> {
        analyze_workflow_causality(workflow)?;
        let request = Some(csf_core::port::EventId::from_u128(4).derive(&workflow.id));
        let options = StartOptions { request, ..StartOptions::default() };
        self.engine.start(ORCHESTRATED_WORKFLOW, &workflow.id, workflow, options).await?;
        Ok(self.engine.result(&workflow.id).await?)
    }
}
