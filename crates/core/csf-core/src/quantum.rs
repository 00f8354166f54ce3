//! Periodic components of message streams (FAB-015). "Quantum" is the product's word for phase tracking; no physics is claimed.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// Amplitude, frequency and phase of a stream's fitted periodic component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuantumOffset {
    /// Modulation depth.
    pub amplitude: f64,
    /// Hertz, not negative.
    pub frequency: f64,
    /// Radians in `[0, 2π)`.
    pub phase: f64,
}

/// A value no offset can have.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "amplitude {amplitude}, frequency {frequency} Hz, phase {phase} rad: all must be finite and the frequency not negative"
)]
pub struct InvalidOffset {
    /// As given.
    pub amplitude: f64,
    /// As given, hertz.
    pub frequency: f64,
    /// As given, radians.
    pub phase: f64,
}

impl QuantumOffset {
    /// Arguments in field order (decision D18); the phase is wrapped into `[0, 2π)`.
    ///
    /// # Errors
    /// [`InvalidOffset`] for a non-finite value or a negative frequency.
    pub fn new(amplitude: f64, frequency: f64, phase: f64) -> Result<Self, InvalidOffset> {
        let finite = amplitude.is_finite() && frequency.is_finite() && phase.is_finite();
        if !finite || frequency < 0.0 {
            return Err(InvalidOffset { amplitude, frequency, phase });
        }
        let wrapped = phase.rem_euclid(TAU);
        Ok(Self { amplitude, frequency, phase: if wrapped < TAU { wrapped } else { 0.0 } })
    }

    /// A stream with this period in seconds.
    ///
    /// # Errors
    /// [`InvalidOffset`] for a period that is not positive and finite.
    pub fn from_period(period_s: f64) -> Result<Self, InvalidOffset> {
        Self::new(1.0, 1.0 / period_s, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_phase_is_wrapped(phase in -1e6..1e6f64) {
            let offset = QuantumOffset::new(0.5, 0.1, phase).unwrap();
            prop_assert!((0.0..TAU).contains(&offset.phase));
        }
    }

    #[test]
    fn negative_frequencies_and_nan_are_refused() {
        assert!(QuantumOffset::new(0.5, -0.1, 0.0).is_err());
        assert!(QuantumOffset::new(f64::NAN, 0.1, 0.0).is_err());
        assert!(QuantumOffset::from_period(0.0).is_err());
    }
}
