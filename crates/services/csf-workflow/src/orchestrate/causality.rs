//! Causality of a workflow's steps: analysed before, validated after. Pure.

use std::collections::{BTreeMap, BTreeSet};

use csf_core::Stamp;

use super::{DistributedWorkflow, OrchestratorError, STEPS_MAX};

/// The steps of a workflow in an order that keeps the constraints: each comes after those it waits for, otherwise as they were written.
pub(super) fn analyze_workflow_causality(workflow: &DistributedWorkflow) -> Result<Vec<usize>, OrchestratorError> {
    let steps = &workflow.steps;
    if steps.len() > STEPS_MAX {
        return Err(OrchestratorError::TooManySteps { steps: steps.len() });
    }
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, step) in steps.iter().enumerate() {
        if places.insert(&step.id, place).is_some() {
            return Err(OrchestratorError::DuplicateStep { step: step.id.clone() });
        }
    }
    for (step, dependencies) in &workflow.constraints.0 {
        let unknown = dependencies.iter().find(|dependency| !places.contains_key(dependency.as_str()));
        if let Some(dependency) = unknown.or(dependencies.first().filter(|_| !places.contains_key(step.as_str()))) {
            return Err(OrchestratorError::UnknownStep { step: step.clone(), dependency: dependency.clone() });
        }
    }
    let (mut order, mut done) = (Vec::new(), BTreeSet::new());
    while order.len() < steps.len() {
        let is_ready = |place: &usize| {
            let step = &steps[*place].id;
            !done.contains(step) && workflow.constraints.get_dependencies(step).is_subset(&done)
        };
        let ready: Vec<usize> = (0..steps.len()).filter(is_ready).collect();
        if ready.is_empty() {
            return Err(OrchestratorError::Cycle { steps: cycle(workflow, &done) });
        }
        done.extend(ready.iter().map(|place| steps[*place].id.clone()));
        order.extend(ready);
    }
    Ok(order)
}

/// Steps that wait for each other, among those that are not done: every one of them waits for another one.
fn cycle(workflow: &DistributedWorkflow, done: &BTreeSet<String>) -> Vec<String> {
    let first = workflow.steps.iter().find(|step| !done.contains(&step.id));
    let mut way: Vec<String> = first.map(|step| step.id.clone()).into_iter().collect();
    loop {
        let last = way.last().cloned().unwrap_or_default();
        let next = workflow.constraints.get_dependencies(&last).into_iter().find(|step| !done.contains(step));
        let Some(next) = next else { return way };
        if let Some(at) = way.iter().position(|step| *step == next) {
            way.drain(..at);
            way.push(next);
            return way;
        }
        way.push(next);
    }
}

/// What was executed when, by the stamps of those who did it.
#[derive(Clone, Debug, Default)]
pub struct CausalityTracker {
    spans: BTreeMap<String, (Stamp, Stamp)>,
}

impl CausalityTracker {
    /// A step was executed from `started` to `ended`.
    pub fn executed(&mut self, step: &str, started: Stamp, ended: Stamp) {
        self.spans.insert(step.to_owned(), (started, ended));
    }

    /// The greatest stamp among these steps; zero when there is none.
    #[must_use]
    pub fn latest<'s>(&self, steps: impl IntoIterator<Item = &'s String>) -> Stamp {
        let ends = steps.into_iter().filter_map(|step| self.spans.get(step).map(|(_, ended)| *ended));
        ends.max().unwrap_or(Stamp::ZERO)
    }

    /// Whether every step began after all that it waits for were complete.
    ///
    /// # Errors
    /// [`OrchestratorError::OutOfOrder`] with the first pair that did not, by the names of the steps.
    pub fn validate_execution_causality(&self, workflow: &DistributedWorkflow) -> Result<(), OrchestratorError> {
        for (step, dependencies) in &workflow.constraints.0 {
            let Some((started, _)) = self.spans.get(step) else { continue };
            for dependency in dependencies {
                let ended = self.spans.get(dependency).map_or(Stamp(u64::MAX), |(_, ended)| *ended);
                if *started <= ended {
                    let (dependency, step, started) = (dependency.clone(), step.clone(), *started);
                    return Err(OrchestratorError::OutOfOrder { dependency, ended, step, started });
                }
            }
        }
        Ok(())
    }
}
