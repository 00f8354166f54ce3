//! What a breaker is asked, told and says: states, outcomes, transitions, refusals.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls pass and are recorded.
    Closed,
    /// Calls are refused until the wait is over.
    Open,
    /// Some calls pass as probes; their outcome decides.
    HalfOpen,
    /// Calls are refused until a command says otherwise.
    ForcedOpen,
    /// Calls pass and are recorded; nothing opens it.
    ForcedClosed,
    /// Calls pass and nothing is recorded.
    Disabled,
}

impl std::fmt::Display for BreakerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced open",
            Self::ForcedClosed => "forced closed",
            Self::Disabled => "disabled",
        })
    }
}

/// How a call ended, for the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service did its work.
    Success,
    /// The service failed.
    Failure,
    /// Says nothing about the service: counted nowhere, and a probe gives its permit back.
    Ignored,
}

/// An order of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Opens it as if a threshold were exceeded, for this long or as the policy says.
    Trip {
        /// Instead of the policy's wait.
        wait: Option<Duration>,
    },
    /// Lets probes pass now, without the rest of the wait.
    Probe,
    /// Closes it with an empty window; also ends a forced or disabled state.
    Reset,
    /// Refuses everything until the next command.
    ForceOpen,
    /// Lets everything pass, recorded, until the next command.
    ForceClosed,
    /// Lets everything pass, unrecorded, until the next command.
    Disable,
}

/// A command that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{command:?} is not possible while the breaker is {state}; only an open breaker is probed, trip it first")]
pub struct IllegalCommand {
    /// What was asked.
    pub command: Command,
    /// Where the breaker stands.
    pub state: BreakerState,
}

/// Why a breaker changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "cause")]
pub enum Cause {
    /// So many failures followed each other.
    ConsecutiveFailures {
        /// How many.
        failures: u32,
    },
    /// The share of failures reached its threshold.
    FailureRate {
        /// The share, in [0, 1].
        rate: f64,
        /// The threshold.
        limit: f64,
    },
    /// The share of slow calls reached its threshold.
    SlowRate {
        /// The share, in [0, 1].
        rate: f64,
        /// The threshold.
        limit: f64,
    },
    /// The open wait is over and somebody asked.
    WaitOver,
    /// The probes were good.
    ProbesSucceeded {
        /// Probes recorded.
        probes: u64,
    },
    /// A probe failed.
    ProbeFailed,
    /// Half-open ended without a verdict.
    HalfOpenTimedOut,
    /// An operator said so.
    Commanded,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// Counts the breaker's transitions from 1, so that listeners on several threads can order them.
    pub number: u64,
    /// Time of the breaker's clock.
    pub at: Duration,
    /// The state before.
    pub from: BreakerState,
    /// The state after.
    pub to: BreakerState,
    /// Why.
    pub cause: Cause,
}

/// A call that was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where the breaker stands.
    pub state: BreakerState,
    /// Since when, on the breaker's clock.
    pub since: Duration,
    /// When probes pass; `None` when no time is set: forced, or half-open with its probes out.
    pub retry_in: Option<Duration>,
    /// Probes running.
    pub probes: u32,
    /// Their limit.
    pub probes_max: u32,
}

/// A breaker at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BreakerReport {
    /// Where it stands.
    pub state: BreakerState,
    /// For how long, in milliseconds.
    pub state_for_ms: u64,
    /// Why it came there; `None` before the first change.
    pub because: Option<Cause>,
    /// Until probes pass, in milliseconds, when it is open.
    pub retry_in_ms: Option<u64>,
    /// Calls in the window; of the probes when half-open.
    pub calls: u64,
    /// Of those, failed.
    pub failures: u64,
    /// Of those, slow.
    pub slow: u64,
    /// Of those, slow and failed.
    pub slow_failures: u64,
    /// Share of failures in [0, 1], once enough calls are there to judge.
    pub failure_rate: Option<f64>,
    /// Share of slow calls in [0, 1], once enough calls are there to judge.
    pub slow_rate: Option<f64>,
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// Probes running.
    pub probes: u32,
    /// Calls refused in this state.
    pub refused: u64,
    /// Calls refused ever.
    pub refused_total: u64,
    /// Outcomes that came after the state they were admitted in, and count nowhere.
    pub late_outcomes: u64,
    /// Openings in a row without a closing.
    pub openings: u32,
    /// Changes of state ever.
    pub transitions: u64,
}
