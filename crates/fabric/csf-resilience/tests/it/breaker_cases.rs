//! The rules of the breaker, case by case. Each case that resilience4j (2.x, `CircuitBreakerStateMachineTest` and the tests of its sliding
//! windows) has too names it there; the expected values are that test's.

use std::time::Duration;

use csf_resilience::{Breaker, BreakerPolicy, BreakerState, Command, Outcome, Permit, Window};

use self::Step::{Ask, Calls, Do, Fail, Ignore, Illegal, Is, Late, Pass, Rates, Refused, Release, SlowFail, SlowPass};
use super::{MS, SECOND};
use BreakerState::{Closed, Disabled, ForcedClosed, ForcedOpen, HalfOpen, Open};

enum Step {
    /// A call that succeeds, fails, is ignored; the slow ones take five seconds.
    Pass,
    Fail,
    Ignore,
    SlowPass,
    SlowFail,
    /// A call begins and stays; it must be admitted or refused.
    Ask(bool),
    /// The oldest call that stays is dropped, or fails.
    Release,
    Late,
    /// Time passes.
    Wait(Duration),
    Do(Command),
    Illegal(Command),
    Is(BreakerState),
    /// Calls, failures and slow calls in the window.
    Calls(u64, u64, u64),
    /// Failure rate and slow rate, in hundredths.
    Rates(Option<u32>, Option<u32>),
    /// Calls refused in this state.
    Refused(u64),
}

struct Case {
    name: &'static str,
    source: &'static str,
    policy: BreakerPolicy,
    steps: Vec<Step>,
}

/// The breaker of resilience4j's test class.
fn tested() -> BreakerPolicy {
    BreakerPolicy {
        failure_threshold: 0,
        failure_rate: Some(0.5),
        slow_rate: Some(0.5),
        slow_call: 4 * SECOND,
        window: Window::Time(20 * SECOND),
        minimum_calls: 5,
        open_for: 5 * SECOND,
        half_open_max: 4,
        half_open_timeout: SECOND,
        ..BreakerPolicy::default()
    }
}

const TRIP: Step = Do(Command::Trip { wait: None });
const PROBE: Step = Do(Command::Probe);

fn wait(seconds: u32) -> Step {
    Step::Wait(seconds * SECOND)
}

fn case(name: &'static str, source: &'static str, steps: Vec<Step>) -> Case {
    Case { name, source, policy: tested(), steps }
}

fn with(policy: BreakerPolicy, name: &'static str, source: &'static str, steps: Vec<Step>) -> Case {
    Case { name, source, policy, steps }
}

#[rustfmt::skip]
fn refusing() -> Vec<Case> {
    vec![
        case("open refuses and counts it", "shouldThrowCallNotPermittedExceptionWhenStateIsOpen", vec![
            TRIP, Ask(false), Refused(1),
        ]),
        case("forced open refuses and counts it", "shouldThrowCallNotPermittedExceptionWhenStateIsForcedOpen", vec![
            Do(Command::ForceOpen), Ask(false), Refused(1),
        ]),
        case("a dropped probe makes room for another", "shouldIncreaseCounterOnReleasePermission", vec![
            TRIP, PROBE, Ask(true), Ask(true), Ask(true), Ask(true), Ask(false), Ask(false), Release, Ask(true), Ask(false),
        ]),
        case("the fifth probe is refused", "shouldThrowCallNotPermittedExceptionWhenNotFurtherTestCallsArePermitted", vec![
            TRIP, PROBE, Ask(true), Ask(true), Ask(true), Ask(true), Ask(false), Refused(1),
        ]),
        case("every half-open period has its own probes", "shouldOnlyPermitFourCallsInHalfOpenState", vec![
            Calls(0, 0, 0), TRIP, PROBE, Is(HalfOpen), Ask(true), Ask(true), Ask(true), Ask(true), Ask(false), TRIP, PROBE,
            Ask(true), Ask(true), Ask(true), Ask(true), Ask(false),
        ]),
        case("forced open does not end by itself", "shouldForceOpenCircuitBreaker", vec![
            Do(Command::ForceOpen), Is(ForcedOpen), Ask(false), wait(6), Ask(false), Is(ForcedOpen), Calls(0, 0, 0),
            Refused(2),
        ]),
        case("disabled admits all and records nothing", "shouldDisableCircuitBreaker", vec![
            Do(Command::Disable), Is(Disabled), Pass, Fail, Fail, Fail, Fail, Fail, Calls(0, 0, 0), Is(Disabled),
        ]),
        case("a closed breaker is not probed", "shouldNotAllowTransitionFromClosedToHalfOpen", vec![
            Illegal(Command::Probe), Is(Closed),
        ]),
    ]
}

