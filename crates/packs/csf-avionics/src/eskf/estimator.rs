//! The estimator: aligns, predicts with every inertial sample, corrects with everything else.
//!
//! Invariant: time of the state never runs backwards, and no finite input makes the state anything but finite.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::filter::{BA, BARO, BG, Filter, N, PO, Row, Shake, TH, VE};
use super::imu::{LevelWindow, Levelling, Stillness, StillnessWindow, VirtualImu};
use super::{Innovation, InnovationKind, Mode, NavState, mixture};
use crate::geodesy;
use crate::math::{self, GRAVITY_M_S2, Vec3};
use crate::recording::{AhrsSample, BaroSample, GnssFix, ImuSample, MagSample};
use crate::track::ConstantVelocity;

/// Angular rate beyond this is no vehicle's, rad/s.
const RATE_MAX_RAD_S: f64 = 100.0;
/// Flux density beyond this is no field a vehicle flies in, gauss.
const FIELD_MAX_GAUSS: f64 = 100.0;
/// Altitude beyond this is no fix of a satellite receiver, m.
const ALTITUDE_MAX_M: f64 = 100_000.0;
/// Stated accuracy beyond this is no fix at all, m.
const ACCURACY_MAX_M: f64 = 10_000.0;
/// Speed beyond this is no velocity of a satellite receiver, m/s.
const SPEED_MAX_M_S: f64 = 1_000.0;
/// 1 σ of the position before the first fix, m.
const POSITION_SIGMA_START_M: f64 = 100.0;
/// 1 σ of the barometer's offset before its first sample, m.
const BARO_SIGMA_START_M: f64 = 100.0;
/// Innovations kept between two states; a source that sends more without inertial samples loses the newest.
const INNOVATIONS_MAX: usize = 64;
/// Specific force beyond this is a shock that no integration follows, m/s².
const FORCE_MAX_M_S2: f64 = 160.0;

/// The navigation estimator. Plain data: a serialized copy continues with the same bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimator {
    config: Config,
    bank: Vec<Filter>,
    imu: VirtualImu,
    stillness: StillnessWindow,
    level: [LevelWindow; 2],
    now_ns: u64,
    vibration_m_s2: f64,
    /// The sample before: rate and force.
    last_inertial: [Vec3; 2],
    is_resting: bool,
    origin: Option<[f64; 3]>,
    last_accepted_ns: Option<u64>,
    /// Carries the position until the attitude is known.
    coarse: ConstantVelocity,
    coarse_attitude: Option<math::Quat>,
    /// The units' own attitudes, turned along with the gyro until alignment.
    ahrs: [Option<math::Quat>; 2],
    last_mag: Option<MagSample>,
    field_strength_gauss: Option<f64>,
    has_baro: bool,
    rejections: [u8; 4],
    innovations: Vec<Innovation>,
}

