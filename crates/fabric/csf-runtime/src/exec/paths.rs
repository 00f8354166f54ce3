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
        let latency = Arc::<Latency>::default();
        let mut by_path = self.by_path.lock().unwrap_or_else(PoisonError::into_inner);
        by_path.entry((from.to_owned(), to.to_owned())).or_default().push(latency.clone());
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
