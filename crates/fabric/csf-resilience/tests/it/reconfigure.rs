//! Limits that change while calls run.

use std::future::ready;
use std::sync::{Arc, Mutex};

use csf_core::port::{Spawn, Timer};
use csf_resilience::{
    BreakerPolicy, BreakerState, BulkheadPolicy, Call, Cause, Command, Guard, Guards, Policy, RateLimitPolicy,
    RetryBudget, RetryPolicy, Window,
};
use csf_sim::SimExecutor;

use super::{MS, SECOND, guard, ports};

fn bulkhead(slots: u32) -> Policy {
    let limits = BulkheadPolicy { max_concurrent: slots, max_wait: 60 * SECOND, max_waiting: 100 };
    Policy { bulkhead: Some(limits), ..Policy::default() }
}

fn breaker(policy: BreakerPolicy) -> Policy {
    Policy { breaker: Some(policy), ..Policy::default() }
}

/// Starts calls that take a second each.
fn start(world: &SimExecutor, guard: &Guard, calls: usize) {
    for _ in 0..calls {
        let (guard, clock) = (guard.clone(), world.clone());
        world.spawn(Box::pin(async move {
            let work = || async {
                clock.sleep(SECOND).await;
                Ok::<_, ()>(())
            };
            let _ = guard.call(Call::once(), work).await;
        }));
    }
}

#[test]
fn a_raised_limit_lets_waiting_calls_in_and_a_lowered_one_takes_no_slot_back() {
    let world = SimExecutor::new(1);
    let guard = guard(&world, "qpu", bulkhead(4));
    start(&world, &guard, 10);
    let seen = || {
        let report = guard.report().bulkhead.unwrap();
        (report.in_use, report.waiting)
    };
    world
        .block_on(async {
            world.sleep(MS).await;
            assert_eq!(seen(), (4, 6));
            guard.reconfigure(bulkhead(1)).unwrap();
            world.sleep(MS).await;
            assert_eq!(seen(), (4, 6), "calls in flight keep their slots");
            guard.reconfigure(bulkhead(6)).unwrap();
            world.sleep(MS).await;
            assert_eq!(seen(), (6, 4));
            guard.reconfigure(bulkhead(2)).unwrap();
            world.sleep(998 * MS).await;
            assert_eq!(seen(), (2, 4), "four of the first calls are done, two of the second run");
            world.sleep(3 * MS).await;
            assert_eq!(seen(), (2, 2));
            world.sleep(2 * SECOND).await;
            assert_eq!(seen(), (0, 0));
        })
        .unwrap();
    assert_eq!(guard.report().answered, 10);
}

#[test]
fn slots_are_neither_lost_nor_made_by_any_order_of_changes() {
    let world = SimExecutor::new(2);
    let guard = guard(&world, "qpu", bulkhead(5));
    world
        .block_on(async {
            for (round, slots) in [3, 7, 1, 1, 9, 2, 5, 4].into_iter().enumerate() {
                start(&world, &guard, 6);
                world.sleep((300 + 50 * round as u32) * MS).await;
                guard.reconfigure(bulkhead(slots)).unwrap();
            }
            world.sleep(60 * SECOND).await;
            start(&world, &guard, 10);
            world.sleep(MS).await;
        })
        .unwrap();
    let report = guard.report();
    assert_eq!((report.answered, report.bulkhead.unwrap().in_use), (48, 4));
}

#[test]
fn the_breaker_keeps_its_window_where_the_windows_agree_and_its_state_always() {
    let world = SimExecutor::new(1);
    let before = BreakerPolicy {
        failure_rate: Some(0.9),
        window: Window::Calls(10),
        minimum_calls: 10,
        ..BreakerPolicy::default()
    };
    let guard = guard(&world, "qpu", breaker(before.clone()));
    let fail = || world.block_on(guard.call(Call::once(), || ready(Err::<(), _>(())))).unwrap().unwrap_err();
    (0..4).for_each(|_| drop(fail()));
    guard.reconfigure(breaker(BreakerPolicy { failure_rate: Some(0.5), ..before.clone() })).unwrap();
    assert_eq!(guard.report().breaker.unwrap().calls, 4, "the same window keeps its calls");
    fail();
    let open = guard.report().breaker.unwrap();
    assert_eq!((open.state, open.retry_in_ms), (BreakerState::Open, Some(60_000)));
    assert_eq!(open.because, Some(Cause::ConsecutiveFailures { failures: 5 }));
    let shorter = BreakerPolicy { open_for: 10 * SECOND, window: Window::Time(30 * SECOND), ..before };
    guard.reconfigure(breaker(shorter)).unwrap();
    let open = guard.report().breaker.unwrap();
    assert_eq!(
        (open.state, open.retry_in_ms, open.calls),
        (BreakerState::Open, Some(10_000), 0),
        "another window begins empty"
    );
}

