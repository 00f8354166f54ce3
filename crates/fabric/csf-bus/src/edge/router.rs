//! Routes whole packets whose type is known at run time only, at once or when their time has come (FAB-060, FAB-062 to FAB-064).
//!
//! What it measures costs one reading of the counter before and one after a packet; who wants no measurement calls
//! [`PacketRouter::route`](csf_core::port::PacketRouter::route) on the bus.

use std::cmp::{Ordering as Order, Reverse};
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_utils::CachePadded;
use csf_core::port::{HlcClock, PacketRouter};
use csf_core::{AnyPacket, BusError, BusResult, LogicalTime, MessageId, NanoTime, Priority, Stamp};
use csf_time::{Hlc, TscCalibration, hardware_timestamp};
use serde::{Deserialize, Serialize};

use crate::health::{LATENCY_LIMIT_NS, THROUGHPUT_LIMIT_MPS};
use crate::monitor::{DeadLetter, TemporalViolation, ViolationKind};
use crate::{PhaseCoherenceBus, WeakBus};

/// A packet that waits for its time, and for what must come before it.
pub struct TemporalMessage {
    /// The packet.
    pub packet: Box<AnyPacket>,
    /// When it was handed in.
    pub logical_time: LogicalTime,
    /// Not before this time.
    pub delivery_time: NanoTime,
    /// Among those due at the same time, the higher goes first.
    pub priority: Priority,
    /// What must have been published before.
    pub dependencies: Vec<MessageId>,
}

impl TemporalMessage {
    fn key(&self) -> (NanoTime, Reverse<Priority>, LogicalTime) {
        (self.delivery_time, Reverse(self.priority), self.logical_time)
    }
}

impl PartialEq for TemporalMessage {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for TemporalMessage {}

impl PartialOrd for TemporalMessage {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for TemporalMessage {
    /// Delivery time, then priority, then logical time; the first to go is the least.
    fn cmp(&self, other: &Self) -> Order {
        self.key().cmp(&other.key())
    }
}

/// What a router has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterStats {
    /// Packets published.
    pub messages_routed: u64,
    /// Ticks spent in publishing them.
    pub total_latency_tsc: u64,
    /// Most ticks spent on one.
    pub peak_latency_tsc: u64,
    /// Packets refused.
    pub routing_failures: u64,
    /// Payload types that have a route.
    pub active_routes: u64,
    /// Subscriptions over all routes.
    pub total_subscribers: u64,
    /// Mean of the latency, nanoseconds.
    pub avg_latency_ns: u64,
    /// Peak of the latency, nanoseconds.
    pub peak_latency_ns: u64,
    /// Packets per second since the first one.
    pub throughput_mps: u64,
}

/// Which parts a router works with; it routes without any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterParts {
    /// Latencies by the processor's counter; else by the bus's clock.
    pub tsc: bool,
    /// Stamps of pending messages by a hybrid logical clock; else by the bus's clock alone.
    pub hlc: bool,
    /// Vector instructions, where the packet allows them.
    pub simd: bool,
}

impl Default for RouterParts {
    fn default() -> Self {
        Self { tsc: true, hlc: true, simd: true }
    }
}

/// Any thread adds to these; each lies in a line of its own.
#[derive(Default)]
struct Counters {
    routed: CachePadded<AtomicU64>,
    total_ticks: CachePadded<AtomicU64>,
    peak_ticks: CachePadded<AtomicU64>,
    failures: CachePadded<AtomicU64>,
    /// Bus time of the first packet, nanoseconds.
    since_ns: CachePadded<AtomicU64>,
}

/// Routes erased packets. Holds the bus weakly.
pub struct HardwareRouter {
    bus: WeakBus,
    parts: RouterParts,
    calibration: Option<TscCalibration>,
    hlc: Mutex<Hlc>,
    pending: Mutex<BinaryHeap<Reverse<TemporalMessage>>>,
    counters: Counters,
}

