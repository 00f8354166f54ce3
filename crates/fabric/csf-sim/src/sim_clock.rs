//! The clock of one simulated machine: the executor's virtual time, seen through a clock that may be off, drift and jump.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use csf_core::port::{TimeCheckpoint, TimeSource, Timer};
use csf_core::{NanoTime, TimeResult};

use crate::SimExecutor;

/// Virtual time as one machine reads it.
pub struct SimClock {
    world: SimExecutor,
    /// Nanoseconds since the Unix epoch at virtual time zero.
    epoch_ns: u64,
    /// How far it is off.
    offset_ns: AtomicI64,
    /// How much faster it runs, parts per billion.
    drift_ppb: i64,
    /// The newest reading: a clock never goes back on one machine.
    newest: AtomicU64,
    checkpoints: AtomicU64,
}

impl SimClock {
    /// A clock that reads `epoch_ns` at virtual time zero and runs `drift_ppb` parts per billion too fast.
    #[must_use]
    pub fn new(world: &SimExecutor, epoch_ns: u64, drift_ppb: i64) -> Arc<Self> {
        Arc::new(Self {
            world: world.clone(),
            epoch_ns,
            offset_ns: AtomicI64::new(0),
            drift_ppb,
            newest: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
        })
    }

    /// Sets it forward or back. Set back, it stands still until virtual time has caught up, as a disciplined clock does.
    pub fn jump(&self, by_ns: i64) {
        self.offset_ns.fetch_add(by_ns, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        let elapsed = i64::try_from(self.world.now().as_nanos()).unwrap_or(i64::MAX);
        // Whole seconds and the rest by themselves: both products fit.
        let (seconds, rest) = (elapsed / 1_000_000_000, elapsed % 1_000_000_000);
        let drift = seconds.saturating_mul(self.drift_ppb).saturating_add(rest * self.drift_ppb / 1_000_000_000);
        let off = elapsed.saturating_add(drift).saturating_add(self.offset_ns.load(Ordering::Relaxed));
        let now = self.epoch_ns.saturating_add_signed(off);
        now.max(self.newest.fetch_max(now, Ordering::Relaxed))
    }
}

impl TimeSource for SimClock {
    fn now_ns(&self) -> TimeResult<NanoTime> {
        Ok(NanoTime::from_nanos(self.read()))
    }

    fn has_hardware_timing(&self) -> bool {
        false
    }

    fn create_checkpoint(&self, name: &str) -> TimeResult<TimeCheckpoint> {
        let sequence = self.checkpoints.fetch_add(1, Ordering::Relaxed);
        Ok(TimeCheckpoint { name: name.to_owned(), time: self.now_ns()?, sequence })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_drifts_jumps_and_never_goes_back() {
        let world = SimExecutor::new(1);
        let clock = SimClock::new(&world, 1_000, 1_000_000);
        let read = || clock.now_ns().unwrap().as_nanos();
        assert_eq!(read(), 1_000);
        world.block_on(world.sleep(Duration::from_secs(1))).unwrap();
        assert_eq!(read(), 1_000 + 1_001_000_000);
        clock.jump(5);
        assert_eq!(read(), 1_005 + 1_001_000_000);
        clock.jump(-1_000_000_000);
        assert_eq!(read(), 1_005 + 1_001_000_000, "it stands");
        world.block_on(world.sleep(Duration::from_secs(2))).unwrap();
        assert_eq!(read(), 1_005 + 3 * 1_001_000_000 - 1_000_000_000);
    }
}
