//! Where commits leave: straight to the server, or through the spool, which a thread empties.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use csf_core::port::{Away, JournalError, OutageWatch};

use super::source::{NotStored, Source, Stopped};
use super::spool::Spool;
use crate::commit::Commit;
use crate::sqlite::Mark;

/// How long a commit waits for a server before it is kept here.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long one try of the thread takes, and so a stop at most.
const TRY: Duration = Duration::from_secs(5);
/// Pause after a try that failed.
const PAUSE: Duration = Duration::from_millis(200);
/// How many of those that wait are sent before another may join them, once the server is back: the spool gets shorter with every one, and
/// each gathers more.
const SENT_BEFORE_JOINING: u64 = 2;

/// Where a commit is now.
#[derive(Debug)]
pub(super) enum Kept {
    /// On the server, whose log goes this far.
    There(Mark),
    /// In the spool. What is known to be on the server goes this far.
    Here(Option<Mark>),
}

struct State {
    /// Not here while the thread has it.
    source: Option<Box<dyn Source>>,
    /// Nothing where commits do not wait.
    spool: Option<Spool>,
    /// The last mark that was reached by the thread, and not told yet.
    reached: Option<Mark>,
    /// Whether the newest try of the thread was stored.
    is_returning: bool,
    stopped: Option<Stopped>,
    is_closed: bool,
}

struct Shared {
    state: Mutex<State>,
    news: Condvar,
    /// Shared with those who watch, who may outlive this.
    away: Arc<Mutex<Option<Away>>>,
}

/// The way out, and its thread.
pub(super) struct Outlet {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// How long a commit waits when there is no spool.
    patience: Duration,
}

