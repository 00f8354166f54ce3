//! The acceptance lines of INT-083, INT-084, INT-085 and FRM-112, on virtual time.

use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::port::{Spawn, Timer};
use csf_resilience::{
    BreakerPolicy, BreakerState, Call, Cause, GaveUp, GuardError, Jitter, Outcome, Policy, RetryPolicy,
};
use csf_sim::SimExecutor;

use super::{MS, SECOND, guard};

fn breaker_only() -> Policy {
    Policy { breaker: Some(BreakerPolicy::default()), ..Policy::default() }
}

#[test]
fn five_consecutive_failures_open_it_and_after_60_s_at_most_10_probes_pass() {
    let world = SimExecutor::new(1);
    let guard = guard(&world, "qpu", breaker_only());
    world
        .block_on(async {
            for call in 1..=5 {
                assert_eq!(guard.breaker_state(), Some(BreakerState::Closed), "before call {call}");
                let error = guard.call(Call::once(), || ready(Err::<(), _>("down"))).await.unwrap_err();
                assert_eq!(error.code(), "CSF-0706");
            }
            assert_eq!(guard.breaker_state(), Some(BreakerState::Open));
            world.sleep(60 * SECOND - MS).await;
            let error = guard.call(Call::once(), || ready(Ok::<_, ()>(()))).await.unwrap_err();
            let name = Arc::from("qpu");
            assert_eq!(error, GuardError::Open { guard: name, state: BreakerState::Open, retry_in: Some(MS) });
            world.sleep(MS).await;
            // Twenty callers come at once; the service takes a second for each.
            let answers = Arc::new(Mutex::new(Vec::new()));
            for _ in 0..20 {
                let (guard, world_of_task, answers) = (guard.clone(), world.clone(), answers.clone());
                world.spawn(Box::pin(async move {
                    let answer = guard.call(Call::once(), || async {
                        world_of_task.sleep(SECOND).await;
                        Ok::<_, ()>(())
                    });
                    let is_passed = answer.await.is_ok();
                    answers.lock().unwrap().push(is_passed);
                }));
            }
            world.sleep(2 * SECOND).await;
            let answers = answers.lock().unwrap();
            assert_eq!((answers.len(), answers.iter().filter(|passed| **passed).count()), (20, 10));
        })
        .unwrap();
    assert_eq!(guard.breaker_state(), Some(BreakerState::Closed));
}

