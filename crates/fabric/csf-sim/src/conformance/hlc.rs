//! What every hybrid logical clock does (FAB-043): Kulkarni et al. (2014), figure 5, and the refusal of impossible stamps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csf_core::port::{HlcClock, TimeCheckpoint, TimeSource};
use csf_core::{NanoTime, NodeId, Stamp, TimeError, TimeResult};

/// Where the suite's physical clock starts, nanoseconds; any large number.
const START_NS: u64 = 1_700_000_000_000_000_000;
/// Added to the physical clock for a stamp that no sane peer sends: ten days.
const ABSURD_NS: u64 = 864_000_000_000_000;

/// Runs the suite. `make` gives a clock of the node over the source, with its default offset limit (shorter than ten days,
/// longer than a millisecond).
///
/// # Panics
/// With the claim that does not hold.
pub fn hlc(make: impl Fn(Arc<dyn TimeSource>, NodeId) -> Box<dyn HlcClock>) {
    let fresh = || {
        let source = Arc::new(StepClock::default());
        source.set(START_NS);
        (make(source.clone(), 7), source)
    };
    let (clock, source) = fresh();
    a_tick_follows_the_clock_and_never_repeats(clock, &source);
    let (clock, source) = fresh();
    a_merge_is_after_both_parents(clock, &source);
    let (clock, source) = fresh();
    an_absurd_stamp_is_refused_and_changes_nothing(clock, &source);
    let (clock, source) = fresh();
    the_view_is_the_stamp_and_its_lead(clock, &source);
    let (clock, source) = fresh();
    a_failing_source_is_an_error_and_changes_nothing(clock, &source);
}

fn a_tick_follows_the_clock_and_never_repeats(mut clock: Box<dyn HlcClock>, source: &StepClock) {
    assert_eq!(stamp(clock.tick()), START_NS, "the first tick is the physical time");
    assert_eq!(stamp(clock.tick()), START_NS + 1, "while the clock stands, a tick counts");
    source.set(START_NS + 1_000);
    assert_eq!(stamp(clock.tick()), START_NS + 1_000, "a tick takes the physical time once that is ahead");
    source.set(START_NS - 1_000_000);
    assert_eq!(stamp(clock.tick()), START_NS + 1_001, "a clock that jumps back does not take stamps back");
}

fn a_merge_is_after_both_parents(mut clock: Box<dyn HlcClock>, source: &StepClock) {
    let own = stamp(clock.tick());
    assert_eq!(stamp(clock.merge(Stamp(own + 500))), own + 501, "the remote stamp is the largest");
    assert_eq!(stamp(clock.merge(Stamp(own + 7))), own + 502, "the own stamp is the largest");
    let equal = clock.last();
    assert_eq!(stamp(clock.merge(equal)), own + 503, "own and remote stamp are equal");
    source.set(own + 10_000);
    assert_eq!(stamp(clock.merge(Stamp(own + 8))), own + 10_001, "the physical time is the largest");
    let next = stamp(clock.tick());
    assert!(next > own + 10_001, "a tick comes after a merge");
}

fn an_absurd_stamp_is_refused_and_changes_nothing(mut clock: Box<dyn HlcClock>, source: &StepClock) {
    stamp(clock.tick());
    let (last, view) = (clock.last(), clock.logical_time());
    source.set(START_NS + 5);
    let absurd = START_NS + ABSURD_NS;
    match clock.merge(Stamp(absurd)) {
        Err(TimeError::OffsetExceeded { remote_ns, ahead_ns, max_offset_ns }) => {
            assert_eq!((remote_ns, ahead_ns), (absurd, ABSURD_NS - 5), "the refusal names the stamp and its lead");
            assert!(max_offset_ns < ABSURD_NS, "the refusal names the limit");
        }
        other => panic!("a stamp ten days ahead is refused, got {other:?}"),
    }
    assert_eq!((clock.last(), clock.logical_time()), (last, view), "a refused stamp changes nothing");
    assert_eq!(
        stamp(clock.merge(Stamp(START_NS + 1_000_000))),
        START_NS + 1_000_001,
        "a stamp a millisecond ahead is welcome"
    );
}

fn the_view_is_the_stamp_and_its_lead(mut clock: Box<dyn HlcClock>, source: &StepClock) {
    let own = stamp(clock.tick());
    let view = clock.logical_time();
    assert_eq!((view.physical, view.logical, view.node_id), (own, 0, 7), "a stamp on the physical time has no lead");
    let merged = stamp(clock.merge(Stamp(own + 99)));
    let after = clock.logical_time();
    assert_eq!((after.physical, after.logical), (merged, 100), "the lead is counted from the physical time");
    source.set(own + 100_000);
    assert_eq!(clock.logical_time(), after, "the view is of the newest stamp, not of now");
    assert!(after > view, "views are ordered as stamps are");
    assert_eq!(clock.last().as_nanos(), merged);
}

fn a_failing_source_is_an_error_and_changes_nothing(mut clock: Box<dyn HlcClock>, source: &StepClock) {
    let own = clock.tick().expect("a healthy clock ticks");
    source.set(StepClock::BROKEN);
    assert!(matches!(clock.tick(), Err(TimeError::Unavailable { .. })), "a tick reports the source's failure");
    assert!(matches!(clock.merge(own), Err(TimeError::Unavailable { .. })), "a merge reports the source's failure");
    assert_eq!(clock.last(), own, "a failed call changes nothing");
    source.set(START_NS);
    assert!(clock.tick().expect("the clock recovers with its source") > own);
}

fn stamp(result: TimeResult<Stamp>) -> u64 {
    result.expect("the clock gives a stamp").as_nanos()
}

/// A physical clock that the suite moves as it likes, also backwards.
#[derive(Default)]
struct StepClock {
    now_ns: AtomicU64,
}

impl StepClock {
    /// A reading that is a failure.
    const BROKEN: u64 = u64::MAX;

    fn set(&self, ns: u64) {
        self.now_ns.store(ns, Ordering::Relaxed);
    }
}

impl TimeSource for StepClock {
    fn now_ns(&self) -> TimeResult<NanoTime> {
        match self.now_ns.load(Ordering::Relaxed) {
            Self::BROKEN => Err(TimeError::Unavailable { reason: "planted by the suite".into() }),
            ns => Ok(NanoTime::from_nanos(ns)),
        }
    }

    fn has_hardware_timing(&self) -> bool {
        false
    }

    fn create_checkpoint(&self, name: &str) -> TimeResult<TimeCheckpoint> {
        Ok(TimeCheckpoint { name: name.to_owned(), time: self.now_ns()?, sequence: 0 })
    }
}
