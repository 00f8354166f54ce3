//! From a checked topology and an open journal to a node that is wired but does not run yet.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use csf_bus::{BusConfig, Doorbell, Interest, Order, PhaseCoherenceBus, Start, TopicError, TopicSpec};
use csf_core::port::{Batch, ExpectedVersion, Journal, JournalError, LaneBatch, LaneKind, NewEvent, TimeSource};
use csf_core::{LaneId, Stamp};

use super::boot::{BootError, now_ns};
use super::handle::{ClockReporter, Node, NodeState, Rates, ReaderFactory};
use super::hub::{CoordinationHub, Subsystem};
use super::interrupt::{Interrupt, Urgency};
use super::monitor::HealthMonitor;
use super::services::ServiceSubsystem;
use super::state::Replayed;
use super::stop::Ending;
use super::subsystems::{DispatcherPlan, DispatcherSubsystem, RecorderSubsystem};
use super::tree::TreeWatch;
use crate::exec::{ComponentObserver, ComponentPaths, ComponentStats, PathLatencies, Recorder, Runner, ServiceStats};
use crate::persist::calculate_checksum;
use crate::replay::{Resumption, replay_while};
use crate::topology::{Graph, Topology};
use crate::{Catalogue, DELIVERY_TOPIC, Delivery, World};

/// Slots of a delivery log.
const DELIVERY_CAPACITY: usize = 8192;

/// Stream of the node's starts.
pub const RUN_STREAM: &str = "csf.run";

/// What a node is made of.
pub(super) struct Assembly {
    pub(super) topology: Topology,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) clock: Arc<dyn TimeSource>,
    pub(super) clock_report: Option<ClockReporter>,
    pub(super) directory: PathBuf,
    pub(super) open_reader: ReaderFactory,
    pub(super) build_id: String,
    pub(super) spin_ns: u64,
    pub(super) interrupt: Interrupt,
    pub(super) world: World,
}

/// A node that does not run yet, and its own subsystems.
pub(super) type Assembled = (Arc<Node>, Vec<Arc<dyn Subsystem>>);

impl Assembly {
    /// The node and its own subsystems. The recorder works from here on.
    pub(super) fn build(self, journal: Box<dyn Journal>, resumption: Resumption) -> Result<Assembled, BootError> {
        let Self { topology, catalogue, clock, world, .. } = self;
        let (incarnation, not_before) = (journal.incarnation(), resumption.newest);
        let bus = PhaseCoherenceBus::new(BusConfig { incarnation, not_before, ..BusConfig::new(clock.clone()) });
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
        let resumed = (resumption.report.packets > 0).then(|| resumption.report.clone());
        let checksums = resumption.components.iter().map(|c| calculate_checksum(&c.component.snapshot())).collect();
        let replayed = Replayed { newest: resumption.newest, checksums };
        let sources = resumption.recorded.clone();
        let tree = Arc::new(TreeWatch::new(clock.clone()));
        let watch = tree.clone();
        let observer: ComponentObserver = Arc::new(move |name, what, detail| watch.note_component(name, what, detail));
        let wiring = wire(&bus, &topology, resumption, observer, world.workers.cores())?;
        let recorder = Recorder::start(journal, subscription, catalogue.messages.clone(), wiring.delivery_of, &world)?;
        let monitor = HealthMonitor::new(world.timer.clone(), world.spawn.clone(), clock.clone());
        let node = Arc::new(Node {
            given_up: Mutex::default(),
            graph: Graph::of(&topology),
            hub: CoordinationHub::default(),
            recorder,
            clock_report: self.clock_report,
            dispatchers: Mutex::default(),
            component_stats: wiring.stats,
            tree,
            service_stats: topology.services.iter().map(|_| Arc::new(ServiceStats::default())).collect(),
            paths: wiring.paths,
            open_reader: self.open_reader,
            directory: self.directory,
            build_id: self.build_id,
            started_at: Stamp(now_ns(clock.as_ref())),
            phases: Mutex::default(),
            boot_ms: Mutex::default(),
            state: Mutex::new(NodeState::Starting),
            edges: Mutex::default(),
            resumed,
            rates: Mutex::new(Rates::default()),
            interrupt: self.interrupt,
            ending: Ending::default(),
            replayed,
            monitor: Arc::new(monitor),
            guards: Arc::new(crate::resilience::NodeGuards::new(&topology.settings, &world)),
            world,
            bus,
            topology,
            catalogue,
        });
        let subsystems: Vec<Arc<dyn Subsystem>> = vec![
            Arc::new(RecorderSubsystem { node: Arc::downgrade(&node) }),
            Arc::new(DispatcherSubsystem {
                node: Arc::downgrade(&node),
                plans: Mutex::new(wiring.plans),
                spin_ns: self.spin_ns,
            }),
            Arc::new(ServiceSubsystem::new(Arc::downgrade(&node), sources)),
        ];
        Ok((node, subsystems))
    }
}

/// Repeats what an earlier start did, so that its components can go on, and appends what the crash kept from the journal.
pub(super) fn resume(
    journal: &mut dyn Journal,
    topology: &Topology,
    catalogue: &Catalogue,
    interrupt: &Interrupt,
) -> Result<Resumption, BootError> {
    let mut reader = journal.reader()?;
    let mut goes_on = |_| interrupt.urgency() == Urgency::None;
    let whole = replay_while(reader.as_mut(), topology, catalogue, None, &mut goes_on)?;
    let resumption = whole.ok_or(BootError::Interrupted { phase: 4, name: "data" })?;
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

pub(super) fn announce_run(
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
fn wire(
    bus: &PhaseCoherenceBus,
    topology: &Topology,
    resumption: Resumption,
    observer: ComponentObserver,
    cores: usize,
) -> Result<Wiring, TopicError> {
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
            observer: observer.clone(),
        });
        stats.push(own);
    }
    Ok(Wiring { plans, stats, paths, delivery_of })
}
