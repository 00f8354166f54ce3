//! Time on a machine whose two CPUs' counters disagree by an offset and a drift, where nobody noticed: what stamps are still worth.
//!
//! The clock is the product's timeline and discipline, as `TscClock` puts them together, over counters and a system clock of the test's.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use csf_core::port::{HlcClock, Rng, TimeCheckpoint, TimeSource};
use csf_core::{NanoTime, Stamp, TimeResult};
use csf_sim::SeededRng;

use super::{Machine, Ordering, Reading, Timeline};
use crate::Hlc;
use crate::discipline::{Discipline, Point, Verdict};

/// True time when the clock is calibrated: long after the start, so that no counter is below zero.
const BEGIN_NS: u64 = 1_000_000_000_000;
const EPOCH_NS: u64 = 1_700_000_000_000_000_000;
/// Ticks between the two reads around the system's clock.
const SANDWICH: u64 = 60;

thread_local! {
    static TRUE_NS: Cell<u64> = const { Cell::new(BEGIN_NS) };
    static CPU: Cell<usize> = const { Cell::new(0) };
    /// Offset in nanoseconds and drift in parts per million of the second CPU's counter.
    static SECOND: Cell<(i64, i64)> = const { Cell::new((0, 0)) };
}

/// Two CPUs with counters of 1 GHz.
struct Sockets;

impl Machine for Sockets {
    type Word = AtomicU64;
    fn fence(_: Ordering) {}
    fn spin() {}
    fn counter() -> u64 {
        let now_ns = TRUE_NS.get();
        let (offset_ns, drift_ppm) = if CPU.get() == 0 { (0, 0) } else { SECOND.get() };
        let drifted_ns = (now_ns - BEGIN_NS).cast_signed() * drift_ppm / 1_000_000;
        now_ns.wrapping_add_signed(offset_ns + drifted_ns)
    }
    fn counter_unordered() -> u64 {
        Self::counter()
    }
}

fn on(cpu: usize) {
    CPU.set(cpu);
}

fn pass_ns(ns: u64) {
    TRUE_NS.set(TRUE_NS.get() + ns);
}

/// The system's clock, which is right.
fn system_ns() -> u64 {
    EPOCH_NS + TRUE_NS.get()
}

fn sandwich() -> Point {
    Point { tsc: Sockets::counter(), unix_ns: system_ns(), width_ticks: SANDWICH }
}

struct Clock {
    timeline: Timeline<Sockets>,
    discipline: Mutex<(Discipline, Option<String>)>,
}

impl Clock {
    /// Calibrated on the first CPU.
    fn calibrated(offset_ns: i64, drift_ppm: i64) -> Arc<Self> {
        TRUE_NS.set(BEGIN_NS);
        SECOND.set((offset_ns, drift_ppm));
        on(0);
        let first = sandwich();
        pass_ns(4_000_000);
        let (discipline, line) = Discipline::new(first, sandwich()).unwrap();
        let timeline = Timeline::new(line, discipline.first_look(&line));
        Arc::new(Self { timeline, discipline: Mutex::new((discipline, None)) })
    }

    fn given_up(&self) -> Option<String> {
        self.discipline.lock().unwrap().1.clone()
    }

    fn give_up(&self, reason: &str) {
        let mut writer = self.discipline.lock().unwrap();
        self.timeline.give_up(writer.0.uncertainty_ns().ceil() as u64, system_ns);
        writer.1 = Some(reason.to_owned());
    }

    fn observe(&self) {
        let verdict = self.discipline.lock().unwrap().0.observe(&self.timeline.line(), sandwich());
        match verdict {
            Verdict::Disturbed { next_tsc } => self.timeline.postpone(next_tsc),
            Verdict::Adjust { rate, step_ns, next_tsc } => self.timeline.adjust(rate, step_ns, next_tsc),
            Verdict::Distrust { reason } => self.give_up(&reason),
        }
    }
}

impl TimeSource for Clock {
    fn now_ns(&self) -> TimeResult<NanoTime> {
        let now_ns = match self.timeline.read() {
            Reading::Counter { ns, is_due } => {
                if is_due {
                    self.observe();
                }
                ns
            }
            Reading::CounterReset => {
                self.give_up("the counter was reset");
                system_ns()
            }
            Reading::System { shift_ns } => system_ns() + shift_ns,
        };
        Ok(NanoTime::from_nanos(now_ns))
    }

    fn has_hardware_timing(&self) -> bool {
        true
    }

    fn create_checkpoint(&self, name: &str) -> TimeResult<TimeCheckpoint> {
        Ok(TimeCheckpoint { name: name.to_owned(), time: self.now_ns()?, sequence: 0 })
    }
}

