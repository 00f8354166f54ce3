//! The staged start of a node (FRM-060): phases 0–10, each timed and told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use csf_bus::{BusConfig, Doorbell, Interest, Order, PhaseCoherenceBus, Start, TopicError, TopicSpec};
use csf_core::port::{Batch, ExpectedVersion, Journal, JournalError, LaneBatch, LaneKind, NewEvent, TimeSource};
use csf_core::{LaneId, Stamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::handle::{ClockReporter, Node, NodeState, Rates, ReaderFactory};
use super::hub::{CoordinationError, CoordinationHub, Subsystem};
use super::initialization::{Conduct, LifeLimits};
use super::interrupt::Interrupt;
use super::preflight::{PreFlightResult, run_preflight_checks, standard_checks};
use super::subsystems::{DispatcherPlan, DispatcherSubsystem, RecorderSubsystem, ServiceSubsystem};
use crate::exec::{ComponentPaths, ComponentStats, PathLatencies, Recorder, Runner, ServiceStats};
use crate::replay::{ReplayError, Resumption, replay};
use crate::topology::{Graph, Topology};
use crate::{Catalogue, DELIVERY_TOPIC, Delivery, TokioWorld};

/// Slots of a delivery log.
const DELIVERY_CAPACITY: usize = 8192;

/// One phase of the start, as told to people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// 0–10.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// How long it took.
    pub ms: f64,
    /// What it did.
    pub detail: String,
}

/// A subsystem that needs the node, such as the API.
pub type Attachment = Box<dyn FnOnce(&Arc<Node>) -> Arc<dyn Subsystem> + Send>;

/// Everything a start needs.
pub struct BootOptions {
    /// The checked configuration.
    pub topology: Topology,
    /// The configuration as resolved, stored in the journal for replay.
    pub config_text: String,
    /// What the packs brought.
    pub catalogue: Arc<Catalogue>,
    /// Physical time.
    pub clock: Arc<dyn TimeSource>,
    /// What the clock says of itself, where it does.
    pub clock_report: Option<ClockReporter>,
    /// When the process started, to measure `boot_ms` from.
    pub process_start: Stamp,
    /// Journal directory, for the checks and for people.
    pub directory: PathBuf,
    /// Opens the journal for writing.
    pub open_journal: Box<dyn FnOnce() -> Result<Box<dyn Journal>, JournalError> + Send>,
    /// Opens it for reading.
    pub open_reader: ReaderFactory,
    /// Address of the API, checked before anything starts.
    pub listen: Option<SocketAddr>,
    /// Names this build; replay holds for one of these.
    pub build_id: String,
    /// How long an idle dispatcher spins before it parks, nanoseconds; 0 on one core.
    pub spin_ns: u64,
    /// Rolls the start back, and later hurries the stop.
    pub interrupt: Interrupt,
    /// The API and whatever else belongs to the transport phase.
    pub attachments: Vec<Attachment>,
    /// Told after each phase.
    pub on_phase: Box<dyn FnMut(&Phase) + Send>,
}

/// A start that failed; nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// A pre-flight check said no.
    #[error("pre-flight check `{check}` failed: {reason}")]
    PreFlightCheckFailed {
        /// `CSF-nnnn`.
        code: &'static str,
        /// Which check.
        check: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal cannot be continued.
    #[error(transparent)]
    Resume(#[from] ReplayError),
    /// The journal was written with other components or another build.
    #[error(
        "the journal cannot be continued: replay differs at {id} on `{topic}` ({what}); start on another directory"
    )]
    Diverged {
        /// The packet.
        id: String,
        /// Its topic.
        topic: String,
        /// What differs.
        what: String,
    },
    /// A topic cannot be set up.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    /// A subsystem failed.
    #[error(transparent)]
    Coordination(#[from] CoordinationError),
}

