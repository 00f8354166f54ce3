//! The bus's counters, its health by the specification's two rules (FAB-029), and the probe that measures what it can carry.

use std::sync::{Mutex, PoisonError};

use csf_core::Stamp;
use csf_core::port::{BusHealthCheck, BusStats, TemporalMetrics};

use crate::PhaseCoherenceBus;

/// Mean latency above which the bus is unhealthy, nanoseconds.
pub const LATENCY_LIMIT_NS: u64 = 1_000;
/// Packets per second below which a bus that is offered more than it carries is unhealthy.
pub const THROUGHPUT_LIMIT_MPS: u64 = 1_000_000;
/// Shortest time over which a rate is taken, nanoseconds.
const WINDOW_NS: u64 = 100_000_000;

/// What was counted when somebody last asked.
#[derive(Clone, Copy, Default)]
struct Mark {
    at_ns: u64,
    published: u64,
    throughput_mps: u64,
    samples: u64,
    sum_ns: u64,
    refusals: u64,
}

/// Marks of the last calls.
#[derive(Default)]
pub(crate) struct Marks {
    stats: Mutex<Mark>,
    health: Mutex<Mark>,
}

fn rate_mps(packets: u64, span_ns: u64) -> u64 {
    u64::try_from(u128::from(packets) * 1_000_000_000 / u128::from(span_ns.max(1))).unwrap_or(u64::MAX)
}

impl PhaseCoherenceBus {
    /// Counters and latencies so far. Takes the locks of all topics, one after the other; producers and readers take none of them.
    #[must_use]
    pub fn get_stats(&self) -> BusStats {
        let (mut stats, mut subscriptions) = (BusStats::default(), 0);
        for topic in self.topics() {
            let totals = topic.totals();
            stats.packets_published += topic.packets();
            stats.packets_delivered += totals.delivered;
            stats.packets_dropped += totals.lost;
            subscriptions += topic.subscriber_count() as u64;
        }
        let refused = self.edge().dropped();
        stats.packets_published += refused;
        stats.packets_dropped += refused;
        stats.active_subscriptions = subscriptions;
        let times = self.delivery_times();
        stats.peak_latency_ns = times.peak_ns;
        stats.avg_latency_ns = times.sum_ns.checked_div(times.samples).unwrap_or(0);
        let now_ns = self.monitor().now_ns();
        let mut mark = self.marks().stats.lock().unwrap_or_else(PoisonError::into_inner);
        let span_ns = now_ns.saturating_sub(mark.at_ns);
        if span_ns >= WINDOW_NS {
            let rate = if mark.at_ns == 0 { 0 } else { rate_mps(stats.packets_published - mark.published, span_ns) };
            *mark = Mark { at_ns: now_ns, published: stats.packets_published, throughput_mps: rate, ..*mark };
        }
        stats.throughput_mps = mark.throughput_mps;
        stats
    }

    /// Judges the time since the last check: the mean latency of deliveries, and the throughput where publishers were refused for
    /// want of room, so that an idle bus is healthy (decision D32).
    #[must_use]
    pub fn health_check(&self) -> BusHealthCheck {
        let stats = self.get_stats();
        let times = self.delivery_times();
        let refusals: u64 = self.topics().iter().map(|topic| topic.refusals()).sum();
        let now_ns = self.monitor().now_ns();
        let mut mark = self.marks().health.lock().unwrap_or_else(PoisonError::into_inner);
        let mut warnings = Vec::new();
        let samples = times.samples - mark.samples;
        if let Some(mean_ns) = (times.sum_ns - mark.sum_ns).checked_div(samples)
            && mean_ns > LATENCY_LIMIT_NS
        {
            warnings.push(format!("average latency {mean_ns} ns over {samples} samples exceeds {LATENCY_LIMIT_NS} ns"));
        }
        let throughput_mps = rate_mps(stats.packets_published - mark.published, now_ns.saturating_sub(mark.at_ns));
        if mark.at_ns > 0 && refusals > mark.refusals && throughput_mps < THROUGHPUT_LIMIT_MPS {
            warnings.push(format!(
                "throughput {throughput_mps} msg/s is below {THROUGHPUT_LIMIT_MPS} msg/s while publishers were refused {} times",
                refusals - mark.refusals
            ));
        }
        *mark = Mark {
            at_ns: now_ns,
            published: stats.packets_published,
            throughput_mps,
            samples: times.samples,
            sum_ns: times.sum_ns,
            refusals,
        };
        BusHealthCheck { is_healthy: warnings.is_empty(), stats, warnings, timestamp: Stamp(now_ns) }
    }

    /// How well time and cause are kept.
    #[must_use]
    pub fn get_temporal_metrics(&self) -> TemporalMetrics {
        let (monitor, times) = (self.monitor(), self.delivery_times());
        TemporalMetrics {
            quantum_coherence_score: None,
            violations: monitor.violations(),
            queue_depth: self.topics().iter().map(|topic| topic.queue_depth()).sum(),
            dependency_waits: monitor.waits(),
            filter_panics: monitor.filter_panics(),
            delivered_late: times.delivered_late,
            dropped_late: times.dropped_late,
        }
    }
}
