//! What follows when a handler fails.
//!
//! A returned fault is an answer: the component refuses the event and keeps the state it left itself in; the event goes to the dead
//! letters at once. After a panic nothing of the component is trusted: it gets back the state it had before the event, made of its last
//! checkpoint and the deliveries since, as the journal has them, with effects suppressed ([`super::rebuild`]). Then the event is tried
//! again; the third failure sends it to the dead letters. The delivery log tells each of these, so a replay passes a failed delivery over.
//! Cost: a snapshot every 1,024 deliveries, or more where it is large, and nothing else while nothing fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use csf_bus::EffectWriter;
use csf_core::port::LaneInfo;
use csf_core::{MessageId, Stamp};
use serde::{Deserialize, Serialize};

use super::Timers;
use super::handler::panic_text;
use super::rebuild::Rebuilt;
use super::runner::Runner;
use super::stats::{RunState, bump};
use crate::pack::ComponentFactory;
use crate::{Input, Outcome};

/// Failures of one event until it goes to the dead letters.
pub const FAILURES_MAX: u32 = 3;
/// Deliveries between two checkpoints at least: what a rebuild repeats.
const KEEP_EVERY: u64 = 1024;
/// Bytes of a snapshot that one delivery pays for: 16 keep a checkpoint of a large state near a nanosecond per delivery.
const KEEP_BYTES: u64 = 16;

/// From where a component's state can be made again.
pub struct Checkpoint {
    /// Its state; `None` when it could not tell it.
    pub(super) snapshot: Option<Vec<u8>>,
    pub(super) timers: Timers,
    /// Port, lane and next sequence of each output.
    pub(super) outputs: Vec<(String, LaneInfo, u64)>,
    /// The next entry of the delivery log.
    pub(super) next: MessageId,
    /// At how many deliveries the next checkpoint is due.
    due: u64,
}

/// How often which events failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failing(Vec<(Input, u32)>);

