//! Tuning by measurement: a change of a knob stays only if what is measured next is better by more than the noise (AVI-102, TRU-062,
//! TRU-063).
//!
//! A [`Knob`] has a name, bounds and a step; a [`Tunable`] component takes the values of its knobs and measures itself. The
//! [`OptimizationEngine`] tries one step at a time, each beside the setting before it, and judges the whole on a load it was not tuned
//! on. [`PerformanceAutoTuner`] keeps the components and their history; [`PerformanceOptimizer`] starts it where a limit is broken.
//! Everything runs on the [`Timer`](csf_core::port::Timer) and [`Rng`](csf_core::port::Rng) ports and repeats from its seed.
//! Invariants: no value outside its bounds reaches a component; whatever ends a run early, a failure, a panic and a dropped future
//! included, the component has the setting again that it had before the run.

mod comparison;
mod engine;
mod error;
mod history;
mod knob;
mod optimizer;
#[cfg(test)]
mod tests;
mod tuner;

pub use comparison::{Comparison, Metric, Objective};
pub use engine::{EngineLimits, Load, OptimizationEngine, Tunable};
pub use error::TuneError;
pub use history::{Outcome, Trial, TuneReport};
pub use knob::{Direction, Knob, Parameters, Step};
pub use optimizer::{
    Breach, Improvement, Optimization, OptimizationResult, OptimizationType, OptimizerLimits, PerformanceOptimizer,
    SystemFigures, Target,
};
pub use tuner::PerformanceAutoTuner;
