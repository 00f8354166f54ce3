//! Pauses between restarts that grow while a child keeps failing. Not part of OTP: without it a restart follows at once.

use std::time::Duration;

use csf_core::port::Rng;
use serde::{Deserialize, Serialize};

/// How long to wait before a restart: `min * factor^n` after the n-th failure in a row, at most `max`, less up to `jitter` of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    /// First pause.
    pub min: Duration,
    /// Longest pause.
    pub max: Duration,
    /// Growth, from 1.
    pub factor: f64,
    /// Share of the pause that is drawn at random, 0..1.
    pub jitter: f64,
    /// A child that ran this long has recovered: its next pause is `min` again.
    pub reset_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(100),
            max: Duration::from_secs(5),
            factor: 2.0,
            jitter: 0.0,
            reset_after: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The pause after `failures` in a row, from 1.
    pub(super) fn pause(&self, failures: u32, rng: &mut dyn Rng) -> Duration {
        let grown = self.min.as_secs_f64() * self.factor.powi(failures.saturating_sub(1).min(1_000) as i32);
        let pause = grown.min(self.max.as_secs_f64());
        // 53 bits make a fraction in [0, 1).
        let draw = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        Duration::from_secs_f64(pause * (1.0 - self.jitter * draw))
    }
}

#[cfg(test)]
mod tests {
    use csf_sim::SeededRng;

    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_jitter_only_shortens() {
        let mut rng = SeededRng::new(1);
        let plain = Backoff::default();
        let pauses: Vec<u128> = (1..=8).map(|n| plain.pause(n, &mut rng).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(plain.pause(u32::MAX, &mut rng), plain.max);
        let jittered = Backoff { jitter: 0.5, ..plain };
        let drawn: Vec<Duration> = (0..1_000).map(|_| jittered.pause(1, &mut rng)).collect();
        assert!(drawn.iter().all(|d| (50..=100).contains(&d.as_millis())));
        assert!(drawn.iter().max() > drawn.iter().min());
    }
}
