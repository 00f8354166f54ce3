//! duroxide on its SQLite provider, as `peers/duroxide` sets it up.

use super::process;
use crate::load::{Folder, Missing};
use crate::stats::Figures;

/// Runs of so many activities each, one after the other.
pub fn steps(runs: u64, in_flight: usize, steps: u32) -> Result<Figures, Missing> {
    let folder = Folder::new("duroxide")?;
    let place = folder.path().to_string_lossy().into_owned();
    process::steps("duroxide", &[&place, &runs.to_string(), &in_flight.to_string(), &steps.to_string()])
}
