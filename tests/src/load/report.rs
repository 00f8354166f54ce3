//! What came of a load test, level by level.

use std::fmt;

use serde_json::{Value, json};

use super::ScenarioResult;

/// A level that has a greater share of errors is the last one.
pub const ERROR_RATE_MAX: f64 = 0.01;
const PERCENTILES: [(&str, f64); 5] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

/// The levels that were run.
#[derive(Clone, Debug, Default)]
pub struct LoadTestReport {
    /// In the order in which they were run.
    pub results: Vec<ScenarioResult>,
    /// Why the last level is the last one, where it failed.
    pub warning: Option<String>,
}

impl LoadTestReport {
    /// Takes in a level; false when its errors are more than [`ERROR_RATE_MAX`]: then the test ends with a warning.
    pub fn add_result(&mut self, result: ScenarioResult) -> bool {
        let (rate, users) = (result.error_rate(), result.concurrent_users);
        if rate > ERROR_RATE_MAX {
            let most = result.failures.iter().max_by_key(|(_, count)| **count);
            let why = most.map_or_else(String::new, |(why, count)| format!("; {count} of them: {why}"));
            self.warning = Some(format!(
                "warning: stopped at {users} users: {:.2} % of {} requests failed, more than {} %{why}",
                rate * 100.0,
                result.requests(),
                ERROR_RATE_MAX * 100.0,
            ));
        }
        self.results.push(result);
        self.warning.is_none()
    }

    /// An object per level, and the warning.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let level = |result: &ScenarioResult| {
            let latencies = PERCENTILES.map(|(name, p)| (name, json!(result.latency_us.value_at_percentile(p))));
            json!({
                "concurrent_users": result.concurrent_users, "requests": result.requests(), "errors": result.errors(),
                "error_rate": result.error_rate(), "failures": result.failures, "seconds": result.took.as_secs_f64(),
                "latency_us": latencies.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Map<_, _>>(),
            })
        };
        json!({ "levels": self.results.iter().map(level).collect::<Vec<_>>(), "warning": self.warning })
    }
}

impl fmt::Display for LoadTestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} {:>9} {:>9} {:>8}", "users", "requests", "errors %", "per s")?;
        PERCENTILES.iter().try_for_each(|(name, _)| write!(f, " {:>9}", format!("{name} ms")))?;
        for result in &self.results {
            let rate_hz = result.requests() as f64 / result.took.as_secs_f64().max(1e-9);
            let (users, errors) = (result.concurrent_users, result.error_rate() * 100.0);
            write!(f, "\n{users:>6} {:>9} {errors:>9.2} {rate_hz:>8.0}", result.requests())?;
            for (_, percentile) in PERCENTILES {
                write!(f, " {:>9.2}", result.latency_us.value_at_percentile(percentile) as f64 / 1e3)?;
            }
        }
        self.warning.as_ref().map_or(Ok(()), |warning| write!(f, "\n{warning}"))
    }
}
