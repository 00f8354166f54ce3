//! What a bus tells about itself (FAB-028 to FAB-030).

use serde::{Deserialize, Serialize};

use crate::Stamp;

/// Counters since the start of the bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusStats {
    /// Packets committed by publishers.
    pub packets_published: u64,
    /// Packets handed to subscribers: one packet counts once for each.
    pub packets_delivered: u64,
    /// Packets that subscribers with a lossy policy lost, counted once for each.
    pub packets_dropped: u64,
    /// Live subscriptions.
    pub active_subscriptions: u64,
    /// Largest latency measured, from stamp to hand-over, nanoseconds.
    pub peak_latency_ns: u64,
    /// Mean latency measured, nanoseconds.
    pub avg_latency_ns: u64,
    /// Packets published per second, between the last two calls that were at least 100 ms apart.
    pub throughput_mps: u64,
}

/// Whether a bus does what it promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusHealthCheck {
    /// No warning.
    pub is_healthy: bool,
    /// The counters.
    pub stats: BusStats,
    /// What is wrong, with the measured numbers.
    pub warnings: Vec<String>,
    /// When it was looked at.
    pub timestamp: Stamp,
}

/// How well a bus keeps time and cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TemporalMetrics {
    /// Mean predictability of the streams, weighted by their messages, 0 to 1; `None` while none is tracked.
    pub quantum_coherence_score: Option<f64>,
    /// Packets that could not be delivered in causal order.
    pub violations: u64,
    /// Packets committed and not yet read, over all subscriptions.
    pub queue_depth: u64,
    /// Packets that had to wait for a cause.
    pub dependency_waits: u64,
    /// Panics of filters; each rejected a packet.
    pub filter_panics: u64,
    /// Packets handed out after their deadline.
    pub delivered_late: u64,
    /// Packets passed over because of their deadline.
    pub dropped_late: u64,
}
