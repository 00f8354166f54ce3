//! A running node in numbers: what it is made of and how it does.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use csf_bus::{TemporalViolation, TopicTraffic};
use csf_core::Stamp;
use csf_core::port::{Away, BusHealthCheck, LaneKind, TemporalMetrics};
use csf_time::ClockReport;
use serde::{Deserialize, Serialize};

use super::boot::Phase;
use super::handle::{Node, NodeState};
use super::live::LiveComponent;
use crate::exec::{DeadEvent, LatencySummary, RunState};
use crate::replay::ReplayReport;

/// The bus and its clock in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BusReport {
    /// Now, nanoseconds since the Unix epoch.
    pub now: Stamp,
    /// Counters and warnings since the last look.
    pub health: BusHealthCheck,
    /// How well time and cause are kept.
    pub temporal: TemporalMetrics,
    /// The clock.
    pub clock: Option<ClockReport>,
    /// Whether the process's global clock is set up.
    pub global_hlc: bool,
    /// Every topic.
    pub topics: Vec<TopicTraffic>,
    /// The newest packets that could not be delivered in causal order.
    pub violations: Vec<TemporalViolation>,
    /// The newest events that components failed on and that were given up.
    pub dead_events: Vec<DeadEvent>,
    /// All of them since the start.
    pub dead_events_total: u64,
}

/// The node in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Name shown to people.
    pub name: String,
    /// Number in the fabric.
    pub node_id: u16,
    /// This start.
    pub incarnation: u32,
    /// Build id; replay holds for one of these.
    pub build_id: String,
    /// Life.
    pub state: NodeState,
    /// Nanoseconds since the Unix epoch, as text.
    pub started_at: String,
    /// Nanoseconds, as text.
    pub uptime_ns: String,
    /// Milliseconds from process start to ready.
    pub boot_ms: f64,
    /// What the start did.
    pub phases: Vec<Phase>,
    /// The journal.
    pub journal: JournalReport,
    /// What was repeated to go on from an earlier start.
    pub resumed: Option<ReplayReport>,
}

/// The journal in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalReport {
    /// Where it is.
    pub place: String,
    /// Bytes on storage.
    pub bytes: u64,
    /// Newest durable position.
    pub durable_position: u64,
    /// The failure that stops recording, while it lasts.
    pub failure: Option<String>,
    /// What keeps the store away, while it is, and what waits for it on this machine.
    #[serde(default)]
    pub away: Option<Away>,
}

/// A topic in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicReport {
    /// Name.
    pub name: String,
    /// Message type, `name@version`.
    #[serde(rename = "type")]
    pub message: String,
    /// One line for people.
    pub doc: String,
    /// Packets of this start.
    pub packets: u64,
    /// Packets per second, over the last second or so.
    pub rate_hz: f64,
    /// Newest durable stamp, as text.
    pub last_stamp: Option<String>,
    /// Whether the journal records it.
    pub recorded: bool,
    /// Names.
    pub writers: Vec<String>,
    /// Names.
    pub readers: Vec<String>,
}

/// A component or service in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComponentReport {
    /// Name in the node.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind_name: String,
    /// The pack that brought it.
    pub pack: String,
    /// `component` or `service`.
    pub kind: String,
    /// Life.
    pub state: RunState,
    /// Topics.
    pub reads: Vec<String>,
    /// Topics.
    pub writes: Vec<String>,
    /// Deliveries handled.
    pub handled: u64,
    /// Packets published.
    pub published: u64,
    /// Failed deliveries.
    pub faults: u64,
    /// Times restarted after a failure.
    pub restarts: u64,
    /// Events it failed on that were given up.
    pub dead_letters: u64,
    /// Which instance this is, from 1: restarts and changes of its configuration make new ones.
    pub incarnation: u64,
    /// Packets waiting.
    pub queue: u64,
    /// Packets that came after their deadline.
    pub deadline_misses: u64,
    /// Deliveries per second (services: packets published per second).
    pub rate_hz: f64,
    /// Trigger commit to effect commit.
    pub latency_ns: LatencySummary,
    /// Share of the work done, for services that say so.
    pub progress: f64,
    /// The last failure in words, empty if none.
    pub last_failure: String,
}

/// An end-to-end path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathReport {
    /// Topic of the trigger.
    pub from: String,
    /// Topic of the effect.
    pub to: String,
    /// Commit to commit.
    #[serde(flatten)]
    pub latency: LatencySummary,
}

/// Counts at the last two looks, for rates.
#[derive(Default)]
pub(super) struct Rates {
    at_ns: u64,
    counts: BTreeMap<String, u64>,
    per_second: BTreeMap<String, f64>,
}

/// Rates are computed over at least this long.
const RATE_WINDOW_NS: u64 = 700_000_000;

impl Node {
    /// The node in numbers.
    #[must_use]
    pub fn report(&self) -> NodeReport {
        let bytes = self.reader().and_then(|mut r| r.size()).map_or(0, |s| s.bytes);
        NodeReport {
            name: self.live().topology.settings.node.name.clone(),
            node_id: self.bus.config().node,
            incarnation: self.bus.config().incarnation,
            build_id: self.build_id.clone(),
            state: self.state(),
            started_at: self.started_at.to_string(),
            uptime_ns: self.now_ns().saturating_sub(self.started_at.0).to_string(),
            boot_ms: *self.boot_ms.lock().unwrap_or_else(PoisonError::into_inner),
            phases: self.phases.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            journal: JournalReport {
                place: self.place.clone(),
                bytes,
                durable_position: self.feed().position(),
                failure: self.feed().failure(),
                away: self.recorder.away(),
            },
            resumed: self.resumed.clone(),
        }
    }

