//! The loads: round trip between two threads, throughput between many, cost of publishing in one thread, round trip between tasks.
//!
//! Each load runs in threads of its own, pinned one per core when there are cores enough, and asserts that every frame arrived
//! exactly once and whole. A side that makes no progress for [`PATIENCE_NS`] is reported as stalled.

mod actors;
mod durable;
mod growth;
mod publishing;
mod round_trip;
mod task;
mod thousand;
mod throughput;
mod truth;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

pub use actors::{Samples, on_workers, rate};
pub use durable::{EVENT_BYTES, Folder, durable};
pub use growth::growth;
pub use publishing::publishing;
pub use round_trip::{Waiting, echo, round_trip};
pub use task::async_round_trip;
pub use thousand::{MESSAGES as THOUSAND, Publishing, misses, thousand};
pub use throughput::throughput;
pub use truth::{Readable, truth};

use crate::clock::{pin, ticks, ticks_in};
use crate::stats::{Figures, cost};

/// Longest time one load may take.
const PATIENCE_NS: f64 = 10e9;
/// Turns of a spinning thread with a core of its own before it offers the core: about 1 ms.
const SPINS_ALONE: u32 = 200_000;
/// Turns of a spinning thread that shares its core with the one it waits for.
const SPINS_SHARED: u32 = 64;

/// Why a side has no figure.
#[derive(Clone, Debug)]
pub struct Missing(pub String);

/// How much work a load does; 1.0 is a full run.
#[derive(Clone, Copy, Debug)]
pub struct Effort(pub f64);

impl Effort {
    /// `full` scaled, in whole tens.
    pub fn of(self, full: u64) -> u64 {
        ((full as f64 * self.0) as u64 / 10).max(10) * 10
    }
}

/// Ends a load that hangs.
struct Watch {
    ends_at: u64,
    is_stalled: AtomicBool,
}

impl Watch {
    fn new() -> Self {
        Self { ends_at: ticks() + ticks_in(PATIENCE_NS), is_stalled: AtomicBool::new(false) }
    }

    /// Turns until `ready`; false when the load is given up.
    #[inline(always)]
    fn until(&self, turns: u32, mut ready: impl FnMut() -> bool) -> bool {
        let mut left = turns;
        while !ready() {
            left -= 1;
            if left == 0 {
                if self.is_over() {
                    return false;
                }
                thread::yield_now();
                left = turns;
            }
        }
        true
    }

    #[cold]
    fn is_over(&self) -> bool {
        if ticks() > self.ends_at {
            self.is_stalled.store(true, Ordering::Relaxed);
        }
        self.is_stalled.load(Ordering::Relaxed)
    }

    fn verdict(&self) -> Result<(), Missing> {
        let stalled = self.is_stalled.load(Ordering::Relaxed);
        if stalled { Err(Missing(format!("no end within {} s", PATIENCE_NS / 1e9))) } else { Ok(()) }
    }
}

/// Where the threads of a load start together. They spin, so that nobody is still being woken when the first begins.
struct Gate {
    arrived: AtomicUsize,
    count: usize,
}

impl Gate {
    fn of(count: usize) -> Self {
        Self { arrived: AtomicUsize::new(0), count }
    }

    fn wait(&self) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        while self.arrived.load(Ordering::Acquire) < self.count {
            thread::yield_now();
        }
    }
}

/// What a piece of work costs in one pinned thread, in runs of `per_batch`.
pub fn repeated<S>(make: impl FnOnce() -> S + Send, batches: u64, per_batch: u64, work: fn(&mut S)) -> Figures {
    let body = || {
        pin(0);
        let mut state = make();
        let mut samples = Vec::with_capacity(batches as usize);
        for batch in 0..batches + batches / 10 {
            let from = ticks();
            for _ in 0..per_batch {
                work(&mut state);
            }
            let took = ticks() - from;
            if batch >= batches / 10 {
                samples.push(took);
            }
        }
        cost(samples, per_batch)
    };
    thread::scope(|scope| joined(scope.spawn(body)))
}

/// The next number of a service or topic, so that no two loads meet.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What a thread of a load gave; a panic in it ends the bench.
pub fn joined<R>(handle: thread::ScopedJoinHandle<'_, R>) -> R {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
