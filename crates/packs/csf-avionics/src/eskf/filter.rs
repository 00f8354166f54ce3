//! One error-state Kalman filter: nominal state, covariance, prediction and correction.
//!
//! Errors are δx = [θ, δv, δp, δb_g, δb_a, δh]: the attitude error θ is global (R = Exp(θ) R̂), h is the barometer's
//! offset, a sixteenth state beside the fifteen of navigation. Invariant: the covariance stays symmetric with a
//! positive diagonal.
//! Reference: Solà, "Quaternion kinematics for the error-state Kalman filter" (2017), section 7 (global errors).

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::Config;
use crate::math::{self, GRAVITY_M_S2, Mat3, Quat, Vec3};

/// Error states: fifteen of navigation and the barometer's offset.
pub(crate) const N: usize = 16;
pub(crate) const TH: usize = 0;
pub(crate) const VE: usize = 3;
pub(crate) const PO: usize = 6;
pub(crate) const BG: usize = 9;
pub(crate) const BA: usize = 12;
pub(crate) const BARO: usize = 15;
/// Past positions kept for late fixes, at most one per 10 ms: covers `gnss_age_max_s` up to 0.5 s.
const PASTS_MAX: usize = 56;
const PAST_STEP_NS: u64 = 10_000_000;

pub(crate) type Row = [f64; N];

