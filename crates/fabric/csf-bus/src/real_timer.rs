//! The timer of a bus that was given none: real time, on any executor.
//!
//! One thread of the process wakes who waits; it starts with the first wait. A node gives its bus the timer of its world instead.

use std::sync::Arc;
use std::time::Duration;

use csf_core::port::{Sleep, TimeSource, Timer};
use futures_timer::Delay;

pub(crate) struct RealTimer {
    clock: Arc<dyn TimeSource>,
}

impl RealTimer {
    pub(crate) fn new(clock: Arc<dyn TimeSource>) -> Self {
        Self { clock }
    }
}

impl Timer for RealTimer {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.clock.now_ns().map_or(0, |now| now.as_nanos()))
    }

    fn sleep(&self, span: Duration) -> Sleep {
        Box::pin(Delay::new(span))
    }
}
