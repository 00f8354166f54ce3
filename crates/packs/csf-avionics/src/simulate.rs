//! A simulated flight, for what no recording can tell: whether the filter's stated uncertainty is the true one.
//!
//! Half a minute at rest and along a winding path, under white noise and constant biases of stated size. Invariant: the
//! recording says [`SourceKind::Simulated`], the same options give the same bits, and with no noise at all the inertial samples
//! integrate to the true path.

use crate::geodesy;
use crate::math::{self, GRAVITY_M_S2, Quat, Vec3};
use crate::recording::{
    BaroSample, GnssFix, ImuSample, MagSample, PeerState, Quality, Recording, Reference, Sample, SourceKind,
    SplitMix64, Timed,
};

/// Where the simulated flight takes place: `[latitude_deg, longitude_deg, altitude_m]`.
const ORIGIN: [f64; 3] = [47.0, 8.5, 400.0];
/// Flux density of the simulated field north, east, down, gauss.
const FIELD_GAUSS: Vec3 = [0.22, 0.0, 0.42];
/// Time at rest before the flight, s.
const REST_S: f64 = 5.0;
/// Time over which the path winds up to its size, s.
const START_S: f64 = 6.0;
const IMU_HZ: u64 = 200;

/// Noise of the simulated sensors, 1 σ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimulationOptions {
    /// Seed of all noise and biases.
    pub seed: u64,
    /// Length, s.
    pub length_s: f64,
    /// White noise of the angular rate, rad/s/√Hz.
    pub gyro_noise_rad_s_rthz: f64,
    /// White noise of the specific force, m/s²/√Hz.
    pub accel_noise_m_s2_rthz: f64,
    /// Constant gyro bias per axis, rad/s.
    pub gyro_bias_rad_s: f64,
    /// Constant accelerometer bias per axis, m/s².
    pub accel_bias_m_s2: f64,
    /// Satellite position per axis, m.
    pub gnss_position_m: f64,
    /// Satellite velocity per axis, m/s.
    pub gnss_velocity_m_s: f64,
    /// Barometric altitude, m.
    pub baro_m: f64,
    /// Flux density per axis, gauss.
    pub mag_gauss: f64,
}

impl Default for SimulationOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            length_s: 40.0,
            gyro_noise_rad_s_rthz: 2e-4,
            accel_noise_m_s2_rthz: 5e-3,
            gyro_bias_rad_s: 0.01,
            accel_bias_m_s2: 0.05,
            gnss_position_m: 0.5,
            gnss_velocity_m_s: 0.1,
            baro_m: 0.3,
            mag_gauss: 0.002,
        }
    }
}

/// Position north, east, down at a time, m: at rest, then three incommensurate swings that grow smoothly.
fn position(t_s: f64) -> Vec3 {
    let s = (t_s - REST_S).max(0.0);
    let x = (s / START_S).min(1.0);
    // Quintic smooth step: position, velocity and acceleration are continuous.
    let size = x * x * x * (x * (6.0 * x - 15.0) + 10.0);
    [size * 10.0 * libm::sin(0.6 * s), size * 8.0 * libm::sin(0.37 * s + 1.0), -size * (6.0 + 2.0 * libm::sin(0.5 * s))]
}

fn velocity(t_s: f64) -> Vec3 {
    const H: f64 = 1e-4;
    math::scale(math::sub(position(t_s + H), position(t_s - H)), 0.5 / H)
}

fn heading(t_s: f64) -> f64 {
    let s = (t_s - REST_S - START_S).max(0.0);
    0.3 * (s - libm::sin(s))
}

/// Thrust points where the acceleration asks for it; the heading turns on its own.
fn attitude(t_s: f64) -> Quat {
    const H: f64 = 1e-3;
    let (before, after) = (velocity(t_s - H), velocity(t_s + H));
    let acceleration = math::scale(math::sub(after, before), 0.5 / H);
    let lift = math::sub([0.0, 0.0, GRAVITY_M_S2], acceleration);
    let down = math::mat_t_vec(&math::quat_matrix(math::quat_from_euler(0.0, 0.0, heading(t_s))), lift);
    let pitch = libm::atan2(down[0], down[2]);
    let roll = libm::atan2(-down[1], (down[0] * down[0] + down[2] * down[2]).sqrt());
    math::quat_from_euler(roll, pitch, heading(t_s))
}

