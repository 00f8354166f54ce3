//! A circuit breaker before a service.

use std::sync::Arc;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{Response, passed_on};
use crate::breaker::{CircuitBreaker, Outcome};
use crate::classify::{Classify, EveryError};
use crate::error::{GuardError, Refused};

/// Puts one breaker before every service it wraps.
#[derive(Clone)]
pub struct CircuitBreakerLayer<C = EveryError> {
    name: Arc<str>,
    breaker: CircuitBreaker,
    classify: C,
}

impl CircuitBreakerLayer {
    /// This breaker; every error is a failure.
    #[must_use]
    pub fn new(name: &str, breaker: CircuitBreaker) -> Self {
        Self { name: name.into(), breaker, classify: EveryError }
    }
}

impl<C> CircuitBreakerLayer<C> {
    /// Judges errors this way.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> CircuitBreakerLayer<D> {
        CircuitBreakerLayer { name: self.name, breaker: self.breaker, classify }
    }
}

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreakerService { inner, layer: self.clone() }
    }
}

/// See [`CircuitBreakerLayer`].
#[derive(Clone)]
pub struct CircuitBreakerService<S, C = EveryError> {
    inner: S,
    layer: CircuitBreakerLayer<C>,
}

impl<R, S, C> Service<R> for CircuitBreakerService<S, C>
where
    S: Service<R>,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
    C: Classify<S::Error> + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = GuardError<S::Error>;
    type Future = Response<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| passed_on(&self.layer.name, error, Outcome::Failure))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let CircuitBreakerLayer { name, breaker, classify } = self.layer.clone();
        let permit = match breaker.ask() {
            Ok(permit) => permit,
            Err(refusal) => return Box::pin(async move { Err(Refused::Breaker(refusal).into_error(name)) }),
        };
        let calling = self.inner.call(request);
        Box::pin(async move {
            match calling.await {
                Ok(response) => {
                    permit.settle(Outcome::Success);
                    Ok(response)
                }
                Err(error) => {
                    let outcome = classify.classify(&error).outcome;
                    permit.settle(outcome);
                    Err(passed_on(&name, error, outcome))
                }
            }
        })
    }
}