impl BootError {
    /// The page that explains it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::PreFlightCheckFailed { code, .. } => code,
            Self::Journal(error) => journal_code(error),
            Self::Resume(_) | Self::Diverged { .. } => "CSF-0501",
            Self::Coordination(CoordinationError::InitializationFailed { error, .. }) => error.code,
            Self::Topic(_) | Self::Thread(_) | Self::Coordination(_) => "CSF-0209",
        }
    }
}

/// The page that explains a journal's error.
pub(crate) fn journal_code(error: &JournalError) -> &'static str {
    match error {
        JournalError::InUse { .. } => "CSF-0203",
        JournalError::NewerFormat { .. } => "CSF-0204",
        JournalError::Storage { full: true, .. } => "CSF-0205",
        JournalError::Storage { .. } => "CSF-0202",
        _ => "CSF-0206",
    }
}

struct Plan {
    clock: Arc<dyn TimeSource>,
    on_phase: Box<dyn FnMut(&Phase) + Send>,
    phases: Vec<Phase>,
    last: u64,
}

impl Plan {
    fn done(&mut self, number: u8, name: &str, detail: impl Into<String>) {
        let now = now_ns(self.clock.as_ref());
        let ms = now.saturating_sub(self.last) as f64 / 1e6;
        self.last = now;
        let phase = Phase { number, name: name.to_owned(), ms, detail: detail.into() };
        tracing::info!(phase = number, name, ms, detail = phase.detail, "start");
        (self.on_phase)(&phase);
        self.phases.push(phase);
    }
}

fn now_ns(clock: &dyn TimeSource) -> u64 {
    clock.now_ns().map_or(0, |t| t.as_nanos())
}

