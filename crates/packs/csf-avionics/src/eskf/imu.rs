//! One virtual inertial unit out of two, and the stillness of its samples.
//!
//! The units are averaged after their constant difference is taken out, so that the loss of either changes neither
//! the rate of the output nor its bias. Invariant: with one unit the output is that unit's sample, bit for bit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::math::{self, Quat, Vec3};
use crate::recording::ImuSample;

/// Twin samples at most this far apart are averaged: two periods of 120 Hz with some slack.
const TWIN_AGE_MAX_NS: u64 = 20_000_000;
/// The first unit has failed when the second has run this long without it.
const FAILED_AFTER_NS: u64 = 100_000_000;
/// Weight of a new difference between the units: a time constant of about 200 samples.
const DIFFERENCE_GAIN: f64 = 0.005;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct VirtualImu {
    first: Option<ImuSample>,
    second: Option<ImuSample>,
    /// Second minus first: rates, then forces.
    difference: [Vec3; 2],
    differences: u64,
}

impl VirtualImu {
    /// Takes a sample of either unit; returns the virtual one when it is due.
    pub(crate) fn take(&mut self, sample: &ImuSample) -> Option<ImuSample> {
        if sample.sensor == 0 {
            if self.first.is_some_and(|f| sample.measured_at_ns <= f.measured_at_ns) {
                return None;
            }
            self.first = Some(*sample);
            let twin = self.second.filter(|s| s.measured_at_ns.abs_diff(sample.measured_at_ns) <= TWIN_AGE_MAX_NS);
            return Some(match twin {
                Some(twin) => self.average(sample, &twin),
                None if self.differences > 0 => self.shifted(sample, 0.5),
                None => *sample,
            });
        }
        if sample.sensor != 1 || self.second.is_some_and(|s| sample.measured_at_ns <= s.measured_at_ns) {
            return None;
        }
        self.second = Some(*sample);
        let failed =
            self.first.is_none_or(|f| sample.measured_at_ns > f.measured_at_ns.saturating_add(FAILED_AFTER_NS));
        (failed && self.differences > 0).then(|| ImuSample { sensor: 0, ..self.shifted(sample, -0.5) })
    }

    fn average(&mut self, first: &ImuSample, second: &ImuSample) -> ImuSample {
        let gap = [math::sub(second.gyro_rad_s, first.gyro_rad_s), math::sub(second.accel_m_s2, first.accel_m_s2)];
        self.differences += 1;
        let gain = DIFFERENCE_GAIN.max(1.0 / self.differences as f64);
        for (kept, new) in self.difference.iter_mut().zip(gap) {
            *kept = math::add(*kept, math::scale(math::sub(new, *kept), gain));
        }
        ImuSample {
            sensor: 0,
            measured_at_ns: first.measured_at_ns,
            gyro_rad_s: math::add(first.gyro_rad_s, math::scale(gap[0], 0.5)),
            accel_m_s2: math::add(first.accel_m_s2, math::scale(gap[1], 0.5)),
        }
    }

    fn shifted(&self, sample: &ImuSample, share: f64) -> ImuSample {
        ImuSample {
            gyro_rad_s: math::add(sample.gyro_rad_s, math::scale(self.difference[0], share)),
            accel_m_s2: math::add(sample.accel_m_s2, math::scale(self.difference[1], share)),
            ..*sample
        }
    }
}

/// Mean and spread of the samples of one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stillness {
    pub(crate) gyro_mean: Vec3,
    pub(crate) accel_mean: Vec3,
    pub(crate) gyro_deviation: f64,
    pub(crate) accel_deviation: f64,
}

/// Sums of a tumbling window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct StillnessWindow {
    samples: u32,
    length_s: f64,
    first: [Vec3; 2],
    sum: [Vec3; 2],
    square: [f64; 2],
}

impl StillnessWindow {
    /// Adds a sample; returns the window when it is full.
    pub(crate) fn add(&mut self, gyro: Vec3, accel: Vec3, dt: f64, window_s: f64) -> Option<Stillness> {
        if self.samples == 0 {
            self.first = [gyro, accel];
        }
        // Sums are kept relative to the first sample, so that the small spread survives the subtraction.
        for (i, value) in [gyro, accel].into_iter().enumerate() {
            let value = math::sub(value, self.first[i]);
            self.sum[i] = math::add(self.sum[i], value);
            self.square[i] += math::dot(value, value);
        }
        self.samples += 1;
        self.length_s += dt;
        if self.length_s < window_s || self.samples < 4 {
            return None;
        }
        let n = f64::from(self.samples);
        let mean = self.sum.map(|s| math::scale(s, 1.0 / n));
        let deviation: [f64; 2] =
            core::array::from_fn(|i| (self.square[i] / n - math::dot(mean[i], mean[i])).max(0.0).sqrt());
        let out = Stillness {
            gyro_mean: math::add(mean[0], self.first[0]),
            accel_mean: math::add(mean[1], self.first[1]),
            gyro_deviation: deviation[0],
            accel_deviation: deviation[1],
        };
        *self = Self::default();
        Some(out)
    }
}

