//! The outermost stage: an answer without the service.

use std::time::Duration;

use csf_core::port::within;
use serde::de::DeserializeOwned;

use super::Guard;
use super::stages::Stages;
use crate::call::{Guarded, Origin};
use crate::error::GuardError;
use crate::fallback::{FallbackStrategy, Standby};

impl Guard {
    /// The first fallback that answers. What it calls has the call's `timeout` anew, each.
    pub(super) async fn fall_back<T, E>(
        &self,
        stages: &Stages,
        key: &str,
        timeout: Option<Duration>,
        error: GuardError<E>,
        standby: Standby<'_, T, E>,
    ) -> Result<Guarded<T>, GuardError<E>>
    where
        T: Clone + DeserializeOwned + Send + Sync + 'static,
    {
        let attempts = match &error {
            GuardError::Failed { attempts, .. }
            | GuardError::TimedOut { attempts, .. }
            | GuardError::TryTimedOut { attempts, .. } => *attempts,
            _ => 0,
        };
        let limit = [stages.policy.timeout, timeout].into_iter().flatten().min();
        let mut missed = Vec::new();
        for strategy in &stages.policy.fallback {
            match self.answer(strategy, key, limit, &standby).await {
                Ok((value, origin)) => {
                    self.count(&origin);
                    return Ok(Guarded { value, origin, attempts });
                }
                Err(why) => missed.push(why),
            }
        }
        self.0.meters.no_fallback.count();
        Err(GuardError::NoFallback { error: Box::new(error), missed })
    }

    async fn answer<T, E>(
        &self,
        strategy: &FallbackStrategy,
        key: &str,
        limit: Option<Duration>,
        standby: &Standby<'_, T, E>,
    ) -> Result<(T, Origin), String>
    where
        T: Clone + DeserializeOwned + Send + Sync + 'static,
    {
        match strategy {
            FallbackStrategy::Cache { ttl } => {
                let (value, age) = self.0.cache.find(key, self.0.ports.timer().now(), *ttl)?;
                Ok((value, Origin::Cache { age_ns: u64::try_from(age.as_nanos()).unwrap_or(u64::MAX) }))
            }
            FallbackStrategy::Default { value } => match T::deserialize(value) {
                Ok(value) => Ok((value, Origin::Default)),
                Err(error) => Err(format!("the default value does not fit: {error}")),
            },
            FallbackStrategy::Alternative { service } => {
                let call = standby.alternative.as_ref().ok_or("the call knows no way to an alternative")?;
                let what = format!("the alternative `{service}`");
                let value = self.limited(limit, &what, call(service.clone())).await?;
                Ok((value, Origin::Alternative { service: service.clone() }))
            }
            FallbackStrategy::Degrade { features } => {
                let answer = standby.degraded.as_ref().ok_or("the call cannot be degraded")?;
                let value = self.limited(limit, "the degraded answer", answer(features.clone())).await?;
                Ok((value, Origin::Degraded { features: features.clone() }))
            }
        }
    }

    async fn limited<T, E>(
        &self,
        limit: Option<Duration>,
        what: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, String> {
        let result = match limit {
            Some(limit) => within(&**self.0.ports.timer(), limit, work).await,
            None => Some(work.await),
        };
        match result {
            Some(Ok(value)) => Ok(value),
            Some(Err(_)) => Err(format!("{what} failed")),
            None => Err(format!("{what} took longer than {limit:?}")),
        }
    }

    fn count(&self, origin: &Origin) {
        let meters = &self.0.meters;
        match origin {
            Origin::Service => {}
            Origin::Cache { .. } => meters.from_cache.count(),
            Origin::Default => meters.from_default.count(),
            Origin::Alternative { .. } => meters.from_alternative.count(),
            Origin::Degraded { .. } => meters.degraded.count(),
        }
    }
}