impl HardwareRouter {
    /// A router of this bus; calibrates for about 4 ms where it uses the counter.
    ///
    /// # Errors
    /// [`BusError::InitializationFailed`] when the counter cannot be calibrated.
    pub fn new(bus: &PhaseCoherenceBus, parts: RouterParts) -> BusResult<Self> {
        let calibration = if parts.tsc {
            let calibration = TscCalibration::new();
            calibration.calibrate().map_err(|e| BusError::InitializationFailed {
                component: "router".to_owned(),
                reason: e.to_string(),
            })?;
            Some(calibration)
        } else {
            None
        };
        let (hlc, pending) = (Mutex::new(bus.hlc()), Mutex::default());
        Ok(Self { bus: bus.downgrade(), parts, calibration, hlc, pending, counters: Counters::default() })
    }

    fn bus(&self) -> BusResult<PhaseCoherenceBus> {
        self.bus.upgrade().ok_or_else(|| BusError::DeliveryFailed { details: "the bus is gone".to_owned() })
    }

    /// Publishes a packet now, without waiting.
    ///
    /// # Errors
    /// As [`PacketRouter::route`].
    pub fn route(&self, mut packet: Box<AnyPacket>) -> BusResult<MessageId> {
        packet.routing_metadata.delivery_options.use_hardware_acceleration &= self.parts.simd;
        let bus = self.bus()?;
        let begin = self.ticks(&bus);
        let outcome = PacketRouter::route(&bus, packet);
        let spent = self.ticks(&bus).saturating_sub(begin);
        let counters = &self.counters;
        if outcome.is_ok() {
            if counters.routed.fetch_add(1, Ordering::Relaxed) == 0 {
                counters.since_ns.store(bus.monitor().now_ns(), Ordering::Relaxed);
            }
            counters.total_ticks.fetch_add(spent, Ordering::Relaxed);
            counters.peak_ticks.fetch_max(spent, Ordering::Relaxed);
        } else {
            counters.failures.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Keeps a packet until its time has come and its dependencies are published; [`HardwareRouter::process_pending_messages`]
    /// publishes it then.
    ///
    /// # Errors
    /// [`BusError::DeliveryFailed`] when the bus is gone.
    pub fn route_at(&self, packet: Box<AnyPacket>, delivery_time: NanoTime) -> BusResult<()> {
        let logical_time = self.logical_time(&self.bus()?);
        let priority = packet.routing_metadata.priority;
        let dependencies = packet.quantum_correlation.causal_dependencies.clone();
        let message = TemporalMessage { packet, logical_time, delivery_time, priority, dependencies };
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).push(Reverse(message));
        Ok(())
    }

    /// Publishes the pending packets that are due, by delivery time, priority and logical time; returns how many. One whose
    /// dependencies are not published stays, for the bus's longest hold beyond its time; then it is a dead letter.
    ///
    /// # Errors
    /// [`BusError::DeliveryFailed`] when the bus is gone.
    pub fn process_pending_messages(&self) -> BusResult<usize> {
        let bus = self.bus()?;
        let now = NanoTime::from_nanos(bus.monitor().now_ns());
        let mut due = Vec::new();
        {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            while pending.peek().is_some_and(|Reverse(message)| message.delivery_time <= now) {
                due.extend(pending.pop().map(|Reverse(message)| message));
            }
        }
        let (mut count, mut waiting) = (0, Vec::new());
        // A packet that goes may be what an earlier one waits for.
        loop {
            let before = count;
            for message in std::mem::take(&mut due) {
                if message.dependencies.iter().all(|dependency| bus.has_published(*dependency)) {
                    // A refusal is counted; the packet had its turn.
                    count += usize::from(self.route(message.packet).is_ok());
                } else {
                    waiting.push(message);
                }
            }
            due = std::mem::take(&mut waiting);
            if count == before {
                break;
            }
        }
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for message in due {
            let held_ns = (now - message.delivery_time).as_nanos();
            if held_ns < bus.monitor().hold_max_ns {
                pending.push(Reverse(message));
            } else {
                give_up(&bus, &message, held_ns);
            }
        }
        Ok(count)
    }

    /// Packets that wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What was done so far.
    #[must_use]
    pub fn get_stats(&self) -> RouterStats {
        let bus = self.bus.upgrade();
        let (active_routes, total_subscribers) = bus.as_ref().map_or((0, 0), |bus| bus.edge().size());
        let counters = &self.counters;
        let messages_routed = counters.routed.load(Ordering::Relaxed);
        let (total, peak) = (counters.total_ticks.load(Ordering::Relaxed), counters.peak_ticks.load(Ordering::Relaxed));
        let span_ns =
            bus.map_or(0, |bus| bus.monitor().now_ns()).saturating_sub(counters.since_ns.load(Ordering::Relaxed));
        let per_second = u128::from(messages_routed) * 1_000_000_000 / u128::from(span_ns.max(1));
        RouterStats {
            messages_routed,
            total_latency_tsc: total,
            peak_latency_tsc: peak,
            routing_failures: counters.failures.load(Ordering::Relaxed),
            active_routes,
            total_subscribers,
            avg_latency_ns: self.nanos(total.checked_div(messages_routed).unwrap_or(0)),
            peak_latency_ns: self.nanos(peak),
            throughput_mps: u64::try_from(per_second).unwrap_or(u64::MAX),
        }
    }

    /// Mean time to publish a packet, nanoseconds.
    #[must_use]
    pub fn calculate_avg_latency_ns(&self) -> u64 {
        self.get_stats().avg_latency_ns
    }

    /// Packets per second since the first.
    #[must_use]
    pub fn calculate_throughput(&self) -> u64 {
        self.get_stats().throughput_mps
    }

    /// Under 1 µs on average; and above a million packets a second where packets were refused, so that an idle router is healthy
    /// (decision D32).
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let stats = self.get_stats();
        let is_loaded = stats.routing_failures > 0;
        stats.avg_latency_ns < LATENCY_LIMIT_NS && (!is_loaded || stats.throughput_mps > THROUGHPUT_LIMIT_MPS)
    }

