//! Laws of the breaker for any order of events: admission, probes, and a window that agrees with a naive recount.

use std::time::Duration;

use csf_resilience::{Breaker, BreakerPolicy, BreakerState, Command, Outcome, Permit, Window};
use proptest::collection::vec;
use proptest::prelude::*;

use super::MS;

#[derive(Clone, Debug)]
enum Event {
    Ask,
    /// The nth running call ends.
    Settle(prop::sample::Index, Outcome, bool),
    Wait(Duration),
    Order(Command),
    Limits(u32, Option<u32>),
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Success), Just(Outcome::Failure), Just(Outcome::Ignored)]
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::Trip { wait: None }),
        Just(Command::Probe),
        Just(Command::Reset),
        Just(Command::ForceOpen),
        Just(Command::ForceClosed),
        Just(Command::Disable),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        10 => Just(Event::Ask),
        10 => (any::<prop::sample::Index>(), outcome(), any::<bool>()).prop_map(|(at, outcome, slow)| Event::Settle(at, outcome, slow)),
        4 => (0u32..700).prop_map(|ms| Event::Wait(ms * MS)),
        1 => command().prop_map(Event::Order),
        1 => (1u32..6, prop::option::of(1u32..8)).prop_map(|(probes, successes)| Event::Limits(probes, successes)),
    ]
}

fn policy() -> impl Strategy<Value = BreakerPolicy> {
    let window = prop_oneof![(1u32..20).prop_map(Window::Calls), (20u32..3_000).prop_map(|ms| Window::Time(ms * MS))];
    let rules = (0u32..6, prop::option::of(0.05..1.0f64), prop::option::of(0.05..1.0f64), 1u32..10);
    let probes = (1u32..6, prop::option::of(1u32..8), 1u32..2_000, 1u32..2_000, 1.0..3.0f64);
    (window, rules, probes).prop_map(|(window, rules, probes)| BreakerPolicy {
        failure_threshold: rules.0,
        failure_rate: rules.1,
        slow_rate: rules.2,
        slow_call: 10 * MS,
        window,
        minimum_calls: rules.3,
        half_open_max: probes.0,
        success_threshold: probes.1,
        open_for: probes.2 * MS,
        half_open_timeout: probes.3 * MS,
        open_growth: probes.4,
        open_max: 5_000 * MS,
    })
}

/// A call that runs, and the number of the state that admitted it.
struct Running {
    permit: Permit,
    state: u64,
}

/// Every recorded call of the present closed period, kept for good.
#[derive(Default)]
struct Naive {
    calls: Vec<(Duration, bool, bool)>,
}

impl Naive {
    fn counts(&self, window: Window, now: Duration) -> (u64, u64, u64) {
        let in_window: Vec<_> = match window {
            Window::Calls(size) => self.calls.iter().rev().take(size as usize).collect(),
            Window::Time(span) => {
                let buckets = (span.as_nanos() / 1_000_000_000).clamp(10, 60);
                let bucket = span.as_nanos().div_ceil(buckets);
                let number = |at: Duration| at.as_nanos() / bucket;
                self.calls.iter().filter(|(at, ..)| number(*at) + buckets > number(now)).collect()
            }
        };
        let count =
            |pick: fn(&(Duration, bool, bool)) -> bool| in_window.iter().filter(|call| pick(call)).count() as u64;
        (in_window.len() as u64, count(|call| call.1), count(|call| call.2))
    }
}

