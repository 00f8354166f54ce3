//! The server's side of a mirrored journal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use csf_core::Incarnation;
use csf_core::port::{Durability, JournalError};

use crate::commit::Commit;
use crate::sqlite::{Mark, SqliteIndex};

/// A log on a server whose one writer this is.
pub(crate) trait Source: Send + 'static {
    /// Where it is, without credentials: the errors name it.
    fn place(&self) -> PathBuf;

    /// How safe what it has stored is.
    fn durability(&self) -> Durability;

    /// This start's number.
    fn incarnation(&self) -> Incarnation;

    /// Stores the commit at the end of the log, once, however often it is asked to; how far the log goes then. Tries for about `patience`; connects
    /// again meanwhile where that may take longer, or leaves it to the next call.
    fn store(&mut self, commit: &Commit<'_>, patience: Duration, connects: bool) -> Result<Mark, NotStored>;
}

/// A source at the beginning of a start: it has fenced every other writer, and the repeat holds all that it held then.
pub(crate) struct Opened {
    pub(crate) source: Box<dyn Source>,
    pub(crate) index: SqliteIndex,
    pub(crate) mark: Mark,
}

/// Why a commit is not stored, or not known to be.
#[derive(Debug)]
pub(crate) enum NotStored {
    /// The server is away. Asked again with the same commit, it stores it once.
    Away {
        /// What happened.
        reason: String,
        /// Whether it may be stored all the same.
        in_doubt: bool,
    },
    /// It is not, and will not be until something changes on the server.
    Refused(JournalError),
    /// It is not, and nothing will be any more.
    Over(Stopped),
}

/// Why nothing more is written until the journal is opened again.
#[derive(Clone, Debug)]
pub(crate) enum Stopped {
    /// Another writer has taken over.
    Fenced {
        /// This start's number.
        own: Incarnation,
        /// The newest start's.
        newest: Incarnation,
    },
    /// What the server holds is not known here.
    Unknown {
        /// What happened.
        reason: String,
    },
}

impl Stopped {
    pub(crate) fn error(&self, place: &Path) -> JournalError {
        let directory = place.to_owned();
        match self {
            Self::Fenced { own, newest } => JournalError::Fenced { directory, own: *own, newest: *newest },
            Self::Unknown { reason } => JournalError::Unsynced { directory, reason: reason.clone() },
        }
    }
}