#[test]
fn the_state_machine_goes_both_ways_and_says_why() {
    let world = SimExecutor::new(1);
    let guard = guard(&world, "qpu", breaker_only());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    guard.on_transition(move |transition| log.lock().unwrap().push((transition.to, transition.cause)));
    let call = |is_fine: bool| {
        let answer = if is_fine { Ok(()) } else { Err(()) };
        world.block_on(guard.call(Call::once(), || ready(answer))).unwrap().is_ok()
    };
    for _ in 0..5 {
        call(false);
    }
    world.block_on(world.sleep(60 * SECOND)).unwrap();
    call(false);
    world.block_on(world.sleep(60 * SECOND)).unwrap();
    for _ in 0..10 {
        assert!(call(true));
    }
    let expected = vec![
        (BreakerState::Open, Cause::ConsecutiveFailures { failures: 5 }),
        (BreakerState::HalfOpen, Cause::WaitOver),
        (BreakerState::Open, Cause::ProbeFailed),
        (BreakerState::HalfOpen, Cause::WaitOver),
        (BreakerState::Closed, Cause::ProbesSucceeded { probes: 10 }),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

/// The times of the tries of a call that always fails, and its error.
fn times_of_tries(policy: RetryPolicy) -> (Vec<Duration>, GuardError<&'static str>) {
    let world = SimExecutor::new(1);
    let guard = guard(&world, "qpu", Policy { retry: Some(policy), ..Policy::default() });
    let mut times = Vec::new();
    let call = guard.call(Call::idempotent(), || {
        times.push(world.now());
        ready(Err::<(), _>("busy"))
    });
    let error = world.block_on(call).unwrap().unwrap_err();
    assert_eq!(world.now(), *times.last().unwrap(), "no wait after the last try");
    (times, error)
}

#[test]
fn retries_wait_100_ms_and_200_ms_and_then_fail() {
    let (times, error) = times_of_tries(RetryPolicy::default());
    assert_eq!(times, [Duration::ZERO, 100 * MS, 300 * MS]);
    let expected = GuardError::Failed {
        guard: "qpu".into(),
        attempts: 3,
        gave_up: GaveUp::Attempts { limit: 3 },
        outcome: Outcome::Failure,
        source: "busy",
    };
    assert_eq!(error, expected);
}

#[test]
fn no_delay_exceeds_5_s_and_jitter_only_shortens() {
    for jitter in [Jitter::None, Jitter::Full, Jitter::Equal] {
        let (times, _) = times_of_tries(RetryPolicy { max_attempts: 11, jitter, ..RetryPolicy::default() });
        let delays: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(delays.len(), 10);
        assert!(delays.iter().all(|delay| *delay <= 5 * SECOND), "{jitter:?}: {delays:?}");
        assert_eq!(delays[9] == 5 * SECOND, jitter == Jitter::None, "{jitter:?}: {delays:?}");
        assert!(jitter != Jitter::Equal || delays[9] >= 2_500 * MS, "{delays:?}");
    }
}

#[test]
fn the_11th_quantum_call_waits_1000_ms_and_fails_and_neuromorphic_calls_do_not_notice() {
    let world = SimExecutor::new(7);
    let quantum = guard(&world, "quantum_integration", Policy::quantum_integration());
    let neuromorphic = guard(&world, "neuromorphic_integration", Policy::neuromorphic_integration());
    let minute = |world: SimExecutor| async move {
        world.sleep(60 * SECOND).await;
        Ok::<_, ()>(())
    };
    for _ in 0..10 {
        let (guard, world_of_task) = (quantum.clone(), world.clone());
        world.spawn(Box::pin(async move {
            let _ = guard.call(Call::once(), || minute(world_of_task.clone())).await;
        }));
    }
    world
        .block_on(async {
            world.sleep(MS).await;
            let asked_at = world.now();
            let error = quantum.call(Call::once(), || ready(Ok::<_, ()>(()))).await.unwrap_err();
            assert_eq!(world.now() - asked_at, 1_000 * MS);
            assert_eq!(error.code(), "CSF-0702");
            let text = error.to_string();
            assert!(
                text.contains("`bulkhead.max_concurrent_calls` = 10")
                    && text.contains("`bulkhead.max_wait_duration` = 1s"),
                "{text}"
            );
            for _ in 0..50 {
                neuromorphic.call(Call::once(), || ready(Ok::<_, ()>(()))).await.unwrap();
            }
            assert_eq!(world.now() - asked_at, 1_000 * MS, "neuromorphic calls took no time");
        })
        .unwrap();
    let (quantum, neuromorphic) = (quantum.report(), neuromorphic.report());
    let in_use = quantum.bulkhead.unwrap();
    assert_eq!((in_use.in_use, in_use.waiting, in_use.rejected), (10, 0, 1));
    assert_eq!(quantum.breaker.unwrap().failures, 0, "a full bulkhead is no failure of the service");
    assert_eq!((neuromorphic.answered, neuromorphic.bulkhead.unwrap().rejected), (50, 0));
}

#[test]
fn the_11th_call_gets_the_first_slot_that_comes_free() {
    let world = SimExecutor::new(3);
    let guard = guard(&world, "quantum_integration", Policy::quantum_integration());
    for call in 0..10u32 {
        let (guard, world_of_task) = (guard.clone(), world.clone());
        world.spawn(Box::pin(async move {
            let work = || async {
                world_of_task.sleep((200 + 100 * call) * MS).await;
                Ok::<_, ()>(())
            };
            let _ = guard.call(Call::once(), work).await;
        }));
    }
    world
        .block_on(async {
            world.sleep(MS).await;
            guard.call(Call::once(), || ready(Ok::<_, ()>(()))).await.unwrap();
            assert_eq!(world.now(), 200 * MS);
        })
        .unwrap();
}
