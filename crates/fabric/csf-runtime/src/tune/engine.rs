//! The search: one step of one knob at a time, each against the setting in force.
//!
//! Reference: Hooke and Jeeves, "Direct Search Solution of Numerical and Statistical Problems" (1961), the exploratory moves; the order of
//! the knobs is drawn anew in each round. It finds a local optimum. The winner of many comparisons is partly lucky, so the setting found
//! is judged once more, on a load it was not found on (rule R2), and rolled back whole if it is not better there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use csf_core::port::{Rng, Timer, within};
use serde::{Deserialize, Serialize};

use super::history::{Outcome, Trial, TuneReport};
use super::{Comparison, Direction, Knob, Metric, Parameters, TuneError};
use crate::BoxFuture;

/// Which load is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Load {
    /// The one the knobs are turned for.
    Tuning,
    /// One of the same kind that the search never sees.
    Unseen,
}

/// A component with knobs.
pub trait Tunable: Send {
    /// Takes the values, all or none, at once.
    ///
    /// # Errors
    /// In its own words; it goes on with the values it had. What it has taken once it takes again: that is how changes are rolled back.
    fn update_parameters(&mut self, parameters: &Parameters) -> Result<(), String>;

    /// Measures itself once under `load` with the values it has, in the metric's unit. May be dropped when it takes too long.
    ///
    /// # Errors
    /// In its own words, when there is no measurement.
    fn measure(&mut self, load: Load) -> BoxFuture<'_, Result<f64, String>>;
}

/// How carefully is measured and how long is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineLimits {
    /// Pairs per trial, at least 3, of two measurements on either side.
    pub pairs: usize,
    /// Trials on the tuning load per run.
    pub trials_max: usize,
    /// A gain counts when it is more than this many standard errors.
    pub noise_factor: f64,
    /// A gain counts when it is more than this share of the setting in force.
    pub gain_share_min: f64,
    /// Time between a change and its measurement.
    pub settle: Duration,
    /// Longest time of one measurement.
    pub measurement_max: Duration,
}

impl Default for EngineLimits {
    /// 9 pairs, 64 trials, 3 standard errors, 2 %, no time to settle, 10 s.
    fn default() -> Self {
        Self {
            pairs: 9,
            trials_max: 64,
            noise_factor: 3.0,
            gain_share_min: 0.02,
            settle: Duration::ZERO,
            measurement_max: Duration::from_secs(10),
        }
    }
}

/// Searches for a better setting. See the module for how.
pub struct OptimizationEngine {
    timer: Arc<dyn Timer>,
    rng: Box<dyn Rng>,
    limits: EngineLimits,
}

impl OptimizationEngine {
    /// An engine on this time and this chance; one seed is one order of trials.
    #[must_use]
    pub fn new(timer: Arc<dyn Timer>, rng: impl Rng + 'static, limits: EngineLimits) -> Self {
        Self { timer, rng: Box::new(rng), limits }
    }

    /// Tunes a component that has `start` in force. Every trial is also given to `tell` as soon as it is judged. Cancel safe: a run that
    /// is dropped gives the component `start` back.
    ///
    /// # Errors
    /// [`TuneError::NotMeasured`], and the component has `start` again; [`TuneError::Refused`] when it did not take back what it had.
    pub(super) async fn tune(
        &mut self,
        component: &mut dyn Tunable,
        metric: &Metric,
        knobs: &[Knob],
        start: &Parameters,
        tell: &mut (dyn FnMut(&Trial) + Send),
    ) -> Result<TuneReport, TuneError> {
        let rollback = Rollback { component, to: start };
        let (trials, found) = self.search(&mut *rollback.component, metric, knobs, start, tell).await?;
        let mut unseen = None;
        if found != *start {
            let trial = self.compare(&mut *rollback.component, metric, start, &found, Load::Unseen).await?;
            tell(&trial);
            unseen = Some(trial);
        }
        // `compare` has put the better one in force.
        rollback.forget();
        let is_better = unseen.as_ref().is_some_and(Trial::is_kept);
        let kept = if is_better { found } else { start.clone() };
        Ok(TuneReport { metric: metric.clone(), start: start.clone(), kept, trials, unseen })
    }

    /// Moves on the tuning load until no step is better; what it found is in force.
    async fn search(
        &mut self,
        component: &mut dyn Tunable,
        metric: &Metric,
        knobs: &[Knob],
        start: &Parameters,
        tell: &mut (dyn FnMut(&Trial) + Send),
    ) -> Result<(Vec<Trial>, Parameters), TuneError> {
        let (mut trials, mut in_force) = (Vec::new(), start.clone());
        // Each setting is tried once, so that the search ends.
        let mut seen = BTreeSet::from([start.clone()]);
        let mut has_moved = true;
        while has_moved {
            has_moved = false;
            for knob in self.shuffled(knobs) {
                for direction in [Direction::Up, Direction::Down] {
                    let mut goes_on = true;
                    while goes_on && trials.len() < self.limits.trials_max {
                        let Some(to) = neighbour(knob, &in_force, direction, &mut seen)? else { break };
                        let trial = self.compare(component, metric, &in_force, &to, Load::Tuning).await?;
                        goes_on = trial.is_kept();
                        if goes_on {
                            (has_moved, in_force) = (true, to);
                        }
                        tell(&trial);
                        trials.push(trial);
                    }
                }
            }
        }
        Ok((trials, in_force))
    }

