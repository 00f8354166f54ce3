//! When to tune: limits of the system's figures, and results that state measurements (TRU-062, TRU-063).
//!
//! A figure beyond its limit starts the tuner on the component that stands for it. What the four parts of the specification do (pool
//! sizes, caches, balance, allocation, the measures of TRU-015) are knobs of that component; a measure to switch on is a knob from 0 to 1.

use std::sync::Arc;

use csf_core::NanoTime;
use csf_core::port::TimeSource;
use serde::{Deserialize, Serialize};

use super::history::TuneReport;
use super::{Objective, PerformanceAutoTuner, TuneError};

/// What a limit is about; its name is the name of its component in the tuner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The certificate authority.
    Trustchain,
    /// The transport.
    Stoq,
    /// The assets.
    Hypermesh,
    /// The way through all of them.
    Integration,
}

impl Target {
    /// The component's name in the tuner.
    #[must_use]
    pub const fn component(self) -> &'static str {
        match self {
            Self::Trustchain => "trustchain",
            Self::Stoq => "stoq",
            Self::Hypermesh => "hypermesh",
            Self::Integration => "integration",
        }
    }
}

/// Limits beyond which is tuned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerLimits {
    /// Largest average latency of the certificate authority, ms.
    pub trustchain_latency_ms_max: f64,
    /// Smallest throughput of the transport, Gbit/s.
    pub stoq_throughput_gbps_min: f64,
    /// Largest average latency of an asset operation, ms.
    pub hypermesh_latency_ms_max: f64,
    /// Largest latency from end to end, ms.
    pub end_to_end_latency_ms_max: f64,
}

impl Default for OptimizerLimits {
    /// 35 ms, 40.0 Gbit/s, 2 ms, 5 s (TRU-062).
    fn default() -> Self {
        Self {
            trustchain_latency_ms_max: 35.0,
            stoq_throughput_gbps_min: 40.0,
            hypermesh_latency_ms_max: 2.0,
            end_to_end_latency_ms_max: 5_000.0,
        }
    }
}

/// What was measured; absent where nothing was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SystemFigures {
    /// Average latency of the certificate authority, ms.
    pub trustchain_latency_ms: Option<f64>,
    /// Throughput of the transport, Gbit/s.
    pub stoq_throughput_gbps: Option<f64>,
    /// Average latency of an asset operation, ms.
    pub hypermesh_latency_ms: Option<f64>,
    /// Latency from end to end, ms.
    pub end_to_end_latency_ms: Option<f64>,
}

/// A figure beyond its limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Breach {
    /// Of what.
    pub target: Target,
    /// The figure, in its limit's unit.
    pub measured: f64,
    /// The limit.
    pub limit: f64,
}

impl OptimizerLimits {
    /// Every field that is no limit.
    #[must_use]
    pub fn validate(&self) -> Vec<TuneError> {
        let fields = [
            ("trustchain_latency_ms_max", self.trustchain_latency_ms_max),
            ("stoq_throughput_gbps_min", self.stoq_throughput_gbps_min),
            ("hypermesh_latency_ms_max", self.hypermesh_latency_ms_max),
            ("end_to_end_latency_ms_max", self.end_to_end_latency_ms_max),
        ];
        let is_bad = |(_, value): &(_, f64)| !(value.is_finite() && *value > 0.0);
        fields.into_iter().filter(is_bad).map(|(field, value)| TuneError::BadLimit { field, value }).collect()
    }

    /// The figures beyond their limits; a figure equal to its limit keeps it.
    #[must_use]
    pub fn breaches(&self, figures: &SystemFigures) -> Vec<Breach> {
        use Objective::{Maximize, Minimize};
        let rules = [
            (Target::Trustchain, figures.trustchain_latency_ms, self.trustchain_latency_ms_max, Minimize),
            (Target::Stoq, figures.stoq_throughput_gbps, self.stoq_throughput_gbps_min, Maximize),
            (Target::Hypermesh, figures.hypermesh_latency_ms, self.hypermesh_latency_ms_max, Minimize),
            (Target::Integration, figures.end_to_end_latency_ms, self.end_to_end_latency_ms_max, Minimize),
        ];
        let broken = rules.into_iter().filter_map(|(target, measured, limit, objective)| {
            let measured = measured?;
            let is_broken = match objective {
                Minimize => measured > limit,
                Maximize => measured < limit,
            };
            is_broken.then_some(Breach { target, measured, limit })
        });
        broken.collect()
    }
}

