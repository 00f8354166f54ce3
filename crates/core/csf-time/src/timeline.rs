//! The line all threads read the counter by, replaced while they read it.
//!
//! A sequence lock: readers share one cache line and write nothing; the writer (about once a second) bumps the version to odd,
//! changes the words and bumps it to even. An ordered reader takes the counter between two looks at the version, so a reading
//! under the old line was taken before the new line began. An unordered one may have taken it a little earlier or later; the
//! lines meet, so the other line would have told the same time to a fraction of a nanosecond.
//! Invariant: readings never go backwards across a replacement. Reference: Boehm, "Can seqlocks get along with programming
//! language memory models?" (2012), section 4.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::discipline::Line;
use crate::tsc;

/// A counter this far behind the line's beginning was reset. Less is another core that has just drawn the line (its counter may
/// be some ticks ahead) or a read that the processor took early.
const RESET_NS: u64 = 1_000_000;

/// What the protocol needs of the machine: the real one in the product, a model of it in the tests.
pub(crate) trait Machine {
    /// A word that threads share.
    type Word: Word;
    /// [`std::sync::atomic::fence`].
    fn fence(order: Ordering);
    /// Says that this thread waits for another.
    fn spin();
    /// The counter, after every earlier load.
    fn counter() -> u64;
    /// The counter, sooner or later.
    fn counter_unordered() -> u64;
}

/// A shared 64-bit word.
pub(crate) trait Word {
    fn new(value: u64) -> Self;
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
}

/// The processor.
#[derive(Debug)]
pub(crate) struct Processor;

impl Machine for Processor {
    type Word = AtomicU64;

    #[inline]
    fn fence(order: Ordering) {
        fence(order);
    }

    #[inline]
    fn spin() {
        spin_loop();
    }

    #[inline]
    fn counter() -> u64 {
        tsc::read()
    }

    #[inline]
    fn counter_unordered() -> u64 {
        tsc::read_unordered()
    }
}

impl Word for AtomicU64 {
    #[inline]
    fn new(value: u64) -> Self {
        Self::new(value)
    }

    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }
}

/// A shared, replaceable [`Line`]; one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Timeline<M: Machine = Processor> {
    version: M::Word,
    tsc: M::Word,
    /// Once the counter has been given up: nanoseconds added to the operating system's clock.
    ns: M::Word,
    /// 0 once the counter has been given up.
    rate: M::Word,
    /// When the line should be looked at again, ticks; 0 once the counter has been given up, so that one compare finds both.
    due: M::Word,
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
    /// The counter is far behind the line's beginning: it was reset.
    CounterReset,
    /// The counter has been given up: ask the operating system and add this.
    System {
        /// Nanoseconds to add.
        shift_ns: u64,
    },
}

impl<M: Machine> Timeline<M> {
    pub(crate) fn new(line: Line, due: u64) -> Self {
        Self {
            version: M::Word::new(0),
            tsc: M::Word::new(line.tsc),
            ns: M::Word::new(line.ns),
            rate: M::Word::new(line.rate),
            due: M::Word::new(due),
        }
    }

    /// Reads the counter and turns it into time.
    #[inline]
    pub(crate) fn read(&self) -> Reading {
        self.read_by(M::counter)
    }

    /// [`Timeline::read`] by the counter's unordered read.
    #[inline]
    pub(crate) fn read_unordered(&self) -> Reading {
        self.read_by(M::counter_unordered)
    }

    /// [`Timeline::read_unordered`] where the line is simply in use: nothing is due, and nobody is drawing a new one.
    #[inline(always)]
    pub(crate) fn quick_unordered(&self) -> Option<u64> {
        self.quick_by(M::counter_unordered)
    }

    #[inline(always)]
    fn quick_by(&self, counter: impl Fn() -> u64) -> Option<u64> {
        let version = self.version.load(Ordering::Acquire);
        let line = self.line();
        let due = self.due.load(Ordering::Relaxed);
        let now = counter();
        M::fence(Ordering::Acquire);
        let is_whole = version & 1 == 0 && self.version.load(Ordering::Relaxed) == version;
        (is_whole && line.tsc <= now && now < due).then(|| line.at_near(now))
    }

    #[inline]
    fn read_by(&self, counter: impl Fn() -> u64) -> Reading {
        match self.quick_by(&counter) {
            Some(ns) => Reading::Counter { ns, is_due: false },
            None => self.read_slowly(counter),
        }
    }

    #[cold]
    fn read_slowly(&self, counter: impl Fn() -> u64) -> Reading {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let line = self.line();
            let due = self.due.load(Ordering::Relaxed);
            let now = counter();
            M::fence(Ordering::Acquire);
            if version & 1 == 1 || self.version.load(Ordering::Relaxed) != version {
                M::spin();
                continue;
            }
            if line.tsc <= now && now < due {
                return Reading::Counter { ns: line.at(now), is_due: false };
            }
            return unusual(line, due, now);
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
            // One nanosecond covers the readings that the processor reorders around the version (less than a microsecond at a
            // rate that differs by at most 1000 ppm) and the rounding; the next observation takes it back.
            let ns = old.at(now).saturating_add(1).saturating_add(step_ns);
            self.tsc.store(now, Ordering::Relaxed);
            self.ns.store(ns, Ordering::Relaxed);
            self.rate.store(rate, Ordering::Relaxed);
            self.due.store(due, Ordering::Relaxed);
        });
    }

    /// Gives the counter up. `system_ns` reads the operating system's clock; time goes on from the later of the two, at least
    /// `margin_ns` after the operating system's: a counter that was reset does not tell any more how far ahead it had been.
    pub(crate) fn give_up(&self, margin_ns: u64, system_ns: impl FnOnce() -> u64) {
        self.write(|old, _| {
            let system_ns = system_ns();
            // Read last: the new time is then ahead of the old by the distance of the two reads, never behind.
            let own_ns = old.at(M::counter()).saturating_add(1);
            self.ns.store(own_ns.saturating_sub(system_ns).max(margin_ns), Ordering::Relaxed);
            self.rate.store(0, Ordering::Relaxed);
            self.due.store(0, Ordering::Relaxed);
        });
    }

    fn write(&self, change: impl FnOnce(Line, u64)) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // Release would order the words behind the odd version; the counter read behind it needs the full fence.
        M::fence(Ordering::SeqCst);
        change(self.line(), M::counter());
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }
}

/// What `now` means when the line is not simply in use.
#[cold]
fn unusual(line: Line, due: u64, now: u64) -> Reading {
    match line.rate {
        0 => Reading::System { shift_ns: line.ns },
        _ if line.behind_ns(now) > RESET_NS => Reading::CounterReset,
        _ => Reading::Counter { ns: line.at(now), is_due: now >= due },
    }
}

#[cfg(test)]
#[path = "timeline/model.rs"]
mod model;
#[cfg(test)]
#[path = "timeline/sockets.rs"]
mod sockets;
#[cfg(test)]
#[path = "timeline/tests.rs"]
mod tests;
