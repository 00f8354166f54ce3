//! A cylinder around home that the vehicle should not leave.
//!
//! Invariant: breaches and clearances alternate; between them lies the hysteresis, so that noise on the border makes
//! one event, not many.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::eskf::{Mode, NavState};

/// Settings of the [`Geofence`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GeofenceConfig {
    /// Largest horizontal distance from home, m. Example: 100.
    pub radius_m: f64,
    /// Largest height above home, m. Example: 50.
    pub ceiling_m: f64,
    /// Largest depth under home, m. Example: 10.
    pub depth_m: f64,
    /// The vehicle is back when it is inside by this much, m. Example: 2.
    pub hysteresis_m: f64,
}

impl Default for GeofenceConfig {
    fn default() -> Self {
        Self { radius_m: 100.0, ceiling_m: 50.0, depth_m: 10.0, hysteresis_m: 2.0 }
    }
}

impl GeofenceConfig {
    /// All problems of the setting, in words; empty when it can be used.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let fields = [
            ("radius_m", self.radius_m),
            ("ceiling_m", self.ceiling_m),
            ("depth_m", self.depth_m),
            ("hysteresis_m", self.hysteresis_m),
        ];
        let mut problems: Vec<String> = fields
            .iter()
            .filter(|(_, v)| !(v.is_finite() && *v > 0.0))
            .map(|(name, v)| format!("`{name}` = {v} must be greater than 0"))
            .collect();
        if self.hysteresis_m >= self.radius_m.min(self.ceiling_m) {
            problems.push("`hysteresis_m` must be smaller than `radius_m` and `ceiling_m`".into());
        }
        problems
    }
}

/// Left the cylinder or came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GeofenceEventKind {
    /// Left it.
    Breach,
    /// Came back.
    Clear,
}

/// What the fence saw.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeofenceEvent {
    /// What happened.
    pub kind: GeofenceEventKind,
    /// When, ns.
    pub at_ns: u64,
    /// Horizontal distance from home, m.
    pub distance_m: f64,
    /// Height above home, m.
    pub height_m: f64,
    /// How far outside the nearest border, m; negative inside.
    pub outside_m: f64,
}

/// The fence. Home is the first position estimated with a known origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Geofence {
    config: GeofenceConfig,
    home_ned_m: Option<[f64; 3]>,
    is_breached: bool,
}

impl Geofence {
    /// A fence without a home yet.
    #[must_use]
    pub fn new(config: GeofenceConfig) -> Self {
        Self { config, home_ned_m: None, is_breached: false }
    }

    /// True while outside.
    #[must_use]
    pub fn is_breached(&self) -> bool {
        self.is_breached
    }

    /// Takes an estimate; returns the event that it causes.
    pub fn on_state(&mut self, state: &NavState) -> Option<GeofenceEvent> {
        state.origin?;
        if self.home_ned_m.is_none() && state.mode == Mode::Aligning {
            return None;
        }
        let p = state.position_ned_m;
        let home = *self.home_ned_m.get_or_insert(p);
        let (north, east) = (p[0] - home[0], p[1] - home[1]);
        let distance_m = (north * north + east * east).sqrt();
        let height_m = home[2] - p[2];
        let c = &self.config;
        let outside_m = (distance_m - c.radius_m).max(height_m - c.ceiling_m).max(-height_m - c.depth_m);
        let kind = match self.is_breached {
            false if outside_m > 0.0 => GeofenceEventKind::Breach,
            true if outside_m < -c.hysteresis_m => GeofenceEventKind::Clear,
            _ => return None,
        };
        self.is_breached = kind == GeofenceEventKind::Breach;
        Some(GeofenceEvent { kind, at_ns: state.measured_at_ns, distance_m, height_m, outside_m })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position_ned_m: [f64; 3]) -> NavState {
        NavState {
            measured_at_ns: 1,
            mode: Mode::Running,
            attitude_body_to_ned: [1.0, 0.0, 0.0, 0.0],
            velocity_ned_m_s: [0.0; 3],
            position_ned_m,
            gyro_bias_rad_s: [0.0; 3],
            accel_bias_m_s2: [0.0; 3],
            sigma: [0.0; 15],
            position_covariance_m2: [[0.0; 3]; 3],
            innovations: Vec::new(),
            origin: Some([0.0; 3]),
        }
    }

    #[test]
    fn the_border_has_hysteresis() {
        let mut fence = Geofence::new(GeofenceConfig::default());
        assert!(fence.on_state(&at([0.0; 3])).is_none());
        let event = fence.on_state(&at([101.0, 0.0, 0.0])).unwrap();
        assert_eq!((event.kind, event.outside_m), (GeofenceEventKind::Breach, 1.0));
        assert!(fence.on_state(&at([99.0, 0.0, 0.0])).is_none());
        assert!(fence.on_state(&at([101.0, 0.0, 0.0])).is_none());
        assert_eq!(fence.on_state(&at([97.0, 0.0, 0.0])).unwrap().kind, GeofenceEventKind::Clear);
    }

    #[test]
    fn the_ceiling_counts_too() {
        let mut fence = Geofence::new(GeofenceConfig::default());
        fence.on_state(&at([0.0; 3]));
        assert_eq!(fence.on_state(&at([0.0, 0.0, -51.0])).unwrap().kind, GeofenceEventKind::Breach);
    }
}
