//! How far the estimate is from the reference, while the flight goes on.
//!
//! Positions are compared in the reference's frame: both state their origin as a point on the Earth, and the
//! difference of the origins is taken into account. Where either does not (an autopilot without a fix), the mean
//! difference before take-off is taken off instead. The error is horizontal against EKF2 (its height is compared on
//! its own) and three-dimensional against RTK and simulation. EKF2 stops being a reference when it resets its
//! heading. Two baselines see the same fixes: the last fix held, and a Kalman filter that believes in constant
//! velocity. Invariant: a score uses nothing that happened after it.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::eskf::{InnovationKind, NavState};
use crate::geodesy;
use crate::landing::{Phase, PhaseEvent};
use crate::math::{self, Vec3};
use crate::recording::{GnssFix, LandDetected, PeerState, Reference};
use crate::track::ConstantVelocity;

/// White acceleration of the constant-velocity baseline, m/s²/√Hz: the best mean error over the three ANSFL flights with 1.5 m and
/// 0.5 m fixes, 16 seeds each, of 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4 and 6 (2.25, 2.14, 2.12, 2.14, 2.17, 2.24 m for the first six).
pub const CONSTANT_VELOCITY_NOISE: f64 = 0.3;
/// Velocity that the baseline expects before its first fix, 1 σ per axis, m/s.
const CONSTANT_VELOCITY_SIGMA_M_S: f64 = 3.0;
/// Peers that wait for the state after them.
const WAITING_MAX: usize = 256;

/// The figures up to now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Score {
    /// Time since the first state, s.
    pub t_s: f64,
    /// States taken.
    pub states: u64,
    /// What the errors are against.
    pub reference: Reference,
    /// False once the reference has disqualified itself.
    pub reference_valid: bool,
    /// When it did, s since the first state.
    pub reference_valid_until_s: Option<f64>,
    /// Comparisons made.
    pub comparisons: u64,
    /// Position error now, m: horizontal against EKF2, else three-dimensional.
    pub position_error_m: Option<f64>,
    /// Height error now, m, positive when we are higher.
    pub height_error_m: Option<f64>,
    /// Tilt error now, degrees.
    pub tilt_error_deg: Option<f64>,
    /// Root mean square of the position error, m.
    pub position_error_rms_m: Option<f64>,
    /// Largest position error, m.
    pub position_error_max_m: Option<f64>,
    /// Root mean square of the height error, m.
    pub height_error_rms_m: Option<f64>,
    /// Root mean square of the tilt error, degrees.
    pub tilt_error_rms_deg: Option<f64>,
    /// Fixes taken.
    pub fixes: u64,
    /// Fixes with an innovation: all but the first and those too old.
    pub nis_count: u64,
    /// Share of fixes whose NIS is within the two-sided 95 % band of χ².
    pub nis_in_band_share: Option<f64>,
    /// Share of fixes whose NIS is below the upper bound of that band.
    pub nis_below_upper_share: Option<f64>,
    /// Mean of NIS per degree of freedom; 1 for a consistent filter.
    pub nis_mean_per_dof: Option<f64>,
    /// Position error of holding the last fix, root mean square, m.
    pub held_fix_rms_m: Option<f64>,
    /// Position error of the constant-velocity filter, root mean square, m.
    pub constant_velocity_rms_m: Option<f64>,
    /// Our take-off minus the autopilot's, s.
    pub takeoff_difference_s: Option<f64>,
    /// Our landing minus the autopilot's, s.
    pub landing_difference_s: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Squares {
    sum: f64,
    count: u64,
}

impl Squares {
    fn add(&mut self, x: f64) {
        self.sum += x * x;
        self.count += 1;
    }

    fn rms(&self) -> Option<f64> {
        (self.count > 0).then(|| (self.sum / self.count as f64).sqrt())
    }
}

/// Adds up a flight. Plain data, like the score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scorer {
    reference: Reference,
    first_ns: Option<u64>,
    previous: Option<NavState>,
    latest: Option<NavState>,
    waiting: Vec<PeerState>,
    first_resets: Option<u32>,
    invalid_at_ns: Option<u64>,
    states: u64,
    position: Squares,
    height: Squares,
    tilt: Squares,
    held: Squares,
    constant: Squares,
    position_max_m: f64,
    now: [Option<f64>; 3],
    unheard: VecDeque<GnssFix>,
    held_fix: Option<GnssFix>,
    constant_velocity: ConstantVelocity,
    fixes: u64,
    nis: [u64; 3],
    nis_sum: f64,
    rest_sum: Vec3,
    rest_count: u64,
    is_flying: bool,
    takeoff_ns: [Option<u64>; 2],
    landing_ns: [Option<u64>; 2],
    was_landed: Option<bool>,
}

impl Scorer {
    /// A scorer against this kind of reference.
    #[must_use]
    pub fn new(reference: Reference) -> Self {
        Self::with_constant_velocity_noise(reference, CONSTANT_VELOCITY_NOISE)
    }

