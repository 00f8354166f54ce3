//! The services of a node and the supervisors above them.
//!
//! The root `services` has one supervisor below it per `[supervisor.NAME]`, and one per service that names none. One whose budget is
//! spent stays down and the node goes on without its services, unless it says `when_spent = "stop_node"`: then the root ends too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use super::handle::Node;
use super::hub::{CoordinationHub, HealthStatus, Subsystem, SubsystemError};
use super::subsystems::gone;
use super::tree::TreeWatch;
use crate::config::{RestartSettings, ServiceSettings, WhenSpent};
use crate::exec::{RunState, ServiceStats};
use crate::service::{BoxFuture, ServiceContext, ServiceError};
use crate::supervise::{
    Backoff, ChildContext, ChildSpec, Env, ExitReason, Flags, ProcessRef, Report, ReportKind, Restart, Shutdown,
    Strategy, Supervisor,
};
use crate::topology::{ServiceNode, Topology};

/// Path of the root.
pub(super) const ROOT: &str = "services";

/// One supervisor below the root.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) strategy: Strategy,
    pub(super) budget: RestartSettings,
    pub(super) backoff: Option<Backoff>,
    pub(super) when_spent: WhenSpent,
    /// Indices of its services, in start order.
    pub(super) services: Vec<usize>,
}

impl Group {
    fn flags(&self) -> Flags {
        Flags {
            strategy: self.strategy,
            intensity: self.budget.at_most,
            // Budgets are counted in whole seconds.
            period_s: self.budget.within.as_secs_f64().ceil().max(1.0) as u64,
            backoff: self.backoff,
            ..Flags::default()
        }
    }
}

/// The supervisors below the root, in the start order of their first services.
pub(super) fn groups(topology: &Topology) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let by_name: BTreeMap<&str, usize> =
        topology.services.iter().enumerate().map(|(i, s)| (s.settings.name.value.as_str(), i)).collect();
    for name in topology.levels.iter().flatten() {
        let Some(&index) = by_name.get(name.as_str()) else { continue };
        let settings = &topology.services[index].settings;
        let group = group_name(settings);
        if let Some(group) = groups.iter_mut().find(|g| g.name == group) {
            group.services.push(index);
            continue;
        }
        let shared = topology.settings.supervisors.iter().find(|s| s.name == group);
        groups.push(match shared.filter(|_| settings.supervisor.is_some()) {
            Some(shared) => Group {
                name: group.to_owned(),
                strategy: shared.strategy,
                budget: shared.budget,
                backoff: shared.backoff,
                when_spent: shared.when_spent,
                services: vec![index],
            },
            None => Group {
                name: group.to_owned(),
                strategy: Strategy::OneForOne,
                budget: settings.restart.budget,
                backoff: settings.restart.backoff,
                when_spent: WhenSpent::GiveUp,
                services: vec![index],
            },
        });
    }
    groups
}

fn group_name(settings: &ServiceSettings) -> &str {
    settings.supervisor.as_ref().map_or(&settings.name.value, |s| &s.value)
}

/// Runs the services under their supervisors.
pub(super) struct ServiceSubsystem {
    pub(super) node: Weak<Node>,
    pub(super) recorded: BTreeMap<(String, String), u64>,
    root: Mutex<Option<Root>>,
}

/// The root supervisor as the task that waits for its end shows it.
#[derive(Clone)]
struct Root {
    process: ProcessRef,
    ended: watch::Receiver<bool>,
    is_stopping: Arc<AtomicBool>,
}

impl ServiceSubsystem {
    pub(super) fn new(node: Weak<Node>, recorded: BTreeMap<(String, String), u64>) -> Self {
        Self { node, recorded, root: Mutex::default() }
    }

    fn root(&self) -> MutexGuard<'_, Option<Root>> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spec(&self, node: &Arc<Node>, index: usize) -> ChildSpec {
        let service = node.topology.services[index].clone();
        let settings = &service.settings;
        let name = settings.name.value.clone();
        let writes: BTreeMap<String, String> =
            settings.writes.iter().map(|(p, t)| (p.clone(), t.value.clone())).collect();
        let recorded: BTreeMap<String, u64> =
            self.recorded.iter().filter(|((a, _), _)| *a == name).map(|((_, t), n)| (t.clone(), *n)).collect();
        let (recorded, bus, stats) = (Arc::new(recorded), node.bus.clone(), node.service_stats[index].clone());
        let guards = node.guards.clone();
        let (policy, stop_within) = (settings.restart.policy, settings.stop_within);
        let work = move |child: ChildContext| {
            let cx = ServiceContext {
                name: name.clone(),
                bus: bus.clone(),
                writes: writes.clone(),
                recorded: recorded.clone(),
                progress: stats.clone(),
                guards: guards.clone(),
                child: Arc::new(child),
            };
            run_service(service.clone(), stats.clone(), cx)
        };
        ChildSpec::task(node.topology.services[index].settings.name.value.as_str(), work)
            .restart(policy)
            .shutdown(Shutdown::Within(stop_within))
    }
}

impl Drop for ServiceSubsystem {
    /// A node that is dropped without a stop leaves no service behind.
    fn drop(&mut self) {
        if let Some(root) = self.root().take() {
            root.is_stopping.store(true, Ordering::Release);
            root.process.shut_down(ExitReason::Killed);
        }
    }
}

