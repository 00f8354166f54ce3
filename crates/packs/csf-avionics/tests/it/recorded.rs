//! Recorded flights: the goals of the main job.

use std::path::{Path, PathBuf};

use csf_avionics::eskf::Config;
use csf_avionics::evaluate::{FIRST_OUTAGE_S, FixOptions, fly, monte_carlo, outages};
use csf_avionics::recording::Recording;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// An ANSFL flight that lies beside the repository, or a loud word that it does not.
fn ansfl(path: u32) -> Option<Recording> {
    let file = repository().join(format!("../shared/data/flight/ansfl_p4rtk_path{path}_GT.csv.gz"));
    if !file.exists() {
        println!("skipped: {} is not here", file.display());
        return None;
    }
    Some(Recording::open(&file).unwrap())
}

#[test]
fn the_px4_flight_agrees_with_its_autopilot() {
    let recording = Recording::open(&repository().join("data/px4_hover_fmu_v5.ulg")).unwrap();
    let score = fly(&recording, &Config::default(), &FixOptions::default());
    assert!((score.reference_valid_until_s.unwrap() - 10.6).abs() < 0.1);
    assert!(score.position_error_rms_m.unwrap() <= 0.25);
    assert!(score.height_error_rms_m.unwrap() <= 0.25);
    assert!(score.tilt_error_rms_deg.unwrap() <= 1.0);
    assert!(score.takeoff_difference_s.unwrap().abs() <= 1.0);
    assert!(score.landing_difference_s.unwrap().abs() <= 1.0);
    assert_eq!(fly(&recording, &Config::default(), &FixOptions::default()), score, "two flights give equal bits");
}

#[test]
fn ansfl_flights_stay_within_their_goals_and_beat_both_baselines() {
    for (path, goal_m) in [(1, 2.2), (5, 2.2), (11, 2.0)] {
        let Some(recording) = ansfl(path) else { return };
        let coarse = monte_carlo(&recording, &Config::default(), 1.5, 16);
        assert!(coarse.position_error_rms_mean_m <= goal_m, "path {path}: {coarse:?}");
        assert!(coarse.nis_in_band_share >= 0.9, "path {path}: {coarse:?}");
        let fine = monte_carlo(&recording, &Config::default(), 0.5, 16);
        assert!(fine.position_error_rms_mean_m <= 0.95, "path {path}: {fine:?}");
        assert!(fine.position_error_rms_mean_m < fine.held_fix_rms_mean_m, "path {path}: {fine:?}");
        assert!(fine.position_error_rms_mean_m < fine.constant_velocity_rms_mean_m, "path {path}: {fine:?}");
        assert!(fine.nis_in_band_share >= 0.9, "path {path}: {fine:?}");
    }
}

#[test]
fn ansfl_flights_survive_outages_of_their_fixes() {
    for path in [1, 5, 11] {
        let Some(recording) = ansfl(path) else { return };
        let short = outages(&recording, &Config::default(), 1.5, 5.0, FIRST_OUTAGE_S, 2);
        assert!(short.max_m <= 12.0, "path {path}: {:.1} m in 5 s", short.max_m);
        let long = outages(&recording, &Config::default(), 1.5, 10.0, FIRST_OUTAGE_S, 2);
        assert!(long.median_m <= 12.0 && long.max_m <= 22.0, "path {path}: {:.1}, {:.1} m", long.median_m, long.max_m);
    }
}
