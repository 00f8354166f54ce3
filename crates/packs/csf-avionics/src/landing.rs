//! Take-off and landing from what the inertial unit feels and the estimator says.
//!
//! Running motors shake the airframe: the vehicle is airborne (in the autopilot's sense: under power, about to fly or
//! flying) while they do. It is on the ground again when the shaking has stopped, or when a shock is followed by two
//! seconds without turning or moving; motors that go on running after that are no take-off until the vehicle climbs. Windows
//! are a quarter of a second. Invariant: phases alternate, and their times
//! never run backwards.
//! The states correspond to `landed` of PX4's land detector (PX4 Guide, "Land Detector Configuration").

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::eskf::{NavState, StillnessWindow};
use crate::math::{self, GRAVITY_M_S2};
use crate::recording::ImuSample;

/// Where the vehicle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// On the ground, motors off or the vehicle settled.
    OnGround,
    /// Under power.
    Airborne,
}

/// A change of phase.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseEvent {
    /// The new phase.
    pub phase: Phase,
    /// When it was recognised, ns.
    pub at_ns: u64,
    /// Height above where the vehicle last stood, m; 0 while that is not known.
    pub height_m: f64,
}

/// Settings of the [`LandingDetector`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LandingConfig {
    /// Shaking above this means running motors, m/s² (standard deviation). Example: 0.8.
    pub shake_start_m_s2: f64,
    /// Shaking below this means stopped motors, m/s². Example: 0.4.
    pub shake_stop_m_s2: f64,
    /// A force this far from gravity is a touch-down, m/s². Example: 25.
    pub shock_m_s2: f64,
    /// Mean angular rate below which a window counts as still, rad/s. Example: 0.08.
    pub still_rate_rad_s: f64,
    /// Speed below which a window counts as still, m/s. Example: 1.
    pub still_speed_m_s: f64,
    /// Time of stillness after a shock that makes a landing, s. Example: 2.
    pub settle_s: f64,
    /// Time of shaking that makes a take-off, s. Example: 0.25.
    pub start_s: f64,
    /// Height above the ground that is a take-off while the motors never stopped, m. Example: 0.3.
    pub climb_m: f64,
    /// Length of a window, s. Example: 0.25.
    pub window_s: f64,
}

impl Default for LandingConfig {
    fn default() -> Self {
        Self {
            shake_start_m_s2: 0.8,
            shake_stop_m_s2: 0.4,
            shock_m_s2: 25.0,
            still_rate_rad_s: 0.08,
            still_speed_m_s: 1.0,
            settle_s: 2.0,
            start_s: 0.25,
            climb_m: 0.3,
            window_s: 0.25,
        }
    }
}

/// The state machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LandingDetector {
    config: LandingConfig,
    phase: Option<Phase>,
    window: StillnessWindow,
    last_ns: u64,
    shaking_s: f64,
    still_s: f64,
    had_shock: bool,
    /// The vehicle stands, but its motors have not stopped since it landed.
    is_idling: bool,
    ground_down_m: Option<f64>,
    down_m: f64,
    speed_m_s: f64,
}

impl LandingDetector {
    /// A detector that does not know yet where the vehicle is.
    #[must_use]
    pub fn new(config: LandingConfig) -> Self {
        Self {
            config,
            phase: None,
            window: StillnessWindow::default(),
            last_ns: 0,
            shaking_s: 0.0,
            still_s: 0.0,
            had_shock: false,
            is_idling: false,
            ground_down_m: None,
            down_m: 0.0,
            speed_m_s: 0.0,
        }
    }

