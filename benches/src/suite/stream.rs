//! Throughput from one thread to another (G3).

use super::BUS;
use super::floor::{STREAM_SMALL, stream_side};
use crate::experiment::{Experiment, Side};
#[cfg(not(feature = "zenoh"))]
use crate::load::Missing;
use crate::load::throughput;
use crate::ours::bus::{self, Features, Taking};
use crate::payload::{Patient, Rx, SMALL, Tx};
use crate::peer;
use crate::row::{Bound, Goal, Spec};
use crate::stats::Metric;

/// Frames of a full run.
const COUNT: u64 = 10_000_000;
/// The same for peers of a few millions a second.
const COUNT_SLOW: u64 = 1_000_000;

fn side<T: Tx + Send, R: Rx + Send>(key: &str, count: u64, make: impl Fn() -> (T, R) + 'static) -> Side {
    Side::new(key, move |effort| {
        let (tx, rx) = make();
        throughput(vec![|| tx], vec![|| rx], SMALL, effort.of(count))
    })
}

/// For peers that are faster when they park than when they are asked again and again.
fn patient<T, R>((tx, rx): (T, R)) -> (Patient<T>, Patient<R>) {
    (Patient(tx), Patient(rx))
}

fn iceoryx2() -> Side {
    use iceoryx2::service::local::Service;
    use peer::iceoryx2::{consumer, name, producer};
    Side::new("iceoryx2/local", |effort| {
        let name = name();
        let (tx, rx) = (|| producer::<Service, SMALL>(&name), || consumer::<Service, SMALL>(&name));
        throughput(vec![tx], vec![rx], SMALL, effort.of(COUNT_SLOW))
    })
}

#[cfg(feature = "zenoh")]
fn zenoh() -> Side {
    Side::new("zenoh", |effort| {
        let session = peer::zenoh::session()?;
        let (tx, rx) = peer::zenoh::pair(&session)?;
        throughput(vec![|| tx], vec![|| rx], SMALL, effort.of(COUNT_SLOW / 2))
    })
}

#[cfg(not(feature = "zenoh"))]
fn zenoh() -> Side {
    Side::new("zenoh", |_| Err(Missing("built without the feature `zenoh`".to_owned())))
}

/// G3 and every peer.
pub fn experiment() -> Experiment {
    const BATCHES: &str = "csf-bus/batches of 16";
    const POLLED: &str = "csf-bus/polled";
    const BATCHES_POLLED: &str = "csf-bus/batches of 16, polled";
    const FILTERED: &str = "csf-bus/filtered by mask";
    let sides = vec![
        side(BUS, COUNT, || bus::lane::<SMALL>(Features::PACKET, Taking::Waiting)),
        side(BATCHES, COUNT, || bus::batches::<SMALL>(Taking::Waiting)),
        side(POLLED, COUNT, || bus::lane::<SMALL>(Features::PACKET, Taking::Polling)),
        side(FILTERED, COUNT, || bus::lane::<SMALL>(Features::FILTERED, Taking::Waiting)),
        side(BATCHES_POLLED, COUNT, || bus::batches::<SMALL>(Taking::Polling)),
        side("rtrb", COUNT, peer::rtrb::pair::<SMALL>),
        side("rtrb/chunks", COUNT, peer::rtrb::chunks::<SMALL>),
        side("disruptor/batches of 16", COUNT, peer::disruptor::batches::<SMALL>),
        side("disruptor", COUNT, peer::disruptor::pair::<SMALL>),
        side("photon-ring/bounded", COUNT, peer::photon::bounded::<SMALL>),
        side("crossbeam-channel", COUNT, peer::crossbeam::pair::<SMALL>),
        side("kanal", COUNT, peer::kanal::pair::<SMALL>),
        side("tokio/mpsc", COUNT_SLOW, peer::tokio::pair::<SMALL>),
        side("flume", COUNT_SLOW, peer::flume::pair::<SMALL>),
        side("flume/blocking", COUNT_SLOW, || patient(peer::flume::pair::<SMALL>())),
        side("thingbuf", COUNT_SLOW, peer::thingbuf::pair::<SMALL>),
        iceoryx2(),
        zenoh(),
        stream_side::<SMALL>(),
    ];
    let best = ["rtrb", "rtrb/chunks", "disruptor/batches of 16"];
    let row = |id: &str, what: &str, ours: &str| Spec::new(id, what, Metric::Rate, ours).floor(STREAM_SMALL);
    let mut specs = vec![
        row("G3.message", "1 to 1, 64 B, a stamp per message", BUS).peers(&best).goal(Goal::ratio(Bound::AtLeast(0.5))),
        row("G3.batch", "1 to 1, 64 B, batches of 16, batch stamps", BATCHES)
            .peers(&best)
            .goal(Goal::ratio(Bound::AtLeast(1.0)))
            .beyond(Goal::ratio(Bound::AtLeast(1.1))),
    ];
    specs.push(row("stream.polled", "1 to 1, 64 B, beside poll_batch", BUS).peers(&[POLLED]));
    specs
        .push(row("stream.filtered", "1 to 1, 64 B, beside a subscriber that filters by mask", BUS).peers(&[FILTERED]));
    specs.push(row("stream.polled-batches", "1 to 1, 64 B, beside poll_batch", BATCHES).peers(&[BATCHES_POLLED]));
    for peer in sides.iter().map(Side::key).filter(|key| !key.starts_with(BUS) && *key != STREAM_SMALL) {
        specs.push(row(&format!("stream.{peer}"), "1 to 1, 64 B", BUS).peers(&[peer]));
    }
    Experiment::new("1 to 1", sides, specs)
}