/// How roughly the vehicle moves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shake {
    /// Standard deviation of the specific force within the last window.
    pub(crate) vibration_m_s2: f64,
    /// Changes since the sample before.
    pub(crate) gyro_change_rad_s: f64,
    pub(crate) accel_change_m_s2: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Past {
    at_ns: u64,
    position: Vec3,
    velocity: Vec3,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Filter {
    pub(crate) attitude: Quat,
    pub(crate) velocity: Vec3,
    pub(crate) position: Vec3,
    pub(crate) gyro_bias: Vec3,
    pub(crate) accel_bias: Vec3,
    pub(crate) baro_bias: f64,
    pub(crate) covariance: [Row; N],
    /// Share of belief among the hypotheses; they sum to one.
    pub(crate) weight: f64,
    pasts: VecDeque<Past>,
}

impl Filter {
    pub(crate) fn new(attitude: Quat, gyro_bias: Vec3, sigma: &Row) -> Self {
        let mut covariance = [[0.0; N]; N];
        for (i, s) in sigma.iter().enumerate() {
            covariance[i][i] = s * s;
        }
        Self {
            attitude,
            velocity: [0.0; 3],
            position: [0.0; 3],
            gyro_bias,
            accel_bias: [0.0; 3],
            baro_bias: 0.0,
            covariance,
            weight: 1.0,
            pasts: VecDeque::with_capacity(PASTS_MAX),
        }
    }

    /// Moves the state by `dt` s under one inertial sample.
    pub(crate) fn predict(&mut self, config: &Config, gyro: Vec3, accel: Vec3, shake: &Shake, dt: f64) {
        let rate = math::sub(gyro, self.gyro_bias);
        let force = math::sub(accel, self.accel_bias);
        // The force acts along the mean attitude of the step.
        let half = math::quat_exp(math::scale(rate, 0.5 * dt));
        let middle = math::quat_normalise(math::quat_mul(self.attitude, half));
        let rotation = math::quat_matrix(middle);
        let force_ned = math::mat_vec(&rotation, force);
        let acceleration = [force_ned[0], force_ned[1], force_ned[2] + GRAVITY_M_S2];
        self.position = math::add(
            self.position,
            math::add(math::scale(self.velocity, dt), math::scale(acceleration, 0.5 * dt * dt)),
        );
        self.velocity = math::add(self.velocity, math::scale(acceleration, dt));
        self.attitude = math::quat_normalise(math::quat_mul(middle, half));
        self.propagate(&rotation, force_ned, dt);
        self.add_noise(config, shake, dt);
    }

    /// P ← F P Fᵀ, touching only the blocks of F that differ from the identity:
    /// θ' = θ − R δb_g dt, v' = v − [f]× θ dt − R δb_a dt, p' = p + v dt.
    fn propagate(&mut self, rotation: &Mat3, force_ned: Vec3, dt: f64) {
        let r = rotation.map(|row| row.map(|x| x * dt));
        let s = math::skew(math::scale(force_ned, dt));
        let p = &mut self.covariance;
        // Rows, from the last block that is read to the first that is written, so that old values are used.
        for i in 0..3 {
            let velocity = p[VE + i];
            for (x, v) in p[PO + i].iter_mut().zip(velocity) {
                *x += v * dt;
            }
        }
        let (theta, bias_g, bias_a) =
            ([p[TH], p[TH + 1], p[TH + 2]], [p[BG], p[BG + 1], p[BG + 2]], [p[BA], p[BA + 1], p[BA + 2]]);
        for i in 0..3 {
            for c in 0..N {
                let turn = s[i][0] * theta[0][c] + s[i][1] * theta[1][c] + s[i][2] * theta[2][c];
                let force = r[i][0] * bias_a[0][c] + r[i][1] * bias_a[1][c] + r[i][2] * bias_a[2][c];
                let rate = r[i][0] * bias_g[0][c] + r[i][1] * bias_g[1][c] + r[i][2] * bias_g[2][c];
                p[VE + i][c] -= turn + force;
                p[TH + i][c] -= rate;
            }
        }
        // The same for columns.
        for row in p.iter_mut() {
            let old = *row;
            for i in 0..3 {
                let turn = s[i][0] * old[TH] + s[i][1] * old[TH + 1] + s[i][2] * old[TH + 2];
                let force = r[i][0] * old[BA] + r[i][1] * old[BA + 1] + r[i][2] * old[BA + 2];
                let rate = r[i][0] * old[BG] + r[i][1] * old[BG + 1] + r[i][2] * old[BG + 2];
                row[PO + i] += old[VE + i] * dt;
                row[VE + i] -= turn + force;
                row[TH + i] -= rate;
            }
        }
    }

    fn add_noise(&mut self, config: &Config, shake: &Shake, dt: f64) {
        // A step that is too long was not seen in between: the noise grows with the square of what is missing.
        let excess = (dt / config.imu_step_max_s).max(1.0);
        let scale = dt * excess * excess;
        let vibration = config.accel_noise_per_vibration_rts * shake.vibration_m_s2;
        let mut gyro = config.gyro_noise_rad_s_rthz * config.gyro_noise_rad_s_rthz * scale;
        let mut accel = (config.accel_noise_m_s2_rthz * config.accel_noise_m_s2_rthz + vibration * vibration) * scale;
        if excess > 1.0 {
            // What happened between two far samples is known to about their difference, evenly spread over the step.
            let unseen = dt * dt / 12.0;
            gyro += shake.gyro_change_rad_s * shake.gyro_change_rad_s * unseen;
            accel += shake.accel_change_m_s2 * shake.accel_change_m_s2 * unseen;
        }
        let gyro_walk = config.gyro_bias_walk_rad_s_rts * config.gyro_bias_walk_rad_s_rts * dt;
        let accel_walk = config.accel_bias_walk_m_s2_rts * config.accel_bias_walk_m_s2_rts * dt;
        for i in 0..3 {
            self.covariance[TH + i][TH + i] += gyro;
            self.covariance[VE + i][VE + i] += accel;
            self.covariance[BG + i][BG + i] += gyro_walk;
            self.covariance[BA + i][BA + i] += accel_walk;
        }
        self.covariance[BARO][BARO] += config.baro_bias_walk_m_rts * config.baro_bias_walk_m_rts * dt;
    }

    /// Remembers where the vehicle was, for late fixes.
    pub(crate) fn remember(&mut self, at_ns: u64) {
        if self.pasts.back().is_some_and(|p| at_ns < p.at_ns + PAST_STEP_NS) {
            return;
        }
        if self.pasts.len() == PASTS_MAX {
            self.pasts.pop_front();
        }
        self.pasts.push_back(Past { at_ns, position: self.position, velocity: self.velocity });
    }

    /// Position and velocity at a time near `now_ns`: between remembered states, or extrapolated by velocity.
    pub(crate) fn at(&self, at_ns: u64, now_ns: u64) -> (Vec3, Vec3) {
        if at_ns >= now_ns {
            let dt = (at_ns - now_ns) as f64 * 1e-9;
            return (math::add(self.position, math::scale(self.velocity, dt)), self.velocity);
        }
        let mut after = (now_ns, self.position, self.velocity);
        for past in self.pasts.iter().rev() {
            if past.at_ns <= at_ns {
                let span = (after.0 - past.at_ns) as f64;
                let share = if span > 0.0 { (at_ns - past.at_ns) as f64 / span } else { 0.0 };
                let mix = |a: Vec3, b: Vec3| math::add(a, math::scale(math::sub(b, a), share));
                return (mix(past.position, after.1), mix(past.velocity, after.2));
            }
            after = (past.at_ns, past.position, past.velocity);
        }
        (after.1, after.2)
    }

    /// P hᵀ for one row of H.
    pub(crate) fn covariance_times(&self, h: &Row) -> Row {
        let mut out = [0.0; N];
        for (j, weight) in h.iter().enumerate() {
            if *weight != 0.0 {
                for (x, p) in out.iter_mut().zip(self.covariance[j]) {
                    *x += weight * p;
                }
            }
        }
        out
    }

    /// H P Hᵀ + diag(σ²).
    pub(crate) fn innovation_covariance(&self, h: &[Row; 3], sigma: Vec3) -> Mat3 {
        let columns = h.map(|row| self.covariance_times(&row));
        let mut s = [[0.0; 3]; 3];
        for i in 0..3 {
            for j in 0..3 {
                s[i][j] = row_dot(&h[i], &columns[j]);
            }
            s[i][i] += sigma[i] * sigma[i];
        }
        s
    }

    /// Corrects by independent scalar measurements of the error state: residual, row of H and 1 σ of each.
    pub(crate) fn correct(&mut self, measurements: &[(f64, Row, f64)]) {
        let mut error = [0.0; N];
        for (residual, h, sigma) in measurements {
            let column = self.covariance_times(h);
            let variance = row_dot(h, &column) + sigma * sigma;
            if !(variance.is_finite() && variance > 0.0 && residual.is_finite()) {
                continue;
            }
            let innovation = (residual - row_dot(h, &error)) / variance;
            for i in 0..N {
                error[i] += column[i] * innovation;
                for j in i..N {
                    let value = self.covariance[i][j] - column[i] * column[j] / variance;
                    self.covariance[i][j] = value;
                    self.covariance[j][i] = value;
                }
            }
        }
        // Rounding must not leave a variance below what any sensor could know.
        for i in 0..N {
            self.covariance[i][i] = self.covariance[i][i].max(1e-14);
        }
        self.inject(&error);
    }

    fn inject(&mut self, error: &Row) {
        let take = |at: usize| [error[at], error[at + 1], error[at + 2]];
        self.attitude = math::quat_normalise(math::quat_mul(math::quat_exp(take(TH)), self.attitude));
        self.velocity = math::add(self.velocity, take(VE));
        self.position = math::add(self.position, take(PO));
        self.gyro_bias = math::add(self.gyro_bias, take(BG));
        self.accel_bias = math::add(self.accel_bias, take(BA));
        self.baro_bias += error[BARO];
        // The past moves along, or the next late fix would correct the same error again.
        for past in &mut self.pasts {
            past.position = math::add(past.position, take(PO));
            past.velocity = math::add(past.velocity, take(VE));
        }
    }

    /// Forgets what is known of three states: their covariance becomes `sigma`², uncorrelated.
    pub(crate) fn forget(&mut self, first: usize, sigma: Vec3) {
        for (i, sigma) in sigma.into_iter().enumerate() {
            self.forget_one(first + i, sigma);
        }
    }

    /// Forgets what is known of one state.
    pub(crate) fn forget_one(&mut self, at: usize, sigma: f64) {
        for j in 0..N {
            self.covariance[at][j] = 0.0;
            self.covariance[j][at] = 0.0;
        }
        self.covariance[at][at] = sigma * sigma;
    }

    /// Sets the position without drawing conclusions for other states; the past is forgotten with it.
    pub(crate) fn set_position(&mut self, position: Vec3, sigma: Vec3) {
        self.position = position;
        self.forget(PO, sigma);
        self.pasts.clear();
    }
}

pub(crate) fn row_dot(a: &Row, b: &Row) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAKE: Shake = Shake { vibration_m_s2: 1.0, gyro_change_rad_s: 0.5, accel_change_m_s2: 2.0 };

    fn dense(filter: &Filter, config: &Config, gyro: Vec3, accel: Vec3, dt: f64) -> [Row; N] {
        // F written out as the full matrix and multiplied naively: the oracle for the sparse form.
        let half = math::quat_exp(math::scale(math::sub(gyro, filter.gyro_bias), 0.5 * dt));
        let r = math::quat_matrix(math::quat_normalise(math::quat_mul(filter.attitude, half)));
        let s = math::skew(math::mat_vec(&r, math::sub(accel, filter.accel_bias)));
        let mut f = [[0.0; N]; N];
        for (i, row) in f.iter_mut().enumerate() {
            row[i] = 1.0;
        }
        for i in 0..3 {
            f[PO + i][VE + i] = dt;
            for j in 0..3 {
                f[TH + i][BG + j] = -r[i][j] * dt;
                f[VE + i][TH + j] = -s[i][j] * dt;
                f[VE + i][BA + j] = -r[i][j] * dt;
            }
        }
        let mut out = [[0.0; N]; N];
        for i in 0..N {
            for j in 0..N {
                for k in 0..N {
                    for l in 0..N {
                        out[i][j] += f[i][k] * filter.covariance[k][l] * f[j][l];
                    }
                }
            }
        }
        let mut noise = Filter::new([1.0, 0.0, 0.0, 0.0], [0.0; 3], &[0.0; N]);
        noise.add_noise(config, &SHAKE, dt);
        for i in 0..N {
            out[i][i] += noise.covariance[i][i];
        }
        out
    }

    #[test]
    fn the_sparse_prediction_equals_the_dense_one() {
        let config = Config::default();
        let sigma = core::array::from_fn(|i| 0.1 + 0.05 * i as f64);
        let mut filter = Filter::new(math::quat_from_euler(0.2, -0.3, 1.0), [0.01, -0.02, 0.03], &sigma);
        for step in 0..20 {
            let (gyro, accel) = ([0.3, -0.2, 0.1 * f64::from(step)], [0.5, -1.0, -9.0]);
            let expected = dense(&filter, &config, gyro, accel, 0.01);
            filter.predict(&config, gyro, accel, &SHAKE, 0.01);
            for i in 0..N {
                for j in 0..N {
                    assert!((filter.covariance[i][j] - expected[i][j]).abs() < 1e-12, "{i} {j}");
                }
            }
            let h = core::array::from_fn(|i| if i % 5 == 0 { 1.0 } else { 0.0 });
            filter.correct(&[(0.01, h, 0.5)]);
        }
    }

    #[test]
    fn a_late_time_is_found_between_remembered_states() {
        let mut filter = Filter::new([1.0, 0.0, 0.0, 0.0], [0.0; 3], &[1.0; N]);
        filter.velocity = [1.0, 0.0, 0.0];
        for i in 0..100u64 {
            filter.position[0] = i as f64 * 0.01;
            filter.remember(i * 10_000_000);
        }
        let (position, _) = filter.at(875_000_000, 990_000_000);
        assert!((position[0] - 0.875).abs() < 1e-9);
        assert!((filter.at(1_090_000_000, 990_000_000).0[0] - 1.09).abs() < 1e-9);
    }
}