    /// The present phase, once known.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.phase
    }

    /// Takes the newest estimate.
    pub fn on_state(&mut self, state: &NavState) {
        self.down_m = state.position_ned_m[2];
        self.speed_m_s = math::norm(state.velocity_ned_m_s);
    }

    /// Takes an inertial sample of the first unit; returns the change of phase that it completes.
    pub fn on_imu(&mut self, imu: &ImuSample) -> Option<PhaseEvent> {
        if imu.sensor != 0 || !math::is_finite(imu.gyro_rad_s) || !math::is_finite(imu.accel_m_s2) {
            return None;
        }
        let last_ns = core::mem::replace(&mut self.last_ns, imu.measured_at_ns);
        if last_ns == 0 || imu.measured_at_ns <= last_ns {
            self.last_ns = self.last_ns.max(last_ns);
            return None;
        }
        if (math::norm(imu.accel_m_s2) - GRAVITY_M_S2).abs() > self.config.shock_m_s2 {
            self.had_shock = true;
            self.still_s = 0.0;
        }
        let dt = ((imu.measured_at_ns - last_ns) as f64 * 1e-9).min(0.25);
        let window = self.window.add(imu.gyro_rad_s, imu.accel_m_s2, dt, self.config.window_s)?;
        let next = self.judge(window.gyro_mean, window.accel_deviation)?;
        self.change(next, imu.measured_at_ns)
    }

    fn judge(&mut self, rate: math::Vec3, shake_m_s2: f64) -> Option<Phase> {
        let c = &self.config;
        self.shaking_s = if shake_m_s2 > c.shake_start_m_s2 { self.shaking_s + c.window_s } else { 0.0 };
        let is_still = math::norm(rate) < c.still_rate_rad_s && self.speed_m_s < c.still_speed_m_s;
        self.still_s = if is_still { self.still_s + c.window_s } else { 0.0 };
        self.is_idling &= shake_m_s2 >= c.shake_stop_m_s2;
        let stands = self.is_idling && self.ground_down_m.is_none_or(|g| g - self.down_m < c.climb_m);
        match self.phase {
            None if shake_m_s2 < c.shake_stop_m_s2 => Some(Phase::OnGround),
            None | Some(Phase::OnGround) if self.shaking_s >= c.start_s && !stands => Some(Phase::Airborne),
            Some(Phase::Airborne)
                if (shake_m_s2 < c.shake_stop_m_s2 && is_still) || (self.had_shock && self.still_s >= c.settle_s) =>
            {
                Some(Phase::OnGround)
            }
            _ => None,
        }
    }

    fn change(&mut self, next: Phase, at_ns: u64) -> Option<PhaseEvent> {
        let first = self.phase.is_none();
        if self.phase == Some(next) {
            return None;
        }
        let height_m = self.ground_down_m.map_or(0.0, |g| g - self.down_m);
        self.phase = Some(next);
        self.shaking_s = 0.0;
        self.had_shock = false;
        self.is_idling = next == Phase::OnGround;
        self.ground_down_m = match next {
            Phase::OnGround => Some(self.down_m),
            Phase::Airborne if first => None,
            // The ground is where we were until now: its height is taken at the last moment.
            Phase::Airborne => Some(self.down_m),
        };
        Some(PhaseEvent { phase: next, at_ns, height_m })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(detector: &mut LandingDetector, from_s: f64, to_s: f64, shake: f64) -> Vec<PhaseEvent> {
        let mut out = Vec::new();
        let mut i = (from_s * 200.0) as u64;
        while (i as f64) < to_s * 200.0 {
            i += 1;
            let sign = if i.is_multiple_of(2) { 1.0 } else { -1.0 };
            out.extend(detector.on_imu(&ImuSample {
                sensor: 0,
                measured_at_ns: i * 5_000_000,
                gyro_rad_s: [0.0; 3],
                accel_m_s2: [sign * shake, 0.0, -9.8],
            }));
        }
        out
    }

    #[test]
    fn motors_starting_and_stopping_are_take_off_and_landing() {
        let mut detector = LandingDetector::new(LandingConfig::default());
        let mut events = run(&mut detector, 0.0, 2.0, 0.01);
        events.extend(run(&mut detector, 2.0, 10.0, 2.0));
        events.extend(run(&mut detector, 10.0, 12.0, 0.01));
        let phases: Vec<_> = events.iter().map(|e| e.phase).collect();
        assert_eq!(phases, [Phase::OnGround, Phase::Airborne, Phase::OnGround]);
        assert!((events[1].at_ns as f64 * 1e-9 - 2.0).abs() < 0.8);
        assert!((events[2].at_ns as f64 * 1e-9 - 10.0).abs() < 0.8);
    }

    #[test]
    fn a_steady_hover_is_no_landing() {
        let mut detector = LandingDetector::new(LandingConfig::default());
        run(&mut detector, 0.0, 2.0, 0.01);
        run(&mut detector, 2.0, 60.0, 1.0);
        assert_eq!(detector.phase(), Some(Phase::Airborne));
    }
}
