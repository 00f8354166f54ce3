//! A calibrated counter for durations, and the timestamp that costs nothing more than reading it (FAB-042, INT-033).
//!
//! [`TscClock`](crate::TscClock) tells the time; this measures spans: a [`HardwareTimestamp`] is a bare reading, and only a
//! [`TscCalibration`] turns the distance of two into nanoseconds. Ticks never pass as nanoseconds: the types differ, and an
//! uncalibrated calibration refuses.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use csf_core::{TimeError, TimeResult};

use crate::agreement;
use crate::discipline::Line;
use crate::os_clock::{OsClock, Reference};
use crate::tsc;

/// How long a calibration looks, nanoseconds: two sandwiches of some 20 ns uncertainty each, so about 5 ppm.
const BASELINE_NS: u64 = 4_000_000;

/// A reading of the machine's fastest counter: the processor's where it is invariant and trusted by the kernel, else the operating
/// system's monotonic clock. Comparable within one start of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HardwareTimestamp(u64);

impl HardwareTimestamp {
    /// The bare reading, in ticks of an unknown length.
    #[must_use]
    pub const fn ticks(self) -> u64 {
        self.0
    }

    /// Ticks from `earlier` to here; zero when `earlier` is later, as it may be by some ticks between cores.
    #[must_use]
    pub const fn ticks_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Reads the counter, after every earlier load of this thread. About 10 ns; without a counter, what the system's clock costs.
#[inline(always)]
#[must_use]
pub fn hardware_timestamp() -> HardwareTimestamp {
    HardwareTimestamp(if has_counter() { tsc::read() } else { os_ticks() })
}

#[inline(always)]
fn has_counter() -> bool {
    static HAS_COUNTER: OnceLock<bool> = OnceLock::new();
    *HAS_COUNTER.get_or_init(|| tsc::check().is_ok())
}

/// Nanoseconds of the system's monotonic clock; a machine without one has no durations to measure.
#[cold]
fn os_ticks() -> u64 {
    Reference::Raw.now_ns().unwrap_or(0)
}

/// How long a tick is. All words may be read while another thread calibrates.
#[derive(Debug, Default)]
pub struct TscCalibration {
    /// Nanoseconds per tick, in the units of [`Line::rate`]; 0 until calibrated.
    rate: AtomicU64,
    frequency_hz: AtomicU64,
    calibrated_at: AtomicU64,
}

impl TscCalibration {
    /// Not calibrated yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { rate: AtomicU64::new(0), frequency_hz: AtomicU64::new(0), calibrated_at: AtomicU64::new(0) }
    }

    /// Measures the counter against the system's raw clock and the CPUs' counters against each other; busy for about 4 ms, at most some
    /// 20 ms where the CPUs are. Calibrating again replaces what was wrong.
    ///
    /// # Errors
    /// [`TimeError::Unavailable`] when the system's clock cannot be read, the counter stands still, or the counters of the CPUs are apart.
    pub fn calibrate(&self) -> TimeResult<()> {
        if !has_counter() {
            let now_ns = OsClock::over(Reference::Raw)?.unix_ns()?;
            self.set(1_000_000_000.0, now_ns);
            return Ok(());
        }
        let os = OsClock::over(Reference::Raw)?;
        let first = tsc::sandwich(&os)?;
        while os.unix_ns()? < first.unix_ns + BASELINE_NS {
            std::hint::spin_loop();
        }
        let second = tsc::sandwich(&os)?;
        let ticks = second.tsc.saturating_sub(first.tsc);
        if ticks == 0 {
            return Err(TimeError::Unavailable { reason: "the time-stamp counter stands still".into() });
        }
        let hertz = ticks as f64 * 1e9 / (second.unix_ns - first.unix_ns) as f64;
        // A span that begins on one CPU and ends on another is wrong by as much as their counters are apart.
        agreement::compare_and_check(1e9 / hertz)?;
        self.set(hertz, second.unix_ns);
        Ok(())
    }

    /// Takes a frequency as known, in hertz.
    ///
    /// # Errors
    /// [`TimeError::Unavailable`] below 4 MHz, where a tick is longer than the arithmetic holds, and above 1 THz.
    pub fn assume_frequency(&self, hertz: f64) -> TimeResult<()> {
        if !(4e6..=1e12).contains(&hertz) {
            return Err(TimeError::Unavailable { reason: format!("{hertz} Hz is outside 4 MHz to 1 THz") });
        }
        self.set(hertz, OsClock::over(Reference::Raw)?.unix_ns()?);
        Ok(())
    }