async fn run_service(service: ServiceNode, stats: Arc<ServiceStats>, cx: ServiceContext) -> ExitReason {
    let child = cx.child.clone();
    stats.set_state(RunState::Running);
    let error: ServiceError = match (service.factory)().run(cx).await {
        Ok(()) => {
            stats.set_state(if child.is_stopping() { RunState::Stopped } else { RunState::Finished });
            return ExitReason::Normal;
        }
        Err(error) => error,
    };
    stats.set_last_error(error.to_string());
    if matches!(error, ServiceError::Failed { code, .. } if code.starts_with("CSF-04")) {
        // A restart cannot help: the file is not there, the recording is of another kind.
        tracing::error!(service = service.settings.name.value, %error, "service is given up");
        stats.set_state(RunState::Failed);
        return ExitReason::ShutdownWith(error.to_string().into());
    }
    ExitReason::failed(error)
}

/// Keeps the services' statistics from what their supervisors report.
fn note(stats: &BTreeMap<String, Arc<ServiceStats>>, groups: &BTreeMap<String, BTreeSet<String>>, report: &Report) {
    let (child, kind) = (&*report.child, &report.kind);
    let Some(own) = stats.get(child).filter(|_| &*report.supervisor != ROOT) else {
        return;
    };
    match kind {
        ReportKind::Started => {
            if own.starts.fetch_add(1, Ordering::Relaxed) > 0 {
                own.restarts.fetch_add(1, Ordering::Relaxed);
            }
        }
        ReportKind::Terminated { reason } => {
            tracing::warn!(service = child, %reason, "service ended");
            own.set_last_error(reason.to_string());
            own.set_state(RunState::Restarting);
        }
        ReportKind::StartFailed { reason } => own.set_last_error(reason.to_string()),
        ReportKind::Delayed { pause } => {
            tracing::warn!(service = child, pause_ms = pause.as_millis(), "service is started again after a pause");
        }
        ReportKind::ShutdownFailed { reason } => {
            tracing::warn!(service = child, %reason, "service did not stop when it was asked");
            own.set_last_error(format!("did not stop when it was asked: {reason}"));
        }
        ReportKind::BudgetSpent { restarts } => {
            tracing::error!(service = child, restarts, "restart budget is spent; the service is given up");
            let group = report.supervisor.rsplit('/').next().unwrap_or_default();
            for name in groups.get(group).into_iter().flatten() {
                if let Some(stats) = stats.get(name).filter(|s| s.state() != RunState::Finished) {
                    stats.set_state(RunState::Failed);
                }
            }
        }
    }
}

/// Waits for the end of the root. One that was not asked for is the end of the node: a supervisor that says `when_spent = "stop_node"`
/// gave up.
fn watch_root(node: &Arc<Node>, mut root: Supervisor) -> Root {
    let (sender, ended) = watch::channel(false);
    let watched = Root { process: root.process(), ended, is_stopping: Arc::default() };
    let (node_of, is_stopping) = (Arc::downgrade(node), watched.is_stopping.clone());
    node.world.spawn.spawn(Box::pin(async move {
        root.ended().await;
        if !is_stopping.load(Ordering::Acquire)
            && let Some(node) = node_of.upgrade()
        {
            node.give_up("a supervisor of services spent its restart budget and says when_spent = \"stop_node\"");
        }
        sender.send_replace(true);
    }));
    watched
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
            let names = |i: &usize| node.topology.services[*i].settings.name.value.clone();
            let stats: BTreeMap<String, Arc<ServiceStats>> =
                (0..node.topology.services.len()).map(|i| (names(&i), node.service_stats[i].clone())).collect();
            let groups = groups(&node.topology);
            let members: BTreeMap<String, BTreeSet<String>> =
                groups.iter().map(|g| (g.name.clone(), g.services.iter().map(names).collect())).collect();
            let tree: Arc<TreeWatch> = node.tree.clone();
            let world = &node.world;
            let env = Env::new(world.timer.clone(), world.spawn.clone(), world.rng()).observed_by(move |report| {
                tree.note(report);
                note(&stats, &members, report);
            });
            let children = groups.into_iter().map(|group| {
                let specs: Vec<ChildSpec> = group.services.iter().map(|&index| self.spec(&node, index)).collect();
                let spec = ChildSpec::supervisor(group.name.as_str(), group.flags(), move || specs.clone());
                match group.when_spent {
                    WhenSpent::GiveUp => spec.restart(Restart::Temporary),
                    WhenSpent::StopNode => spec,
                }
            });
            let flags = Flags { intensity: 0, ..Flags::default() };
            let root = Supervisor::start(ROOT, flags, children.collect(), env).await;
            let root = root.map_err(|e| SubsystemError { code: "CSF-0209", message: format!("services: {e}") })?;
            *self.root() = Some(watch_root(&node, root));
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            let Some(root) = self.root().take() else { return Ok(()) };
            root.is_stopping.store(true, Ordering::Release);
            root.process.shut_down(ExitReason::Shutdown);
            // The task's end is the supervisor's end too.
            let _ = root.ended.clone().wait_for(|ended| *ended).await;
            if let Some(node) = self.node.upgrade() {
                let has_work = |s: &&Arc<ServiceStats>| matches!(s.state(), RunState::Running | RunState::Restarting);
                node.service_stats.iter().filter(has_work).for_each(|s| s.set_state(RunState::Stopped));
            }
            Ok(())
        })
    }

    fn health_check(&self) -> HealthStatus {
        if self.root().as_ref().is_some_and(|root| *root.ended.borrow()) {
            return HealthStatus::Unhealthy("the root supervisor of the services has ended".to_owned());
        }
        HealthStatus::Healthy
    }
}
