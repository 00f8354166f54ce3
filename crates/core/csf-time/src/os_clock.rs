//! The operating system's clocks: the only file of the product that reads them.
//!
//! [`OsClock`] reads the wall clock once and advances it by the clock that counts since boot, suspended time included, so its
//! time neither steps with the wall clock nor stands still while the machine sleeps.
//! Reference: clock_gettime(2) for CLOCK_BOOTTIME (rate-disciplined by NTP) and CLOCK_MONOTONIC_RAW (not disciplined).
#![expect(clippy::disallowed_methods, reason = "this file is where the product reads its clocks")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use csf_core::port::{TimeCheckpoint, TimeSource};
use csf_core::{NanoTime, TimeError, TimeResult};

/// Sandwiched reads of which the narrowest is kept; one costs about 60 ns.
const SANDWICHES: u32 = 16;

/// Which monotonic clock of the operating system counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reference {
    /// Since boot, suspended time included, its rate steered by NTP: follows real time. The default.
    #[default]
    Boot,
    /// The raw oscillator, steered by nobody: for judging a calibration (FAB-042).
    Raw,
}

impl Reference {
    /// Nanoseconds on this clock; its origin is arbitrary.
    ///
    /// # Errors
    /// [`TimeError::Unavailable`] when the system does not have the clock.
    pub fn now_ns(self) -> TimeResult<u64> {
        read(self)
    }
}

#[cfg(target_os = "linux")]
fn read(reference: Reference) -> TimeResult<u64> {
    let (clock, name) = match reference {
        Reference::Boot => (libc::CLOCK_BOOTTIME, "CLOCK_BOOTTIME"),
        Reference::Raw => (libc::CLOCK_MONOTONIC_RAW, "CLOCK_MONOTONIC_RAW"),
    };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec for the duration of the call, and the call keeps no reference to it.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(TimeError::Unavailable { reason: format!("{name}: {}", std::io::Error::last_os_error()) });
    }
    // Both fields are non-negative on these clocks, so the sign-losing casts are exact.
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(not(target_os = "linux"))]
fn read(_reference: Reference) -> TimeResult<u64> {
    use std::sync::OnceLock;
    use std::time::Instant;
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let since = ORIGIN.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_nanos())
        .map_err(|_| TimeError::Unavailable { reason: "the process is older than 584 years".into() })
}

/// Nanoseconds since the Unix epoch on the wall clock, which people and NTP may step; 0 before 1970.
pub(crate) fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// The operating system's clock as a time source: about 20 ns a read.
#[derive(Debug)]
pub struct OsClock {
    reference: Reference,
    /// Unix time minus reference time, modulo 2^64.
    epoch_ns: u64,
    checkpoints: AtomicU64,
}

impl OsClock {
    /// Anchors the wall clock to the boot clock.
    ///
    /// # Errors
    /// [`TimeError::Unavailable`] when the system does not have that clock.
    pub fn new() -> TimeResult<Self> {
        Self::over(Reference::Boot)
    }

    /// Anchors the wall clock to `reference`.
    ///
    /// # Errors
    /// [`TimeError::Unavailable`] when the system does not have that clock.
    pub fn over(reference: Reference) -> TimeResult<Self> {
        let mut narrowest = u64::MAX;
        let mut epoch_ns = 0;
        for _ in 0..SANDWICHES {
            let before = reference.now_ns()?;
            let wall = wall_ns();
            let width = reference.now_ns()?.saturating_sub(before);
            if width < narrowest {
                narrowest = width;
                epoch_ns = wall.wrapping_sub(before + width / 2);
            }
        }
        Ok(Self { reference, epoch_ns, checkpoints: AtomicU64::new(0) })
    }

    /// Nanoseconds since the Unix epoch.
    pub(crate) fn unix_ns(&self) -> TimeResult<u64> {
        Ok(self.reference.now_ns()?.wrapping_add(self.epoch_ns))
    }

    /// Wall clock minus this clock: what steps and slews of the wall clock have added up to since the anchor.
    ///
    /// # Errors
    /// As [`TimeSource::now_ns`].
    pub fn wall_offset_ns(&self) -> TimeResult<i64> {
        let own = self.unix_ns()?;
        Ok(wall_ns().wrapping_sub(own).cast_signed())
    }
}

impl TimeSource for OsClock {
    fn now_ns(&self) -> TimeResult<NanoTime> {
        self.unix_ns().map(NanoTime::from_nanos)
    }

    fn has_hardware_timing(&self) -> bool {
        false
    }

    fn create_checkpoint(&self, name: &str) -> TimeResult<TimeCheckpoint> {
        let sequence = self.checkpoints.fetch_add(1, Ordering::Relaxed);
        Ok(TimeCheckpoint { name: name.to_owned(), time: self.now_ns()?, sequence })
    }
}
