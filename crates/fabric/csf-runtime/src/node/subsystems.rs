//! The node's own subsystems: recorder, dispatchers, services. Each lives through the hub only.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::handle::Node;
use super::hub::{CoordinationHub, HealthStatus, Subsystem, SubsystemError};
use crate::exec::{Dispatcher, RunState, Runner, ServiceStats};
use crate::service::{BoxFuture, ServiceContext, ServiceError};
use crate::topology::ServiceNode;

/// First pause before a failed service runs again; doubles up to [`LONGEST_PAUSE_NS`].
const FIRST_PAUSE_NS: u64 = 100_000_000;
const LONGEST_PAUSE_NS: u64 = 5_000_000_000;
/// Failed runs of a service before it is given up.
const MOST_RESTARTS: u64 = 5;

fn gone() -> SubsystemError {
    SubsystemError { code: "CSF-0299", message: "the node is gone".to_owned() }
}

/// Runs the recorder: it is started by boot, because lanes need it from the first packet on.
pub(super) struct RecorderSubsystem {
    pub(super) node: Weak<Node>,
}

impl Subsystem for RecorderSubsystem {
    fn id(&self) -> &str {
        "recorder"
    }

    fn dependencies(&self) -> Vec<String> {
        Vec::new()
    }

    fn initialize<'a>(&'a self, _hub: &'a CoordinationHub) -> BoxFuture<'a, Result<(), SubsystemError>> {
        Box::pin(async { Ok(()) })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async { Ok(()) })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            let node = self.node.upgrade().ok_or_else(gone)?;
            tokio::task::spawn_blocking(move || node.recorder.stop())
                .await
                .map_err(|e| SubsystemError { code: "CSF-0299", message: e.to_string() })
        })
    }

    fn health_check(&self) -> HealthStatus {
        match self.node.upgrade().and_then(|n| n.feed().failure()) {
            Some(reason) => HealthStatus::Unhealthy(reason),
            None => HealthStatus::Healthy,
        }
    }
}

/// What a dispatcher thread starts from.
pub(super) struct DispatcherPlan {
    pub(super) name: String,
    pub(super) runners: Vec<Runner>,
    pub(super) log: Box<dyn csf_bus::EffectWriter>,
    pub(super) bell: Arc<csf_bus::Doorbell>,
}

/// Runs the components.
pub(super) struct DispatcherSubsystem {
    pub(super) node: Weak<Node>,
    pub(super) plans: Mutex<Vec<DispatcherPlan>>,
    pub(super) spin_ns: u64,
}

impl Subsystem for DispatcherSubsystem {
    fn id(&self) -> &str {
        "components"
    }

    fn dependencies(&self) -> Vec<String> {
        vec!["recorder".to_owned()]
    }

    fn initialize<'a>(&'a self, _hub: &'a CoordinationHub) -> BoxFuture<'a, Result<(), SubsystemError>> {
        Box::pin(async { Ok(()) })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            let node = self.node.upgrade().ok_or_else(gone)?;
            let plans = std::mem::take(&mut *self.plans.lock().unwrap_or_else(PoisonError::into_inner));
            for plan in plans {
                let clock = node.bus.config().time_source.clone();
                let handle = Dispatcher::start(
                    &plan.name,
                    plan.runners,
                    plan.log,
                    node.bus.hlc(),
                    clock,
                    plan.bell,
                    self.spin_ns,
                )
                .map_err(|e| SubsystemError { code: "CSF-0209", message: format!("no thread for components: {e}") })?;
                node.dispatchers.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
            }
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            let node = self.node.upgrade().ok_or_else(gone)?;
            let stop = move || {
                for dispatcher in node.dispatchers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    dispatcher.stop();
                }
            };
            tokio::task::spawn_blocking(stop)
                .await
                .map_err(|e| SubsystemError { code: "CSF-0299", message: e.to_string() })
        })
    }

    fn health_check(&self) -> HealthStatus {
        HealthStatus::Healthy
    }
}

/// Runs the services, in start order, restarting those that fail.
pub(super) struct ServiceSubsystem {
    pub(super) node: Weak<Node>,
    pub(super) recorded: BTreeMap<(String, String), u64>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) tasks: Mutex<JoinSet<()>>,
}

impl Subsystem for ServiceSubsystem {
    fn id(&self) -> &str {
        "services"
    }

    fn dependencies(&self) -> Vec<String> {
        vec!["components".to_owned()]
    }

    fn initialize<'a>(&'a self, _hub: &'a CoordinationHub) -> BoxFuture<'a, Result<(), SubsystemError>> {
        Box::pin(async { Ok(()) })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            let node = self.node.upgrade().ok_or_else(gone)?;
            for name in node.topology.levels.iter().flatten() {
                let index = node.topology.services.iter().position(|s| s.settings.name.value == *name);
                let Some(index) = index else { continue };
                let task = run_service(
                    node.topology.services[index].clone(),
                    node.service_stats[index].clone(),
                    self.context(&node, index),
                );
                self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
            }
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            self.stop.send_replace(true);
            let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
            while tasks.join_next().await.is_some() {}
            Ok(())
        })
    }

    fn health_check(&self) -> HealthStatus {
        HealthStatus::Healthy
    }
}

impl ServiceSubsystem {
    /// Makes contexts for the first and later runs of one service.
    fn context(&self, node: &Arc<Node>, index: usize) -> impl Fn() -> ServiceContext + Send + 'static {
        let settings = node.topology.services[index].settings.clone();
        let name = settings.name.value;
        let writes: BTreeMap<String, String> = settings.writes.into_iter().map(|(p, t)| (p, t.value)).collect();
        let recorded: BTreeMap<String, u64> =
            self.recorded.iter().filter(|((a, _), _)| *a == name).map(|((_, t), n)| (t.clone(), *n)).collect();
        let recorded = Arc::new(recorded);
        let (bus, stop, progress) = (node.bus.clone(), self.stop.subscribe(), node.service_stats[index].clone());
        move || ServiceContext {
            name: name.clone(),
            bus: bus.clone(),
            writes: writes.clone(),
            recorded: recorded.clone(),
            stop: stop.clone(),
            progress: progress.clone(),
        }
    }
}

async fn run_service(service: ServiceNode, stats: Arc<ServiceStats>, context: impl Fn() -> ServiceContext + Send) {
    let mut pause = FIRST_PAUSE_NS;
    loop {
        let mut cx = context();
        stats.set_state(RunState::Running);
        let error: ServiceError = match (service.factory)().run(context()).await {
            Ok(()) => {
                stats.set_state(if cx.is_stopping() { RunState::Stopped } else { RunState::Finished });
                return;
            }
            Err(error) => error,
        };
        stats.set_last_error(error.to_string());
        let restarts = stats.restarts.fetch_add(1, Ordering::Relaxed) + 1;
        let is_lasting = matches!(error, ServiceError::Failed { code, .. } if code.starts_with("CSF-04"));
        if restarts > MOST_RESTARTS || is_lasting {
            tracing::error!(service = service.settings.name.value, %error, "service is given up");
            stats.set_state(RunState::Failed);
            return;
        }
        tracing::warn!(service = service.settings.name.value, %error, pause_ms = pause / 1_000_000, "service failed; trying again");
        stats.set_state(RunState::Restarting);
        if !cx.pause(pause).await {
            stats.set_state(RunState::Stopped);
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE_NS);
    }
}
