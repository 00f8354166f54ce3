//! Randomness that repeats: ChaCha with 8 rounds from a 64-bit seed.
//!
//! Reference: Bernstein, "ChaCha, a variant of Salsa20" (2008); the seed is expanded as `rand_core` 0.10 does, so streams stay the
//! same as long as that crate's major version does. A failing simulation prints its seed.

use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng as _, SeedableRng};
use csf_core::port::Rng;

/// A seeded source of randomness. Not for secrets.
#[derive(Debug)]
pub struct SeededRng {
    seed: u64,
    inner: ChaCha8Rng,
}

impl SeededRng {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, inner: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The seed, for the message of a failing test.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// An independent stream number `stream` of the same seed, for one part of a simulation, so that parts do not disturb each other.
    #[must_use]
    pub fn stream(&self, stream: u64) -> Self {
        let mut inner = ChaCha8Rng::seed_from_u64(self.seed);
        inner.set_stream(stream);
        Self { seed: self.seed, inner }
    }

    /// A number below `bound`, evenly distributed.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a range needs at least one number");
        // Lemire, "Fast Random Integer Generation in an Interval" (2019), algorithm 5.
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let wide = u128::from(self.inner.next_u64()) * u128::from(bound);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }
}

impl Rng for SeededRng {
    fn fill(&mut self, out: &mut [u8]) {
        self.inner.fill_bytes(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_streams_differ() {
        let draw = |mut rng: SeededRng| -> Vec<u64> { (0..100).map(|_| rng.next_u64()).collect() };
        let rng = SeededRng::new(7);
        assert_eq!(draw(SeededRng::new(7)), draw(SeededRng::new(7)));
        assert_ne!(draw(SeededRng::new(7)), draw(SeededRng::new(8)));
        assert_ne!(draw(rng.stream(1)), draw(rng.stream(2)));
    }

    #[test]
    fn numbers_below_a_bound_are_even() {
        let mut rng = SeededRng::new(1);
        let mut counts = [0u32; 3];
        for _ in 0..30_000 {
            counts[rng.below(3) as usize] += 1;
        }
        // Expected 10,000 each with a standard deviation of 82.
        assert!(counts.iter().all(|&n| (9_600..10_400).contains(&n)), "{counts:?}");
    }
}
