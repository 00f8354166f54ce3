//! How all runs stood at a position of the log, written down there, so that an engine that is opened reads that and what followed.
//!
//! Stream `csf.workflow` tells of the newest checkpoint; the runs themselves are in `csf.workflow-runs`, in parts. A checkpoint is made of the one
//! before it and of the log, never of what an engine remembers: so it is right whoever else has written, and one that was cut off is none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use csf_core::port::{
    Append, ExpectedVersion, Filter, Json, LogError, NewEvent, Origin, Read, Refused, StoredEvent, StreamChange,
};
use serde::{Deserialize, Serialize};

use super::standing::{Fold, Relatives, Sent, Standing};
use super::{Shared, of_stream};
use crate::WorkflowError;
use crate::history::{HistoryEntry, WORKFLOW_CATEGORY};

/// Tells where the newest checkpoint is.
const STREAM: &str = "csf.workflow";
/// Holds the runs of checkpoints.
const RUNS: &str = "csf.workflow-runs";
/// Entries read at a time: they are folded at once, about a millisecond, in which a timer waits when all threads are at work.
const PAGE: usize = 512;
/// Runs in one part of a checkpoint, of which one is read at a time.
const PART_RUNS: usize = 512;

/// What [`STREAM`] holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Checkpoint {
    /// It holds what is up to here.
    position: u64,
    /// Its parts: the versions of the first and of the one after the last.
    parts: (u64, u64),
    /// Runs in them.
    runs: u64,
    /// Signals that had been sent and not received.
    sent: Vec<Sent>,
    /// Streams of runs that are in none of the parts, since their histories could not be read.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    aside: BTreeSet<Box<str>>,
}

/// A part of a checkpoint: runs by stream.
type Part = Vec<(Box<str>, Standing)>;

/// When the next checkpoint is due.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Entries appended since the newest one.
    entries: AtomicU64,
    /// Runs in the newest one.
    runs: AtomicU64,
    is_under_way: AtomicBool,
}

impl Pace {
    /// Entries between two checkpoints: in proportion to what is written down again each time.
    fn interval(&self, every: u64) -> u64 {
        every.max(self.runs.load(Ordering::Relaxed) / 2)
    }

    fn is_due(&self, every: u64) -> bool {
        self.entries.load(Ordering::Relaxed) >= self.interval(every)
    }
}

/// So many entries were appended.
pub(super) fn note(shared: &Arc<Shared>, entries: usize) {
    let pace = &shared.pace;
    pace.entries.fetch_add(entries as u64, Ordering::Relaxed);
    if !pace.is_due(shared.options.checkpoint_every) || pace.is_under_way.swap(true, Ordering::AcqRel) {
        return;
    }
    let own = shared.clone();
    shared.world.spawn.spawn(Box::pin(async move {
        // The next entries ask again.
        if let Err(error) = write(&own).await {
            tracing::warn!(%error, "no checkpoint of the workflows; an engine that is opened reads further back");
        }
        own.pace.is_under_way.store(false, Ordering::Release);
    }));
}

/// How the runs of a log stand, read part by part.
pub(super) struct Standings {
    newest: Checkpoint,
    /// Version of [`STREAM`].
    version: u64,
    fold: Fold,
    /// Everything up to here is in it.
    position: u64,
    next_part: u64,
    relatives: Relatives,
    /// Streams of runs whose histories cannot be read. They are blocked; the others go on.
    aside: BTreeSet<Box<str>>,
}

