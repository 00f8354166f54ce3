//! From a checked topology and an open journal to a node that is wired but does not run yet.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use csf_bus::{BusConfig, Doorbell, Interest, Order, PhaseCoherenceBus, Start, Subscription, TopicError, TopicSpec};
use csf_core::port::{Batch, Journal, JournalError, LaneBatch, LaneKind, TimeSource};
use csf_core::{LaneId, MessageType, Stamp};

use super::boot::{BootError, now_ns};
use super::failing::Failures;
use super::handle::{ClockReporter, Node, NodeState, ReaderFactory};
use super::hub::{CoordinationHub, Subsystem};
use super::interrupt::{Interrupt, Urgency};
use super::live::{Desk, Live, LiveComponent};
use super::monitor::HealthMonitor;
use super::registration::Registrations;
use super::reload::Reloads;
use super::report::Rates;
use super::services::ServiceSubsystem;
use super::state::Replayed;
use super::stop::Ending;
use super::subsystems::{DispatcherPlan, DispatcherSubsystem, RecorderSubsystem};
use super::tree::TreeWatch;
use crate::exec::{
    ComponentObserver, ComponentPaths, Desk as EventDesk, Failing, IncidentSink, Machine, Outputs, PathLatencies,
    Recorder, Runner, Timers,
};
use crate::persist::calculate_checksum;
use crate::registry::{EmbeddedRegistry, RegistryLimits};
use crate::replay::{Resumption, replay_while};
use crate::runs::Chapter;
use crate::topology::{ComponentNode, Topology};
use crate::{Catalogue, DELIVERY_TOPIC, Delivery, World};

/// Slots of a delivery log.
const DELIVERY_CAPACITY: usize = 8192;

/// What a node is made of.
pub(super) struct Assembly {
    pub(super) topology: Topology,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) clock: Arc<dyn TimeSource>,
    pub(super) clock_report: Option<ClockReporter>,
    pub(super) place: String,
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
        let bus = PhaseCoherenceBus::new(BusConfig {
            incarnation,
            not_before,
            timer: world.timer.clone(),
            ..BusConfig::new(clock.clone())
        });
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
        let registry = EmbeddedRegistry::new(world.timer.clone(), RegistryLimits::default());
        let registrations = Registrations::new(Arc::new(registry));
        let news = registrations.news();
        let observer: ComponentObserver = Arc::new(move |name, what, detail| {
            watch.note_component(name, what, detail);
            news.notify_one();
        });
        let failures = Arc::<Failures>::default();
        let sink = failures.clone();
        let incidents: IncidentSink = Arc::new(move |incident| sink.take(incident));
        let messages = Arc::new(catalogue.messages.clone());
        let kit = Kit { paths: Arc::default(), observer, incidents, messages };
        let wiring = wire(&bus, &topology, resumption, &kit, world.workers.cores())?;
        let service_stats = topology.services.iter().map(|_| Arc::default()).collect();
        let recorder = Recorder::start(journal, subscription, catalogue.messages.clone(), wiring.delivery_of, &world)?;
        let monitor = HealthMonitor::new(world.timer.clone(), world.spawn.clone(), clock.clone());
        let node = Arc::new(Node {
            given_up: Mutex::default(),
            hub: CoordinationHub::default(),
            recorder,
            clock_report: self.clock_report,
            dispatchers: Mutex::default(),
            desks: Mutex::new(wiring.desks),
            failures: failures.clone(),
            services: OnceLock::new(),
            reloads: Reloads::default(),
            tree,
            kit,
            open_reader: self.open_reader,
            place: self.place,
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
            registrations,
            world,
            live: RwLock::new(Arc::new(Live::new(topology, wiring.components, service_stats, 0))),
            bus,
            catalogue,
        });
        failures.belong_to(&node);
        let services = Arc::new(ServiceSubsystem::new(Arc::downgrade(&node), sources));
        // Set once, here: the cell is fresh.
        let _ = node.services.set(services.clone());
        let subsystems: Vec<Arc<dyn Subsystem>> = vec![
            Arc::new(RecorderSubsystem { node: Arc::downgrade(&node) }),
            Arc::new(DispatcherSubsystem {
                node: Arc::downgrade(&node),
                plans: Mutex::new(wiring.plans),
                spin_ns: self.spin_ns,
            }),
            services,
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
    let whole = replay_while(reader.as_mut(), catalogue, None, Some(topology), &mut goes_on)?;
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
            lanes.entry(packet.header.id.lane).or_default().push(packet);
        }
        let (lanes, packets) = (resumption.missing_lanes.clone(), lanes.into_values().collect());
        journal.append(&Batch { lanes, packets, ..Batch::default() })?;
    }
    Ok(resumption)
}

pub(super) fn announce_run(
    journal: &mut dyn Journal,
    build_id: &str,
    topology: &Topology,
    clock: &dyn TimeSource,
) -> Result<(), JournalError> {
    let chapter = Chapter::start(topology, journal.incarnation(), build_id, Stamp(now_ns(clock)));
    journal.append(&Batch { appends: vec![chapter.event().into()], ..Batch::default() }).map(|_| ())
}

