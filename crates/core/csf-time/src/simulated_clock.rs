//! A clock that moves only when told: the source of tests, simulation and replay.
//!
//! Invariant: two runs that move it alike read alike, and it never goes backwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use csf_core::port::{TimeCheckpoint, TimeSource};
use csf_core::{NanoTime, TimeResult};

/// Virtual time, shared by everyone who holds the `Arc`.
#[derive(Debug, Default)]
pub struct SimulatedClock {
    now_ns: AtomicU64,
    checkpoints: AtomicU64,
}

impl SimulatedClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn starting_at(start: NanoTime) -> Arc<Self> {
        Arc::new(Self { now_ns: AtomicU64::new(start.as_nanos()), checkpoints: AtomicU64::new(0) })
    }

    /// Moves time forward by `span` and returns the new time; stops at the end of 64-bit time.
    pub fn advance(&self, span: Duration) -> NanoTime {
        let step = NanoTime::from(span).as_nanos();
        let before =
            self.now_ns.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| Some(now.saturating_add(step)));
        NanoTime::from_nanos(before.unwrap_or_else(|now| now).saturating_add(step))
    }

    /// Moves time to `time`, or leaves it when that is in the past; returns the time afterwards.
    pub fn set(&self, time: NanoTime) -> NanoTime {
        let before = self.now_ns.fetch_max(time.as_nanos(), Ordering::AcqRel);
        NanoTime::from_nanos(before.max(time.as_nanos()))
    }
}

impl TimeSource for SimulatedClock {
    fn now_ns(&self) -> TimeResult<NanoTime> {
        Ok(NanoTime::from_nanos(self.now_ns.load(Ordering::Acquire)))
    }

    fn has_hardware_timing(&self) -> bool {
        false
    }

    fn create_checkpoint(&self, name: &str) -> TimeResult<TimeCheckpoint> {
        let sequence = self.checkpoints.fetch_add(1, Ordering::Relaxed);
        Ok(TimeCheckpoint { name: name.to_owned(), time: self.now_ns()?, sequence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program sees of a clock: every reading and checkpoint.
    fn trace(clock: &SimulatedClock) -> Vec<(u64, TimeCheckpoint)> {
        let step = |n: u64| {
            clock.advance(Duration::from_nanos(n * n));
            clock.set(NanoTime::from_nanos(n * 40));
            (clock.now_ns().unwrap().as_nanos(), clock.create_checkpoint("step").unwrap())
        };
        (0..100).map(step).collect()
    }

    #[test]
    fn two_runs_give_identical_traces() {
        let runs = [(); 2].map(|()| trace(&SimulatedClock::starting_at(NanoTime::from_nanos(7))));
        assert_eq!(runs[0], runs[1]);
        assert_eq!(runs[0][3].0, 7 + 1 + 4 + 9 + 99, "7 + squares, then lifted to 120 by the set");
    }

    #[test]
    fn time_set_into_the_past_stays() {
        let clock = SimulatedClock::starting_at(NanoTime::from_nanos(100));
        assert_eq!(clock.set(NanoTime::from_nanos(50)).as_nanos(), 100);
        assert_eq!(clock.advance(Duration::from_nanos(1)).as_nanos(), 101);
    }
}
