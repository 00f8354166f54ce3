//! Reset: a run is given up, and another one of its id goes on from an earlier entry of its history.
//!
//! Invariant: the end of the one and the beginning of the other are one append, so that a crash leaves either the old run or the new one.
//! Reference: Temporal's reset (docs.temporal.io, "Workflow Execution", "Reset"), which keeps the history up to the point and carries signals over.

use std::sync::Arc;

use csf_core::Stamp;
use csf_core::port::{
    APPEND_EVENTS_MAX, Append, EventCause, ExpectedVersion, Json, LogError, NewEvent, Origin, Read, Refused,
    StoredEvent,
};

use super::input::Input;
use super::{Engine, Shared, checkpoint, of_stream, stream_of, timers};
use crate::history::{HistoryEntry, HistoryEvent, Reset};
use crate::run::{Machine, Pendings};
use crate::{Failure, FailureKind, ParentClosePolicy, WorkflowError};

/// Appends of one reset; others write into the run meanwhile.
const ATTEMPTS_MAX: u32 = 16;

/// A reset that is thought out and not appended.
struct Plan {
    append: Append,
    /// Stream and history of the run that goes on.
    stream: String,
    history: Vec<HistoryEntry>,
    /// What the run that is given up waits for.
    given_up: Pendings,
}

impl Engine {
    /// Gives the newest run of this id up and starts another one of the same id, which has its history up to entry `to` and goes on from there with the
    /// code that is registered now; the number of the new run. A run that has ended can be reset too.
    ///
    /// * The old run ends as terminated with `reason`, unless it has ended; its children that were begun after the point are treated as their policy says.
    /// * Signals that it received after the point are told the new run again, in their order, and so are the ends of children that it began before.
    ///   Updates and requests to end that came after the point are not.
    /// * What was done after the point stays done in the world. The new run does it again where its code says so, under keys of its own; activities that
    ///   were under way at the point begin again.
    /// * Time-out of the run: it begins anew. Timers keep their times.
    ///
    /// # Errors
    /// [`WorkflowError::Reset`] when that entry is not there to keep, or a child that was begun before it is still under way;
    /// [`WorkflowError::NonDeterminism`] when the code does not fit what is kept; as [`Engine::signal`].
    pub async fn reset(&self, id: &str, to: u64, reason: &str) -> Result<u32, WorkflowError> {
        let mut contended = None;
        for _ in 0..ATTEMPTS_MAX {
            let old = self.newest(id).await?;
            let plan = self.shared.plan_reset(id, &old, to, reason).await?;
            if self.shared.runs().is_closed {
                return Err(WorkflowError::Closed);
            }
            match self.shared.log.append(plan.append).await {
                Ok(_) => {
                    let new = plan.stream;
                    checkpoint::note(&self.shared, plan.history.len() + 1);
                    self.shared.after_reset(&old, &new, &plan.history, &plan.given_up).await?;
                    return Ok(of_stream(&new).1);
                }
                Err(LogError::Refused(refused @ Refused::WrongVersion { .. })) => contended = Some(refused),
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended.map_or(WorkflowError::Closed, |refused| LogError::from(refused).into()))
    }
}

impl Shared {
    async fn plan_reset(&self, id: &str, old: &str, to: u64, reason: &str) -> Result<Plan, WorkflowError> {
        let stored = self.log.read(Read::stream(old)).await?.events;
        let entries = stored.iter().map(|event| HistoryEntry::of(event).map_err(|e| bad(id, event, &e)));
        let entries: Vec<HistoryEntry> = entries.collect::<Result<_, _>>()?;
        let refused = |reason: String| WorkflowError::Reset { id: id.to_owned(), to, reason };
        let has_ended = entries.last().is_some_and(|entry| entry.event.is_end());
        let last = entries.len() - usize::from(has_ended);
        let kept = usize::try_from(to).unwrap_or(usize::MAX);
        if !(1..=last).contains(&kept) {
            return Err(refused(format!("it has the entries 1 to {last} to keep")));
        }
        let (code, now) = (self.code_of(id, &entries)?, (self.world.clock)());
        let (number, pendings) = (of_stream(old).1 + 1, pendings_of(&entries[..kept]));
        let is_child = |seq: &u32| pendings.children.contains_key(seq);
        let carried: Vec<usize> = (kept..entries.len())
            .filter(|at| match &entries[*at].event {
                HistoryEvent::SignalReceived { .. } => true,
                HistoryEvent::ChildCompleted { seq, .. } => is_child(seq),
                _ => false,
            })
            .collect();
        let count = kept + carried.len() + usize::from(!has_ended);
        if count > APPEND_EVENTS_MAX {
            return Err(refused(format!(
                "that takes {count} entries in one append, and {APPEND_EVENTS_MAX} go; keep fewer"
            )));
        }
        let reset = Reset { stream: old.to_owned(), to, carried: carried.len() as u64 };
        let started = restarted(&entries[0].event, entries[0].stamp, now, reset);
        let stream = stream_of(id, number);
        let mut events: Vec<NewEvent> = Vec::new();
        let author = Some(self.options.author.clone());
        if !has_ended {
            let failure = Failure::of(FailureKind::Terminated, format!("reset to entry {to}: {reason}"));
            let origin = Origin { author: author.clone(), ..Origin::default() };
            events.push(entry(old, &HistoryEvent::Terminated { failure }, now)?.with_origin(origin));
        }
        for at in (0..kept).chain(carried) {
            let event = &stored[at];
            // Its id stays with the entry it is a copy of.
            let cause = Some(EventCause::Event(event.position));
            let origin = Origin { cause, ..event.origin.clone() };
            let new = match at {
                0 => entry(&stream, &started, event.stamp)?,
                at if at < kept => NewEvent::new(&stream, &event.kind, event.stamp, event.data.clone()),
                _ => NewEvent::new(&stream, &event.kind, now, event.data.clone()),
            };
            events.push(new.with_origin(origin));
        }
        let own = events.iter().filter(|event| event.stream == stream).zip(1..);
        let history: Vec<HistoryEntry> = own
            .map(|(event, version)| {
                let parsed = event.data.parse().map_err(|e| Failure::bad_payload("entry", &e))?;
                Ok(HistoryEntry { version, position: 0, stamp: event.stamp, event: parsed })
            })
            .collect::<Result<_, WorkflowError>>()?;
        let waiting = pendings_of(&history);
        if let Some((child, _)) = waiting.children.values().next() {
            return Err(refused(format!(
                "its child `{child}` was begun before that and is still under way; wait for its end, end it, or keep fewer entries"
            )));
        }
        Machine::replay(id, code, &history)
            .map_err(|reason| WorkflowError::NonDeterminism { id: id.to_owned(), reason })?;
        let append = Append::events(events).expecting(old, ExpectedVersion::Exactly(entries.len() as u64));
        let append = append.expecting(&stream, ExpectedVersion::NoStream);
        Ok(Plan { append, stream, history, given_up: pendings_of(&entries) })
    }

