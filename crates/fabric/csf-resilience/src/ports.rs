//! Where time and chance come from.

use std::sync::{Arc, Mutex, PoisonError};

use csf_core::port::{Rng, Timer};

/// The ports of a guard. Clones share them.
#[derive(Clone)]
pub struct Ports {
    timer: Arc<dyn Timer>,
    rng: Arc<Mutex<dyn Rng>>,
}

impl Ports {
    /// These ports.
    #[must_use]
    pub fn new(timer: Arc<dyn Timer>, rng: impl Rng + 'static) -> Self {
        Self { timer, rng: Arc::new(Mutex::new(rng)) }
    }

    /// The clock.
    #[must_use]
    pub fn timer(&self) -> &Arc<dyn Timer> {
        &self.timer
    }

    /// A draw from [0, 1), of 53 bits.
    pub(crate) fn draw(&self) -> f64 {
        let bits = self.rng.lock().unwrap_or_else(PoisonError::into_inner).next_u64() >> 11;
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let draw = bits as f64 / (1u64 << 53) as f64;
        draw
    }
}
