//! The counter that all figures are read from, and the pinning of threads to cores.
//!
//! Every reading is fenced: an unfenced `rdtsc` at the end of a sample executes before the load that ended it, and medians come out
//! up to 30 % too low. Unit: ticks; [`ns_per_tick`] turns them into nanoseconds.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The processor's counter, after every earlier load of this thread.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn ticks() -> u64 {
    use std::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: every x86-64 processor has both instructions, and neither touches memory.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}

/// Nanoseconds since the first call, on processors whose counter we do not read.
#[cfg(not(target_arch = "x86_64"))]
#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
pub fn ticks() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Length of a tick: median of five comparisons of 20 ms with the operating system's clock.
#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
pub fn ns_per_tick() -> f64 {
    static LENGTH: OnceLock<f64> = OnceLock::new();
    *LENGTH.get_or_init(|| {
        let mut lengths: Vec<f64> = (0..5)
            .map(|_| {
                let (started, from) = (Instant::now(), ticks());
                while started.elapsed() < Duration::from_millis(20) {}
                let (passed, to) = (started.elapsed(), ticks());
                passed.as_nanos() as f64 / (to - from) as f64
            })
            .collect();
        lengths.sort_by(f64::total_cmp);
        lengths[2]
    })
}

/// Ticks in `ns` nanoseconds.
pub fn ticks_in(ns: f64) -> u64 {
    (ns / ns_per_tick()) as u64
}

/// Cores this process may run on.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Keeps the calling thread on one core. Threads started from it inherit that, so the main thread is never pinned.
#[cfg(target_os = "linux")]
pub fn pin(core: usize) {
    // SAFETY: an all-zero set is a valid empty set; `CPU_SET` writes inside it (the core is below its size), and the call reads
    // the set for its duration only.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core % libc::CPU_SETSIZE as usize, &mut set);
        // Refused (a container without that core): the figures are then those of unpinned threads.
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// Pinning is done on Linux only.
#[cfg(not(target_os = "linux"))]
pub fn pin(_core: usize) {}

/// Nanoseconds on CLOCK_MONOTONIC_RAW: the oscillator that nobody steers.
pub fn raw_ns() -> Result<u64, csf_core::TimeError> {
    csf_time::Reference::Raw.now_ns()
}