    /// What an engine that is opened now would do with both.
    async fn after_reset(
        self: &Arc<Self>,
        old: &str,
        new: &str,
        history: &[HistoryEntry],
        given_up: &Pendings,
    ) -> Result<(), WorkflowError> {
        self.runs().blocked.remove(old);
        // Its task finds the end in the log, and lets go of what it does.
        let failure = Failure::of(FailureKind::Terminated, "reset");
        self.deliver(old, Input::Terminate { failure, done: None })?;
        let name: Arc<str> = new.into();
        for (seq, at) in &pendings_of(history).timers {
            self.timers.set(*at, &name, *seq);
        }
        if let HistoryEvent::Started { deadline: Some(at), .. } = history[0].event {
            self.timers.set(at, &name, timers::DEADLINE);
        }
        self.deliver(new, Input::Wake)?;
        for (child, policy) in given_up.children.values() {
            // One that cannot be found now is told when the engine is opened.
            if let (true, Ok(Some(stream))) = (*policy != ParentClosePolicy::Abandon, self.newest(child).await) {
                self.deliver(&stream, Input::parent_ended(*policy))?;
            }
        }
        self.tell_change(old);
        Ok(())
    }
}

fn pendings_of(history: &[HistoryEntry]) -> Pendings {
    let mut pendings = Pendings::default();
    history.iter().for_each(|entry| pendings.take(&entry.event, entry.stamp));
    pendings
}

/// The start of the run that goes on. Of earlier resets, what lies within the entries kept still tells how to read them.
fn restarted(started: &HistoryEvent, began: Stamp, now: Stamp, reset: Reset) -> HistoryEvent {
    let mut started = started.clone();
    if let HistoryEvent::Started { deadline, resets, .. } = &mut started {
        *deadline = deadline.map(|at| now.after(at.since(began)));
        resets.retain(|earlier| earlier.to < reset.to);
        resets.iter_mut().for_each(|earlier| earlier.carried = earlier.carried.min(reset.to - earlier.to));
        resets.push(reset);
    }
    started
}

fn entry(stream: &str, event: &HistoryEvent, stamp: Stamp) -> Result<NewEvent, WorkflowError> {
    let data = Json::of(event).map_err(|e| Failure::bad_payload("entry", &e))?;
    Ok(NewEvent::new(stream, event.kind(), stamp, data))
}

fn bad(id: &str, event: &StoredEvent, error: &serde_json::Error) -> WorkflowError {
    WorkflowError::BadHistory { id: id.to_owned(), version: event.version, reason: error.to_string() }
}