#[rustfmt::skip]
fn opening() -> Vec<Case> {
    let five = BreakerPolicy { window: Window::Calls(5), minimum_calls: 100, ..tested() };
    let exact = BreakerPolicy { window: Window::Calls(20), minimum_calls: 20, failure_rate: Some(0.55), ..tested() };
    let mut eleven_of_twenty: Vec<Step> = (0..9).map(|_| Pass).collect();
    eleven_of_twenty.extend((0..10).map(|_| Fail));
    eleven_of_twenty.extend([Is(Closed), Fail, Is(Open)]);
    vec![
        case("failures spread over seconds open it", "shouldOpenAfterFailureRateThresholdExceeded2", vec![
            Pass, wait(1), Pass, wait(1), Pass, wait(1), Fail, wait(1), Fail, Is(Closed), wait(1), Is(Closed), Fail,
            Is(Open),
        ]),
        case("a rate is judged from the minimum of calls", "shouldOpenAfterFailureRateThresholdExceeded", vec![
            Calls(0, 0, 0), Fail, Is(Closed), Rates(None, None), Calls(1, 1, 0), Fail, Calls(2, 2, 0), Fail, Pass,
            Is(Closed), Calls(4, 3, 0), Rates(None, None), Pass, Is(Open), Calls(5, 3, 0), Rates(Some(60), Some(0)),
            Refused(0), Ask(false), Calls(5, 3, 0), Refused(1),
        ]),
        case("slow calls open it, failed or not", "shouldOpenAfterSlowCallRateThresholdExceeded", vec![
            SlowFail, Is(Closed), SlowPass, Is(Closed), Fail, Pass, Is(Closed), SlowPass, Is(Open), Calls(5, 2, 3),
            Rates(Some(40), Some(60)),
        ]),
        with(five, "the minimum is at most the count window", "CircuitBreakerMetrics (minimumNumberOfCalls)", vec![
            Pass, Pass, Fail, Fail, Is(Closed), Fail, Is(Open), Rates(Some(60), Some(0)),
        ]),
        with(
            exact,
            "a rate equal to the threshold opens it",
            "failureRateThreshold: \"equal or greater\"",
            eleven_of_twenty,
        ),
        case("forced closed records and never opens", "shouldRecordMetricsInMetricsOnlyState", vec![
            Pass, Pass, Calls(2, 0, 0), Do(Command::ForceClosed), Is(ForcedClosed), Calls(0, 0, 0), Fail, Fail, Fail, Pass,
            Calls(4, 3, 0), Pass, Is(ForcedClosed), Calls(5, 3, 0), Rates(Some(60), Some(0)), Fail, Is(ForcedClosed),
        ]),
        case("a reset empties the window", "shouldResetMetrics, shouldResetClosedState", vec![
            Pass, Fail, Calls(2, 1, 0), Do(Command::Reset), Calls(0, 0, 0), Is(Closed),
        ]),
        case("a reset closes", "shouldResetToClosedState", vec![
            TRIP, Do(Command::Reset), Is(Closed), Ask(true),
        ]),
    ]
}

#[rustfmt::skip]
fn waiting() -> Vec<Case> {
    let growing = BreakerPolicy { open_growth: 1.5, ..tested() };
    let two_hours = Do(Command::Trip { wait: Some(7_200 * SECOND) });
    vec![
        case("the wait ends with the first call after it", "shouldTransitionToHalfOpenAfterWaitDuration", vec![
            TRIP, Calls(0, 0, 0), Ask(false), wait(3), Is(Open), Ask(false), Refused(2), wait(3), Is(Open), Ask(true),
            Is(HalfOpen), Calls(0, 0, 0), Refused(0),
        ]),
        case("a wait can be ordered", "shouldTransitionToHalfOpenAfterPassedWaitDuration", vec![
            two_hours, Ask(false), wait(3_600), Is(Open), Ask(false), Refused(2), wait(3_601), Ask(true), Is(HalfOpen),
        ]),
        with(growing, "waits grow with every opening in a row", "shouldTransitionToHalfOpenAfterWaitInterval", vec![
            TRIP, wait(3), Ask(false), wait(3), Ask(true), Is(HalfOpen), TRIP, wait(6), Is(Open), Ask(false), wait(5),
            Ask(true), Is(HalfOpen), Release, Release, Pass, Pass, Pass, Pass, Is(Closed), TRIP, wait(6), Ask(true),
        ]),
        case("half-open without a verdict opens again", "circuitBreakerTransitionsToOpenAfterWaitDurationInHalfOpenState", vec![
            TRIP, PROBE, Ask(true), Is(HalfOpen), wait(2), Is(Open), Ask(false), Late, Is(Open),
        ]),
    ]
}

