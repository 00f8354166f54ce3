//! The workflow engine of a node: opened on its log when the node starts, closed before the log is.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use csf_core::Stamp;
use csf_core::port::{EventId, Rng};
use csf_gateway::Workflows;
use csf_runtime::node::{CoordinationHub, HealthStatus, Node, Subsystem, SubsystemError};
use csf_runtime::{BoxFuture, OsRng, TokioWorld};
use csf_workflow::task::{TaskDesk, TaskError, task_workflow};
use csf_workflow::{Activity, Engine, EngineOptions, Workflow, WorkflowError, World};

type Own = (Vec<Workflow>, Vec<Activity>);

static OWN: OnceLock<Own> = OnceLock::new();
static OPEN: OnceLock<Workflows> = OnceLock::new();

/// Adds what a project of one's own brings; later calls change nothing.
pub(crate) fn add(workflows: Vec<Workflow>, activities: Vec<Activity>) {
    let _ = OWN.set((workflows, activities));
}

/// What the node of this process has open.
pub(crate) fn open_ones() -> Workflows {
    OPEN.get_or_init(Workflows::default).clone()
}

/// The subsystem that runs the workflows of `node`.
pub(crate) fn attach(node: &Arc<Node>) -> Arc<dyn Subsystem> {
    Arc::new(WorkflowSubsystem { node: Arc::downgrade(node), refused: Mutex::default() })
}

struct WorkflowSubsystem {
    node: Weak<Node>,
    /// Why it did not start.
    refused: Mutex<Option<String>>,
}

impl WorkflowSubsystem {
    async fn open(&self) -> Result<(), SubsystemError> {
        let node = self.node.upgrade().ok_or_else(|| failed("CSF-0299", &"the node is gone"))?;
        let tokio = Arc::new(TokioWorld::current());
        let clock = node.bus().config().time_source.clone();
        let clock = Arc::new(move || Stamp(clock.now_ns().map_or(0, |now| now.as_nanos())));
        let world = World { timer: tokio.clone(), spawn: tokio, clock };
        let (workflows, activities) = OWN.get().cloned().unwrap_or_default();
        // The last of a name counts.
        let workflows = workflows.into_iter().chain([task_workflow()]);
        let opened = Engine::open(node.log(), world.clone(), workflows, activities, EngineOptions::default()).await;
        let engine = opened.map_err(|error| failed(code(&error), &error))?;
        let mut bytes = [0; 16];
        OsRng.fill(&mut bytes);
        let desk = TaskDesk::open(engine.clone(), world, EventId::from_u128(u128::from_le_bytes(bytes))).await;
        let desk = desk.map_err(|error| match &error {
            TaskError::Workflow(inner) => failed(code(inner), &error),
            _ => failed("CSF-0299", &error),
        })?;
        open_ones().open(engine, desk);
        Ok(())
    }
}

fn failed(code: &'static str, error: &dyn std::fmt::Display) -> SubsystemError {
    SubsystemError { code, message: format!("workflows: {error}") }
}

fn code(error: &WorkflowError) -> &'static str {
    match error {
        WorkflowError::BadHistory { .. } => "CSF-0206",
        _ => "CSF-0202",
    }
}

impl Subsystem for WorkflowSubsystem {
    fn id(&self) -> &str {
        Workflows::SUBSYSTEM
    }

    fn dependencies(&self) -> Vec<String> {
        vec!["recorder".to_owned()]
    }

    fn initialize<'a>(&'a self, _hub: &'a CoordinationHub) -> BoxFuture<'a, Result<(), SubsystemError>> {
        Box::pin(async { Ok(()) })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            let opened = self.open().await;
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) =
                opened.as_ref().err().map(ToString::to_string);
            opened
        })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            if let Some((engine, desk)) = open_ones().close() {
                desk.close();
                engine.close();
            }
            Ok(())
        })
    }

    fn health_check(&self) -> HealthStatus {
        match &*self.refused.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => HealthStatus::Unhealthy(reason.clone()),
            None => HealthStatus::Healthy,
        }
    }
}
