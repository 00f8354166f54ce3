//! How far clocks stray from CLOCK_MONOTONIC_RAW: each reading is taken between two of the reference's.
//!
//! All clocks are read in the same seconds. A single sandwich is some 40 ns wide, so a reading is known to half of that; of a group
//! of sandwiches the narrowest counts. The error is the change of the distance since the start, so a constant offset is none.

use std::thread;
use std::time::Duration;

use super::Missing;
use crate::clock::raw_ns;
use crate::stats::{Figures, Metric, median};

/// Sandwiches in a group.
const GROUP: usize = 16;
/// Groups whose median is the distance at the start.
const FIRST: usize = 51;
/// Pause between two groups.
const REST: Duration = Duration::from_millis(4);
/// Time the clocks have for settling, ns.
const SETTLING_NS: u64 = 200_000_000;

/// Reads a clock, in nanoseconds since some moment of the last minutes.
pub type Readable = Box<dyn FnMut() -> u64>;

/// A clock's distance from the reference, and half the width of the sandwich it was read in, ns.
#[derive(Clone, Copy)]
struct Distance {
    ns: f64,
    half_width_ns: f64,
}

fn look(clock: &mut Readable) -> Result<Distance, Missing> {
    let mut narrowest: Option<Distance> = None;
    for _ in 0..GROUP {
        let before = reference()?;
        let reading = clock();
        let width = reference()? - before;
        let half_width_ns = width as f64 / 2.0;
        if narrowest.is_none_or(|n| half_width_ns < n.half_width_ns) {
            // Both count small numbers of nanoseconds, which a double holds exactly.
            let ns = reading.wrapping_sub(before).cast_signed() as f64 - half_width_ns;
            narrowest = Some(Distance { ns, half_width_ns });
        }
    }
    narrowest.ok_or_else(|| Missing("no reading".to_owned()))
}

fn reference() -> Result<u64, Missing> {
    raw_ns().map_err(|e| Missing(format!("no reference: {e}")))
}

/// Watches the clocks for `duration_ns`; figures of each, in their order.
#[expect(clippy::disallowed_methods, reason = "a bench waits in real time")]
pub fn truth(clocks: &mut [Readable], duration_ns: u64) -> Result<Vec<Figures>, Missing> {
    let settled = reference()? + SETTLING_NS;
    while reference()? < settled {
        for clock in clocks.iter_mut() {
            look(clock)?;
        }
        thread::sleep(REST);
    }
    let mut starts = Vec::new();
    for clock in clocks.iter_mut() {
        let first: Vec<f64> = (0..FIRST).map(|_| look(clock).map(|d| d.ns)).collect::<Result<_, _>>()?;
        starts.push(median(&first).unwrap_or_default());
    }
    let mut strays = vec![Vec::new(); clocks.len()];
    let end = reference()? + duration_ns;
    while reference()? < end {
        thread::sleep(REST);
        for ((clock, start), stray) in clocks.iter_mut().zip(&starts).zip(&mut strays) {
            let Distance { ns, half_width_ns } = look(clock)?;
            stray.push(Distance { ns: (ns - start).abs(), half_width_ns });
        }
    }
    Ok(strays.iter().map(|stray| figures(stray)).collect())
}

fn figures(stray: &[Distance]) -> Figures {
    let errors: Vec<f64> = stray.iter().map(|d| d.ns).collect();
    let widths: Vec<f64> = stray.iter().map(|d| d.half_width_ns).collect();
    let worst = errors.iter().copied().fold(0.0, f64::max);
    let medians = [(Metric::Error, median(&errors)), (Metric::Uncertainty, median(&widths))];
    medians.into_iter().filter_map(|(metric, ns)| Some((metric, ns?))).chain([(Metric::Worst, worst)]).collect()
}
