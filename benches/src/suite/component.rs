//! What the runtime adds to a round trip (G17).

use super::BUS;
use crate::experiment::{Experiment, Side};
use crate::load::{Waiting, echo, round_trip};
use crate::ours::bus::{Features, links};
use crate::ours::component::{Recording, start};
use crate::payload::SMALL;
use crate::row::{Bound, Goal, Spec};
use crate::stats::Metric;

/// Round trips of a full run.
const COUNT: u64 = 100_000;

/// G17.
pub fn experiment() -> Experiment {
    let (off, on) = ("csf-runtime/recorder off", "csf-runtime/recorder on");
    let side = |key: &str, recording| {
        Side::new(key, move |effort| {
            let (asking, answering) = start(recording)?;
            echo(asking, answering, SMALL, effort.of(COUNT))
        })
    };
    let raw = Side::new(BUS, |effort| {
        let (near, far) = links(Features::PACKET);
        round_trip(|| near, || far, SMALL, Waiting::Spin, effort.of(COUNT))
    });
    let row = |id: &str, what: &str, ours: &str, goal, beyond| {
        Spec::new(id, what, Metric::P50, ours)
            .peers(&[BUS])
            .goal(Goal::ratio(Bound::AtMost(goal)))
            .beyond(Goal::ratio(Bound::AtMost(beyond)))
    };
    let note = "three threads on two cores when the recorder runs; its journal is in memory";
    let specs = vec![
        row("G17.off", "publish, handler, effect published; recorder off", off, 3.0, 2.0),
        row("G17.on", "publish, handler, effect published; recorder on", on, 5.0, 3.0).note(note),
        Spec::new("G17.on.mean", "the same, total over number", Metric::Mean, on).peers(&[off]).note(note),
    ];
    Experiment::new("component path", vec![side(off, Recording::Off), side(on, Recording::On), raw], specs)
}