impl Standings {
    /// The newest checkpoint and all entries that follow it.
    pub(super) async fn read(shared: &Shared) -> Result<Self, WorkflowError> {
        let told = shared.log.read(Read::stream(STREAM).backward().limit(1)).await?.events;
        let (newest, version) = match told.first() {
            Some(told) => (told.parse().map_err(|e| unreadable(told.version, &e))?, told.version),
            None => (Checkpoint::default(), 0),
        };
        let (mut fold, mut position) = (Fold::default(), newest.position);
        let mut aside = BTreeSet::new();
        for stream in &newest.aside {
            read_again(shared, stream, newest.position, &mut fold, &mut aside).await?;
        }
        loop {
            let read = Read::log(Filter::category(WORKFLOW_CATEGORY)).from(position + 1).limit(PAGE);
            let page = shared.log.read(read).await?;
            for stored in &page.events {
                match entry_of(stored) {
                    Ok(entry) if aside.contains(&*stored.stream) => {
                        // Ended is ended, whatever came before.
                        if entry.event.is_end() {
                            aside.remove(&*stored.stream);
                        }
                    }
                    Ok(entry) => fold.take(stored, &entry.event),
                    Err(error) => set_aside(shared, stored, &error, &mut aside),
                }
            }
            match page.events.last() {
                Some(last) if page.events.len() == PAGE => position = last.position,
                _ => {
                    position = page.position.max(position);
                    break;
                }
            }
        }
        let next_part = newest.parts.0;
        fold.runs.retain(|stream, _| !aside.contains(stream));
        Ok(Self { newest, version, fold, position, next_part, relatives: Relatives::default(), aside })
    }

    /// What the next checkpoint has to do is known.
    pub(super) fn pace(&self, shared: &Shared) {
        shared.pace.entries.store(self.fold.entries, Ordering::Relaxed);
        shared.pace.runs.store(self.newest.runs, Ordering::Relaxed);
    }

    /// The next runs that stand alone and for which something is to be done.
    pub(super) async fn next(&mut self, shared: &Shared) -> Result<Option<Part>, WorkflowError> {
        if self.next_part < self.newest.parts.1 {
            let part = shared.log.read(Read::stream(RUNS).from(self.next_part).limit(1)).await?.events;
            let Some(part) = part.first().filter(|part| part.version == self.next_part) else {
                // Another engine has made a newer checkpoint meanwhile.
                return Err(unreadable(self.next_part, &"it is gone"));
            };
            let runs: Part = part.parse().map_err(|e| unreadable(part.version, &e))?;
            let mut alone = Part::with_capacity(runs.len());
            for (stream, run) in runs {
                let run = self.fold.on(&stream, run);
                self.sort(stream, run, &mut alone);
            }
            self.next_part += 1;
            return Ok(Some(alone));
        }
        let mut alone = Part::new();
        while alone.len() < PART_RUNS
            && let Some((stream, run)) = self.fold.runs.pop_first()
        {
            self.sort(stream, run, &mut alone);
        }
        Ok((!alone.is_empty()).then_some(alone))
    }

    fn sort(&mut self, stream: Box<str>, run: Standing, alone: &mut Part) {
        if self.aside.contains(&stream) {
            return;
        }
        if run.has_relatives() {
            self.relatives.0.insert(stream, run);
        } else if !run.is_idle() {
            alone.push((stream, run));
        }
    }

    /// Those that do not stand alone, when all others were read; and signals that were not received.
    pub(super) fn rest(&mut self) -> (Relatives, Vec<Sent>) {
        let mut relatives = std::mem::take(&mut self.relatives);
        relatives.settle();
        let earlier = std::mem::take(&mut self.newest.sent);
        (relatives, self.fold.unheard(earlier))
    }
}

fn entry_of(stored: &StoredEvent) -> Result<HistoryEntry, WorkflowError> {
    HistoryEntry::of(stored).map_err(|e| WorkflowError::BadHistory {
        id: of_stream(&stored.stream).0.to_owned(),
        version: stored.version,
        reason: e.to_string(),
    })
}

/// An entry cannot be read, so its run cannot go on; it is not the others' fault.
fn set_aside(shared: &Shared, stored: &StoredEvent, error: &WorkflowError, aside: &mut BTreeSet<Box<str>>) {
    if aside.insert(stored.stream.as_str().into()) {
        tracing::error!(%error, "a workflow run is set aside");
        shared.runs().blocked.insert(stored.stream.clone(), error.to_string());
    }
}

