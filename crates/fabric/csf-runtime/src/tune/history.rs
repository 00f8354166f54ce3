//! What was tried, what was measured, and why it stayed or not.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::{Comparison, Load, Metric, Parameters};

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was better by more than was needed.
    Kept,
    /// Rolled back: not better by more than was needed.
    NotBetter,
    /// Rolled back: the component refused it.
    Refused(String),
    /// Rolled back: it could not be measured, or not in time.
    NotMeasured(String),
}

/// One change that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// When it was judged, on the tuner's timer.
    pub at: Duration,
    /// On which load.
    pub load: Load,
    /// The setting in force before.
    pub from: Parameters,
    /// The setting on trial.
    pub to: Parameters,
    /// Both measured; less than whole when a measurement failed.
    pub measured: Comparison,
    /// By how much it was better; below 0 when worse. In the metric's unit.
    pub gain: f64,
    /// By more than which it had to be better. In the metric's unit.
    pub needed: f64,
    /// What became of it.
    pub outcome: Outcome,
}

impl Trial {
    /// Whether the change stayed.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.outcome == Outcome::Kept
    }
}

/// The names whose value differs, with both values.
fn changed<'a>(from: &'a Parameters, to: &'a Parameters) -> impl Iterator<Item = (&'a str, u64, u64)> {
    let both = from.iter().zip(to.iter()).map(|((name, from), (_, to))| (name, from, to));
    both.filter(|(_, from, to)| from != to)
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, from, to)) in changed(&self.from, &self.to).enumerate() {
            write!(f, "{}{name} {from} -> {to}", if at == 0 { "" } else { ", " })?;
        }
        let Self { gain, needed, .. } = self;
        let (before, after) = (self.measured.median_before(), self.measured.median_after());
        match &self.outcome {
            Outcome::Kept => write!(f, ": kept, {before:.4} -> {after:.4}, better by {gain:.4} > {needed:.4}"),
            Outcome::NotBetter => {
                write!(f, ": rolled back, {before:.4} -> {after:.4}, better by {gain:.4}, not more than {needed:.4}")
            }
            Outcome::Refused(reason) => write!(f, ": rolled back, refused: {reason}"),
            Outcome::NotMeasured(reason) => write!(f, ": rolled back, not measured: {reason}"),
        }
    }
}

/// What a run of the tuner did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TuneReport {
    /// What was measured.
    pub metric: Metric,
    /// The setting before.
    pub start: Parameters,
    /// The setting after: `start` again when the run as a whole was rolled back.
    pub kept: Parameters,
    /// Every change tried on the tuning load, in order.
    pub trials: Vec<Trial>,
    /// The setting found against the one before, on the unseen load; `None` when no change stayed.
    pub unseen: Option<Trial>,
}

impl TuneReport {
    /// The share gained on the unseen load, from the medians recorded there; 0 when nothing stayed.
    #[must_use]
    pub fn measure_performance_improvement(&self) -> f64 {
        let kept = self.unseen.as_ref().filter(|trial| trial.is_kept());
        kept.map_or(0.0, |trial| trial.measured.improvement(self.metric.objective))
    }

    /// The knobs whose value is another than before, with both values.
    pub fn changes(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        changed(&self.start, &self.kept)
    }
}
