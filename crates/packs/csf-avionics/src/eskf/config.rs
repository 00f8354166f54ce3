//! Everything that can be set in the estimator, with its unit; one setting serves all flights and vehicles.
//!
//! Invariant: the default validates, and a document that names an unknown field is refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the [`Estimator`](super::Estimator).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// White noise of the angular rate, rad/s/√Hz. Example: 0.003.
    pub gyro_noise_rad_s_rthz: f64,
    /// White noise of the specific force with aliased vibration, m/s²/√Hz. Example: 0.1.
    pub accel_noise_m_s2_rthz: f64,
    /// Share of the standard deviation of the specific force within half a second that is noise, √s. Example: 0.02.
    pub accel_noise_per_vibration_rts: f64,
    /// Random walk of the gyro bias, rad/s/√s. Example: 0.0001.
    pub gyro_bias_walk_rad_s_rts: f64,
    /// Random walk of the accelerometer bias, m/s²/√s. Example: 0.01.
    pub accel_bias_walk_m_s2_rts: f64,
    /// 1 σ of the gyro bias before anything is known, rad/s. Example: 0.025.
    pub gyro_bias_sigma_rad_s: f64,
    /// 1 σ of the accelerometer bias before anything is known, m/s². Example: 0.3.
    pub accel_bias_sigma_m_s2: f64,
    /// 1 σ of roll and pitch after levelling at rest, rad. Example: 0.02.
    pub rest_tilt_sigma_rad: f64,
    /// 1 σ of roll and pitch when the estimator starts in flight, rad. Example: 0.35.
    pub flight_tilt_sigma_rad: f64,
    /// 1 σ of the horizontal velocity axes when the estimator starts in flight, m/s. Example: 3.
    pub flight_velocity_sigma_m_s: f64,
    /// 1 σ of the vertical velocity when the estimator starts in flight, m/s. Example: 1.
    pub flight_climb_sigma_m_s: f64,
    /// White acceleration assumed until the attitude is known, m/s²/√Hz. Example: 1.5.
    pub flight_accel_noise_m_s2_rthz: f64,
    /// The same for the vertical axis, m/s²/√Hz. Example: 0.3.
    pub flight_climb_noise_m_s2_rthz: f64,
    /// Length of the windows that measure stillness, s. Example: 0.5.
    pub stillness_window_s: f64,
    /// Largest standard deviation of the angular rate at rest, rad/s. Example: 0.01.
    pub rest_gyro_deviation_rad_s: f64,
    /// Largest standard deviation of the specific force at rest, m/s². Example: 0.1.
    pub rest_accel_deviation_m_s2: f64,
    /// Largest mean angular rate at rest, rad/s: the gyro bias must fit in. Example: 0.06.
    pub rest_rate_max_rad_s: f64,
    /// 1 σ of "the velocity is zero" at rest, m/s. Example: 0.05.
    pub rest_velocity_sigma_m_s: f64,
    /// 1 σ of the mean specific force at rest against gravity, m/s². Example: 0.05.
    pub rest_accel_sigma_m_s2: f64,
    /// Length of the levelling window in a gyro frame, s; 0 switches it off. Example: 5.
    pub level_window_s: f64,
    /// 1 σ of the mean acceleration over a levelling window, m/s². Example: 0.5.
    pub level_accel_sigma_m_s2: f64,
    /// The same for the vertical axis, m/s². Example: 0.15.
    pub level_climb_sigma_m_s2: f64,
    /// 1 σ of the mean acceleration over the first levelling window, m/s². Example: 1.5.
    pub align_accel_sigma_m_s2: f64,
    /// 1 σ of roll and pitch that an inertial unit reckons itself, five times per second, rad. Example: 0.04.
    pub ahrs_tilt_sigma_rad: f64,
    /// 1 σ of the heading that an inertial unit reckons itself, rad. Example: 0.35.
    pub ahrs_heading_sigma_rad: f64,
    /// Headings tried when nothing tells the heading. Example: 12.
    pub heading_hypotheses: u8,
    /// Weight under which a heading is given up, 1. Example: 0.001.
    pub heading_weight_min: f64,
    /// Two headings closer than this are one, rad. Example: 0.17.
    pub heading_merge_rad: f64,
    /// Added to magnetic heading to get true heading, rad. Example: 0.
    pub magnetic_declination_rad: f64,
    /// 1 σ of a magnetic heading, rad. Example: 0.2.
    pub mag_heading_sigma_rad: f64,
    /// Largest relative deviation of the field's strength from the one at the start, 1. Example: 0.15.
    pub mag_strength_deviation_max: f64,
    /// 1 σ of the barometric altitude, m. Example: 1.5.
    pub baro_sigma_m: f64,
    /// Random walk of the barometer's offset, m/√s. Example: 0.2.
    pub baro_bias_walk_m_rts: f64,
    /// Factor on the receiver's reported position accuracy, 1. Example: 1.
    pub gnss_position_sigma_scale: f64,
    /// Smallest 1 σ of a position fix, m. Example: 0.05.
    pub gnss_position_sigma_min_m: f64,
    /// Smallest 1 σ of a velocity fix, m/s. Example: 0.1.
    pub gnss_velocity_sigma_min_m_s: f64,
    /// Oldest fix that is still used, s. Example: 0.4.
    pub gnss_age_max_s: f64,
    /// Probability of rejecting a good measurement, 1. Only 0.05, 0.01, 0.001 and 0.0001 are known. Example: 0.0001.
    pub gate_probability: f64,
    /// Rejections in a row of one kind after which the measurement is believed and the state is not. Example: 3.
    pub gate_rejections_max: u8,
    /// Time without an accepted fix after which the estimator coasts, s. Example: 2.5.
    pub coast_after_s: f64,
    /// Longest step between inertial samples that is integrated as usual, s. Example: 0.05.
    pub imu_step_max_s: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            gyro_noise_rad_s_rthz: 0.0015,
            accel_noise_m_s2_rthz: 0.05,
            accel_noise_per_vibration_rts: 0.035,
            gyro_bias_walk_rad_s_rts: 1e-4,
            accel_bias_walk_m_s2_rts: 0.01,
            gyro_bias_sigma_rad_s: 0.025,
            accel_bias_sigma_m_s2: 0.2,
            rest_tilt_sigma_rad: 0.02,
            flight_tilt_sigma_rad: 0.5,
            flight_velocity_sigma_m_s: 3.0,
            flight_climb_sigma_m_s: 1.0,
            flight_accel_noise_m_s2_rthz: 1.5,
            flight_climb_noise_m_s2_rthz: 0.3,
            stillness_window_s: 0.5,
            rest_gyro_deviation_rad_s: 0.01,
            rest_accel_deviation_m_s2: 0.1,
            rest_rate_max_rad_s: 0.06,
            rest_velocity_sigma_m_s: 0.05,
            rest_accel_sigma_m_s2: 0.05,
            level_window_s: 5.0,
            level_accel_sigma_m_s2: 0.35,
            level_climb_sigma_m_s2: 0.15,
            align_accel_sigma_m_s2: 1.0,
            ahrs_tilt_sigma_rad: 0.04,
            ahrs_heading_sigma_rad: 0.35,
            heading_hypotheses: 12,
            heading_weight_min: 1e-3,
            heading_merge_rad: 0.17,
            magnetic_declination_rad: 0.0,
            mag_heading_sigma_rad: 0.2,
            mag_strength_deviation_max: 0.15,
            baro_sigma_m: 1.5,
            baro_bias_walk_m_rts: 0.2,
            gnss_position_sigma_scale: 1.0,
            gnss_position_sigma_min_m: 0.05,
            gnss_velocity_sigma_min_m_s: 0.1,
            gnss_age_max_s: 0.4,
            gate_probability: 1e-4,
            gate_rejections_max: 3,
            coast_after_s: 2.5,
            imu_step_max_s: 0.05,
        }
    }
}

