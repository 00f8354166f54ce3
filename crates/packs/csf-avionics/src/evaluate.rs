//! Flights through the estimator and its figures: one flight, many noise seeds, many outages.
//!
//! Invariant: causal. Events reach the estimator in order of arrival and each state is scored with what was known.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::eskf::{Config, Estimator, NavState};
use crate::landing::{LandingConfig, LandingDetector, PhaseEvent};
use crate::recording::{PeerState, Recording, Reference, Sample, SourceKind, Timed, degrade_fixes};
use crate::score::{CONSTANT_VELOCITY_NOISE, Score, Scorer};

/// How fixes are made for a recording that has only truth, and where they fail in any recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FixOptions {
    /// 1 σ per axis, m. Example: 1.5.
    pub sigma_m: f64,
    /// Fixes per second, Hz. Example: 1.
    pub rate_hz: f64,
    /// Seed of the noise. Example: 1.
    pub seed: u64,
    /// Outages as (start, length), s after the first true position or inertial sample. Example: [[10, 5]].
    pub outages_s: Vec<(f64, f64)>,
    /// False keeps the inertial units' own attitude from the estimator, so that it starts from nothing. Example: true.
    pub uses_ahrs: bool,
    /// Setting of the constant-velocity baseline, m/s²/√Hz. Example: 0.3.
    pub constant_velocity_noise: f64,
}

impl Default for FixOptions {
    fn default() -> Self {
        Self {
            sigma_m: 1.5,
            rate_hz: 1.0,
            seed: 1,
            outages_s: Vec::new(),
            uses_ahrs: true,
            constant_velocity_noise: CONSTANT_VELOCITY_NOISE,
        }
    }
}

/// The recording's events with its fixes: its own, or made from its truth; none inside an outage.
#[must_use]
pub fn events_with_fixes(recording: &Recording, options: &FixOptions) -> Vec<Timed> {
    let mut events = recording.events.clone();
    if recording.source == SourceKind::Ansfl {
        let truth: Vec<PeerState> = recording.peers().copied().collect();
        let fixes = degrade_fixes(&truth, options.seed, options.sigma_m, options.rate_hz, &options.outages_s);
        events.extend(fixes.into_iter().map(|f| Timed { at_ns: f.measured_at_ns, sample: Sample::Gnss(f) }));
        crate::recording::sort_events(&mut events);
    } else {
        let start_ns = recording.start_ns();
        events.retain(|e| {
            let t_s = e.at_ns.saturating_sub(start_ns) as f64 * 1e-9;
            let is_out = options.outages_s.iter().any(|(start, length)| t_s >= *start && t_s < start + length);
            !(is_out && matches!(e.sample, Sample::Gnss(_)))
        });
    }
    events
}

/// Flies a recording and scores it.
#[must_use]
pub fn fly(recording: &Recording, config: &Config, options: &FixOptions) -> Score {
    fly_with(recording, config, options, |_, _, _| {})
}

/// Flies a recording; `watch` sees every state with the score so far, and every change of phase.
pub fn fly_with(
    recording: &Recording,
    config: &Config,
    options: &FixOptions,
    mut watch: impl FnMut(&NavState, &Scorer, Option<&PhaseEvent>),
) -> Score {
    let mut estimator = Estimator::new(config.clone());
    let mut landing = LandingDetector::new(LandingConfig::default());
    let mut scorer = Scorer::with_constant_velocity_noise(recording.reference, options.constant_velocity_noise);
    for event in events_with_fixes(recording, options) {
        match &event.sample {
            Sample::Imu(imu) => {
                let state = estimator.on_imu(imu);
                if let Some(state) = &state {
                    landing.on_state(state);
                    scorer.on_state(state);
                }
                let phase = landing.on_imu(imu);
                if let Some(event) = &phase {
                    scorer.on_phase(event);
                }
                if let Some(state) = &state {
                    watch(state, &scorer, phase.as_ref());
                }
            }
            Sample::Gnss(fix) => {
                estimator.on_gnss(fix);
                scorer.on_fix(fix);
            }
            Sample::Ahrs(ahrs) => {
                if options.uses_ahrs {
                    estimator.on_ahrs(ahrs);
                }
            }
            Sample::Mag(mag) => estimator.on_mag(mag),
            Sample::Baro(baro) => estimator.on_baro(baro),
            Sample::Peer(peer) => scorer.on_peer(peer),
            Sample::Land(land) => scorer.on_land(land),
        }
    }
    scorer.score()
}

