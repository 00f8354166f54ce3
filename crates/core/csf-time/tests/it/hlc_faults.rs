//! Clocks with one planted fault each: a claim of `hlc_properties.rs` catches every one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use csf_core::{Stamp, TimeError, TimeResult};

use crate::hlc_properties::{CLAIMS, Make, OFFSET, Subject};
use crate::stepped_clock::SteppedClock;

/// One thing left out or done wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    TickReadsNoClock,
    TickRepeatsTheLast,
    TickFollowsTheClockBack,
    TickWrapsAtTheEnd,
    SendTakesNoStamp,
    BatchTakesOne,
    MergeForgetsTheRemote,
    MergeForgetsItsOwn,
    MergeReadsNoClock,
    MergeDoesNotCount,
    MergeChecksNoOffset,
    MergeRemembersTheRefused,
    DriftIsNotChecked,
    DriftForgetsTheLimit,
    RestartForgetsTheBound,
}

/// The rules once more, with a fault.
struct Faulty {
    fault: Fault,
    clock: Arc<SteppedClock>,
    last: u64,
}

impl Faulty {
    fn next(&self) -> TimeResult<u64> {
        match self.fault {
            Fault::TickWrapsAtTheEnd => Ok(self.last.wrapping_add(1)),
            _ => after(self.last),
        }
    }

    fn lead(&self, stamp: u64) -> TimeResult<u64> {
        let ahead_ns = stamp.saturating_sub(self.clock.get());
        if ahead_ns > OFFSET {
            return Err(TimeError::OffsetExceeded { remote_ns: stamp, ahead_ns, max_offset_ns: OFFSET });
        }
        Ok(ahead_ns)
    }
}

fn after(stamp: u64) -> TimeResult<u64> {
    stamp.checked_add(1).ok_or_else(|| TimeError::Unavailable { reason: "the end of time".into() })
}

impl Subject for Faulty {
    fn tick(&mut self) -> TimeResult<Stamp> {
        let (now, next) = (self.clock.get(), self.next()?);
        self.last = match self.fault {
            Fault::TickReadsNoClock => next,
            Fault::TickRepeatsTheLast => now.max(self.last),
            Fault::TickFollowsTheClockBack if now < self.last => now,
            Fault::TickWrapsAtTheEnd if next == 0 => next,
            _ => now.max(next),
        };
        Ok(Stamp(self.last))
    }

    fn send(&mut self) -> TimeResult<Stamp> {
        if self.fault == Fault::SendTakesNoStamp {
            return Ok(Stamp(self.clock.get().max(self.last)));
        }
        self.tick()
    }

    fn batch(&mut self, count: u64) -> TimeResult<Stamp> {
        let first = self.tick()?;
        if self.fault != Fault::BatchTakesOne {
            self.last += count - 1;
        }
        Ok(first)
    }

    fn merge(&mut self, seen: Stamp) -> TimeResult<Stamp> {
        if self.fault != Fault::MergeChecksNoOffset {
            let refused = self.lead(seen.as_nanos());
            if refused.is_err() && self.fault == Fault::MergeRemembersTheRefused {
                self.last = self.last.max(seen.as_nanos());
            }
            refused?;
        }
        let (now, last, seen) = match self.fault {
            Fault::MergeForgetsTheRemote => (self.clock.get(), self.last, 0),
            Fault::MergeForgetsItsOwn => (self.clock.get(), 0, seen.as_nanos()),
            Fault::MergeReadsNoClock => (0, self.last, seen.as_nanos()),
            _ => (self.clock.get(), self.last, seen.as_nanos()),
        };
        let latest = now.max(last).max(seen);
        self.last = if self.fault == Fault::MergeDoesNotCount { latest } else { after(latest)? };
        Ok(Stamp(self.last))
    }

    fn drift(&self) -> TimeResult<u64> {
        match self.fault {
            Fault::DriftIsNotChecked => Ok(0),
            Fault::DriftForgetsTheLimit => Ok(self.last.saturating_sub(self.clock.get())),
            _ => self.lead(self.last),
        }
    }

    fn last(&self) -> Stamp {
        Stamp(self.last)
    }
}

/// The claims that do not hold of a clock with `fault`.
fn broken_claims(fault: Fault) -> Vec<&'static str> {
    let make = |clock, _, bound: Stamp| -> Box<dyn Subject> {
        let last = if fault == Fault::RestartForgetsTheBound { 0 } else { bound.as_nanos() };
        Box::new(Faulty { fault, clock, last })
    };
    let is_broken = |claim: fn(Make<'_>)| catch_unwind(AssertUnwindSafe(|| claim(&make))).is_err();
    CLAIMS.iter().filter(|(_, claim)| is_broken(*claim)).map(|(name, _)| *name).collect()
}

/// FAB-043: for each operation a test fails when it is left out.
#[test]
fn every_planted_fault_breaks_the_claim_about_it() {
    assert_eq!(
        broken_claims(Fault::Nothing),
        [""; 0],
        "the rules without a fault pass: what fails below fails by its fault"
    );
    for (fault, claim) in [
        (Fault::TickReadsNoClock, "a_stamp_is_not_behind_the_clock_nor_far_ahead"),
        (Fault::TickRepeatsTheLast, "happened_before_holds_in_every_small_history"),
        (Fault::TickFollowsTheClockBack, "a_clock_set_back_takes_no_stamp_back"),
        (Fault::TickWrapsAtTheEnd, "the_end_of_time_is_an_error_and_changes_nothing"),
        (Fault::SendTakesNoStamp, "happened_before_holds_in_every_small_history"),
        (Fault::BatchTakesOne, "a_batch_is_that_many_ticks"),
        (Fault::MergeForgetsTheRemote, "happened_before_holds_in_every_small_history"),
        (Fault::MergeForgetsItsOwn, "happened_before_holds_in_every_small_history"),
        (Fault::MergeReadsNoClock, "a_receive_is_after_all_it_follows"),
        (Fault::MergeDoesNotCount, "a_receive_is_after_all_it_follows"),
        (Fault::MergeChecksNoOffset, "an_impossible_stamp_is_refused_and_moves_nothing"),
        (Fault::MergeRemembersTheRefused, "an_impossible_stamp_is_refused_and_moves_nothing"),
        (Fault::DriftIsNotChecked, "a_clock_that_jumped_ahead_is_detected"),
        (Fault::DriftForgetsTheLimit, "a_clock_set_back_takes_no_stamp_back"),
        (Fault::RestartForgetsTheBound, "a_restart_continues_after_its_bound"),
    ] {
        let broken = broken_claims(fault);
        assert!(broken.contains(&claim), "{fault:?} is not caught by {claim}, only by {broken:?}");
    }
}
