//! What the loads of actors and supervisors share: a runtime for one load, rates, samples.

use std::future::Future;
use std::time::Duration;

use super::{Missing, PATIENCE_NS};
use crate::clock::{ns_per_tick, pin, ticks};
use crate::stats::{Figures, Metric, latency};

/// Runs `load` as a task of a runtime of its own with so many workers, each on a core.
pub fn on_workers<F>(workers: usize, load: F) -> Result<Figures, Missing>
where
    F: Future<Output = Result<Figures, Missing>> + Send + 'static,
{
    let next = std::sync::atomic::AtomicUsize::new(0);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_time()
        .on_thread_start(move || pin(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))
        .build()
        .map_err(|e| Missing(format!("no runtime: {e}")))?;
    let patience = Duration::from_nanos(PATIENCE_NS as u64);
    let outcome = runtime.block_on(async {
        let load = tokio::spawn(async move { tokio::time::timeout(patience, load).await });
        load.await
    });
    runtime.shutdown_background();
    match outcome {
        Ok(Ok(figures)) => figures,
        Ok(Err(_)) => Err(Missing(format!("no end within {} s", PATIENCE_NS / 1e9))),
        Err(e) => Err(Missing(format!("the load ended early: {e}"))),
    }
}

/// `count` operations since `from`, in ticks.
pub fn rate(count: u64, from: u64) -> Figures {
    let ns = (ticks() - from) as f64 * ns_per_tick();
    Figures::from([(Metric::Rate, count as f64 / ns * 1e3), (Metric::Mean, ns / count as f64)])
}

/// Latencies of single operations, after a tenth more to warm up.
pub struct Samples {
    taken: Vec<u64>,
    count: u64,
    warm_up: u64,
    total_ticks: u64,
}

impl Samples {
    /// For `count` operations.
    pub fn of(count: u64) -> Self {
        Self { taken: Vec::with_capacity(count as usize), count, warm_up: count / 10, total_ticks: 0 }
    }

    /// Operations to run.
    pub fn total(&self) -> u64 {
        self.count + self.warm_up
    }

    /// Notes what the operation `number` took.
    pub fn add(&mut self, number: u64, took: u64) {
        if number >= self.warm_up {
            self.taken.push(took);
            self.total_ticks += took;
        }
    }

    /// The figures.
    pub fn latency(self) -> Figures {
        latency(self.taken, self.total_ticks)
    }
}
