//! Which of many subscribers a packet addresses: one packet's targets against many masks, with the widest vectors the machine has
//! (FAB-061).
//!
//! The result is a bit set, a word for each 64 masks: it costs the same whatever the number of matches, and who walks it skips 64
//! subscribers at a time.

use std::sync::OnceLock;

use csf_core::DeliveryOptions;

/// Tests `targets & masks[i] != 0` for every `i`; bit `i % 64` of `found[i / 64]` says so.
type Test = fn(masks: &[u64], targets: u64, found: &mut [u64]);

/// An instruction set the matcher can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// One mask at a time.
    Scalar,
    /// Four masks at a time.
    Avx2,
    /// Eight masks at a time.
    Avx512,
}

impl Instructions {
    /// What this machine has, slowest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                all.push(Self::Avx2);
            }
            if is_x86_feature_detected!("avx512f") {
                all.push(Self::Avx512);
            }
        }
        all
    }
}

/// Matches packets to subscribers.
#[derive(Clone, Copy, Debug)]
pub struct Matcher {
    instructions: Instructions,
    test: Test,
}

impl Default for Matcher {
    /// With the best instructions this machine has, found once for the process.
    fn default() -> Self {
        static BEST: OnceLock<Matcher> = OnceLock::new();
        *BEST.get_or_init(|| {
            let best = Instructions::available().pop().unwrap_or(Instructions::Scalar);
            Self::new(best).unwrap_or(Self { instructions: Instructions::Scalar, test: scalar })
        })
    }
}

