//! How publishing and delivering grow with subscribers and with topics.

use super::BUS;
use crate::experiment::{Experiment, Side};
use crate::load::growth;
use crate::ours::bus::{self, Features, Taking};
use crate::ours::topics;
use crate::payload::{InTurn, Merged, Rx, SMALL, Tx};
use crate::peer;
use crate::row::{Row, Spec};
use crate::stats::Metric;

const SUBSCRIBERS: [usize; 7] = [1, 4, 16, 64, 256, 1024, 4096];
const TOPICS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const PEERS: [&str; 2] = ["tokio/broadcast", "photon-ring/lossy"];
/// Deliveries of a full run.
const DELIVERIES: u64 = 3_000_000;
/// Both figures of a point.
const FIGURES: [(&str, Metric); 2] = [("publish", Metric::Cost), ("delivery", Metric::Delivery)];

fn side<T: Tx, R: Rx>(key: &str, make: impl Fn() -> (T, Vec<R>) + Send + Sync + 'static) -> Side {
    Side::new(key, move |effort| growth(&make, SMALL, effort.of(DELIVERIES)))
}

/// One channel per topic, read in turn.
fn channels<T, R>(count: usize, make: impl Fn() -> (T, Vec<R>)) -> (InTurn<T>, Vec<Merged<R>>) {
    let (producers, readers): (Vec<T>, Vec<Vec<R>>) = (0..count).map(|_| make()).unzip();
    (InTurn(producers), vec![Merged(readers.into_iter().flatten().collect())])
}

fn point(axis: &str, count: usize, what: &str, sides: Vec<Side>) -> Experiment {
    let specs = FIGURES.map(|(figure, metric)| {
        let id = format!("growth.{axis}.{count}.{figure}");
        let spec = Spec::new(id, format!("{figure}, {count} {what}"), metric, BUS).peers(&PEERS);
        if axis == "topics" {
            spec.note("ours is one stream in the order of urgency; the peers are read in turn")
        } else {
            spec
        }
    });
    Experiment::new("growth", sides, specs.to_vec())
}

/// All points.
pub fn experiments() -> Vec<Experiment> {
    let subscribers = SUBSCRIBERS.map(|count| {
        let sides = vec![
            side(BUS, move || bus::fan_out::<SMALL>(count, Features::PACKET, Taking::Polling)),
            side(PEERS[0], move || peer::tokio::broadcast::<SMALL>(count)),
            side(PEERS[1], move || peer::photon::lossy::<SMALL>(count)),
        ];
        point("subscribers", count, "subscribers", sides)
    });
    let topics = TOPICS.map(|count| {
        let sides = vec![
            side(BUS, move || topics::merged(count)),
            side(PEERS[0], move || channels(count, || peer::tokio::broadcast::<SMALL>(1))),
            side(PEERS[1], move || channels(count, || peer::photon::lossy::<SMALL>(1))),
        ];
        point("topics", count, "topics, one reader of all", sides)
    });
    subscribers.into_iter().chain(topics).collect()
}

/// A curve: figures over the number of subscribers or topics.
pub struct Curve {
    /// Whose.
    pub label: String,
    /// Number and figure, ns.
    pub points: Vec<(f64, f64)>,
}

/// The curves of one axis and figure, ours first.
pub fn curves(rows: &[Row], axis: &str, figure: &str) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for row in rows {
        let Some((count, of)) = row.spec.id.strip_prefix(&format!("growth.{axis}.")).and_then(|id| id.split_once('.'))
        else {
            continue;
        };
        let Some(count) = count.parse().ok().filter(|_| of == figure) else { continue };
        for side in row.ours.iter().chain(&row.theirs).chain(&row.others) {
            let Some(ns) = side.median() else { continue };
            match curves.iter_mut().find(|curve| curve.label == side.label) {
                Some(curve) => curve.points.push((count, ns)),
                None => curves.push(Curve { label: side.label.clone(), points: vec![(count, ns)] }),
            }
        }
    }
    curves
}
