//! Real time and cores: the clock that every sample is read from, and the pinning of threads.

use std::sync::{Arc, OnceLock};

use csf_core::port::TimeSource;
use csf_time::SystemClock;

/// The node's own clock, calibrated once. A reading is ordered after every earlier load of its thread, and costs what row `clock.cost` says.
#[derive(Clone)]
pub(super) struct Stopwatch(Arc<SystemClock>);

impl Stopwatch {
    /// The process's one.
    pub(super) fn get() -> Result<Self, String> {
        static CLOCK: OnceLock<Result<Arc<SystemClock>, String>> = OnceLock::new();
        let clock = CLOCK.get_or_init(|| SystemClock::detect().map_err(|error| format!("no clock: {error}")));
        clock.clone().map(Self)
    }

    /// The clock behind it.
    pub(super) fn source(&self) -> Arc<dyn TimeSource> {
        self.0.clone()
    }

    /// Nanoseconds since the Unix epoch.
    #[inline(always)]
    pub(super) fn now_ns(&self) -> u64 {
        self.0.now_ns().expect("a clock that was calibrated reads").as_nanos()
    }

    /// How long each of `batches` runs of `per_batch` calls took, per call, nanoseconds; a tenth more runs come first, unmeasured.
    pub(super) fn repeated(&self, batches: u64, per_batch: u64, mut work: impl FnMut()) -> Vec<f64> {
        let mut run = || {
            let from = self.now_ns();
            for _ in 0..per_batch {
                work();
            }
            (self.now_ns() - from) as f64 / per_batch as f64
        };
        (0..batches / 10).for_each(|_| _ = run());
        (0..batches).map(|_| run()).collect()
    }
}

/// Cores of this process.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Two cores that this process may use.
#[derive(Clone, Copy)]
pub(super) struct Pair(pub(super) usize, pub(super) usize);

#[cfg(target_os = "linux")]
impl Pair {
    /// The first two; a reason where there are not two.
    pub(super) fn find() -> Result<Self, String> {
        let allowed = rustix::thread::sched_getaffinity(None).map_err(|error| format!("no affinity: {error}"))?;
        let mut cores = (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        match (cores.next(), cores.next()) {
            (Some(first), Some(second)) => Ok(Self(first, second)),
            _ => Err("two pinned threads want two cores, and this process may use one".to_owned()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Pair {
    /// There is no pinning here.
    pub(super) fn find() -> Result<Self, String> {
        Err("threads are pinned on Linux only".to_owned())
    }
}

/// Keeps the calling thread on one core. Threads started from it inherit that, so only threads of a load call this.
#[cfg(target_os = "linux")]
pub(super) fn pin(core: usize) -> Result<(), String> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).map_err(|error| format!("core {core} was refused: {error}"))
}

/// There is no pinning here.
#[cfg(not(target_os = "linux"))]
pub(super) fn pin(_core: usize) -> Result<(), String> {
    Err("threads are pinned on Linux only".to_owned())
}

/// What a thread of a load gave; a panic in it goes on here.
pub(super) fn joined<R>(handle: std::thread::ScopedJoinHandle<'_, R>) -> R {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