/// Starts a node, phase by phase. On failure everything started is stopped again.
///
/// # Errors
/// [`BootError`].
pub async fn boot(options: BootOptions) -> Result<Arc<Node>, BootError> {
    let BootOptions { topology, catalogue, clock, open_reader, attachments, .. } = options;
    let mut plan =
        Plan { last: now_ns(clock.as_ref()), clock: clock.clone(), on_phase: options.on_phase, phases: Vec::new() };
    let checks = run_preflight_checks(&standard_checks(options.listen, &options.directory, clock.as_ref()));
    for (check, result) in &checks {
        match result {
            PreFlightResult::Fail { code, reason } => {
                return Err(BootError::PreFlightCheckFailed { code, check, reason: reason.clone() });
            }
            PreFlightResult::Warning(text) => tracing::warn!(check, text, "pre-flight"),
            PreFlightResult::Pass(text) => tracing::debug!(check, text, "pre-flight"),
        }
    }
    plan.done(0, "pre-flight", format!("{} checks passed", checks.len()));
    plan.done(1, "runtime", format!("{} workers", tokio::runtime::Handle::current().metrics().num_workers()));
    let counts = (topology.services.len(), topology.components.len(), topology.topics.len());
    plan.done(2, "configuration", format!("{} services, {} components, {} topics", counts.0, counts.1, counts.2));
    plan.done(3, "logging and metrics", "log to stderr, latencies per path");

    let mut journal = (options.open_journal)()?;
    let incarnation = journal.incarnation();
    let resumption = resume(journal.as_mut(), &topology, &catalogue)?;
    let newest = resumption.newest;
    let detail = if resumption.report.packets > 0 {
        format!("continued after {} packets, {} outputs equal", resumption.report.packets, resumption.report.equal)
    } else {
        format!("new journal in {}", options.directory.display())
    };
    announce_run(journal.as_mut(), &options.config_text, &options.build_id, &topology, clock.as_ref())?;
    plan.done(4, "data", detail);
    plan.done(5, "security", "API on loopback with a token; audit and policy are not in this build");

    let bus = PhaseCoherenceBus::new(BusConfig { incarnation, not_before: newest, ..BusConfig::new(clock.clone()) });
    for spec in topology.topics.values() {
        bus.declare(spec.clone())?;
    }
    bus.declare(TopicSpec::new::<Delivery>(DELIVERY_TOPIC).capacity(DELIVERY_CAPACITY))?;
    let recorded: Vec<&str> =
        topology.topics.values().filter(|t| t.recorded).map(|t| t.name.as_str()).chain([DELIVERY_TOPIC]).collect();
    let subscription = bus.subscribe_any(
        &recorded,
        Interest::new().start(Start::Earliest).order(Order::Stamp).label("recorder"),
        Arc::new(Doorbell::default()),
    )?;
    let report = (resumption.report.packets > 0).then(|| resumption.report.clone());
    let sources = resumption.recorded.clone();
    let wiring = wire(&bus, &topology, resumption)?;
    let recorder = Recorder::start(journal, subscription, catalogue.messages.clone(), wiring.delivery_of)?;
    let component_count = topology.components.len();
    let node = Arc::new(Node {
        graph: Graph::of(&topology),
        hub: CoordinationHub::default(),
        recorder,
        clock_report: options.clock_report,
        dispatchers: Mutex::default(),
        component_stats: wiring.stats,
        service_stats: topology.services.iter().map(|_| Arc::new(ServiceStats::default())).collect(),
        paths: wiring.paths,
        open_reader,
        directory: options.directory,
        build_id: options.build_id,
        started_at: Stamp(now_ns(clock.as_ref())),
        phases: Mutex::default(),
        boot_ms: Mutex::default(),
        state: Mutex::new(NodeState::Starting),
        edges: Mutex::default(),
        resumed: report,
        rates: Mutex::new(Rates::default()),
        interrupt: options.interrupt,
        bus,
        topology,
        catalogue,
    });
    plan.done(6, "core components", format!("{} topics recorded", recorded_count(&node)));
    let subsystems: Vec<Arc<dyn Subsystem>> = vec![
        Arc::new(RecorderSubsystem { node: Arc::downgrade(&node) }),
        Arc::new(DispatcherSubsystem {
            node: Arc::downgrade(&node),
            plans: Mutex::new(wiring.plans),
            spin_ns: options.spin_ns,
        }),
        Arc::new(ServiceSubsystem {
            node: Arc::downgrade(&node),
            recorded: sources,
            stop: watch::Sender::new(false),
            tasks: Mutex::default(),
        }),
    ];
    for subsystem in subsystems {
        node.hub.register(subsystem)?;
    }
    let attached = attachments.len();
    for attach in attachments {
        node.hub.register(attach(&node))?;
    }
    plan.done(7, "transport", if attached > 0 { "HTTP API and console" } else { "none" });
    let timer = TokioWorld::current();
    let conduct = Conduct { timer: &timer, limits: LifeLimits::default(), interrupt: &node.interrupt };
    node.hub.start_all(conduct, |id| tracing::debug!(subsystem = id, "started")).await?;
    plan.done(8, "supervision tree", format!("{component_count} components on their dispatchers"));
    plan.done(9, "application services", format!("{} services", node.service_stats.len()));
    let health = node.health();
    plan.done(
        10,
        "health verification",
        format!("{} checks, {:?}", health.components.len(), health.overall_status).to_lowercase(),
    );
    *node.boot_ms.lock().unwrap_or_else(PoisonError::into_inner) =
        now_ns(clock.as_ref()).saturating_sub(options.process_start.0) as f64 / 1e6;
    *node.phases.lock().unwrap_or_else(PoisonError::into_inner) = plan.phases;
    node.set_state(NodeState::Running);
    Ok(node)
}

fn recorded_count(node: &Node) -> usize {
    node.bus.topics().iter().filter(|t| t.spec().recorded).count()
}

