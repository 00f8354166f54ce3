//! Simulated flights: is the stated uncertainty the true one?

use csf_avionics::eskf::{Config, Estimator, NavState};
use csf_avionics::evaluate::{FixOptions, fly, fly_with};
use csf_avionics::recording::{Sample, SourceKind};
use csf_avionics::simulate::{SimulationOptions, simulate};

/// The filter told of the simulated noise, and of nothing else.
fn matched() -> Config {
    let noise = SimulationOptions::default();
    Config {
        gyro_noise_rad_s_rthz: noise.gyro_noise_rad_s_rthz,
        accel_noise_m_s2_rthz: noise.accel_noise_m_s2_rthz,
        accel_noise_per_vibration_rts: 0.0,
        gyro_bias_walk_rad_s_rts: 1e-6,
        accel_bias_walk_m_s2_rts: 1e-5,
        gyro_bias_sigma_rad_s: noise.gyro_bias_rad_s,
        accel_bias_sigma_m_s2: noise.accel_bias_m_s2,
        mag_heading_sigma_rad: 0.015,
        baro_sigma_m: noise.baro_m,
        baro_bias_walk_m_rts: 1e-3,
        level_window_s: 0.0,
        ..Config::default()
    }
}

#[test]
fn without_noise_the_truth_is_followed() {
    let still = SimulationOptions {
        gyro_noise_rad_s_rthz: 0.0,
        accel_noise_m_s2_rthz: 0.0,
        gyro_bias_rad_s: 0.0,
        accel_bias_m_s2: 0.0,
        gnss_position_m: 0.0,
        gnss_velocity_m_s: 0.0,
        baro_m: 0.0,
        mag_gauss: 0.0,
        ..SimulationOptions::default()
    };
    let recording = simulate(&still);
    assert_eq!(recording.source, SourceKind::Simulated);
    let score = fly(&recording, &Config { level_window_s: 0.0, ..Config::default() }, &FixOptions::default());
    assert!(score.position_error_rms_m.unwrap() < 0.02, "{:?}", score.position_error_rms_m);
    assert!(score.tilt_error_rms_deg.unwrap() < 0.1, "{:?}", score.tilt_error_rms_deg);
}

/// Bar-Shalom, Li and Kirubarajan (2001), 5.4.2: over many runs both squared errors must average to their dimension.
#[test]
fn over_many_runs_nis_and_nees_are_in_their_bands() {
    const RUNS: u64 = 50;
    let config = matched();
    let (mut fixes, mut in_band) = (0, 0.0);
    let mut nees_at = vec![0.0; 8];
    for seed in 1..=RUNS {
        let recording = simulate(&SimulationOptions { seed, ..SimulationOptions::default() });
        let truth: Vec<_> = recording.peers().copied().collect();
        let mut next = 0;
        let score = fly_with(&recording, &config, &FixOptions::default(), |state, _, _| {
            // Every fourth second from the tenth on.
            let due = 1_000_000_000 + (10 + 4 * next as u64) * 1_000_000_000;
            if next < nees_at.len() && state.measured_at_ns >= due {
                let peer = truth.iter().find(|p| p.measured_at_ns == state.measured_at_ns).unwrap();
                nees_at[next] += nees(state, peer.position_ned_m.unwrap(), peer.origin.unwrap()) / RUNS as f64;
                next += 1;
            }
        });
        fixes += score.nis_count;
        in_band += score.nis_in_band_share.unwrap() * score.nis_count as f64;
    }
    let share = in_band / fixes as f64;
    println!("NIS in its 95 % band: {share:.3} of {fixes}; mean NEES of position at 8 times: {nees_at:.2?}");
    assert!(share >= 0.9, "{share}");
    // χ² with 150 degrees of freedom over 50: 2.36 to 3.72 holds 95 %; one of eight may lie outside.
    let outside = nees_at.iter().filter(|n| !(2.36..=3.72).contains(*n)).count();
    assert!(outside <= 1, "{nees_at:?}");
}

fn nees(state: &NavState, truth: [f64; 3], origin: [f64; 3]) -> f64 {
    let ours = csf_avionics::geodesy::to_local(&origin, &state.origin.unwrap());
    let error: [f64; 3] = core::array::from_fn(|i| ours[i] + state.position_ned_m[i] - truth[i]);
    let inverse = csf_avionics::math::mat_inverse(&state.position_covariance_m2).unwrap();
    csf_avionics::math::dot(error, csf_avionics::math::mat_vec(&inverse, error))
}

#[test]
fn a_copy_made_in_mid_flight_continues_bit_for_bit() {
    let recording = simulate(&SimulationOptions { length_s: 12.0, ..SimulationOptions::default() });
    let mut original = Estimator::new(Config::default());
    let mut copy = None;
    for (index, event) in recording.events.iter().enumerate() {
        if index == recording.events.len() / 2 {
            let bytes = postcard::to_stdvec(&original).unwrap();
            copy = Some(postcard::from_bytes::<Estimator>(&bytes).unwrap());
        }
        let state = feed(&mut original, &event.sample);
        if let Some(copy) = &mut copy {
            assert_eq!(bits(feed(copy, &event.sample)), bits(state));
        }
    }
    assert!(copy.is_some());
}

fn feed(estimator: &mut Estimator, sample: &Sample) -> Option<NavState> {
    match sample {
        Sample::Imu(imu) => return estimator.on_imu(imu),
        Sample::Gnss(fix) => estimator.on_gnss(fix),
        Sample::Mag(mag) => estimator.on_mag(mag),
        Sample::Baro(baro) => estimator.on_baro(baro),
        Sample::Ahrs(ahrs) => estimator.on_ahrs(ahrs),
        Sample::Peer(_) | Sample::Land(_) => {}
    }
    None
}

fn bits(state: Option<NavState>) -> Vec<u8> {
    postcard::to_stdvec(&state).unwrap()
}
