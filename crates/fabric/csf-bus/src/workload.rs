//! A workload published in one batch and timed by the bus's own clock (FAB-102).
//!
//! The time is that of [`BusConfig::time_source`](crate::BusConfig::time_source), a port: a simulated clock makes a batch as slow as a
//! test wants it. Invariant: exactly one event is logged for each batch that was published, a warning or a report.

use csf_core::port::EventBusTx;
use csf_core::{BusError, BusResult, MessageId, PhasePacket};

use crate::PhaseCoherenceBus;

/// A batch that takes longer than this to publish is warned of, nanoseconds: 1 ms.
pub const WORKLOAD_WARN_NS: u64 = 1_000_000;

/// One piece of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadData {
    /// Its number in the workload, from 0.
    pub item: u64,
    /// What is to be worked on, in whatever form publisher and subscribers agreed on.
    pub bytes: Vec<u8>,
}

/// What publishing a workload took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadReport {
    /// Ids of the packets, in their order.
    pub ids: Vec<MessageId>,
    /// From before the first packet to after the last, nanoseconds of the bus's clock.
    pub duration_ns: u64,
}

impl WorkloadReport {
    /// Packets published.
    #[must_use]
    pub fn message_count(&self) -> usize {
        self.ids.len()
    }

    /// Packets per second; a batch that took less than the clock can tell counts as one nanosecond.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        self.message_count() as f64 * 1e9 / self.duration_ns.max(1) as f64
    }

    /// A warning with duration and count for a slow batch, else all three figures.
    fn log(&self) {
        let (duration_ns, message_count) = (self.duration_ns, self.message_count());
        if duration_ns > WORKLOAD_WARN_NS {
            tracing::warn!(duration_ns, message_count, "publishing the workload took more than {WORKLOAD_WARN_NS} ns");
        } else {
            tracing::info!(duration_ns, message_count, throughput = self.throughput(), "workload published");
        }
    }
}

/// Publishes `packets` as one batch, all or none, and logs what it took: `duration_ns` and `message_count` as a warning when that was more
/// than [`WORKLOAD_WARN_NS`], otherwise with `throughput` (messages per second) at level info. Runs in a span of level trace.
///
/// Guaranteed packets are published one after the other, and their time counts until each is accepted, as in [`EventBusTx::publish_batch`].
///
/// # Errors
/// As [`EventBusTx::publish_batch`], [`BusError::ResourceExhausted`] above all; [`BusError::Internal`] when the clock cannot be read.
/// Nothing is logged then.
#[tracing::instrument(level = "trace", skip_all, fields(message_count = packets.len()))]
pub async fn process_high_performance_workload(
    bus: &PhaseCoherenceBus,
    packets: Vec<PhasePacket<WorkloadData>>,
) -> BusResult<WorkloadReport> {
    let started_ns = now_ns(bus)?;
    let ids = bus.publish_batch(packets).await?;
    let report = WorkloadReport { ids, duration_ns: now_ns(bus)?.saturating_sub(started_ns) };
    report.log();
    Ok(report)
}

fn now_ns(bus: &PhaseCoherenceBus) -> BusResult<u64> {
    let reading = bus.config().time_source.now_ns();
    let reading =
        reading.map_err(|error| BusError::Internal { details: format!("no time for a workload: {error}") })?;
    Ok(reading.as_nanos())
}
