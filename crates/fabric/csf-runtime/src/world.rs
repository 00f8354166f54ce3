//! What a node runs on: the machine, or a simulated world.

use std::sync::Arc;
use std::time::Duration;

use csf_core::port::{Rng, Spawn, Timer};
use tokio::runtime::Handle;

use crate::{OsRng, TokioWorld};

/// Where a node waits, runs its tasks and draws its random numbers. Clones are the same world.
#[derive(Clone)]
pub struct World {
    /// Waits.
    pub timer: Arc<dyn Timer>,
    /// Runs services.
    pub spawn: Arc<dyn Spawn>,
    /// Who runs dispatchers and the recorder.
    pub workers: Workers,
    /// How long a commit of the journal takes now, in a simulated world: there the recorder waits, because the disk cannot.
    #[doc(hidden)]
    pub commit_time: Option<Arc<dyn Fn() -> Duration + Send + Sync>>,
    /// A bug put in on purpose, for a simulation to find.
    #[doc(hidden)]
    pub plant: Option<Plant>,
    rng: Arc<dyn Fn() -> Box<dyn Rng> + Send + Sync>,
}

/// A bug put in on purpose, for a simulation to find. Only a simulated world has one.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The recorder writes what it has, causes or not.
    OpenCut,
}

/// Who runs dispatchers and the recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// A thread each, for a machine of so many cores.
    Threads {
        /// Cores of the machine.
        cores: usize,
    },
    /// Tasks of [`World::spawn`], as a machine of so many cores would divide the work.
    Tasks {
        /// Cores of the machine that is simulated.
        cores: usize,
    },
}

impl Workers {
    /// Cores to divide the work over.
    #[must_use]
    pub const fn cores(self) -> usize {
        match self {
            Self::Threads { cores } | Self::Tasks { cores } => cores,
        }
    }
}

impl World {
    /// This machine, with the tokio runtime of the caller.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn machine() -> Self {
        let tokio = Arc::new(TokioWorld::current());
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            timer: tokio.clone(),
            spawn: tokio,
            workers: Workers::Threads { cores },
            commit_time: None,
            plant: None,
            rng: Arc::new(|| Box::new(OsRng)),
        }
    }

    /// A world without threads: everything runs on `executor`, random numbers come from `rng`.
    #[must_use]
    pub fn simulated(
        executor: impl Timer + Spawn + 'static,
        rng: impl Fn() -> Box<dyn Rng> + Send + Sync + 'static,
    ) -> Self {
        let executor = Arc::new(executor);
        let workers = Workers::Tasks { cores: 2 };
        Self { timer: executor.clone(), spawn: executor, workers, commit_time: None, plant: None, rng: Arc::new(rng) }
    }

    /// A source of random numbers.
    #[must_use]
    pub fn rng(&self) -> Box<dyn Rng> {
        (self.rng)()
    }

    /// Waits for a simulated disk.
    pub(crate) async fn commit(&self) {
        let takes = self.commit_time.as_ref().map_or(Duration::ZERO, |takes| takes());
        if !takes.is_zero() {
            self.timer.sleep(takes).await;
        }
    }

    pub(crate) const fn is_simulated(&self) -> bool {
        matches!(self.workers, Workers::Tasks { .. })
    }

    pub(crate) fn describe(&self) -> String {
        if self.is_simulated() {
            return "simulated".to_owned();
        }
        let workers = Handle::try_current().map_or(0, |h| h.metrics().num_workers());
        format!("{workers} workers")
    }
}
