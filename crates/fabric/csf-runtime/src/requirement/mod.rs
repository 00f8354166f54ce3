//! Performance requirements of an environment: a latency and a rate that a measured path keeps or breaks (INT-086, INT-080).
//!
//! [`PerformanceRequirements`] judges a [`PathMeasurement`], whoever took it: a bench or a running bus. [`BusRequirementCheck`] measures a
//! running bus and is a health check, so that a broken requirement raises the node's alert and a kept one ends it.
//! Invariant: what was not measured is not judged, and the ruling says so.

mod bus;
#[cfg(test)]
mod tests;

pub(crate) use bus::BUS_CHECK;
pub use bus::{BUS_PATH, BusRequirementCheck};

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a path must keep. A figure equal to a limit keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PerformanceRequirements {
    /// Largest mean latency, µs.
    pub max_latency_us: u64,
    /// Smallest rate of a path that is offered more than it carries, packets per second.
    pub min_throughput_msg_per_sec: u64,
}

impl Default for PerformanceRequirements {
    /// Those of development.
    fn default() -> Self {
        Self::DEVELOPMENT
    }
}

impl PerformanceRequirements {
    /// INT-080, development: 10 µs, 10,000 per second.
    pub const DEVELOPMENT: Self = Self { max_latency_us: 10, min_throughput_msg_per_sec: 10_000 };
    /// INT-080, staging: 5 µs, 100,000 per second.
    pub const STAGING: Self = Self { max_latency_us: 5, min_throughput_msg_per_sec: 100_000 };
    /// INT-080, production: 1 µs, 1,000,000 per second.
    pub const PRODUCTION: Self = Self { max_latency_us: 1, min_throughput_msg_per_sec: 1_000_000 };

    /// Judges both requirements, latency first.
    #[must_use]
    pub fn judge(&self, path: &PathMeasurement) -> [Judgement; 2] {
        let judgement = |requirement, limit, figure: &Figure, is_broken: fn(f64, f64) -> bool| {
            let ruling = match figure {
                Figure::Measured { value, .. } if is_broken(*value, limit) => Ruling::Broken,
                Figure::Measured { .. } => Ruling::Kept,
                Figure::NotMeasured(_) => Ruling::NotJudged,
            };
            Judgement { path: path.name.clone(), requirement, limit, figure: figure.clone(), ruling }
        };
        let (latency, rate) = (self.max_latency_us as f64, self.min_throughput_msg_per_sec as f64);
        [
            judgement(Requirement::MaxLatencyUs, latency, &path.latency_us, |value, limit| value > limit),
            judgement(Requirement::MinThroughputMsgPerSec, rate, &path.throughput_msg_per_sec, |v, limit| v < limit),
        ]
    }
}

/// A figure, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// What was measured.
    Measured {
        /// In the unit of its requirement.
        value: f64,
        /// Over how many samples.
        samples: u64,
    },
    /// Why nothing was.
    NotMeasured(String),
}

/// What was measured of one path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PathMeasurement {
    /// The path, in words that tell it from others.
    pub name: String,
    /// Mean latency, µs.
    pub latency_us: Figure,
    /// Rate while more was offered than carried, packets per second.
    pub throughput_msg_per_sec: Figure,
}

/// A requirement by its configuration key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// `max_latency_us`
    MaxLatencyUs,
    /// `min_throughput_msg_per_sec`
    MinThroughputMsgPerSec,
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxLatencyUs => "max_latency_us",
            Self::MinThroughputMsgPerSec => "min_throughput_msg_per_sec",
        })
    }
}

/// What a requirement came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// Kept.
    Kept,
    /// Broken.
    Broken,
    /// Nothing was measured.
    NotJudged,
}

/// One requirement on one path. Prints itself as one line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// The measured path.
    pub path: String,
    /// Which requirement.
    pub requirement: Requirement,
    /// Its value.
    pub limit: f64,
    /// What was measured.
    pub figure: Figure,
    /// What it came to.
    pub ruling: Ruling,
}

impl Judgement {
    /// Whether the requirement is broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.ruling == Ruling::Broken
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, requirement, limit, figure, ruling } = self;
        let word = match ruling {
            Ruling::Kept => "kept",
            Ruling::Broken => "broken",
            Ruling::NotJudged => "not judged",
        };
        match figure {
            Figure::NotMeasured(reason) => write!(f, "{path}: {requirement} = {limit} {word}: {reason}"),
            Figure::Measured { value, samples } => {
                let digits = if *requirement == Requirement::MaxLatencyUs { 3 } else { 0 };
                write!(f, "{path}: {requirement} = {limit} {word}: {value:.digits$} over {samples} samples")
            }
        }
    }
}
