//! Whether one setting is better than another, by more than the noise.
//!
//! Both are measured in turn: before, after, after, before make a pair of means, so that what else the machine does meets both alike and
//! a steady drift cancels out. The judge is the median of the pairs' differences against its standard error, which is estimated from the
//! median absolute deviation, so that a few disturbed samples decide nothing.
//! Reference: Rousseeuw and Croux, "Alternatives to the Median Absolute Deviation" (1993) for the factor 1.4826; the standard error of a
//! median of n normal samples is 1.2533 σ/√n (Kenney and Keeping, "Mathematics of Statistics", 1962).

use serde::{Deserialize, Serialize};

/// The standard deviation of normal samples over their median absolute deviation.
const SIGMA_PER_MAD: f64 = 1.4826;
/// √(π/2): the standard error of a median over that of a mean.
const MEDIAN_ERROR: f64 = 1.253_314;

/// Which values are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Smaller ones: latency.
    Minimize,
    /// Larger ones: throughput.
    Maximize,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// What it is, with its unit: `latency_ns`.
    pub name: String,
    /// Which values are better.
    pub objective: Objective,
}

impl Metric {
    /// A metric to make small.
    pub fn minimize(name: impl Into<String>) -> Self {
        Self { name: name.into(), objective: Objective::Minimize }
    }

    /// A metric to make large.
    pub fn maximize(name: impl Into<String>) -> Self {
        Self { name: name.into(), objective: Objective::Maximize }
    }
}

/// Two settings measured in pairs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// What the setting in force gave in each pair, in the metric's unit.
    pub before: Vec<f64>,
    /// What the setting on trial gave in the same pairs.
    pub after: Vec<f64>,
}

impl Comparison {
    /// Median before.
    #[must_use]
    pub fn median_before(&self) -> f64 {
        median(self.before.clone())
    }

    /// Median after.
    #[must_use]
    pub fn median_after(&self) -> f64 {
        median(self.after.clone())
    }

    /// Median of the pairs' differences, above 0 when the later one is better. In the metric's unit.
    #[must_use]
    pub fn gain(&self, objective: Objective) -> f64 {
        median(self.gains(objective))
    }

    /// Standard error of the gain. In the metric's unit.
    #[must_use]
    pub fn noise(&self) -> f64 {
        // Of which sign the differences are does not matter.
        let gains = self.gains(Objective::Maximize);
        let (middle, count) = (median(gains.clone()), gains.len().max(1) as f64);
        let deviation = median(gains.into_iter().map(|gain| (gain - middle).abs()).collect());
        SIGMA_PER_MAD * deviation * MEDIAN_ERROR / count.sqrt()
    }

    /// The improvement as a share of what was before, from the two medians; below 0 when it got worse.
    #[must_use]
    pub fn improvement(&self, objective: Objective) -> f64 {
        let (before, after) = (self.median_before(), self.median_after());
        let better = match objective {
            Objective::Minimize => before - after,
            Objective::Maximize => after - before,
        };
        if before == 0.0 { 0.0 } else { better / before.abs() }
    }

    fn gains(&self, objective: Objective) -> Vec<f64> {
        let sign = match objective {
            Objective::Minimize => -1.0,
            Objective::Maximize => 1.0,
        };
        self.before.iter().zip(&self.after).map(|(before, after)| sign * (after - before)).collect()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_comparison_are_those_of_the_textbook() {
        let compared = Comparison { before: vec![10.0, 12.0, 11.0, 30.0], after: vec![8.0, 9.0, 9.0, 20.0] };
        assert_eq!((compared.median_before(), compared.median_after()), (11.5, 9.0));
        // Differences 2, 3, 2, 10: median 2.5, deviations 0.5, 0.5, 0.5, 7.5.
        assert_eq!(compared.gain(Objective::Minimize), 2.5);
        assert_eq!(compared.gain(Objective::Maximize), -2.5);
        assert!((compared.noise() - 1.4826 * 0.5 * 1.253_314 / 2.0).abs() < 1e-12);
        assert!((compared.improvement(Objective::Minimize) - 2.5 / 11.5).abs() < 1e-12);
        assert_eq!(Comparison::default().improvement(Objective::Minimize), 0.0);
    }
}
