//! What a supervision tree reaches the world through.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csf_core::port::{Rng, Spawn, Timer};

use super::{Backoff, Pid, Report};

/// Hears every [`Report`] as it happens. Called on the supervisor's task: it must not wait.
pub type Observer = Arc<dyn Fn(&Report) + Send + Sync>;

/// One tree's world. Clones share it.
#[derive(Clone)]
pub struct Env {
    pub(crate) timer: Arc<dyn Timer>,
    pub(super) spawn: Arc<dyn Spawn>,
    pub(super) observer: Observer,
    /// How long a killed child may take to end before its supervisor goes on without it. OTP waits for ever.
    pub kill_grace: Duration,
    rng: Arc<Mutex<dyn Rng>>,
    pids: Arc<AtomicU64>,
}

impl Env {
    /// A world; `rng` draws the jitter of back-offs.
    #[must_use]
    pub fn new(timer: Arc<dyn Timer>, spawn: Arc<dyn Spawn>, rng: impl Rng + 'static) -> Self {
        Self {
            timer,
            spawn,
            observer: Arc::new(|_| {}),
            kill_grace: Duration::from_secs(5),
            rng: Arc::new(Mutex::new(rng)),
            pids: Arc::new(AtomicU64::new(1)),
        }
    }

    /// Lets `observer` hear the reports of every supervisor in the tree.
    #[must_use]
    pub fn observed_by(mut self, observer: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// The tree's timer.
    #[must_use]
    pub const fn timer(&self) -> &Arc<dyn Timer> {
        &self.timer
    }

    /// Time of the tree's timer.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.timer.now()
    }

    pub(super) fn pid(&self) -> Pid {
        Pid(self.pids.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn pause(&self, backoff: &Backoff, failures: u32) -> Duration {
        backoff.pause(failures, &mut *self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
