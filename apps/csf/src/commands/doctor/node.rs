//! Why a running node is slow, large or out of time (FAB-120 to FAB-122), from what its bus tells.

use csf_runtime::node::BusReport;
use serde_json::Value;

use super::super::{bytes, nanos};
use super::Finding;
use crate::client::Client;
use crate::diagnostic::Failure;

/// Bytes of one payload from which on copying it in and out of caches is what takes the time.
const LARGE_PAYLOAD: u64 = 64 << 10;
/// Bytes of one topic that are worth a warning.
const LARGE_TOPIC: u64 = 256 << 20;
/// How far a stamp may be ahead of the clock: a logical part that grows by one a packet stays far below.
const AHEAD_MAX_NS: u64 = 1_000_000;
/// Topics shown by `doctor memory`.
const TOP: usize = 5;

/// A running node, looked at twice so that rates and means are of now.
pub(super) struct Patient {
    report: BusReport,
    resident_bytes: u64,
}

impl Patient {
    pub(super) fn examine(node: Option<&str>) -> Result<Self, Failure> {
        let client = Client::connect(node)?;
        let report = |client: &Client| -> Result<BusReport, Failure> {
            serde_json::from_value(client.get("/api/v1/bus")?)
                .map_err(|e| Failure::new("CSF-0308", format!("the node's report on its bus is not understood: {e}")))
        };
        report(&client)?;
        std::thread::park_timeout(std::time::Duration::from_millis(500));
        let report = report(&client)?;
        let node: Value = client.get("/api/v1/node")?;
        let resident_bytes = node["process"]["resident_bytes"].as_u64().unwrap_or(0);
        Ok(Self { report, resident_bytes })
    }

    pub(super) fn latency(&self) -> Vec<Finding> {
        let stats = &self.report.health.stats;
        let mut findings = vec![Finding::ok(
            "bus",
            format!(
                "average latency {}, peak {}, {} packets/s, {} late deliveries",
                nanos(stats.avg_latency_ns),
                nanos(stats.peak_latency_ns),
                stats.throughput_mps,
                self.report.temporal.delivered_late,
            ),
        )];
        findings.extend(self.behind());
        findings.extend(self.clock());
        findings.extend(self.large_payloads());
        if findings.iter().all(|f| f.is_ok) {
            // Without a cause that we know, the symptom still is one.
            let warnings = self.report.health.warnings.iter();
            findings.extend(warnings.map(|warning| {
                let fix = "parked readers take a wake-up; publish batches, spin (a dispatcher of its own), or check the load of the machine";
                Finding::bad("health", warning, fix)
            }));
        }
        findings
    }

    pub(super) fn memory(&self) -> Vec<Finding> {
        let topics = &self.report.topics;
        let subscriptions: usize = topics.iter().map(|topic| topic.subscribers.len()).sum();
        let mut findings = vec![
            Finding::ok("process", format!("{} resident", bytes(self.resident_bytes))),
            Finding::ok("subscriptions", format!("{subscriptions} on {} topics", topics.len())),
        ];
        findings.push(match self.average_packet_size() {
            Some(average) => {
                Finding::ok("average packet", format!("{} by the newest packet of each topic", bytes(average)))
            }
            None => Finding::ok("average packet", "no packet yet"),
        });
        let mut sizes: Vec<_> = topics
            .iter()
            .map(|topic| {
                let payloads = topic.newest.map_or(0, |newest| newest.bytes)
                    * topic.packets.min(topic.capacity * topic.lanes as u64);
                (topic.slot_bytes + payloads, topic)
            })
            .collect();
        sizes.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        for (size, topic) in sizes.into_iter().take(TOP) {
            let text = format!(
                "{} holds about {}: {} lanes of {} slots ({}), payloads of {}",
                topic.name,
                bytes(size),
                topic.lanes,
                topic.capacity,
                bytes(topic.slot_bytes),
                bytes(topic.newest.map_or(0, |newest| newest.bytes)),
            );
            findings.push(if size > LARGE_TOPIC {
                Finding::bad(
                    "stream",
                    text,
                    format!("lower `[topic.\"{}\"] capacity`, or make its payloads smaller", topic.name),
                )
            } else {
                Finding::ok("stream", text)
            });
        }
        findings.extend(self.behind());
        findings.extend(self.large_payloads());
        findings
    }

