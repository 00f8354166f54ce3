//! Mean, covariance and innovations of a bank of hypotheses taken as a mixture of normal distributions.
//!
//! Invariant: with one hypothesis every result is that hypothesis' own.
//! Reference: Bar-Shalom, Li and Kirubarajan (2001), 1.4.16: moments of a mixture.

use super::filter::{BA, BG, Filter, N, PO, Row, TH, VE};
use crate::math::{self, Mat3, Vec3};

/// The moments of the bank.
pub(crate) struct Moments {
    pub(crate) attitude: [f64; 4],
    pub(crate) velocity: Vec3,
    pub(crate) position: Vec3,
    pub(crate) gyro_bias: Vec3,
    pub(crate) accel_bias: Vec3,
    pub(crate) sigma: [f64; 15],
    pub(crate) position_covariance: Mat3,
}

/// The hypothesis with the greatest weight.
pub(crate) fn best(bank: &[Filter]) -> &Filter {
    let mut best = &bank[0];
    for filter in bank {
        if filter.weight > best.weight {
            best = filter;
        }
    }
    best
}

fn deviation(filter: &Filter, from: &Filter) -> Row {
    let turn = math::quat_log(math::quat_mul(filter.attitude, math::quat_conj(from.attitude)));
    let mut out = [0.0; N];
    for i in 0..3 {
        out[TH + i] = turn[i];
        out[VE + i] = filter.velocity[i] - from.velocity[i];
        out[PO + i] = filter.position[i] - from.position[i];
        out[BG + i] = filter.gyro_bias[i] - from.gyro_bias[i];
        out[BA + i] = filter.accel_bias[i] - from.accel_bias[i];
    }
    out
}

/// Mean and spread of the whole bank, around its best hypothesis.
pub(crate) fn moments(bank: &[Filter]) -> Moments {
    let best = best(bank);
    if bank.len() == 1 {
        let p = &best.covariance;
        return Moments {
            attitude: best.attitude,
            velocity: best.velocity,
            position: best.position,
            gyro_bias: best.gyro_bias,
            accel_bias: best.accel_bias,
            sigma: core::array::from_fn(|i| p[i][i].max(0.0).sqrt()),
            position_covariance: core::array::from_fn(|i| core::array::from_fn(|j| p[PO + i][PO + j])),
        };
    }
    let mut mean = [0.0; N];
    let mut variance = [0.0; N];
    let mut position_covariance = [[0.0; 3]; 3];
    for filter in bank {
        let d = deviation(filter, best);
        for i in 0..N {
            mean[i] += filter.weight * d[i];
            variance[i] += filter.weight * (filter.covariance[i][i] + d[i] * d[i]);
        }
        for i in 0..3 {
            for j in 0..3 {
                position_covariance[i][j] +=
                    filter.weight * (filter.covariance[PO + i][PO + j] + d[PO + i] * d[PO + j]);
            }
        }
    }
    for i in 0..3 {
        for j in 0..3 {
            position_covariance[i][j] -= mean[PO + i] * mean[PO + j];
        }
    }
    let take = |at: usize| [mean[at], mean[at + 1], mean[at + 2]];
    Moments {
        // The mean of headings all around means nothing: the best one is shown, the spread says how sure it is.
        attitude: best.attitude,
        velocity: math::add(best.velocity, take(VE)),
        position: math::add(best.position, take(PO)),
        gyro_bias: math::add(best.gyro_bias, take(BG)),
        accel_bias: math::add(best.accel_bias, take(BA)),
        sigma: core::array::from_fn(|i| {
            let centred = if i < VE { variance[i] } else { variance[i] - mean[i] * mean[i] };
            centred.max(0.0).sqrt()
        }),
        position_covariance,
    }
}

/// Normalised innovation squared of the mixture, from each hypothesis' residual and innovation covariance.
pub(crate) fn nis(bank: &[Filter], parts: &[(Vec3, Mat3)]) -> Option<f64> {
    let mut mean = [0.0; 3];
    let mut s = [[0.0; 3]; 3];
    for (filter, (residual, covariance)) in bank.iter().zip(parts) {
        for i in 0..3 {
            mean[i] += filter.weight * residual[i];
            for j in 0..3 {
                s[i][j] += filter.weight * (covariance[i][j] + residual[i] * residual[j]);
            }
        }
    }
    for i in 0..3 {
        for j in 0..3 {
            s[i][j] -= mean[i] * mean[j];
        }
    }
    let inverse = math::mat_inverse(&s)?;
    Some(math::dot(mean, math::mat_vec(&inverse, mean))).filter(|n| n.is_finite())
}

/// Weighs each hypothesis by the density of its residual, so that the weights sum to one again.
pub(crate) fn weigh(bank: &mut [Filter], parts: &[(Vec3, Mat3)]) {
    if bank.len() < 2 {
        return;
    }
    let mut logs = [f64::NEG_INFINITY; 32];
    for ((log, filter), (residual, s)) in logs.iter_mut().zip(bank.iter()).zip(parts) {
        if let Some(inverse) = math::mat_inverse(s) {
            let determinant = math::dot(s[0], math::cross(s[1], s[2])).max(1e-30);
            let square = math::dot(*residual, math::mat_vec(&inverse, *residual));
            *log = libm::log(filter.weight.max(1e-300)) - 0.5 * (square + libm::log(determinant));
        }
    }
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !top.is_finite() {
        return;
    }
    let sum: f64 = logs.iter().map(|l| libm::exp(l - top)).sum();
    for (filter, log) in bank.iter_mut().zip(logs) {
        filter.weight = libm::exp(log - top) / sum;
    }
}

/// Gives up headings that are nearly excluded, and makes one of two that are nearly equal.
pub(crate) fn reduce(bank: &mut Vec<Filter>, weight_min: f64, merge_rad: f64) {
    if bank.len() < 2 {
        return;
    }
    let top = best(bank).weight;
    bank.retain(|f| f.weight >= weight_min * top);
    let mut i = 0;
    while i < bank.len() {
        let mut j = i + 1;
        while j < bank.len() {
            let apart = math::wrap_rad(math::yaw_of(bank[i].attitude) - math::yaw_of(bank[j].attitude)).abs();
            if apart < merge_rad {
                let other = bank.remove(j);
                let weight = bank[i].weight + other.weight;
                if other.weight > bank[i].weight {
                    bank[i] = other;
                }
                bank[i].weight = weight;
            } else {
                j += 1;
            }
        }
        i += 1;
    }
    let sum: f64 = bank.iter().map(|f| f.weight).sum();
    for filter in bank.iter_mut() {
        filter.weight /= sum;
    }
}
