//! A time-out around a service.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use csf_core::port::{Timer, within};
use tower_layer::Layer;
use tower_service::Service;

use super::{Response, passed_on};
use crate::breaker::Outcome;
use crate::error::GuardError;

/// Gives every call of the services it wraps the same limit.
#[derive(Clone)]
pub struct TimeoutLayer {
    name: Arc<str>,
    limit: Duration,
    timer: Arc<dyn Timer>,
}

impl TimeoutLayer {
    /// This limit, on this clock.
    #[must_use]
    pub fn new(name: &str, limit: Duration, timer: Arc<dyn Timer>) -> Self {
        Self { name: name.into(), limit, timer }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = TimeoutService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TimeoutService { inner, layer: self.clone() }
    }
}

/// See [`TimeoutLayer`].
#[derive(Clone)]
pub struct TimeoutService<S> {
    inner: S,
    layer: TimeoutLayer,
}

impl<R, S> Service<R> for TimeoutService<S>
where
    S: Service<R>,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = GuardError<S::Error>;
    type Future = Response<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| passed_on(&self.layer.name, error, Outcome::Failure))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let TimeoutLayer { name, limit, timer } = self.layer.clone();
        let calling = self.inner.call(request);
        Box::pin(async move {
            match within(&*timer, limit, calling).await {
                Some(Ok(response)) => Ok(response),
                Some(Err(error)) => Err(passed_on(&name, error, Outcome::Failure)),
                None => Err(GuardError::TimedOut { guard: name, limit, attempts: 1, source: None }),
            }
        })
    }
}