    /// Fisher and Yates.
    fn shuffled<'a>(&mut self, knobs: &'a [Knob]) -> Vec<&'a Knob> {
        let mut order: Vec<_> = knobs.iter().collect();
        for at in (1..order.len()).rev() {
            // Which of a few knobs comes first: the tiny bias of a remainder does not matter.
            let other = self.rng.next_u64() % (at as u64 + 1);
            order.swap(at, usize::try_from(other).unwrap_or(0));
        }
        order
    }

    /// Measures both and leaves the better one in force.
    async fn compare(
        &self,
        component: &mut dyn Tunable,
        metric: &Metric,
        from: &Parameters,
        to: &Parameters,
        load: Load,
    ) -> Result<Trial, TuneError> {
        let mut measured = Comparison::default();
        let failed = self.measure_pairs(component, from, to, load, &mut measured).await;
        let gain = measured.gain(metric.objective);
        let least = self.limits.gain_share_min * measured.median_before().abs();
        let needed = (self.limits.noise_factor * measured.noise()).max(least);
        let mut outcome = match failed {
            Err(Failure::OfSettingInForce(reason)) => return Err(TuneError::NotMeasured { reason }),
            Err(Failure::OfTrial(outcome)) => outcome,
            Ok(()) if gain > needed => Outcome::Kept,
            Ok(()) => Outcome::NotBetter,
        };
        if outcome == Outcome::Kept
            && let Err(reason) = component.update_parameters(to)
        {
            outcome = Outcome::Refused(reason);
        }
        if outcome != Outcome::Kept {
            let refused = |reason| TuneError::Refused { parameters: from.to_string(), reason };
            component.update_parameters(from).map_err(refused)?;
        }
        let (from, to) = (from.clone(), to.clone());
        Ok(Trial { at: self.timer.now(), load, from, to, measured, gain, needed, outcome })
    }

    /// In pairs of two measurements each: before, after, after, before, so that a drift that is linear over the four cancels out exactly.
    async fn measure_pairs(
        &self,
        component: &mut dyn Tunable,
        from: &Parameters,
        to: &Parameters,
        load: Load,
        measured: &mut Comparison,
    ) -> Result<(), Failure> {
        for _ in 0..self.limits.pairs.max(3) {
            let (mut before, mut after) = (0.0, 0.0);
            for is_trial in [false, true, true, false] {
                if is_trial {
                    let refused = |reason| Failure::OfTrial(Outcome::Refused(reason));
                    component.update_parameters(to).map_err(refused)?;
                    let missing = |reason| Failure::OfTrial(Outcome::NotMeasured(reason));
                    after += self.measure(component, load).await.map_err(missing)? / 2.0;
                } else {
                    component.update_parameters(from).map_err(Failure::OfSettingInForce)?;
                    before += self.measure(component, load).await.map_err(Failure::OfSettingInForce)? / 2.0;
                }
            }
            measured.before.push(before);
            measured.after.push(after);
        }
        Ok(())
    }

    async fn measure(&self, component: &mut dyn Tunable, load: Load) -> Result<f64, String> {
        let EngineLimits { settle, measurement_max, .. } = self.limits;
        if settle > Duration::ZERO {
            self.timer.sleep(settle).await;
        }
        match within(&*self.timer, measurement_max, component.measure(load)).await {
            Some(Ok(value)) if value.is_finite() => Ok(value),
            Some(Ok(value)) => Err(format!("{value} is no measurement")),
            Some(Err(reason)) => Err(reason),
            None => Err(format!("nothing was measured within {measurement_max:?}")),
        }
    }
}

/// One step further, unless that was tried.
fn neighbour(
    knob: &Knob,
    in_force: &Parameters,
    direction: Direction,
    seen: &mut BTreeSet<Parameters>,
) -> Result<Option<Parameters>, TuneError> {
    let unknown = || TuneError::UnknownKnob { knob: knob.name.clone() };
    let value = in_force.get(&knob.name).ok_or_else(unknown)?;
    let Some(next) = knob.next(value, direction) else { return Ok(None) };
    let next = in_force.with(knob, next)?;
    Ok(seen.insert(next.clone()).then_some(next))
}

enum Failure {
    OfSettingInForce(String),
    OfTrial(Outcome),
}

/// Gives a component the setting it had before the run, unless the run ended well: also when its future is dropped or panics.
struct Rollback<'a> {
    component: &'a mut dyn Tunable,
    to: &'a Parameters,
}

impl Rollback<'_> {
    fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Rollback<'_> {
    fn drop(&mut self) {
        if let Err(reason) = self.component.update_parameters(self.to) {
            tracing::error!(parameters = %self.to, reason, "a component did not take its setting back");
        }
    }
}
