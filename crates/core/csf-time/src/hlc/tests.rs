//! The rules that need no second clock; the suite of `csf-sim` and `tests/it/cluster.rs` hold the rest.

use std::sync::Arc;
use std::time::Duration;

use csf_core::port::{HlcClock, TimeSource};
use csf_core::{NanoTime, Stamp, TimeError};
use proptest::prelude::*;

use super::{Hlc, MAX_OFFSET_NS_DEFAULT};
use crate::simulated_clock::SimulatedClock;

const START: u64 = 1_000_000_000;

fn clock() -> (Hlc, Arc<SimulatedClock>) {
    let source = SimulatedClock::starting_at(NanoTime::from_nanos(START));
    (Hlc::new(source.clone(), 3), source)
}

/// What can happen to a clock.
#[derive(Clone, Copy, Debug)]
enum Step {
    Advance(u32),
    Tick,
    Send,
    TickAt(u32),
    TickWith(u32),
    TickBatch(u16),
    Observe(u32),
    Merge(u32),
}

fn any_step() -> impl Strategy<Value = Step> {
    let offset = 0..2 * MAX_OFFSET_NS_DEFAULT as u32;
    prop_oneof![
        any::<u32>().prop_map(|ns| Step::Advance(ns % 1_000)),
        Just(Step::Tick),
        Just(Step::Send),
        offset.clone().prop_map(Step::TickAt),
        offset.clone().prop_map(Step::TickWith),
        (0..300u16).prop_map(Step::TickBatch),
        offset.clone().prop_map(Step::Observe),
        offset.prop_map(Step::Merge),
    ]
}

proptest! {
    /// Properties (1), (2), (3) and (5) for one clock: every stamp is greater than all stamps given out or seen, not behind the
    /// physical clock, and a refused stamp changes nothing.
    #[test]
    fn stamps_grow_past_everything_seen(steps in proptest::collection::vec(any_step(), 1..200)) {
        let (mut hlc, source) = clock();
        let mut newest = Stamp::ZERO;
        for step in steps {
            let now = source.now_ns().unwrap().as_nanos();
            let given = match step {
                Step::Advance(ns) => {
                    source.advance(Duration::from_nanos(u64::from(ns)));
                    continue;
                }
                Step::Tick => hlc.tick().unwrap(),
                Step::Send => hlc.send().unwrap(),
                Step::TickAt(ahead) => {
                    let floor = Stamp(START + u64::from(ahead));
                    let given = hlc.tick_at(floor).unwrap();
                    prop_assert!(given >= floor);
                    given
                }
                Step::TickWith(ahead) => hlc.tick_with(NanoTime::from_nanos(START + u64::from(ahead))).unwrap(),
                Step::TickBatch(count) => {
                    let mut ticking = hlc.clone();
                    let ticks: Vec<_> = (0..count).map(|_| ticking.tick().unwrap()).collect();
                    let first = hlc.tick_batch(u64::from(count)).unwrap();
                    let batch: Vec<_> = (0..u64::from(count)).map(|n| first.after(n)).collect();
                    prop_assert_eq!(batch, ticks, "a batch is that many ticks of a standing clock");
                    prop_assert_eq!((hlc.last(), hlc.logical_time()), (ticking.last(), ticking.logical_time()));
                    prop_assert!(first > newest && first.as_nanos() >= now);
                    newest = newest.max(hlc.last());
                    continue;
                }
                Step::Observe(ahead) => {
                    newest = newest.max(Stamp(START + u64::from(ahead)));
                    hlc.observe(Stamp(START + u64::from(ahead)));
                    prop_assert_eq!(hlc.last(), newest);
                    continue;
                }
                Step::Merge(ahead) => {
                    let seen = Stamp(now + u64::from(ahead));
                    let before = (hlc.last(), hlc.logical_time());
                    match hlc.merge(seen) {
                        Ok(given) => {
                            prop_assert!(u64::from(ahead) <= MAX_OFFSET_NS_DEFAULT && given > seen);
                            given
                        }
                        Err(refusal) => {
                            prop_assert!(u64::from(ahead) > MAX_OFFSET_NS_DEFAULT, "{}", refusal);
                            prop_assert_eq!((hlc.last(), hlc.logical_time()), before);
                            continue;
                        }
                    }
                }
            };
            prop_assert!(given > newest, "{:?} gave {} after {}", step, given, newest);
            prop_assert!(matches!(step, Step::TickWith(_)) || given.as_nanos() >= now);
            prop_assert_eq!(hlc.last(), given);
            newest = given;
        }
    }
}

