//! The tuner as its users see it: components by name, with their knobs and their history (AVI-102).

use std::collections::{BTreeMap, VecDeque};

use super::history::{Trial, TuneReport};
use super::{Knob, Metric, OptimizationEngine, Parameters, Tunable, TuneError};

/// Trials remembered for each component.
const HISTORY_MAX: usize = 1_024;

struct Tuned {
    component: Box<dyn Tunable>,
    performance_metric: Metric,
    tuning_parameters: Vec<Knob>,
    in_force: Parameters,
    history: VecDeque<Trial>,
}

/// Tunes components, one at a time.
pub struct PerformanceAutoTuner {
    optimization_engine: OptimizationEngine,
    components: BTreeMap<String, Tuned>,
}

impl PerformanceAutoTuner {
    /// A tuner without components.
    #[must_use]
    pub const fn new(optimization_engine: OptimizationEngine) -> Self {
        Self { optimization_engine, components: BTreeMap::new() }
    }

    /// Adds a component with what it measures and its knobs at their present values, which it is given once, so that what the tuner
    /// believes is what there is.
    ///
    /// # Errors
    /// [`TuneError::Taken`], [`TuneError::OutOfBounds`], [`TuneError::DoubleKnob`], [`TuneError::Refused`]; it is not added then.
    pub fn register_component(
        &mut self,
        name: impl Into<String>,
        mut component: Box<dyn Tunable>,
        metric: Metric,
        parameters: Vec<(Knob, u64)>,
    ) -> Result<(), TuneError> {
        let name = name.into();
        if self.components.contains_key(&name) {
            return Err(TuneError::Taken { name });
        }
        let in_force = Parameters::new(&parameters)?;
        let refused = |reason| TuneError::Refused { parameters: in_force.to_string(), reason };
        component.update_parameters(&in_force).map_err(refused)?;
        let tuning_parameters = parameters.into_iter().map(|(knob, _)| knob).collect();
        let history = VecDeque::new();
        let tuned = Tuned { component, performance_metric: metric, tuning_parameters, in_force, history };
        self.components.insert(name, tuned);
        Ok(())
    }

    /// Searches for a better setting of one component and leaves it in force, or the one before when there is none. Cancel safe: a run
    /// that is dropped leaves the setting before the run in force, and its trials in the history.
    ///
    /// # Errors
    /// [`TuneError::UnknownComponent`]; [`TuneError::NotMeasured`] and [`TuneError::Refused`], which end the run as a drop does.
    pub async fn optimize_performance(&mut self, name: &str) -> Result<TuneReport, TuneError> {
        let unknown = || TuneError::UnknownComponent { name: name.to_owned() };
        let tuned = self.components.get_mut(name).ok_or_else(unknown)?;
        let Tuned { component, performance_metric, tuning_parameters, in_force, history } = tuned;
        let mut remember = |trial: &Trial| {
            tracing::info!(component = name, %trial, "tuning");
            if history.len() == HISTORY_MAX {
                history.pop_front();
            }
            history.push_back(trial.clone());
        };
        let engine = &mut self.optimization_engine;
        let run = engine.tune(&mut **component, performance_metric, tuning_parameters, in_force, &mut remember);
        let report = run.await?;
        in_force.clone_from(&report.kept);
        Ok(report)
    }

    /// Puts values in force that a person or another part chose; knobs that are not named stay.
    ///
    /// # Errors
    /// [`TuneError::UnknownComponent`], [`TuneError::UnknownKnob`], [`TuneError::OutOfBounds`], [`TuneError::Refused`]; nothing is
    /// changed then.
    pub fn apply_parameters(&mut self, name: &str, values: &[(&str, u64)]) -> Result<(), TuneError> {
        let unknown = || TuneError::UnknownComponent { name: name.to_owned() };
        let tuned = self.components.get_mut(name).ok_or_else(unknown)?;
        let mut wanted = tuned.in_force.clone();
        for (knob_name, value) in values {
            let knob = tuned.tuning_parameters.iter().find(|knob| knob.name == *knob_name);
            let knob = knob.ok_or_else(|| TuneError::UnknownKnob { knob: (*knob_name).to_owned() })?;
            wanted = wanted.with(knob, *value)?;
        }
        let refused = |reason| TuneError::Refused { parameters: wanted.to_string(), reason };
        tuned.component.update_parameters(&wanted).map_err(refused)?;
        tuned.in_force = wanted;
        Ok(())
    }

    /// The values in force.
    #[must_use]
    pub fn parameters(&self, name: &str) -> Option<&Parameters> {
        Some(&self.components.get(name)?.in_force)
    }

    /// The knobs of a component.
    #[must_use]
    pub fn knobs(&self, name: &str) -> Option<&[Knob]> {
        Some(&self.components.get(name)?.tuning_parameters)
    }

    /// The newest trials of a component, oldest first, up to 1,024: each prints itself with its reason.
    pub fn history(&self, name: &str) -> impl Iterator<Item = &Trial> {
        self.components.get(name).into_iter().flat_map(|tuned| &tuned.history)
    }
}
