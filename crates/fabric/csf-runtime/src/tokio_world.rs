//! [`Timer`] and [`Spawn`] on tokio: the adapter a node runs on. In simulation `csf_sim::SimExecutor` takes its place.

use std::time::Duration;

use csf_core::port::{Sleep, Spawn, Task, Timer};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// A tokio runtime as a place to wait and to run tasks. Clones are the same runtime and share one origin of time.
#[derive(Clone, Debug)]
pub struct TokioWorld {
    handle: Handle,
    origin: Instant,
}

impl TokioWorld {
    /// The world of this runtime; its time begins now.
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        let _inside = handle.enter();
        Self { origin: Instant::now(), handle: handle.clone() }
    }

    /// The world of the runtime this is called in.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn current() -> Self {
        Self::new(Handle::current())
    }
}

impl Timer for TokioWorld {
    fn now(&self) -> Duration {
        let _inside = self.handle.enter();
        self.origin.elapsed()
    }

    fn sleep(&self, span: Duration) -> Sleep {
        let _inside = self.handle.enter();
        Box::pin(tokio::time::sleep(span))
    }
}

impl Spawn for TokioWorld {
    fn spawn(&self, task: Task) {
        self.handle.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// On tokio's paused clock, so that no load of the machine can fail it.
    #[tokio::test(start_paused = true)]
    async fn tokio_conforms() {
        let world = TokioWorld::current();
        let (timer, spawn): (Arc<dyn Timer>, Arc<dyn Spawn>) = (Arc::new(world.clone()), Arc::new(world));
        csf_sim::conformance::execution(&timer, &spawn).await;
    }
}
