//! The machine that runs workflow code against a history.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use csf_core::Stamp;
use csf_core::port::Json;

use super::WorkflowContext;
use super::state::{Coded, Shared, Update};
use crate::attributes::{self, Attributes};
use crate::definition::Code;
use crate::history::{HistoryEntry, HistoryEvent, Reset, Role};
use crate::{ActivityOptions, Failure, FailureKind, NonDeterminism};

/// What a run waits for, as its history has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pendings {
    pub(crate) activities: BTreeMap<u32, PendingActivity>,
    pub(crate) timers: BTreeMap<u32, Stamp>,
    /// Ids of children by step.
    pub(crate) children: BTreeMap<u32, (String, crate::ParentClosePolicy)>,
    pub(crate) has_ended: bool,
    /// What it is found by.
    pub(crate) attributes: Attributes,
}

#[derive(Clone, Debug)]
pub(crate) struct PendingActivity {
    pub(crate) activity: String,
    pub(crate) input: Json,
    pub(crate) options: ActivityOptions,
    pub(crate) scheduled_at: Stamp,
    /// Tries that failed.
    pub(crate) failed: u32,
    /// Not before then.
    pub(crate) next_at: Stamp,
}

impl Pendings {
    /// Takes an entry in.
    pub(crate) fn take(&mut self, event: &HistoryEvent, stamp: Stamp) {
        match event {
            HistoryEvent::ActivityScheduled { seq, activity, input, options } => {
                let pending = PendingActivity {
                    activity: activity.clone(),
                    input: input.clone(),
                    options: options.clone(),
                    scheduled_at: stamp,
                    failed: 0,
                    next_at: stamp,
                };
                self.activities.insert(*seq, pending);
            }
            HistoryEvent::ActivityRetrying { seq, attempt, next_at, .. } => {
                if let Some(pending) = self.activities.get_mut(seq) {
                    (pending.failed, pending.next_at) = (*attempt, *next_at);
                }
            }
            HistoryEvent::ActivityCompleted { seq, .. }
            | HistoryEvent::ActivityFailed { seq, .. }
            | HistoryEvent::ActivityCancelled { seq } => _ = self.activities.remove(seq),
            HistoryEvent::TimerStarted { seq, fires_at } => _ = self.timers.insert(*seq, *fires_at),
            HistoryEvent::TimerFired { seq } | HistoryEvent::TimerCancelled { seq } => _ = self.timers.remove(seq),
            HistoryEvent::ChildStarted { seq, id, policy, .. } => {
                self.children.insert(*seq, (id.clone(), *policy));
            }
            HistoryEvent::ChildCompleted { seq, .. } => _ = self.children.remove(seq),
            HistoryEvent::Started { attributes, .. } => self.attributes.clone_from(attributes),
            HistoryEvent::AttributesUpserted { attributes } => attributes::upsert(&mut self.attributes, attributes),
            other if other.is_end() => self.has_ended = true,
            _ => {}
        }
    }

    /// Whether an input still means something to the run.
    pub(crate) fn awaits(&self, event: &HistoryEvent) -> bool {
        match event {
            HistoryEvent::ActivityCompleted { seq, .. }
            | HistoryEvent::ActivityFailed { seq, .. }
            | HistoryEvent::ActivityRetrying { seq, .. } => self.activities.contains_key(seq),
            HistoryEvent::TimerFired { seq } => self.timers.contains_key(seq),
            HistoryEvent::ChildCompleted { seq, .. } => self.children.contains_key(seq),
            _ => true,
        }
    }
}

/// Workflow code in the middle of its run.
pub(crate) struct Machine {
    shared: Shared,
    code: Option<Coded<Result<Json, Failure>>>,
    /// Updates that are being carried out.
    updates: Vec<(String, Coded<Result<Json, Failure>>)>,
    waker: Arc<Flag>,
    starts: Code,
}

