//! What workflow code may do.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::Json;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Saga;
use super::state::{Shared, State, StepKind, Update};
use crate::attributes::{self, Attribute, Attributes};
use crate::history::HistoryEvent;
use crate::{ActivityOptions, Failure, FailureKind, ParentClosePolicy};

/// The world as workflow code sees it: time, chance and everything outside come from the history. Clones are the same run.
///
/// Code that reads a clock, draws a random number, or does I/O past this decides otherwise when it is replayed, and is stopped then.
#[derive(Clone)]
pub struct WorkflowContext {
    pub(super) shared: Shared,
    is_shielded: bool,
}

impl WorkflowContext {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, is_shielded: false }
    }

    /// The run's id.
    #[must_use]
    pub fn id(&self) -> String {
        self.shared.lock().id.clone()
    }

    /// How often it was continued as new.
    #[must_use]
    pub fn run(&self) -> u32 {
        self.shared.lock().run
    }

    /// The time of what happened last. It stands still while the code runs.
    #[must_use]
    pub fn now(&self) -> Stamp {
        self.shared.lock().now
    }

    /// Whether this part of the history is being replayed. Only for what nobody decides by, such as logs.
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        self.shared.lock().is_replaying
    }

    /// A number that follows from the run's id and the numbers drawn before. Not for secrets.
    #[must_use]
    pub fn random(&self) -> u64 {
        let mut state = self.shared.lock();
        state.randoms += 1;
        // SplitMix64 (Steele, Lea, Flood 2014) over an FNV-1a hash of the id.
        let name = state.id.bytes().chain(state.run.to_le_bytes());
        let seed = name
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let mut z = seed.wrapping_add(state.randoms.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Something done in the world, under the default times and tries.
    pub fn activity<I: Serialize + ?Sized, O: DeserializeOwned>(&self, activity: &str, input: &I) -> Pending<O> {
        self.activity_with(activity, input, ActivityOptions::default())
    }

    /// Something done in the world: at least once, by whoever has an activity of this name. It begins when this is called.
    pub fn activity_with<I: Serialize + ?Sized, O: DeserializeOwned>(
        &self,
        activity: &str,
        input: &I,
        options: ActivityOptions,
    ) -> Pending<O> {
        let name = activity.to_owned();
        self.step(StepKind::Activity, |seq| {
            let input = json("input", input)?;
            Ok(HistoryEvent::ActivityScheduled { seq, activity: name, input, options })
        })
    }

    /// Waits this long, over restarts too.
    pub fn sleep(&self, span: Duration) -> Pending<()> {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.sleep_until(self.now().after(nanos))
    }

    /// Waits until then, over restarts too.
    pub fn sleep_until(&self, at: Stamp) -> Pending<()> {
        self.step(StepKind::Timer, |seq| Ok(HistoryEvent::TimerStarted { seq, fires_at: at }))
    }

    /// Another workflow, under an id of its own; its end.
    pub fn child<I: Serialize + ?Sized, O: DeserializeOwned>(
        &self,
        workflow: &str,
        id: &str,
        input: &I,
        policy: ParentClosePolicy,
    ) -> Pending<O> {
        let (workflow, id) = (workflow.to_owned(), id.to_owned());
        self.step(StepKind::Child, |seq| {
            let input = json("input", input)?;
            Ok(HistoryEvent::ChildStarted { seq, id, workflow, input, policy })
        })
    }

    fn step<O>(&self, kind: StepKind, decision: impl FnOnce(u32) -> Result<HistoryEvent, Failure>) -> Pending<O> {
        let mut state = self.shared.lock();
        if state.is_cancelled && !self.is_shielded {
            return Pending::over(self.shared.clone(), Failure::cancelled());
        }
        match decision(state.steps_begun + 1) {
            Ok(decision) => {
                let seq = state.begin(kind, !self.is_shielded);
                state.decisions.push(decision);
                drop(state);
                Pending { shared: self.shared.clone(), seq: Some(seq), over: None, output: std::marker::PhantomData }
            }
            Err(failure) => Pending::over(self.shared.clone(), failure),
        }
    }

    /// The next signal of this name; those that came before are kept in order. Fails when the run is asked to end.
    ///
    /// # Errors
    /// [`FailureKind::Cancelled`], [`FailureKind::BadPayload`].
    pub async fn signal<T: DeserializeOwned>(&self, name: &str) -> Result<T, Failure> {
        let payload = poll_fn(|cx| {
            let mut state = self.shared.lock();
            if let Some(payload) = state.signals.get_mut(name).and_then(std::collections::VecDeque::pop_front) {
                return Poll::Ready(Ok(payload));
            }
            if state.is_cancelled && !self.is_shielded {
                return Poll::Ready(Err(Failure::cancelled()));
            }
            state.listen(name, cx.waker());
            Poll::Pending
        });
        parse("signal", &payload.await?)
    }

    /// Tells another run something.
    ///
    /// # Errors
    /// [`FailureKind::BadPayload`].
    pub fn signal_other<T: Serialize + ?Sized>(&self, to: &str, name: &str, payload: &T) -> Result<(), Failure> {
        let payload = json("signal", payload)?;
        let (to, name) = (to.to_owned(), name.to_owned());
        self.shared.lock().decisions.push(HistoryEvent::SignalSent { to, name, payload });
        Ok(())
    }

    /// Answers queries of this name from now on: a look at what the code shares with `answer`, which must change nothing.
    pub fn on_query<I: DeserializeOwned, O: Serialize>(
        &self,
        name: &str,
        answer: impl Fn(I) -> Result<O, Failure> + Send + Sync + 'static,
    ) {
        let answer = move |input: &Json| json("answer", &answer(parse("query", input)?)?);
        self.shared.lock().queries.insert(name.to_owned(), Arc::new(answer));
    }

    /// Takes updates of this name from now on. `validate` may refuse one before it becomes part of the history; `handle` carries it out, with
    /// everything workflow code may do, and answers.
    pub fn on_update<I, O, F>(
        &self,
        name: &str,
        validate: impl Fn(&I) -> Result<(), Failure> + Send + Sync + 'static,
        handle: impl Fn(WorkflowContext, I) -> F + Send + Sync + 'static,
    ) where
        I: DeserializeOwned + Send + 'static,
        O: Serialize,
        F: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        let handle = Arc::new(handle);
        // The handler does not keep the state alive that keeps it.
        let cx = self.clone();
        let update = Update {
            validate: Arc::new(move |input| validate(&parse("update", input)?)),
            handle: Arc::new(move |input| {
                let (handle, cx) = (handle.clone(), cx.clone());
                Box::pin(async move { json("answer", &handle(cx, parse("update", &input)?).await?) })
            }),
        };
        self.shared.lock().updates.insert(name.to_owned(), update);
    }

    /// Whether changed code is to be taken. True in every run that comes here for the first time, and from then on; false in runs that were
    /// here before the change.
    #[must_use]
    pub fn patch(&self, id: &str) -> bool {
        let mut state = self.shared.lock();
        if state.is_replaying && !state.patches.contains(id) {
            return false;
        }
        state.decisions.push(HistoryEvent::Patched { id: id.to_owned() });
        true
    }

    /// A value from outside, asked for once: a replay gives the value that was kept.
    ///
    /// # Errors
    /// [`FailureKind::BadPayload`].
    pub fn side_effect<T: Serialize + DeserializeOwned>(&self, value: impl FnOnce() -> T) -> Result<T, Failure> {
        let kept = self.shared.lock().side_effects.pop_front();
        let value = match kept {
            Some(kept) => kept,
            None => json("side effect", &value())?,
        };
        self.shared.lock().decisions.push(HistoryEvent::SideEffect { value: value.clone() });
        parse("side effect", &value)
    }

    /// What the run is found by.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        self.shared.lock().attributes.clone()
    }

    /// Changes what the run is found by; nothing removes an attribute.
    ///
    /// # Errors
    /// An application failure `attributes` that names the limit. Nothing is changed then.
    pub fn upsert_attributes<N: Into<String>>(
        &self,
        changes: impl IntoIterator<Item = (N, Option<Attribute>)>,
    ) -> Result<(), Failure> {
        let changes: BTreeMap<String, Option<Attribute>> =
            changes.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let mut state = self.shared.lock();
        let mut attributes = state.attributes.clone();
        attributes::upsert(&mut attributes, &changes);
        let checked = attributes::check(changes.iter().map(|(name, value)| (name, value.as_ref())));
        let checked =
            checked.and_then(|()| attributes::check(attributes.iter().map(|(name, value)| (name, Some(value)))));
        checked.map_err(|reason| Failure::fatal("attributes", reason))?;
        state.attributes = attributes;
        state.decisions.push(HistoryEvent::AttributesUpserted { attributes: changes });
        Ok(())
    }

    /// Whether the run has been asked to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.shared.lock().is_cancelled
    }

    /// Waits until the run is asked to end; why.
    pub async fn cancelled(&self) -> String {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if let Some(reason) = &state.cancel_reason {
                return Poll::Ready(reason.clone());
            }
            if !state.cancel_listeners.iter().any(|known| known.will_wake(cx.waker())) {
                state.cancel_listeners.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// The same run, whose steps go on when it is asked to end: for cleaning up.
    #[must_use]
    pub fn shielded(&self) -> Self {
        Self { is_shielded: true, ..self.clone() }
    }

    /// Steps that can be taken back, in the order in which they were taken.
    #[must_use]
    pub fn saga(&self) -> Saga {
        Saga::new(self.clone())
    }

    /// What code returns to go on as a new run with an empty history.
    ///
    /// # Errors
    /// Always: the end of this run.
    pub fn continue_as_new<I: Serialize + ?Sized, O>(&self, input: &I) -> Result<O, Failure> {
        let details = Some(json("input", input)?);
        Err(Failure { details, ..Failure::of(FailureKind::ContinueAsNew, "it goes on as a new run") })
    }
}

impl fmt::Debug for WorkflowContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowContext").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// A step that was begun. Dropped before its end, it is given up: the decision not to wait for it is part of the history.
pub struct Pending<O> {
    shared: Shared,
    seq: Option<u32>,
    over: Option<Failure>,
    output: std::marker::PhantomData<fn() -> O>,
}

impl<O> Pending<O> {
    fn over(shared: Shared, failure: Failure) -> Self {
        Self { shared, seq: None, over: Some(failure), output: std::marker::PhantomData }
    }
}

impl<O: DeserializeOwned> Future for Pending<O> {
    type Output = Result<O, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(failure) = self.over.take() {
            return Poll::Ready(Err(failure));
        }
        let seq = self.seq.expect("a step is not polled after its end");
        let outcome = {
            let mut state = self.shared.lock();
            let State { outcomes, steps, .. } = &mut *state;
            match outcomes.remove(&seq) {
                Some(outcome) => outcome,
                None => {
                    if let Some(step) = steps.get_mut(&seq) {
                        step.waker = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                }
            }
        };
        self.seq = None;
        Poll::Ready(outcome.and_then(|json| parse("result", &json)))
    }
}

impl<O> Drop for Pending<O> {
    fn drop(&mut self) {
        let Some(seq) = self.seq else { return };
        let mut state = self.shared.lock();
        if !state.is_closed {
            state.outcomes.remove(&seq);
            state.give_up(seq);
        }
    }
}

impl<O> fmt::Debug for Pending<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("step", &self.seq).finish_non_exhaustive()
    }
}

pub(super) fn json<T: Serialize + ?Sized>(what: &str, value: &T) -> Result<Json, Failure> {
    Json::of(value).map_err(|e| Failure::bad_payload(what, &e))
}

fn parse<T: DeserializeOwned>(what: &str, json: &Json) -> Result<T, Failure> {
    json.parse().map_err(|e| Failure::bad_payload(what, &e))
}
