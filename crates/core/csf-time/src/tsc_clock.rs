//! Time from the processor's counter, calibrated at boot and re-fitted while it is read.
//!
//! Nobody waits for it: the first reader after the due tick spends about a microsecond on an observation. The counter is given up
//! for the operating system's clock, without going backwards, when the two part.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use csf_core::port::{TimeCheckpoint, TimeSource};
use csf_core::{NanoTime, TimeError, TimeResult};

use crate::agreement::{self, CounterAgreement};
use crate::discipline::{Discipline, Point, Verdict};
use crate::os_clock::{OsClock, Reference};
use crate::report::{ClockReport, ClockSource};
use crate::timeline::{Reading, Timeline};
use crate::tsc;

/// Distance of the two first observations: at 40 ns of width a first rate within 10 ppm, corrected 8 ms later.
const CALIBRATION_NS: u64 = 4_000_000;

/// The processor's counter as a time source: about 15 ns a read, 9 ns unordered.
#[derive(Debug)]
pub struct TscClock {
    timeline: Timeline,
    writer: Mutex<Writer>,
    os: OsClock,
    checkpoints: AtomicU64,
}

#[derive(Debug)]
struct Writer {
    discipline: Discipline,
    given_up: Option<Box<str>>,
    /// Of the CPUs' counters, when they were calibrated. Boxed, as `given_up` is, so that the clock stays three lines long.
    agreement: Option<Box<CounterAgreement>>,
}

impl TscClock {
    /// Calibrates against the boot clock; busy for about 4 ms, at most some 20 ms where the CPUs are.
    ///
    /// # Errors
    /// [`TimeError::Unavailable`] when the processor or the kernel has no counter to trust, or the counters of the CPUs are apart.
    pub fn calibrate() -> TimeResult<Self> {
        Self::calibrate_against(Reference::Boot)
    }

    /// Calibrates against `reference`, as [`TscClock::calibrate`].
    ///
    /// # Errors
    /// As [`TscClock::calibrate`].
    pub fn calibrate_against(reference: Reference) -> TimeResult<Self> {
        tsc::check()?;
        let os = OsClock::over(reference)?;
        let first = tsc::sandwich(&os)?;
        while os.unix_ns()? < first.unix_ns + CALIBRATION_NS {
            std::hint::spin_loop();
        }
        let second = tsc::sandwich(&os)?;
        let (discipline, line) = Discipline::new(first, second)
            .ok_or_else(|| TimeError::Unavailable { reason: "the time-stamp counter stands still".into() })?;
        let agreement = agreement::compare_and_check(line.ns_per_tick())?.map(Box::new);
        let timeline = Timeline::new(line, discipline.first_look(&line));
        let writer = Mutex::new(Writer { discipline, given_up: None, agreement });
        Ok(Self { timeline, writer, os, checkpoints: AtomicU64::new(0) })
    }

    /// Observes the operating system's clock now and re-fits; the clock does this by itself while it is read.
    ///
    /// # Errors
    /// [`TimeError::Unavailable`] when the operating system's clock cannot be read.
    pub fn recalibrate(&self) -> TimeResult<()> {
        self.observe(&mut self.writer())
    }

    /// Gives the counter up for good; time goes on from the operating system's clock.
    pub fn distrust(&self, reason: &str) {
        self.give_up(&mut self.writer(), reason.to_owned());
    }