    /// The counter, or nanoseconds where it is not used.
    fn ticks(&self, bus: &PhaseCoherenceBus) -> u64 {
        match &self.calibration {
            Some(_) => hardware_timestamp().ticks(),
            None => bus.monitor().now_ns(),
        }
    }

    fn nanos(&self, ticks: u64) -> u64 {
        // Calibrated when it was made.
        self.calibration.as_ref().map_or(ticks, |calibration| calibration.tsc_to_ns(ticks).unwrap_or(ticks))
    }

    fn logical_time(&self, bus: &PhaseCoherenceBus) -> LogicalTime {
        if self.parts.hlc {
            let mut hlc = self.hlc.lock().unwrap_or_else(PoisonError::into_inner);
            // Without a reading the time of the last one stands, and the order of arrival decides.
            let _ = hlc.tick();
            return hlc.logical_time();
        }
        LogicalTime { physical: bus.monitor().now_ns(), logical: 0, node_id: bus.config().node }
    }
}

fn give_up(bus: &PhaseCoherenceBus, message: &TemporalMessage, held_ns: u64) {
    let effect = message.packet.id;
    let missing = message.dependencies.iter().find(|dependency| !bus.has_published(**dependency));
    let violation = TemporalViolation {
        effect,
        cause: missing.copied().unwrap_or(effect),
        topic: "pending".to_owned(),
        held_ns,
        kind: ViolationKind::Overdue,
    };
    let header = csf_core::Header {
        cause: message.dependencies.first().copied(),
        ..csf_core::Header::new(effect, Stamp(message.delivery_time.as_nanos()))
    };
    bus.monitor().bury(DeadLetter { violation, header, payload: Vec::new() });
}