impl Config {
    /// All problems of the setting, in words; empty when it can be used.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let positive = [
            ("gyro_noise_rad_s_rthz", self.gyro_noise_rad_s_rthz),
            ("accel_noise_m_s2_rthz", self.accel_noise_m_s2_rthz),
            ("gyro_bias_sigma_rad_s", self.gyro_bias_sigma_rad_s),
            ("accel_bias_sigma_m_s2", self.accel_bias_sigma_m_s2),
            ("rest_tilt_sigma_rad", self.rest_tilt_sigma_rad),
            ("flight_tilt_sigma_rad", self.flight_tilt_sigma_rad),
            ("flight_velocity_sigma_m_s", self.flight_velocity_sigma_m_s),
            ("flight_climb_sigma_m_s", self.flight_climb_sigma_m_s),
            ("flight_climb_noise_m_s2_rthz", self.flight_climb_noise_m_s2_rthz),
            ("level_climb_sigma_m_s2", self.level_climb_sigma_m_s2),
            ("ahrs_tilt_sigma_rad", self.ahrs_tilt_sigma_rad),
            ("ahrs_heading_sigma_rad", self.ahrs_heading_sigma_rad),
            ("align_accel_sigma_m_s2", self.align_accel_sigma_m_s2),
            ("flight_accel_noise_m_s2_rthz", self.flight_accel_noise_m_s2_rthz),
            ("stillness_window_s", self.stillness_window_s),
            ("rest_gyro_deviation_rad_s", self.rest_gyro_deviation_rad_s),
            ("rest_accel_deviation_m_s2", self.rest_accel_deviation_m_s2),
            ("rest_rate_max_rad_s", self.rest_rate_max_rad_s),
            ("rest_velocity_sigma_m_s", self.rest_velocity_sigma_m_s),
            ("rest_accel_sigma_m_s2", self.rest_accel_sigma_m_s2),
            ("level_accel_sigma_m_s2", self.level_accel_sigma_m_s2),
            ("mag_heading_sigma_rad", self.mag_heading_sigma_rad),
            ("mag_strength_deviation_max", self.mag_strength_deviation_max),
            ("baro_sigma_m", self.baro_sigma_m),
            ("gnss_position_sigma_scale", self.gnss_position_sigma_scale),
            ("gnss_position_sigma_min_m", self.gnss_position_sigma_min_m),
            ("gnss_velocity_sigma_min_m_s", self.gnss_velocity_sigma_min_m_s),
            ("coast_after_s", self.coast_after_s),
            ("imu_step_max_s", self.imu_step_max_s),
        ];
        let not_negative = [
            ("accel_noise_per_vibration_rts", self.accel_noise_per_vibration_rts),
            ("gyro_bias_walk_rad_s_rts", self.gyro_bias_walk_rad_s_rts),
            ("accel_bias_walk_m_s2_rts", self.accel_bias_walk_m_s2_rts),
            ("level_window_s", self.level_window_s),
            ("heading_weight_min", self.heading_weight_min),
            ("heading_merge_rad", self.heading_merge_rad),
            ("baro_bias_walk_m_rts", self.baro_bias_walk_m_rts),
        ];
        for (name, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                problems.push(format!("`{name}` = {value} must be greater than 0"));
            }
        }
        for (name, value) in not_negative {
            if !(value.is_finite() && value >= 0.0) {
                problems.push(format!("`{name}` = {value} must be 0 or greater"));
            }
        }
        if !(1..=32).contains(&self.heading_hypotheses) {
            problems.push(format!("`heading_hypotheses` = {} must be 1 to 32", self.heading_hypotheses));
        }
        if !(0.0..=0.1).contains(&self.heading_weight_min) {
            problems.push(format!("`heading_weight_min` = {} must be 0 to 0.1", self.heading_weight_min));
        }
        if !(self.gnss_age_max_s >= 0.0 && self.gnss_age_max_s <= 0.5) {
            problems.push(format!("`gnss_age_max_s` = {} must be 0 to 0.5", self.gnss_age_max_s));
        }
        if !self.magnetic_declination_rad.is_finite() {
            problems.push("`magnetic_declination_rad` must be a number".into());
        }
        if ![0.05, 0.01, 0.001, 0.0001].contains(&self.gate_probability) {
            problems
                .push(format!("`gate_probability` = {} must be 0.05, 0.01, 0.001 or 0.0001", self.gate_probability));
        }
        problems
    }

    /// Upper χ² bound of the gate for 1 or 3 degrees of freedom (Abramowitz and Stegun, table 26.8).
    pub(crate) fn gate(&self, degrees_of_freedom: u8) -> f64 {
        let table =
            if degrees_of_freedom == 1 { [3.841, 6.635, 10.828, 15.137] } else { [7.815, 11.345, 16.266, 21.108] };
        let column = [0.05, 0.01, 0.001, 0.0001].iter().position(|p| *p == self.gate_probability).unwrap_or(3);
        table[column]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_has_no_problems_and_every_problem_is_told() {
        assert!(Config::default().validate().is_empty());
        let bad = Config { baro_sigma_m: 0.0, heading_hypotheses: 0, gate_probability: 0.5, ..Config::default() };
        assert_eq!(bad.validate().len(), 3);
    }

    #[test]
    fn an_unknown_field_is_refused_and_an_absent_one_has_its_default() {
        assert!(serde_json::from_str::<Config>(r#"{"baro_sigma": 1.0}"#).is_err());
        let config: Config = serde_json::from_str(r#"{"baro_sigma_m": 1.0}"#).unwrap();
        assert_eq!(config.baro_sigma_m, 1.0);
        assert_eq!(config.coast_after_s, Config::default().coast_after_s);
    }
}
