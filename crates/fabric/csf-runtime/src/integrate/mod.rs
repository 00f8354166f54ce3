//! Patterns in which parts of a system meet: a message for many handlers, a checked call, modules with their state, tasks under
//! supervisors, services that answer requests on the bus.
//!
//! Each is a thin face over what is there (the bus, the supervisors); none has a queue or a thread of its own.
//! Reference: FRM-012, FRM-014, FRM-015, FRM-017, FAB-110.

mod contract;
mod executor;
mod module;
mod request;
mod router;
#[cfg(test)]
mod tests;

pub use contract::{IntegrationContract, Valid};
pub use executor::{ExecutionMetrics, ExecutorError, SupervisedExecutor, SupervisedTask, TaskId};
pub use module::{Module, ModuleError, ModuleRegistry};
pub(crate) use request::answer;
pub use request::{
    REQUESTS_TOPIC, RESPONSES_TOPIC, ServiceInfo, ServiceRegistry, ServiceRequest, ServiceResponse, ServiceStatus,
    process_service_request,
};
pub use router::{
    Aggregate, Judge, MessageHandler, MessageRouter, Outcome, Routed, RoutingError, Strategy, aggregate_results,
};
