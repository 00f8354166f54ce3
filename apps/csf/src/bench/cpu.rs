//! The processor's share at more than a million messages per second: a producer paced by the clock, a consumer that waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::channel::{Probe, Rx, Tx};
use super::experiment::{Effort, Samples};
use super::stopwatch::{Stopwatch, cores, joined};

/// Messages per second that are offered; the target asks for more than one million.
const OFFERED_PER_S: u64 = 1_200_000;
/// Messages per second below which a window does not count as peak.
const LEAST_PER_S: f64 = 1_000_000.0;
/// Pause between two bursts; a burst is what is due by the clock.
const PAUSE: Duration = Duration::from_micros(500);
/// Room for the burst after a late wake-up.
pub(super) const CAPACITY: usize = 8_192;
/// Length of a sample.
const WINDOW_NS: u64 = 100_000_000;
/// Samples of a full round.
const WINDOWS: u64 = 10;

/// Processor time that this process has used, nanoseconds.
#[cfg(target_os = "linux")]
fn used_ns() -> Result<u64, String> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).map_err(|_| "a negative processor time".to_owned())
}

#[cfg(not(target_os = "linux"))]
fn used_ns() -> Result<u64, String> {
    Err("the process's processor time is read on Linux only".to_owned())
}

/// Sends what is due whenever it wakes; returns the share of all cores that was used in each window, percent.
#[expect(clippy::disallowed_methods, reason = "a load waits in real time")]
fn paced(effort: Effort, mut send: impl FnMut(u64) -> bool) -> Result<Samples, String> {
    let clock = Stopwatch::get()?;
    let windows = effort.of(WINDOWS, 2);
    let mut shares = Vec::new();
    let (mut number, started_ns) = (0, clock.now_ns());
    // The first window is for getting warm.
    for window in 0..=windows {
        let (from_ns, from_used, from_number) = (clock.now_ns(), used_ns()?, number);
        let mut now_ns = from_ns;
        while now_ns < from_ns + WINDOW_NS {
            let due = (now_ns - started_ns) as u128 * u128::from(OFFERED_PER_S) / 1_000_000_000;
            while u128::from(number) < due {
                if send(number) {
                    number += 1;
                } else {
                    thread::yield_now();
                }
            }
            thread::sleep(PAUSE);
            now_ns = clock.now_ns();
        }
        let wall_ns = (now_ns - from_ns) as f64;
        let rate = (number - from_number) as f64 * 1e9 / wall_ns;
        if rate <= LEAST_PER_S {
            return Err(format!(
                "only {:.2} of the {:.1} million messages per second offered were carried; the machine is busy, or the build slow",
                rate / 1e6,
                OFFERED_PER_S as f64 / 1e6
            ));
        }
        if window > 0 {
            shares.push((used_ns()? - from_used) as f64 * 100.0 / (wall_ns * cores() as f64));
        }
    }
    Ok(shares)
}

/// A channel at peak.
pub(super) fn at_peak<T: Tx, R: Rx>(channel: (T, R), effort: Effort) -> Result<Samples, String> {
    let (mut tx, mut rx) = channel;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let mut next = 0;
            while !is_over.load(Ordering::Acquire) {
                rx.wait_many(|probe| {
                    assert_eq!(probe.number(), next, "messages come in their order");
                    next += 1;
                });
            }
        });
        let sending = scope.spawn(|| {
            let mut sent = 0;
            let shares = paced(effort, |number| {
                sent = number + 1;
                tx.try_send(number, 0) == 1
            });
            is_over.store(true, Ordering::Release);
            // One more wakes a consumer that waits.
            while tx.try_send(sent, 0) == 0 {
                thread::yield_now();
            }
            shares
        });
        joined(receiving);
        joined(sending)
    })
}

/// The floor: the same pacing, each message written once and handed to nobody.
pub(super) fn nobody(effort: Effort) -> Result<Samples, String> {
    let mut slots = vec![Probe::new(0, 0); CAPACITY];
    paced(effort, |number| {
        slots[number as usize % CAPACITY] = std::hint::black_box(Probe::new(number, 0));
        true
    })
}
