//! Figures out of samples.

/// The value that a share of all samples does not exceed, by nearest rank; `None` without samples.
pub(super) fn percentile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The value in the middle; of an even number of samples the mean of the middle two.
pub(super) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[sorted.len() / 2 - 1] + upper) / 2.0 })
}

/// Four significant digits: more would be noise.
pub(super) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_and_the_median_may_lie_between_two() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!([0.01, 0.5, 0.99, 1.0].map(|share| percentile(&samples, share)), [1.0, 50.0, 99.0, 100.0].map(Some));
        assert_eq!((median(&samples), median(&[3.0, 1.0, 2.0]), median(&[])), (Some(50.5), Some(2.0), None));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn four_digits_are_kept() {
        assert_eq!([123_456.0, 0.012_345_6, 0.0].map(rounded), [123_500.0, 0.012_35, 0.0]);
    }
}
