//! The services of a node and the supervisors above them, and above components.
//!
//! The root `services` has the outermost [`Groups`] below it. One whose budget is spent stays down and the node goes on without its parts,
//! unless it says `when_spent = "stop_node"`: then the root ends too. For a component, a child that stands for it is supervised
//! ([`super::seats`]).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use csf_core::port::LaneKind;
use tokio::sync::watch;

use super::groups::{Group, Groups, Member};
use super::handle::Node;
use super::hub::{CoordinationHub, HealthStatus, Subsystem, SubsystemError};
use super::live::Live;
use super::reload::ServiceTurnover;
use super::seats::Seat;
use super::subsystems::gone;
use crate::config::WhenSpent;
use crate::exec::{RunState, Runner, ServiceStats};
use crate::service::{BoxFuture, ServiceContext, ServiceError};
use crate::supervise::{
    ChildContext, ChildSpec, Env, ExitReason, Flags, ProcessRef, Report, ReportKind, Restart, Shutdown, Supervisor,
    SupervisorError, SupervisorRef,
};
use crate::topology::ServiceNode;

/// Path of the root.
pub(super) const ROOT: &str = "services";

/// What the supervisors below the root start, by group; read at each of their starts.
type Specs = Arc<Mutex<BTreeMap<String, Vec<ChildSpec>>>>;

/// Runs the services under their supervisors.
pub(super) struct ServiceSubsystem {
    node: Weak<Node>,
    /// Packets by author and topic that earlier starts recorded.
    recorded: Mutex<BTreeMap<(String, String), u64>>,
    /// Packets of this start by author and topic that a service of another type published under the same name.
    origins: Mutex<BTreeMap<(String, String), u64>>,
    root: Mutex<Option<Root>>,
    specs: Specs,
    /// Whether all of it stops with the node.
    is_stopping: Arc<AtomicBool>,
}

/// The root supervisor as the task that waits for its end shows it.
#[derive(Clone)]
struct Root {
    supervisor: SupervisorRef,
    process: ProcessRef,
    ended: watch::Receiver<bool>,
}

impl ServiceSubsystem {
    pub(super) fn new(node: Weak<Node>, recorded: BTreeMap<(String, String), u64>) -> Self {
        Self {
            node,
            recorded: Mutex::new(recorded),
            origins: Mutex::default(),
            root: Mutex::default(),
            specs: Specs::default(),
            is_stopping: Arc::default(),
        }
    }

