//! One producer to three consumers (G4), three producers to one consumer (G5). Four threads: on fewer cores, ratios only.

use super::BUS;
use crate::clock::cores;
use crate::experiment::{Experiment, Side};
use crate::load::throughput;
use crate::ours::bus::{self, Features, Taking};
use crate::payload::{LARGE, Rx, SMALL, Tx};
use crate::peer;
use crate::row::{Bound, Goal, Spec};
use crate::stats::Metric;

const POLLED: &str = "csf-bus/polled";
const FILTERED: &str = "csf-bus/filtered by mask";
/// Producers or consumers on the wide side.
const WIDTH: usize = 3;

fn count(words: usize) -> u64 {
    if words == SMALL { 6_000_000 } else { 1_000_000 }
}

fn key(package: &str, words: usize) -> String {
    let (name, mode) = package.split_once('/').unwrap_or((package, ""));
    let size = if words == SMALL { "64 B" } else { "1 KiB" };
    format!("{name}/{mode}{}{size}", if mode.is_empty() { "" } else { ", " })
}

/// Says so when there are fewer cores than threads.
fn crowded(spec: Spec) -> Spec {
    if cores() > WIDTH { spec } else { spec.note("more threads than cores: read the ratio only") }
}

fn out_side<T: Tx + Send, R: Rx + Send, const WORDS: usize>(
    package: &str,
    make: impl Fn() -> (T, Vec<R>) + 'static,
) -> Side {
    Side::new(&key(package, WORDS), move |effort| {
        let (tx, readers) = make();
        let readers = readers.into_iter().map(|rx| move || rx).collect();
        throughput(vec![|| tx], readers, WORDS, effort.of(count(WORDS)))
    })
}

fn into_side<T: Tx + Send, R: Rx + Send, const WORDS: usize>(
    package: &str,
    make: impl Fn() -> (Vec<T>, R) + 'static,
) -> Side {
    Side::new(&key(package, WORDS), move |effort| {
        let (producers, rx) = make();
        let producers = producers.into_iter().map(|tx| move || tx).collect();
        throughput(producers, vec![|| rx], WORDS, effort.of(count(WORDS)))
    })
}

/// G4.
pub fn out() -> Experiment {
    fn ours<const WORDS: usize>(key: &str, features: Features, taking: Taking) -> Side {
        out_side::<_, _, WORDS>(key, move || bus::fan_out::<WORDS>(WIDTH, features, taking))
    }
    fn sides<const WORDS: usize>() -> [Side; 4] {
        [
            ours::<WORDS>(BUS, Features::PACKET, Taking::Waiting),
            ours::<WORDS>(POLLED, Features::PACKET, Taking::Polling),
            ours::<WORDS>(FILTERED, Features::FILTERED, Taking::Waiting),
            out_side::<_, _, WORDS>("disruptor", peer::disruptor::fan_out::<WORDS>),
        ]
    }
    let row = |id: &str, text: &str, ours, words| {
        crowded(Spec::new(id, text, Metric::Rate, &key(ours, words)).peers(&[&key("disruptor", words)]))
    };
    let at_least = |ratio| Goal::ratio(Bound::AtLeast(ratio));
    let specs = vec![
        row("G4.64", "1 to 3, 64 B", BUS, SMALL).goal(at_least(0.9)).beyond(at_least(1.2)),
        row("G4.1k", "1 to 3, 1 KiB", BUS, LARGE).goal(at_least(0.9)).beyond(at_least(1.0)),
        row("G4.64.polled", "1 to 3, 64 B, by poll_batch", POLLED, SMALL),
        row("G4.1k.polled", "1 to 3, 1 KiB, by poll_batch", POLLED, LARGE),
        row("G4.64.filtered", "1 to 3, 64 B, filtered by mask", FILTERED, SMALL),
        row("G4.1k.filtered", "1 to 3, 1 KiB, filtered by mask", FILTERED, LARGE),
    ];
    let sides = sides::<SMALL>().into_iter().chain(sides::<LARGE>()).collect();
    Experiment::new("1 to 3", sides, specs)
}

/// G5.
pub fn into() -> Experiment {
    const UNCAUSED: &str = "csf-bus/no cause";
    fn ours<const WORDS: usize>(key: &str, features: Features, taking: Taking) -> Side {
        into_side::<_, _, WORDS>(key, move || bus::fan_in::<WORDS, true>(WIDTH, features, taking))
    }
    fn sides<const WORDS: usize>() -> [Side; 6] {
        [
            ours::<WORDS>(BUS, Features::PACKET, Taking::Waiting),
            ours::<WORDS>(POLLED, Features::PACKET, Taking::Polling),
            ours::<WORDS>(FILTERED, Features::FILTERED, Taking::Waiting),
            into_side::<_, _, WORDS>(UNCAUSED, || {
                bus::fan_in::<WORDS, false>(WIDTH, Features::PACKET, Taking::Waiting)
            }),
            into_side::<_, _, WORDS>("disruptor/multi-producer", || peer::disruptor::fan_in::<WORDS>(WIDTH)),
            into_side::<_, _, WORDS>("rtrb/merged chunks", || peer::rtrb::merged::<WORDS>(WIDTH)),
        ]
    }
    let row = |id: &str, text: &str, ours: &str, peer: &str, words| {
        crowded(Spec::new(id, text, Metric::Rate, &key(ours, words)).peers(&[&key(peer, words)]))
    };
    let (disruptor, merged) = ("disruptor/multi-producer", "rtrb/merged chunks");
    let (at_least, beyond) = (|ratio| Goal::ratio(Bound::AtLeast(ratio)), Goal::ratio(Bound::AtLeast(1.0)));
    let specs = vec![
        row("G5.64", "3 to 1, 64 B", BUS, disruptor, SMALL).goal(at_least(1.5)),
        row("G5.64.merged", "3 to 1, 64 B", BUS, merged, SMALL).beyond(beyond),
        row("G5.64.polled", "3 to 1, 64 B, by poll_batch", POLLED, disruptor, SMALL),
        row("G5.64.filtered", "3 to 1, 64 B, filtered by mask", FILTERED, disruptor, SMALL),
        row("G5.64.uncaused", "3 to 1, 64 B, packets without cause", UNCAUSED, disruptor, SMALL),
        row("G5.1k", "3 to 1, 1 KiB", BUS, disruptor, LARGE).goal(at_least(0.8)),
        row("G5.1k.merged", "3 to 1, 1 KiB", BUS, merged, LARGE).beyond(beyond),
        row("G5.1k.polled", "3 to 1, 1 KiB, by poll_batch", POLLED, disruptor, LARGE),
        row("G5.1k.filtered", "3 to 1, 1 KiB, filtered by mask", FILTERED, disruptor, LARGE),
        row("G5.1k.uncaused", "3 to 1, 1 KiB, packets without cause", UNCAUSED, disruptor, LARGE),
    ];
    let sides = sides::<SMALL>().into_iter().chain(sides::<LARGE>()).collect();
    Experiment::new("3 to 1", sides, specs)
}