impl Matcher {
    /// With these instructions; `None` where the machine lacks them.
    #[must_use]
    pub fn new(instructions: Instructions) -> Option<Self> {
        if !Instructions::available().contains(&instructions) {
            return None;
        }
        let test: Test = match instructions {
            Instructions::Scalar => scalar,
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the machine has AVX2, as was just seen.
            Instructions::Avx2 => |masks, targets, found| unsafe { x86::avx2(masks, targets, found) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the machine has AVX-512F, as was just seen.
            Instructions::Avx512 => |masks, targets, found| unsafe { x86::avx512(masks, targets, found) },
            #[cfg(not(target_arch = "x86_64"))]
            Instructions::Avx2 | Instructions::Avx512 => return None,
        };
        Some(Self { instructions, test })
    }

    /// The best that a packet's delivery options allow (FAB-013): bit 0 of the flags allows AVX2, bit 1 AVX-512.
    #[must_use]
    pub fn for_options(options: &DeliveryOptions) -> Self {
        let allows = |instructions: &Instructions| match instructions {
            Instructions::Scalar => true,
            Instructions::Avx2 => options.use_hardware_acceleration && options.simd_flags & 1 != 0,
            Instructions::Avx512 => options.use_hardware_acceleration && options.simd_flags & 2 != 0,
        };
        let best = Self::default();
        if allows(&best.instructions) {
            return best;
        }
        let allowed = Instructions::available().into_iter().rfind(allows).and_then(Self::new);
        allowed.unwrap_or(Self { instructions: Instructions::Scalar, test: scalar })
    }

    /// What it uses.
    #[must_use]
    pub fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// Writes into `found` which of `masks` share a bit with `targets`: bit `i % 64` of word `i / 64`. Words beyond are not touched.
    ///
    /// # Panics
    /// When `found` has fewer than `masks.len() / 64` words, rounded up.
    pub fn find(&self, masks: &[u64], targets: u64, found: &mut [u64]) {
        let words = masks.len().div_ceil(64);
        (self.test)(masks, targets, &mut found[..words]);
    }

    /// Calls `visit` with the positions of `masks` that share a bit with `targets`, in order. `found` is room for the bit set.
    ///
    /// # Panics
    /// As [`Matcher::find`].
    #[inline]
    pub fn visit(&self, masks: &[u64], targets: u64, found: &mut [u64], mut visit: impl FnMut(usize)) {
        self.find(masks, targets, found);
        for (word, bits) in found[..masks.len().div_ceil(64)].iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                visit(word * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }
}

fn scalar(masks: &[u64], targets: u64, found: &mut [u64]) {
    for (masks, found) in masks.chunks(64).zip(found) {
        *found = masks.iter().enumerate().fold(0, |word, (bit, mask)| word | u64::from(mask & targets != 0) << bit);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm256_and_si256, _mm256_castsi256_pd, _mm256_cmpeq_epi64, _mm256_loadu_si256, _mm256_movemask_pd,
        _mm256_set1_epi64x, _mm256_setzero_si256, _mm512_loadu_epi64, _mm512_set1_epi64, _mm512_test_epi64_mask,
    };

    /// # Safety
    /// The machine has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2(masks: &[u64], targets: u64, found: &mut [u64]) {
        let (blocks, rest) = masks.as_chunks::<64>();
        let (targets_all, zero) = (_mm256_set1_epi64x(targets.cast_signed()), _mm256_setzero_si256());
        for (block, found) in blocks.iter().zip(found.iter_mut()) {
            let mut word = 0;
            for (i, four) in block.as_chunks::<4>().0.iter().enumerate() {
                // SAFETY: four words from the block; the load needs no alignment.
                let four = unsafe { _mm256_loadu_si256(four.as_ptr().cast()) };
                let misses = _mm256_cmpeq_epi64(_mm256_and_si256(four, targets_all), zero);
                let misses = _mm256_movemask_pd(_mm256_castsi256_pd(misses)).cast_unsigned();
                word |= u64::from(!misses & 0xF) << (4 * i);
            }
            *found = word;
        }
        super::scalar(rest, targets, &mut found[blocks.len()..]);
    }

    /// # Safety
    /// The machine has AVX-512F.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn avx512(masks: &[u64], targets: u64, found: &mut [u64]) {
        let (blocks, rest) = masks.as_chunks::<64>();
        let targets_all = _mm512_set1_epi64(targets.cast_signed());
        for (block, found) in blocks.iter().zip(found.iter_mut()) {
            let mut word = 0;
            for (i, eight) in block.as_chunks::<8>().0.iter().enumerate() {
                // SAFETY: eight words from the block; the load needs no alignment.
                let eight = unsafe { _mm512_loadu_epi64(eight.as_ptr().cast()) };
                word |= u64::from(_mm512_test_epi64_mask(eight, targets_all)) << (8 * i);
            }
            *found = word;
        }
        super::scalar(rest, targets, &mut found[blocks.len()..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masks() -> impl Strategy<Value = Vec<u64>> {
        let mask = prop_oneof![Just(0), Just(u64::MAX), (0..64u32).prop_map(|bit| 1 << bit), any::<u64>()];
        prop::collection::vec(mask, 0..300)
    }

    proptest! {
        /// FAB-061: every instruction set finds what the definition says.
        #[test]
        fn every_instruction_set_finds_the_same(masks in masks(), targets in prop_oneof![Just(0), Just(u64::MAX), any::<u64>()]) {
            let expected: Vec<usize> =
                masks.iter().enumerate().filter(|(_, mask)| *mask & targets != 0).map(|(i, _)| i).collect();
            for instructions in Instructions::available() {
                let matcher = Matcher::new(instructions).unwrap();
                let mut found = vec![u64::MAX; masks.len().div_ceil(64) + 1];
                let mut positions = Vec::new();
                matcher.visit(&masks, targets, &mut found, |position| positions.push(position));
                prop_assert_eq!(&positions, &expected, "{:?}", instructions);
                prop_assert_eq!(found.last(), Some(&u64::MAX), "{:?} wrote too far", instructions);
            }
        }
    }

    /// FAB-002: what a matcher reports is what it runs; the scalar path under a vector's name is found.
    #[test]
    fn a_matcher_runs_the_instructions_it_reports() {
        let is_honest = |matcher: &Matcher| {
            let is_scalar = std::ptr::fn_addr_eq(matcher.test, scalar as Test);
            is_scalar == (matcher.instructions == Instructions::Scalar)
        };
        for instructions in Instructions::available() {
            let matcher = Matcher::new(instructions).unwrap();
            assert_eq!(matcher.instructions(), instructions);
            assert!(is_honest(&matcher), "{instructions:?}");
        }
        assert!(
            !is_honest(&Matcher { instructions: Instructions::Avx2, test: scalar }),
            "the judge sees no scalar path"
        );
    }

    #[test]
    fn the_default_is_the_best_there_is() {
        assert_eq!(Some(Matcher::default().instructions()), Instructions::available().pop());
    }
}
