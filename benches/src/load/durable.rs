//! Durable appends: callers that each wait for their append before the next one.

use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;

use super::Missing;
use crate::clock::{ns_per_tick, ticks};
use crate::stats::{Figures, Metric, latency};

/// Bytes of one event's content.
pub const EVENT_BYTES: usize = 1024;

/// A folder on the disk that the bench itself lies on, for one side; it goes with this.
pub struct Folder(PathBuf);

impl Folder {
    /// An empty one.
    pub fn new(side: &str) -> Result<Self, Missing> {
        let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
        let folder = beside.unwrap_or_else(std::env::temp_dir);
        let folder = folder.join(format!("csf-bench-{side}-{}-{}", std::process::id(), super::unique()));
        std::fs::create_dir_all(&folder).map_err(|e| Missing(format!("{}: {e}", folder.display())))?;
        Ok(Self(folder))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `callers` threads that each append `count / callers` times; `make` gives each its way to append.
pub fn durable<A>(
    callers: usize,
    count: u64,
    make: impl Fn(usize) -> Result<A, Missing> + Sync,
) -> Result<Figures, Missing>
where
    A: FnMut(u64) -> Result<(), Missing>,
{
    let each = (count / callers as u64).max(2);
    let together = Barrier::new(callers);
    let runs: Vec<Result<(Vec<u64>, u64, u64), Missing>> = thread::scope(|scope| {
        let (make, together) = (&make, &together);
        let threads: Vec<_> = (0..callers)
            .map(|caller| {
                scope.spawn(move || {
                    let made = make(caller);
                    together.wait();
                    let mut append = made?;
                    // The first tenth warms up.
                    let warm = each / 10;
                    (0..warm).try_for_each(&mut append)?;
                    let (mut samples, from) = (Vec::with_capacity(each as usize), ticks());
                    for number in warm..each {
                        let began = ticks();
                        append(number)?;
                        samples.push(ticks() - began);
                    }
                    Ok((samples, from, ticks()))
                })
            })
            .collect();
        threads.into_iter().map(super::joined).collect()
    });
    let runs = runs.into_iter().collect::<Result<Vec<_>, _>>()?;
    let from = runs.iter().map(|run| run.1).min().unwrap_or_default();
    let until = runs.iter().map(|run| run.2).max().unwrap_or_default();
    let samples: Vec<u64> = runs.into_iter().flat_map(|run| run.0).collect();
    let (appends, took) = (samples.len() as f64, until - from);
    let mut figures = latency(samples, took);
    figures.insert(Metric::PerSecond, appends * 1e9 / (took as f64 * ns_per_tick()));
    Ok(figures)
}
