//! Brings keys from the tail into the index, beside the commits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use csf_core::port::JournalError;
use rusqlite::Connection;

use super::key::{Key, keys};
use super::postings;
use super::tail::{Generation, Tail, read_keys};
use crate::plan::{Planned, Step};
use crate::sqlite::error::{Action, from_io};
use crate::sqlite::reader::{ReadError, in_directory};
use crate::sqlite::redo::Applied;
use crate::sqlite::schema;

/// Events read at a time into an index that lacks them.
const READ_EVENTS: usize = 65_536;
/// So many times the events that go into the index together may be in memory. Beyond it a commit waits for the index, or is refused when that
/// cannot be written.
const BEHIND_MAX: usize = 64;

/// The thread and what it takes from. Dropping it folds what is left and ends the thread.
#[derive(Debug)]
pub(in crate::sqlite) struct Folder {
    directory: PathBuf,
    tail: Arc<Tail>,
    /// Events that go into the index together.
    events: usize,
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Folder {
    /// Opens the index and reads into the tail what it lacks.
    pub(super) fn open(
        directory: &Path,
        journal: &Connection,
        newest: u64,
        events: usize,
        tail: Arc<Tail>,
        applied: Option<Arc<Applied>>,
    ) -> Result<Self, JournalError> {
        let events = events.max(1);
        let (mut index, mut mark) = postings::open_writer(directory, journal, newest)?;
        let mut catch_up = || loop {
            let mut young = Generation::default();
            if read_keys(journal, mark, newest, READ_EVENTS, &mut young)? < READ_EVENTS {
                return Ok(young);
            }
            let checksum = postings::checksum(journal, young.last.cast_signed())?;
            postings::fold(&mut index, &young, checksum)?;
            mark = young.last;
        };
        let young = catch_up().map_err(|e| in_directory(directory, Action::Write, e))?;
        tail.with(|state| (state.young, state.is_fed) = (young, true));
        // What the thread takes from the journal is a checksum now and then.
        let reader = schema::open_reader(directory)?;
        // One wake-up waiting is enough: the thread takes what is there.
        let (wake, wakes) = sync_channel(1);
        let tail_of_thread = tail.clone();
        let place = directory.to_owned();
        let thread = std::thread::Builder::new()
            .name("csf-index".into())
            .spawn(move || {
                let mut own = Own { directory: place, index, journal: reader, tail: tail_of_thread, applied };
                own.run(&wakes);
            })
            .map_err(|e| from_io(directory, Action::Write, &e))?;
        Ok(Self { directory: directory.to_owned(), tail, events, wake: Some(wake), thread: Some(thread) })
    }

    /// Whether there is room for more; waits for the index while it is behind.
    pub(in crate::sqlite) fn room(&self) -> Result<(), JournalError> {
        let mut state = self.tail.lock();
        let events_max = self.events.saturating_mul(BEHIND_MAX);
        while state.young.events >= events_max && state.folding.is_some() {
            if state.has_failed {
                let reason = format!("its index cannot be written, and {events_max} events wait for that; see the log");
                let directory = self.directory.clone();
                return Err(JournalError::Storage { directory, action: "written", reason, full: false });
            }
            state = self.tail.folded.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        Ok(())
    }

    /// Notes events that are about to be stored.
    pub(in crate::sqlite) fn note(&self, steps: &[Step<'_>]) {
        let mut state = self.tail.lock();
        for step in steps {
            if let Step::Keep(Planned { position, event, .. }) = step {
                state.young.note(*position, keys(&event.stream, &event.kind, event.id, &event.tags));
            }
        }
    }

    /// They were not: the newest is at `position` still.
    pub(in crate::sqlite) fn failed(&self, position: u64) {
        self.tail.with(|state| state.cut(position));
    }

    /// They are stored, and these are gone.
    pub(in crate::sqlite) fn stored(&self, gone: Vec<(Key, u64)>) {
        let mut state = self.tail.lock();
        state.strike(gone);
        if state.young.events < self.events {
            return;
        }
        if state.folding.is_none() {
            state.folding = Some(Arc::new(std::mem::take(&mut state.young)));
        }
        drop(state);
        self.wake();
    }

    fn wake(&self) {
        if let Some(wake) = &self.wake {
            // Full: it will look anyway. Closed: the thread has failed, and the tail keeps what it has.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The thread folds what is left before it ends; readers that stay follow by themselves.
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.tail.with(|state| {
            state.is_fed = false;
            (state.folding, state.young) = (None, Generation::default());
        });
    }
}

/// What the thread has.
struct Own {
    directory: PathBuf,
    index: Connection,
    journal: Connection,
    tail: Arc<Tail>,
    applied: Option<Arc<Applied>>,
}

impl Own {
    fn run(&mut self, wakes: &Receiver<()>) {
        while wakes.recv().is_ok() {
            self.fold();
        }
        // The journal is closed. What cannot be folded now is read again by the next one.
        self.fold();
        self.tail.with(|state| {
            if state.folding.is_none() {
                state.folding = Some(Arc::new(std::mem::take(&mut state.young)));
            }
        });
        self.fold();
    }

    fn fold(&mut self) {
        let Some(generation) = self.tail.lock().folding.clone() else { return };
        if generation.is_empty() {
            return;
        }
        let folded = self.bring_in(&generation);
        let mut state = self.tail.lock();
        match folded {
            Ok(()) => (state.folding, state.has_failed) = (None, false),
            Err(error) => {
                if !state.has_failed {
                    tracing::warn!(%error, "the index of events cannot be written; they are found in memory until it can");
                }
                state.has_failed = true;
            }
        }
        drop(state);
        self.tail.folded.notify_all();
    }

    /// The index never goes further than the journal.
    fn bring_in(&mut self, generation: &Generation) -> Result<(), JournalError> {
        if let Some(applied) = &self.applied {
            applied.reach(generation.last)?;
        }
        let checksum = postings::checksum(&self.journal, generation.last.cast_signed()).map_err(ReadError::from);
        let folded = checksum.and_then(|checksum| postings::fold(&mut self.index, generation, checksum));
        folded.map_err(|e| in_directory(&self.directory, Action::Write, e))
    }
}
