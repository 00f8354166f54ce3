//! A latency distribution that one thread writes and any thread reads, without a lock.
//!
//! Log-linear like an HDR histogram: each octave is cut into 1,024 equal buckets, so that a value is known to less than 0.1 %, and to
//! the nanosecond below 2 µs. A sample is a load and a store; an octave takes its 8 KiB when the first sample falls into it.
//! Invariant: count and percentiles of a summary are of one set of samples, whatever is recorded meanwhile.
//! Reference: G. Tene, "HdrHistogram" (2012), which `tests` compare with.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::stats::bump;

/// Buckets of an octave: three significant digits need at least 1,000.
const BUCKETS: usize = 1 << BUCKET_BITS;
const BUCKET_BITS: u32 = 10;
/// Longest latency told apart: one minute.
const LONGEST_NS: u64 = 60_000_000_000;
/// Octave 0 is 0..1024 ns; one minute is in 2^35..2^36 ns.
const OCTAVES: usize = 27;

/// A latency distribution, nanoseconds, three significant digits, up to one minute.
pub struct Latency {
    octaves: [OnceLock<Box<[AtomicU64; BUCKETS]>>; OCTAVES],
    max: AtomicU64,
}

/// The usual points of a distribution. Percentiles are the upper end of their bucket, less than 0.1 % too large; the largest is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Samples.
    pub count: u64,
    /// Median, nanoseconds.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Largest.
    pub max: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { octaves: [const { OnceLock::new() }; OCTAVES], max: AtomicU64::new(0) }
    }
}

impl Latency {
    /// Adds a sample; beyond one minute it counts as one minute. For one thread: of two that write, one loses samples.
    #[inline]
    pub fn record(&self, nanos: u64) {
        let nanos = nanos.clamp(1, LONGEST_NS);
        let (octave, bucket) = place(nanos);
        let buckets = self.octaves[octave].get_or_init(|| Box::new([const { AtomicU64::new(0) }; BUCKETS]));
        if nanos > self.max.load(Ordering::Relaxed) {
            self.max.store(nanos, Ordering::Relaxed);
        }
        bump(&buckets[bucket], 1);
    }

    /// The distribution so far.
    #[must_use]
    pub fn summary(&self) -> LatencySummary {
        LatencySummary::over([self])
    }
}

impl LatencySummary {
    /// Of several distributions together.
    #[must_use]
    pub fn over<'a>(parts: impl IntoIterator<Item = &'a Latency> + Clone) -> Self {
        let mut filled: Vec<(u64, u64)> = Vec::new();
        for octave in 0..OCTAVES {
            // Most octaves never had a sample.
            if parts.clone().into_iter().all(|part| part.octaves[octave].get().is_none()) {
                continue;
            }
            for bucket in 0..BUCKETS {
                let samples = |part: &Latency| Some(part.octaves[octave].get()?[bucket].load(Ordering::Relaxed));
                let count: u64 = parts.clone().into_iter().filter_map(samples).sum();
                if count > 0 {
                    filled.push((upper_end(octave, bucket), count));
                }
            }
        }
        let count = filled.iter().map(|(_, count)| count).sum();
        // Read last, so it may be of a later sample.
        let max = parts.into_iter().map(|part| part.max.load(Ordering::Relaxed)).max().unwrap_or(0);
        let at = |share: f64| {
            let rank = ((count as f64 * share).ceil() as u64).max(1);
            let mut below = 0;
            let reaches = |(_, count): &&(u64, u64)| {
                below += count;
                below >= rank
            };
            filled.iter().find(reaches).map_or(0, |(value, _)| (*value).min(max))
        };
        Self { count, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: if count > 0 { max } else { 0 } }
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary().fmt(f)
    }
}

/// Octave and bucket of a value.
#[inline]
fn place(nanos: u64) -> (usize, usize) {
    let octave = (nanos >> (BUCKET_BITS - 1)).checked_ilog2().unwrap_or(0);
    let offset = nanos >> octave.saturating_sub(1);
    (octave as usize, offset as usize % BUCKETS)
}

/// The largest value of a bucket.
fn upper_end(octave: usize, bucket: usize) -> u64 {
    match octave.checked_sub(1) {
        None => bucket as u64,
        Some(shift) => (((BUCKETS + bucket + 1) as u64) << shift) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;
    use proptest::prelude::*;

    /// The second implementation.
    fn hdr(samples: &[u64]) -> Histogram<u64> {
        let mut hdr =
            Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("bounds are in order and 3 digits are allowed");
        for sample in samples {
            hdr.saturating_record((*sample).clamp(1, LONGEST_NS));
        }
        hdr
    }

    fn is_near(ours: u64, theirs: u64) -> bool {
        ours.abs_diff(theirs) as f64 <= 1e-3 * theirs as f64
    }

    /// Every magnitude alike.
    fn nanos() -> impl Strategy<Value = u64> {
        (0..u64::BITS, any::<u64>()).prop_map(|(shift, value)| value >> shift)
    }

    proptest! {
        #[test]
        fn a_value_is_in_its_bucket_to_a_thousandth(nanos in nanos()) {
            let nanos = nanos.min(LONGEST_NS);
            let (octave, bucket) = place(nanos);
            let end = upper_end(octave, bucket);
            prop_assert!(end >= nanos && (end - nanos) as f64 <= nanos as f64 / 1000.0, "{nanos} ends at {end}");
            prop_assert!(end < 2048 || place(end + 1) > (octave, bucket));
        }

        #[test]
        fn percentiles_agree_with_hdr_histogram(samples in proptest::collection::vec(nanos(), 1..500)) {
            let latency = Latency::default();
            samples.iter().for_each(|sample| latency.record(*sample));
            let (ours, theirs) = (latency.summary(), hdr(&samples));
            prop_assert_eq!(ours.count, theirs.len());
            for (ours, quantile) in [(ours.p50, 0.5), (ours.p99, 0.99), (ours.p999, 0.999), (ours.max, 1.0)] {
                let theirs = theirs.value_at_quantile(quantile);
                prop_assert!(is_near(ours, theirs), "{quantile}: {ours} and {theirs}");
            }
        }

        #[test]
        fn parts_add_up(samples in proptest::collection::vec((nanos(), 0..3usize), 0..200)) {
            let (whole, parts) = (Latency::default(), [(); 3].map(|()| Latency::default()));
            for (sample, part) in samples {
                whole.record(sample);
                parts[part].record(sample);
            }
            prop_assert_eq!(LatencySummary::over(&parts), whole.summary());
        }
    }

    #[test]
    fn the_edges_of_the_range_have_a_bucket() {
        for (nanos, kept) in [(0, 1), (1, 1), (1023, 1023), (1024, 1024), (2047, 2047), (u64::MAX, LONGEST_NS)] {
            let latency = Latency::default();
            latency.record(nanos);
            let LatencySummary { count, p50, p999, max, .. } = latency.summary();
            assert_eq!((count, p50, p999, max), (1, kept, kept, kept), "{nanos}");
        }
        assert_eq!(place(LONGEST_NS).0, OCTAVES - 1);
        assert_eq!(Latency::default().summary(), LatencySummary::default());
    }
}
