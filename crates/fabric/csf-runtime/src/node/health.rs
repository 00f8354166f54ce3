//! System health from single checks (FRM-070).
//!
//! Order: healthy < degraded < unhealthy; the overall status never gets better by adding a check.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whether the node can do its work without the checked part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthCriticality {
    /// The node is unhealthy without it.
    Critical,
    /// The node is degraded without it.
    NonCritical,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthResult {
    /// Works.
    Healthy,
    /// Works with a restriction.
    Degraded(String),
    /// Does not work.
    Unhealthy(String),
    /// Did not answer in time.
    Timeout,
}

/// What was found of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub name: String,
    /// How much depends on it.
    pub criticality: HealthCriticality,
    /// What was found.
    pub result: HealthResult,
    /// How long the check took.
    pub took: Duration,
}

/// Status of one part or of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Works.
    Healthy,
    /// Works with a restriction.
    Degraded,
    /// Does not work.
    Unhealthy,
    /// No answer.
    Unknown,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        })
    }
}

/// One part of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComponentHealth {
    /// What was checked.
    pub name: String,
    /// How it is.
    pub status: Status,
    /// In words; empty when healthy.
    pub message: String,
    /// Whether the node can do its work without it.
    pub criticality: HealthCriticality,
    /// How long its check took, milliseconds.
    pub response_ms: f64,
}

/// The node's health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemHealthReport {
    /// The worst of all, weighted by criticality.
    pub overall_status: Status,
    /// Each check.
    pub components: Vec<ComponentHealth>,
    /// Critical parts that do not work.
    pub critical_failures: Vec<String>,
    /// How long all checks together took, milliseconds.
    pub check_duration_ms: f64,
    /// When it was made, nanoseconds since the Unix epoch, as text.
    pub timestamp: String,
}

/// Combines what was found into a report.
#[must_use]
pub fn combine(findings: &[Finding], timestamp: String, took: Duration) -> SystemHealthReport {
    let mut report = SystemHealthReport {
        overall_status: Status::Healthy,
        components: Vec::new(),
        critical_failures: Vec::new(),
        check_duration_ms: took.as_secs_f64() * 1e3,
        timestamp,
    };
    for check in findings {
        let (status, message) = match &check.result {
            HealthResult::Healthy => (Status::Healthy, String::new()),
            HealthResult::Degraded(text) => (Status::Degraded, text.clone()),
            HealthResult::Unhealthy(text) => (Status::Unhealthy, text.clone()),
            HealthResult::Timeout => (Status::Unknown, "the check timed out".to_owned()),
        };
        let is_fatal = status == Status::Unhealthy && check.criticality == HealthCriticality::Critical;
        if is_fatal {
            report.critical_failures.push(check.name.clone());
        }
        let weight = match status {
            Status::Healthy => Status::Healthy,
            _ if is_fatal => Status::Unhealthy,
            _ => Status::Degraded,
        };
        report.overall_status = report.overall_status.max(weight);
        report.components.push(ComponentHealth {
            name: check.name.clone(),
            status,
            message,
            criticality: check.criticality,
            response_ms: check.took.as_secs_f64() * 1e3,
        });
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_two_checks_follows_the_table() {
        use HealthCriticality::{Critical, NonCritical};
        let results = [
            HealthResult::Healthy,
            HealthResult::Degraded("slow".into()),
            HealthResult::Unhealthy("gone".into()),
            HealthResult::Timeout,
        ];
        // FRM-070: unhealthy critical → unhealthy and listed; otherwise anything but healthy → at least degraded.
        let weight = |criticality, result: &HealthResult| match (criticality, result) {
            (_, HealthResult::Healthy) => 0,
            (Critical, HealthResult::Unhealthy(_)) => 2,
            _ => 1,
        };
        for (c1, c2) in
            [(Critical, Critical), (Critical, NonCritical), (NonCritical, Critical), (NonCritical, NonCritical)]
        {
            for r1 in &results {
                for r2 in &results {
                    let check = |name: &str, criticality, result: &HealthResult| Finding {
                        name: name.into(),
                        criticality,
                        result: result.clone(),
                        took: Duration::ZERO,
                    };
                    let report = combine(&[check("a", c1, r1), check("b", c2, r2)], "0".into(), Duration::ZERO);
                    let expected =
                        [Status::Healthy, Status::Degraded, Status::Unhealthy][weight(c1, r1).max(weight(c2, r2))];
                    assert_eq!(report.overall_status, expected, "{c1:?} {r1:?} {c2:?} {r2:?}");
                    let fatal = usize::from(weight(c1, r1) == 2) + usize::from(weight(c2, r2) == 2);
                    assert_eq!(report.critical_failures.len(), fatal);
                }
            }
        }
    }
}