    pub(super) fn time(&self) -> Vec<Finding> {
        let mut findings = self.clock();
        findings.push(Finding::ok(
            "global clock",
            if self.report.global_hlc {
                "set up"
            } else {
                "not set up: producers have clocks of their own; code that calls `global_hlc_*` needs `initialize_global_hlc` first"
            },
        ));
        let now = self.report.now;
        let mut is_in_time = true;
        for topic in &self.report.topics {
            let Some(newest) = topic.newest else { continue };
            let ahead_ns = newest.stamp.since(now);
            if ahead_ns > AHEAD_MAX_NS {
                is_in_time = false;
                findings.push(Finding::bad(
                    "skew",
                    format!("stamps on `{}` run {} ahead of this node's clock", topic.name, nanos(ahead_ns)),
                    "its producer follows a peer whose clock is ahead: synchronise that peer, or lower the clock's max offset",
                ));
            }
        }
        if is_in_time {
            findings.push(Finding::ok("skew", "no stamp is ahead of the clock"));
        }
        findings.extend(self.violations());
        findings
    }

    /// Violations by stream, or that there are none.
    fn violations(&self) -> Vec<Finding> {
        let (total, kept) = (self.report.temporal.violations, &self.report.violations);
        if total == 0 {
            let waits = self.report.temporal.dependency_waits;
            return vec![Finding::ok("causal order", format!("kept; {waits} packets had to wait for a cause"))];
        }
        let mut topics: Vec<&str> = kept.iter().map(|violation| violation.topic.as_str()).collect();
        topics.dedup();
        topics.sort_unstable();
        topics.dedup();
        let of_topic = |topic: &str| {
            let mut of = kept.iter().filter(|violation| violation.topic == topic);
            let last = of.next_back()?;
            let text = format!(
                "`{topic}`: {} of the last {} undeliverable packets (of {total}), the newest {} for its cause {}",
                of.count() + 1,
                kept.len(),
                last.effect,
                last.cause
            );
            Some(Finding::bad(
                "causal order",
                text,
                "its producer names causes that do not come: check what it publishes as cause, and whether a link lags",
            ))
        };
        topics.into_iter().filter_map(of_topic).collect()
    }

    /// Subscribers that hold their producers back.
    fn behind(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for topic in &self.report.topics {
            for subscriber in topic.subscribers.iter().filter(|s| s.blocks && s.lag >= (topic.capacity / 2).max(1)) {
                findings.push(Finding::bad(
                    "slow subscriber",
                    format!(
                        "`{}` is {} packets behind on `{}` (lanes of {}), which was full {} times",
                        subscriber.label, subscriber.lag, topic.name, topic.capacity, topic.refusals
                    ),
                    "make its handler faster, let it read with a policy that may lose packets, or raise the topic's `capacity`",
                ));
            }
        }
        if findings.is_empty() {
            findings.push(Finding::ok("subscribers", "none is half a lane behind"));
        }
        findings
    }

    fn clock(&self) -> Vec<Finding> {
        let Some(clock) = &self.report.clock else { return vec![Finding::ok("clock", "simulated or unknown")] };
        vec![match &clock.fallback {
            Some(reason) => Finding::bad(
                "clock",
                format!("the operating system's, because {reason}: each stamp takes a system clock read"),
                "run where the processor's counter is invariant (`grep -o 'constant_tsc\\|nonstop_tsc' /proc/cpuinfo`) and the kernel uses it",
            ),
            None => Finding::ok(
                "clock",
                format!(
                    "cycle counter, {:+} ns from the system's, within {:.0} ns, {} corrections; {}",
                    clock.offset_to_os_ns,
                    clock.uncertainty_ns,
                    clock.adjustments,
                    clock.counters.unwrap_or_default()
                ),
            ),
        }]
    }

    fn large_payloads(&self) -> Vec<Finding> {
        let large = self
            .report
            .topics
            .iter()
            .filter_map(|topic| Some((topic, topic.newest?)))
            .filter(|(_, newest)| newest.bytes >= LARGE_PAYLOAD);
        large
            .map(|(topic, newest)| {
                Finding::bad(
                    "large payload",
                    format!("packets on `{}` carry {}", topic.name, bytes(newest.bytes)),
                    "publish a reference (`Arc`, an object's name) instead of the content, or smaller packets",
                )
            })
            .collect()
    }

    /// Bytes, weighted by packets; `None` before the first packet.
    fn average_packet_size(&self) -> Option<u64> {
        let sized = || self.report.topics.iter().filter_map(|topic| Some((topic.packets, topic.newest?.bytes)));
        let packets: u64 = sized().map(|(packets, _)| packets).sum();
        let total: u128 = sized().map(|(packets, size)| u128::from(packets) * u128::from(size)).sum();
        u64::try_from(total.checked_div(u128::from(packets))?).ok()
    }
}
