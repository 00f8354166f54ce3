//! A physical clock that goes where the test puts it; unlike a [`TimeSource`] should, also backwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csf_core::port::{TimeCheckpoint, TimeSource};
use csf_core::{NanoTime, TimeResult};

pub(crate) struct SteppedClock {
    now_ns: AtomicU64,
}

impl SteppedClock {
    pub(crate) fn at(now_ns: u64) -> Arc<Self> {
        Arc::new(Self { now_ns: AtomicU64::new(now_ns) })
    }

    pub(crate) fn set(&self, now_ns: u64) {
        self.now_ns.store(now_ns, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }
}

impl TimeSource for SteppedClock {
    fn now_ns(&self) -> TimeResult<NanoTime> {
        Ok(NanoTime::from_nanos(self.get()))
    }

    fn has_hardware_timing(&self) -> bool {
        false
    }

    fn create_checkpoint(&self, name: &str) -> TimeResult<TimeCheckpoint> {
        Ok(TimeCheckpoint { name: name.to_owned(), time: self.now_ns()?, sequence: 0 })
    }
}