impl Outlet {
    /// Of a source that has everything the spool had.
    pub(super) fn start(source: Box<dyn Source>, spool: Option<Spool>, patience: Duration) -> std::io::Result<Self> {
        let has_spool = spool.is_some();
        let state =
            State { source: Some(source), spool, reached: None, is_returning: false, stopped: None, is_closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Condvar::new(), away: Arc::default() });
        let own = shared.clone();
        let start = || std::thread::Builder::new().name("csf-spool".into()).spawn(move || own.empty());
        let thread = has_spool.then(start).transpose()?;
        Ok(Self { shared, thread, patience })
    }

    /// Brings the commit to where it is safe. An error says that it is nowhere, or that nothing more is written.
    pub(super) fn keep(&mut self, commit: &Commit<'_>) -> Result<Kept, Failed> {
        let mut state = self.shared.lock();
        if state.is_returning {
            let few = state.waiting().saturating_sub(SENT_BEFORE_JOINING);
            let is_long = |state: &mut State| state.is_returning && state.is_spooling() && state.waiting() > few;
            let waited = self.shared.news.wait_timeout_while(state, PATIENCE, is_long);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(stopped) = &state.stopped {
            return Err(Failed::Stopped(stopped.clone()));
        }
        let kept = match state.is_spooling() {
            true => self.spooled(&mut state, commit),
            false => self.straight(&mut state, commit),
        };
        kept.map_err(|error| state.failed(error))
    }

    /// To the server, or into the empty spool when it is away.
    fn straight(&self, state: &mut State, commit: &Commit<'_>) -> Result<Kept, NotStored> {
        let has_spool = state.spool.is_some();
        let patience = if has_spool { PATIENCE } else { self.patience };
        let source = state.source.as_mut().expect("the thread has it only while the spool has commits");
        match (source.store(commit, patience, !has_spool), &mut state.spool) {
            (Ok(mark), _) => {
                state.reached = None;
                Ok(Kept::There(mark))
            }
            (Err(NotStored::Away { reason, in_doubt }), Some(spool)) => {
                match spool.keep(commit, &reason) {
                    Ok(()) => {
                        tracing::warn!(reason, "the server is away; commits wait on this machine");
                        self.shared.tell(Some(spool.away(reason)));
                        self.shared.news.notify_all();
                        Ok(Kept::Here(state.reached.take()))
                    }
                    // It may be on the server; nobody may be told that it is not.
                    Err(error) if in_doubt => Err(NotStored::Over(Stopped::Unknown { reason: error.to_string() })),
                    Err(error) => Err(NotStored::Refused(error)),
                }
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Behind those that wait already.
    fn spooled(&self, state: &mut State, commit: &Commit<'_>) -> Result<Kept, NotStored> {
        let spool = state.spool.as_mut().expect("commits wait in it");
        let mut away = self.shared.away();
        let reason = away.as_ref().map(|away| away.reason.clone()).unwrap_or_default();
        spool.keep(commit, &reason).map_err(NotStored::Refused)?;
        *away = Some(spool.away(reason));
        Ok(Kept::Here(state.reached.take()))
    }

    /// What the thread has reached, and nobody was told yet.
    pub(super) fn reached(&self) -> Option<Mark> {
        self.shared.lock().reached.take()
    }

    pub(super) fn watch(&self) -> OutageWatch {
        let away = self.shared.away.clone();
        Arc::new(move || away.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Nothing more is written from now on.
    pub(super) fn stop(&self, stopped: Stopped) {
        self.shared.lock().stopped = Some(stopped);
    }
}

/// Why a commit was not kept.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nothing of it is stored.
    Refused(JournalError),
    /// And nothing more is.
    Stopped(Stopped),
}

impl State {
    fn is_spooling(&self) -> bool {
        self.source.is_none() || self.spool.as_ref().is_some_and(|spool| !spool.is_empty())
    }

    /// Commits in the spool.
    fn waiting(&self) -> u64 {
        self.spool.as_ref().map_or(0, Spool::count)
    }

    /// The failure for who asked.
    fn failed(&mut self, error: NotStored) -> Failed {
        let place = || self.source.as_ref().map(|source| source.place()).unwrap_or_default();
        let stopped = match error {
            // A failed sync is final: what the spool holds is not known.
            NotStored::Refused(error @ JournalError::Unsynced { .. }) => Stopped::Unknown { reason: error.to_string() },
            NotStored::Refused(error) => return Failed::Refused(error),
            NotStored::Away { reason, in_doubt: false } => {
                let directory = place();
                return Failed::Refused(JournalError::Storage { directory, action: "written", reason, full: false });
            }
            NotStored::Away { reason, in_doubt: true } => {
                let reason =
                    format!("{reason}; whether the commit is stored is known when the journal is opened again");
                Stopped::Unknown { reason }
            }
            NotStored::Over(stopped) => stopped,
        };
        self.stopped = Some(stopped.clone());
        Failed::Stopped(stopped)
    }
}

impl Spool {
    fn keep(&mut self, commit: &Commit<'_>, reason: &str) -> Result<(), JournalError> {
        let body = commit.encode();
        if self.is_full_for(body.len()) {
            let reason = format!(
                "the server is away ({reason}), and {} bytes of commits wait for it here, at most {}; bring it back, or start again with a larger `spool`",
                self.bytes(),
                self.limit()
            );
            return Err(JournalError::Storage { directory: self.place(), action: "written", reason, full: true });
        }
        self.push(commit.after, &body)
    }

    fn away(&self, reason: String) -> Away {
        Away { reason, spooled_bytes: self.bytes(), spool_limit: self.limit() }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn away(&self) -> MutexGuard<'_, Option<Away>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, away: Option<Away>) {
        *self.away() = away;
    }
}

impl Shared {
    /// Sends what waits, in its order, until the outlet is closed or nothing may be written any more.
    fn empty(&self) {
        let mut state = self.lock();
        let mut sent = 0_u64;
        loop {
            let has_none = |state: &mut State| !state.is_closed && !state.is_spooling();
            state = self.news.wait_while(state, has_none).unwrap_or_else(PoisonError::into_inner);
            if state.is_closed || state.stopped.is_some() {
                return;
            }
            let first = state.spool.as_ref().map_or(Ok(None), Spool::first);
            let (commit, mut source) = match (first, state.source.take()) {
                (Ok(Some(commit)), Some(source)) => (commit, source),
                (Ok(_), source) => {
                    state.source = source;
                    continue;
                }
                (Err(error), source) => {
                    state.source = source;
                    return state.over(&error);
                }
            };
            drop(state);
            let stored = source.store(&commit, TRY, true);
            state = self.lock();
            state.source = Some(source);
            state.is_returning = stored.is_ok();
            let reason = match stored {
                Ok(mark) => {
                    sent += 1;
                    state.reached = Some(mark);
                    let Some(spool) = &mut state.spool else { return };
                    if let Err(error) = spool.pop(commit.after) {
                        return state.over(&error);
                    }
                    match spool.is_empty() {
                        true => {
                            tracing::info!(commits = sent, "the server is back, and has what waited for it");
                            (sent, state.is_returning) = (0, false);
                            self.tell(None);
                        }
                        false => self.tell(Some(spool.away("it is back, and what waited is on its way".to_owned()))),
                    }
                    self.news.notify_all();
                    continue;
                }
                Err(NotStored::Over(stopped)) => {
                    tracing::error!(?stopped, "what waits for the server cannot be sent");
                    state.stopped = Some(stopped);
                    return;
                }
                Err(NotStored::Away { reason, .. }) => reason,
                Err(NotStored::Refused(error)) => error.to_string(),
            };
            let away = state.spool.as_ref().map(|spool| spool.away(reason));
            self.tell(away);
            let is_open = |state: &mut State| !state.is_closed;
            (state, _) = self.news.wait_timeout_while(state, PAUSE, is_open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn over(&mut self, error: &JournalError) {
        tracing::error!(%error, "what waits for the server cannot be sent");
        self.stopped = Some(Stopped::Unknown { reason: error.to_string() });
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.news.notify_all();
        if let Some(thread) = self.thread.take() {
            // It says nothing; what was not sent waits for the next start.
            let _ = thread.join();
        }
        if let Some(spool) = self.shared.lock().spool.as_ref().filter(|spool| !spool.is_empty()) {
            let (commits, bytes) = (spool.count(), spool.bytes());
            tracing::warn!(commits, bytes, spool = %spool.place().display(), "waits for the server; the next start sends it");
        }
    }
}