    fn root(&self) -> MutexGuard<'_, Option<Root>> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn specs(&self) -> MutexGuard<'_, BTreeMap<String, Vec<ChildSpec>>> {
        self.specs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spec(&self, node: &Node, service: &ServiceNode, stats: &Arc<ServiceStats>) -> ChildSpec {
        let settings = &service.settings;
        let name = settings.name.value.clone();
        let writes: BTreeMap<String, String> =
            settings.writes.iter().map(|(p, t)| (p.clone(), t.value.clone())).collect();
        let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |places: &BTreeMap<(String, String), u64>, topic: &String| {
            places.get(&(name.clone(), topic.clone())).copied().unwrap_or(0)
        };
        let earlier: BTreeMap<String, (u64, u64)> =
            writes.values().map(|topic| (topic.clone(), (of(&recorded, topic), of(&origins, topic)))).collect();
        let (bus, stats) = (node.bus.clone(), stats.clone());
        let (guards, registry) = (node.guards.clone(), node.registry().clone());
        let (policy, stop_within) = (settings.restart.policy, settings.stop_within);
        let (id, service) = (name.clone(), service.clone());
        let work = move |child: ChildContext| {
            // An instance goes on where the one before it was, in this start or an earlier one.
            let so_far = |topic: &str| bus.topic(topic).map_or(0, |t| t.packets_by(&name, LaneKind::Source));
            let place = |(topic, (recorded, origin)): (&String, &(u64, u64))| {
                (topic.clone(), recorded + so_far(topic).saturating_sub(*origin))
            };
            let cx = ServiceContext {
                name: name.clone(),
                bus: bus.clone(),
                writes: writes.clone(),
                recorded: Arc::new(earlier.iter().map(place).collect()),
                progress: stats.clone(),
                guards: guards.clone(),
                registry: registry.clone(),
                child: Arc::new(child),
            };
            run_service(service.clone(), stats.clone(), cx)
        };
        ChildSpec::task(id, work).restart(policy).shutdown(Shutdown::Within(stop_within))
    }

    /// The supervisor of a group, which starts what the table says at each of its starts.
    fn group_spec(&self, group: &Group) -> ChildSpec {
        let (specs, name) = (self.specs.clone(), group.name.clone());
        let members = move || {
            let specs = specs.lock().unwrap_or_else(PoisonError::into_inner);
            specs.get(&name).cloned().unwrap_or_default()
        };
        let spec = ChildSpec::supervisor(group.name.as_str(), group.flags(), members);
        // Below another supervisor its end is a failure there; without one, the root's end is the node's.
        match group.when_spent {
            WhenSpent::GiveUp if group.above.is_none() => spec.restart(Restart::Temporary),
            WhenSpent::GiveUp | WhenSpent::StopNode => spec,
        }
    }

    fn member_spec(&self, node: &Node, live: &Live, groups: &Groups, member: &Member) -> Option<ChildSpec> {
        Some(match member {
            Member::Service(name) => {
                let (service, stats) = live.service(name)?;
                self.spec(node, service, stats)
            }
            Member::Component(name) => {
                let (_, place) = live.component(name)?;
                let (name, tie) = (name.clone(), place.tie.clone());
                Seat { node: self.node.clone(), name, tie, is_stopping: self.is_stopping.clone() }.spec()
            }
            Member::Group(name) => self.group_spec(groups.get(name)?),
        })
    }

    /// Fills the table for a configuration; the groups, in start order.
    fn plan(&self, node: &Node, live: &Live) -> Groups {
        let groups = Groups::of(&live.topology);
        let members = |group: &Group| {
            let spec = |member: &Member| self.member_spec(node, live, &groups, member);
            (group.name.clone(), group.members.iter().filter_map(spec).collect())
        };
        *self.specs() = groups.iter().map(members).collect();
        groups
    }

    /// Stops what ends under a new configuration. What does not run any more has ended.
    pub(super) async fn end(&self, turnover: &ServiceTurnover) {
        let Some(root) = self.root().clone() else { return };
        if let Some(node) = self.node.upgrade() {
            let live = node.live();
            let ending = turnover.ending.iter().filter_map(|name| live.service(name));
            ending.for_each(|(_, stats)| stats.is_replaced.store(true, Ordering::Release));
            let components = turnover.ending.iter().filter_map(|name| live.component(name));
            components.for_each(|(_, place)| place.tie.replace());
        }
        for (group, name) in turnover.stopped.iter().rev() {
            if let Some(supervisor) = below(&root, group).await {
                drop_child(&supervisor, name).await;
            }
        }
        for group in turnover.groups_stopped.iter().rev() {
            drop_child(&root.supervisor, group).await;
        }
    }

    /// Starts what begins under the new configuration.
    pub(super) async fn begin(&self, was: &Live, live: &Live, turnover: &ServiceTurnover) {
        if turnover.is_empty() {
            return;
        }
        if let Some(node) = self.node.upgrade() {
            let replaced = turnover.replaced(&was.topology, &live.topology);
            let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
            for topic in node.bus.topics() {
                for name in &replaced {
                    origins.insert((name.clone(), topic.spec().name.clone()), topic.packets_by(name, LaneKind::Source));
                }
            }
            let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            recorded.retain(|(author, _), _| !replaced.contains(author));
        }
        self.start(live, &turnover.groups_started, &turnover.started).await;
    }

    /// Starts again what was stopped for a configuration that did not come.
    pub(super) async fn take_back(&self, live: &Live, turnover: &ServiceTurnover) {
        self.start(live, &turnover.groups_stopped, &turnover.stopped).await;
    }

    async fn start(&self, live: &Live, new_groups: &[String], new_members: &[(String, String)]) {
        let (Some(node), Some(root)) = (self.node.upgrade(), self.root().clone()) else { return };
        let groups = self.plan(&node, live);
        for (name, group) in groups.outermost_of() {
            let is_new = |(of, new): &(String, String)| of == group && new == name;
            if let Some((_, stats)) = live.service(name)
                && (new_groups.iter().any(|new| new == group) || new_members.iter().any(is_new))
            {
                stats.set_state(RunState::Starting);
            }
        }
        for group in groups.outermost() {
            let mut is_new = new_groups.contains(&group.name);
            let members = new_members.iter().filter(|(of, _)| *of == group.name);
            if !is_new && let Some(supervisor) = below(&root, &group.name).await {
                for (_, name) in members {
                    let spec =
                        self.specs().get(&group.name).and_then(|specs| specs.iter().find(|s| *s.id == **name).cloned());
                    if let Some(spec) = spec {
                        tell(name, supervisor.start_child(spec).await);
                    }
                }
                continue;
            }
            // A supervisor that had given up begins again with the change of one of its services.
            is_new |= new_members.iter().any(|(of, _)| *of == group.name);
            if is_new {
                tell(&group.name, root.supervisor.start_child(self.group_spec(group)).await);
            }
        }
    }
}

/// The supervisor of a group, while it runs.
async fn below(root: &Root, group: &str) -> Option<SupervisorRef> {
    let children = root.supervisor.which_children().await.ok()?;
    children.into_iter().find(|child| *child.id == *group)?.supervisor
}

async fn drop_child(supervisor: &SupervisorRef, name: &str) {
    // One that is not there any more needs neither.
    let _ = supervisor.terminate_child(name).await;
    let _ = supervisor.delete_child(name).await;
}

fn tell<T>(name: &str, outcome: Result<T, SupervisorError>) {
    if let Err(error) = outcome {
        tracing::error!(name, %error, "not started under the new configuration");
    }
}

impl Drop for ServiceSubsystem {
    /// A node that is dropped without a stop leaves no service behind.
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Release);
        if let Some(root) = self.root().take() {
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
fn note(node: &Arc<Node>, live: &Live, report: &Report) {
    let (child, kind) = (&*report.child, &report.kind);
    if let ReportKind::BudgetSpent { restarts } = kind {
        tracing::error!(child, restarts, supervisor = &*report.supervisor, "restart budget is spent");
        // Below another supervisor, that one goes on from here.
        if let Some(group) = report.supervisor.strip_prefix(ROOT).and_then(|path| path.strip_prefix('/')) {
            give_up(node, live, group);
        }
        return;
    }
    let Some((_, own)) = live.service(child).filter(|_| &*report.supervisor != ROOT) else {
        return;
    };
    match kind {
        ReportKind::Started => {
            let is_replaced = own.is_replaced.swap(false, Ordering::AcqRel);
            if own.starts.fetch_add(1, Ordering::Relaxed) > 0 && !is_replaced {
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
        ReportKind::BudgetSpent { .. } => {}
    }
}

/// Everything below an outermost supervisor stays down.
fn give_up(node: &Arc<Node>, live: &Live, group: &str) {
    let groups = Groups::of(&live.topology);
    // One further down is found by no name here: its path has a slash.
    let Some(group) = groups.get(group).filter(|group| group.above.is_none()) else { return };
    for part in groups.parts(group) {
        if let Some((_, stats)) = live.service(part.name()).filter(|(_, stats)| stats.state() != RunState::Finished) {
            stats.set_state(RunState::Failed);
        }
        if let Some((component, place)) = live.component(part.name()) {
            tracing::error!(component = part.name(), "the component is given up with its supervisor");
            place.tie.give_up();
            let (node, name) = (node.clone(), component.settings.name.value.clone());
            node.clone().world.spawn.spawn(Box::pin(async move {
                // One that is not there any more needs nothing.
                let _ = node.with_runner(&name, Runner::give_up_with_group).await;
            }));
        }
    }
}

/// Waits for the end of the root. One that was not asked for is the end of the node: a supervisor that says `when_spent = "stop_node"`
/// gave up.
fn watch_root(node: &Arc<Node>, mut root: Supervisor, is_stopping: Arc<AtomicBool>) -> Root {
    let (sender, ended) = watch::channel(false);
    let supervisor = root.reference().clone();
    let watched = Root { supervisor, process: root.process(), ended };
    let node_of = Arc::downgrade(node);
    node.world.spawn.spawn(Box::pin(async move {
        root.ended().await;
        if !is_stopping.load(Ordering::Acquire)
            && let Some(node) = node_of.upgrade()
        {
            node.give_up("a supervisor spent its restart budget and says when_spent = \"stop_node\"");
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
            let (world, tree, of) = (&node.world, node.tree.clone(), self.node.clone());
            let env = Env::new(world.timer.clone(), world.spawn.clone(), world.rng()).observed_by(move |report| {
                tree.note(report);
                if let Some(node) = of.upgrade() {
                    note(&node, &node.live(), report);
                    node.registrations.news().notify_one();
                }
            });
            let groups = self.plan(&node, &node.live());
            let children = groups.outermost().map(|group| self.group_spec(group));
            let flags = Flags { intensity: 0, ..Flags::default() };
            let root = Supervisor::start(ROOT, flags, children.collect(), env).await;
            let root = root.map_err(|e| SubsystemError { code: "CSF-0209", message: format!("services: {e}") })?;
            *self.root() = Some(watch_root(&node, root, self.is_stopping.clone()));
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            self.is_stopping.store(true, Ordering::Release);
            let Some(root) = self.root().take() else { return Ok(()) };
            root.process.shut_down(ExitReason::Shutdown);
            // The task's end is the supervisor's end too.
            let _ = root.ended.clone().wait_for(|ended| *ended).await;
            if let Some(node) = self.node.upgrade() {
                let has_work = |s: &&Arc<ServiceStats>| matches!(s.state(), RunState::Running | RunState::Restarting);
                let live = node.live();
                live.services.iter().filter(has_work).for_each(|s| s.set_state(RunState::Stopped));
                for (component, _) in live.components().filter(|(node, _)| node.settings.supervisor.is_some()) {
                    // It handles by itself what it was given before it ends with its dispatcher.
                    let _ = node.with_runner(&component.settings.name.value, Runner::untie).await;
                }
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
