//! tower-resilience: the same stages as tower layers.

use std::future::{Ready, ready};
use std::hint::black_box;
use std::time::Duration;

use tokio::runtime::{Builder, EnterGuard, Runtime};
use tower::util::{ServiceExt, ServiceFn, service_fn};
use tower::{Layer, Service};
use tower_resilience_bulkhead::{BulkheadError, BulkheadLayer};
use tower_resilience_circuitbreaker::CircuitBreakerLayer;
use tower_resilience_retry::RetryLayer;

use crate::ours::guard::at_once;

/// The service never fails; its layers want an error that can be cloned and made of theirs.
#[derive(Clone, Debug)]
pub struct Never;

impl std::fmt::Display for Never {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("never")
    }
}

impl std::error::Error for Never {}

impl From<BulkheadError> for Never {
    fn from(_: BulkheadError) -> Self {
        Self
    }
}

type Inner = ServiceFn<fn(u64) -> Ready<Result<u64, Never>>>;

fn inner() -> Inner {
    service_fn(|value| ready(Ok(value)))
}

fn breaker_layer() -> CircuitBreakerLayer {
    let layer = CircuitBreakerLayer::builder().consecutive_failures(5).wait_duration_in_open(Duration::from_secs(60));
    layer.build().expect("these are valid")
}

/// A service in the runtime that its timers want.
pub struct Guarded<S> {
    service: S,
    _entered: EnterGuard<'static>,
}

fn entered<S>(service: S) -> Guarded<S> {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime without threads");
    let runtime: &'static Runtime = Box::leak(Box::new(runtime));
    Guarded { service, _entered: runtime.enter() }
}

/// A breaker alone.
pub fn breaker() -> Guarded<impl Service<u64, Response = u64>> {
    entered(breaker_layer().layer(inner()))
}

/// Breaker, retries and bulkhead.
pub fn stages() -> Guarded<impl Service<u64, Response = u64>> {
    let bulkhead = BulkheadLayer::builder().max_concurrent_calls(10).max_wait_duration(Duration::from_secs(1));
    let bulkhead = bulkhead.build().expect("these are valid");
    let retry =
        RetryLayer::<u64, u64, _>::builder().max_attempts(3).exponential_backoff(Duration::from_millis(100)).build();
    entered(retry.layer(breaker_layer().layer(bulkhead.layer(inner()))))
}

/// One call.
#[inline(always)]
pub fn call<S: Service<u64, Response = u64>>(guarded: &mut Guarded<S>) {
    let answer = at_once(async {
        let service = guarded.service.ready().await.map_err(drop)?;
        service.call(black_box(1)).await.map_err(drop)
    });
    black_box(answer.expect("the service answers"));
}
