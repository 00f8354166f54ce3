//! What no implementation can beat here: a cache line's way between two cores, a reading of the clock, the copying of bytes.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::experiment::{Effort, Samples};
use super::latency::{SPINS_ALONE, spin_until};
use super::stopwatch::{Pair, Stopwatch, joined, pin};

/// Name of the side.
pub(super) const LINE: &str = "cache line";
pub(super) const CLOCK: &str = "clock reading";

/// Round trips of a full round, and in one sample.
const ROUND_TRIPS: u64 = 100_000;
const PER_SAMPLE: u64 = 100;

/// A word in two adjacent lines of its own: the prefetcher fetches pairs.
#[repr(align(128))]
#[derive(Default)]
struct Word(AtomicU64);

/// Half of the time in which two pinned threads write each other one word: a line's way from core to core.
pub(super) fn one_way(effort: Effort) -> Result<Samples, String> {
    let clock = Stopwatch::get()?;
    let pair = Pair::find()?;
    let samples = effort.of(ROUND_TRIPS / PER_SAMPLE, 20);
    let round_trips = samples * PER_SAMPLE;
    let (there, back) = (Word::default(), Word::default());
    thread::scope(|scope| {
        let echo = scope.spawn(|| {
            let placed = pin(pair.1);
            for number in 1..=round_trips {
                spin_until(SPINS_ALONE, || there.0.load(Ordering::Acquire) == number);
                back.0.store(number, Ordering::Release);
            }
            placed
        });
        let asking = scope.spawn(|| {
            let placed = pin(pair.0);
            let mut ways = Vec::with_capacity(samples as usize);
            let mut number = 0;
            for _ in 0..samples {
                let from = clock.now_ns();
                for _ in 0..PER_SAMPLE {
                    number += 1;
                    there.0.store(number, Ordering::Release);
                    spin_until(SPINS_ALONE, || back.0.load(Ordering::Acquire) == number);
                }
                ways.push((clock.now_ns() - from) as f64 / (2 * PER_SAMPLE) as f64);
            }
            placed.map(|()| ways)
        });
        joined(echo)?;
        joined(asking)
    })
}

/// Readings in one sample, and samples of a full round.
const READINGS: u64 = 256;
const SAMPLES: u64 = 400;

/// Reading the node's clock as a stamp does, unordered: what a message with a time costs at least.
pub(super) fn clock_reading(effort: Effort) -> Result<Samples, String> {
    let clock = Stopwatch::get()?;
    let source = clock.source();
    let read = || _ = black_box(source.now_ns_unordered());
    Ok(clock.repeated(effort.of(SAMPLES, 50), READINGS, read))
}

/// Reading [`std::time::Instant`].
#[expect(clippy::disallowed_methods, reason = "the peer's clock is what is measured")]
pub(super) fn instant_reading(effort: Effort) -> Result<Samples, String> {
    let read = || _ = black_box(std::time::Instant::now());
    Ok(Stopwatch::get()?.repeated(effort.of(SAMPLES, 50), READINGS, read))
}

/// Reading the node's clock after every earlier load, as [`std::time::Instant`] does.
pub(super) fn ordered_reading(effort: Effort) -> Result<Samples, String> {
    let clock = Stopwatch::get()?;
    let read = || _ = black_box(clock.now_ns());
    Ok(clock.repeated(effort.of(SAMPLES, 50), READINGS, read))
}

/// Reading the processor's counter, ordered in the same way; without a counter, the operating system's clock.
pub(super) fn counter_reading(effort: Effort) -> Result<Samples, String> {
    let read = || _ = black_box(csf_time::hardware_timestamp());
    Ok(Stopwatch::get()?.repeated(effort.of(SAMPLES, 50), READINGS, read))
}
