//! The stages as tower layers.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use csf_core::port::{Spawn, Timer};
use csf_resilience::layer::{
    BulkheadLayer, CircuitBreakerLayer, GuardLayer, Nested, RateLimitLayer, RetryLayer, TimeoutLayer,
};
use csf_resilience::{
    BreakerPolicy, BreakerState, Bulkhead, BulkheadPolicy, Call, CircuitBreaker, EveryError, GuardError, Policy,
    RateLimitPolicy, RateLimiter, RetryPolicy, Verdict,
};
use csf_sim::SimExecutor;
use tower_layer::Layer;
use tower_service::Service;

use super::{MS, SECOND, guard, ports, timer};

/// Takes as long as asked, and fails the first so many times. Panics when it is called without being asked whether it is ready.
struct Backend {
    world: SimExecutor,
    failures: Arc<Mutex<u32>>,
    times: Arc<Mutex<Vec<Duration>>>,
    is_ready: bool,
}

impl Clone for Backend {
    /// A clone is not ready.
    fn clone(&self) -> Self {
        let Self { world, failures, times, .. } = self;
        Self { world: world.clone(), failures: failures.clone(), times: times.clone(), is_ready: false }
    }
}

fn backend(world: &SimExecutor, failures: u32) -> Backend {
    let (failures, times) = (Arc::new(Mutex::new(failures)), Arc::new(Mutex::new(Vec::new())));
    Backend { world: world.clone(), failures, times, is_ready: false }
}

impl Service<Duration> for Backend {
    type Response = Duration;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<Duration, &'static str>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, span: Duration) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without being ready");
        self.times.lock().unwrap().push(self.world.now());
        let has_failed = {
            let mut failures = self.failures.lock().unwrap();
            let has_failed = *failures > 0;
            *failures = failures.saturating_sub(1);
            has_failed
        };
        let sleep = self.world.sleep(span);
        Box::pin(async move {
            sleep.await;
            if has_failed { Err("busy") } else { Ok(span) }
        })
    }
}

async fn call<S: Service<Duration>>(service: &mut S, span: Duration) -> Result<S::Response, S::Error> {
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(span).await
}

fn once(_: &Duration) -> Call {
    Call::once()
}

fn idempotent(_: &Duration) -> Call {
    Call::idempotent()
}

#[test]
fn the_breaker_layer_opens_and_refuses_without_calling() {
    let world = SimExecutor::new(1);
    let breaker = CircuitBreaker::new(BreakerPolicy::default(), timer(&world));
    let layer = CircuitBreakerLayer::new("qpu", breaker.clone());
    let backend = backend(&world, 100);
    let (mut first, mut second) = (layer.layer(backend.clone()), layer.layer(backend.clone()));
    world
        .block_on(async {
            for _ in 0..5 {
                assert_eq!(call(&mut first, MS).await.unwrap_err().code(), "CSF-0706");
            }
            assert_eq!(
                call(&mut second, MS).await.unwrap_err().code(),
                "CSF-0701",
                "services of one layer share the breaker"
            );
        })
        .unwrap();
    assert_eq!((breaker.state(), backend.times.lock().unwrap().len()), (BreakerState::Open, 5));
}

#[test]
fn the_breaker_layer_judges_errors_and_forgets_dropped_calls() {
    let world = SimExecutor::new(1);
    let breaker = CircuitBreaker::new(BreakerPolicy::default(), timer(&world));
    let layer = CircuitBreakerLayer::new("qpu", breaker.clone()).classify(|_: &&str| Verdict::IGNORED);
    let mut service = layer.layer(backend(&world, 100));
    world
        .block_on(async {
            for _ in 0..20 {
                call(&mut service, MS).await.unwrap_err();
            }
            let dropped = call(&mut service, SECOND);
            assert!(csf_core::port::within(&world, MS, dropped).await.is_none());
        })
        .unwrap();
    let report = breaker.report();
    assert_eq!((report.state, report.calls), (BreakerState::Closed, 0));
}

