//! The machine's floors, as rows without a peer. They are run with every table.

use crate::experiment::{Experiment, Side};
use crate::floor::{copy_frame, copy_in_l2, counter as read_counter, one_line, stream, two_lines};
use crate::load::{Waiting, round_trip, throughput};
use crate::payload::{LARGE, SMALL};
use crate::row::Spec;
use crate::stats::Metric;

/// Round trip of a word in a line for each direction.
pub const TWO_LINES: &str = "two lines";
/// Small frames handed from core to core in blocks.
pub const STREAM_SMALL: &str = "blocks of 64 B";
/// Large ones.
pub const STREAM_LARGE: &str = "blocks of 1 KiB";
/// Reading the processor's counter.
pub const COUNTER: &str = "counter";

/// Rows that start so are run whatever is asked for.
pub const PREFIX: &str = "floor.";

/// Sides that other experiments compare with.
pub fn two_lines_side() -> Side {
    Side::new(TWO_LINES, |effort| {
        let (near, far) = two_lines();
        round_trip(|| near, || far, 1, Waiting::Spin, effort.of(200_000))
    })
}

/// See [`STREAM_SMALL`] and [`STREAM_LARGE`].
pub fn stream_side<const WORDS: usize>() -> Side {
    let key = if WORDS == SMALL { STREAM_SMALL } else { STREAM_LARGE };
    let count = if WORDS == SMALL { 20_000_000 } else { 3_000_000 };
    Side::new(key, move |effort| {
        let (tx, rx) = stream::<WORDS>();
        throughput(vec![|| tx], vec![|| rx], WORDS, effort.of(count))
    })
}

/// See [`COUNTER`].
pub fn counter_side() -> Side {
    Side::new(COUNTER, |effort| Ok(read_counter(effort.of(2_000))))
}

/// All floors of the bus.
pub fn experiment() -> Experiment {
    let sides = vec![
        Side::new("one line", |effort| {
            let (near, far) = one_line();
            round_trip(|| near, || far, 1, Waiting::Spin, effort.of(200_000))
        }),
        two_lines_side(),
        stream_side::<SMALL>(),
        stream_side::<LARGE>(),
        Side::new("copy of 64 B", |effort| Ok(copy_frame::<SMALL>(effort.of(2_000)))),
        Side::new("copy of 1 KiB", |effort| Ok(copy_frame::<LARGE>(effort.of(2_000)))),
        Side::new("memcpy", |effort| Ok(copy_in_l2(effort.of(200)))),
        counter_side(),
    ];
    let rows = [
        ("line", "round trip of a cache line", Metric::P50, "one line"),
        ("lines", "round trip, a line for each direction", Metric::P50, TWO_LINES),
        ("stream", "64 B from core to core, in blocks", Metric::Rate, STREAM_SMALL),
        ("stream1k", "1 KiB from core to core, in blocks", Metric::Rate, STREAM_LARGE),
        ("copy", "copy 64 B in L1", Metric::Cost, "copy of 64 B"),
        ("copy1k", "copy 1 KiB in L1", Metric::Cost, "copy of 1 KiB"),
        ("memcpy", "copy 256 KiB in L2", Metric::Bandwidth, "memcpy"),
        ("counter", "read the counter, unfenced", Metric::Cost, COUNTER),
    ];
    let specs = rows.map(|(id, what, metric, key)| Spec::new(format!("{PREFIX}{id}"), what, metric, key));
    Experiment::new("floors", sides, specs.to_vec())
}

/// The floor of the clocks.
pub fn counter() -> Experiment {
    let spec = Spec::new(format!("{PREFIX}counter"), "read the counter, unfenced", Metric::Cost, COUNTER);
    Experiment::new("floors", vec![counter_side()], vec![spec])
}