    /// Every topic in numbers.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicReport> {
        let rates = self.rates();
        let last = self.feed().last_values();
        let topology = self.topology();
        self.bus
            .topics()
            .iter()
            .filter(|t| topology.topics.contains_key(&t.spec().name))
            .map(|topic| {
                let spec = topic.spec();
                TopicReport {
                    name: spec.name.clone(),
                    message: spec.message.full_name(),
                    doc: spec.doc.clone().unwrap_or_else(|| spec.message.doc()),
                    packets: topic.packets(),
                    rate_hz: rates.get(&format!("topic {}", spec.name)).copied().unwrap_or(0.0),
                    last_stamp: last.get(&spec.name).map(|p| p.packet.header.stamp.to_string()),
                    recorded: spec.recorded,
                    writers: topology.writers(&spec.name).map(str::to_owned).collect(),
                    readers: topology.readers(&spec.name).map(str::to_owned).collect(),
                }
            })
            .collect()
    }

    /// Every component and service in numbers.
    #[must_use]
    pub fn components(&self) -> Vec<ComponentReport> {
        let rates = self.rates();
        let live = self.live();
        let services = live.services().map(|(service, stats)| {
            let name = &service.settings.name.value;
            let published = self.published_by(name);
            ComponentReport {
                name: name.clone(),
                kind_name: service.kind.name.clone(),
                pack: service.kind.pack.to_owned(),
                kind: "service".to_owned(),
                state: stats.state(),
                reads: Vec::new(),
                writes: service.settings.writes.values().map(|t| t.value.clone()).collect(),
                handled: 0,
                published,
                faults: 0,
                restarts: stats.restarts.load(Ordering::Relaxed),
                dead_letters: 0,
                incarnation: stats.starts.load(Ordering::Relaxed),
                queue: 0,
                deadline_misses: 0,
                rate_hz: rates.get(&format!("service {name}")).copied().unwrap_or(0.0),
                latency_ns: LatencySummary::default(),
                progress: stats.progress(),
                last_failure: stats.last_error(),
            }
        });
        let components = live.components().map(|(component, LiveComponent { stats, .. })| {
            let name = &component.settings.name.value;
            ComponentReport {
                name: name.clone(),
                kind_name: component.kind.name.clone(),
                pack: component.kind.pack.to_owned(),
                kind: "component".to_owned(),
                state: stats.state(),
                reads: component.settings.reads.iter().map(|t| t.value.clone()).collect(),
                writes: component.settings.writes.values().map(|t| t.value.clone()).collect(),
                handled: stats.handled.load(Ordering::Relaxed),
                published: stats.published.load(Ordering::Relaxed),
                faults: stats.faults.load(Ordering::Relaxed),
                restarts: stats.restarts.load(Ordering::Relaxed),
                dead_letters: stats.dead_letters.load(Ordering::Relaxed),
                incarnation: stats.instances.load(Ordering::Relaxed),
                queue: stats.queue.load(Ordering::Relaxed),
                deadline_misses: stats.late.load(Ordering::Relaxed),
                rate_hz: rates.get(&format!("component {name}")).copied().unwrap_or(0.0),
                latency_ns: stats.latency.summary(),
                progress: 0.0,
                last_failure: stats.last_fault(),
            }
        });
        services.chain(components).collect()
    }

    /// Packets that the service `author` published.
    fn published_by(&self, author: &str) -> u64 {
        let reader_of = |topic: &Arc<csf_bus::Topic>| topic.packets_by(author, LaneKind::Source);
        self.bus.topics().iter().map(reader_of).sum()
    }

    /// The bus and its clock.
    #[must_use]
    pub fn bus_report(&self) -> BusReport {
        let health = self.bus.health_check();
        let temporal = self.bus.get_temporal_metrics();
        let topics = self.bus.traffic();
        BusReport {
            // Read last: on a busy machine the newest packets would be ahead of an earlier reading.
            now: Stamp(self.now_ns()),
            health,
            temporal,
            clock: self.clock_report.as_ref().and_then(|report| report().ok()),
            global_hlc: csf_time::is_global_hlc_initialized(),
            topics,
            violations: self.bus.dead_letters().into_iter().map(|letter| letter.violation).collect(),
            dead_events: self.failures.newest(),
            dead_events_total: self.failures.total(),
        }
    }

    /// End-to-end paths.
    #[must_use]
    pub fn latencies(&self) -> Vec<PathReport> {
        let report = |(from, to, latency)| PathReport { from, to, latency };
        self.kit.paths.summaries().into_iter().map(report).collect()
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for topic in self.bus.topics() {
            counts.insert(format!("topic {}", topic.spec().name), topic.packets());
        }
        let live = self.live();
        for service in &live.topology.services {
            let name = &service.settings.name.value;
            counts.insert(format!("service {name}"), self.published_by(name));
        }
        for (component, LiveComponent { stats, .. }) in live.components() {
            let handled = stats.handled.load(Ordering::Relaxed);
            counts.insert(format!("component {}", component.settings.name.value), handled);
        }
        counts
    }

    fn rates(&self) -> BTreeMap<String, f64> {
        let now = self.now_ns();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_sub(rates.at_ns);
        if elapsed >= RATE_WINDOW_NS {
            let counts = self.counts();
            let first_look = rates.at_ns == 0;
            let seconds = elapsed as f64 / 1e9;
            rates.per_second = counts
                .iter()
                .map(|(name, count)| {
                    let before = rates.counts.get(name).copied().unwrap_or(0);
                    (name.clone(), if first_look { 0.0 } else { count.saturating_sub(before) as f64 / seconds })
                })
                .collect();
            rates.counts = counts;
            rates.at_ns = now;
        }
        rates.per_second.clone()
    }
}
