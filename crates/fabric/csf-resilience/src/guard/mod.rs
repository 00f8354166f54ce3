//! A guard: every stage of a policy around any call.

mod fall_back;
mod guards;
mod meters;
mod report;
mod run;
mod stages;

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use serde::de::DeserializeOwned;

pub use guards::Guards;
pub use report::{FallbackReport, GuardReport, RetryReport};

use crate::breaker::{BreakerState, Command, IllegalCommand, Transition};
use crate::call::{Call, Guarded};
use crate::classify::Classify;
use crate::error::GuardError;
use crate::fallback::{AnswerCache, FallbackStrategy, Standby};
use crate::policy::{Policy, PolicyError};
use crate::ports::Ports;
use meters::Meters;
use stages::Stages;

type Listener = Arc<dyn Fn(&Transition) + Send + Sync>;

struct Inner {
    name: Arc<str>,
    ports: Ports,
    stages: RwLock<Arc<Stages>>,
    meters: Meters,
    cache: AnswerCache,
    listeners: RwLock<Vec<Listener>>,
}

/// Stands around calls of one target. Clones are the same guard.
///
/// ```
/// use std::sync::Arc;
/// use csf_resilience::{Call, Guard, Policy, Ports};
/// use csf_sim::{SeededRng, SimExecutor};
///
/// let world = SimExecutor::new(1);
/// let ports = Ports::new(Arc::new(world.clone()), SeededRng::new(1));
/// let guard = Guard::new("qpu", Policy::quantum_integration(), ports)?;
/// let mut tries = 0;
/// let answer = world.block_on(guard.call(Call::idempotent(), || {
///     tries += 1;
///     let answer = if tries < 3 { Err("busy") } else { Ok(42) };
///     async move { answer }
/// }))?;
/// assert_eq!(answer.map(|answer| (answer.value, answer.attempts)), Ok((42, 3)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Guard(Arc<Inner>);

impl Guard {
    /// A guard of this policy; `name` stands in its errors and reports.
    ///
    /// # Errors
    /// [`PolicyError`] with every problem of the policy.
    pub fn new(name: &str, policy: Policy, ports: Ports) -> Result<Self, PolicyError> {
        let stages = Stages::new(policy, &ports)?;
        let guard = Self(Arc::new(Inner {
            name: name.into(),
            stages: RwLock::new(Arc::new(stages)),
            ports,
            meters: Meters::default(),
            cache: AnswerCache::default(),
            listeners: RwLock::new(Vec::new()),
        }));
        guard.listen(&guard.stages());
        Ok(guard)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Makes the call, without a fallback even where the policy has one.
    ///
    /// `op` is called for every try. Cancel safe: a call that is dropped gives its slot and its probe back and counts as nothing for the
    /// breaker. A try that a time-out of the guard ends is a failure of the service, and its future is dropped. A panic of `op` passes
    /// through and counts as nothing.
    ///
    /// # Errors
    /// [`GuardError`], which names the stage and its limit.
    pub async fn call<T, E, C, F>(&self, call: Call<C>, op: impl FnMut() -> F) -> Result<Guarded<T>, GuardError<E>>
    where
        C: Classify<E>,
        F: Future<Output = Result<T, E>>,
    {
        self.run(&self.stages(), &call, op).await
    }

    /// Makes the call; when the service gives no answer, the policy's fallbacks are tried in their order. The caller's own mistakes
    /// ([`crate::Verdict::IGNORED`]) get none. Good answers are kept where the policy has a cache. Cancel safe like [`Guard::call`].
    ///
    /// # Errors
    /// [`GuardError`]; [`GuardError::NoFallback`] when the fallbacks had no answer either.
    pub async fn call_or<T, E, C, F>(
        &self,
        call: Call<C>,
        op: impl FnMut() -> F,
        standby: Standby<'_, T, E>,
    ) -> Result<Guarded<T>, GuardError<E>>
    where
        T: Clone + DeserializeOwned + Send + Sync + 'static,
        C: Classify<E>,
        F: Future<Output = Result<T, E>>,
    {
        let stages = self.stages();
        match self.run(&stages, &call, op).await {
            Ok(answer) => {
                if stages.policy.fallback.iter().any(|strategy| matches!(strategy, FallbackStrategy::Cache { .. })) {
                    self.0.cache.store(&call.key, self.0.ports.timer().now(), answer.value.clone());
                }
                Ok(answer)
            }
            Err(error) if stages.policy.fallback.is_empty() || !error.wants_fallback() => Err(error),
            Err(error) => self.fall_back(&stages, &call.key, call.timeout, error, standby).await,
        }
    }

    /// New settings from now on. Calls that run keep the settings they began with, and the slots they hold; the breaker keeps its state,
    /// and its window where the windows agree; a rate limit grants no fresh burst; the retry budget keeps what is saved.
    ///
    /// # Errors
    /// [`PolicyError`] with every problem; the guard keeps what it has.
    pub fn reconfigure(&self, policy: Policy) -> Result<(), PolicyError> {
        let mut stages = self.0.stages.write().unwrap_or_else(PoisonError::into_inner);
        let (old, new) = (stages.clone(), Arc::new(stages.next(policy, &self.0.ports)?));
        *stages = new.clone();
        drop(stages);
        if old.breaker.is_none() {
            self.listen(&new);
        }
        Ok(())
    }

    /// The settings that the next call gets.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.stages().policy.clone()
    }

    /// The breaker's state; `None` without a breaker.
    #[must_use]
    pub fn breaker_state(&self) -> Option<BreakerState> {
        self.stages().breaker.as_ref().map(|breaker| breaker.state())
    }

    /// An operator's order to the breaker; without a breaker nothing happens.
    ///
    /// # Errors
    /// [`IllegalCommand`] for a probe while the breaker is not open.
    pub fn command(&self, command: Command) -> Result<(), IllegalCommand> {
        self.stages().breaker.as_ref().map_or(Ok(()), |breaker| breaker.command(command))
    }

    /// Calls `listener` after every change of the breaker's state, on the task that caused it. It must not wait.
    pub fn on_transition(&self, listener: impl Fn(&Transition) + Send + Sync + 'static) {
        self.0.listeners.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(listener));
    }

    /// Everything at a glance.
    #[must_use]
    pub fn report(&self) -> GuardReport {
        report::of(&self.0.name, &self.stages(), &self.0.meters, self.0.ports.timer().now())
    }

    fn stages(&self) -> Arc<Stages> {
        self.0.stages.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Passes the breaker's transitions on. The breaker holds the guard weakly: it is a part of it.
    fn listen(&self, stages: &Stages) {
        let Some(breaker) = &stages.breaker else { return };
        let guard = Arc::downgrade(&self.0);
        breaker.on_transition(move |transition| {
            let Some(guard) = guard.upgrade() else { return };
            let listeners = guard.listeners.read().unwrap_or_else(PoisonError::into_inner).clone();
            listeners.iter().for_each(|listener| listener(transition));
        });
    }
}