/// Says whether the code wants to go on.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Machine {
    pub(crate) fn new(id: &str, code: Code) -> Self {
        let shared = Shared::default();
        shared.lock().id = id.to_owned();
        Self { shared, code: None, updates: Vec::new(), waker: Arc::default(), starts: code }
    }

    /// A run as its history leaves it, and what the code decides beyond that: only a run that has not been asked since it was begun by another,
    /// or reset, has decisions that are not in its history.
    pub(crate) fn replay(
        id: &str,
        code: Code,
        history: &[HistoryEntry],
    ) -> Result<(Self, Vec<HistoryEvent>), NonDeterminism> {
        let mut machine = Self::new(id, code);
        let resets = history.first().map_or(&[][..], |entry| entry.event.resets());
        let is_undecided = history.first().is_some_and(|entry| entry.event.begun_with() == history.len() as u64);
        let decided_until =
            history.iter().rposition(|entry| entry.event.role() == Role::Decision).map_or(0, |at| at + 1);
        {
            let mut state = machine.shared.lock();
            state.is_replaying = true;
            for entry in history {
                match &entry.event {
                    HistoryEvent::Patched { id } => _ = state.patches.insert(id.clone()),
                    HistoryEvent::SideEffect { value } => state.side_effects.push_back(value.clone()),
                    _ => {}
                }
            }
        }
        let mut decided: VecDeque<HistoryEvent> = VecDeque::new();
        for (at, entry) in history.iter().enumerate() {
            match entry.event.role() {
                Role::Note => {}
                Role::Input => {
                    // What a reset carried over stands together, with everything that followed from it behind.
                    let is_carried = |reset: &Reset| (reset.to + 1..=reset.to + reset.carried).contains(&entry.version);
                    if let (Some(extra), false) = (decided.front(), resets.iter().any(is_carried)) {
                        return Err(NonDeterminism::new(entry.version, "nothing more", &extra.identity()));
                    }
                    if is_undecided && at >= decided_until {
                        machine.shared.lock().is_replaying = false;
                    }
                    decided.extend(machine.input(&entry.event, entry.stamp));
                }
                Role::Decision => {
                    let expected = entry.event.identity();
                    match decided.pop_front().map(|decision| decision.identity()) {
                        Some(got) if got == expected => {}
                        got => {
                            let got = got.as_deref().unwrap_or("nothing more");
                            return Err(NonDeterminism::new(entry.version, &expected, got));
                        }
                    }
                }
            }
        }
        if let (Some(extra), false) = (decided.front(), is_undecided) {
            let end = history.last().map_or(0, |entry| entry.version) + 1;
            return Err(NonDeterminism::new(end, "nothing more", &extra.identity()));
        }
        machine.shared.lock().is_replaying = false;
        Ok((machine, decided.into()))
    }

    /// Something happened; what the code decides then.
    pub(crate) fn input(&mut self, event: &HistoryEvent, stamp: Stamp) -> Vec<HistoryEvent> {
        {
            let mut state = self.shared.lock();
            state.now = state.now.max(stamp);
            match event {
                HistoryEvent::Started { input, run, attributes, .. } => {
                    state.run = *run;
                    state.attributes.clone_from(attributes);
                    let cx = WorkflowContext::new(self.shared.clone());
                    self.waker.0.store(true, Ordering::Relaxed);
                    drop(state);
                    self.code = Some((self.starts)(cx, input.clone()));
                }
                HistoryEvent::ActivityCompleted { seq, result } => _ = state.end(*seq, Ok(result.clone())),
                HistoryEvent::ActivityFailed { seq, failure } => _ = state.end(*seq, Err(failure.clone())),
                HistoryEvent::TimerFired { seq } => {
                    state.end(*seq, Ok(Json::from(serde_json::Value::Null)));
                }
                HistoryEvent::ChildCompleted { seq, outcome } => _ = state.end(*seq, outcome.clone()),
                HistoryEvent::SignalReceived { name, payload } => {
                    state.signals.entry(name.clone()).or_default().push_back(payload.clone());
                    let listeners = state.listeners.remove(name).unwrap_or_default();
                    listeners.into_iter().for_each(Waker::wake);
                }
                HistoryEvent::UpdateAccepted { id, name, payload } => {
                    let handle = state.updates.get(name).map(|update| update.handle.clone());
                    let answer = match handle {
                        Some(handle) => {
                            drop(state);
                            handle(payload.clone())
                        }
                        None => {
                            let unknown = unknown_update(name, &state.updates);
                            drop(state);
                            Box::pin(async move { Err(unknown) })
                        }
                    };
                    self.updates.push((id.clone(), answer));
                    self.waker.0.store(true, Ordering::Relaxed);
                }
                HistoryEvent::CancelRequested { reason } => state.cancel(reason),
                _ => {}
            }
        }
        self.poll();
        std::mem::take(&mut self.shared.lock().decisions)
    }

    /// Lets the code go on until it waits.
    fn poll(&mut self) {
        let waker = Waker::from(self.waker.clone());
        let mut cx = Context::from_waker(&waker);
        while self.waker.0.swap(false, Ordering::Relaxed) {
            if let Some(code) = &mut self.code {
                let polled = catch_unwind(AssertUnwindSafe(|| code.as_mut().poll(&mut cx)));
                let ended = match polled {
                    Ok(Poll::Pending) => None,
                    Ok(Poll::Ready(outcome)) => Some(outcome),
                    Err(panic) => Some(Err(Failure { is_retryable: false, ..Failure::panic(&*panic) })),
                };
                if let Some(outcome) = ended {
                    self.end(outcome);
                    return;
                }
            }
            let mut updates = std::mem::take(&mut self.updates);
            updates.retain_mut(|(id, answer)| {
                let polled = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(&mut cx)));
                let outcome = match polled {
                    Ok(Poll::Pending) => return true,
                    Ok(Poll::Ready(outcome)) => outcome,
                    Err(panic) => Err(Failure::panic(&*panic)),
                };
                self.shared.lock().decisions.push(HistoryEvent::UpdateCompleted { id: id.clone(), outcome });
                // What the update has changed, the code may wait for.
                self.waker.0.store(true, Ordering::Relaxed);
                false
            });
            self.updates = updates;
        }
    }

    /// The code has ended: what it has not waited for is given up, silently, since nothing follows.
    fn end(&mut self, outcome: Result<Json, Failure>) {
        self.close();
        let decision = match outcome {
            Ok(result) => HistoryEvent::Completed { result },
            Err(Failure { kind: FailureKind::ContinueAsNew, details, .. }) => {
                HistoryEvent::ContinuedAsNew { input: details.unwrap_or_else(|| serde_json::Value::Null.into()) }
            }
            Err(failure) => HistoryEvent::Failed { failure },
        };
        self.shared.lock().decisions.push(decision);
    }

    fn close(&mut self) {
        self.shared.lock().is_closed = true;
        self.code = None;
        self.updates.clear();
        // They may hold what the code shared with them, and that the state.
        let mut state = self.shared.lock();
        let handlers = (std::mem::take(&mut state.queries), std::mem::take(&mut state.updates));
        drop(state);
        drop(handlers);
    }

    /// Looks at the run.
    pub(crate) fn query(&self, name: &str, input: &Json) -> Result<Json, Failure> {
        let answer = {
            let state = self.shared.lock();
            let Some(answer) = state.queries.get(name) else {
                let known: Vec<&str> = state.queries.keys().map(String::as_str).collect();
                let message = format!("the workflow answers no query `{name}`; it answers {known:?}");
                return Err(Failure::of(FailureKind::Unknown, message));
            };
            answer.clone()
        };
        catch_unwind(AssertUnwindSafe(|| answer(input))).unwrap_or_else(|panic| Err(Failure::panic(&*panic)))
    }

    /// Whether the run takes this update now.
    pub(crate) fn validate(&self, name: &str, payload: &Json) -> Result<(), Failure> {
        let validate = {
            let state = self.shared.lock();
            let update = state.updates.get(name).ok_or_else(|| unknown_update(name, &state.updates))?;
            update.validate.clone()
        };
        catch_unwind(AssertUnwindSafe(|| validate(payload))).unwrap_or_else(|panic| Err(Failure::panic(&*panic)))
    }
}

fn unknown_update(name: &str, known: &BTreeMap<String, Update>) -> Failure {
    let known: Vec<&str> = known.keys().map(String::as_str).collect();
    Failure::of(FailureKind::Unknown, format!("the workflow takes no update `{name}`; it takes {known:?}"))
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.close();
    }
}