impl Estimator {
    /// An estimator that knows nothing yet. An invalid `config` is used as it is: call [`Config::validate`] first.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let level = [LevelWindow::default(), LevelWindow::started(0.5 * config.level_window_s)];
        let coarse = {
            let (level, climb) = (config.flight_accel_noise_m_s2_rthz, config.flight_climb_noise_m_s2_rthz);
            let speed = config.flight_velocity_sigma_m_s;
            ConstantVelocity::new([level, level, climb], [speed, speed, config.flight_climb_sigma_m_s])
        };
        Self {
            config,
            bank: Vec::new(),
            imu: VirtualImu::default(),
            stillness: StillnessWindow::default(),
            level,
            now_ns: 0,
            vibration_m_s2: 0.0,
            last_inertial: [[0.0; 3]; 2],
            is_resting: false,
            origin: None,
            last_accepted_ns: None,
            coarse,
            coarse_attitude: None,
            ahrs: [None; 2],
            last_mag: None,
            field_strength_gauss: None,
            has_baro: false,
            rejections: [0; 4],
            innovations: Vec::new(),
        }
    }

    /// True while the inertial samples show rest.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.is_resting
    }

    /// Headings that are still considered; 0 before alignment.
    #[must_use]
    pub fn hypotheses(&self) -> usize {
        self.bank.len()
    }

    /// Takes an inertial sample; returns the state after it once the attitude is known.
    pub fn on_imu(&mut self, sample: &ImuSample) -> Option<NavState> {
        if !math::is_finite(sample.gyro_rad_s) || !math::is_finite(sample.accel_m_s2) {
            return None;
        }
        let possible = ImuSample {
            gyro_rad_s: sample.gyro_rad_s.map(|w| w.clamp(-RATE_MAX_RAD_S, RATE_MAX_RAD_S)),
            accel_m_s2: sample.accel_m_s2.map(|a| a.clamp(-FORCE_MAX_M_S2, FORCE_MAX_M_S2)),
            ..*sample
        };
        let sample = self.imu.take(&possible)?;
        let last_ns = core::mem::replace(&mut self.now_ns, sample.measured_at_ns);
        if last_ns == 0 || sample.measured_at_ns <= last_ns {
            self.now_ns = self.now_ns.max(last_ns);
            return None;
        }
        // A step of more than a second tells nothing about what happened in it.
        let dt = ((sample.measured_at_ns - last_ns) as f64 * 1e-9).min(1.0);
        let (gyro, accel) = (sample.gyro_rad_s, sample.accel_m_s2);
        if self.bank.is_empty() {
            let turn = math::quat_exp(math::scale(gyro, dt));
            for attitude in self.ahrs.iter_mut().flatten() {
                *attitude = math::quat_normalise(math::quat_mul(*attitude, turn));
            }
        }
        let last = core::mem::replace(&mut self.last_inertial, [gyro, accel]);
        let shake = Shake {
            vibration_m_s2: self.vibration_m_s2,
            gyro_change_rad_s: math::norm(math::sub(gyro, last[0])),
            accel_change_m_s2: math::norm(math::sub(accel, last[1])),
        };
        for filter in &mut self.bank {
            filter.predict(&self.config, gyro, accel, &shake, dt);
            filter.remember(sample.measured_at_ns);
        }
        if let Some(still) = self.stillness.add(gyro, accel, dt, self.config.stillness_window_s) {
            self.on_stillness(&still);
        }
        if self.config.level_window_s > 0.0 {
            let bias = if self.bank.is_empty() { [0.0; 3] } else { mixture::best(&self.bank).gyro_bias };
            for k in 0..2 {
                let full = self.level[k].add(gyro, accel, dt, self.config.level_window_s, bias);
                match full {
                    Some(levelling) if self.bank.is_empty() && k == 0 => self.align(&levelling),
                    Some(levelling) if !self.is_resting => {
                        let (level, climb) = (self.config.level_accel_sigma_m_s2, self.config.level_climb_sigma_m_s2);
                        self.level_with(&levelling, [level, level, climb]);
                    }
                    _ => {}
                }
            }
        }
        if self.bank.is_empty() { self.coarse_state() } else { Some(self.state()) }
    }

    fn state(&mut self) -> NavState {
        let m = mixture::moments(&self.bank);
        let coasting =
            self.last_accepted_ns.is_none_or(|t| self.age_s(t) > self.config.coast_after_s) && self.bank.len() == 1;
        let mode = if coasting {
            Mode::Coasting
        } else if self.bank.len() > 1 || self.origin.is_none() {
            Mode::Aligning
        } else {
            Mode::Running
        };
        NavState {
            measured_at_ns: self.now_ns,
            mode,
            attitude_body_to_ned: m.attitude,
            velocity_ned_m_s: m.velocity,
            position_ned_m: m.position,
            gyro_bias_rad_s: m.gyro_bias,
            accel_bias_m_s2: m.accel_bias,
            sigma: m.sigma,
            position_covariance_m2: m.position_covariance,
            innovations: core::mem::take(&mut self.innovations),
            origin: self.origin,
        }
    }

    /// Before alignment: where the fixes say we are, and how the vehicle would hang if it did not accelerate.
    fn coarse_state(&mut self) -> Option<NavState> {
        let attitude = self.coarse_attitude?;
        let covariance: [[f64; 3]; 3] = core::array::from_fn(|i| self.coarse.covariance(i, self.now_ns));
        let mut sigma = [0.0; 15];
        for i in 0..3 {
            sigma[TH + i] = if i == 2 { core::f64::consts::PI } else { self.config.flight_tilt_sigma_rad };
            sigma[VE + i] = covariance[i][2].sqrt();
            sigma[PO + i] = covariance[i][0].sqrt();
            sigma[BG + i] = self.config.gyro_bias_sigma_rad_s;
            sigma[BA + i] = self.config.accel_bias_sigma_m_s2;
        }
        Some(NavState {
            measured_at_ns: self.now_ns,
            mode: Mode::Aligning,
            attitude_body_to_ned: attitude,
            velocity_ned_m_s: self.coarse.velocity(),
            position_ned_m: self.coarse.predicted(self.now_ns),
            gyro_bias_rad_s: [0.0; 3],
            accel_bias_m_s2: [0.0; 3],
            sigma,
            position_covariance_m2: core::array::from_fn(|i| {
                core::array::from_fn(|j| if i == j { covariance[i][0] } else { 0.0 })
            }),
            innovations: core::mem::take(&mut self.innovations),
            origin: self.origin,
        })
    }

    fn age_s(&self, at_ns: u64) -> f64 {
        self.now_ns.saturating_sub(at_ns) as f64 * 1e-9
    }

    fn on_stillness(&mut self, still: &Stillness) {
        self.vibration_m_s2 = still.accel_deviation;
        self.is_resting = still.gyro_deviation < self.config.rest_gyro_deviation_rad_s
            && still.accel_deviation < self.config.rest_accel_deviation_m_s2
            && math::norm(still.gyro_mean) < self.config.rest_rate_max_rad_s
            && (math::norm(still.accel_mean) - GRAVITY_M_S2).abs() < 0.5;
        if self.bank.is_empty() && !self.is_resting && self.align_by_ahrs() {
            return;
        }
        let levelling = Levelling { force: still.accel_mean, lever_s: 0.0, gyro_bias: still.gyro_mean };
        if self.bank.is_empty() {
            if self.is_resting || self.config.level_window_s == 0.0 {
                self.align(&levelling);
            } else {
                self.coarse_attitude = Some(level_attitude(still.accel_mean));
            }
            return;
        }
        if self.is_resting {
            let sigma = self.config.rest_velocity_sigma_m_s;
            for filter in &mut self.bank {
                let mut parts = [(0.0, [0.0; N], 0.0); 6];
                for i in 0..3 {
                    parts[i] = (-filter.velocity[i], unit(VE + i), sigma);
                    let rate = still.gyro_mean[i] - filter.gyro_bias[i];
                    parts[3 + i] = (rate, unit(BG + i), 0.1 * self.config.rest_gyro_deviation_rad_s);
                }
                filter.correct(&parts);
            }
            self.level_with(&levelling, [self.config.rest_accel_sigma_m_s2; 3]);
        }
    }

    /// First attitude in flight, if the units reckon one: each unit's is a hypothesis, for their headings may disagree.
    fn align_by_ahrs(&mut self) -> bool {
        let c = &self.config;
        let speed = [c.flight_velocity_sigma_m_s, c.flight_climb_sigma_m_s];
        let turn = [c.ahrs_tilt_sigma_rad, c.ahrs_heading_sigma_rad];
        let sigma = start_sigma(c, turn, speed, c.gyro_bias_sigma_rad_s);
        self.bank.extend(self.ahrs.iter().flatten().map(|attitude| Filter::new(*attitude, [0.0; 3], &sigma)));
        let share = 1.0 / self.bank.len().max(1) as f64;
        for filter in &mut self.bank {
            filter.weight = share;
        }
        if self.origin.is_some() {
            self.take_over_position();
        }
        !self.bank.is_empty()
    }

    /// First attitude: tilt from the mean force, heading from the magnetometer or all around.
    fn align(&mut self, levelling: &Levelling) {
        let config = &self.config;
        let (rate, gyro_bias) = if self.is_resting {
            (0.1 * config.gyro_bias_sigma_rad_s, levelling.gyro_bias)
        } else {
            (config.gyro_bias_sigma_rad_s, [0.0; 3])
        };
        let level = level_attitude(levelling.force);
        let mag_yaw = self.last_mag.and_then(|m| magnetic_heading(level, m.field_gauss));
        let (count, first, yaw_sigma) = match mag_yaw {
            Some(yaw) => (1, yaw + config.magnetic_declination_rad, config.mag_heading_sigma_rad),
            None => {
                let count = config.heading_hypotheses.clamp(1, 32);
                // Neighbours are two σ apart: the sum of the bells is flat.
                (count, 0.0, core::f64::consts::PI / f64::from(count))
            }
        };
        let speed =
            if self.is_resting { [0.1; 2] } else { [config.flight_velocity_sigma_m_s, config.flight_climb_sigma_m_s] };
        // The levelling below brings the tilt down to what the window tells, with its share of the gyro's bias.
        let sigma = start_sigma(config, [config.flight_tilt_sigma_rad, yaw_sigma], speed, rate);
        for k in 0..count {
            let yaw = first + core::f64::consts::TAU * f64::from(k) / f64::from(count);
            let turn = math::quat_exp([0.0, 0.0, yaw]);
            let mut filter = Filter::new(math::quat_mul(turn, level), gyro_bias, &sigma);
            filter.weight = 1.0 / f64::from(count);
            self.bank.push(filter);
        }
        if mag_yaw.is_some() {
            self.field_strength_gauss = self.last_mag.map(|m| math::norm(m.field_gauss));
        }
        if self.origin.is_some() {
            self.take_over_position();
        }
        let level_sigma = if self.is_resting {
            [self.config.rest_accel_sigma_m_s2; 3]
        } else {
            let level = self.config.align_accel_sigma_m_s2;
            [level, level, self.config.level_climb_sigma_m_s2]
        };
        self.level_with(levelling, level_sigma);
    }

    /// Gives every hypothesis the position and velocity that the fixes told until now.
    fn take_over_position(&mut self) {
        for filter in &mut self.bank {
            filter.set_position(self.coarse.predicted(self.now_ns), [1.0; 3]);
            if !self.is_resting {
                filter.velocity = self.coarse.velocity();
                filter.forget(VE, [1.0; 3]);
            }
            for i in 0..3 {
                let [pp, pv, vv] = self.coarse.covariance(i, self.now_ns);
                filter.covariance[PO + i][PO + i] = pp;
                if !self.is_resting {
                    filter.covariance[VE + i][VE + i] = vv;
                    filter.covariance[PO + i][VE + i] = pv;
                    filter.covariance[VE + i][PO + i] = pv;
                }
            }
            filter.remember(self.now_ns);
        }
    }

    /// "The mean force, seen from the body of now, is the reaction to gravity."
    ///
    /// The raw gyro carried the force from the middle of the window, `lever_s` ago on average, so its bias turns the
    /// mean by bias × lever.
    fn level_with(&mut self, levelling: &Levelling, sigma: Vec3) {
        let Levelling { force, lever_s, gyro_bias } = *levelling;
        for filter in &mut self.bank {
            let rotation = math::quat_matrix(filter.attitude);
            let bias = math::sub(filter.gyro_bias, gyro_bias);
            let turned = math::add(force, math::scale(math::cross(bias, force), lever_s));
            let seen = math::mat_vec(&rotation, math::sub(turned, filter.accel_bias));
            let residual = [-seen[0], -seen[1], -seen[2] - GRAVITY_M_S2];
            let s = math::skew(seen);
            let t = math::skew(force);
            let mut parts = sigma.map(|s| (0.0, [0.0; N], s));
            for i in 0..3 {
                parts[i].0 = residual[i];
                for j in 0..3 {
                    parts[i].1[TH + j] = -s[i][j];
                    parts[i].1[BA + j] = -rotation[i][j];
                    parts[i].1[BG + j] =
                        -lever_s * (rotation[i][0] * t[0][j] + rotation[i][1] * t[1][j] + rotation[i][2] * t[2][j]);
                }
            }
            // A window that does not fit is a manoeuvre: it counts less, as in Huber's estimator.
            let variance = filter.innovation_covariance(&parts.map(|p| p.1), sigma);
            let nis = math::mat_inverse(&variance).map_or(0.0, |i| math::dot(residual, math::mat_vec(&i, residual)));
            for part in &mut parts {
                part.2 *= (nis / 3.0).sqrt().max(1.0);
            }
            filter.correct(&parts);
        }
    }

    /// Takes a satellite fix.
    pub fn on_gnss(&mut self, fix: &GnssFix) {
        let Some(fix) = &possible(fix) else { return };
        if self.age_s(fix.measured_at_ns) > self.config.gnss_age_max_s && self.origin.is_some() {
            return;
        }
        let c = &self.config;
        let floor = |sigma: f64| (sigma * c.gnss_position_sigma_scale).max(c.gnss_position_sigma_min_m);
        let horizontal = floor(fix.horizontal_accuracy_m);
        let sigma = [horizontal, horizontal, floor(fix.vertical_accuracy_m)];
        let speed_sigma = fix.speed_accuracy_m_s.max(c.gnss_velocity_sigma_min_m_s);
        if self.bank.is_empty() || self.origin.is_none() {
            let fix = GnssFix {
                horizontal_accuracy_m: sigma[0],
                vertical_accuracy_m: sigma[2],
                speed_accuracy_m_s: speed_sigma,
                ..*fix
            };
            self.coarse.take(&fix);
            self.origin = self.coarse.origin();
            self.last_accepted_ns = Some(fix.measured_at_ns);
            self.take_over_position();
            self.has_baro = false;
            return;
        }
        let Some(origin) = self.origin else { return };
        let local = geodesy::to_local(&origin, &fix.point());
        // Signed: a fix may be ahead of the last inertial sample.
        let lag_s = (self.now_ns as f64 - fix.measured_at_ns as f64) * 1e-9;
        let mut h: [Row; 3] = core::array::from_fn(|i| unit(PO + i));
        for (i, row) in h.iter_mut().enumerate() {
            row[VE + i] = -lag_s;
        }
        let at_ns = fix.measured_at_ns;
        let residuals = |f: &Filter, now| math::sub(local, f.at(at_ns, now).0);
        self.vector_update(InnovationKind::Gnss, at_ns, &h, [sigma; 1][0], PO, residuals);
        if let Some(velocity) = fix.velocity_ned_m_s {
            let h = core::array::from_fn(|i| unit(VE + i));
            let residuals = |f: &Filter, now| math::sub(velocity, f.at(at_ns, now).1);
            self.vector_update(InnovationKind::GnssVelocity, at_ns, &h, [speed_sigma; 3], VE, residuals);
        }
        mixture::reduce(&mut self.bank, self.config.heading_weight_min, self.config.heading_merge_rad);
    }

    /// Gates and applies a measurement of three states that start at `first`.
    fn vector_update(
        &mut self,
        kind: InnovationKind,
        at_ns: u64,
        h: &[Row; 3],
        sigma: Vec3,
        first: usize,
        residual_of: impl Fn(&Filter, u64) -> Vec3,
    ) {
        let now_ns = self.now_ns;
        let parts: Vec<_> =
            self.bank.iter().map(|f| (residual_of(f, now_ns), f.innovation_covariance(h, sigma))).collect();
        let Some(nis) = mixture::nis(&self.bank, &parts) else { return };
        let accepted = nis <= self.config.gate(3);
        self.report(kind, at_ns, nis, 3, accepted);
        let rejections = &mut self.rejections[kind as usize];
        if !accepted {
            *rejections = rejections.saturating_add(1);
            if *rejections <= self.config.gate_rejections_max {
                return;
            }
            // Many measurements agree with one another and not with us: we are wrong. Widen until this one fits.
            for (filter, (residual, _)) in self.bank.iter_mut().zip(&parts) {
                for i in 0..3 {
                    filter.covariance[first + i][first + i] += residual[i] * residual[i];
                }
            }
        }
        self.rejections[kind as usize] = 0;
        mixture::weigh(&mut self.bank, &parts);
        for (filter, (residual, _)) in self.bank.iter_mut().zip(&parts) {
            filter.correct(&core::array::from_fn::<_, 3, _>(|i| (residual[i], h[i], sigma[i])));
        }
        if kind == InnovationKind::Gnss {
            self.last_accepted_ns = Some(self.last_accepted_ns.map_or(at_ns, |t| t.max(at_ns)));
        }
    }

    /// Takes an inertial unit's own attitude: roll and pitch always, the heading only to start from.
    pub fn on_ahrs(&mut self, sample: &AhrsSample) {
        let length: f64 = sample.attitude_body_to_ned.iter().map(|x| x * x).sum();
        if !(0.99..1.01).contains(&length) {
            return;
        }
        let attitude = math::quat_normalise(sample.attitude_body_to_ned);
        if self.bank.is_empty() {
            if let Some(slot) = self.ahrs.get_mut(usize::from(sample.sensor)) {
                *slot = Some(attitude);
            }
            return;
        }
        // Down, as the unit sees it from the body, should be down for us.
        let down = math::mat_t_vec(&math::quat_matrix(attitude), [0.0, 0.0, 1.0]);
        let sigma = self.config.ahrs_tilt_sigma_rad;
        for filter in &mut self.bank {
            let seen = math::mat_vec(&math::quat_matrix(filter.attitude), down);
            filter.correct(&[(seen[1], unit(TH), sigma), (-seen[0], unit(TH + 1), sigma)]);
        }
    }

    /// Takes a magnetometer sample: a heading, unless motors or steel disturb the field.
    pub fn on_mag(&mut self, mag: &MagSample) {
        if !(0.0..=FIELD_MAX_GAUSS).contains(&math::norm(mag.field_gauss)) {
            return;
        }
        self.last_mag = Some(*mag);
        let Some(strength) = self.field_strength_gauss else { return };
        let deviation = (math::norm(mag.field_gauss) / strength - 1.0).abs();
        if self.bank.len() != 1 || deviation > self.config.mag_strength_deviation_max {
            return;
        }
        let filter = &self.bank[0];
        let yaw = math::yaw_of(filter.attitude);
        let Some(turn) =
            magnetic_heading(math::quat_mul(math::quat_exp([0.0, 0.0, -yaw]), filter.attitude), mag.field_gauss)
        else {
            return;
        };
        let residual = math::wrap_rad(turn + self.config.magnetic_declination_rad - yaw);
        self.scalar_update(
            InnovationKind::Mag,
            mag.measured_at_ns,
            residual,
            unit(TH + 2),
            self.config.mag_heading_sigma_rad,
            false,
        );
    }

    /// Takes a barometer sample.
    pub fn on_baro(&mut self, baro: &BaroSample) {
        // A comparison with what is no number is false.
        if !(-ALTITUDE_MAX_M..=ALTITUDE_MAX_M).contains(&baro.altitude_m) || self.bank.len() != 1 {
            return;
        }
        let filter = &mut self.bank[0];
        if !self.has_baro {
            self.has_baro = true;
            filter.forget_one(BARO, BARO_SIGMA_START_M);
            filter.baro_bias = baro.altitude_m + filter.position[2];
            let mut row = unit(BARO);
            row[PO + 2] = -1.0;
            filter.correct(&[(0.0, row, self.config.baro_sigma_m)]);
            return;
        }
        let mut row = unit(BARO);
        row[PO + 2] = -1.0;
        let residual = baro.altitude_m - (filter.baro_bias - filter.position[2]);
        let sigma = self.config.baro_sigma_m;
        self.scalar_update(InnovationKind::Baro, baro.measured_at_ns, residual, row, sigma, true);
    }

    /// Gates and applies one number to the only hypothesis. After too many rejections a barometer's offset is
    /// forgotten; a compass has no right to turn the state, so it is simply asked again.
    fn scalar_update(&mut self, kind: InnovationKind, at_ns: u64, residual: f64, row: Row, sigma: f64, recovers: bool) {
        let filter = &self.bank[0];
        let variance = super::filter::row_dot(&row, &filter.covariance_times(&row)) + sigma * sigma;
        let nis = residual * residual / variance;
        let accepted = nis <= self.config.gate(1);
        self.report(kind, at_ns, nis, 1, accepted);
        let rejections = &mut self.rejections[kind as usize];
        if !accepted {
            *rejections = rejections.saturating_add(1);
            if !recovers || *rejections <= self.config.gate_rejections_max {
                return;
            }
            self.bank[0].covariance[BARO][BARO] += residual * residual;
        }
        self.rejections[kind as usize] = 0;
        self.bank[0].correct(&[(residual, row, sigma)]);
    }

    fn report(&mut self, kind: InnovationKind, measured_at_ns: u64, nis: f64, degrees_of_freedom: u8, accepted: bool) {
        if self.innovations.len() < INNOVATIONS_MAX {
            self.innovations.push(Innovation { kind, measured_at_ns, nis, degrees_of_freedom, accepted });
        }
    }
}