/// The flight of these options.
#[must_use]
pub fn simulate(options: &SimulationOptions) -> Recording {
    let mut random = SplitMix64::new(options.seed);
    let mut deviate = |sigma: f64| -> Vec3 { core::array::from_fn(|_| sigma * random.normal()) };
    let gyro_bias = deviate(options.gyro_bias_rad_s);
    let accel_bias = deviate(options.accel_bias_m_s2);
    let root_rate = (IMU_HZ as f64).sqrt();
    let dt = 1.0 / IMU_HZ as f64;
    let mut events = Vec::new();
    let steps = (options.length_s * IMU_HZ as f64) as u64;
    for k in 1..=steps {
        let (before, t_s) = ((k - 1) as f64 * dt, k as f64 * dt);
        let measured_at_ns = 1_000_000_000 + k * (1_000_000_000 / IMU_HZ);
        let (from, to) = (attitude(before), attitude(t_s));
        let turn = math::quat_log(math::quat_mul(math::quat_conj(from), to));
        let middle = math::quat_mul(from, math::quat_exp(math::scale(turn, 0.5)));
        let gained = math::scale(math::sub(velocity(t_s), velocity(before)), 1.0 / dt);
        let force = math::mat_t_vec(&math::quat_matrix(middle), math::sub(gained, [0.0, 0.0, GRAVITY_M_S2]));
        let gyro_noise = deviate(options.gyro_noise_rad_s_rthz * root_rate);
        let accel_noise = deviate(options.accel_noise_m_s2_rthz * root_rate);
        let mut push = |sample| events.push(Timed { at_ns: measured_at_ns, sample });
        push(Sample::Imu(ImuSample {
            sensor: 0,
            measured_at_ns,
            gyro_rad_s: math::add(math::add(math::scale(turn, 1.0 / dt), gyro_bias), gyro_noise),
            accel_m_s2: math::add(math::add(force, accel_bias), accel_noise),
        }));
        let (place, speed) = (position(t_s), velocity(t_s));
        if k % (IMU_HZ / 20) == 0 {
            let noise = deviate(options.mag_gauss);
            let field = math::mat_t_vec(&math::quat_matrix(to), FIELD_GAUSS);
            push(Sample::Mag(MagSample { measured_at_ns, field_gauss: math::add(field, noise) }));
            let altitude_m = ORIGIN[2] - place[2] + deviate(options.baro_m)[0];
            push(Sample::Baro(BaroSample { measured_at_ns, altitude_m, pressure_pa: 0.0 }));
        }
        if k % (IMU_HZ / 5) == 0 {
            let [latitude_deg, longitude_deg, altitude_m] =
                geodesy::to_geodetic(&ORIGIN, math::add(place, deviate(options.gnss_position_m)));
            push(Sample::Gnss(GnssFix {
                measured_at_ns,
                latitude_deg,
                longitude_deg,
                altitude_m,
                horizontal_accuracy_m: options.gnss_position_m,
                vertical_accuracy_m: options.gnss_position_m,
                speed_accuracy_m_s: options.gnss_velocity_m_s,
                velocity_ned_m_s: Some(math::add(speed, deviate(options.gnss_velocity_m_s))),
                satellites: 12,
                fix_type: 3,
            }));
            push(Sample::Peer(PeerState {
                measured_at_ns,
                attitude_body_to_ned: Some(to),
                position_ned_m: Some(place),
                velocity_ned_m_s: Some(speed),
                heading_resets: 0,
                origin: Some(ORIGIN),
            }));
        }
    }
    let remarks = vec![format!("simulated, seed {}", options.seed)];
    Recording {
        name: format!("simulated-{}", options.seed),
        source: SourceKind::Simulated,
        events,
        reference: Reference::Simulation,
        damage: None,
        quality: Quality { sensors: Vec::new(), missing: Vec::new(), logger_dropouts: 0, remarks },
    }
}
