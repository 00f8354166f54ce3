//! One level of a load test.

use std::collections::BTreeMap;
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::LoadTestReport;

/// Users at once, level by level.
pub const LEVELS: [usize; 5] = [10, 50, 100, 500, 1_000];
/// Longest latency that is told apart, µs.
const LATENCY_US_MAX: u64 = 600_000_000;
/// A user does little; a thousand of them are to fit anywhere.
const STACK_BYTES: usize = 256 * 1024;

/// How the load goes over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScenarioType {
    /// The same rate from the end of the ramp to the end.
    ConstantLoad,
}

/// One level of a load test.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadScenario {
    /// Users at once, each with a connection of its own.
    pub concurrent_users: usize,
    /// How long they ask, after the ramp.
    pub duration: Duration,
    /// Time in which they come, one after the other. What they ask meanwhile is not counted.
    pub ramp_up: Duration,
    /// How the load goes over time.
    pub scenario_type: ScenarioType,
    /// Requests of each user, per second.
    pub user_rate_hz: f64,
}

impl LoadScenario {
    /// A minute of constant load after a ramp of ten seconds, one request per second and user.
    #[must_use]
    pub const fn of(concurrent_users: usize) -> Self {
        Self {
            concurrent_users,
            duration: Duration::from_secs(60),
            ramp_up: Duration::from_secs(10),
            scenario_type: ScenarioType::ConstantLoad,
            user_rate_hz: 1.0,
        }
    }
}

/// What a user does: one request after the other.
pub trait User: Send {
    /// The `n`-th request, until it is answered.
    ///
    /// # Errors
    /// Why it failed, in few words: failures are counted by them.
    fn request(&mut self, n: u64) -> Result<(), String>;
}

/// What came of a scenario.
#[derive(Clone, Debug)]
pub struct ScenarioResult {
    /// Users at once.
    pub concurrent_users: usize,
    /// From the end of the ramp to the last answer.
    pub took: Duration,
    /// Latencies of the requests that were answered well, from when they were due, µs.
    pub latency_us: Histogram<u64>,
    /// Requests that failed, by why.
    pub failures: BTreeMap<String, u64>,
}

impl ScenarioResult {
    fn new(concurrent_users: usize) -> Self {
        let latency_us = Histogram::new_with_max(LATENCY_US_MAX, 3).expect("three digits up to ten minutes are few");
        Self { concurrent_users, took: Duration::ZERO, latency_us, failures: BTreeMap::new() }
    }

    /// Requests that failed.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.failures.values().sum()
    }

    /// All requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.latency_us.len() + self.errors()
    }

    /// Share of the requests that failed; 0 when there was none.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        if self.requests() == 0 { 0.0 } else { self.errors() as f64 / self.requests() as f64 }
    }

    fn note(&mut self, outcome: Result<(), String>, latency: Duration) {
        match outcome {
            Ok(()) => self.latency_us.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
            Err(why) => *self.failures.entry(why).or_default() += 1,
        }
    }
}

/// Runs a scenario; `user` makes the user of a number. Blocks until the last request is answered.
///
/// # Errors
/// In words: a user that could not be made, or a thread that could not be had.
pub fn run_scenario<U: User>(
    scenario: &LoadScenario,
    user: impl Fn(usize) -> Result<U, String> + Sync,
) -> Result<ScenarioResult, String> {
    let ScenarioType::ConstantLoad = scenario.scenario_type;
    let sum = Mutex::new(ScenarioResult::new(scenario.concurrent_users));
    let begin: Mutex<Option<Instant>> = Mutex::default();
    let ready = Barrier::new(scenario.concurrent_users);
    let user = &user;
    let each = |number: usize| {
        let made = user(number);
        // All are there before the first one asks, so that making them delays nobody.
        if ready.wait().is_leader() {
            *begin.lock().unwrap_or_else(PoisonError::into_inner) = Some(now());
        }
        ready.wait();
        let begin = begin.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(now);
        ask(scenario, number, begin, &mut made?, &sum);
        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.took = sum.took.max((now() - begin).saturating_sub(scenario.ramp_up));
        Ok(())
    };
    let each = &each;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..scenario.concurrent_users)
            .map(|number| thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, move || each(number)))
            .collect::<Result<_, _>>()
            .expect("a machine that runs this has room for its users");
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a user panicked".to_owned())))
    })?;
    Ok(sum.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What one user does: its requests are due at times that nothing moves.
fn ask(scenario: &LoadScenario, number: usize, begin: Instant, user: &mut impl User, into: &Mutex<ScenarioResult>) {
    let interval = Duration::from_secs_f64(1.0 / scenario.user_rate_hz);
    let share = number as f64 / scenario.concurrent_users.max(1) as f64;
    // Spread over an interval too: users do not ask in step.
    let first = begin + scenario.ramp_up.mul_f64(share) + interval.mul_f64(share);
    let (counted, end) = (begin + scenario.ramp_up, begin + scenario.ramp_up + scenario.duration);
    for n in 0.. {
        let due = first + interval.mul_f64(n as f64);
        if due >= end {
            break;
        }
        pause_until(due);
        let outcome = user.request(n);
        if due >= counted {
            into.lock().unwrap_or_else(PoisonError::into_inner).note(outcome, now() - due);
        }
    }
}

/// Runs level after level, until one has more errors than [`super::ERROR_RATE_MAX`].
///
/// # Errors
/// As [`run_scenario`].
pub fn load_test_concurrency<U: User>(
    scenarios: &[LoadScenario],
    user: impl Fn(usize) -> Result<U, String> + Sync,
    mut told: impl FnMut(&LoadTestReport),
) -> Result<LoadTestReport, String> {
    let mut report = LoadTestReport::default();
    for scenario in scenarios {
        let goes_on = report.add_result(run_scenario(scenario, &user)?);
        told(&report);
        if !goes_on {
            break;
        }
    }
    Ok(report)
}

#[expect(clippy::disallowed_methods, reason = "a load test measures real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a user waits until its next request is due")]
fn pause_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers at once, but for one request that takes its time.
    struct Stalling {
        at: u64,
        stall: Duration,
    }

    impl User for Stalling {
        fn request(&mut self, n: u64) -> Result<(), String> {
            if n == self.at {
                pause_until(now() + self.stall);
            }
            Ok(())
        }
    }

    #[test]
    fn what_waits_behind_a_slow_answer_is_late_too() {
        let scenario = LoadScenario {
            duration: Duration::from_millis(500),
            ramp_up: Duration::ZERO,
            user_rate_hz: 100.0,
            ..LoadScenario::of(1)
        };
        let user = |_| Ok(Stalling { at: 10, stall: Duration::from_millis(200) });
        let result = run_scenario(&scenario, user).unwrap();
        assert_eq!((result.requests(), result.errors()), (50, 0));
        // 20 requests were due meanwhile; the first of them waited 200 ms, the last none. Who counts from the sending sees one.
        assert!(result.latency_us.count_between(100_000, LATENCY_US_MAX) >= 10, "{:?}", result.latency_us);
    }
}
