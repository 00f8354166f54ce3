//! A thousand messages in one batch beside a thousand single ones, in time and in cache misses (FAB-065).

use crate::experiment::{Experiment, Side};
use crate::load::{Publishing, misses, thousand};
use crate::ours::batch::{Lane, Packets, lane, packets};
use crate::row::{Bound, Goal, Spec};
use crate::stats::Metric;

/// Batches of a full run.
const BATCHES: u64 = 1_000;
/// What is counted.
const COUNTED: [(&str, Metric, &str); 2] = [
    ("misses", Metric::Misses, "cache misses of a message in a batch of 1,000, past the last level"),
    ("l1", Metric::FirstMisses, "cache misses of a message in a batch of 1,000, loads past the first level"),
];

/// Time, and both counters, of one way of publishing.
fn sides<P: Publishing + 'static>(key: &str, make: fn() -> P) -> Vec<Side> {
    let timed = Side::new(key, move |effort| thousand(make, effort.of(BATCHES)));
    let counted = COUNTED.map(|(name, metric, _)| {
        Side::new(&format!("{key}, {name}"), move |effort| misses(make, effort.of(BATCHES), metric))
    });
    [timed].into_iter().chain(counted).collect()
}

/// FAB-065.
pub fn experiment() -> Experiment {
    let kinds = [
        ("lane", "csf-bus/lane, batch", "csf-bus/lane, single"),
        ("packet", "csf-bus/packets, batch", "csf-bus/packets, single"),
    ];
    let mut all = Vec::new();
    all.extend(sides::<Lane<true>>(kinds[0].1, lane));
    all.extend(sides::<Lane<false>>(kinds[0].2, lane));
    all.extend(sides::<Packets<true>>(kinds[1].1, packets));
    all.extend(sides::<Packets<false>>(kinds[1].2, packets));
    let mut specs = Vec::new();
    for (id, batch, single) in kinds {
        let what = format!("publish 64 B, {id}, a message in a batch of 1,000");
        let spec = Spec::new(format!("batch.{id}"), what, Metric::Cost, batch).peers(&[single]);
        specs.push(spec.goal(Goal::ratio(Bound::AtMost(0.9))));
        for (name, metric, what) in COUNTED {
            let sides = [batch, single].map(|side| format!("{side}, {name}"));
            let spec = Spec::new(format!("batch.{id}.{name}"), format!("{id}: {what}"), metric, &sides[0]);
            specs.push(spec.peers(&[&sides[1]]));
        }
    }
    Experiment::new("batches", all, specs)
}
