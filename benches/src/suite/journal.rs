//! Durable appends to the log: many callers, and one.

use crate::experiment::{Experiment, Side};
use crate::ours::journal;
use crate::peer::redis;
use crate::row::{Bound, Goal, Spec};
use crate::stats::Metric;

const OURS: &str = "csf-data/sqlite";
const RAW: &str = "file/one commit for all";
const DISK: &str = "file/fdatasync";
const REDIS: &str = "Redis/appendfsync always";

/// Callers that append at the same time.
const CALLERS: usize = 64;
/// Appends of a full round: of many callers, and of one.
const MANY: u64 = 64_000;
const ONE: u64 = 1_000;

/// Many callers, each of which waits for its own append.
pub fn many() -> Experiment {
    let sides = vec![
        Side::new(OURS, |e| journal::sqlite(CALLERS, e.of(MANY))),
        Side::new(RAW, |e| journal::raw(CALLERS, e.of(MANY))),
        Side::new(REDIS, |e| redis::append(CALLERS, e.of(MANY / 4))),
    ];
    let row = |id: &str, what: &str, metric| Spec::new(id, what, metric, OURS);
    let specs = vec![
        row("append.raw", "durable appends of 1 KiB, 64 callers, beside a bare file", Metric::Rate)
            .peers(&[RAW])
            .goal(Goal::ratio(Bound::AtLeast(0.7)))
            .note("the same callers and the same writer; the file keeps no index and cannot be read"),
        row("append.redis", "durable appends of 1 KiB, 64 callers, beside a server", Metric::Rate).peers(&[REDIS]),
        row("append.p99", "durable append of 1 KiB, 64 callers, p99", Metric::P99).peers(&[RAW, REDIS]),
    ];
    Experiment::new("appends", sides, specs)
}

/// One caller, which waits for the disk each time.
pub fn one() -> Experiment {
    let sides = vec![
        Side::new(OURS, |e| journal::sqlite(1, e.of(ONE))),
        Side::new(DISK, |e| journal::disk(e.of(ONE))),
        Side::new(REDIS, |e| redis::append(1, e.of(ONE))),
    ];
    let specs = vec![
        Spec::new("append.one", "durable append of 1 KiB, one caller, p50", Metric::P50, OURS)
            .peers(&[DISK])
            .goal(Goal::ratio(Bound::AtMost(1.3))),
        Spec::new("append.one.redis", "durable append of 1 KiB, one caller, p50", Metric::P50, OURS).peers(&[REDIS]),
    ];
    Experiment::new("one caller", sides, specs)
}