fn unit(at: usize) -> Row {
    let mut row = [0.0; N];
    row[at] = 1.0;
    row
}

/// Attitude with heading zero under which a body at rest would feel this force.
fn level_attitude(force: Vec3) -> math::Quat {
    let roll = libm::atan2(-force[1], -force[2]);
    let pitch = libm::atan2(force[0], (force[1] * force[1] + force[2] * force[2]).sqrt());
    math::quat_from_euler(roll, pitch, 0.0)
}

/// What is known at the start: 1 σ of tilt and heading, of level and climbing speed, and of the gyro's bias.
fn start_sigma(config: &Config, turn: [f64; 2], speed: [f64; 2], gyro_bias: f64) -> Row {
    let mut sigma = [0.0; N];
    for i in 0..3 {
        let is_down = usize::from(i == 2);
        sigma[TH + i] = turn[is_down];
        sigma[VE + i] = speed[is_down];
        sigma[PO + i] = POSITION_SIGMA_START_M;
        sigma[BG + i] = gyro_bias;
        sigma[BA + i] = config.accel_bias_sigma_m_s2;
    }
    sigma[BARO] = BARO_SIGMA_START_M;
    sigma
}

/// A three-dimensional fix of a place and accuracy that can be; a velocity that cannot is left out of it.
fn possible(fix: &GnssFix) -> Option<GnssFix> {
    let is_place = fix.latitude_deg.abs() <= 90.0
        && fix.longitude_deg.abs() <= 180.0
        && fix.altitude_m.abs() <= ALTITUDE_MAX_M
        && (0.0..=ACCURACY_MAX_M).contains(&fix.horizontal_accuracy_m)
        && (0.0..=ACCURACY_MAX_M).contains(&fix.vertical_accuracy_m);
    let velocity_ned_m_s = fix
        .velocity_ned_m_s
        .filter(|v| math::norm(*v) <= SPEED_MAX_M_S && (0.0..=SPEED_MAX_M_S).contains(&fix.speed_accuracy_m_s));
    let speed_accuracy_m_s = if velocity_ned_m_s.is_some() { fix.speed_accuracy_m_s } else { 0.0 };
    (is_place && fix.fix_type >= 3).then_some(GnssFix { velocity_ned_m_s, speed_accuracy_m_s, ..*fix })
}

