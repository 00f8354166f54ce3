//! What a hybrid logical stamp costs (G11).

use super::floor::{COUNTER, counter_side};
use crate::experiment::{Experiment, Side};
use crate::load::repeated;
use crate::ours::time;
use crate::payload::BATCH;
use crate::peer::uhlc;
use crate::row::{Bound, Goal, Spec};
use crate::stats::{Figures, Metric};

/// Batches of a full run.
const BATCHES: u64 = 2_000;
/// Stamps in each.
const STAMPS: u64 = 256;

/// G11.
pub fn experiment() -> Experiment {
    let (tick, merge, batch) = ("csf-time", "csf-time/merge", "csf-time/batches of 16");
    let (uhlc_tick, uhlc_merge) = ("uhlc", "uhlc/merge");
    let sides = vec![
        Side::new(tick, |effort| Ok(repeated(time::clock, effort.of(BATCHES), STAMPS, time::tick))),
        Side::new(merge, |effort| Ok(repeated(time::clock, effort.of(BATCHES), STAMPS, time::merge))),
        Side::new(batch, |effort| Ok(each(repeated(time::clock, effort.of(BATCHES), STAMPS, time::tick_batch), BATCH))),
        Side::new(uhlc_tick, |effort| Ok(repeated(uhlc::clock, effort.of(BATCHES), STAMPS, uhlc::tick))),
        Side::new(uhlc_merge, |effort| Ok(repeated(uhlc::clock, effort.of(BATCHES), STAMPS, uhlc::merge))),
        counter_side(),
    ];
    let row = |id: &str, what: &str, ours: &str, peer: &str| {
        Spec::new(id, what, Metric::Cost, ours)
            .peers(&[peer])
            .floor(COUNTER)
            .goal(Goal::ratio(Bound::AtMost(0.6)))
            .beyond(Goal::ratio(Bound::AtMost(0.3)))
    };
    let specs = vec![
        row("G11", "hybrid logical stamp", tick, uhlc_tick),
        row("G11.merge", "taking a remote stamp in", merge, uhlc_merge),
        row("G11.batch", "hybrid logical stamp, of a batch of 16", batch, uhlc_tick),
    ];
    Experiment::new("stamps", sides, specs)
}

/// The cost of one of `count`.
fn each(figures: Figures, count: u64) -> Figures {
    figures.into_iter().map(|(metric, ns)| (metric, ns / count as f64)).collect()
}