    fn set(&self, hertz: f64, now_ns: u64) {
        self.frequency_hz.store(hertz.round() as u64, Ordering::Relaxed);
        self.calibrated_at.store(now_ns, Ordering::Relaxed);
        self.rate.store(Line::rate_of(hertz), Ordering::Release);
    }

    /// Whether ticks have a length.
    #[must_use]
    pub fn is_calibrated(&self) -> bool {
        self.rate.load(Ordering::Acquire) != 0
    }

    /// Ticks per second, rounded; 0 until calibrated.
    #[must_use]
    pub fn frequency_hz(&self) -> u64 {
        self.frequency_hz.load(Ordering::Relaxed)
    }

    /// When it was calibrated, Unix nanoseconds; 0 until then.
    #[must_use]
    pub fn calibrated_at(&self) -> u64 {
        self.calibrated_at.load(Ordering::Relaxed)
    }

    /// The counter now, unconverted: [`hardware_timestamp`].
    #[inline(always)]
    #[must_use]
    pub fn read_tsc(&self) -> HardwareTimestamp {
        hardware_timestamp()
    }

    /// Nanoseconds of so many ticks, by a 128-bit product; saturates at 584 years.
    ///
    /// # Errors
    /// [`TimeError::Unavailable`] until calibrated.
    pub fn tsc_to_ns(&self, ticks: u64) -> TimeResult<u64> {
        let rate = self.rate.load(Ordering::Acquire);
        if rate == 0 {
            let reason =
                "the counter is not calibrated, and ticks are no nanoseconds; call `TscCalibration::calibrate`";
            return Err(TimeError::Unavailable { reason: reason.into() });
        }
        Ok(Line { tsc: 0, ns: 0, rate }.at(ticks))
    }

    /// The span between two readings.
    ///
    /// # Errors
    /// As [`TscCalibration::tsc_to_ns`].
    pub fn duration(&self, from: HardwareTimestamp, to: HardwareTimestamp) -> TimeResult<Duration> {
        self.tsc_to_ns(to.ticks_since(from)).map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_no_nanoseconds_until_calibrated() {
        let calibration = TscCalibration::new();
        assert!(!calibration.is_calibrated());
        let error = calibration.tsc_to_ns(1).unwrap_err();
        assert!(error.to_string().contains("call `TscCalibration::calibrate`"), "{error}");
    }

    /// FAB-042: no overflow where ticks times 10^9 would need 93 bits.
    #[test]
    fn ticks_near_the_top_of_their_range_convert() {
        let calibration = TscCalibration::new();
        calibration.assume_frequency(2.6e9).unwrap();
        let ticks = 1u64 << 63;
        let expected = (u128::from(ticks) * 10 / 26) as u64;
        let error = calibration.tsc_to_ns(ticks).unwrap().abs_diff(expected);
        // The rate is kept to 2^-56 ns a tick, and the frequency to a double.
        assert!(error < 2_000, "{error} ns of 112 years");
        calibration.assume_frequency(4e6).unwrap();
        assert_eq!(calibration.tsc_to_ns(u64::MAX).unwrap(), u64::MAX, "what does not fit saturates");
    }

    #[test]
    fn calibrating_repairs_a_wrong_frequency() {
        let calibration = TscCalibration::new();
        calibration.assume_frequency(5e6).unwrap();
        calibration.calibrate().unwrap();
        let reference = TscCalibration::new();
        reference.calibrate().unwrap();
        let (repaired, fresh) = (calibration.frequency_hz() as f64, reference.frequency_hz() as f64);
        assert!((repaired / fresh - 1.0).abs() < 1e-3, "{repaired} Hz beside {fresh} Hz");
        assert!(calibration.calibrated_at() > 0);
    }

    /// INT-033.
    #[test]
    fn two_readings_are_as_far_apart_as_the_system_says() {
        let calibration = TscCalibration::new();
        calibration.calibrate().unwrap();
        // What lies outside the sandwich only makes the outer span longer.
        let outer = Reference::Raw.now_ns().unwrap();
        let from = hardware_timestamp();
        let inner = Reference::Raw.now_ns().unwrap();
        while Reference::Raw.now_ns().unwrap() < inner + 1_000_000 {}
        let inner = Reference::Raw.now_ns().unwrap() - inner;
        let to = calibration.read_tsc();
        let outer = Reference::Raw.now_ns().unwrap() - outer;
        let span = u64::try_from(calibration.duration(from, to).unwrap().as_nanos()).unwrap();
        let slack = inner / 1_000;
        assert!((inner - slack..=outer + slack).contains(&span), "{span} is not between {inner} and {outer}");
        assert_eq!(calibration.duration(to, from).unwrap(), Duration::ZERO);
    }
}