/// What a run of producers that change CPUs showed.
#[derive(Debug, Default)]
struct Seen {
    /// Bare readings that were below an earlier one.
    went_back: u64,
    /// How far a stamp was from true time, nanoseconds, at most.
    error_ns: u64,
}

/// Three producers tick, change CPUs and send each other messages for a while; every stamp is checked against its causes.
fn run(clock: &Arc<Clock>, seed: u64, steps: u64) -> Seen {
    let mut dice = SeededRng::new(seed);
    let mut producers = [0, 1, 2].map(|node| (Hlc::new(clock.clone(), node), Stamp::ZERO, 0));
    let (mut seen, mut newest) = (Seen::default(), NanoTime::ZERO);
    for _ in 0..steps {
        pass_ns(dice.below(2_000));
        let own = dice.below(3) as usize;
        if dice.below(8) == 0 {
            producers[own].2 = dice.below(2) as usize;
        }
        on(producers[own].2);
        let reading = clock.now_ns().unwrap();
        seen.went_back += u64::from(reading < newest);
        newest = newest.max(reading);

        let message = producers[dice.below(3) as usize].1;
        let (hlc, last, _) = &mut producers[own];
        let stamp = if dice.next_u64().is_multiple_of(2) { hlc.tick() } else { hlc.merge(message) }.unwrap();
        assert!(stamp > *last, "seed {seed}: {stamp:?} after {last:?} of the same producer");
        *last = stamp;
        // A message is a cause only where it was merged; a tick may be before it.
        if stamp <= message {
            let after = hlc.merge(message).unwrap();
            assert!(after > message, "seed {seed}: an effect at {after:?} of a cause at {message:?}");
            *last = after;
        }
        seen.error_ns = seen.error_ns.max(last.as_nanos().abs_diff(system_ns()));
    }
    seen
}

/// An offset that no comparison of 10 us could show, and one that would have been found.
#[test]
fn stamps_grow_and_follow_their_causes_though_the_counters_disagree() {
    for (seed, offset_ns) in (1..).zip([-30_000, 30_000, -400_000, 400_000]) {
        let clock = Clock::calibrated(offset_ns, 0);
        let seen = run(&clock, seed, 20_000);
        assert!(seen.went_back > 100, "the world is not as bad as it is meant to be: {seen:?}");
        // The line follows whichever CPU observes, so the other one is off by the whole offset at most, besides what a step adds.
        assert!(seen.error_ns < 2 * offset_ns.unsigned_abs() + 10_000, "{offset_ns} ns: {seen:?}");
        assert_eq!(clock.given_up(), None, "too little to be noticed while it runs");
    }
}

#[test]
fn stamps_grow_and_follow_their_causes_though_the_counters_drift() {
    let clock = Clock::calibrated(0, 200);
    let seen = (1..=20).map(|seed| run(&clock, seed, 20_000)).fold(Seen::default(), |a, b| Seen {
        went_back: a.went_back + b.went_back,
        error_ns: a.error_ns.max(b.error_ns),
    });
    assert!(seen.went_back > 100, "the world is not as bad as it is meant to be: {seen:?}");
    // 200 ppm of 0.4 s are 80 us.
    assert!(seen.error_ns < 200_000, "{seen:?}");
}

/// More than a millisecond is noticed by whoever reads the time there.
#[test]
fn a_counter_far_behind_is_given_up_at_its_first_reading() {
    let clock = Clock::calibrated(-2_000_000, 0);
    let before = clock.now_ns().unwrap();
    on(1);
    let after = clock.now_ns().unwrap();
    assert!(after >= before, "{after:?} after {before:?}");
    assert!(clock.given_up().is_some());
    run(&clock, 7, 5_000);
}

#[test]
fn a_counter_far_ahead_is_given_up_at_its_first_observation() {
    let clock = Clock::calibrated(2_000_000, 0);
    clock.now_ns().unwrap();
    on(1);
    pass_ns(10_000_000);
    let before = clock.now_ns().unwrap();
    let reason = clock.given_up().expect("the observation was due");
    assert!(reason.contains("parted by"), "{reason}");
    let after = clock.now_ns().unwrap();
    assert!(after >= before, "{after:?} after {before:?}");
    run(&clock, 8, 5_000);
}

#[test]
fn counters_that_agree_never_go_back() {
    let seen = run(&Clock::calibrated(0, 0), 9, 20_000);
    assert_eq!(seen.went_back, 0, "what the other tests see comes from the disagreement");
    assert!(seen.error_ns < 5_000, "{seen:?}");
}
