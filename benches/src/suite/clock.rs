//! How true the clocks are and what reading them costs (G12).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;

use csf_core::port::TimeSource;

use super::floor::{COUNTER, counter_side};
use crate::experiment::{Experiment, Side};
use crate::load::{Effort, Missing, Readable, repeated, truth};
use crate::ours::time;
use crate::peer::{minstant, quanta};
use crate::row::{Bound, Goal, Spec};
use crate::stats::{Figures, Metric};

const OURS: &str = "csf-time";
const CLOCKS: [&str; 4] = [OURS, "quanta", "minstant", INSTANT];
const INSTANT: &str = "std Instant";
const NOTE: &str = "the same oscillator: this judges the calibration; one reading is known to `uncertainty` only";
/// Milliseconds over which the clocks are watched.
const WATCHED_MS: u64 = 10_000;

/// Batches of a full run.
const BATCHES: u64 = 2_000;
/// Readings in each.
const READINGS: u64 = 256;

#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn instant(_state: &mut ()) {
    black_box(Instant::now());
}

/// In the order of [`CLOCKS`].
#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn clocks() -> Result<Vec<Readable>, Missing> {
    let ours = time::calibrated().map_err(|e| Missing(e.to_string()))?;
    let now = move || ours.now_ns().map_or(0, csf_core::NanoTime::as_nanos);
    // Nanoseconds since 1970 do not fit a double; those since the start do.
    let first = now();
    let (quanta, minstant, origin) = (quanta::clock(), minstant::first(), Instant::now());
    Ok(vec![
        Box::new(move || now().wrapping_sub(first)),
        Box::new(move || quanta::elapsed_ns(&quanta)),
        Box::new(move || minstant::elapsed_ns(&minstant)),
        Box::new(move || origin.elapsed().as_nanos() as u64),
    ])
}

/// How far the clocks stray in ten seconds. All of them are watched at once: the first side of a round does it for the others.
pub fn error() -> Experiment {
    let shared: Rc<RefCell<BTreeMap<&str, Figures>>> = Rc::default();
    let side = |key: &'static str| {
        let shared = shared.clone();
        Side::new(key, move |effort| {
            if !shared.borrow().contains_key(key) {
                let figures = truth(&mut clocks()?, effort.of(WATCHED_MS) * 1_000_000)?;
                *shared.borrow_mut() = CLOCKS.into_iter().zip(figures).collect();
            }
            shared.borrow_mut().remove(key).ok_or_else(|| Missing("was not watched".to_owned()))
        })
    };
    let row = |id: &str, what: &str, metric, peer: &str| Spec::new(id, what, metric, OURS).peers(&[peer]).note(NOTE);
    let (worst, middle) = ("greatest error over 10 s against CLOCK_MONOTONIC_RAW", "median error over 10 s");
    let specs = vec![
        row("G12.worst", worst, Metric::Worst, "quanta").goal(Goal::value(Bound::AtMost(100.0))),
        row("G12.error", middle, Metric::Error, "quanta").beyond(Goal::value(Bound::AtMost(10.0))),
        row("error.minstant", middle, Metric::Error, "minstant"),
        row("error.instant", middle, Metric::Error, INSTANT),
    ];
    Experiment::new("clock error", CLOCKS.map(side).into(), specs)
}

/// What a reading costs.
pub fn cost() -> Experiment {
    let (ordered, unordered) = ("csf-time/ordered", "csf-time/unordered");
    let run = |effort: Effort| effort.of(BATCHES);
    let sides = vec![
        Side::new(ordered, move |effort| Ok(repeated(time::source, run(effort), READINGS, time::now))),
        Side::new(unordered, move |effort| Ok(repeated(time::source, run(effort), READINGS, time::now_unordered))),
        Side::new(INSTANT, move |effort| Ok(repeated(|| (), run(effort), READINGS, instant))),
        Side::new("quanta", move |effort| Ok(repeated(quanta::clock, run(effort), READINGS, quanta::now))),
        Side::new("minstant", move |effort| Ok(repeated(|| (), run(effort), READINGS, minstant::now))),
        counter_side(),
    ];
    let row = |id: &str, what: &str, ours: &str, peer: &str| {
        Spec::new(id, what, Metric::Cost, ours).peers(&[peer]).floor(COUNTER)
    };
    let goal = Goal::ratio(Bound::AtMost(0.6));
    let specs = vec![
        row("G12.cost", "reading the clock, as stamps do (unordered)", unordered, INSTANT).goal(goal),
        row("G12.ordered", "reading the clock after every earlier load", ordered, INSTANT),
        row("clock.quanta", "reading the clock (unordered)", unordered, "quanta"),
        row("clock.minstant", "reading the clock (unordered)", unordered, "minstant"),
    ];
    Experiment::new("clock cost", sides, specs)
}
