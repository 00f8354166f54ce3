//! Waiting and spawning on tokio: the machine's [`Timer`] and [`Spawn`].

use std::time::Duration;

use csf_core::port::{Sleep, Spawn, Task, Timer};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// A tokio runtime as the ports see it. Clones share its origin of time.
#[derive(Clone, Debug)]
pub struct TokioWorld {
    runtime: Handle,
    origin: Instant,
}

impl TokioWorld {
    /// The runtime of the caller.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn current() -> Self {
        Self { runtime: Handle::current(), origin: Instant::now() }
    }
}

impl Timer for TokioWorld {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep(&self, span: Duration) -> Sleep {
        let _entered = self.runtime.enter();
        Box::pin(tokio::time::sleep(span))
    }
}

impl Spawn for TokioWorld {
    fn spawn(&self, task: Task) {
        // Its end is reported by the task itself.
        drop(self.runtime.spawn(task));
    }
}
