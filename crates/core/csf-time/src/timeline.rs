//! The line all threads read the counter by, replaced while they read it.
//!
//! A sequence lock: readers share one cache line and write nothing; the writer (about once a second) bumps the version to odd,
//! changes the words and bumps it to even. A reader takes the counter between two looks at the version, so a reading under the
//! old line was taken before the new line began.
//! Invariant: readings never go backwards across a replacement. Reference: Boehm, "Can seqlocks get along with programming
//! language memory models?" (2012), section 4.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::discipline::Line;
use crate::tsc;

/// A shared, replaceable [`Line`]; one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Timeline {
    version: AtomicU64,
    tsc: AtomicU64,
    ns: AtomicU64,
    /// 0 once the counter has been given up.
    rate: AtomicU64,
    /// When the line should be looked at again, ticks.
    due: AtomicU64,
    /// Once given up: nanoseconds added to the operating system's clock.
    shift_ns: AtomicU64,
}

/// What the timeline says now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Time by the counter.
    Counter {
        /// Unix nanoseconds.
        ns: u64,
        /// The line wants to be looked at.
        is_due: bool,
    },
    /// The counter is behind the line's beginning: it was reset.
    CounterReset,
    /// The counter has been given up: ask the operating system and add this.
    System {
        /// Nanoseconds to add.
        shift_ns: u64,
    },
}

impl Timeline {
    pub(crate) fn new(line: Line, due: u64) -> Self {
        Self {
            version: AtomicU64::new(0),
            tsc: AtomicU64::new(line.tsc),
            ns: AtomicU64::new(line.ns),
            rate: AtomicU64::new(line.rate),
            due: AtomicU64::new(due),
            shift_ns: AtomicU64::new(0),
        }
    }

    /// Reads the counter and turns it into time.
    #[inline]
    pub(crate) fn read(&self) -> Reading {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let line = self.line();
            let due = self.due.load(Ordering::Relaxed);
            let shift_ns = self.shift_ns.load(Ordering::Relaxed);
            let now = tsc::read();
            fence(Ordering::Acquire);
            if version & 1 == 1 || self.version.load(Ordering::Relaxed) != version {
                spin_loop();
                continue;
            }
            return match line.rate {
                0 => Reading::System { shift_ns },
                _ if now < line.tsc => Reading::CounterReset,
                _ => Reading::Counter { ns: line.at(now), is_due: now >= due },
            };
        }
    }

    /// The present line; only the writer may rely on its words belonging together.
    #[inline]
    pub(crate) fn line(&self) -> Line {
        Line {
            tsc: self.tsc.load(Ordering::Relaxed),
            ns: self.ns.load(Ordering::Relaxed),
            rate: self.rate.load(Ordering::Relaxed),
        }
    }

    /// Postpones the next look. For the one writer.
    pub(crate) fn postpone(&self, due: u64) {
        self.due.store(due, Ordering::Relaxed);
    }

    /// Continues from here with another rate, `step_ns` later. For the one writer.
    pub(crate) fn adjust(&self, rate: u64, step_ns: u64, due: u64) {
        self.write(|old, now| {
            // One nanosecond covers the readings that the processor reorders around the version (tens of nanoseconds at a rate
            // that differs by at most 500 ppm) and the rounding; the next observation takes it back.
            let ns = old.at(now).saturating_add(1).saturating_add(step_ns);
            self.tsc.store(now, Ordering::Relaxed);
            self.ns.store(ns, Ordering::Relaxed);
            self.rate.store(rate, Ordering::Relaxed);
            self.due.store(due, Ordering::Relaxed);
        });
    }

    /// Gives the counter up. `system_ns` reads the operating system's clock; time goes on from the later of the two.
    pub(crate) fn give_up(&self, system_ns: impl FnOnce() -> u64) {
        self.write(|old, now| {
            let shift_ns = old.at(now).saturating_add(1).saturating_sub(system_ns());
            self.rate.store(0, Ordering::Relaxed);
            self.shift_ns.store(shift_ns, Ordering::Relaxed);
        });
    }

    fn write(&self, change: impl FnOnce(Line, u64)) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // Release would order the words behind the odd version; the counter read behind it needs the full fence.
        fence(Ordering::SeqCst);
        change(self.line(), tsc::read());
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }
}
