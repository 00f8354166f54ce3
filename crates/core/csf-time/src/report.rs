//! What a clock says about itself: the content of the `host.clock` stream.

use serde::{Deserialize, Serialize};

use crate::CounterAgreement;

/// What stands behind a time source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockSource {
    /// The processor's calibrated counter.
    Tsc,
    /// The operating system's clock.
    Os,
}

/// How good the node's clock is at this moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockReport {
    /// What is read.
    pub source: ClockSource,
    /// Fitted frequency of the counter, hertz; none on the operating system's clock.
    pub tsc_hz: Option<f64>,
    /// Smallest step the source can show, nanoseconds.
    pub resolution_ns: f64,
    /// How far the source may be from the operating system's clock, nanoseconds.
    pub uncertainty_ns: f64,
    /// How wrong the fitted rate may be, parts per million.
    pub uncertainty_ppm: f64,
    /// This clock minus the operating system's boot clock, both anchored to the same wall reading, nanoseconds; sandwiched just now.
    pub offset_to_os_ns: i64,
    /// Width of that sandwich, nanoseconds: the offset is known to half of it.
    pub sandwich_ns: u64,
    /// Wall clock minus this clock, nanoseconds: shows steps of the wall clock since the start, which this clock does not follow.
    pub wall_offset_ns: i64,
    /// Re-fits since the start.
    pub adjustments: u64,
    /// How far the counters of the CPUs were apart when the clock was calibrated; none where they were not compared.
    pub counters: Option<CounterAgreement>,
    /// Why the counter is not used, where it is not.
    pub fallback: Option<String>,
}
