//! What answers when the service does not (FRM-111). Every answer says that it is one, and how old it is.

mod cache;
mod standby;

use std::time::Duration;

pub(crate) use cache::AnswerCache;
pub use standby::Standby;

use crate::policy::{Problems, span};

/// A way to answer without the service.
#[derive(Clone, Debug, PartialEq)]
pub enum FallbackStrategy {
    /// The last good answer to the same key.
    Cache {
        /// How old it may be.
        ttl: Duration,
    },
    /// A fixed value, read into the answer's type.
    Default {
        /// Its value as JSON.
        value: serde_json::Value,
    },
    /// Another service, called through [`Standby::alternative`].
    Alternative {
        /// Its name.
        service: String,
    },
    /// An answer without some features, made by [`Standby::degraded`].
    Degrade {
        /// What is left out.
        features: Vec<String>,
    },
}

impl FallbackStrategy {
    pub(crate) fn validate(&self, problems: &mut Problems) {
        match self {
            Self::Cache { ttl } => problems.span("cache.ttl", *ttl, Duration::from_millis(1), 365 * span::DAY),
            Self::Default { .. } => {}
            Self::Alternative { service } if service.trim().is_empty() => {
                problems.add("alternative.service", "the service has no name", "write the name of the other service");
            }
            Self::Alternative { .. } => {}
            Self::Degrade { features } => {
                if features.is_empty() || features.iter().any(|feature| feature.trim().is_empty()) {
                    problems.add(
                        "degrade.features",
                        "a feature has no name, or there is none",
                        "name what is left out",
                    );
                }
            }
        }
    }
}
