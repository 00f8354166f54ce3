//! What a publish costs its producer: with nobody there (G6), with one subscriber (G7).

use super::BUS;
use super::floor::{COUNTER, counter_side};
use crate::experiment::{Experiment, Side};
use crate::load::publishing;
use crate::ours::bus::{self, Taking};
use crate::payload::{Rx, SMALL, Tx};
use crate::peer;
use crate::row::{Bound, Goal, Spec};
use crate::stats::Metric;

/// Batches of 256 publishes in a full run.
const BATCHES: u64 = 2_000;

fn heard_by<T: Tx, R: Rx>(key: &str, make: impl Fn() -> (T, Vec<R>) + Send + Sync + 'static) -> Side {
    Side::new(key, move |effort| publishing(&make, SMALL, effort.of(BATCHES)))
}

fn iceoryx2<S: iceoryx2::service::Service>(key: &str, subscribers: usize) -> Side {
    use peer::iceoryx2::{consumer, name, producer};
    heard_by(key, move || {
        let name = name();
        let readers: Vec<_> = (0..subscribers).map(|_| consumer::<S, SMALL>(&name)).collect();
        (producer::<S, SMALL>(&name), readers)
    })
}

/// G6.
pub fn unheard() -> Experiment {
    const HISTORY: &str = "csf-bus/history 1024";
    let sides = vec![
        heard_by(BUS, || (bus::unheard::<SMALL>(0), Vec::<bus::Consumer<SMALL>>::new())),
        heard_by(HISTORY, || (bus::unheard::<SMALL>(1024), Vec::<bus::Consumer<SMALL>>::new())),
        heard_by("photon-ring/lossy", || peer::photon::lossy::<SMALL>(0)),
        iceoryx2::<iceoryx2::service::local::Service>("iceoryx2/local", 0),
    ];
    let row = |id: &str, what: &str, ours: &str| {
        Spec::new(id, what, Metric::Cost, ours)
            .peers(&["photon-ring/lossy"])
            .goal(Goal::ratio(Bound::AtMost(1.0)))
            .beyond(Goal::ratio(Bound::AtMost(0.5)))
    };
    let specs = vec![
        row("G6", "publish 64 B, no subscriber, history 0", BUS),
        row("G6.history", "publish 64 B, no subscriber, history 1024", HISTORY),
        Spec::new("unheard.iceoryx2", "publish 64 B, no subscriber", Metric::Cost, BUS).peers(&["iceoryx2/local"]),
    ];
    Experiment::new("publish unheard", sides, specs)
}

/// G7.
pub fn heard() -> Experiment {
    const IN_BATCHES: &str = "csf-bus/batches of 16";
    fn one<T, R>((tx, rx): (T, R)) -> (T, Vec<R>) {
        (tx, vec![rx])
    }
    let sides = vec![
        heard_by(BUS, || one(bus::pair::<SMALL>())),
        heard_by(IN_BATCHES, || one(bus::batches::<SMALL>(Taking::Polling))),
        iceoryx2::<iceoryx2::service::local::Service>("iceoryx2/local", 1),
        iceoryx2::<iceoryx2::service::ipc::Service>("iceoryx2/ipc", 1),
        heard_by("rtrb", || one(peer::rtrb::pair::<SMALL>())),
        heard_by("disruptor", || one(peer::disruptor::pair::<SMALL>())),
        heard_by("photon-ring/lossy", || peer::photon::lossy::<SMALL>(1)),
        heard_by("crossbeam-channel", || one(peer::crossbeam::pair::<SMALL>())),
        counter_side(),
    ];
    let iceoryx2 = ["iceoryx2/local", "iceoryx2/ipc"];
    let row = |id: &str, what: &str, ours: &str| Spec::new(id, what, Metric::Cost, ours).floor(COUNTER);
    let mut specs = vec![
        row("G7", "publish 64 B, one subscriber, a stamp each", BUS)
            .peers(&iceoryx2)
            .goal(Goal::ratio(Bound::AtMost(0.12)).and_value(Bound::AtMost(15.0))),
        row("G7.batch", "publish 64 B, one subscriber, batches of 16", IN_BATCHES)
            .peers(&iceoryx2)
            .beyond(Goal::value(Bound::AtMost(4.0))),
    ];
    for peer in ["rtrb", "disruptor", "photon-ring/lossy", "crossbeam-channel"] {
        specs.push(row(&format!("heard.{peer}"), "publish 64 B, one subscriber", BUS).peers(&[peer]));
    }
    Experiment::new("publish heard", sides, specs)
}
