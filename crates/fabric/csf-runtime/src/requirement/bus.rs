//! A running bus against its requirements.

use std::sync::{Mutex, PoisonError};

use csf_bus::PhaseCoherenceBus;

use super::{Figure, Judgement, PathMeasurement, PerformanceRequirements};
use crate::BoxFuture;
use crate::node::{HealthCheck, HealthCriticality, HealthResult};

/// The path measured: decision D01 gives the latency of an environment to it.
pub const BUS_PATH: &str = "bus, from stamp to hand-over";

/// The name of the check.
pub(crate) const BUS_CHECK: &str = "performance requirements: bus";

/// Counters when somebody last looked.
#[derive(Clone, Copy)]
struct Mark {
    at_ns: u64,
    packets: u64,
    refusals: u64,
    samples: u64,
    sum_ns: u64,
}

/// Measures a bus between two looks and judges it. As a health check of the node's monitor it raises one alert when a requirement breaks
/// and one when all are kept again.
///
/// The rate is judged only where publishers were refused for want of room meanwhile, so that an idle bus breaks nothing (decision D32).
pub struct BusRequirementCheck {
    bus: PhaseCoherenceBus,
    requirements: PerformanceRequirements,
    mark: Mutex<Option<Mark>>,
}

impl BusRequirementCheck {
    /// Looks at `bus` for the first time.
    #[must_use]
    pub fn new(bus: PhaseCoherenceBus, requirements: PerformanceRequirements) -> Self {
        let mark = Mutex::new(mark(&bus));
        Self { bus, requirements, mark }
    }

    /// What the bus did since the last look, by its own clock.
    #[must_use]
    pub fn measure(&self) -> PathMeasurement {
        let now = mark(&self.bus);
        let before = std::mem::replace(&mut *self.mark.lock().unwrap_or_else(PoisonError::into_inner), now);
        let (latency_us, throughput_msg_per_sec) = match before.zip(now) {
            Some((before, now)) => (latency_us(&before, &now), rate(&before, &now)),
            None => {
                let unread = Figure::NotMeasured("the clock of the bus cannot be read".to_owned());
                (unread.clone(), unread)
            }
        };
        PathMeasurement { name: BUS_PATH.to_owned(), latency_us, throughput_msg_per_sec }
    }

    /// Measures and judges.
    #[must_use]
    pub fn judge(&self) -> [Judgement; 2] {
        self.requirements.judge(&self.measure())
    }
}

fn mark(bus: &PhaseCoherenceBus) -> Option<Mark> {
    let at_ns = bus.config().time_source.now_ns().ok()?.as_nanos();
    let (times, traffic) = (bus.delivery_times(), bus.traffic());
    let packets = traffic.iter().map(|topic| topic.packets).sum();
    let refusals = traffic.iter().map(|topic| topic.refusals).sum();
    Some(Mark { at_ns, packets, refusals, samples: times.samples, sum_ns: times.sum_ns })
}

fn latency_us(before: &Mark, now: &Mark) -> Figure {
    let samples = now.samples.saturating_sub(before.samples);
    if samples == 0 {
        return Figure::NotMeasured("no latency was sampled".to_owned());
    }
    let sum_ns = now.sum_ns.saturating_sub(before.sum_ns);
    Figure::Measured { value: sum_ns as f64 / 1e3 / samples as f64, samples }
}

fn rate(before: &Mark, now: &Mark) -> Figure {
    let span_ns = now.at_ns.saturating_sub(before.at_ns);
    if now.refusals <= before.refusals || span_ns == 0 {
        return Figure::NotMeasured("no publisher was refused, so the bus carried all it was offered".to_owned());
    }
    let packets = now.packets.saturating_sub(before.packets);
    Figure::Measured { value: packets as f64 * 1e9 / span_ns as f64, samples: packets }
}

impl HealthCheck for BusRequirementCheck {
    fn name(&self) -> &str {
        BUS_CHECK
    }

    /// A slow bus still works.
    fn criticality(&self) -> HealthCriticality {
        HealthCriticality::NonCritical
    }

    fn check(&self) -> BoxFuture<'_, HealthResult> {
        Box::pin(async {
            let broken: Vec<_> = self.judge().iter().filter(|j| j.is_broken()).map(ToString::to_string).collect();
            if broken.is_empty() { HealthResult::Healthy } else { HealthResult::Degraded(broken.join("; ")) }
        })
    }
}