#[rustfmt::skip]
fn probing() -> Vec<Case> {
    vec![
        case("probes that fail too often open it", "shouldTransitionBackToOpenStateWhenFailureRateIsAboveThreshold", vec![
            TRIP, PROBE, Is(HalfOpen), Calls(0, 0, 0), Fail, Fail, Pass, Is(HalfOpen), Calls(3, 2, 0), Fail, Is(Open),
        ]),
        case("slow probes open it", "shouldTransitionBackToOpenStateWhenSlowCallRateIsAboveThreshold", vec![
            TRIP, wait(5), SlowPass, SlowPass, SlowPass, Is(HalfOpen), Calls(3, 0, 3), Pass, Is(Open),
        ]),
        case("enough good probes close it", "shouldTransitionBackToClosedStateWhenFailureIsBelowThreshold", vec![
            TRIP, PROBE, Fail, Pass, Pass, Is(HalfOpen), Pass, Is(Closed), Calls(0, 0, 0), Rates(None, None), Pass, Calls(1,
            0, 0),
        ]),
        case("probes that are done and probes that run are together no more than permitted", "HalfOpenState.tryAcquirePermission", vec![
            TRIP, PROBE, Pass, Pass, Ask(true), Ask(true), Ask(false), Release, Ask(true), Ask(false),
        ]),
        case("an ignored probe gives its place back", "shouldReleasePermissionWhenExceptionIgnored", vec![
            TRIP, PROBE, Pass, Calls(1, 0, 0), Pass, Pass, Is(HalfOpen), Calls(3, 0, 0), Ignore, Is(HalfOpen), Calls(3, 0,
            0), Fail, Is(Closed), Calls(0, 0, 0),
        ]),
        case("ignored probes decide nothing", "shouldIgnoreExceptionsAndThenTransitionToClosed", vec![
            TRIP, PROBE, Ignore, Ignore, Ignore, Ignore, Is(HalfOpen), Calls(0, 0, 0), Pass, Pass, Pass, Is(HalfOpen),
            Calls(3, 0, 0), Pass, Is(Closed), Calls(0, 0, 0),
        ]),
    ]
}

#[rustfmt::skip]
fn windows() -> Vec<Case> {
    let never = BreakerPolicy { failure_rate: Some(1.0), slow_rate: None, minimum_calls: 1_000, ..tested() };
    let five_seconds = BreakerPolicy { window: Window::Time(5 * SECOND), ..never.clone() };
    let three_calls = BreakerPolicy { window: Window::Calls(3), minimum_calls: 3, ..never };
    vec![
        with(five_seconds, "a time window forgets", "SlidingTimeWindowMetricsTest.shouldClearSlidingTimeWindowMetrics", vec![
            Fail, Calls(1, 1, 0), Step::Wait(100 * MS), Pass, Calls(2, 1, 0), Step::Wait(700 * MS), SlowFail, Calls(3, 2,
            1), wait(4), Calls(3, 2, 1), wait(1), Calls(0, 0, 0), Step::Wait(100 * MS), Pass, Calls(1, 0, 0), wait(5), Pass,
            Calls(1, 0, 0),
        ]),
        with(three_calls, "a count window forgets", "FixedSizeSlidingWindowMetricsTest", vec![
            Fail, SlowFail, Calls(2, 2, 1), Pass, Calls(3, 2, 1), Pass, Calls(3, 1, 1), Pass, Calls(3, 0, 0),
        ]),
    ]
}

