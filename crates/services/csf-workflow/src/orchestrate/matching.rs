//! Matching: which service does which step.

use csf_core::Stamp;
use csf_core::port::{RegistryError, ServiceNeed, ServiceRecord, ServiceRegistry};

use super::{
    CausalityConstraints, ExecutionRequirements, OrchestratorError, ResourceRequirements, ServiceAssignment,
    WorkflowStep,
};

/// Places a step on the best service of the registry that meets its timing and its resources; `after` is the greatest stamp of its causes.
///
/// # Errors
/// [`OrchestratorError::NoCapableService`], [`OrchestratorError::Registry`].
pub(super) async fn match_service(
    registry: &dyn ServiceRegistry,
    constraints: &CausalityConstraints,
    step: &WorkflowStep,
    after: Stamp,
) -> Result<ServiceAssignment, OrchestratorError> {
    let need = ServiceNeed {
        operation_type: step.operation_type.clone(),
        timing_requirements: step.timing_requirements,
        after,
    };
    let unreachable = |e: RegistryError| OrchestratorError::Registry { reason: e.to_string() };
    // Looked at first, so that a service without the resources is not counted as chosen.
    let capable = registry.discover(&need).await.map_err(unreachable)?;
    let fits = |record: &ServiceRecord| meets(record, step.resource_requirements);
    let best = capable.iter().find(|record| fits(record));
    let best = best.ok_or_else(|| OrchestratorError::NoCapableService(step.id.clone()))?.id.clone();
    let service =
        if capable.iter().all(fits) { registry.select_optimal_service(&step.id, &need).await?.id } else { best };
    Ok(ServiceAssignment {
        step_id: step.id.clone(),
        service_id: service,
        execution_requirements: ExecutionRequirements {
            temporal_constraints: step.timing_requirements,
            resource_requirements: step.resource_requirements,
            causality_dependencies: constraints.get_dependencies(&step.id),
        },
    })
}

fn meets(record: &ServiceRecord, needed: ResourceRequirements) -> bool {
    let capacity = record.capabilities.capacity.get();
    capacity >= needed.capacity_min && capacity.saturating_sub(record.in_flight) >= needed.free_min
}