/// Repeats what an earlier start did, so that its components can go on, and appends what the crash kept from the journal.
fn resume(journal: &mut dyn Journal, topology: &Topology, catalogue: &Catalogue) -> Result<Resumption, BootError> {
    let mut reader = journal.reader()?;
    let resumption = replay(reader.as_mut(), topology, catalogue, None, &mut |_| ())?;
    if let Some(difference) = &resumption.report.first_difference {
        let (id, topic, what) = (difference.id.clone(), difference.topic.clone(), difference.what.clone());
        return Err(BootError::Diverged { id, topic, what });
    }
    if !resumption.missing.is_empty() {
        let mut lanes: BTreeMap<LaneId, LaneBatch> = BTreeMap::new();
        for (position, packet) in (journal.position() + 1..).zip(&resumption.missing) {
            let mut packet = packet.clone();
            packet.position = position;
            lanes.entry(packet.header.id.lane).or_default().packets.push(packet);
        }
        journal.append(&Batch { packets: lanes.into_values().collect(), ..Batch::default() })?;
    }
    Ok(resumption)
}

/// Stream of the node's starts.
pub const RUN_STREAM: &str = "csf.run";

fn announce_run(
    journal: &mut dyn Journal,
    config: &str,
    build_id: &str,
    topology: &Topology,
    clock: &dyn TimeSource,
) -> Result<(), JournalError> {
    let components: Vec<&str> = topology.components.iter().map(|c| c.settings.name.value.as_str()).collect();
    let event = NewEvent {
        stream: RUN_STREAM.to_owned(),
        expected: ExpectedVersion::Any,
        kind: "started".to_owned(),
        stamp: Stamp(now_ns(clock)),
        data: serde_json::json!({
            "incarnation": journal.incarnation(),
            "build_id": build_id,
            "components": components,
            "config": config,
        }),
    };
    journal.append(&Batch { events: vec![event], ..Batch::default() }).map(|_| ())
}

struct Wiring {
    plans: Vec<DispatcherPlan>,
    stats: Vec<Arc<ComponentStats>>,
    paths: Arc<PathLatencies>,
    delivery_of: BTreeMap<String, LaneId>,
}

/// Connects every component to its lanes and spreads components over dispatchers: at most cores − 1, at least one.
fn wire(bus: &PhaseCoherenceBus, topology: &Topology, resumption: Resumption) -> Result<Wiring, TopicError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = cores.saturating_sub(1).clamp(1, topology.components.len().max(1));
    let mut plans = Vec::new();
    let mut delivery_of = BTreeMap::new();
    for number in 0..threads {
        let name = format!("csf-dispatch-{number}");
        let log = bus.publisher::<Delivery>(DELIVERY_TOPIC, &name, LaneKind::Delivery)?;
        plans.push(DispatcherPlan {
            name,
            runners: Vec::new(),
            log: Box::new(log),
            bell: Arc::new(Doorbell::default()),
        });
    }
    let (mut stats, paths) = (Vec::new(), Arc::new(PathLatencies::default()));
    for (index, (node, replayed)) in topology.components.iter().zip(resumption.components).enumerate() {
        let plan = &mut plans[index % threads];
        let settings = &node.settings;
        let name = settings.name.value.clone();
        let reads: Vec<&str> = settings.reads.iter().map(|t| t.value.as_str()).collect();
        let input = bus.subscribe_any(
            &reads,
            Interest::new().start(Start::Earliest).order(Order::Stamp).label(&name),
            plan.bell.clone(),
        )?;
        let mut outputs = Vec::new();
        for (port, topic) in &settings.writes {
            if let Some(output) = node.kind.writes.iter().find(|o| o.port == port) {
                outputs.push((port.clone(), (output.open)(bus, &topic.value, &name)?));
            }
        }
        let own = Arc::new(ComponentStats::default());
        delivery_of.insert(name.clone(), plan.log.info().id);
        plan.runners.push(Runner {
            index: u16::try_from(index).unwrap_or(u16::MAX),
            name,
            component: replayed.component,
            factory: node.factory.clone(),
            input,
            ports: node.kind.writes.iter().map(|p| p.port).collect(),
            outputs,
            timers: replayed.timers,
            restart: settings.restart,
            stats: own.clone(),
            paths: ComponentPaths::new(paths.clone()),
            backlog: replayed.undelivered.into(),
            recent_restarts: Vec::new(),
        });
        stats.push(own);
    }
    Ok(Wiring { plans, stats, paths, delivery_of })
}
