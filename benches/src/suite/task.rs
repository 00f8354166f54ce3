//! Round trips between two tasks of one worker (G9).

use super::BUS;
use crate::experiment::{Experiment, Side};
use crate::load::async_round_trip;
use crate::ours::bus;
use crate::payload::AsyncEnd;
use crate::peer;
use crate::row::{Bound, Goal, Spec};
use crate::stats::Metric;

/// Round trips of a full run.
const COUNT: u64 = 200_000;

fn side<E: AsyncEnd>(key: &str, tasks: fn() -> (E, E)) -> Side {
    Side::new(key, move |effort| {
        let (near, far) = tasks();
        async_round_trip(near, far, effort.of(COUNT))
    })
}

/// G9 and every peer that has tasks.
pub fn experiment() -> Experiment {
    let sides = vec![
        side(BUS, bus::tasks),
        side("tokio/mpsc", peer::tokio::tasks),
        side("kanal", peer::kanal::tasks),
        side("thingbuf", peer::thingbuf::tasks),
        side("flume", peer::flume::tasks),
    ];
    let row =
        |id: &str, peer: &str| Spec::new(id, "round trip p50 between tasks, 64 B", Metric::P50, BUS).peers(&[peer]);
    let specs = vec![
        row("G9", "tokio/mpsc").goal(Goal::ratio(Bound::AtMost(1.0))),
        row("G9.kanal", "kanal").beyond(Goal::ratio(Bound::AtMost(1.0))),
        row("task.thingbuf", "thingbuf"),
        row("task.flume", "flume"),
    ];
    Experiment::new("tasks", sides, specs)
}