/// Scores of one recording under many noise seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MonteCarlo {
    /// 1 σ of the fixes, m.
    pub sigma_m: f64,
    /// Seeds flown: 1 to this.
    pub seeds: u64,
    /// Mean over seeds of the root mean square position error, m.
    pub position_error_rms_mean_m: f64,
    /// Largest of them, m.
    pub position_error_rms_max_m: f64,
    /// Mean of the baseline that holds the last fix, m.
    pub held_fix_rms_mean_m: f64,
    /// Mean of the constant-velocity baseline, m.
    pub constant_velocity_rms_mean_m: f64,
    /// Fixes with an innovation.
    pub nis_count: u64,
    /// Share of them in the two-sided 95 % band, pooled.
    pub nis_in_band_share: f64,
    /// Mean NIS per degree of freedom, pooled.
    pub nis_mean_per_dof: f64,
}

/// Flies a recording with seeds 1 to `seeds`.
#[must_use]
pub fn monte_carlo(recording: &Recording, config: &Config, sigma_m: f64, seeds: u64) -> MonteCarlo {
    let base = FixOptions { sigma_m, ..FixOptions::default() };
    let mut out = MonteCarlo {
        sigma_m,
        seeds,
        position_error_rms_mean_m: 0.0,
        position_error_rms_max_m: 0.0,
        held_fix_rms_mean_m: 0.0,
        constant_velocity_rms_mean_m: 0.0,
        nis_count: 0,
        nis_in_band_share: 0.0,
        nis_mean_per_dof: 0.0,
    };
    let n = seeds.max(1) as f64;
    for seed in 1..=seeds {
        let score = fly(recording, config, &FixOptions { seed, ..base.clone() });
        let rms = score.position_error_rms_m.unwrap_or(f64::INFINITY);
        out.position_error_rms_mean_m += rms / n;
        out.position_error_rms_max_m = out.position_error_rms_max_m.max(rms);
        out.held_fix_rms_mean_m += score.held_fix_rms_m.unwrap_or(f64::INFINITY) / n;
        out.constant_velocity_rms_mean_m += score.constant_velocity_rms_m.unwrap_or(f64::INFINITY) / n;
        out.nis_count += score.nis_count;
        out.nis_in_band_share += score.nis_in_band_share.unwrap_or(0.0) * score.nis_count as f64;
        out.nis_mean_per_dof += score.nis_mean_per_dof.unwrap_or(0.0) * score.nis_count as f64;
    }
    out.nis_in_band_share /= out.nis_count.max(1) as f64;
    out.nis_mean_per_dof /= out.nis_count.max(1) as f64;
    out
}

/// When the first outage of a series begins, s: before it the filter is still starting.
pub const FIRST_OUTAGE_S: f64 = 8.0;

/// How far the estimate drifts while fixes fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outages {
    /// Length of each outage, s.
    pub length_s: f64,
    /// 1 σ of the fixes before it, m.
    pub sigma_m: f64,
    /// Largest error within each outage, m, in order of seed and start.
    pub errors_m: Vec<f64>,
    /// Median of them, m.
    pub median_m: f64,
    /// Largest of them, m.
    pub max_m: f64,
}

/// An outage of `length_s` beginning at every whole second from `first_start_s` on, for seeds 1 to `seeds`.
///
/// The figure of a window is the largest three-dimensional error between its first missing fix and its end.
#[must_use]
pub fn outages(
    recording: &Recording,
    config: &Config,
    sigma_m: f64,
    length_s: f64,
    first_start_s: f64,
    seeds: u64,
) -> Outages {
    let mut errors_m = Vec::new();
    let truth_start_ns = recording.peers().next().map_or(0, |p| p.measured_at_ns);
    let end_s = recording.peers().last().map_or(0.0, |p| (p.measured_at_ns - truth_start_ns) as f64 * 1e-9);
    for seed in 1..=seeds {
        let mut start_s = first_start_s;
        while start_s + length_s <= end_s {
            let options = FixOptions { sigma_m, seed, outages_s: vec![(start_s, length_s)], ..FixOptions::default() };
            let mut worst: f64 = 0.0;
            fly_with(recording, config, &options, |state, scorer, _| {
                let t_s = (state.measured_at_ns as f64 - truth_start_ns as f64) * 1e-9;
                if t_s >= start_s && t_s < start_s + length_s {
                    worst = worst.max(scorer.position_error_now_m().unwrap_or(0.0));
                }
            });
            errors_m.push(worst);
            start_s += 1.0;
        }
    }
    let mut sorted = errors_m.clone();
    sorted.sort_by(f64::total_cmp);
    let median_m = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    let max_m = sorted.last().copied().unwrap_or(0.0);
    Outages { length_s, sigma_m, errors_m, median_m, max_m }
}

/// True when the recording's reference is truth rather than a peer.
#[must_use]
pub fn is_truth(reference: Reference) -> bool {
    matches!(reference, Reference::Rtk | Reference::Simulation)
}
