//! Registration of the pack.

use std::path::Path;

use csf_runtime::{Manifest, Options, Pack, Registrar};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::component::{Fence, Fusion, Judge, Landing};
use crate::eskf::{Config, Estimator, NavState};
use crate::evaluate::{FIRST_OUTAGE_S, monte_carlo, outages};
use crate::flight::{Flight, FlightOptions};
use crate::geofence::{Geofence, GeofenceConfig, GeofenceEvent};
use crate::landing::{LandingConfig, LandingDetector, PhaseEvent};
use crate::recording::{
    AhrsSample, BaroSample, GnssFix, ImuSample, LandDetected, MagSample, PeerState, Recording, Reference,
};
use crate::score::{Score, Scorer};

/// The pack.
#[derive(Clone, Copy, Debug, Default)]
pub struct Avionics;

/// Options of `avionics.score`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreOptions {
    /// What the estimate is compared with.
    pub reference: Reference,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self { reference: Reference::Ekf2 }
    }
}

impl Options for ScoreOptions {}

impl Options for Config {
    fn validate(&self) -> Vec<String> {
        Config::validate(self)
    }
}

impl Options for GeofenceConfig {
    fn validate(&self) -> Vec<String> {
        GeofenceConfig::validate(self)
    }
}

impl Options for LandingConfig {}

impl Pack for Avionics {
    fn manifest(&self) -> Manifest {
        Manifest { name: "avionics", doc: "navigation of a flying vehicle from recorded or live sensors" }
    }

    fn register(&self, registrar: &mut Registrar<'_>) {
        registrar
            .service::<FlightOptions, _>("flight", "plays a recorded flight with its own times", Flight::new)
            .writes::<ImuSample>("imu")
            .writes::<GnssFix>("gnss")
            .writes::<MagSample>("mag")
            .writes::<BaroSample>("baro")
            .writes::<AhrsSample>("ahrs")
            .writes::<PeerState>("peer")
            .writes::<LandDetected>("land")
            // A recording does not change.
            .deterministic()
            .done();
        registrar
            .component::<Config, _>("fusion", "15-state error-state Kalman filter", |config| {
                Fusion(Estimator::new(config.clone()))
            })
            .reads::<ImuSample>()
            .reads::<GnssFix>()
            .reads::<MagSample>()
            .reads::<BaroSample>()
            .reads::<AhrsSample>()
            .writes::<NavState>("state")
            .done();
        registrar
            .component::<GeofenceConfig, _>(
                "geofence",
                "tells when the vehicle leaves its fence and returns",
                |config| Fence(Geofence::new(config.clone())),
            )
            .reads::<NavState>()
            .writes::<GeofenceEvent>("event")
            .done();
        registrar
            .component::<LandingConfig, _>("landing", "finds take-off and landing", |config| {
                Landing(LandingDetector::new(config.clone()))
            })
            .reads::<NavState>()
            .reads::<ImuSample>()
            .writes::<PhaseEvent>("phase")
            .done();
        registrar
            .component::<ScoreOptions, _>("score", "compares the estimate with the reference", |options| {
                Judge(Scorer::new(options.reference))
            })
            .reads::<NavState>()
            .reads::<PeerState>()
            .reads::<GnssFix>()
            .reads::<LandDetected>()
            .reads::<PhaseEvent>()
            .writes::<Score>("score")
            .done();
    }
}

/// What is wrong with the sensors of a recording, one sentence each.
///
/// # Errors
/// When the recording cannot be opened.
pub fn recording_faults(path: &Path) -> Result<Vec<String>, String> {
    Ok(Recording::open(path).map_err(|e| e.to_string())?.quality.faults())
}

/// Figures of a recording that takes many flights to know: means over noise seeds 1 to `seeds`, and drifts while fixes fail. Flown through
/// the filter without a fabric; for the summary of the demo.
///
/// # Errors
/// When the recording cannot be opened.
pub fn monte_carlo_file(path: &Path, fix_sigma_m: f64, seeds: u64) -> Result<Vec<(String, f64)>, String> {
    let recording = Recording::open(path).map_err(|e| e.to_string())?;
    let config = Config::default();
    let figures = monte_carlo(&recording, &config, fix_sigma_m, seeds);
    let mut named = vec![
        ("position_error_rms_m".to_owned(), figures.position_error_rms_mean_m),
        ("position_error_rms_worst_seed_m".to_owned(), figures.position_error_rms_max_m),
        ("held_fix_rms_m".to_owned(), figures.held_fix_rms_mean_m),
        ("constant_velocity_rms_m".to_owned(), figures.constant_velocity_rms_mean_m),
        ("nis_in_band_share".to_owned(), figures.nis_in_band_share),
        ("nis_mean_per_dof".to_owned(), figures.nis_mean_per_dof),
    ];
    for length_s in [5, 10] {
        let drift = outages(&recording, &config, fix_sigma_m, f64::from(length_s), FIRST_OUTAGE_S, seeds.div_ceil(4));
        named.push((format!("outage_{length_s}s_median_m"), drift.median_m));
        named.push((format!("outage_{length_s}s_max_m"), drift.max_m));
        named.push((format!("outage_{length_s}s_windows"), drift.errors_m.len() as f64));
    }
    Ok(named)
}
