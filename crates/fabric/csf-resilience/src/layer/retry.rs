//! Retries of a service.

use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{GuardLayer, GuardService, Response};
use crate::call::Call;
use crate::classify::Classify;
use crate::error::GuardError;
use crate::guard::Guard;
use crate::policy::{Policy, PolicyError};
use crate::ports::Ports;
use crate::retry::RetryPolicy;

/// Retries the calls of every service it wraps, from one budget.
#[derive(Clone)]
pub struct RetryLayer<F>(GuardLayer<F>);

impl<F> RetryLayer<F> {
    /// These retries; `describe(&request)` says whether a request may be repeated and how its errors are judged.
    ///
    /// # Errors
    /// [`PolicyError`] with every problem of the settings.
    pub fn new(name: &str, retry: RetryPolicy, ports: Ports, describe: F) -> Result<Self, PolicyError> {
        let policy = Policy { retry: Some(retry), ..Policy::default() };
        Ok(Self(GuardLayer::new(Guard::new(name, policy, ports)?, describe)))
    }
}

impl<S, F: Clone> Layer<S> for RetryLayer<F> {
    type Service = RetryService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryService(self.0.layer(inner))
    }
}

/// See [`RetryLayer`].
#[derive(Clone)]
pub struct RetryService<S, F>(GuardService<S, F>);

impl<R, S, F, C> Service<R> for RetryService<S, F>
where
    R: Clone + Send + Sync + 'static,
    S: Service<R> + Clone + Send + Sync + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
    F: Fn(&R) -> Call<C>,
    C: Classify<S::Error> + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = GuardError<S::Error>;
    type Future = Response<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.0.call(request)
    }
}