/// Property (4): the logical part is the lead itself, so it carries into the nanoseconds instead of overflowing.
#[test]
fn a_burst_on_a_standing_clock_carries_and_the_lead_is_bounded_by_its_length() {
    let (mut hlc, source) = clock();
    for n in 0..100_000 {
        assert_eq!(hlc.tick().unwrap().as_nanos(), START + n);
    }
    assert_eq!(hlc.logical_time().logical, 99_999);
    source.advance(Duration::from_micros(100));
    assert_eq!(hlc.tick().unwrap().as_nanos(), START + 100_000, "the clock caught up and the lead is gone");
    assert_eq!(hlc.logical_time().logical, 0);
}

#[test]
fn the_end_of_time_is_an_error_and_changes_nothing() {
    let (mut hlc, _) = clock();
    hlc.observe(Stamp(u64::MAX));
    assert!(matches!(hlc.tick(), Err(TimeError::Unavailable { .. })));
    assert!(matches!(hlc.merge(Stamp(START)), Err(TimeError::Unavailable { .. })));
    assert_eq!(hlc.last(), Stamp(u64::MAX));
}

#[test]
fn a_batch_ends_before_the_end_of_time_or_is_refused_whole() {
    let (mut hlc, _) = clock();
    hlc.observe(Stamp(u64::MAX - 3));
    let before = (hlc.last(), hlc.logical_time());
    assert!(matches!(hlc.tick_batch(4), Err(TimeError::Unavailable { .. })));
    assert!(matches!(hlc.tick_batch(u64::MAX), Err(TimeError::Unavailable { .. })));
    assert_eq!((hlc.last(), hlc.logical_time()), before, "nothing was taken");
    assert_eq!(hlc.tick_batch(3).unwrap(), Stamp(u64::MAX - 2));
    assert_eq!(hlc.last(), Stamp(u64::MAX), "the last nanosecond is a stamp too");
    assert!(matches!(hlc.tick_batch(0), Err(TimeError::Unavailable { .. })), "there is no next stamp to name");
}

#[test]
fn an_empty_batch_takes_nothing() {
    let (mut hlc, _) = clock();
    assert_eq!(hlc.tick_batch(0).unwrap(), Stamp(START));
    assert_eq!((hlc.last(), hlc.logical_time().logical), (Stamp::ZERO, 0));
    assert_eq!(hlc.tick().unwrap(), Stamp(START));
}

/// Property (7).
#[test]
fn a_restarted_clock_stays_after_its_bound() {
    let (hlc, _) = clock();
    let mut hlc = hlc.not_before(Stamp(START + 5_000));
    assert_eq!(hlc.tick().unwrap(), Stamp(START + 5_001));
    let (hlc, _) = clock();
    assert_eq!(hlc.not_before(Stamp(5)).tick().unwrap(), Stamp(START), "a bound in the past binds nobody");
}

/// Drift check of FAB-043.
#[test]
fn drift_beyond_the_limit_is_reported() {
    let (hlc, source) = clock();
    let hlc = hlc.with_max_offset(Duration::from_nanos(100)).not_before(Stamp(START + 101));
    match hlc.check_drift() {
        Err(TimeError::OffsetExceeded { remote_ns, ahead_ns: 101, max_offset_ns: 100 }) => {
            assert_eq!(remote_ns, START + 101)
        }
        other => panic!("a lead of 101 ns is more than 100 ns, got {other:?}"),
    }
    source.advance(Duration::from_nanos(1));
    assert_eq!(hlc.check_drift(), Ok(100), "the limit itself is allowed");
    source.advance(Duration::from_nanos(1_000));
    assert_eq!(hlc.check_drift(), Ok(0));
}

#[test]
fn the_limit_itself_may_be_merged() {
    let (hlc, _) = clock();
    let mut hlc = hlc.with_max_offset(Duration::from_nanos(100));
    assert!(matches!(hlc.merge(Stamp(START + 101)), Err(TimeError::OffsetExceeded { .. })));
    assert_eq!(hlc.merge(Stamp(START + 100)), Ok(Stamp(START + 101)));
}

#[test]
fn asking_for_now_moves_nothing() {
    let (mut hlc, source) = clock();
    let now = hlc.now().unwrap();
    assert_eq!((now.physical, now.logical, now.node_id), (START, 0, 3));
    assert_eq!(hlc.last(), Stamp::ZERO);
    hlc.observe(Stamp(START + 10));
    source.advance(Duration::from_nanos(4));
    let now = hlc.now().unwrap();
    assert_eq!((now.physical, now.logical), (START + 10, 6));
    assert_eq!(hlc.tick().unwrap(), Stamp(START + 11));
}
