//! A breaker on a clock, shared between tasks, with listeners.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::port::Timer;

use super::{
    Breaker, BreakerPolicy, BreakerReport, BreakerState, Command, IllegalCommand, Outcome, Permit, Refusal, Transition,
};

type Listener = Box<dyn Fn(&Transition) + Send + Sync>;

struct Inner {
    machine: Mutex<Breaker>,
    listeners: Mutex<Vec<Arc<Listener>>>,
    timer: Arc<dyn Timer>,
}

/// A [`Breaker`] that reads its time from a [`Timer`]. Clones are the same breaker.
#[derive(Clone)]
pub struct CircuitBreaker(Arc<Inner>);

impl CircuitBreaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(policy: BreakerPolicy, timer: Arc<dyn Timer>) -> Self {
        Self(Arc::new(Inner { machine: Mutex::new(Breaker::new(policy)), listeners: Mutex::new(Vec::new()), timer }))
    }

    /// Asks to make a call. The permit says how it ended; dropped, it gives its place back and counts as nothing.
    ///
    /// # Errors
    /// [`Refusal`] when the call may not be made.
    pub fn ask(&self) -> Result<BreakerPermit, Refusal> {
        let (permit, asked_at) = self.with(|machine, now| (machine.ask(now), now));
        Ok(BreakerPermit { permit: Some(permit?), asked_at, breaker: self.clone() })
    }

    /// Carries out an operator's order.
    ///
    /// # Errors
    /// [`IllegalCommand`] for a probe while the breaker is not open.
    pub fn command(&self, command: Command) -> Result<(), IllegalCommand> {
        self.with(|machine, now| machine.command(now, command))
    }

    /// New settings from now on; see [`Breaker::reconfigure`] for what is kept.
    pub fn reconfigure(&self, policy: BreakerPolicy) {
        self.with(|machine, now| machine.reconfigure(now, policy));
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.with(Breaker::state)
    }

    /// Everything at a glance.
    #[must_use]
    pub fn report(&self) -> BreakerReport {
        self.with(Breaker::report)
    }

    /// Calls `listener` after every change of state, on the task that caused it. It must not wait; it may use the breaker.
    pub fn on_transition(&self, listener: impl Fn(&Transition) + Send + Sync + 'static) {
        let listener: Listener = Box::new(listener);
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(listener));
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.0.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, step: impl FnOnce(&mut Breaker, Duration) -> T) -> T {
        self.at(self.0.timer.now(), step)
    }

    /// One step of the machine; listeners hear of it outside the lock.
    fn at<T>(&self, now: Duration, step: impl FnOnce(&mut Breaker, Duration) -> T) -> T {
        let mut machine = self.lock();
        let value = step(&mut machine, now);
        let transitions = machine.take_transitions();
        drop(machine);
        if !transitions.is_empty() {
            let listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for transition in &transitions {
                listeners.iter().for_each(|listener| listener(transition));
            }
        }
        value
    }
}

/// Leave for one call.
#[must_use = "a permit that is dropped counts as nothing"]
pub struct BreakerPermit {
    permit: Option<Permit>,
    asked_at: Duration,
    breaker: CircuitBreaker,
}

impl BreakerPermit {
    /// When it was given.
    pub(crate) fn asked_at(&self) -> Duration {
        self.asked_at
    }

    /// The call ended after the time since the permit was given.
    pub fn settle(self, outcome: Outcome) {
        let started_at = self.asked_at;
        self.settle_from(started_at, outcome);
    }

    /// The call ended; it began at `started_at` of the breaker's clock, after what it waited elsewhere.
    pub fn settle_from(mut self, started_at: Duration, outcome: Outcome) {
        let now = self.breaker.0.timer.now();
        self.give_back(now, outcome, now.saturating_sub(started_at));
    }

    fn give_back(&mut self, now: Duration, outcome: Outcome, took: Duration) {
        if let Some(permit) = self.permit.take() {
            self.breaker.at(now, |machine, now| machine.settle(now, permit, outcome, took));
        }
    }
}

impl Drop for BreakerPermit {
    fn drop(&mut self) {
        if self.permit.is_some() {
            let now = self.breaker.0.timer.now();
            self.give_back(now, Outcome::Ignored, Duration::ZERO);
        }
    }
}
