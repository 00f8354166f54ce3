//! The protocol over a counter that the test sets.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Machine, Reading, Timeline};
use crate::discipline::Line;

thread_local! {
    static COUNTER: Cell<u64> = const { Cell::new(0) };
}

/// One core whose counter stands until it is set.
struct Scripted;

impl Machine for Scripted {
    type Word = AtomicU64;
    fn fence(_: Ordering) {}
    fn spin() {}
    fn counter() -> u64 {
        COUNTER.get()
    }
    fn counter_unordered() -> u64 {
        COUNTER.get()
    }
}

const BEGIN: u64 = 1_000_000_000;
/// 2 ticks a nanosecond.
const LINE: Line = Line { tsc: BEGIN, ns: 77, rate: 1 << 55 };
const DUE: u64 = BEGIN + 1_000;

fn at(tsc: u64, timeline: &Timeline<Scripted>) -> Reading {
    COUNTER.set(tsc);
    let reading = timeline.read();
    assert_eq!(timeline.read_unordered(), reading, "the two reads differ only in when they take the counter");
    reading
}

#[test]
fn the_counter_is_read_by_the_line_until_it_is_due() {
    let timeline = Timeline::new(LINE, DUE);
    assert_eq!(at(BEGIN, &timeline), Reading::Counter { ns: 77, is_due: false });
    assert_eq!(at(DUE - 1, &timeline), Reading::Counter { ns: 77 + 499, is_due: false });
    assert_eq!(at(DUE, &timeline), Reading::Counter { ns: 77 + 500, is_due: true });
}

#[test]
fn a_counter_a_little_behind_the_line_stands_and_one_far_behind_was_reset() {
    let timeline = Timeline::new(LINE, DUE);
    let millisecond = 2_000_000;
    for behind in [1, 100, millisecond] {
        assert_eq!(at(BEGIN - behind, &timeline), Reading::Counter { ns: 77, is_due: false }, "{behind} ticks behind");
    }
    assert_eq!(at(BEGIN - millisecond - 2, &timeline), Reading::CounterReset);
    assert_eq!(at(0, &timeline), Reading::CounterReset);
}

#[test]
fn a_line_continues_where_the_last_one_ended() {
    let timeline = Timeline::new(LINE, DUE);
    COUNTER.set(BEGIN + 400);
    timeline.adjust(1 << 54, 0, u64::MAX);
    assert_eq!(at(BEGIN + 400, &timeline), Reading::Counter { ns: 77 + 200 + 1, is_due: false });
    assert_eq!(at(BEGIN + 800, &timeline), Reading::Counter { ns: 77 + 200 + 1 + 100, is_due: false });
    timeline.adjust(1 << 55, 5_000, u64::MAX);
    assert_eq!(at(BEGIN + 800, &timeline), Reading::Counter { ns: 77 + 301 + 1 + 5_000, is_due: false });
}

#[test]
fn time_goes_on_from_the_later_clock_when_the_counter_is_given_up() {
    for (system_ns, shift_ns) in [(50, 77 + 200 + 1 - 50), (277, 8), (10_000, 8)] {
        let timeline = Timeline::new(LINE, DUE);
        COUNTER.set(BEGIN + 400);
        timeline.give_up(8, || system_ns);
        assert_eq!(at(BEGIN + 400, &timeline), Reading::System { shift_ns }, "the system said {system_ns}");
        assert_eq!(at(0, &timeline), Reading::System { shift_ns }, "the counter has no say any more");
    }
}