/// What resilience4j has no word for: consecutive failures, FRM-112, and outcomes that come late.
#[rustfmt::skip]
fn ours() -> Vec<Case> {
    let int_083 = BreakerPolicy::default();
    let three = BreakerPolicy { success_threshold: Some(3), half_open_max: 1, ..tested() };
    vec![
        with(int_083.clone(), "a success ends a row of failures", "INT-083", vec![
            Fail, Fail, Fail, Fail, Pass, Fail, Fail, Fail, Fail, Is(Closed), Ignore, Is(Closed), Fail, Is(Open),
        ]),
        with(int_083.clone(), "one failed probe opens it", "FRM-112", vec![
            TRIP, PROBE, Pass, Pass, Fail, Is(Open), Ask(false),
        ]),
        with(three, "a success threshold above the probes at a time", "FRM-112", vec![
            TRIP, PROBE, Ask(true), Ask(false), Release, Pass, Pass, Is(HalfOpen), Pass, Is(Closed),
        ]),
        with(int_083, "an outcome counts only in the state that admitted its call", "unlike resilience4j", vec![
            Ask(true), TRIP, PROBE, Late, Is(HalfOpen), Calls(0, 0, 0),
        ]),
    ]
}

fn run(case: &Case) -> Result<(), String> {
    let mut breaker = Breaker::new(case.policy.clone());
    let mut now = Duration::from_secs(1_000);
    let mut held: Vec<Permit> = Vec::new();
    for (index, step) in case.steps.iter().enumerate() {
        let wrong = |what: String| Err(format!("{} ({}), step {}: {what}", case.name, case.source, index + 1));
        let mut call = |outcome, took| match breaker.ask(now) {
            Ok(permit) => {
                breaker.settle(now, permit, outcome, took);
                Ok(())
            }
            Err(refusal) => wrong(format!("{refusal:?}")),
        };
        match step {
            Pass => call(Outcome::Success, Duration::ZERO)?,
            Fail => call(Outcome::Failure, Duration::ZERO)?,
            Ignore => call(Outcome::Ignored, Duration::ZERO)?,
            SlowPass => call(Outcome::Success, 5 * SECOND)?,
            SlowFail => call(Outcome::Failure, 5 * SECOND)?,
            Ask(is_admitted) => match breaker.ask(now) {
                Ok(permit) if *is_admitted => held.push(permit),
                Err(_) if !is_admitted => {}
                answer => return wrong(format!("{answer:?}")),
            },
            Release => breaker.settle(now, held.remove(0), Outcome::Ignored, Duration::ZERO),
            Late => breaker.settle(now, held.remove(0), Outcome::Failure, Duration::ZERO),
            Step::Wait(span) => now += *span,
            Do(command) => breaker.command(now, *command).or_else(|error| wrong(error.to_string()))?,
            Illegal(command) if breaker.command(now, *command).is_ok() => {
                return wrong(format!("{command:?} is legal"));
            }
            Illegal(_) => {}
            Is(state) if breaker.state(now) != *state => return wrong(format!("{}", breaker.state(now))),
            Is(_) => {}
            Calls(calls, failures, slow) => {
                let found = breaker.counts(now);
                if (found.calls, found.failures, found.slow) != (*calls, *failures, *slow) {
                    return wrong(format!("{found:?}"));
                }
            }
            Rates(failed, slow) => {
                let report = breaker.report(now);
                let hundredths = |rate: Option<f64>| rate.map(|rate| (rate * 100.0).round() as u32);
                if (hundredths(report.failure_rate), hundredths(report.slow_rate)) != (*failed, *slow) {
                    return wrong(format!("{report:?}"));
                }
            }
            Refused(count) if breaker.report(now).refused != *count => {
                return wrong(format!("{:?}", breaker.report(now)));
            }
            Refused(_) => {}
        }
    }
    Ok(())
}

#[test]
fn every_case_holds() {
    let cases: Vec<Case> =
        [refusing(), opening(), waiting(), probing(), windows(), ours()].into_iter().flatten().collect();
    let failed: Vec<String> = cases.iter().filter_map(|case| run(case).err()).collect();
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[test]
fn a_case_that_is_wrong_is_found() {
    let wrong = case("planted", "none", vec![Fail, Fail, Fail, Pass, Pass, Is(Closed)]);
    assert!(run(&wrong).unwrap_err().contains("planted (none), step 6: open"));
}