#[test]
fn the_retry_layer_repeats_only_what_may_be_repeated() {
    let world = SimExecutor::new(1);
    let backend = backend(&world, 2);
    let layer = RetryLayer::new("qpu", RetryPolicy::default(), ports(&world), idempotent).unwrap();
    let answer = world.block_on(call(&mut layer.layer(backend.clone()), Duration::ZERO)).unwrap();
    assert_eq!(answer, Ok(Duration::ZERO));
    assert_eq!(*backend.times.lock().unwrap(), [Duration::ZERO, 100 * MS, 300 * MS]);
    *backend.failures.lock().unwrap() = 1;
    let layer = RetryLayer::new("qpu", RetryPolicy::default(), ports(&world), once).unwrap();
    assert!(world.block_on(call(&mut layer.layer(backend), Duration::ZERO)).unwrap().is_err());
}

#[test]
fn the_bulkhead_layer_counts_and_the_time_out_layer_ends() {
    let world = SimExecutor::new(1);
    let limits = BulkheadPolicy { max_concurrent: 1, max_wait: SECOND, max_waiting: 10 };
    let layer = BulkheadLayer::new("qpu", Bulkhead::new(limits, timer(&world)));
    let mut first = layer.layer(backend(&world, 0));
    world.spawn(Box::pin(async move { drop(call(&mut first, 60 * SECOND).await) }));
    let mut second = layer.layer(backend(&world, 0));
    world
        .block_on(async {
            world.sleep(MS).await;
            assert_eq!(call(&mut second, MS).await.unwrap_err().code(), "CSF-0702");
            assert_eq!(world.now(), SECOND + MS);
            let mut hasty = TimeoutLayer::new("qpu", SECOND, timer(&world)).layer(backend(&world, 0));
            assert_eq!(call(&mut hasty, SECOND).await, Ok(SECOND), "ready at the limit is in time");
            assert_eq!(call(&mut hasty, SECOND + MS).await.unwrap_err().code(), "CSF-0704");
        })
        .unwrap();
}

#[test]
fn the_rate_layer_spaces_calls() {
    let world = SimExecutor::new(1);
    let rate = RateLimitPolicy { calls: 10, per: SECOND, burst: Some(1), max_wait: SECOND };
    let backend = backend(&world, 0);
    let mut service = RateLimitLayer::new("qpu", RateLimiter::new(rate, timer(&world))).layer(backend.clone());
    world
        .block_on(async {
            for _ in 0..3 {
                call(&mut service, Duration::ZERO).await.unwrap();
            }
        })
        .unwrap();
    assert_eq!(*backend.times.lock().unwrap(), [Duration::ZERO, 100 * MS, 200 * MS]);
}

#[test]
fn stacked_layers_agree_with_the_guard_layer() {
    let run = |is_stacked: bool| {
        let world = SimExecutor::new(1);
        let breaker = BreakerPolicy { failure_threshold: 2, ..BreakerPolicy::default() };
        let backend = backend(&world, 2);
        let retry = RetryPolicy { max_attempts: 9, ..RetryPolicy::default() };
        let nested = |_: &Duration| Call::idempotent().classify(Nested(EveryError));
        let code = if is_stacked {
            let breaker = CircuitBreakerLayer::new("qpu", CircuitBreaker::new(breaker, timer(&world)));
            let retry = RetryLayer::new("qpu", retry, ports(&world), nested).unwrap();
            let mut service = retry.layer(breaker.layer(backend.clone()));
            let error = world.block_on(call(&mut service, MS)).unwrap().unwrap_err();
            let GuardError::Failed { source, attempts: 3, .. } = error else { panic!("{error:?}") };
            source.code()
        } else {
            let policy = Policy { breaker: Some(breaker), retry: Some(retry), ..Policy::default() };
            let mut service = GuardLayer::new(guard(&world, "qpu", policy), idempotent).layer(backend.clone());
            world.block_on(call(&mut service, MS)).unwrap().unwrap_err().code()
        };
        (backend.times.lock().unwrap().clone(), code)
    };
    let times = vec![Duration::ZERO, 101 * MS];
    // The stack ends with the breaker's refusal; the guard keeps the service's error.
    assert_eq!(run(true), (times.clone(), "CSF-0701"));
    assert_eq!(run(false), (times, "CSF-0706"));
}
