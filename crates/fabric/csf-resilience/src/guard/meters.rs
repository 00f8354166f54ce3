//! What a guard counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter that only grows, or a gauge.
#[derive(Default)]
pub(super) struct Meter(AtomicU64);

impl Meter {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Counts one up for as long as the returned value lives.
    pub(super) fn hold(&self) -> Held<'_> {
        self.count();
        Held(self)
    }
}

pub(super) struct Held<'a>(&'a Meter);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

#[derive(Default)]
pub(super) struct Meters {
    pub(super) calls: Meter,
    pub(super) running: Meter,
    pub(super) answered: Meter,
    pub(super) failed: Meter,
    pub(super) attempts: Meter,
    pub(super) timeouts: Meter,
    pub(super) try_timeouts: Meter,
    pub(super) from_cache: Meter,
    pub(super) from_default: Meter,
    pub(super) from_alternative: Meter,
    pub(super) degraded: Meter,
    pub(super) no_fallback: Meter,
}
