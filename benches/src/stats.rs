//! Figures out of samples, and of several rounds one figure.

use std::collections::BTreeMap;

use crate::clock::ns_per_tick;

/// What a side can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Median latency, ns.
    P50,
    /// Total time over number of operations, ns: the cross-check of the median.
    Mean,
    /// 99th percentile of latency, ns.
    P99,
    /// 99.9th percentile of latency, ns.
    P999,
    /// Millions of messages per second.
    Rate,
    /// Time of one operation, ns.
    Cost,
    /// Time of one delivery to one consumer, ns.
    Delivery,
    /// Distance of a clock from its reference, ns: the median.
    Error,
    /// The greatest of these distances, ns.
    Worst,
    /// Half width of the interval in which `Error` was known, ns.
    Uncertainty,
    /// Gigabytes per second.
    Bandwidth,
    /// Operations per second.
    PerSecond,
    /// Memory that something takes, MB.
    Memory,
    /// How long something takes, s.
    Seconds,
    /// Time of a small write and its sync on the same disk, ns: the median.
    Sync,
    /// Accesses of one operation that no cache served.
    Misses,
    /// Loads of one operation that the first-level cache did not serve.
    FirstMisses,
}

impl Metric {
    /// Whether more is better.
    pub fn is_more_better(self) -> bool {
        matches!(self, Self::Rate | Self::Bandwidth | Self::PerSecond)
    }

    /// Whether it is read from a counter that a machine may lack.
    pub fn is_counted(self) -> bool {
        matches!(self, Self::Misses | Self::FirstMisses)
    }

    /// Its name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::Mean => "mean",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Rate => "rate",
            Self::Cost => "cost",
            Self::Delivery => "delivery",
            Self::Error => "error",
            Self::Worst => "worst",
            Self::Uncertainty => "uncertainty",
            Self::Bandwidth => "bandwidth",
            Self::PerSecond => "per second",
            Self::Memory => "memory",
            Self::Seconds => "seconds",
            Self::Sync => "sync",
            Self::Misses => "misses",
            Self::FirstMisses => "L1 misses",
        }
    }
}

/// What one round of one side gave.
pub type Figures = BTreeMap<Metric, f64>;

/// Percentiles of samples in ticks; `total_ticks` is the time that all of them took together.
pub fn latency(mut samples: Vec<u64>, total_ticks: u64) -> Figures {
    samples.sort_unstable();
    let at = |share: f64| samples[((samples.len() - 1) as f64 * share) as usize] as f64 * ns_per_tick();
    Figures::from([
        (Metric::P50, at(0.5)),
        (Metric::P99, at(0.99)),
        (Metric::P999, at(0.999)),
        (Metric::Mean, total_ticks as f64 * ns_per_tick() / samples.len() as f64),
    ])
}

/// Cost of one operation from batches of `per_batch`, in ticks: the median batch, and the mean over all.
pub fn cost(mut batches: Vec<u64>, per_batch: u64) -> Figures {
    batches.sort_unstable();
    let one = |ticks: f64| ticks * ns_per_tick() / per_batch as f64;
    let mean = batches.iter().sum::<u64>() as f64 / batches.len() as f64;
    Figures::from([(Metric::Cost, one(batches[batches.len() / 2] as f64)), (Metric::Mean, one(mean))])
}

/// The median; `None` without values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[sorted.len() / 2 - 1] + upper) / 2.0 })
}

/// Least and greatest; `None` without values.
pub fn spread(values: &[f64]) -> Option<[f64; 2]> {
    let least = values.iter().copied().min_by(f64::total_cmp)?;
    let greatest = values.iter().copied().max_by(f64::total_cmp)?;
    Some([least, greatest])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
        assert_eq!(spread(&[2.0, 1.0, 3.0]), Some([1.0, 3.0]));
    }
}
