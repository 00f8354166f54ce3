//! Randomness as a port, so that a run repeats from its seed.

/// A source of random bytes.
pub trait Rng: Send {
    /// Fills `out`.
    fn fill(&mut self, out: &mut [u8]);

    /// The next 64 bits, little-endian from [`Rng::fill`].
    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

impl<R: Rng + ?Sized> Rng for Box<R> {
    fn fill(&mut self, out: &mut [u8]) {
        (**self).fill(out);
    }
}
