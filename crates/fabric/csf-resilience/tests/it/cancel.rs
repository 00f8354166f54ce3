//! A call that is dropped gives back what it held and counts as nothing.

use std::future::{Future, pending, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use csf_core::port::{Spawn, Timer, within};
use csf_resilience::{BreakerPolicy, BreakerState, BulkheadPolicy, Call, Command, Policy, RateLimitPolicy};
use csf_sim::SimExecutor;

use super::{MS, SECOND, guard};

/// Polls once; the work must not be done.
fn begin(work: impl Future) {
    let mut work = pin!(work);
    let poll = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(poll, Poll::Pending));
}

#[test]
fn a_dropped_call_frees_its_slot() {
    let world = SimExecutor::new(1);
    let bulkhead = BulkheadPolicy { max_concurrent: 1, max_wait: SECOND, max_waiting: 5 };
    let guard = guard(&world, "qpu", Policy { bulkhead: Some(bulkhead), ..Policy::default() });
    begin(guard.call(Call::once(), pending::<Result<(), ()>>));
    let report = guard.report();
    assert_eq!((report.running, report.bulkhead.unwrap().in_use), (0, 0));
    world.block_on(guard.call(Call::once(), || ready(Ok::<_, ()>(())))).unwrap().unwrap();
}

#[test]
fn a_call_dropped_while_it_waits_leaves_the_queue() {
    let world = SimExecutor::new(1);
    let bulkhead = BulkheadPolicy { max_concurrent: 1, max_wait: 10 * SECOND, max_waiting: 1 };
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
            let waiting = guard.call(Call::once(), || ready(Ok::<_, ()>(())));
            assert!(within(&world, MS, waiting).await.is_none());
            assert_eq!(guard.report().bulkhead.unwrap().waiting, 0);
            guard.call(Call::once(), || ready(Ok::<_, ()>(()))).await.unwrap();
            assert_eq!(world.now(), SECOND);
        })
        .unwrap();
}

#[test]
fn a_dropped_probe_gives_its_permit_back_and_counts_as_nothing() {
    let world = SimExecutor::new(1);
    let breaker = BreakerPolicy { half_open_max: 2, ..BreakerPolicy::default() };
    let guard = guard(&world, "qpu", Policy { breaker: Some(breaker), ..Policy::default() });
    guard.command(Command::Trip { wait: None }).unwrap();
    guard.command(Command::Probe).unwrap();
    for _ in 0..10 {
        begin(guard.call(Call::once(), pending::<Result<(), ()>>));
    }
    let report = guard.report().breaker.unwrap();
    assert_eq!((report.state, report.probes, report.calls, report.refused), (BreakerState::HalfOpen, 0, 0, 0));
    for _ in 0..2 {
        world.block_on(guard.call(Call::once(), || ready(Ok::<_, ()>(())))).unwrap().unwrap();
    }
    assert_eq!(guard.breaker_state(), Some(BreakerState::Closed));
}

#[test]
fn a_dropped_call_of_a_closed_breaker_counts_as_nothing() {
    let world = SimExecutor::new(1);
    let guard = guard(&world, "qpu", Policy { breaker: Some(BreakerPolicy::default()), ..Policy::default() });
    (0..20).for_each(|_| begin(guard.call(Call::once(), pending::<Result<(), ()>>)));
    let report = guard.report();
    let breaker = report.breaker.unwrap();
    assert_eq!((breaker.state, breaker.calls, breaker.late_outcomes), (BreakerState::Closed, 0, 0));
    assert_eq!((report.calls, report.answered, report.failed), (20, 0, 0));
}

#[test]
fn a_call_dropped_before_its_turn_takes_none() {
    let world = SimExecutor::new(1);
    let rate = RateLimitPolicy { calls: 1, per: SECOND, burst: None, max_wait: 10 * SECOND };
    let guard = guard(&world, "qpu", Policy { rate_limit: Some(rate), ..Policy::default() });
    world
        .block_on(async {
            guard.call(Call::once(), || ready(Ok::<_, ()>(()))).await.unwrap();
            let waiting = guard.call(Call::once(), || ready(Ok::<_, ()>(())));
            assert!(within(&world, 500 * MS, waiting).await.is_none());
            assert_eq!(guard.report().rate_limit.unwrap().waiting, 0);
            guard.call(Call::once(), || ready(Ok::<_, ()>(()))).await.unwrap();
            assert_eq!(world.now(), SECOND, "the turn of the dropped call was free");
        })
        .unwrap();
}

#[test]
fn a_panic_passes_through_and_leaves_nothing_behind() {
    let world = SimExecutor::new(1);
    let guard = guard(&world, "qpu", Policy::quantum_integration());
    let call = guard.call(Call::once(), || async {
        assert!(world.now() > SECOND, "planted");
        Ok::<_, ()>(())
    });
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.block_on(call)));
    assert!(result.is_err());
    let report = guard.report();
    assert_eq!((report.running, report.bulkhead.unwrap().in_use, report.breaker.unwrap().calls), (0, 0, 0));
}
