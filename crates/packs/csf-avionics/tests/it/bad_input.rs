//! Damaged files and impossible samples: an error with its place, or an estimate that stays finite; never a panic.

use std::path::Path;

use csf_avionics::eskf::{Config, Estimator, NavState};
use csf_avionics::recording::{BaroSample, GnssFix, ImuSample, MagSample, Place, Recording, Sample};
use csf_avionics::simulate::{SimulationOptions, simulate};
use proptest::prelude::*;

fn ulog() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../data/px4_hover_fmu_v5.ulg")).unwrap()
}

#[test]
fn a_truncated_ulog_keeps_what_came_before_and_names_the_byte() {
    let whole = ulog();
    let all = Recording::from_ulog("flight", "flight.ulg", &whole).unwrap();
    for share in [3, 5, 7, 9] {
        let cut = whole.len() * share / 10 + 1;
        let part = Recording::from_ulog("flight", "flight.ulg", &whole[..cut]).unwrap();
        assert!(part.events.len() < all.events.len());
        let damage = part.damage.expect("a message is cut in two");
        let Place::Byte(byte) = damage.place else { panic!("{damage:?}") };
        assert!(byte as usize <= cut && cut - (byte as usize) < 70_000, "{byte} of {cut}");
    }
}

fn impossible() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::MAX),
        Just(0.0),
        Just(1e-300),
        -1e6..1e6,
        -1e300..1e300
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    let three = || prop::array::uniform3(impossible());
    // Times jump back and forth by up to three seconds, and repeat.
    let time = || (0u64..600).prop_map(|t| t * 5_000_000);
    prop_oneof![
        (0u8..4, time(), three(), three()).prop_map(|(sensor, measured_at_ns, gyro_rad_s, accel_m_s2)| Sample::Imu(
            ImuSample { sensor, measured_at_ns, gyro_rad_s, accel_m_s2 }
        )),
        (time(), three())
            .prop_map(|(measured_at_ns, field_gauss)| Sample::Mag(MagSample { measured_at_ns, field_gauss })),
        (time(), impossible()).prop_map(|(measured_at_ns, altitude_m)| Sample::Baro(BaroSample {
            measured_at_ns,
            altitude_m,
            pressure_pa: 0.0
        })),
        (time(), three(), impossible(), impossible(), three(), 0u8..7).prop_map(
            |(measured_at_ns, point, accuracy, speed, velocity, fix_type)| Sample::Gnss(GnssFix {
                measured_at_ns,
                latitude_deg: point[0],
                longitude_deg: point[1],
                altitude_m: point[2],
                horizontal_accuracy_m: accuracy,
                vertical_accuracy_m: accuracy,
                speed_accuracy_m_s: speed,
                velocity_ned_m_s: Some(velocity),
                satellites: 0,
                fix_type,
            })
        ),
    ]
}

fn is_sane(state: &NavState) -> bool {
    let numbers = [state.velocity_ned_m_s, state.position_ned_m, state.gyro_bias_rad_s, state.accel_bias_m_s2];
    numbers.iter().flatten().chain(&state.sigma).chain(&state.attitude_body_to_ned).all(|x| x.is_finite())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// In the middle of an ordinary flight anything may arrive.
    #[test]
    fn no_sample_makes_the_estimate_anything_but_finite(bad in prop::collection::vec(sample(), 1..60)) {
        let flight = simulate(&SimulationOptions { length_s: 3.0, ..SimulationOptions::default() });
        let mut estimator = Estimator::new(Config::default());
        let mut last_ns = 0;
        let half = flight.events.len() / 2;
        let good = flight.events.iter().map(|e| &e.sample);
        for sample in good.clone().take(half).chain(&bad).chain(good.skip(half)) {
            let state = match sample {
                Sample::Imu(imu) => estimator.on_imu(imu),
                Sample::Gnss(fix) => { estimator.on_gnss(fix); None }
                Sample::Mag(mag) => { estimator.on_mag(mag); None }
                Sample::Baro(baro) => { estimator.on_baro(baro); None }
                _ => None,
            };
            if let Some(state) = state {
                prop_assert!(is_sane(&state), "{state:?}");
                prop_assert!(state.measured_at_ns > last_ns, "time ran backwards");
                last_ns = state.measured_at_ns;
            }
        }
    }
}
