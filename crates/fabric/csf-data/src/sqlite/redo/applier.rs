//! Brings what the redo log holds into the database, beside the commits.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use csf_core::port::JournalError;
use rusqlite::{Connection, TransactionBehavior};

use super::FILE_BYTES_MAX;
use super::file::{self, Files};
use super::place::Place;
use super::record::Draft;
use crate::sqlite::error::{Action, from_io};
use crate::sqlite::reader::{ReadError, in_directory};
use crate::sqlite::store::insert_record;

/// Bytes of records in one transaction of the database.
const TRANSACTION_BYTES: usize = 1 << 20;

/// How far the database is behind the redo log. Shared by the writer, the threads and the readers of this process.
#[derive(Debug)]
pub(in crate::sqlite) struct Applied {
    directory: PathBuf,
    state: Mutex<State>,
    /// Something waits to be brought in.
    pushed: Condvar,
    /// Something was brought in, or could not be; a file was made free.
    news: Condvar,
    /// A file is full, and what it holds is in the database.
    full: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Records that are synced and not in the database.
    waiting: VecDeque<Draft>,
    /// Position of the newest one that is synced, and of the newest one in the database.
    synced: u64,
    applied: u64,
    /// Why the last one could not be brought in, and whether the disk was full; nothing once it is tried again.
    stuck: Option<(String, bool)>,
    /// The disk's words when it failed to sync SQLite's file.
    unsynced: Option<String>,
    is_closed: bool,
    files: [FileState; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct FileState {
    bytes: u64,
    /// Position of its newest record, when it was written to its end and cannot be used again yet.
    full_at: Option<u64>,
}

impl Applied {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody who waits for something looks again.
    fn tell_all(&self) {
        [&self.pushed, &self.news, &self.full].into_iter().for_each(Condvar::notify_all);
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.news.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything that is synced is in the database; tries again when that did not work the last time.
    pub(in crate::sqlite) fn settle(&self) -> Result<(), JournalError> {
        let mut state = self.lock();
        if state.stuck.take().is_some() {
            self.pushed.notify_one();
        }
        let until = state.synced;
        while state.applied < until {
            self.check(&state)?;
            state = self.wait(state);
        }
        Ok(())
    }

    /// Waits until the database has the event at `position`.
    pub(in crate::sqlite) fn reach(&self, position: u64) -> Result<(), JournalError> {
        let mut state = self.lock();
        while state.applied < position {
            self.check(&state)?;
            state = self.wait(state);
        }
        Ok(())
    }

    fn check(&self, state: &State) -> Result<(), JournalError> {
        match &state.stuck {
            None => Ok(()),
            Some((reason, full)) => {
                let (directory, reason) = (self.directory.clone(), reason.clone());
                Err(JournalError::Storage { directory, action: "written", reason, full: *full })
            }
        }
    }

    /// That nothing went wrong beside the commits. What did not work is tried again first.
    pub(in crate::sqlite) fn is_sound(&self) -> Result<(), JournalError> {
        let state = self.lock();
        if let Some(reason) = &state.unsynced {
            return Err(JournalError::Unsynced { directory: self.directory.clone(), reason: reason.clone() });
        }
        let is_stuck = state.stuck.is_some();
        drop(state);
        if is_stuck { self.settle() } else { Ok(()) }
    }

    /// Position of the newest event or packet in the database.
    pub(in crate::sqlite) fn position(&self) -> u64 {
        self.lock().applied
    }

    /// A record that is synced.
    pub(in crate::sqlite) fn push(&self, draft: Draft) {
        let mut state = self.lock();
        state.synced = draft.last();
        state.waiting.push_back(draft);
        drop(state);
        self.pushed.notify_one();
    }

    /// A commit that went around the redo log, and is synced.
    pub(in crate::sqlite) fn passed(&self, position: u64) {
        let mut state = self.lock();
        (state.synced, state.applied) = (position, position);
        drop(state);
        self.news.notify_all();
    }

    pub(super) fn bytes_of(&self, file: usize) -> u64 {
        self.lock().files[file].bytes
    }

    /// The file is written to its end; waits until the other one may be used again.
    pub(super) fn turn(&self, full: usize) -> Result<(), JournalError> {
        let mut state = self.lock();
        state.files[full].full_at = Some(state.synced);
        self.full.notify_one();
        while state.files[1 - full].full_at.is_some() {
            self.check(&state)?;
            if let Some(reason) = &state.unsynced {
                return Err(JournalError::Unsynced { directory: self.directory.clone(), reason: reason.clone() });
            }
            state = self.wait(state);
        }
        Ok(())
    }
}

/// The threads. Dropping it brings in what is left and ends them.
#[derive(Debug)]
pub(in crate::sqlite) struct Applier {
    place: Place,
    applied: Arc<Applied>,
    threads: Vec<JoinHandle<()>>,
}

impl Applier {
    /// Everything up to `position` is in the database and synced.
    pub(in crate::sqlite) fn start(
        directory: &Path,
        connection: Arc<Mutex<Connection>>,
        files: &Files,
        position: u64,
    ) -> Result<(Self, Arc<Applied>), JournalError> {
        let io = |e| from_io(directory, Action::Write, &e);
        let files_state = files.lengths.map(|bytes| FileState { bytes, full_at: None });
        let state = State { synced: position, applied: position, files: files_state, ..State::default() };
        let applied = Arc::new(Applied {
            directory: directory.to_owned(),
            state: Mutex::new(state),
            pushed: Condvar::new(),
            news: Condvar::new(),
            full: Condvar::new(),
        });
        let wal = File::open(directory.join("journal.db-wal")).map_err(io)?;
        let own = [files.files[0].try_clone().map_err(io)?, files.files[1].try_clone().map_err(io)?];
        let place = Place::of(directory);
        place.enter(applied.clone());
        let mut applier = Self { place, applied: applied.clone(), threads: Vec::new() };
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let shared = applied.clone();
        applier.threads.push(thread("csf-apply").spawn(move || apply(&shared, &connection)).map_err(io)?);
        let shared = applied.clone();
        applier.threads.push(thread("csf-redo").spawn(move || free(&shared, &own, &wal)).map_err(io)?);
        Ok((applier, applied))
    }
}

impl Drop for Applier {
    fn drop(&mut self) {
        self.applied.lock().is_closed = true;
        self.applied.tell_all();
        for thread in self.threads.drain(..) {
            // What it could not bring in stays in the redo log.
            let _ = thread.join();
        }
        self.place.leave();
    }
}

/// Brings records in until there are none left and the journal is closed.
fn apply(applied: &Applied, connection: &Mutex<Connection>) {
    loop {
        let mut state = applied.lock();
        while (state.waiting.is_empty() || state.stuck.is_some()) && !state.is_closed {
            state = applied.pushed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.waiting.is_empty() || state.stuck.is_some() {
            return;
        }
        let mut bytes = 0;
        let fits = |draft: &&Draft| {
            bytes += draft.len();
            bytes <= TRANSACTION_BYTES
        };
        let count = state.waiting.iter().take_while(fits).count().max(1);
        let drafts: Vec<Draft> = state.waiting.drain(..count).collect();
        drop(state);
        let outcome = bring_in(&drafts, &mut connection.lock().unwrap_or_else(PoisonError::into_inner));
        let mut state = applied.lock();
        match outcome {
            Ok(()) => state.applied = drafts.last().map_or(state.applied, Draft::last),
            Err(error) => {
                let error = in_directory(&applied.directory, Action::Write, error);
                let full = matches!(error, JournalError::Storage { full: true, .. });
                tracing::warn!(%error, "what is synced cannot be brought into the database; it stays in the redo log");
                state.stuck = Some((error.to_string(), full));
                for draft in drafts.into_iter().rev() {
                    state.waiting.push_front(draft);
                }
            }
        }
        if state.files.iter().any(|file| file.full_at.is_some()) {
            applied.full.notify_one();
        }
        drop(state);
        applied.news.notify_all();
    }
}

fn bring_in(drafts: &[Draft], connection: &mut Connection) -> Result<(), ReadError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for draft in drafts {
        let record = draft.record();
        insert_record(&transaction, &record)?;
    }
    Ok(transaction.commit()?)
}

/// Makes full files free once what they hold is safe in SQLite's.
fn free(applied: &Applied, files: &[File; 2], wal: &File) {
    loop {
        let mut state = applied.lock();
        let at = loop {
            if state.is_closed {
                return;
            }
            let is_applied = |file: &FileState| file.full_at.is_some_and(|position| position <= state.applied);
            match state.files.iter().position(is_applied) {
                Some(at) => break at,
                None => state = applied.full.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        let bytes = state.files[at].bytes;
        drop(state);
        // What is no longer in the write-ahead file was folded into the database, which SQLite has synced before it went on in front.
        let outcome = wal.sync_data();
        let longer = (bytes * 2).min(FILE_BYTES_MAX);
        // Without room it stays as long as it is.
        let grown = outcome.is_ok() && longer > bytes && file::fill(&files[at], bytes, longer).is_ok();
        let mut state = applied.lock();
        match outcome {
            Ok(()) => state.files[at] = FileState { bytes: if grown { longer } else { bytes }, full_at: None },
            Err(error) => {
                state.unsynced = Some(error.to_string());
                return applied.news.notify_all();
            }
        }
        drop(state);
        applied.news.notify_all();
    }
}
