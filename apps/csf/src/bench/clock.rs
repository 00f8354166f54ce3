//! How far clocks stray from CLOCK_MONOTONIC_RAW, the oscillator that nobody steers.
//!
//! Each reading lies between two of the reference's and is known to half their distance; of a group the narrowest counts. The error is
//! the change since the start, so a constant offset is none. All clocks are watched in the same seconds.

use std::thread;
use std::time::Duration;

use csf_core::port::TimeSource;
use csf_time::{Reference, TscClock};

use super::experiment::{Effort, Samples};
use super::stats::median;

/// Names of the sides.
pub(super) const OURS: &str = "csf-time";
pub(super) const INSTANT: &str = "std Instant";
pub(super) const UNCERTAINTY: &str = "half sandwich";

/// Readings in a group, of which the narrowest counts.
const GROUP: usize = 16;
/// Groups whose median is the distance at the start.
const FIRST: usize = 51;
/// Pause between two groups.
const REST: Duration = Duration::from_millis(2);
/// Groups of a full round: some two and a half seconds.
const GROUPS: u64 = 1_000;

/// A clock's distance from the reference, and how well it is known, ns.
#[derive(Clone, Copy)]
struct Distance {
    ns: f64,
    half_width_ns: f64,
}

fn reference_ns() -> Result<u64, String> {
    Reference::Raw.now_ns().map_err(|error| format!("no CLOCK_MONOTONIC_RAW: {error}"))
}

fn look(read: &mut dyn FnMut() -> u64) -> Result<Distance, String> {
    let mut narrowest = Distance { ns: 0.0, half_width_ns: f64::INFINITY };
    for _ in 0..GROUP {
        let before_ns = reference_ns()?;
        let reading = read();
        let half_width_ns = (reference_ns()? - before_ns) as f64 / 2.0;
        if half_width_ns < narrowest.half_width_ns {
            // The clock counts from another moment: only the low bits of the distance matter, and a double holds them exactly.
            let ns = reading.wrapping_sub(before_ns).cast_signed() as f64 - half_width_ns;
            narrowest = Distance { ns, half_width_ns };
        }
    }
    Ok(narrowest)
}

/// Errors of our clock and of [`std::time::Instant`], and how well ours were known: nanoseconds, without sign.
#[expect(clippy::disallowed_methods, reason = "the peer's clock is what is measured, in real time")]
pub(super) fn errors(effort: Effort) -> Result<Vec<Samples>, String> {
    let clock =
        TscClock::calibrate_against(Reference::Raw).map_err(|error| format!("no calibrated counter: {error}"))?;
    // Nanoseconds since 1970 do not fit a double; those since now do.
    let now_ns = || clock.now_ns().expect("a calibrated clock reads").as_nanos();
    let (origin_ns, instant) = (now_ns(), std::time::Instant::now());
    let raw_ns = reference_ns()?;
    let mut ours = || now_ns().wrapping_sub(origin_ns).wrapping_add(raw_ns);
    let mut theirs = || (instant.elapsed().as_nanos() as u64).wrapping_add(raw_ns);
    let clocks: &mut [&mut dyn FnMut() -> u64] = &mut [&mut ours, &mut theirs];
    let mut starts = Vec::new();
    for clock in clocks.iter_mut() {
        let first: Vec<f64> = (0..FIRST).map(|_| look(clock).map(|distance| distance.ns)).collect::<Result<_, _>>()?;
        starts.push(median(&first).unwrap_or_default());
    }
    let mut errors = vec![Vec::new(); clocks.len()];
    let mut uncertainties = Vec::new();
    for _ in 0..effort.of(GROUPS, 50) {
        thread::sleep(REST);
        for (index, clock) in clocks.iter_mut().enumerate() {
            let distance = look(clock)?;
            errors[index].push((distance.ns - starts[index]).abs());
            if index == 0 {
                uncertainties.push(distance.half_width_ns);
            }
        }
    }
    errors.push(uncertainties);
    Ok(errors)
}
