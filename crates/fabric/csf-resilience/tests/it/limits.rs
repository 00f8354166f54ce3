//! Time-outs, retries and rates through a guard.

use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::port::{Spawn, Timer};
use csf_resilience::{
    BreakerPolicy, BreakerState, BulkheadPolicy, Call, GaveUp, GuardError, Policy, RateLimitPolicy, RetryBudget,
    RetryPolicy, Verdict,
};
use csf_sim::SimExecutor;

use super::{MS, SECOND, guard};

#[test]
fn a_try_that_hangs_is_ended_counted_as_a_failure_and_repeated() {
    let world = SimExecutor::new(1);
    let policy = Policy {
        try_timeout: Some(SECOND),
        timeout: Some(60 * SECOND),
        breaker: Some(BreakerPolicy::default()),
        retry: Some(RetryPolicy::default()),
        ..Policy::default()
    };
    let guard = guard(&world, "qpu", policy);
    let error = world.block_on(guard.call(Call::idempotent(), pending::<Result<(), ()>>)).unwrap().unwrap_err();
    let gave_up = GaveUp::Attempts { limit: 3 };
    assert_eq!(error, GuardError::TryTimedOut { guard: "qpu".into(), limit: SECOND, attempts: 3, gave_up });
    assert_eq!(world.now(), 3_300 * MS);
    let report = guard.report();
    assert_eq!((report.try_timeouts, report.timeouts, report.breaker.unwrap().failures), (3, 0, 3));
}

#[test]
fn the_total_time_out_ends_waits_too_and_keeps_the_last_error() {
    let world = SimExecutor::new(1);
    let policy = Policy { timeout: Some(250 * MS), breaker: Some(BreakerPolicy::default()), ..Policy::default() };
    let with_retries = Policy { retry: Some(RetryPolicy::default()), ..policy.clone() };
    let guard = guard(&world, "qpu", with_retries);
    let mut tries = 0;
    let call = guard.call(Call::idempotent(), || {
        tries += 1;
        let clock = world.clone();
        async move {
            if tries > 1 {
                clock.sleep(SECOND).await;
            }
            Err::<(), _>("busy")
        }
    });
    let error = world.block_on(call).unwrap().unwrap_err();
    let expected = GuardError::TimedOut { guard: "qpu".into(), limit: 250 * MS, attempts: 2, source: Some("busy") };
    assert_eq!((error, world.now()), (expected, 250 * MS));
    assert_eq!(guard.report().breaker.unwrap().failures, 2, "the service had its time and gave no answer");
}

#[test]
fn a_retry_that_cannot_start_in_time_is_not_waited_for() {
    let world = SimExecutor::new(1);
    let guard = guard(&world, "qpu", Policy { retry: Some(RetryPolicy::default()), ..Policy::default() });
    let call = guard.call(Call::idempotent().within(100 * MS), || ready(Err::<(), _>("busy")));
    let error = world.block_on(call).unwrap().unwrap_err();
    assert!(matches!(error, GuardError::Failed { gave_up: GaveUp::NoTime { .. }, .. }), "{error:?}");
    assert_eq!((world.now(), guard.report().retry.unwrap().spent), (Duration::ZERO, 0));
}

#[test]
fn only_idempotent_calls_and_retryable_errors_are_repeated() {
    let world = SimExecutor::new(1);
    let guard = guard(&world, "qpu", Policy { retry: Some(RetryPolicy::default()), ..Policy::default() });
    let gave_up = |error: GuardError<&str>| match error {
        GuardError::Failed { gave_up, attempts: 1, .. } => gave_up,
        other => panic!("{other:?}"),
    };
    let once = world.block_on(guard.call(Call::once(), || ready(Err::<(), _>("busy")))).unwrap();
    assert_eq!(gave_up(once.unwrap_err()), GaveUp::NotIdempotent);
    let judged = Call::idempotent().classify(|_: &&str| Verdict::PERMANENT);
    let permanent = world.block_on(guard.call(judged, || ready(Err::<(), _>("no such gate")))).unwrap();
    assert_eq!(gave_up(permanent.unwrap_err()), GaveUp::NotRetryable);
}

