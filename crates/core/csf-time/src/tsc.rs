//! The processor's time-stamp counter: whether it can be trusted, and how it is read.
//!
//! Reference: Intel SDM vol. 3B section 19.17 (invariant TSC); vol. 2B RDTSC (LFENCE orders it after earlier loads).

use csf_core::{TimeError, TimeResult};

use crate::discipline::Point;
use crate::os_clock::OsClock;

/// Sandwiched reads of which the narrowest is kept; one costs about 50 ns.
const SANDWICHES: u32 = 16;

/// Ok when the counter runs at one rate on all cores, in all power states, and the kernel agrees.
///
/// # Errors
/// [`TimeError::Unavailable`] with the reason it cannot be used.
pub(crate) fn check() -> TimeResult<()> {
    if !is_invariant() {
        return Err(TimeError::Unavailable { reason: "the processor has no invariant time-stamp counter".into() });
    }
    // A kernel that found the counter unstable (cores or sockets apart, frequency wrong) takes it off this list.
    let sources = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/available_clocksource");
    match sources {
        Ok(list) if !list.split_whitespace().any(|s| s == "tsc") => Err(TimeError::Unavailable {
            reason: format!("the kernel does not trust the time-stamp counter; it offers {}", list.trim()),
        }),
        _ => Ok(()),
    }
}

#[cfg(target_arch = "x86_64")]
fn is_invariant() -> bool {
    use std::arch::x86_64::__cpuid;
    const EXTENDED: u32 = 0x8000_0000;
    const POWER_MANAGEMENT: u32 = 0x8000_0007;
    const INVARIANT_TSC: u32 = 1 << 8;
    __cpuid(EXTENDED).eax >= POWER_MANAGEMENT && __cpuid(POWER_MANAGEMENT).edx & INVARIANT_TSC != 0
}

#[cfg(not(target_arch = "x86_64"))]
fn is_invariant() -> bool {
    false
}

/// The counter, read after every earlier load of this thread: what another thread handed over was stamped before.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn read() -> u64 {
    use std::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: every x86-64 processor has both instructions, and neither touches memory; an operating system that traps RDTSC
    // in user space answers with a signal, not with undefined behaviour.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}

/// The counter, at about half the price: the processor may have read it before earlier loads of this thread were complete, by as
/// much as it looks ahead (a few hundred instructions, so tens to hundreds of nanoseconds while it waits for another core's line).
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn read_unordered() -> u64 {
    // SAFETY: as in `read`.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Never called: [`check`] refuses these processors.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn read() -> u64 {
    0
}

/// Never called: [`check`] refuses these processors.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn read_unordered() -> u64 {
    0
}

/// The operating system's time between two reads of the counter; the narrowest of several tries.
///
/// # Errors
/// When the operating system's clock cannot be read.
pub(crate) fn sandwich(os: &OsClock) -> TimeResult<Point> {
    let mut narrowest = Point { tsc: 0, unix_ns: 0, width_ticks: u64::MAX };
    for _ in 0..SANDWICHES {
        let before = read();
        let unix_ns = os.unix_ns()?;
        let width_ticks = read().saturating_sub(before);
        if width_ticks < narrowest.width_ticks {
            narrowest = Point { tsc: before + width_ticks / 2, unix_ns, width_ticks };
        }
    }
    Ok(narrowest)
}
