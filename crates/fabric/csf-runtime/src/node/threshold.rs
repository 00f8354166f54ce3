//! Figures that are watched beside the checks: each has limits beyond which it is a finding (AVI-080).

use std::sync::Arc;
use std::time::Duration;

use super::health::{Finding, HealthCriticality, HealthResult};

/// Reads a figure; `None` while there is nothing to measure.
pub type Metric = Arc<dyn Fn() -> Option<f64> + Send + Sync>;

/// Which side of a limit is too far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The figure may not be above it.
    Above,
    /// The figure may not be below it.
    Below,
}

/// How serious a figure beyond its limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Somebody should look.
    Warning,
    /// Something does not work any more.
    Critical,
}

/// The limits of one figure. A figure exactly at a limit is within it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlertThreshold {
    /// Which side is too far.
    pub side: Side,
    /// Beyond it the part is degraded.
    pub warning: Option<f64>,
    /// Beyond it the part is unhealthy.
    pub critical: Option<f64>,
    /// Whether the node can do its work while the figure is critical.
    pub criticality: HealthCriticality,
}

impl AlertThreshold {
    /// Degraded above `warning`, unhealthy above `critical`; the node goes on.
    #[must_use]
    pub const fn above(warning: f64, critical: f64) -> Self {
        let (warning, critical) = (Some(warning), Some(critical));
        Self { side: Side::Above, warning, critical, criticality: HealthCriticality::NonCritical }
    }

    /// Degraded below `warning`, unhealthy below `critical`; the node goes on.
    #[must_use]
    pub const fn below(warning: f64, critical: f64) -> Self {
        Self { side: Side::Below, ..Self::above(warning, critical) }
    }

    /// How far a figure has gone, and the limit it passed. What is no number is beyond every limit.
    #[must_use]
    pub fn judge(&self, value: f64) -> Option<(Severity, f64)> {
        let is_beyond = |limit: &f64| match self.side {
            _ if value.is_nan() => true,
            Side::Above => value > *limit,
            Side::Below => value < *limit,
        };
        let critical = self.critical.filter(is_beyond).map(|limit| (Severity::Critical, limit));
        critical.or_else(|| self.warning.filter(is_beyond).map(|limit| (Severity::Warning, limit)))
    }
}

/// A figure that nobody registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no figure is called `{name}`; the node has {known}")]
pub struct UnknownMetric {
    /// The name asked for.
    pub name: String,
    /// Those there are.
    pub known: String,
}

/// A figure with its limits, if it has any.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) name: String,
    pub(super) read: Metric,
    pub(super) threshold: Option<AlertThreshold>,
}

impl Watched {
    /// What is found of it now; nothing where it has no limits.
    pub(super) fn look(&self) -> Option<Finding> {
        let threshold = self.threshold?;
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (self.read)()));
        let result = match read {
            Err(panic) => {
                HealthResult::Unhealthy(format!("the figure panicked: {}", crate::exec::panic_text(panic.as_ref())))
            }
            Ok(None) => HealthResult::Healthy,
            Ok(Some(value)) => match threshold.judge(value) {
                None => HealthResult::Healthy,
                Some((severity, limit)) => {
                    let side = if threshold.side == Side::Above { "above" } else { "below" };
                    let text = format!("{value} is {side} {limit}");
                    if severity == Severity::Critical {
                        HealthResult::Unhealthy(text)
                    } else {
                        HealthResult::Degraded(text)
                    }
                }
            },
        };
        Some(Finding { name: self.name.clone(), criticality: threshold.criticality, result, took: Duration::ZERO })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_at_its_limit_is_within_it_and_one_beyond_both_is_critical() {
        let above = AlertThreshold::above(10.0, 20.0);
        let below = AlertThreshold::below(10.0, 5.0);
        let warning = |limit| Some((Severity::Warning, limit));
        let critical = |limit| Some((Severity::Critical, limit));
        let cases = [
            (above, 10.0, None),
            (above, 10.5, warning(10.0)),
            (above, 20.0, warning(10.0)),
            (above, f64::INFINITY, critical(20.0)),
            (above, f64::NAN, critical(20.0)),
            (below, 10.0, None),
            (below, 7.0, warning(10.0)),
            (below, 4.0, critical(5.0)),
            (AlertThreshold { critical: None, ..above }, 99.0, warning(10.0)),
            (AlertThreshold { warning: None, ..above }, 15.0, None),
        ];
        for (threshold, value, expected) in cases {
            assert_eq!(threshold.judge(value), expected, "{value} against {threshold:?}");
        }
    }
}