#[test]
fn the_service_says_when_to_come_again() {
    let world = SimExecutor::new(1);
    let guard = guard(&world, "qpu", Policy { retry: Some(RetryPolicy::default()), ..Policy::default() });
    let call = Call::idempotent().classify(|wait: &Duration| Verdict::retry_after(*wait));
    let mut times = Vec::new();
    let mut waits = [1_234 * MS, 5_001 * MS].into_iter();
    let answer = guard.call(call, || {
        times.push(world.now());
        ready(Err::<(), _>(waits.next().unwrap()))
    });
    let error = world.block_on(answer).unwrap().unwrap_err();
    assert_eq!(times, [Duration::ZERO, 1_234 * MS]);
    let expected = GaveUp::RetryAfter { asked: 5_001 * MS, limit: 5_000 * MS };
    assert!(matches!(error, GuardError::Failed { gave_up, .. } if gave_up == expected), "{error:?}");
}

#[test]
fn the_budget_bounds_what_retries_add() {
    let world = SimExecutor::new(1);
    let budget = RetryBudget { share: 0.1, per_second: 0.0, burst: 10 };
    let retry = RetryPolicy { initial_delay: MS, budget, ..RetryPolicy::default() };
    let guard = guard(&world, "qpu", Policy { retry: Some(retry), ..Policy::default() });
    for _ in 0..1_000 {
        let _ = world.block_on(guard.call(Call::idempotent(), || ready(Err::<(), _>("down")))).unwrap();
    }
    let report = guard.report();
    // The full bucket, and a tenth of the calls; without a budget it were 2,000.
    assert_eq!(report.attempts - report.calls, 109);
    assert_eq!(report.retry.unwrap().spent, 109);
}

#[test]
fn when_the_breaker_opens_between_two_tries_the_services_error_is_kept() {
    let world = SimExecutor::new(1);
    let breaker = BreakerPolicy { failure_threshold: 2, ..BreakerPolicy::default() };
    let policy = Policy { breaker: Some(breaker), retry: Some(RetryPolicy::default()), ..Policy::default() };
    let guard = guard(&world, "qpu", policy);
    let error = world.block_on(guard.call(Call::idempotent(), || ready(Err::<(), _>("busy")))).unwrap().unwrap_err();
    assert_eq!(guard.breaker_state(), Some(BreakerState::Open));
    let GuardError::Failed { attempts: 2, gave_up, source: "busy", .. } = error else { panic!("{error:?}") };
    assert_eq!(gave_up, GaveUp::Refused { code: "CSF-0701" });
}

/// When each of `callers` that come together gets its turn, or is refused.
fn turns(policy: RateLimitPolicy, callers: usize) -> Vec<Result<Duration, Duration>> {
    let world = SimExecutor::new(5);
    let guard = guard(&world, "qpu", Policy { rate_limit: Some(policy), ..Policy::default() });
    let turns = Arc::new(Mutex::new(Vec::new()));
    world
        .block_on(async {
            for _ in 0..callers {
                let (guard, clock, turns) = (guard.clone(), world.clone(), turns.clone());
                world.spawn(Box::pin(async move {
                    let answer = guard.call(Call::once(), || ready(Ok::<_, ()>(clock.now()))).await;
                    turns.lock().unwrap().push(answer.map(|answer| answer.value).map_err(|_| clock.now()));
                }));
            }
            world.sleep(60 * SECOND).await;
        })
        .unwrap();
    let mut turns = turns.lock().unwrap().clone();
    turns.sort();
    turns
}

#[test]
fn a_rate_lets_the_burst_pass_and_then_one_every_interval() {
    let policy = RateLimitPolicy { calls: 10, per: SECOND, burst: Some(3), max_wait: 250 * MS };
    let passed = [0, 0, 0, 100, 200].map(|ms| Ok(ms * MS));
    let refused_at_once = vec![Err(Duration::ZERO); 5];
    assert_eq!(turns(policy, 10), [passed.to_vec(), refused_at_once].concat());
}

#[test]
fn a_rate_without_a_wait_fails_at_once_and_names_the_next_turn() {
    let world = SimExecutor::new(1);
    let policy = RateLimitPolicy { calls: 2, per: SECOND, burst: Some(1), max_wait: Duration::ZERO };
    let guard = guard(&world, "qpu", Policy { rate_limit: Some(policy), ..Policy::default() });
    let call = || world.block_on(guard.call(Call::once(), || ready(Ok::<_, ()>(())))).unwrap();
    call().unwrap();
    let error = call().unwrap_err();
    assert_eq!((error.code(), error.is_refusal()), ("CSF-0703", true));
    assert!(error.to_string().contains("the next turn is 500ms away"), "{error}");
    assert_eq!(world.now(), Duration::ZERO);
}

