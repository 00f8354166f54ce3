//! Round trips between two threads on two cores: polled (G1, G2), waited for (G10), and with features left out (G15).

use super::BUS;
use super::floor::{TWO_LINES, two_lines_side};
use crate::experiment::{Experiment, Side};
use crate::load::{Missing, Waiting, round_trip};
use crate::ours::bus::{Features, links};
use crate::payload::{Rx, SMALL, Tx};
use crate::peer;
use crate::row::{Bound, Goal, Spec};
use crate::stats::{Figures, Metric};

/// Round trips of a full run.
const COUNT: u64 = 200_000;
/// The same for peers that take microseconds.
const COUNT_SLOW: u64 = 50_000;

/// Over a pair of queues, one for each direction.
fn over<T: Tx + Send, R: Rx + Send>(
    queue: impl Fn() -> (T, R),
    waiting: Waiting,
    count: u64,
) -> Result<Figures, Missing> {
    let ((there, from_near), (back, from_far)) = (queue(), queue());
    round_trip(move || (there, from_far), move || (back, from_near), SMALL, waiting, count)
}

fn ours(key: &str, waiting: Waiting, features: Features) -> Side {
    Side::new(key, move |effort| {
        let (near, far) = links(features);
        round_trip(|| near, || far, SMALL, waiting, effort.of(COUNT))
    })
}

fn queue<T: Tx + Send, R: Rx + Send>(
    key: &str,
    waiting: Waiting,
    count: u64,
    make: impl Fn() -> (T, R) + 'static,
) -> Side {
    Side::new(key, move |effort| over(&make, waiting, effort.of(count)))
}

fn iceoryx2<S: iceoryx2::service::Service>(key: &str) -> Side {
    use peer::iceoryx2::{consumer, name, producer};
    Side::new(key, |effort| {
        let (there, back) = (name(), name());
        let end = |out: String, into: String| {
            move || -> (_, _) {
                let into = consumer::<S, SMALL>(&into);
                (producer::<S, SMALL>(&out), into)
            }
        };
        let (near, far) = (end(there.clone(), back.clone()), end(back, there));
        round_trip(near, far, SMALL, Waiting::Spin, effort.of(COUNT_SLOW))
    })
}

#[cfg(feature = "zenoh")]
fn zenoh() -> Side {
    Side::new("zenoh", |effort| {
        let session = peer::zenoh::session()?;
        let ((there, from_near), (back, from_far)) = (peer::zenoh::pair(&session)?, peer::zenoh::pair(&session)?);
        let count = effort.of(COUNT_SLOW / 2);
        round_trip(move || (there, from_far), move || (back, from_near), SMALL, Waiting::Spin, count)
    })
}

#[cfg(not(feature = "zenoh"))]
fn zenoh() -> Side {
    Side::new("zenoh", |_| Err(Missing("built without the feature `zenoh`".to_owned())))
}

