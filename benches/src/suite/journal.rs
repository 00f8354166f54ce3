//! The log: durable appends of many callers and of one, on each store; replay; a start after a kill.

use crate::experiment::{Experiment, Side};
use crate::load::EVENT_BYTES;
use crate::ours::{journal, reopen, replay};
use crate::peer::{jetstream, postgres, redis, rows};
use crate::row::{Bound, Goal, Spec};
use crate::stats::Metric;

const OURS: &str = "csf-data/sqlite";
const RAW: &str = "file/one commit for all";
const FJALL: &str = "fjall 3.1.13/persist(SyncData)";
const SQLITE: &str = "SQLite/synchronous = FULL";
const DISK: &str = "file/fdatasync";
const REDIS: &str = "Redis/appendfsync always";
const JETSTREAM: &str = "NATS JetStream/sync_interval always";
const OVER_JETSTREAM: &str = "csf-data/jetstream, sync_interval always";
const POSTGRES: &str = "PostgreSQL/an insert for each event";
const OVER_POSTGRES: &str = "csf-data/postgresql";
const REPLAY: &str = "csf-runtime/replay";
const REOPEN: &str = "csf-data/sqlite, killed";

/// Callers that append at the same time.
const CALLERS: usize = 64;
/// Appends of a full round: of many callers, and of one.
const MANY: u64 = 64_000;
const ONE: u64 = 1_000;
/// Deliveries of a replay.
const DELIVERIES: u64 = 1_000_000;
/// Events in a journal that is opened again.
const STORED: u64 = 1_000_000;

/// Many callers, each of which waits for its own append.
pub fn many() -> Experiment {
    let sides = vec![
        Side::new(OURS, |e| journal::sqlite(CALLERS, e.of(MANY))),
        Side::new(RAW, |e| journal::rows(rows::file, CALLERS, e.of(MANY))),
        Side::new(REDIS, |e| redis::append(CALLERS, e.of(MANY / 4))),
        Side::new(JETSTREAM, |e| jetstream::append(CALLERS, e.of(MANY / 16))),
        Side::new(OVER_JETSTREAM, |e| journal::jetstream(CALLERS, e.of(MANY / 4))),
        Side::new(POSTGRES, |e| postgres::insert(CALLERS, e.of(MANY / 4))),
        Side::new(OVER_POSTGRES, |e| journal::postgres(CALLERS, e.of(MANY / 4))),
    ];
    let row = |id: &str, what: &str, metric| Spec::new(id, what, metric, OURS);
    let specs = vec![
        row("append.raw", "durable appends of 1 KiB, 64 callers, beside a bare file", Metric::PerSecond)
            .peers(&[RAW])
            .goal(Goal::ratio(Bound::AtLeast(0.7)))
            .note("the same callers and the same writer; the file keeps no index and cannot be read"),
        row("append.redis", "durable appends of 1 KiB, 64 callers, beside a server", Metric::PerSecond).peers(&[REDIS]),
        row("append.jetstream", "durable appends of 1 KiB, 64 callers, beside a server", Metric::PerSecond)
            .peers(&[JETSTREAM])
            .goal(Goal::ratio(Bound::AtLeast(40.0))),
        Spec::new("append.over.jetstream", "the same, both in JetStream", Metric::PerSecond, OVER_JETSTREAM)
            .peers(&[JETSTREAM]),
        Spec::new("append.over.postgres", "the same, both in PostgreSQL", Metric::PerSecond, OVER_POSTGRES)
            .peers(&[POSTGRES])
            .goal(Goal::ratio(Bound::AtLeast(4.0)))
            .note(
                "the peer's events have no name, no checksum and no order without gaps, and are found by stream only",
            ),
        row("append.p99", "durable append of 1 KiB, 64 callers, p99", Metric::P99).peers(&[RAW, REDIS]),
    ];
    Experiment::new("appends", sides, specs)
}

/// Engines that could hold the events' rows, under the same writer: why the log stands on the one it does ([ADR 10]).
///
/// [ADR 10]: ../../../docs/adr/0010-events-are-indexed-later.md
pub fn engines() -> Experiment {
    let sides = vec![
        Side::new(FJALL, |e| journal::rows(rows::fjall, CALLERS, e.of(MANY))),
        Side::new(SQLITE, |e| journal::rows(rows::sqlite, CALLERS, e.of(MANY))),
    ];
    let specs = vec![
        Spec::new("engine.rows", "bare rows of 1 KiB, 64 callers, each synced", Metric::PerSecond, SQLITE).peers(&[FJALL]),
        Spec::new("engine.p99", "bare rows of 1 KiB, 64 callers, each synced, p99", Metric::P99, SQLITE).peers(&[FJALL]),
    ];
    Experiment::new("engines", sides, specs)
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

/// Recorded deliveries, again.
pub fn replays() -> Experiment {
    let specs = vec![
        Spec::new("replay", "recorded deliveries into a component, cached journal", Metric::PerSecond, REPLAY)
            .goal(Goal::value(Bound::AtLeast(1e6)))
            .note("read, checked, decoded, handled, one output in 100 compared with the recorded one"),
    ];
    Experiment::new("replay", vec![Side::new(REPLAY, |e| replay::into_component(e.of(DELIVERIES)))], specs)
}

/// A start after a kill.
pub fn reopened() -> Experiment {
    let specs = vec![
        Spec::new("reopen", "a killed journal of 1 GB opened, a stream's version told, p50", Metric::P50, REOPEN)
            .goal(Goal::value(Bound::AtMost(1e8)))
            .note("its files in the system's cache; each life appends 12 MiB more before it is killed"),
    ];
    let bytes = |e: crate::load::Effort| e.of(STORED) * EVENT_BYTES as u64;
    Experiment::new("reopen", vec![Side::new(REOPEN, move |e| reopen::after_kill(bytes(e)))], specs)
}
