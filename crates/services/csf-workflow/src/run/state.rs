//! What the code of a run sees, and what it has decided. Shared by the machine and the code's futures.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use csf_core::Stamp;
use csf_core::port::Json;

use crate::Failure;
use crate::attributes::Attributes;
use crate::history::HistoryEvent;

pub(super) type Coded<T> = Pin<Box<dyn Future<Output = T> + Send>>;
pub(super) type Query = Arc<dyn Fn(&Json) -> Result<Json, Failure> + Send + Sync>;
pub(super) type Validate = Arc<dyn Fn(&Json) -> Result<(), Failure> + Send + Sync>;
pub(super) type Handle = Arc<dyn Fn(Json) -> Coded<Result<Json, Failure>> + Send + Sync>;

/// How an update is checked and carried out.
#[derive(Clone)]
pub(super) struct Update {
    pub(super) validate: Validate,
    pub(super) handle: Handle,
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepKind {
    Activity,
    Timer,
    Child,
}

/// A step that was begun and has not ended.
pub(super) struct Step {
    pub(super) kind: StepKind,
    /// Ends by itself when the run is asked to end.
    pub(super) is_cancellable: bool,
    pub(super) waker: Option<Waker>,
}

#[derive(Default)]
pub(super) struct State {
    /// Time of what happened last.
    pub(super) now: Stamp,
    pub(super) id: String,
    pub(super) run: u32,
    pub(super) steps_begun: u32,
    pub(super) steps: BTreeMap<u32, Step>,
    pub(super) outcomes: BTreeMap<u32, Result<Json, Failure>>,
    pub(super) decisions: Vec<HistoryEvent>,
    pub(super) signals: BTreeMap<String, VecDeque<Json>>,
    /// Who waits for a signal, by its name.
    pub(super) listeners: BTreeMap<String, Vec<Waker>>,
    pub(super) is_cancelled: bool,
    pub(super) cancel_reason: Option<String>,
    pub(super) cancel_listeners: Vec<Waker>,
    /// Whether the history tells what follows.
    pub(super) is_replaying: bool,
    /// Changes of the code that the history says were taken.
    pub(super) patches: BTreeSet<String>,
    /// Values from outside that the history has, in order.
    pub(super) side_effects: VecDeque<Json>,
    pub(super) queries: BTreeMap<String, Query>,
    pub(super) updates: BTreeMap<String, Update>,
    /// What the run is found by.
    pub(super) attributes: Attributes,
    pub(super) randoms: u64,
    /// Set before the code is dropped: what it drops then decides nothing.
    pub(super) is_closed: bool,
}

/// The state, shared.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn begin(&mut self, kind: StepKind, is_cancellable: bool) -> u32 {
        self.steps_begun += 1;
        self.steps.insert(self.steps_begun, Step { kind, is_cancellable, waker: None });
        self.steps_begun
    }

    /// Who waits for a signal.
    pub(super) fn listen(&mut self, name: &str, waker: &Waker) {
        let listeners = self.listeners.entry(name.to_owned()).or_default();
        if !listeners.iter().any(|known| known.will_wake(waker)) {
            listeners.push(waker.clone());
        }
    }

    /// A step has ended; false when it had ended before, or never was.
    pub(super) fn end(&mut self, seq: u32, outcome: Result<Json, Failure>) -> bool {
        let Some(step) = self.steps.remove(&seq) else { return false };
        self.outcomes.insert(seq, outcome);
        step.waker.into_iter().for_each(Waker::wake);
        true
    }

    /// Decided: nobody waits for the step any more. It is told to whoever does it; a child goes on by its own policy.
    pub(super) fn give_up(&mut self, seq: u32) {
        let Some(step) = self.steps.remove(&seq) else { return };
        match step.kind {
            StepKind::Activity => self.decisions.push(HistoryEvent::ActivityCancelled { seq }),
            StepKind::Timer => self.decisions.push(HistoryEvent::TimerCancelled { seq }),
            StepKind::Child => {}
        }
    }

    /// The run is asked to end: what it waits for ends now.
    pub(super) fn cancel(&mut self, reason: &str) {
        if self.is_cancelled {
            return;
        }
        self.is_cancelled = true;
        self.cancel_reason = Some(reason.to_owned());
        let waiting: Vec<u32> =
            self.steps.iter().filter(|(_, step)| step.is_cancellable).map(|(seq, _)| *seq).collect();
        for seq in waiting {
            let waker = self.steps.get_mut(&seq).and_then(|step| step.waker.take());
            self.give_up(seq);
            self.outcomes.insert(seq, Err(Failure::cancelled()));
            waker.into_iter().for_each(Waker::wake);
        }
        std::mem::take(&mut self.cancel_listeners).into_iter().for_each(Waker::wake);
        // Whoever waits for a signal looks again, and finds out.
        std::mem::take(&mut self.listeners).into_values().flatten().for_each(Waker::wake);
    }
}