/// G1, G2 and every peer.
pub fn spinning() -> Experiment {
    const BEST: [&str; 4] = ["rtrb", "rtrb/chunks", "photon-ring/lossy", "photon-ring/bounded"];
    const PAUSED: &str = "csf-bus/paused";
    let spin = Waiting::Spin;
    let sides = vec![
        ours(BUS, spin, Features::PACKET),
        ours(PAUSED, Waiting::Pause, Features::PACKET),
        queue("rtrb/paused", Waiting::Pause, COUNT, peer::rtrb::pair::<SMALL>),
        queue("photon-ring/paused", Waiting::Pause, COUNT, peer::photon::pair::<SMALL>),
        queue("rtrb", spin, COUNT, peer::rtrb::pair::<SMALL>),
        queue("rtrb/chunks", spin, COUNT, peer::rtrb::chunks::<SMALL>),
        queue("photon-ring/lossy", spin, COUNT, peer::photon::pair::<SMALL>),
        queue("photon-ring/bounded", spin, COUNT, peer::photon::bounded::<SMALL>),
        queue("disruptor", spin, COUNT, peer::disruptor::pair::<SMALL>),
        queue("crossbeam-channel", spin, COUNT, peer::crossbeam::pair::<SMALL>),
        queue("kanal", spin, COUNT, peer::kanal::pair::<SMALL>),
        queue("tokio/mpsc", spin, COUNT_SLOW, peer::tokio::pair::<SMALL>),
        queue("flume", spin, COUNT_SLOW, peer::flume::pair::<SMALL>),
        queue("thingbuf", spin, COUNT, peer::thingbuf::pair::<SMALL>),
        iceoryx2::<iceoryx2::service::local::Service>("iceoryx2/local"),
        iceoryx2::<iceoryx2::service::ipc::Service>("iceoryx2/ipc"),
        zenoh(),
        two_lines_side(),
    ];
    let row = |id: &str, what: &str, metric| Spec::new(id, what, metric, BUS).floor(TWO_LINES);
    let mut specs = vec![
        row("G1", "round trip p50, 64 B, two threads", Metric::P50)
            .peers(&BEST)
            .goal(Goal::ratio(Bound::AtMost(1.15)))
            .beyond(Goal::ratio(Bound::AtMost(1.0))),
        row("G2", "round trip p99.9, 64 B", Metric::P999)
            .peers(&BEST)
            .goal(Goal::ratio(Bound::AtMost(1.3)))
            .beyond(Goal::ratio(Bound::AtMost(1.0))),
    ];
    let paused = Spec::new("rtt.paused", "round trip p50, 64 B, a pause between looks", Metric::P50, PAUSED);
    specs.push(paused.peers(&["rtrb/paused", "photon-ring/paused"]).floor(TWO_LINES));
    let is_shown = |key: &&str| ![BUS, TWO_LINES].contains(key) && !key.ends_with("/paused");
    for peer in sides.iter().map(Side::key).filter(is_shown) {
        specs.push(row(&format!("rtt.{peer}"), "round trip p50, 64 B", Metric::P50).peers(&[peer]));
    }
    Experiment::new("round trip", sides, specs)
}

/// G10: each side waits as it does by itself.
pub fn waiting() -> Experiment {
    let own = Waiting::Own;
    let sides = vec![
        ours(BUS, own, Features::PACKET),
        queue("crossbeam-channel", own, COUNT_SLOW, peer::crossbeam::pair::<SMALL>),
        queue("kanal", own, COUNT_SLOW, peer::kanal::pair::<SMALL>),
        queue("flume", own, COUNT_SLOW, peer::flume::pair::<SMALL>),
        two_lines_side(),
    ];
    let row = |id: &str, what: &str, metric| Spec::new(id, what, metric, BUS).floor(TWO_LINES);
    let specs = vec![
        row("G10", "blocking receive, round trip p50, 64 B", Metric::P50)
            .peers(&["crossbeam-channel"])
            .goal(Goal::ratio(Bound::AtMost(1.0))),
        row("G10.p99", "blocking receive, round trip p99, 64 B", Metric::P99)
            .peers(&["kanal"])
            .beyond(Goal::ratio(Bound::AtMost(1.0))),
        row("wait.flume", "blocking receive, round trip p50, 64 B", Metric::P50).peers(&["flume"]),
    ];
    Experiment::new("blocking receive", sides, specs)
}

/// G15: everything against everything but one.
pub fn ablation() -> Experiment {
    let all = Features::ALL;
    let without = [
        ("mask", Features { mask: false, filter: false, ..all }),
        ("hlc", Features { hlc: false, ..all }),
        ("deadline", Features { deadline: false, ..all }),
        ("cause", Features { cause: false, ..all }),
        ("tap", Features { tap: false, ..all }),
    ];
    let mut sides = vec![ours("csf-bus", Waiting::Spin, all)];
    let mut specs = Vec::new();
    for (name, features) in without {
        let key = format!("csf-bus/without {name}");
        specs.push(
            Spec::new(format!("G15.{name}"), format!("round trip p50 with and without {name}"), Metric::P50, BUS)
                .peers(&[&key])
                .goal(Goal::ratio(Bound::AtMost(1.1))),
        );
        sides.push(ours(&key, Waiting::Spin, features));
    }
    let key = "csf-bus/bare";
    sides.push(ours(key, Waiting::Spin, Features::NONE));
    specs.push(
        Spec::new("G15.all", "round trip p50 with all features and with none", Metric::P50, BUS)
            .peers(&[key])
            .beyond(Goal::ratio(Bound::AtMost(1.15))),
    );
    Experiment::new("ablation", sides, specs).in_slices(SLICES)
}

/// Differences of a few percent need finer interleaving than rounds: each round is cut into so many.
const SLICES: u32 = 5;