/// A run that was set aside: this engine may be able to read what an earlier one could not.
async fn read_again(
    shared: &Shared,
    stream: &str,
    until: u64,
    fold: &mut Fold,
    aside: &mut BTreeSet<Box<str>>,
) -> Result<(), WorkflowError> {
    let stored = shared.log.read(Read::stream(stream)).await?.events;
    let entries: Vec<_> = stored.iter().filter(|stored| stored.position <= until).map(|s| (s, entry_of(s))).collect();
    if entries.last().is_some_and(|(_, last)| last.as_ref().is_ok_and(|last| last.event.is_end())) {
        return Ok(());
    }
    if let Some((stored, Err(error))) = entries.iter().find(|(_, entry)| entry.is_err()) {
        set_aside(shared, stored, error, aside);
        return Ok(());
    }
    for (stored, entry) in entries {
        fold.take(stored, &entry?.event);
    }
    Ok(())
}

/// Writes the next checkpoint, unless another engine does.
async fn write(shared: &Arc<Shared>) -> Result<(), WorkflowError> {
    shared.pace.entries.store(0, Ordering::Relaxed);
    let mut standings = Standings::read(shared).await?;
    let first = shared.log.head(RUNS).await?.version + 1;
    let mut parts = Parts { shared, version: first - 1, runs: 0 };
    let mut waiting = Part::new();
    while let Some(alone) = standings.next(shared).await? {
        waiting.extend(alone);
        while waiting.len() >= PART_RUNS {
            if !parts.append(waiting.drain(..PART_RUNS).collect()).await? {
                return Ok(());
            }
        }
    }
    let (relatives, unheard) = standings.rest();
    waiting.extend(relatives.0);
    while !waiting.is_empty() {
        let length = waiting.len().min(PART_RUNS);
        if !parts.append(waiting.drain(..length).collect()).await? {
            return Ok(());
        }
    }
    let mut sent = Vec::new();
    for signal in unheard {
        match shared.open(&signal.to).await {
            // Nobody else will ever hear it.
            Ok(None) => {}
            Ok(Some(_)) | Err(WorkflowError::BadHistory { .. }) => sent.push(signal),
            Err(error) => return Err(error),
        }
    }
    let (runs, version) = (parts.runs, standings.version);
    let (position, aside) = (standings.position, std::mem::take(&mut standings.aside));
    let checkpoint = Checkpoint { position, parts: (first, parts.version + 1), runs, sent, aside };
    let now = (shared.world.clock)();
    let forget = |stream: &str, before| StreamChange::Truncate { stream: stream.to_owned(), before };
    let mut append = Append::events([event(shared, STREAM, "checkpoint", json(&checkpoint))])
        .expecting(STREAM, ExpectedVersion::Exactly(version))
        .changing(now, forget(STREAM, version + 1));
    if parts.version >= first {
        append = append.changing(now, forget(RUNS, first));
    }
    if is_appended(shared, append).await? {
        shared.pace.runs.store(runs, Ordering::Relaxed);
    }
    Ok(())
}

/// The parts of a checkpoint that is being written.
struct Parts<'s> {
    shared: &'s Shared,
    /// Version of [`RUNS`].
    version: u64,
    runs: u64,
}

impl Parts<'_> {
    /// Whether it was appended: not when another engine writes parts too.
    async fn append(&mut self, part: Part) -> Result<bool, WorkflowError> {
        let append = Append::events([event(self.shared, RUNS, "runs", json(&part))])
            .expecting(RUNS, ExpectedVersion::Exactly(self.version));
        self.version += 1;
        self.runs += part.len() as u64;
        is_appended(self.shared, append).await
    }
}

async fn is_appended(shared: &Shared, append: Append) -> Result<bool, WorkflowError> {
    match shared.log.append(append).await {
        Ok(_) => Ok(true),
        Err(LogError::Refused(Refused::WrongVersion { .. })) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn event(shared: &Shared, stream: &str, kind: &str, data: Json) -> NewEvent {
    let origin = Origin { author: Some(shared.options.author.clone()), ..Origin::default() };
    NewEvent::new(stream, kind, (shared.world.clock)(), data).with_origin(origin)
}

fn json<T: Serialize>(value: &T) -> Json {
    Json::of(value).expect("numbers and texts have a JSON form")
}

fn unreadable(version: u64, reason: &impl ToString) -> WorkflowError {
    WorkflowError::BadHistory { id: RUNS.to_owned(), version, reason: reason.to_string() }
}
