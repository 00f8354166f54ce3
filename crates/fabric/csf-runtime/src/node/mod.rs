//! A running node: subsystems started in order, watched, and stopped in reverse.

mod boot;
mod cleanup;
mod failing;
mod gate;
mod groups;
mod handle;
mod health;
mod hub;
mod initialization;
mod interrupt;
mod last_will;
mod live;
mod log;
mod monitor;
mod preflight;
mod probes;
mod registration;
mod reload;
mod report;
mod seats;
mod services;
mod shutdown;
mod state;
mod stop;
mod stuck;
mod submit;
mod subsystems;
mod threshold;
mod tree;
mod wiring;

pub(crate) use boot::journal_code;
pub use boot::{Attachment, BootError, BootOptions, Phase, boot};
pub use cleanup::{
    CleanupError, CleanupHandler, CleanupOutcome, CleanupReport, CleanupResult, PathCleanup, ResourceCleanup,
};
pub use failing::DEAD_LETTER_STREAM;
pub use gate::{Work, WorkGate};
pub use handle::{ClockReporter, Node, NodeState, PublishError, ReaderFactory};
pub use health::{ComponentHealth, Finding, HealthCriticality, HealthResult, Status, SystemHealthReport, combine};
pub use hub::{CoordinationError, CoordinationHub, HealthStatus, Subsystem, SubsystemError};
pub use initialization::{Conduct, LifeLimits, StopOutcome};
pub use interrupt::{Interrupt, Urgency};
pub use monitor::{FnCheck, HealthChange, HealthCheck, HealthMonitor, LogAlerts, NotificationService};
pub use preflight::{PreFlightCheck, PreFlightResult, run_preflight_checks};
pub use probes::Readiness;
pub use registration::Registered;
pub use reload::{
    ConfigurationReport, ConfigurationSource, KeyChange, PlanAction, PlanStep, ReloadError, ReloadOutcome, ReloadPlan,
    ReloadReport,
};
pub use report::{BusReport, ComponentReport, JournalReport, NodeReport, PathReport, TopicReport};
pub use shutdown::{ShutdownCoordinator, ShutdownLimits, ShutdownReason, ShutdownReport, ShutdownSignal, Winddown};
pub use state::StateProof;
pub use submit::{SubmitError, Until};
pub use threshold::{AlertThreshold, Metric, Severity, Side, UnknownMetric};
pub use tree::{BudgetReport, TreeEvent, TreeNode, TreeReport};
