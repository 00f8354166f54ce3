//! A Kalman filter that knows fixes only and believes in constant velocity.
//!
//! It is the baseline that the navigation filter has to beat, and carries the position while that one aligns.
//! Invariant: each axis' covariance stays positive.
//! Reference: Bar-Shalom, Li and Kirubarajan (2001), 6.2.2: the discretised continuous white-noise acceleration model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::geodesy;
use crate::math::{self, Vec3};
use crate::recording::GnssFix;

/// Constant-velocity Kalman filter, one axis each, around the first fix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConstantVelocity {
    noise: Vec3,
    velocity_sigma: Vec3,
    origin: Option<[f64; 3]>,
    at_ns: u64,
    state: [[f64; 2]; 3],
    /// pp, pv, vv of each axis.
    covariance: [[f64; 3]; 3],
}

impl ConstantVelocity {
    /// A filter that believes in white acceleration of `noise` m/s²/√Hz and in velocities of this 1 σ, m/s, per axis.
    #[must_use]
    pub fn new(noise: Vec3, velocity_sigma: Vec3) -> Self {
        Self { noise, velocity_sigma, origin: None, at_ns: 0, state: [[0.0; 2]; 3], covariance: [[0.0; 3]; 3] }
    }

    /// `[latitude_deg, longitude_deg, altitude_m]` of the first fix.
    #[must_use]
    pub fn origin(&self) -> Option<[f64; 3]> {
        self.origin
    }

    /// Velocity north, east, down, m/s.
    #[must_use]
    pub fn velocity(&self) -> Vec3 {
        self.state.map(|s| s[1])
    }

    /// Variance of position (m²), covariance of position and velocity (m²/s) and variance of velocity (m²/s²) of an
    /// axis, at a time after the last fix.
    #[must_use]
    pub fn covariance(&self, axis: usize, at_ns: u64) -> [f64; 3] {
        let dt = at_ns.saturating_sub(self.at_ns) as f64 * 1e-9;
        self.spread(axis, dt)
    }

    fn spread(&self, axis: usize, dt: f64) -> [f64; 3] {
        let [pp, pv, vv] = self.covariance[axis];
        let q = self.noise[axis] * self.noise[axis];
        [pp + 2.0 * dt * pv + dt * dt * vv + q * dt * dt * dt / 3.0, pv + dt * vv + 0.5 * q * dt * dt, vv + q * dt]
    }

    /// Position north, east, down of the origin at a time near the last fix, m.
    #[must_use]
    pub fn predicted(&self, at_ns: u64) -> Vec3 {
        let dt = (at_ns as f64 - self.at_ns as f64) * 1e-9;
        self.state.map(|s| s[0] + s[1] * dt)
    }

    /// Takes a fix; a velocity that is no number is left out.
    pub fn take(&mut self, fix: &GnssFix) {
        let velocity = fix.velocity_ned_m_s.filter(|v| math::is_finite(*v));
        let sigma = [fix.horizontal_accuracy_m, fix.horizontal_accuracy_m, fix.vertical_accuracy_m];
        let Some(origin) = self.origin else {
            self.origin = Some(fix.point());
            self.at_ns = fix.measured_at_ns;
            for i in 0..3 {
                self.state[i] = [0.0, velocity.map_or(0.0, |v| v[i])];
                self.covariance[i] = [sigma[i] * sigma[i], 0.0, self.velocity_sigma[i] * self.velocity_sigma[i]];
            }
            return;
        };
        let local = geodesy::to_local(&origin, &fix.point());
        let dt = fix.measured_at_ns.saturating_sub(self.at_ns) as f64 * 1e-9;
        self.at_ns = self.at_ns.max(fix.measured_at_ns);
        for i in 0..3 {
            let [x, v] = self.state[i];
            let predicted = self.spread(i, dt);
            let s = predicted[0] + sigma[i] * sigma[i];
            let (k, l) = (predicted[0] / s, predicted[1] / s);
            let innovation = local[i] - (x + v * dt);
            self.state[i] = [x + v * dt + k * innovation, v + l * innovation];
            self.covariance[i] = [(1.0 - k) * predicted[0], (1.0 - k) * predicted[1], predicted[2] - l * predicted[1]];
            if let Some(velocity) = velocity {
                self.take_velocity(i, velocity[i], fix.speed_accuracy_m_s.max(0.1));
            }
        }
    }

    fn take_velocity(&mut self, i: usize, velocity: f64, sigma: f64) {
        let [pp, pv, vv] = self.covariance[i];
        let s = vv + sigma * sigma;
        let innovation = velocity - self.state[i][1];
        self.state[i][0] += pv / s * innovation;
        self.state[i][1] += vv / s * innovation;
        self.covariance[i] = [pp - pv * pv / s, pv - pv * vv / s, vv - vv * vv / s];
    }
}
