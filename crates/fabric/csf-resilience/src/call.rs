//! What a guard must know of one call, and the answer it gives.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::classify::EveryError;

/// One call: whether it may be made twice, what it is called in the cache, how its errors are judged.
#[derive(Clone, Debug)]
pub struct Call<C = EveryError> {
    pub(crate) is_idempotent: bool,
    pub(crate) key: String,
    pub(crate) timeout: Option<Duration>,
    pub(crate) classify: C,
}

impl Call {
    /// A call whose effect must not happen twice: it is never tried again.
    #[must_use]
    pub fn once() -> Self {
        Self { is_idempotent: false, key: String::new(), timeout: None, classify: EveryError }
    }

    /// A call that may be made again without harm.
    #[must_use]
    pub fn idempotent() -> Self {
        Self { is_idempotent: true, ..Self::once() }
    }
}

impl<C> Call<C> {
    /// What is asked for, so that a cached answer fits. Without a key all calls ask the same.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// A limit of this call; the shorter one of it and the policy's `timeout` holds.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How its errors are judged; without, every error is a failure that may pass.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> Call<D> {
        Call { is_idempotent: self.is_idempotent, key: self.key, timeout: self.timeout, classify }
    }
}

/// An answer that says where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarded<T> {
    /// The answer.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
    /// Tries of the service.
    pub attempts: u32,
}

impl<T> Guarded<T> {
    /// The service did not answer; something else did.
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        self.origin != Origin::Service
    }
}

/// Where an answer comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The service itself.
    Service,
    /// An earlier answer of the service.
    Cache {
        /// How old it is, in nanoseconds.
        age_ns: u64,
    },
    /// The value of the configuration.
    Default,
    /// Another service.
    Alternative {
        /// Its name.
        service: String,
    },
    /// An answer without these features.
    Degraded {
        /// What is left out.
        features: Vec<String>,
    },
}