/// The specific force averaged in a frame that the gyro keeps still: in flight this mean is gravity, up to the mean
/// acceleration. The weight is a raised cosine, which is blind to swinging from side to side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LevelWindow {
    turn: Option<Quat>,
    sum: Vec3,
    weight_s: f64,
    length_s: f64,
    /// Bias that was taken off the gyro throughout the window.
    gyro_bias: Vec3,
}

/// A full levelling window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Levelling {
    /// Weighted mean of the force, in the body frame of the window's end.
    pub(crate) force: Vec3,
    /// Time from the window's middle to its end, s.
    pub(crate) lever_s: f64,
    /// Bias that was taken off the gyro.
    pub(crate) gyro_bias: Vec3,
}

impl LevelWindow {
    /// A window that is already this far, so that two of them alternate.
    pub(crate) fn started(length_s: f64) -> Self {
        Self { length_s, ..Self::default() }
    }

    /// Adds a sample; returns the levelling when the window is full. `gyro_bias` is used from the next window on.
    pub(crate) fn add(&mut self, gyro: Vec3, accel: Vec3, dt: f64, window_s: f64, bias: Vec3) -> Option<Levelling> {
        let turn = match self.turn {
            Some(turn) => turn,
            None => {
                self.gyro_bias = bias;
                [1.0, 0.0, 0.0, 0.0]
            }
        };
        let half = math::quat_exp(math::scale(math::sub(gyro, self.gyro_bias), 0.5 * dt));
        let middle = math::quat_mul(turn, half);
        let phase = (self.length_s + 0.5 * dt) / window_s;
        let weight = (1.0 - libm::cos(core::f64::consts::TAU * phase)) * dt;
        self.sum = math::add(self.sum, math::scale(math::mat_vec(&math::quat_matrix(middle), accel), weight));
        self.weight_s += weight;
        let turn = math::quat_normalise(math::quat_mul(middle, half));
        self.turn = Some(turn);
        self.length_s += dt;
        if self.length_s < window_s {
            return None;
        }
        let mean = math::scale(self.sum, 1.0 / self.weight_s.max(1e-9));
        let force = math::mat_t_vec(&math::quat_matrix(turn), mean);
        let out = Levelling { force, lever_s: 0.5 * window_s, gyro_bias: self.gyro_bias };
        *self = Self::default();
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(sensor: u8, t: u64, x: f64) -> ImuSample {
        ImuSample { sensor, measured_at_ns: t, gyro_rad_s: [x, 0.0, 0.0], accel_m_s2: [0.0, 0.0, -9.8 + x] }
    }

    #[test]
    fn losing_the_second_unit_does_not_move_the_bias() {
        let mut imu = VirtualImu::default();
        let mut last = None;
        for i in 1..1000u64 {
            imu.take(&sample(1, i * 8_000_000, 0.3));
            last = imu.take(&sample(0, i * 8_000_000, 0.1));
        }
        assert!((last.unwrap().gyro_rad_s[0] - 0.2).abs() < 1e-9);
        for i in 1000..1100u64 {
            last = imu.take(&sample(0, i * 8_000_000, 0.1));
        }
        assert!((last.unwrap().gyro_rad_s[0] - 0.2).abs() < 1e-9);
    }

    #[test]
    fn the_second_unit_takes_over_when_the_first_fails() {
        let mut imu = VirtualImu::default();
        for i in 1..100u64 {
            imu.take(&sample(1, i * 8_000_000, 0.3));
            imu.take(&sample(0, i * 8_000_000, 0.1));
        }
        let after: Vec<_> = (100..200u64).filter_map(|i| imu.take(&sample(1, i * 8_000_000, 0.3))).collect();
        assert!(after.len() > 80);
        assert!((after[0].gyro_rad_s[0] - 0.2).abs() < 1e-9);
    }

    #[test]
    fn levelling_sees_gravity_through_a_steady_turn() {
        let mut window = LevelWindow::default();
        let mut attitude = [1.0, 0.0, 0.0, 0.0];
        let rate = [0.5, 0.2, -0.3];
        let mut out = None;
        while out.is_none() {
            attitude = math::quat_mul(attitude, math::quat_exp(math::scale(rate, 0.005)));
            let force = math::mat_t_vec(&math::quat_matrix(attitude), [0.0, 0.0, -9.8]);
            attitude = math::quat_mul(attitude, math::quat_exp(math::scale(rate, 0.005)));
            out = window.add(rate, force, 0.01, 5.0, [0.0; 3]);
        }
        let expected = math::mat_t_vec(&math::quat_matrix(attitude), [0.0, 0.0, -9.8]);
        assert!(math::norm(math::sub(out.unwrap().force, expected)) < 1e-3);
    }
}
