//! Error-state Kalman filter: attitude, velocity, position and sensor biases from inertial samples, satellite fixes,
//! magnetometer, barometer and, where an inertial unit reckons its own attitude, that unit's roll and pitch.
//!
//! When nothing tells the heading, a bank of filters tries headings all around; fixes weigh them until one is left.
//! Invariant: the estimator is plain data. A serialized copy continues with the same bits as the original.
//! References: Solà, "Quaternion kinematics for the error-state Kalman filter" (2017); Bar-Shalom, Li and
//! Kirubarajan, "Estimation with Applications to Tracking and Navigation" (2001), 5.4 for consistency, 11.6 for banks.

mod config;
mod estimator;
mod filter;
mod imu;
mod mixture;

pub use config::Config;
pub use estimator::Estimator;
pub(crate) use imu::StillnessWindow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the estimator is able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Heading or position are not known yet.
    Aligning,
    /// Everything is observed.
    Running,
    /// No fix for a while, or never: the inertial samples carry the state alone.
    Coasting,
}

/// What an innovation came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InnovationKind {
    /// Satellite position.
    Gnss,
    /// Satellite velocity.
    GnssVelocity,
    /// Magnetic heading.
    Mag,
    /// Barometric altitude.
    Baro,
}

/// How well one measurement agreed with its prediction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Innovation {
    /// What it came from.
    pub kind: InnovationKind,
    /// When the measurement was made, ns.
    pub measured_at_ns: u64,
    /// Normalised innovation squared: νᵀ S⁻¹ ν, χ²-distributed for a consistent filter.
    pub nis: f64,
    /// Its degrees of freedom.
    pub degrees_of_freedom: u8,
    /// False when the gate rejected it.
    pub accepted: bool,
}

/// The estimate after one inertial sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NavState {
    /// Time of the inertial sample, ns.
    pub measured_at_ns: u64,
    /// What the estimator is able to do.
    pub mode: Mode,
    /// Attitude `[w, x, y, z]`.
    pub attitude_body_to_ned: [f64; 4],
    /// Velocity north, east, down, m/s.
    pub velocity_ned_m_s: [f64; 3],
    /// Position north, east, down of `origin`, m.
    pub position_ned_m: [f64; 3],
    /// Gyro bias, body axes, rad/s.
    pub gyro_bias_rad_s: [f64; 3],
    /// Accelerometer bias, body axes, m/s².
    pub accel_bias_m_s2: [f64; 3],
    /// 1 σ of attitude (about north, east, down; rad), velocity, position, gyro bias, accelerometer bias.
    pub sigma: [f64; 15],
    /// Covariance of the position, m².
    pub position_covariance_m2: [[f64; 3]; 3],
    /// Measurements used or rejected since the previous state.
    pub innovations: Vec<Innovation>,
    /// `[latitude_deg, longitude_deg, altitude_m]` of the first fix, the origin of `position_ned_m`.
    pub origin: Option<[f64; 3]>,
}