/// What every runner of a node shares.
#[derive(Clone)]
pub(super) struct Kit {
    pub(super) paths: Arc<PathLatencies>,
    pub(super) observer: ComponentObserver,
    incidents: IncidentSink,
    messages: Arc<BTreeMap<String, MessageType>>,
}

struct Wiring {
    plans: Vec<DispatcherPlan>,
    desks: Vec<Desk>,
    components: Vec<LiveComponent>,
    delivery_of: BTreeMap<String, LaneId>,
}

/// Connects every component to its lanes and spreads components over dispatchers: at most cores − 1, at least one.
fn wire(
    bus: &PhaseCoherenceBus,
    topology: &Topology,
    resumption: Resumption,
    kit: &Kit,
    cores: usize,
) -> Result<Wiring, TopicError> {
    let threads = cores.saturating_sub(1).clamp(1, topology.components.len().max(1));
    let (mut plans, mut desks) = (Vec::new(), Vec::new());
    let (mut components, mut delivery_of) = (Vec::new(), BTreeMap::new());
    for number in 0..threads {
        let name = format!("csf-dispatch-{number}");
        let log = bus.publisher::<Delivery>(DELIVERY_TOPIC, &name, LaneKind::Delivery)?;
        let bell = Arc::<Doorbell>::default();
        desks.push(Desk { log: log.info().id, generation: 0, bell: bell.clone() });
        plans.push(DispatcherPlan { name, runners: Vec::new(), log: Box::new(log), bell });
    }
    for ((index, node), replayed) in (0..).zip(&topology.components).zip(resumption.components) {
        let dispatcher = usize::from(index) % threads;
        let place = LiveComponent { number: index, dispatcher, stats: Arc::default(), tie: Arc::default() };
        let input = open_input(bus, node, Start::Earliest, &desks[dispatcher])?;
        let outputs = open_outputs(bus, node, |_| true)?;
        delivery_of.insert(node.settings.name.value.clone(), desks[dispatcher].log);
        let new = Runner::new(node, &place, input, outputs, kit);
        let machine = new.machine.map(|machine| Box::new(Machine { component: replayed.component, ..*machine }));
        plans[dispatcher].runners.push(Runner {
            machine,
            timers: replayed.timers,
            failing: replayed.failing,
            backlog: replayed.undelivered.into(),
            ..new
        });
        components.push(place);
    }
    Ok(Wiring { plans, desks, components, delivery_of })
}

/// What a component reads, as one stream in the order of stamps.
pub(super) fn open_input(
    bus: &PhaseCoherenceBus,
    node: &ComponentNode,
    start: Start,
    desk: &Desk,
) -> Result<Subscription, TopicError> {
    let reads: Vec<&str> = node.settings.reads.iter().map(|t| t.value.as_str()).collect();
    let interest = Interest::new().start(start).order(Order::Stamp).label(&node.settings.name.value);
    bus.subscribe_any(&reads, interest, desk.bell.clone())
}

/// Lanes for the outputs whose topics are wanted, by port.
pub(super) fn open_outputs(
    bus: &PhaseCoherenceBus,
    node: &ComponentNode,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Outputs, TopicError> {
    let mut outputs = Outputs::new();
    for (port, topic) in node.settings.writes.iter().filter(|(_, topic)| is_wanted(&topic.value)) {
        if let Some(output) = node.kind.writes.iter().find(|o| o.port == port) {
            outputs.push((port.clone(), (output.open)(bus, &topic.value, &node.settings.name.value)?));
        }
    }
    Ok(outputs)
}

impl Runner {
    /// A fresh component in its place.
    pub(in crate::node) fn new(
        node: &ComponentNode,
        place: &LiveComponent,
        input: Subscription,
        outputs: Outputs,
        kit: &Kit,
    ) -> Self {
        let ports = node.kind.writes.iter().map(|p| p.port).collect();
        Self {
            index: place.number,
            name: node.settings.name.value.clone(),
            machine: Some(Box::new(Machine { component: (node.factory)(), ports, outputs })),
            factory: node.factory.clone(),
            input,
            timers: Timers::default(),
            restart: node.settings.restart,
            stuck_after: node.settings.stuck_after,
            desk: Some(Box::new(EventDesk::new(kit.messages.clone()))),
            stats: place.stats.clone(),
            paths: ComponentPaths::new(kit.paths.clone()),
            backlog: VecDeque::new(),
            recent_restarts: Vec::new(),
            failing: Failing::default(),
            checkpoint: None,
            is_broken: false,
            untold: None,
            observer: kit.observer.clone(),
            incidents: kit.incidents.clone(),
            is_paused: false,
            is_held: false,
            tie: node.settings.supervisor.as_ref().map(|_| place.tie.clone()),
        }
    }
}
