//! The breaker's state machine: `(now, event) -> decision`, without a clock, a lock or a thread.
//!
//! Invariants: closed and forced-closed never refuse; one half-open period has at most `half_open_max` probes running, and no more running
//! and recorded than its verdict needs; an outcome counts only in the state that admitted its call. Time that runs backwards stands still.
//! Reference: Nygard, "Release It!" (2007), for the pattern; the rates follow the documented rules of resilience4j 2.

use std::mem;
use std::time::Duration;

use super::policy::ProbeRule;
use super::window::History;
use super::{
    BreakerPolicy, BreakerReport, BreakerState, Cause, Command, Counts, IllegalCommand, Outcome, Refusal, Transition,
};

/// Leave for one call. It is given back by [`Breaker::settle`], whatever became of the call.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Permit {
    epoch: u64,
}

/// A circuit breaker without a clock: every method is told the time, as the time since any fixed origin.
pub struct Breaker {
    policy: BreakerPolicy,
    now: Duration,
    state: BreakerState,
    since: Duration,
    /// Counts the states, so that an outcome finds out whether its state is over.
    epoch: u64,
    /// Of the open state.
    wait: Duration,
    openings: u32,
    history: History,
    consecutive: u32,
    probes: u32,
    probed: Counts,
    refused: u64,
    refused_total: u64,
    late: u64,
    number: u64,
    because: Option<Cause>,
    transitions: Vec<Transition>,
}