/// Runs a program and checks the laws after every event.
fn check(mut policy: BreakerPolicy, events: &[Event]) -> Result<(), TestCaseError> {
    let mut breaker = Breaker::new(policy.clone());
    let mut now = Duration::ZERO;
    let mut running: Vec<Running> = Vec::new();
    let mut naive = Naive::default();
    let mut transitions = 0;
    for event in events {
        let before = breaker.state(now);
        match event {
            Event::Wait(span) => now += *span,
            Event::Order(command) => drop(breaker.command(now, *command)),
            Event::Limits(probes, successes) => {
                policy = BreakerPolicy { half_open_max: *probes, success_threshold: *successes, ..policy };
                breaker.reconfigure(now, policy.clone());
            }
            Event::Ask => {
                let answer = breaker.ask(now);
                let passes =
                    matches!(before, BreakerState::Closed | BreakerState::ForcedClosed | BreakerState::Disabled);
                prop_assert!(!passes || answer.is_ok(), "{before} refused");
                prop_assert!(before != BreakerState::ForcedOpen || answer.is_err());
                if let Ok(permit) = answer {
                    running.push(Running { permit, state: breaker.report(now).transitions });
                }
            }
            Event::Settle(at, outcome, is_slow) => {
                if running.is_empty() {
                    continue;
                }
                let Running { permit, state } = running.swap_remove(at.index(running.len()));
                let counts = matches!(before, BreakerState::Closed | BreakerState::ForcedClosed);
                if counts && state == breaker.report(now).transitions && *outcome != Outcome::Ignored {
                    naive.calls.push((now, *outcome == Outcome::Failure, *is_slow));
                }
                let took = if *is_slow { 11 * MS } else { 10 * MS };
                breaker.settle(now, permit, *outcome, took);
            }
        }
        let report = breaker.report(now);
        let taken = breaker.take_transitions();
        for transition in &taken {
            transitions += 1;
            prop_assert_eq!(transition.number, transitions);
            if transition.to != BreakerState::Open {
                naive.calls.clear();
            }
        }
        let is_reset = matches!(event, Event::Order(Command::Reset)) && taken.is_empty();
        if is_reset {
            naive.calls.clear();
        }
        if report.state == BreakerState::HalfOpen {
            let probes = running.iter().filter(|call| call.state == report.transitions).count();
            prop_assert_eq!(probes, report.probes as usize);
            let is_lowered = events.iter().any(|event| matches!(event, Event::Limits(..)));
            prop_assert!(is_lowered || report.probes <= policy.half_open_max, "{} probes", report.probes);
            let used = u64::from(report.probes) + report.calls;
            let enough = policy.half_open_max.max(policy.success_threshold.unwrap_or(0));
            prop_assert!(is_lowered || used <= u64::from(enough), "{} probes, {} done", report.probes, report.calls);
        } else {
            let counts = naive.counts(policy.window, now);
            prop_assert_eq!((report.calls, report.failures, report.slow), counts, "{:?}", event);
        }
    }
    recovers(&mut breaker, now, &policy)
}

/// Whatever happened, a service that works again closes the breaker within its waits.
fn recovers(breaker: &mut Breaker, now: Duration, policy: &BreakerPolicy) -> Result<(), TestCaseError> {
    let forced = [BreakerState::ForcedOpen, BreakerState::ForcedClosed, BreakerState::Disabled];
    if forced.contains(&breaker.state(now)) {
        return Ok(());
    }
    // The half-open period that is under way may have its probes out: it times out, and the wait follows.
    let now = now + policy.half_open_timeout + policy.open_max;
    for _ in 0..10 {
        if breaker.state(now) == BreakerState::Closed {
            return Ok(());
        }
        let permit = breaker.ask(now).map_err(|refusal| TestCaseError::fail(format!("{refusal:?}")))?;
        breaker.settle(now, permit, Outcome::Success, Duration::ZERO);
    }
    prop_assert_eq!(breaker.state(now), BreakerState::Closed);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_laws_hold_for_any_order_of_events(policy in policy(), events in vec(event(), 0..200)) {
        check(policy, &events)?;
    }
}

proptest! {
    #[test]
    fn time_that_runs_backwards_stands_still(policy in policy(), spans in vec((0u32..5_000, outcome()), 1..100)) {
        let mut breaker = Breaker::new(policy);
        let (mut latest, mut last) = (Duration::ZERO, Duration::ZERO);
        for (ms, outcome) in spans {
            let at = ms * MS;
            latest = latest.max(at);
            if let Ok(permit) = breaker.ask(at) {
                breaker.settle(at, permit, outcome, Duration::ZERO);
            }
            for transition in breaker.take_transitions() {
                prop_assert!((last..=latest).contains(&transition.at), "{:?} after {:?}", transition, last);
                last = transition.at;
            }
        }
    }
}