    /// The same with another setting of the constant-velocity baseline, m/s²/√Hz.
    #[must_use]
    pub fn with_constant_velocity_noise(reference: Reference, noise: f64) -> Self {
        Self {
            reference,
            first_ns: None,
            previous: None,
            latest: None,
            waiting: Vec::new(),
            first_resets: None,
            invalid_at_ns: None,
            states: 0,
            position: Squares::default(),
            height: Squares::default(),
            tilt: Squares::default(),
            held: Squares::default(),
            constant: Squares::default(),
            position_max_m: 0.0,
            now: [None; 3],
            unheard: VecDeque::new(),
            held_fix: None,
            constant_velocity: ConstantVelocity::new([noise; 3], [CONSTANT_VELOCITY_SIGMA_M_S; 3]),
            fixes: 0,
            nis: [0; 3],
            nis_sum: 0.0,
            rest_sum: [0.0; 3],
            rest_count: 0,
            is_flying: false,
            takeoff_ns: [None; 2],
            landing_ns: [None; 2],
            was_landed: None,
        }
    }

    /// Takes an estimate.
    pub fn on_state(&mut self, state: &NavState) {
        self.first_ns.get_or_insert(state.measured_at_ns);
        self.states += 1;
        for innovation in &state.innovations {
            if innovation.kind == InnovationKind::Gnss {
                let (lower, upper) = band_95(innovation.degrees_of_freedom);
                self.nis[0] += 1;
                self.nis[1] += u64::from(innovation.nis >= lower && innovation.nis <= upper);
                self.nis[2] += u64::from(innovation.nis <= upper);
                self.nis_sum += innovation.nis / f64::from(innovation.degrees_of_freedom.max(1));
            }
        }
        let kept = NavState { innovations: Vec::new(), ..state.clone() };
        self.previous = self.latest.replace(kept);
        let ready = self.waiting.iter().take_while(|p| p.measured_at_ns <= state.measured_at_ns).count();
        let peers: Vec<PeerState> = self.waiting.drain(..ready).collect();
        for peer in &peers {
            self.compare(peer);
        }
    }

    /// Takes a state of the reference.
    pub fn on_peer(&mut self, peer: &PeerState) {
        self.first_ns.get_or_insert(peer.measured_at_ns);
        let first = *self.first_resets.get_or_insert(peer.heading_resets);
        if peer.heading_resets != first && self.invalid_at_ns.is_none() && self.reference == Reference::Ekf2 {
            self.invalid_at_ns = Some(peer.measured_at_ns);
        }
        if self.invalid_at_ns.is_some() {
            return;
        }
        if self.latest.as_ref().is_some_and(|s| peer.measured_at_ns <= s.measured_at_ns) {
            self.compare(peer);
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.push(*peer);
        }
    }

    /// Takes a fix that the estimator was given.
    pub fn on_fix(&mut self, fix: &GnssFix) {
        self.fixes += 1;
        if self.unheard.len() < WAITING_MAX {
            self.unheard.push_back(*fix);
        }
    }

    /// Lets the baselines hear the fixes measured until then. States lag behind fixes when a recording is played
    /// faster than it is estimated: without this the baselines would be judged by fixes of the future.
    fn hear(&mut self, until_ns: u64) {
        while let Some(fix) = self.unheard.pop_front_if(|f| f.measured_at_ns <= until_ns) {
            self.held_fix = Some(fix);
            self.constant_velocity.take(&fix);
        }
    }

    /// Takes what the autopilot's landing detector says.
    pub fn on_land(&mut self, land: &LandDetected) {
        if let Some(was) = self.was_landed
            && was != land.is_landed
        {
            let slot = if land.is_landed { &mut self.landing_ns[0] } else { &mut self.takeoff_ns[0] };
            slot.get_or_insert(land.measured_at_ns);
        }
        self.was_landed = Some(land.is_landed);
    }

    /// Takes what our landing detector says.
    pub fn on_phase(&mut self, event: &PhaseEvent) {
        match event.phase {
            Phase::Airborne => {
                self.is_flying = true;
                self.takeoff_ns[1].get_or_insert(event.at_ns);
            }
            Phase::OnGround if self.is_flying => {
                self.landing_ns[1].get_or_insert(event.at_ns);
            }
            Phase::OnGround => {}
        }
    }