impl Breaker {
    /// A closed breaker with an empty window.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        Self {
            history: History::new(policy.window),
            wait: policy.open_for,
            policy,
            now: Duration::ZERO,
            state: BreakerState::Closed,
            since: Duration::ZERO,
            epoch: 0,
            openings: 0,
            consecutive: 0,
            probes: 0,
            probed: Counts::default(),
            refused: 0,
            refused_total: 0,
            late: 0,
            number: 0,
            because: None,
            transitions: Vec::new(),
        }
    }

    /// May a call start now?
    ///
    /// # Errors
    /// [`Refusal`] when it may not; asking is free and may be repeated.
    pub fn ask(&mut self, now: Duration) -> Result<Permit, Refusal> {
        self.advance(now);
        if self.state == BreakerState::Open && self.now >= self.since.saturating_add(self.wait) {
            self.enter(BreakerState::HalfOpen, self.now, Cause::WaitOver);
        }
        let is_admitted = match self.state {
            BreakerState::Closed | BreakerState::ForcedClosed | BreakerState::Disabled => true,
            BreakerState::Open | BreakerState::ForcedOpen => false,
            BreakerState::HalfOpen => {
                let used = u64::from(self.probes) + self.probed.calls;
                self.probes < self.policy.half_open_max && used < u64::from(self.policy.probes_total())
            }
        };
        if !is_admitted {
            self.refused += 1;
            self.refused_total += 1;
            return Err(self.refusal());
        }
        if self.state == BreakerState::HalfOpen {
            self.probes += 1;
        }
        Ok(Permit { epoch: self.epoch })
    }

    /// The call of `permit` ended after `took`. A call that was dropped is [`Outcome::Ignored`].
    #[expect(clippy::needless_pass_by_value, reason = "a permit is used once")]
    pub fn settle(&mut self, now: Duration, permit: Permit, outcome: Outcome, took: Duration) {
        self.advance(now);
        if permit.epoch != self.epoch {
            self.late += u64::from(outcome != Outcome::Ignored);
            return;
        }
        let is_slow = took > self.policy.slow_call;
        let has_failed = outcome == Outcome::Failure;
        if self.state == BreakerState::HalfOpen {
            self.probes -= 1;
            if outcome != Outcome::Ignored {
                self.probed.add(has_failed, is_slow);
                self.judge_probes();
            }
            return;
        }
        if outcome == Outcome::Ignored || !matches!(self.state, BreakerState::Closed | BreakerState::ForcedClosed) {
            return;
        }
        self.history.record(self.now, has_failed, is_slow);
        self.consecutive = if has_failed { self.consecutive.saturating_add(1) } else { 0 };
        if self.state == BreakerState::Closed
            && let Some(cause) = self.exceeded()
        {
            self.open(self.now, cause);
        }
    }

    /// Carries out an operator's order.
    ///
    /// # Errors
    /// [`IllegalCommand`] for a probe while the breaker is not open.
    pub fn command(&mut self, now: Duration, command: Command) -> Result<(), IllegalCommand> {
        self.advance(now);
        let to = match command {
            Command::Trip { wait } => {
                if self.state == BreakerState::Open {
                    self.since = self.now;
                } else {
                    self.open(self.now, Cause::Commanded);
                }
                self.wait = wait.unwrap_or(self.wait);
                return Ok(());
            }
            Command::Probe if matches!(self.state, BreakerState::HalfOpen) => return Ok(()),
            Command::Probe if !matches!(self.state, BreakerState::Open | BreakerState::ForcedOpen) => {
                return Err(IllegalCommand { command, state: self.state });
            }
            Command::Probe => BreakerState::HalfOpen,
            Command::Reset => BreakerState::Closed,
            Command::ForceOpen => BreakerState::ForcedOpen,
            Command::ForceClosed => BreakerState::ForcedClosed,
            Command::Disable => BreakerState::Disabled,
        };
        if to != self.state {
            self.enter(to, self.now, Cause::Commanded);
        } else if to == BreakerState::Closed {
            self.forget();
        }
        Ok(())
    }

    /// New settings from now on. The state stays; an open wait that was not ordered by hand is measured by the new settings from its
    /// start; the window keeps its calls when its kind and size stay.
    pub fn reconfigure(&mut self, now: Duration, policy: BreakerPolicy) {
        self.advance(now);
        if policy.window != self.policy.window {
            self.history = History::new(policy.window);
        }
        if self.wait == self.policy.open_wait(self.openings) {
            self.wait = policy.open_wait(self.openings);
        }
        self.policy = policy;
        if self.state == BreakerState::HalfOpen && self.probed.calls > 0 {
            self.judge_probes();
        }
    }

    /// The changes of state since this was last called, oldest first. At most a handful wait; the shell takes them after every call.
    pub fn take_transitions(&mut self) -> Vec<Transition> {
        mem::take(&mut self.transitions)
    }

    /// Where it stands at `now`.
    pub fn state(&mut self, now: Duration) -> BreakerState {
        self.advance(now);
        self.state
    }

    /// What the window holds at `now`; the probes' counts when half-open.
    pub fn counts(&mut self, now: Duration) -> Counts {
        self.advance(now);
        if self.state == BreakerState::HalfOpen { self.probed } else { self.history.counts(self.now) }
    }

    /// Everything at a glance.
    pub fn report(&mut self, now: Duration) -> BreakerReport {
        let counts = self.counts(now);
        let judged_from = match (self.state, self.policy.probe_rule()) {
            (BreakerState::HalfOpen, ProbeRule::Rates(probes)) => probes,
            (BreakerState::HalfOpen, ProbeRule::Successes(_)) => 1,
            _ => self.policy.judged_from(),
        };
        let is_judged = counts.calls > 0 && counts.calls >= u64::from(judged_from);
        BreakerReport {
            state: self.state,
            state_for_ms: millis(self.now.saturating_sub(self.since)),
            because: self.because,
            retry_in_ms: self.refusal().retry_in.map(millis),
            calls: counts.calls,
            failures: counts.failures,
            slow: counts.slow,
            slow_failures: counts.slow_failures,
            failure_rate: is_judged.then(|| counts.failure_rate()),
            slow_rate: is_judged.then(|| counts.slow_rate()),
            consecutive_failures: self.consecutive,
            probes: self.probes,
            refused: self.refused,
            refused_total: self.refused_total,
            late_outcomes: self.late,
            openings: self.openings,
            transitions: self.number,
        }
    }

    /// Moves the clock, never back, and ends a half-open period that got no verdict in time.
    fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
        let over = self.since.saturating_add(self.policy.half_open_timeout);
        if self.state == BreakerState::HalfOpen && self.now >= over {
            self.open(over, Cause::HalfOpenTimedOut);
        }
    }

    fn exceeded(&mut self) -> Option<Cause> {
        let threshold = self.policy.failure_threshold;
        if threshold > 0 && self.consecutive >= threshold {
            return Some(Cause::ConsecutiveFailures { failures: self.consecutive });
        }
        let counts = self.history.counts(self.now);
        if counts.calls < u64::from(self.policy.judged_from()) { None } else { self.rates_exceeded(counts) }
    }

    fn rates_exceeded(&self, counts: Counts) -> Option<Cause> {
        let (failed, slow) = (counts.failure_rate(), counts.slow_rate());
        match (self.policy.failure_rate, self.policy.slow_rate) {
            (Some(limit), _) if failed >= limit => Some(Cause::FailureRate { rate: failed, limit }),
            (_, Some(limit)) if slow >= limit => Some(Cause::SlowRate { rate: slow, limit }),
            _ => None,
        }
    }

    fn judge_probes(&mut self) {
        let (rule, probed) = (self.policy.probe_rule(), self.probed);
        if matches!(rule, ProbeRule::Successes(_)) && probed.failures > 0 {
            return self.open(self.now, Cause::ProbeFailed);
        }
        let (ProbeRule::Successes(enough) | ProbeRule::Rates(enough)) = rule;
        if probed.calls < u64::from(enough) {
            return;
        }
        match self.rates_exceeded(probed) {
            Some(cause) => self.open(self.now, cause),
            None => self.enter(BreakerState::Closed, self.now, Cause::ProbesSucceeded { probes: probed.calls }),
        }
    }

    fn open(&mut self, at: Duration, cause: Cause) {
        self.openings = self.openings.saturating_add(1);
        self.wait = self.policy.open_wait(self.openings);
        self.enter(BreakerState::Open, at, cause);
    }

    fn enter(&mut self, to: BreakerState, at: Duration, cause: Cause) {
        self.number += 1;
        self.because = Some(cause);
        self.transitions.push(Transition { number: self.number, at, from: self.state, to, cause });
        self.state = to;
        self.since = at;
        self.epoch += 1;
        self.probes = 0;
        self.probed = Counts::default();
        self.refused = 0;
        // What opened it stays to be seen while it is open.
        if to != BreakerState::Open {
            self.forget();
        }
        if !matches!(to, BreakerState::Open | BreakerState::HalfOpen) {
            self.openings = 0;
        }
    }

    fn forget(&mut self) {
        self.history = History::new(self.policy.window);
        self.consecutive = 0;
    }

    fn refusal(&self) -> Refusal {
        let over = self.since.saturating_add(self.wait);
        Refusal {
            state: self.state,
            since: self.since,
            retry_in: (self.state == BreakerState::Open).then(|| over.saturating_sub(self.now)),
            probes: self.probes,
            probes_max: self.policy.half_open_max,
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