#[test]
fn too_many_waiting_calls_are_refused_at_once() {
    let world = SimExecutor::new(1);
    let bulkhead = BulkheadPolicy { max_concurrent: 1, max_wait: SECOND, max_waiting: 0 };
    let guard = guard(&world, "qpu", Policy { bulkhead: Some(bulkhead), ..Policy::default() });
    let (holder, clock) = (guard.clone(), world.clone());
    world.spawn(Box::pin(async move {
        let work = || async {
            clock.sleep(SECOND).await;
            Ok::<_, ()>(())
        };
        let _ = holder.call(Call::once(), work).await;
    }));
    world
        .block_on(async {
            world.sleep(MS).await;
            let error = guard.call(Call::once(), || ready(Ok::<_, ()>(()))).await.unwrap_err();
            assert!(error.to_string().contains("`bulkhead.max_waiting`"), "{error}");
            assert_eq!(world.now(), MS);
        })
        .unwrap();
}

/// The order in which twenty callers, a millisecond apart, reach a service that takes 100 ms.
fn order_of_callers(policy: Policy) -> Vec<u32> {
    let world = SimExecutor::new(11);
    let guard = guard(&world, "qpu", policy);
    let order = Arc::new(Mutex::new(Vec::new()));
    world
        .block_on(async {
            for caller in 0..20 {
                let (guard, clock, order) = (guard.clone(), world.clone(), order.clone());
                world.spawn(Box::pin(async move {
                    let work = || async {
                        order.lock().unwrap().push(caller);
                        clock.sleep(100 * MS).await;
                        Ok::<_, ()>(())
                    };
                    let _ = guard.call(Call::once(), work).await;
                }));
                world.sleep(MS).await;
            }
            world.sleep(10 * SECOND).await;
        })
        .unwrap();
    order.lock().unwrap().clone()
}

#[test]
fn callers_are_served_in_their_order() {
    let bulkhead = BulkheadPolicy { max_concurrent: 1, max_wait: 60 * SECOND, max_waiting: 100 };
    let rate_limit = RateLimitPolicy { calls: 10, per: SECOND, burst: Some(1), max_wait: 60 * SECOND };
    let in_order: Vec<u32> = (0..20).collect();
    assert_eq!(order_of_callers(Policy { bulkhead: Some(bulkhead), ..Policy::default() }), in_order);
    assert_eq!(order_of_callers(Policy { rate_limit: Some(rate_limit), ..Policy::default() }), in_order);
}

#[test]
fn the_classifier_says_what_the_breaker_counts() {
    let world = SimExecutor::new(1);
    let counted = |verdict: Verdict| {
        let guard = guard(&world, "qpu", Policy { breaker: Some(BreakerPolicy::default()), ..Policy::default() });
        for _ in 0..5 {
            let call = Call::once().classify(move |_: &()| verdict);
            let error = world.block_on(guard.call(call, || ready(Err::<(), _>(())))).unwrap().unwrap_err();
            assert_eq!(error.code(), "CSF-0706");
        }
        let report = guard.report().breaker.unwrap();
        (report.calls, report.failures, report.state)
    };
    assert_eq!(counted(Verdict::IGNORED), (0, 0, BreakerState::Closed));
    assert_eq!(counted(Verdict::SUCCESS), (5, 0, BreakerState::Closed));
    assert_eq!(counted(Verdict::PERMANENT), (5, 5, BreakerState::Open));
    assert_eq!(counted(Verdict::TRANSIENT), (5, 5, BreakerState::Open));
}

#[test]
fn a_call_is_slow_by_its_own_time_and_not_by_its_wait() {
    let world = SimExecutor::new(1);
    let breaker =
        BreakerPolicy { slow_call: SECOND, slow_rate: Some(0.5), minimum_calls: 4, ..BreakerPolicy::default() };
    let bulkhead = BulkheadPolicy { max_concurrent: 1, max_wait: 60 * SECOND, max_waiting: 100 };
    let guard = guard(&world, "qpu", Policy { breaker: Some(breaker), bulkhead: Some(bulkhead), ..Policy::default() });
    let start = |calls: u32, span: Duration| {
        for _ in 0..calls {
            let (guard, clock) = (guard.clone(), world.clone());
            world.spawn(Box::pin(async move {
                let work = || async {
                    clock.sleep(span).await;
                    Ok::<_, ()>(())
                };
                let _ = guard.call(Call::once(), work).await;
            }));
        }
        world.block_on(world.sleep(20 * SECOND)).unwrap();
    };
    start(10, SECOND);
    let report = guard.report().breaker.unwrap();
    assert_eq!(
        (report.state, report.calls, report.slow),
        (BreakerState::Closed, 10, 0),
        "the last waited nine seconds"
    );
    start(10, SECOND + MS);
    assert_eq!(guard.report().breaker.unwrap().state, BreakerState::Open);
}