    fn compare(&mut self, peer: &PeerState) {
        self.hear(peer.measured_at_ns);
        let Some((state, at)) = self.state_at(peer.measured_at_ns) else { return };
        if let Some(attitude) = peer.attitude_body_to_ned {
            let tilt = math::tilt_difference_deg(at.attitude, attitude);
            self.tilt.add(tilt);
            self.now[2] = Some(tilt);
        }
        let (Some(theirs), Some(our_origin)) = (peer.position_ned_m, state) else { return };
        let offset = match peer.origin {
            Some(origin) => geodesy::to_local(&origin, &our_origin),
            None => {
                if !self.is_flying {
                    self.rest_sum = math::add(self.rest_sum, math::sub(theirs, at.position));
                    self.rest_count += 1;
                }
                if self.rest_count == 0 {
                    return;
                }
                math::scale(self.rest_sum, 1.0 / self.rest_count as f64)
            }
        };
        let error = math::sub(math::add(at.position, offset), theirs);
        let size = self.size(error);
        self.position.add(size);
        self.position_max_m = self.position_max_m.max(size);
        self.height.add(error[2]);
        self.now[0] = Some(size);
        self.now[1] = Some(-error[2]);
        // The baselines' positions are points on the Earth too.
        if let Some(fix) = self.held_fix {
            let held = math::add(geodesy::to_local(&our_origin, &fix.point()), offset);
            self.held.add(self.size(math::sub(held, theirs)));
        }
        if let Some(origin) = self.constant_velocity.origin() {
            let moved = self.constant_velocity.predicted(peer.measured_at_ns);
            let moved = math::add(math::add(moved, geodesy::to_local(&our_origin, &origin)), offset);
            self.constant.add(self.size(math::sub(moved, theirs)));
        }
    }

    fn size(&self, error: Vec3) -> f64 {
        let down = if self.reference == Reference::Ekf2 { 0.0 } else { error[2] };
        math::norm([error[0], error[1], down])
    }

    /// Our estimate at that time, and its origin.
    fn state_at(&self, at_ns: u64) -> Option<(Option<[f64; 3]>, At)> {
        let b = self.latest.as_ref()?;
        let near = |s: &NavState, share: f64, a: &NavState| At {
            attitude: if share < 0.5 { a.attitude_body_to_ned } else { s.attitude_body_to_ned },
            position: math::add(a.position_ned_m, math::scale(math::sub(s.position_ned_m, a.position_ned_m), share)),
        };
        match self.previous.as_ref() {
            Some(a) if a.origin == b.origin && a.measured_at_ns < b.measured_at_ns && at_ns >= a.measured_at_ns => {
                let share = (at_ns - a.measured_at_ns) as f64 / (b.measured_at_ns - a.measured_at_ns) as f64;
                Some((b.origin, near(b, share.clamp(0.0, 1.0), a)))
            }
            // Older than both: moved back along the velocity, if it is not long ago.
            _ => {
                let dt = at_ns as f64 * 1e-9 - b.measured_at_ns as f64 * 1e-9;
                (dt.abs() < 0.5).then(|| {
                    let position = math::add(b.position_ned_m, math::scale(b.velocity_ned_m_s, dt));
                    (b.origin, At { attitude: b.attitude_body_to_ned, position })
                })
            }
        }
    }

    /// The position error of the last comparison, m.
    #[must_use]
    pub fn position_error_now_m(&self) -> Option<f64> {
        self.now[0]
    }

    /// The figures up to now.
    #[must_use]
    pub fn score(&self) -> Score {
        let seconds = |ns: u64| (ns as f64 - self.first_ns.unwrap_or(ns) as f64) * 1e-9;
        let share = |n: u64| (self.nis[0] > 0).then(|| n as f64 / self.nis[0] as f64);
        // The reference runs ahead of the states where a recording is played faster than it is estimated.
        let now_ns = self.latest.as_ref().map_or(0, |s| s.measured_at_ns);
        let invalid_at_ns = self.invalid_at_ns.filter(|at| *at <= now_ns);
        let apart = |[theirs, ours]: [Option<u64>; 2]| Some((ours? as f64 - theirs? as f64) * 1e-9);
        Score {
            t_s: self.latest.as_ref().map_or(0.0, |s| seconds(s.measured_at_ns)),
            states: self.states,
            reference: self.reference,
            reference_valid: invalid_at_ns.is_none() && self.reference != Reference::None,
            reference_valid_until_s: invalid_at_ns.map(seconds),
            comparisons: self.position.count,
            position_error_m: self.now[0],
            height_error_m: self.now[1],
            tilt_error_deg: self.now[2],
            position_error_rms_m: self.position.rms(),
            position_error_max_m: (self.position.count > 0).then_some(self.position_max_m),
            height_error_rms_m: self.height.rms(),
            tilt_error_rms_deg: self.tilt.rms(),
            fixes: self.fixes,
            nis_count: self.nis[0],
            nis_in_band_share: share(self.nis[1]),
            nis_below_upper_share: share(self.nis[2]),
            nis_mean_per_dof: (self.nis[0] > 0).then(|| self.nis_sum / self.nis[0] as f64),
            held_fix_rms_m: self.held.rms(),
            constant_velocity_rms_m: self.constant.rms(),
            takeoff_difference_s: apart(self.takeoff_ns),
            landing_difference_s: apart(self.landing_ns),
        }
    }
}

struct At {
    attitude: [f64; 4],
    position: Vec3,
}

/// Two-sided 95 % band of χ² (2.5 % and 97.5 % points; Abramowitz and Stegun, table 26.8).
#[must_use]
pub fn band_95(degrees_of_freedom: u8) -> (f64, f64) {
    match degrees_of_freedom {
        1 => (0.000_982, 5.024),
        2 => (0.0506, 7.378),
        _ => (0.2158, 9.348),
    }
}
