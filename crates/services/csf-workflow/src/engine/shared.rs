//! What an engine and the tasks of its runs share: which runs are in memory, who waits for them, and what the log says of one.

use std::collections::hash_map::Entry;
use std::sync::{Arc, MutexGuard, PoisonError};

use csf_core::port::Read;
use tokio::sync::{mpsc, oneshot};

use super::input::{Answer, Input};
use super::{Runs, Shared, of_stream, stream_of, task};
use crate::WorkflowError;
use crate::definition::Code;
use crate::history::{HistoryEntry, HistoryEvent};

/// Of runs that may wait in memory, the part that may sleep there.
const ASLEEP_PART: usize = 16;

impl Shared {
    pub(super) fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn code(&self, workflow: &str) -> Result<Code, WorkflowError> {
        self.workflows.get(workflow).cloned().ok_or_else(|| WorkflowError::UnknownWorkflow {
            name: workflow.to_owned(),
            known: self.workflows.keys().cloned().collect(),
        })
    }

    pub(super) fn code_of(&self, id: &str, history: &[HistoryEntry]) -> Result<Code, WorkflowError> {
        match history.first().map(|entry| &entry.event) {
            Some(HistoryEvent::Started { workflow, .. }) => self.code(workflow),
            Some(other) => Err(WorkflowError::BadHistory {
                id: id.to_owned(),
                version: 1,
                reason: format!("it begins with `{}`", other.kind()),
            }),
            None => Err(WorkflowError::UnknownRun { id: id.to_owned() }),
        }
    }

    /// Gives the input to the run's task; starts one when there is none.
    pub(super) fn deliver(self: &Arc<Self>, stream: &str, input: Input) -> Result<(), WorkflowError> {
        let mut runs = self.runs();
        if runs.is_closed {
            return Err(WorkflowError::Closed);
        }
        let input = Box::new(input);
        let input = match runs.loaded.get(stream) {
            Some(task) => match task.send(input) {
                Ok(()) => return Ok(()),
                // It ended by a panic of its own.
                Err(mpsc::error::SendError(input)) => input,
            },
            None => input,
        };
        let (inputs, inbox) = mpsc::unbounded_channel();
        // The receiver is here.
        let _ = inputs.send(input);
        let stream: Arc<str> = stream.into();
        runs.loaded.insert(stream.clone(), inputs);
        drop(runs);
        self.world.spawn.spawn(Box::pin(task::run(self.clone(), stream, inbox)));
        Ok(())
    }

    /// The run's answer to an input.
    pub(super) async fn ask<T>(
        self: &Arc<Self>,
        stream: &str,
        input: impl Fn(Answer<T>) -> Input,
    ) -> Result<T, WorkflowError> {
        let (done, answer) = oneshot::channel();
        self.deliver(stream, input(done))?;
        answer.await.map_err(|_| WorkflowError::Closed)?
    }

    /// A run in memory has nothing to do from now on but to sleep or to wait for somebody; the number to end that under. When too many do, the
    /// one that does so for longest is asked to leave.
    pub(super) fn begin_waiting(&self, stream: &Arc<str>, is_asleep: bool) -> u64 {
        let mut runs = self.runs();
        let runs = &mut *runs;
        runs.waits += 1;
        let wait = runs.waits;
        let (waiting, most) = match is_asleep {
            true => (&mut runs.asleep, self.options.loaded_max / ASLEEP_PART),
            false => (&mut runs.idle, self.options.loaded_max),
        };
        waiting.insert(wait, stream.clone());
        if waiting.len() > most
            && let Some((_, longest)) = waiting.pop_first()
            && let Some(task) = runs.loaded.get(&longest)
        {
            // It may have just ended.
            let _ = task.send(Box::new(Input::Leave));
        }
        wait
    }

    pub(super) fn end_waiting(&self, wait: u64) {
        let mut runs = self.runs();
        let runs = &mut *runs;
        if runs.idle.remove(&wait).is_none() {
            runs.asleep.remove(&wait);
        }
    }