/// What an optimization is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OptimizationType {
    /// Shorter times.
    LatencyReduction,
    /// More in the same time.
    ThroughputImprovement,
}

/// A change that stayed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Optimization {
    /// Whose knob.
    pub component: String,
    /// What it is for.
    pub type_: OptimizationType,
    /// The share that was expected of it, beside what was measured; 0 when nobody said.
    pub expected_improvement: f64,
    /// The knob.
    pub knob: String,
    /// Its value before.
    pub from: u64,
    /// Its value now.
    pub to: u64,
}

/// What was gained at one component, measured on the load it was not tuned on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Improvement {
    /// Which component.
    pub component: String,
    /// What was measured, with its unit.
    pub metric: String,
    /// Median before.
    pub before: f64,
    /// Median after.
    pub after: f64,
    /// The difference as a share of `before`, above 0 when better.
    pub share: f64,
}

/// What the optimizer did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OptimizationResult {
    /// The changes that stayed.
    pub applied_optimizations: Vec<Optimization>,
    /// What they gained; one entry for each component with such changes.
    pub performance_improvement: Vec<Improvement>,
    /// Breaches nothing was registered for, or whose component could not be measured, with the reason.
    pub unanswered: Vec<(Breach, TuneError)>,
    /// Everything that was tried, what was rolled back among it.
    pub reports: Vec<TuneReport>,
    /// When it ended.
    pub timestamp: NanoTime,
}

/// Tunes what is beyond its limit.
pub struct PerformanceOptimizer {
    limits: OptimizerLimits,
    tuner: PerformanceAutoTuner,
    clock: Arc<dyn TimeSource>,
}

impl PerformanceOptimizer {
    /// An optimizer of the components in `tuner` that are named like a [`Target`].
    ///
    /// # Errors
    /// The first of [`OptimizerLimits::validate`].
    pub fn new(
        limits: OptimizerLimits,
        tuner: PerformanceAutoTuner,
        clock: Arc<dyn TimeSource>,
    ) -> Result<Self, TuneError> {
        limits.validate().into_iter().next().map_or(Ok(Self { limits, tuner, clock }), Err)
    }

    /// The tuner, to register components and to read the history.
    pub const fn tuner(&mut self) -> &mut PerformanceAutoTuner {
        &mut self.tuner
    }

    /// Tunes the component of every figure beyond its limit, in the order of [`Target`]. What one of them refuses stops none of the
    /// others. Cancel safe, as [`PerformanceAutoTuner::optimize_performance`].
    pub async fn optimize_system_performance(&mut self, figures: &SystemFigures) -> OptimizationResult {
        let mut result = OptimizationResult {
            applied_optimizations: Vec::new(),
            performance_improvement: Vec::new(),
            unanswered: Vec::new(),
            reports: Vec::new(),
            timestamp: NanoTime::ZERO,
        };
        for breach in self.limits.breaches(figures) {
            let name = breach.target.component();
            match self.tuner.optimize_performance(name).await {
                Ok(report) => self.state(name, report, &mut result),
                Err(error) => result.unanswered.push((breach, error)),
            }
        }
        result.timestamp = self.clock.now_ns().unwrap_or(NanoTime::ZERO);
        result
    }

    /// Writes down what stayed.
    fn state(&self, name: &str, report: TuneReport, result: &mut OptimizationResult) {
        let type_ = match report.metric.objective {
            Objective::Minimize => OptimizationType::LatencyReduction,
            Objective::Maximize => OptimizationType::ThroughputImprovement,
        };
        let expected = |changed: &str| {
            let knob = self.tuner.knobs(name).unwrap_or_default().iter().find(|knob| knob.name == changed);
            knob.map_or(0.0, |knob| knob.expected_improvement)
        };
        result.applied_optimizations.extend(report.changes().map(|(knob, from, to)| Optimization {
            component: name.to_owned(),
            type_,
            expected_improvement: expected(knob),
            knob: knob.to_owned(),
            from,
            to,
        }));
        if let Some(trial) = report.unseen.as_ref().filter(|trial| trial.is_kept()) {
            result.performance_improvement.push(Improvement {
                component: name.to_owned(),
                metric: report.metric.name.clone(),
                before: trial.measured.median_before(),
                after: trial.measured.median_after(),
                share: report.measure_performance_improvement(),
            });
        }
        result.reports.push(report);
    }
}