#[test]
fn probes_that_are_enough_by_the_new_settings_close_it() {
    let world = SimExecutor::new(1);
    let guard = guard(&world, "qpu", breaker(BreakerPolicy::default()));
    guard.command(Command::Trip { wait: None }).unwrap();
    guard.command(Command::Probe).unwrap();
    for _ in 0..4 {
        world.block_on(guard.call(Call::once(), || ready(Ok::<_, ()>(())))).unwrap().unwrap();
    }
    guard.reconfigure(breaker(BreakerPolicy { half_open_max: 3, ..BreakerPolicy::default() })).unwrap();
    assert_eq!(guard.breaker_state(), Some(BreakerState::Closed), "otherwise nothing were admitted any more");
}

#[test]
fn a_changed_rate_grants_no_fresh_burst() {
    let world = SimExecutor::new(1);
    let rate = |calls| Policy {
        rate_limit: Some(RateLimitPolicy { calls, per: SECOND, burst: Some(5), max_wait: std::time::Duration::ZERO }),
        ..Policy::default()
    };
    let guard = guard(&world, "qpu", rate(1));
    let passes = || world.block_on(guard.call(Call::once(), || ready(Ok::<_, ()>(())))).unwrap().is_ok();
    assert_eq!((0..5).filter(|_| passes()).count(), 5);
    guard.reconfigure(rate(2)).unwrap();
    assert!(!passes(), "the burst is used up");
    world.block_on(world.sleep(SECOND)).unwrap();
    assert_eq!((0..5).filter(|_| passes()).count(), 2, "two in a second");
    assert_eq!(guard.report().rate_limit.unwrap().limited, 4);
}

#[test]
fn a_call_keeps_the_retries_it_began_with_and_the_budget_what_is_saved() {
    let world = SimExecutor::new(1);
    let retries = |max_attempts, burst| Policy {
        retry: Some(RetryPolicy {
            max_attempts,
            budget: RetryBudget { per_second: 0.0, burst, ..RetryBudget::default() },
            ..RetryPolicy::default()
        }),
        ..Policy::default()
    };
    let guard = guard(&world, "qpu", retries(3, 10));
    let attempts = Arc::new(Mutex::new(0));
    let (counted, changed) = (attempts.clone(), guard.clone());
    let call = guard.call(Call::idempotent(), || {
        *counted.lock().unwrap() += 1;
        changed.reconfigure(retries(1, 100)).unwrap();
        ready(Err::<(), _>(()))
    });
    world.block_on(call).unwrap().unwrap_err();
    assert_eq!(*attempts.lock().unwrap(), 3);
    assert!((guard.report().retry.unwrap().left - 8.0).abs() < 1e-9, "a raised limit fills nothing up");
}

#[test]
fn a_policy_with_problems_changes_nothing_and_stages_come_and_go() {
    let world = SimExecutor::new(1);
    let guards = Guards::new(ports(&world));
    let guard = guards.set("qpu", bulkhead(2)).unwrap();
    let error = guards.set("qpu", bulkhead(0)).err().unwrap();
    assert_eq!((error.code(), error.problems.len()), ("CSF-0708", 1));
    assert_eq!(guard.policy(), bulkhead(2));
    let heard = Arc::new(Mutex::new(0));
    let count = heard.clone();
    guard.on_transition(move |_| *count.lock().unwrap() += 1);
    guards.set("qpu", breaker(BreakerPolicy::default())).unwrap();
    let report = &guards.report()[0];
    assert!(report.bulkhead.is_none() && report.breaker.is_some());
    (0..5).for_each(|_| drop(world.block_on(guard.call(Call::once(), || ready(Err::<(), _>(())))).unwrap()));
    assert_eq!(*heard.lock().unwrap(), 1, "listeners hear of a breaker that came later");
    assert!(guards.remove("qpu").is_some() && guards.get("qpu").is_none());
}

#[test]
fn a_report_survives_json() {
    let world = SimExecutor::new(1);
    let guard = guard(&world, "qpu", Policy::quantum_integration());
    world.block_on(guard.call(Call::once(), || ready(Err::<(), _>(())))).unwrap().unwrap_err();
    let report = guard.report();
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<csf_resilience::GuardReport>(&json).unwrap(), report);
    assert!(json.contains("\"state\":\"closed\""), "{json}");
}