    pub(super) async fn newest(&self, id: &str) -> Result<Option<String>, WorkflowError> {
        let mut newest = stream_of(id, 0);
        match self.last_of(&newest).await {
            Ok(None) => return Ok(None),
            // A run ends in the append in which the next one of its id begins.
            Ok(Some(last)) if !last.is_end() => return Ok(Some(newest)),
            Ok(Some(_)) | Err(WorkflowError::BadHistory { .. }) => {}
            Err(error) => return Err(error),
        }
        for run in 1.. {
            let stream = stream_of(id, run);
            if self.log.head(&stream).await?.version == 0 {
                break;
            }
            newest = stream;
        }
        Ok(Some(newest))
    }

    /// The stream of the newest run of this id, when that goes on.
    pub(super) async fn open(&self, id: &str) -> Result<Option<String>, WorkflowError> {
        let Some(stream) = self.newest(id).await? else { return Ok(None) };
        Ok(self.end_of(&stream).await?.is_none().then_some(stream))
    }

    pub(super) async fn history(&self, stream: &str) -> Result<Vec<HistoryEntry>, WorkflowError> {
        let page = self.log.read(Read::stream(stream)).await?;
        let entry = |event: &csf_core::port::StoredEvent| {
            HistoryEntry::of(event).map_err(|e| WorkflowError::BadHistory {
                id: of_stream(stream).0.to_owned(),
                version: event.version,
                reason: e.to_string(),
            })
        };
        page.events.iter().map(entry).collect()
    }

    /// The last entry of a run that has ended.
    pub(super) async fn end_of(&self, stream: &str) -> Result<Option<HistoryEvent>, WorkflowError> {
        Ok(self.last_of(stream).await?.filter(HistoryEvent::is_end))
    }

    /// The last entry of a run.
    pub(super) async fn last_of(&self, stream: &str) -> Result<Option<HistoryEvent>, WorkflowError> {
        let page = self.log.read(Read::stream(stream).backward().limit(1)).await?;
        let Some(last) = page.events.first() else { return Ok(None) };
        let entry = HistoryEntry::of(last).map_err(|e| WorkflowError::BadHistory {
            id: of_stream(stream).0.to_owned(),
            version: last.version,
            reason: e.to_string(),
        })?;
        Ok(Some(entry.event))
    }

    /// Waits for the end of a run, and whether it had to; nothing when there is no such run, or it is to be looked for again.
    pub(super) async fn ended(self: &Arc<Self>, stream: &str) -> Result<(Option<HistoryEvent>, bool), WorkflowError> {
        let (ended, wait) = oneshot::channel();
        // Asked for before the look, so that an end after it is told.
        self.runs().waiting.entry(stream.to_owned()).or_default().push(ended);
        let last = self.last_of(stream).await;
        if matches!(&last, Ok(Some(last)) if !last.is_end()) {
            self.is_able(stream)?;
            return match wait.await {
                Ok(end) => Ok((Some(end), true)),
                // Whoever tells no end lets go, and so does an engine that is closed.
                Err(_) if self.runs().is_closed => Err(WorkflowError::Closed),
                Err(_) => self.is_able(stream).map(|()| (None, true)),
            };
        }
        drop(wait);
        if let Entry::Occupied(mut waiting) = self.runs().waiting.entry(stream.to_owned()) {
            waiting.get_mut().retain(|waiting| !waiting.is_closed());
            if waiting.get().is_empty() {
                waiting.remove();
            }
        }
        Ok((last?, false))
    }

    /// Whether a run that has not ended can go on, as far as is known; one that is not in memory is looked at.
    pub(super) fn is_able(self: &Arc<Self>, stream: &str) -> Result<(), WorkflowError> {
        let runs = self.runs();
        if let Some(reason) = runs.blocked.get(stream) {
            return Err(WorkflowError::Blocked { id: of_stream(stream).0.to_owned(), reason: reason.clone() });
        }
        let is_loaded = runs.loaded.contains_key(stream);
        drop(runs);
        if is_loaded { Ok(()) } else { self.deliver(stream, Input::Wake) }
    }

    /// Lets everybody who waits for the run's end look again: it cannot end as things are, or another one goes on in its place.
    pub(super) fn tell_change(&self, stream: &str) {
        self.runs().waiting.remove(stream);
    }

    /// Tells everybody who waits for it how the run has ended.
    pub(super) fn tell_end(&self, stream: &str, end: &HistoryEvent) {
        for waiting in self.runs().waiting.remove(stream).unwrap_or_default() {
            // Who asked may have gone away.
            let _ = waiting.send(end.clone());
        }
    }
}
