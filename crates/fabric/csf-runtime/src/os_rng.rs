//! Randomness of the operating system.

use csf_core::port::Rng;

/// The kernel's random bytes.
#[derive(Debug, Default, Clone, Copy)]
pub struct OsRng;

impl Rng for OsRng {
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect("every supported kernel offers randomness");
    }
}
