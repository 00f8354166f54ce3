//! Options of `host.watch`.

use std::collections::{BTreeMap, BTreeSet};

use csf_runtime::Options;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fields::is_watched;

/// How the watch judges. Each stream has its own rate: at 2 Hz, 240 samples are two minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatchOptions {
    /// Samples after which an old sample counts half in the expectation, 2..=1000000.
    pub half_life_samples: f64,
    /// Samples of a field before it is judged, 2..=1000000.
    pub warm_up_samples: u64,
    /// Standard deviations of the smoothed deviation at which an anomaly is raised, 1..=1000.
    pub raise_sigmas: f64,
    /// Standard deviations at which it is cleared, 0.1..=`raise_sigmas`.
    pub clear_sigmas: f64,
    /// Shortest time between two raises of one field, seconds, 0..=86400; what comes sooner is counted in the next raise.
    pub raise_interval_s: f64,
    /// Smallest believed standard deviation of a field, in its unit, instead of the built-in one: `"host.cpu.busy_share" = 0.1`.
    pub floors: BTreeMap<String, f64>,
    /// Fields not to be watched: `["host.clock.wall_step_ns"]`.
    pub ignore: BTreeSet<String>,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            half_life_samples: 240.0,
            warm_up_samples: 40,
            raise_sigmas: 5.0,
            clear_sigmas: 2.5,
            raise_interval_s: 20.0,
            floors: BTreeMap::new(),
            ignore: BTreeSet::new(),
        }
    }
}

impl Options for WatchOptions {
    fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut within = |name: &str, value: f64, least: f64, most: f64| {
            if !(least..=most).contains(&value) {
                problems.push(format!("`{name}` = {value} is outside {least}..={most}"));
            }
        };
        within("half_life_samples", self.half_life_samples, 2.0, 1e6);
        within("warm_up_samples", self.warm_up_samples as f64, 2.0, 1e6);
        within("raise_sigmas", self.raise_sigmas, 1.0, 1000.0);
        within("clear_sigmas", self.clear_sigmas, 0.1, self.raise_sigmas);
        within("raise_interval_s", self.raise_interval_s, 0.0, 86_400.0);
        for (name, floor) in &self.floors {
            within(&format!("floors.{name}"), *floor, f64::MIN_POSITIVE, f64::MAX);
        }
        for name in self.floors.keys().chain(&self.ignore).filter(|name| !is_watched(name)) {
            problems.push(format!("`{name}` is no watched field; a name looks like `host.cpu.busy_share`"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_works_when_absent() {
        let options: WatchOptions = serde_json::from_str("{}").unwrap();
        assert_eq!(options, WatchOptions::default());
        assert!(options.validate().is_empty());
    }

    #[test]
    fn all_bad_options_are_named_at_once() {
        let options = WatchOptions {
            half_life_samples: f64::NAN,
            clear_sigmas: 6.0,
            floors: BTreeMap::from([("host.cpu.busy_share".to_owned(), 0.0)]),
            ignore: BTreeSet::from(["host.cpu.buzy_share".to_owned()]),
            ..WatchOptions::default()
        };
        let problems = options.validate();
        assert_eq!(problems.len(), 4, "{problems:?}");
    }
}
