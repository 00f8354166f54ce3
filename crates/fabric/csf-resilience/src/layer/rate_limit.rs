//! A rate limit before a service.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{Response, passed_on};
use crate::breaker::Outcome;
use crate::error::{GuardError, Refused};
use crate::rate_limit::RateLimiter;

/// Puts one rate limit before every service it wraps.
#[derive(Clone)]
pub struct RateLimitLayer {
    name: Arc<str>,
    limiter: RateLimiter,
}

impl RateLimitLayer {
    /// This limiter.
    #[must_use]
    pub fn new(name: &str, limiter: RateLimiter) -> Self {
        Self { name: name.into(), limiter }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimitService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimitService { inner, layer: self.clone() }
    }
}

/// See [`RateLimitLayer`].
#[derive(Clone)]
pub struct RateLimitService<S> {
    inner: S,
    layer: RateLimitLayer,
}

impl<R, S> Service<R> for RateLimitService<S>
where
    R: Send + 'static,
    S: Service<R> + Clone + Send + 'static,
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
        let clone = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, clone);
        let RateLimitLayer { name, limiter } = self.layer.clone();
        Box::pin(async move {
            limiter.acquire().await.map_err(|limited| Refused::RateLimit(limited).into_error(name.clone()))?;
            ready.call(request).await.map_err(|error| passed_on(&name, error, Outcome::Failure))
        })
    }
}
