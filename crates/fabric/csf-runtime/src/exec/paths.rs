//! End-to-end latencies by path: from a trigger's topic to an effect's.
//!
//! Invariant: every histogram has one writer, the dispatcher of one component; components that share a path are added up by who reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use csf_bus::EffectWriter;
use csf_core::LaneId;
use csf_core::port::LaneInfo;

use super::latency::{Latency, LatencySummary};

/// Latencies of all paths of a node, by trigger topic and effect topic.
#[derive(Debug, Default)]
pub struct PathLatencies {
    by_path: Mutex<BTreeMap<(String, String), Parts>>,
}

/// What was measured on one path: one of each component in between.
type Parts = Vec<Arc<Latency>>;

impl PathLatencies {
    /// Trigger topic, effect topic and what was measured between them.
    #[must_use]
    pub fn summaries(&self) -> Vec<(String, String, LatencySummary)> {
        let by_path = self.by_path.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let summary = |parts: Parts| LatencySummary::over(parts.iter().map(AsRef::as_ref));
        by_path.into_iter().map(|((from, to), parts)| (from, to, summary(parts))).collect()
    }

    fn open(&self, from: &str, to: &str) -> Arc<Latency> {
        let mut by_path = self.by_path.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = by_path.entry((from.to_owned(), to.to_owned())).or_default();
        // What only this list holds has lost its writer: the next one goes on with it, so changes of the configuration add none.
        if let Some(left) = parts.iter_mut().position(|part| Arc::get_mut(part).is_some()) {
            return parts[left].clone();
        }
        let latency = Arc::<Latency>::default();
        parts.push(latency.clone());
        latency
    }
}

/// The paths through one component, found by number while it runs.
#[derive(Debug, Default)]
pub struct ComponentPaths {
    node: Arc<PathLatencies>,
    /// One per topic that ever had an effect: at most what the component reads.
    triggers: Vec<Trigger>,
    /// The lane asked for last, and its topic's place in `triggers`.
    last: Option<(LaneId, usize)>,
}

#[derive(Debug)]
struct Trigger {
    topic: String,
    /// By output; opened with the first effect.
    latencies: Vec<Option<Arc<Latency>>>,
}

impl ComponentPaths {
    /// Paths that `node` will know.
    #[must_use]
    pub fn new(node: Arc<PathLatencies>) -> Self {
        Self { node, ..Self::default() }
    }

    /// The number of the trigger topic that `lane` is on.
    #[inline]
    pub(super) fn trigger(&mut self, lane: &LaneInfo) -> usize {
        match self.last {
            Some((id, trigger)) if id == lane.id => trigger,
            _ => self.find(lane),
        }
    }

    fn find(&mut self, lane: &LaneInfo) -> usize {
        let known = self.triggers.iter().position(|trigger| trigger.topic == lane.topic);
        let trigger = known.unwrap_or_else(|| {
            self.triggers.push(Trigger { topic: lane.topic.clone(), latencies: Vec::new() });
            self.triggers.len() - 1
        });
        self.last = Some((lane.id, trigger));
        trigger
    }

    /// Adds a sample to the path from `trigger` to the output `writer`, which is the component's `output`th.
    #[inline]
    pub(super) fn record(&mut self, trigger: usize, output: usize, writer: &dyn EffectWriter, nanos: u64) {
        match self.triggers[trigger].latencies.get(output) {
            Some(Some(latency)) => latency.record(nanos),
            _ => self.open(trigger, output, writer).record(nanos),
        }
    }

    #[cold]
    fn open(&mut self, trigger: usize, output: usize, writer: &dyn EffectWriter) -> &Latency {
        let Trigger { topic, latencies } = &mut self.triggers[trigger];
        if latencies.len() <= output {
            latencies.resize(output + 1, None);
        }
        latencies[output].insert(self.node.open(topic, &writer.info().topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_measures_a_path_next_goes_on_with_what_was_left() {
        let paths = PathLatencies::default();
        for nanos in [10, 20, 30] {
            paths.open("from", "to").record(nanos);
        }
        let beside = (paths.open("from", "to"), paths.open("from", "to"));
        beside.0.record(40);
        beside.1.record(50);
        let (_, _, summary) = paths.summaries().remove(0);
        assert_eq!((summary.count, summary.max), (5, 50), "nothing measured is forgotten");
        let parts = paths.by_path.lock().unwrap().values().map(Vec::len).sum::<usize>();
        assert_eq!(parts, 2, "two measured at once at most");
    }
}