/// Heading of a body whose tilt is `level` (heading zero) and that sees this field, rad; `None` when the field has
/// no horizontal part.
fn magnetic_heading(level: math::Quat, field: Vec3) -> Option<f64> {
    let flat = math::mat_vec(&math::quat_matrix(level), field);
    let horizontal = (flat[0] * flat[0] + flat[1] * flat[1]).sqrt();
    (horizontal > 1e-3).then(|| -libm::atan2(flat[1], flat[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_to_the_left_means_we_face_east() {
        let heading = magnetic_heading([1.0, 0.0, 0.0, 0.0], [0.0, -0.3, 0.4]).unwrap();
        assert!((heading - core::f64::consts::FRAC_PI_2).abs() < 1e-12);
    }

    #[test]
    fn at_rest_the_estimator_levels_and_stays() {
        let mut estimator = Estimator::new(Config::default());
        estimator.on_mag(&MagSample { measured_at_ns: 1, field_gauss: [0.3, 0.0, 0.4] });
        let attitude = math::quat_from_euler(0.05, -0.1, 0.0);
        let force = math::mat_t_vec(&math::quat_matrix(attitude), [0.0, 0.0, -GRAVITY_M_S2]);
        let mut last = None;
        for i in 1..4000u64 {
            let imu = ImuSample {
                sensor: 0,
                measured_at_ns: i * 5_000_000,
                gyro_rad_s: [0.01, 0.0, -0.01],
                accel_m_s2: force,
            };
            last = estimator.on_imu(&imu).or(last);
        }
        let state = last.unwrap();
        assert!(math::tilt_difference_deg(state.attitude_body_to_ned, attitude) < 0.05);
        assert!(math::norm(state.velocity_ned_m_s) < 0.01);
        assert_eq!(state.mode, Mode::Coasting);
    }
}
