//! A bulkhead before a service.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{Response, passed_on};
use crate::breaker::Outcome;
use crate::bulkhead::Bulkhead;
use crate::error::{GuardError, Refused};

/// Puts one bulkhead before every service it wraps.
#[derive(Clone)]
pub struct BulkheadLayer {
    name: Arc<str>,
    bulkhead: Bulkhead,
}

impl BulkheadLayer {
    /// This bulkhead.
    #[must_use]
    pub fn new(name: &str, bulkhead: Bulkhead) -> Self {
        Self { name: name.into(), bulkhead }
    }
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = BulkheadService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BulkheadService { inner, layer: self.clone() }
    }
}

/// See [`BulkheadLayer`].
#[derive(Clone)]
pub struct BulkheadService<S> {
    inner: S,
    layer: BulkheadLayer,
}

impl<R, S> Service<R> for BulkheadService<S>
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
        // The one that is ready goes along, its clone stays and is made ready again.
        let clone = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, clone);
        let BulkheadLayer { name, bulkhead } = self.layer.clone();
        Box::pin(async move {
            let slot = bulkhead.acquire().await;
            let _slot = slot.map_err(|full| Refused::Bulkhead(full).into_error(name.clone()))?;
            ready.call(request).await.map_err(|error| passed_on(&name, error, Outcome::Failure))
        })
    }
}
