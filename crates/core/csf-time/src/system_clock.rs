//! The node's clock: the counter where it can be trusted, the operating system's clock elsewhere.

use std::any::Any;
use std::sync::Arc;

use csf_core::port::{TimeCheckpoint, TimeSource};
use csf_core::{NanoTime, TimeResult};

use crate::os_clock::OsClock;
use crate::report::{ClockReport, ClockSource};
use crate::tsc_clock::TscClock;

/// The best clock this machine has.
#[derive(Debug)]
pub struct SystemClock {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Tsc(TscClock),
    Os { clock: OsClock, reason: String },
}

/// The specification's name of [`SystemClock`] (FAB-041).
pub type TimeSourceImpl = SystemClock;

impl SystemClock {
    /// Finds and calibrates it; busy for about 4 ms. An `Arc<SystemClock>` coerces to `Arc<dyn TimeSource>`.
    ///
    /// # Errors
    /// [`csf_core::TimeError::Unavailable`] when the operating system has no monotonic clock either.
    pub fn detect() -> TimeResult<Arc<Self>> {
        let inner = match TscClock::calibrate() {
            Ok(clock) => Inner::Tsc(clock),
            Err(e) => Inner::Os { clock: OsClock::new()?, reason: e.to_string() },
        };
        Ok(Arc::new(Self { inner }))
    }

    /// The operating system's clock, whatever the processor offers.
    ///
    /// # Errors
    /// [`csf_core::TimeError::Unavailable`] when the operating system has no monotonic clock.
    pub fn without_hardware(reason: &str) -> TimeResult<Arc<Self>> {
        Ok(Arc::new(Self { inner: Inner::Os { clock: OsClock::new()?, reason: reason.to_owned() } }))
    }

    /// The clock's state just now; about a microsecond.
    ///
    /// # Errors
    /// [`csf_core::TimeError::Unavailable`] when the operating system's clock cannot be read.
    pub fn report(&self) -> TimeResult<ClockReport> {
        match &self.inner {
            Inner::Tsc(clock) => clock.report(),
            Inner::Os { clock, reason } => Ok(ClockReport {
                source: ClockSource::Os,
                tsc_hz: None,
                resolution_ns: 1.0,
                uncertainty_ns: 0.0,
                uncertainty_ppm: 0.0,
                offset_to_os_ns: 0,
                sandwich_ns: 0,
                wall_offset_ns: clock.wall_offset_ns()?,
                adjustments: 0,
                counters: None,
                fallback: Some(reason.clone()),
            }),
        }
    }
}

impl SystemClock {
    /// The time where it takes one reading of the counter and nothing else.
    #[inline(always)]
    pub(crate) fn quick_unordered(&self) -> Option<u64> {
        match &self.inner {
            Inner::Tsc(clock) => clock.quick_unordered(),
            Inner::Os { .. } => None,
        }
    }
}

impl TimeSource for SystemClock {
    #[inline]
    fn now_ns(&self) -> TimeResult<NanoTime> {
        match &self.inner {
            Inner::Tsc(clock) => clock.now_ns(),
            Inner::Os { clock, .. } => clock.now_ns(),
        }
    }

    #[inline]
    fn now_ns_unordered(&self) -> TimeResult<NanoTime> {
        match &self.inner {
            Inner::Tsc(clock) => clock.now_ns_unordered(),
            Inner::Os { clock, .. } => clock.now_ns(),
        }
    }

    fn into_any(self: Arc<Self>) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self)
    }

    fn has_hardware_timing(&self) -> bool {
        match &self.inner {
            Inner::Tsc(clock) => clock.has_hardware_timing(),
            Inner::Os { clock, .. } => clock.has_hardware_timing(),
        }
    }

    fn create_checkpoint(&self, name: &str) -> TimeResult<TimeCheckpoint> {
        match &self.inner {
            Inner::Tsc(clock) => clock.create_checkpoint(name),
            Inner::Os { clock, .. } => clock.create_checkpoint(name),
        }
    }
}