    /// The clock's state just now.
    ///
    /// # Errors
    /// [`TimeError::Unavailable`] when the operating system's clock cannot be read.
    pub fn report(&self) -> TimeResult<ClockReport> {
        let writer = self.writer();
        let point = tsc::sandwich(&self.os)?;
        let ns_per_tick = 1e9 / writer.discipline.hz();
        let is_given_up = writer.given_up.is_some();
        let apart_ns = writer.agreement.as_ref().map_or(0, |agreement| agreement.apart_ns_min);
        // The writer is held, so the line cannot change under the subtraction.
        let offset = self.timeline.line().at(point.tsc).wrapping_sub(point.unix_ns).cast_signed();
        let now_ns = self.unix_ns()?;
        let wall_offset_ns =
            self.os.wall_offset_ns()?.wrapping_sub(now_ns.wrapping_sub(self.os.unix_ns()?).cast_signed());
        Ok(ClockReport {
            source: if is_given_up { ClockSource::Os } else { ClockSource::Tsc },
            tsc_hz: (!is_given_up).then(|| writer.discipline.hz()),
            resolution_ns: if is_given_up { 1.0 } else { ns_per_tick },
            uncertainty_ns: if is_given_up { 0.0 } else { writer.discipline.uncertainty_ns() + apart_ns as f64 },
            uncertainty_ppm: if is_given_up { 0.0 } else { writer.discipline.uncertainty_ppm() },
            offset_to_os_ns: if is_given_up { 0 } else { offset },
            sandwich_ns: (point.width_ticks as f64 * ns_per_tick) as u64,
            wall_offset_ns,
            adjustments: writer.discipline.adjustments(),
            counters: writer.agreement.as_deref().copied(),
            fallback: writer.given_up.as_deref().map(str::to_owned),
        })
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic cannot leave the numbers half written in a way that matters: every observation replaces them.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time where it takes one reading of the counter and nothing else.
    #[inline(always)]
    pub(crate) fn quick_unordered(&self) -> Option<u64> {
        self.timeline.quick_unordered()
    }

    #[inline]
    fn unix_ns(&self) -> TimeResult<u64> {
        match self.timeline.read() {
            Reading::Counter { ns, is_due: false } => Ok(ns),
            other => self.unix_ns_slowly(other),
        }
    }

    #[inline]
    fn unix_ns_unordered(&self) -> TimeResult<u64> {
        match self.timeline.read_unordered() {
            Reading::Counter { ns, is_due: false } => Ok(ns),
            other => self.unix_ns_slowly(other),
        }
    }

    #[cold]
    fn unix_ns_slowly(&self, reading: Reading) -> TimeResult<u64> {
        match reading {
            Reading::Counter { ns, .. } => {
                // Whoever gets the lock observes; the others go on with the line they have.
                if let Ok(mut writer) = self.writer.try_lock() {
                    self.observe(&mut writer)?;
                }
                Ok(ns)
            }
            Reading::CounterReset => {
                self.give_up(&mut self.writer(), "the counter was reset (the machine slept or moved)".into());
                self.os.unix_ns()
            }
            Reading::System { shift_ns } => Ok(self.os.unix_ns()?.saturating_add(shift_ns)),
        }
    }

    fn observe(&self, writer: &mut Writer) -> TimeResult<()> {
        if writer.given_up.is_some() {
            return Ok(());
        }
        let point = tsc::sandwich(&self.os)?;
        self.judge(writer, point);
        Ok(())
    }

    fn judge(&self, writer: &mut Writer, point: Point) {
        match writer.discipline.observe(&self.timeline.line(), point) {
            Verdict::Disturbed { next_tsc } => self.timeline.postpone(next_tsc),
            Verdict::Adjust { rate, step_ns, next_tsc } => self.timeline.adjust(rate, step_ns, next_tsc),
            Verdict::Distrust { reason } => self.give_up(writer, reason),
        }
    }

    fn give_up(&self, writer: &mut Writer, reason: String) {
        if writer.given_up.is_none() {
            // When even this clock cannot be read, every later reading says so.
            let margin_ns = writer.discipline.uncertainty_ns().ceil() as u64;
            self.timeline.give_up(margin_ns, || self.os.unix_ns().unwrap_or(u64::MAX));
            writer.given_up = Some(reason.into_boxed_str());
        }
    }
}

impl TimeSource for TscClock {
    #[inline]
    fn now_ns(&self) -> TimeResult<NanoTime> {
        self.unix_ns().map(NanoTime::from_nanos)
    }

    #[inline]
    fn now_ns_unordered(&self) -> TimeResult<NanoTime> {
        self.unix_ns_unordered().map(NanoTime::from_nanos)
    }

    fn has_hardware_timing(&self) -> bool {
        self.timeline.line().rate != 0
    }

    fn create_checkpoint(&self, name: &str) -> TimeResult<TimeCheckpoint> {
        let sequence = self.checkpoints.fetch_add(1, Ordering::Relaxed);
        Ok(TimeCheckpoint { name: name.to_owned(), time: self.now_ns()?, sequence })
    }
}

#[cfg(test)]
#[path = "tsc_clock/tests.rs"]
mod tests;
