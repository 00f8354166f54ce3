//! The writer's connection: its lock, its fence, and how it finds out what became of a commit whose answer was lost.
//!
//! The lock belongs to the connection. When that is lost, a new one waits until the server has ended the old one, so that nothing of it can
//! still be committed; then the head says whether the last commit was.

use std::time::{Duration, Instant};

use csf_core::Incarnation;
use csf_core::port::{Durability, JournalError};

use super::error::{Action, Failure};
use super::options::PostgresOptions;
use super::schema::{self, Head};
use super::session::Session;
use super::store::store;
use crate::commit::Commit;

/// First pause before another try; each is twice the one before.
const BACKOFF: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How long a lock may still be held by a writer that has just gone.
const GRACE: Duration = Duration::from_secs(1);

/// A time after which nothing is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    end: Instant,
    pause: Duration,
}

impl Deadline {
    #[expect(clippy::disallowed_methods, reason = "how long a server may be away is real time")]
    pub(crate) fn after(patience: Duration) -> Self {
        Self { end: Instant::now() + patience, pause: BACKOFF }
    }

    /// Sleeps before another try; false when there is no time for one.
    #[expect(clippy::disallowed_methods, reason = "a server that is away is asked again in real time")]
    pub(crate) fn pause(&mut self) -> bool {
        let left = self.end.saturating_duration_since(Instant::now());
        std::thread::sleep(self.pause.min(left));
        self.pause = (self.pause * 2).min(BACKOFF_MAX);
        !left.is_zero()
    }
}

/// What became of a commit.
pub(super) enum Outcome {
    Done,
    /// Why not, and nothing is stored.
    Failed(JournalError),
    /// Why it is not known whether it is stored.
    Unknown(JournalError),
}

/// The connection of one start.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) options: PostgresOptions,
    pub(super) incarnation: Incarnation,
    pub(super) durability: Durability,
    session: Option<Session>,
    /// The server's process behind the session.
    backend: i32,
    channel: String,
    /// Where the log ends if the last commit was stored, whose answer was lost.
    doubt: Option<u64>,
}

impl Writer {
    /// Takes the lock and begins the next incarnation; where the log stands.
    pub(super) fn open(options: PostgresOptions) -> Result<(Self, Head), JournalError> {
        let opened = (|| {
            let mut session = Session::open(&options)?;
            let backend = backend(&mut session)?;
            let mut grace = Deadline::after(GRACE);
            while !lock(&mut session, &options)? {
                if !grace.pause() {
                    return Err(Failure::Said(Box::new(JournalError::InUse { directory: options.place() })));
                }
            }
            let durability = schema::durability(&mut session)?;
            let head = schema::begin(&mut session, &options)?;
            Ok((session, backend, durability, head))
        })();
        let (session, backend, durability, head) = opened.map_err(|e: Failure| e.said(&options, Action::Open))?;
        let (incarnation, channel) = (head.incarnation, options.channel());
        Ok((Self { options, incarnation, durability, session: Some(session), backend, channel, doubt: None }, head))
    }

    /// The connection, a new one when the old one is lost. The log must stand at `position`.
    pub(super) fn session(&mut self, position: u64, deadline: &mut Deadline) -> Result<&mut Session, JournalError> {
        if self.is_lost() {
            let head = self.reconnect(deadline)?;
            if head.position != position {
                return Err(self.elsewhere(head, position));
            }
        }
        Ok(self.session.as_mut().expect("a connection was made"))
    }

    pub(super) fn is_lost(&self) -> bool {
        self.session.as_ref().is_none_or(Session::is_lost)
    }

    /// Stores the commit once, also when it is asked again after an outcome that was not known. Makes a new connection only if it `connects`.
    pub(super) fn commit(&mut self, commit: &Commit<'_>, deadline: &mut Deadline, connects: bool) -> Outcome {
        let (position, end) = (commit.after, commit.position());
        let from = Head { position, incarnation: self.incarnation };
        loop {
            if self.is_lost() {
                let head = match connects {
                    true => self.reconnect(deadline),
                    false => Err(Failure::Unfit("the connection is lost".into()).said(&self.options, Action::Write)),
                };
                match head {
                    Ok(head) if head.position == end && self.doubt == Some(end) => break,
                    Ok(head) if head.position == position => self.doubt = None,
                    Ok(head) => return Outcome::Failed(self.elsewhere(head, position)),
                    Err(error) if self.doubt.is_some() => return Outcome::Unknown(error),
                    Err(error) => return Outcome::Failed(error),
                }
            }
            let channel = self.channel.clone();
            let session = self.session.as_mut().expect("a connection was made");
            match store(session, commit, from, &channel) {
                Ok(true) => break,
                Ok(false) => return Outcome::Failed(self.refused(position)),
                Err(failure) if !self.is_lost() => return Outcome::Failed(failure.said(&self.options, Action::Write)),
                Err(_) => self.doubt = Some(end),
            }
        }
        self.doubt = None;
        Outcome::Done
    }