impl Failing {
    /// Failures of an event, with one more.
    pub(crate) fn add(&mut self, input: Input) -> u32 {
        match self.0.iter_mut().find(|(known, _)| *known == input) {
            Some((_, failures)) => {
                *failures += 1;
                *failures
            }
            None => {
                self.0.push((input, 1));
                1
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets an event that is over.
    pub(crate) fn clear(&mut self, input: Input) {
        self.0.retain(|(known, _)| *known != input);
    }
}

/// What a dispatcher cannot deal with by itself.
pub enum Incident {
    /// A component needs its state back.
    Rebuild(Rebuild),
    /// An event was given up.
    Dead(DeadEvent),
}

/// Takes incidents. Called on dispatchers, so it must not wait.
pub type IncidentSink = Arc<dyn Fn(Incident) + Send + Sync>;

/// A component's state to be made again: what it was before the delivery `until`.
pub struct Rebuild {
    /// Its name in the node.
    pub name: String,
    /// Its number in the delivery log.
    pub number: u16,
    /// The failed delivery.
    pub until: MessageId,
    pub(super) checkpoint: Arc<Checkpoint>,
    pub(super) factory: ComponentFactory,
    pub(super) ports: Vec<&'static str>,
}

/// An event that was given up: its component goes on without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadEvent {
    /// Nanoseconds since the Unix epoch, as text.
    pub at: String,
    /// Whose event it was.
    pub component: String,
    /// The packet's id, or `timer N`.
    pub event: String,
    /// How it failed: `fault`, `panic` or `stuck`.
    pub kind: String,
    /// How often.
    pub failures: u32,
    /// The last failure in words.
    pub reason: String,
}

impl DeadEvent {
    pub(super) fn new(component: &str, input: Input, at: Stamp, kind: &str, failures: u32, reason: &str) -> Self {
        let event = match input {
            Input::Packet { lane, seq } => lane.message(seq).to_string(),
            Input::Timer(timer) => format!("timer {}", timer.0),
            Input::Reset => "reset".to_owned(),
            Input::Renewal => "renewal".to_owned(),
        };
        Self {
            at: at.to_string(),
            component: component.to_owned(),
            event,
            kind: kind.to_owned(),
            failures,
            reason: reason.to_owned(),
        }
    }
}

impl Runner {
    /// Keeps the state, if it is time to. `log` is its dispatcher's.
    #[inline]
    pub(super) fn keep(&mut self, log: &dyn EffectWriter) {
        let handled = self.stats.handled.load(Ordering::Relaxed);
        if self.checkpoint.as_ref().is_none_or(|checkpoint| handled >= checkpoint.due) && self.is_open() {
            self.keep_now(log, handled);
        }
    }

    #[cold]
    fn keep_now(&mut self, log: &dyn EffectWriter, handled: u64) {
        let Some(machine) = &self.machine else { return };
        // A component is a stranger's code, and its panic here must not be the dispatcher's.
        let snapshot = catch_unwind(AssertUnwindSafe(|| machine.component.snapshot())).ok();
        let bytes = snapshot.as_ref().map_or(0, |snapshot| snapshot.len() as u64);
        let outputs = machine.outputs.iter();
        let outputs = outputs.map(|(port, lane)| (port.clone(), lane.info().clone(), lane.next_id().seq)).collect();
        let due = handled + KEEP_EVERY.max(bytes / KEEP_BYTES);
        let (timers, next) = (self.timers.clone(), log.next_id());
        self.checkpoint = Some(Arc::new(Checkpoint { snapshot, timers, outputs, next, due }));
    }

    /// How a failed delivery is logged: a panic is tried again unless it was one too many.
    pub(super) fn judge(&mut self, input: Input, outcome: Outcome) -> (Outcome, u32) {
        if outcome != Outcome::Panic {
            return (outcome, 1);
        }
        let failures = self.failing.add(input);
        (if failures >= FAILURES_MAX { Outcome::Skipped } else { Outcome::Failed }, failures)
    }

    /// After the failed delivery `id` was logged.
    #[cold]
    pub(super) fn fail(&mut self, failure: &Failure<'_>) {
        let Failure { input, outcome, fault, at, .. } = *failure;
        bump(&self.stats.faults, 1);
        self.stats.set_last_fault(fault.to_owned());
        tracing::warn!(component = self.name, fault, "handler failed; its effects were undone");
        let is_panic = outcome != Outcome::Fault;
        // Of a panic below a supervisor, that one tells.
        if !is_panic || self.tie.is_none() {
            (self.observer)(&self.name, if is_panic { "terminated" } else { "fault" }, fault);
        }
        if outcome != Outcome::Failed {
            self.failing.clear(input);
            self.bury(input, at, if is_panic { "panic" } else { "fault" }, failure.failures, fault);
        }
        if !is_panic {
            return;
        }
        self.is_broken = true;
        self.count_restart(at, fault);
        let (Some(checkpoint), Some(machine)) = (&self.checkpoint, &self.machine) else { return };
        (self.incidents)(Incident::Rebuild(Rebuild {
            name: self.name.clone(),
            number: self.index,
            until: failure.id,
            checkpoint: checkpoint.clone(),
            factory: self.factory.clone(),
            ports: machine.ports.clone(),
        }));
    }

    /// A panic is its supervisor's to deal with, or costs a restart of its own budget.
    fn count_restart(&mut self, at: Stamp, fault: &str) {
        if let Some(tie) = self.tie.clone() {
            self.is_held = true;
            self.stats.set_state(RunState::Restarting);
            return tie.break_off(fault);
        }
        let window = u64::try_from(self.restart.within.as_nanos()).unwrap_or(u64::MAX);
        self.recent_restarts.retain(|r| at.since(*r) < window);
        if self.recent_restarts.len() >= self.restart.at_most as usize {
            tracing::error!(component = self.name, "restart budget is spent; the component is given up");
            self.give_up(RunState::Failed);
            (self.observer)(&self.name, "budget_spent", "it stays down; the other components go on");
        } else {
            self.recent_restarts.push(at);
            self.stats.set_state(RunState::Restarting);
        }
    }

    /// Tells that an event was given up.
    pub(super) fn bury(&self, input: Input, at: Stamp, kind: &str, failures: u32, reason: &str) {
        bump(&self.stats.dead_letters, 1);
        let dead = DeadEvent::new(&self.name, input, at, kind, failures, reason);
        tracing::error!(component = self.name, event = dead.event, reason, "an event went to the dead letters");
        (self.observer)(&self.name, "dead_letter", &format!("{} after {failures} failures: {reason}", dead.event));
        (self.incidents)(Incident::Dead(dead));
    }

    /// Waits for its state no longer: the node stops.
    pub(crate) fn let_go(&mut self) {
        self.machine = None;
        self.is_broken = false;
        self.give_up(RunState::Failed);
    }

    /// Takes the state it had before the failed delivery. One that was given up stays down with it.
    pub(crate) fn go_on(&mut self, rebuilt: Rebuilt) {
        let Some(machine) = self.machine.as_mut().filter(|_| self.is_broken) else { return };
        // Also its drop is a stranger's code.
        let panicked = std::mem::replace(&mut machine.component, rebuilt.component);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(panicked))) {
            tracing::warn!(
                component = self.name,
                fault = panic_text(panic.as_ref()),
                "an instance panicked as it went"
            );
        }
        self.is_broken = false;
        self.timers = rebuilt.timers;
        if rebuilt.is_anew {
            self.untold = Some(Input::Reset);
        }
        // It spoke of another state, or of another dispatcher's log.
        self.checkpoint = None;
        if self.stats.state() != RunState::Restarting {
            return;
        }
        let origin = if rebuilt.is_anew { "from its factory, without its state" } else { "with the state of before" };
        let detail = format!("{origin}: {}", rebuilt.detail);
        if self.is_held {
            (self.observer)(&self.name, "restored", &detail);
            if let Some(tie) = &self.tie {
                tie.mend();
            }
            return;
        }
        bump(&self.stats.restarts, 1);
        self.stats.add_instance();
        self.stats.set_state(RunState::Running);
        (self.observer)(&self.name, "started", &detail);
    }
}

/// A failed delivery.
pub(super) struct Failure<'a> {
    /// Its entry in the delivery log.
    pub(super) id: MessageId,
    pub(super) input: Input,
    /// As logged.
    pub(super) outcome: Outcome,
    pub(super) failures: u32,
    pub(super) fault: &'a str,
    pub(super) at: Stamp,
}
