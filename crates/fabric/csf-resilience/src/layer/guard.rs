//! A whole guard before a service.

use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::Response;
use crate::breaker::Outcome;
use crate::call::Call;
use crate::classify::Classify;
use crate::error::GuardError;
use crate::guard::Guard;

/// Puts one guard before every service it wraps. There is no fallback here: its answers say where they come from, a service's do not.
#[derive(Clone)]
pub struct GuardLayer<F> {
    guard: Guard,
    describe: F,
}

impl<F> GuardLayer<F> {
    /// This guard; `describe(&request)` says what the guard must know of a call, such as whether it may be repeated.
    #[must_use]
    pub fn new(guard: Guard, describe: F) -> Self {
        Self { guard, describe }
    }
}

impl<S, F: Clone> Layer<S> for GuardLayer<F> {
    type Service = GuardService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        GuardService { inner, layer: self.clone() }
    }
}

/// See [`GuardLayer`].
#[derive(Clone)]
pub struct GuardService<S, F> {
    inner: S,
    layer: GuardLayer<F>,
}

impl<R, S, F, C> Service<R> for GuardService<S, F>
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
        let name = self.layer.guard.name().into();
        self.inner.poll_ready(cx).map_err(|error| super::passed_on(&name, error, Outcome::Failure))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let call = (self.layer.describe)(&request);
        let clone = self.inner.clone();
        let mut ready = Some(mem::replace(&mut self.inner, clone.clone()));
        let guard = self.layer.guard.clone();
        Box::pin(async move {
            let answer = guard.call(call, || {
                let (is_ready, mut service) = (ready.is_some(), ready.take().unwrap_or_else(|| clone.clone()));
                let request = request.clone();
                async move {
                    if !is_ready {
                        poll_fn(|cx| service.poll_ready(cx)).await?;
                    }
                    service.call(request).await
                }
            });
            answer.await.map(|answer| answer.value)
        })
    }
}
