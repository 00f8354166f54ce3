//! Round trips between two threads on two cores.

use std::sync::Barrier;
use std::thread;

use super::{Gate, Missing, SPINS_ALONE, Watch, joined};
use crate::clock::{pin, ticks};
use crate::payload::{End, sum_of};
use crate::stats::{Figures, latency};

/// How the two ends of a round trip wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Polls without a pause.
    Spin,
    /// Polls with a pause instruction between two looks: the line polled is left alone meanwhile.
    Pause,
    /// As the crate waits by itself.
    Own,
}

/// Round trips of a load: those that warm up, then those that count.
#[derive(Clone, Copy)]
struct Trips {
    warm_up: u64,
    total: u64,
}

impl Trips {
    fn of(count: u64) -> Self {
        Self { warm_up: count / 10, total: count + count / 10 }
    }
}

/// What the measuring end saw.
struct Seen {
    sum: u64,
    samples: Vec<u64>,
    took: u64,
}

impl Waiting {
    /// Sends; false when the load is given up.
    #[inline(always)]
    fn send(self, end: &mut impl End, number: u64, watch: &Watch) -> bool {
        match self {
            Self::Spin | Self::Pause => watch.until(SPINS_ALONE, || end.try_send(number)),
            Self::Own => {
                end.send(number);
                true
            }
        }
    }

    /// Receives; false when the load is given up.
    #[inline(always)]
    fn recv(self, end: &mut impl End, sum: &mut u64, watch: &Watch) -> bool {
        match self {
            Self::Spin => watch.until(SPINS_ALONE, || end.poll(sum) > 0),
            Self::Pause => watch.until(SPINS_ALONE, || {
                let is_here = end.poll(sum) > 0;
                if !is_here {
                    std::hint::spin_loop();
                }
                is_here
            }),
            Self::Own => {
                end.recv(sum);
                true
            }
        }
    }

    /// Sends, receives, measures.
    fn measure(self, mut end: impl End, trips: Trips, watch: &Watch) -> Seen {
        let mut seen = Seen { sum: 0, samples: Vec::with_capacity((trips.total - trips.warm_up) as usize), took: 0 };
        let mut started = ticks();
        for number in 0..trips.total {
            if number == trips.warm_up {
                started = ticks();
            }
            let from = ticks();
            let goes_on = self.send(&mut end, number, watch) && self.recv(&mut end, &mut seen.sum, watch);
            let to = ticks();
            if !goes_on {
                break;
            }
            if number >= trips.warm_up {
                seen.samples.push(to - from);
            }
        }
        seen.took = ticks() - started;
        seen
    }

    /// Receives, answers; returns the sum.
    fn answer(self, mut end: impl End, trips: Trips, watch: &Watch) -> u64 {
        let mut sum = 0;
        for number in 0..trips.total {
            if !(self.recv(&mut end, &mut sum, watch) && self.send(&mut end, number, watch)) {
                break;
            }
        }
        sum
    }
}

/// Round trips between two threads on two cores; the ends are made in the threads that use them.
pub fn round_trip<A: End, B: End>(
    near: impl FnOnce() -> A + Send,
    far: impl FnOnce() -> B + Send,
    words: usize,
    waiting: Waiting,
    count: u64,
) -> Result<Figures, Missing> {
    let trips = Trips::of(count);
    let (watch, together, done) = (&Watch::new(), &Gate::of(2), &Barrier::new(2));
    let (seen, sum_there) = thread::scope(|scope| {
        let there = scope.spawn(move || {
            pin(1);
            let mut end = far();
            together.wait();
            let sum = waiting.answer(&mut end, trips, watch);
            // Ports close only when both are done.
            done.wait();
            sum
        });
        let here = scope.spawn(move || {
            pin(0);
            let mut end = near();
            together.wait();
            let seen = waiting.measure(&mut end, trips, watch);
            done.wait();
            seen
        });
        (joined(here), joined(there))
    });
    watch.verdict()?;
    let wanted = sum_of(trips.total, words);
    assert_eq!((seen.sum, sum_there), (wanted, wanted), "a frame was lost, doubled or torn");
    Ok(latency(seen.samples, seen.took))
}

/// Round trips to something that answers by itself, in threads of its own; it is dropped after the last one.
pub fn echo<A: End + Send, B>(near: A, answering: B, words: usize, count: u64) -> Result<Figures, Missing> {
    let trips = Trips::of(count);
    let watch = &Watch::new();
    let seen = thread::scope(|scope| {
        let here = scope.spawn(move || {
            pin(0);
            Waiting::Spin.measure(near, trips, watch)
        });
        joined(here)
    });
    drop(answering);
    watch.verdict()?;
    assert_eq!(seen.sum, sum_of(trips.total, words), "a frame was lost, doubled or torn");
    Ok(latency(seen.samples, seen.took))
}
