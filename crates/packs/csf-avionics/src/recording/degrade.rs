//! Fixes of an ordinary receiver made from truth: white noise per axis at a low rate, with outages.
//!
//! Invariant: the same truth, seed and settings give the same bits on every machine, and an outage takes fixes away
//! without changing the noise of the others.
//! Sources: SplitMix64 as in Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014);
//! Box and Muller, "A Note on the Generation of Random Normal Deviates" (1958).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GnssFix, PeerState, ansfl::NOMINAL_ORIGIN};
use crate::geodesy;

/// The generator SplitMix64 with normal deviates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator that repeats itself for the same `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1): the half step keeps zero, which has no logarithm, away.
    pub fn uniform(&mut self) -> f64 {
        ((self.next_u64() >> 11) as f64 + 0.5) * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Normal with mean 0 and σ 1.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(self.uniform())).sqrt();
        radius * libm::cos(core::f64::consts::TAU * self.uniform())
    }
}

/// Fixes at `rate_hz` with white noise of `sigma_m` per axis, made from `truth`; none inside `outages`, each given
/// as `(start_s, length_s)` after the first true position.
///
/// Truth without an origin is laid around [`NOMINAL_ORIGIN`]. The stated accuracy is `sigma_m`, the delay is zero.
#[must_use]
pub fn degrade_fixes(
    truth: &[PeerState],
    seed: u64,
    sigma_m: f64,
    rate_hz: f64,
    outages: &[(f64, f64)],
) -> Vec<GnssFix> {
    let mut random = SplitMix64::new(seed);
    let mut fixes = Vec::new();
    let Some(first) = truth.iter().find(|t| t.position_ned_m.is_some()) else { return fixes };
    if !(rate_hz > 0.0 && sigma_m >= 0.0) {
        return fixes;
    }
    let mut taken: u64 = 0;
    for state in truth {
        let Some(position) = state.position_ned_m else { continue };
        let t_s = state.measured_at_ns.saturating_sub(first.measured_at_ns) as f64 * 1e-9;
        // Half a microsecond of grace, so that 0.999999999 counts as 1.
        if t_s + 5e-7 < taken as f64 / rate_hz {
            continue;
        }
        taken += 1;
        let noise = [random.normal(), random.normal(), random.normal()];
        if outages.iter().any(|(start_s, length_s)| t_s >= *start_s && t_s < start_s + length_s) {
            continue;
        }
        let noisy = core::array::from_fn(|i| position[i] + sigma_m * noise[i]);
        let point = geodesy::to_geodetic(&state.origin.unwrap_or(NOMINAL_ORIGIN), noisy);
        fixes.push(GnssFix {
            measured_at_ns: state.measured_at_ns,
            latitude_deg: point[0],
            longitude_deg: point[1],
            altitude_m: point[2],
            horizontal_accuracy_m: sigma_m,
            vertical_accuracy_m: sigma_m,
            speed_accuracy_m_s: 0.0,
            velocity_ned_m_s: None,
            satellites: 12,
            fix_type: 3,
        });
    }
    fixes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth() -> Vec<PeerState> {
        (0..6000u64)
            .map(|i| PeerState {
                measured_at_ns: 740_000_000 + i * 100_000_000,
                attitude_body_to_ned: None,
                position_ned_m: Some([i as f64 * 0.1, 0.0, -5.0]),
                velocity_ned_m_s: None,
                heading_resets: 0,
                origin: None,
            })
            .collect()
    }

    #[test]
    fn split_mix_gives_the_published_numbers() {
        // Vigna's splitmix64.c, seed 1234567.
        let mut random = SplitMix64::new(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn fixes_have_the_stated_rate_and_noise() {
        let truth = truth();
        let fixes = degrade_fixes(&truth, 7, 1.5, 1.0, &[]);
        assert_eq!(fixes.len(), 600);
        let mut sum = 0.0;
        for fix in &fixes {
            let local = geodesy::to_local(&NOMINAL_ORIGIN, &fix.point());
            sum += (local[2] + 5.0) * (local[2] + 5.0) + local[1] * local[1];
        }
        let sigma = (sum / 1200.0).sqrt();
        assert!((sigma - 1.5).abs() < 0.1, "{sigma}");
    }

    #[test]
    fn an_outage_leaves_the_other_fixes_alone() {
        let truth = truth();
        let all = degrade_fixes(&truth, 7, 1.5, 1.0, &[]);
        let some = degrade_fixes(&truth, 7, 1.5, 1.0, &[(10.0, 5.0)]);
        assert_eq!(some.len(), all.len() - 5);
        assert!(some.iter().all(|f| all.contains(f)));
    }
}
