//! The stages of a policy, as calls hold them: a call keeps the ones it began with.

use std::sync::{Arc, Mutex};

use crate::breaker::CircuitBreaker;
use crate::bulkhead::Bulkhead;
use crate::policy::{Policy, PolicyError};
use crate::ports::Ports;
use crate::rate_limit::RateLimiter;
use crate::retry::Budget;

pub(super) struct Stages {
    pub(super) policy: Policy,
    pub(super) breaker: Option<CircuitBreaker>,
    pub(super) budget: Option<Arc<Mutex<Budget>>>,
    pub(super) bulkhead: Option<Bulkhead>,
    pub(super) rate_limit: Option<RateLimiter>,
}

impl Stages {
    pub(super) fn new(policy: Policy, ports: &Ports) -> Result<Self, PolicyError> {
        let nothing = Self { policy: Policy::default(), breaker: None, budget: None, bulkhead: None, rate_limit: None };
        nothing.next(policy, ports)
    }

    /// The stages of `policy`: those that are there already get new limits and keep their state.
    pub(super) fn next(&self, policy: Policy, ports: &Ports) -> Result<Self, PolicyError> {
        let problems = policy.validate();
        if !problems.is_empty() {
            return Err(PolicyError { problems });
        }
        let (timer, now) = (ports.timer(), ports.timer().now());
        let breaker = policy.breaker.clone().map(|settings| match &self.breaker {
            Some(breaker) => {
                breaker.reconfigure(settings);
                breaker.clone()
            }
            None => CircuitBreaker::new(settings, timer.clone()),
        });
        let budget = policy.retry.as_ref().map(|retry| match &self.budget {
            Some(budget) => {
                super::run::lock(budget).reconfigure(retry.budget, now);
                budget.clone()
            }
            None => Arc::new(Mutex::new(Budget::new(retry.budget, now))),
        });
        let bulkhead = policy.bulkhead.clone().map(|limits| match &self.bulkhead {
            Some(bulkhead) => {
                bulkhead.reconfigure(limits);
                bulkhead.clone()
            }
            None => Bulkhead::new(limits, timer.clone()),
        });
        let rate_limit = policy.rate_limit.clone().map(|limits| match &self.rate_limit {
            Some(limiter) => limiter.reconfigured(limits),
            None => RateLimiter::new(limits, timer.clone()),
        });
        Ok(Self { policy, breaker, budget, bulkhead, rate_limit })
    }
}