    /// Every answer is waited for until then at most; a connection that does not answer is given up.
    pub(super) fn answers_until(&mut self, deadline: Option<&Deadline>) {
        if let Some(session) = &mut self.session {
            session.answers_until(deadline.map(|deadline| deadline.end));
        }
    }

    /// Why the fence let nothing through.
    fn refused(&mut self, position: u64) -> JournalError {
        let Some(session) = &mut self.session else { return self.elsewhere_words("its connection is gone".into()) };
        match schema::head(session) {
            Ok(head) => self.elsewhere(head, position),
            Err(failure) => failure.said(&self.options, Action::Write),
        }
    }

    fn elsewhere(&self, head: Head, position: u64) -> JournalError {
        if head.incarnation != self.incarnation {
            let (own, newest) = (self.incarnation, head.incarnation);
            return JournalError::Fenced { directory: self.options.place(), own, newest };
        }
        self.elsewhere_words(format!("the server is at position {}, its receipts are at {position}", head.position))
    }

    fn elsewhere_words(&self, reason: String) -> JournalError {
        JournalError::Damaged { directory: self.options.place(), place: "head".into(), reason }
    }

    /// A new connection with the lock; where the log stands. Its incarnation is this one.
    fn reconnect(&mut self, deadline: &mut Deadline) -> Result<Head, JournalError> {
        self.session = None;
        loop {
            let failure = match self.connect() {
                Ok(Some(head)) => return Ok(head),
                Ok(None) => Failure::Said(Box::new(JournalError::InUse { directory: self.options.place() })),
                Err(failure) if failure.is_passing() => failure,
                Err(failure) => return Err(failure.said(&self.options, Action::Write)),
            };
            tracing::warn!(journal = %self.options.place().display(), reason = failure.words(), "connecting again");
            if !deadline.pause() {
                return Err(failure.said(&self.options, Action::Write));
            }
        }
    }

    /// One try; nothing while the old connection, or somebody else, has the lock.
    fn connect(&mut self) -> Result<Option<Head>, Failure> {
        let mut session = Session::open(&self.options)?;
        let has_lock = lock(&mut session, &self.options)?;
        let head = schema::head(&mut session)?;
        if head.incarnation != self.incarnation {
            return Err(Failure::Said(Box::new(self.elsewhere(head, 0))));
        }
        if !has_lock {
            // The server may not know yet that nobody listens to our old connection. Another one's it leaves alone.
            let (class, key) = self.options.lock();
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid = $1
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                       AND classid::bigint = $2 AND objid::bigint = $3";
            let (class, key) = (i64::from(class.cast_unsigned()), i64::from(key.cast_unsigned()));
            session.query(sql, &[&self.backend, &class, &key])?;
            return Ok(None);
        }
        self.backend = backend(&mut session)?;
        self.durability = schema::durability(&mut session)?;
        self.session = Some(session);
        Ok(Some(head))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.answers_until(Some(&Deadline::after(GRACE)));
        let Some(session) = self.session.as_mut().filter(|session| !session.is_lost()) else { return };
        // The next writer may be waiting. If it cannot be said, the end of the connection says it.
        let _ = session.batch("SELECT pg_advisory_unlock_all()");
    }
}

fn backend(session: &mut Session) -> Result<i32, Failure> {
    Ok(session.one("SELECT pg_backend_pid()", &[])?.try_get(0)?)
}

fn lock(session: &mut Session, options: &PostgresOptions) -> Result<bool, Failure> {
    let (class, key) = options.lock();
    Ok(session.one("SELECT pg_try_advisory_lock($1, $2)", &[&class, &key])?.try_get(0)?)
}
