//! The server's failures in the words of the journal port.

use std::error::Error as _;
use std::io;

use csf_core::port::JournalError;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use super::options::PostgresOptions;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Open,
    Read,
    Write,
}

impl Action {
    const fn past(self) -> &'static str {
        match self {
            Self::Open => "opened",
            Self::Read => "read",
            Self::Write => "written",
        }
    }
}

/// A failure before it is told where.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Of the server, or of the way to it.
    Server(Error),
    /// The server took the connection and said nothing.
    Silent,
    /// Of this side, or a server that is not fit.
    Unfit(String),
    /// Stored bytes that make no sense.
    Damaged { place: String, reason: String },
    /// In the words of the port already.
    Said(Box<JournalError>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl Failure {
    pub(super) fn damaged(place: impl Into<String>, reason: impl ToString) -> Self {
        Self::Damaged { place: place.into(), reason: reason.to_string() }
    }

    /// The error as its caller sees it.
    pub(super) fn said(self, options: &PostgresOptions, action: Action) -> JournalError {
        let directory = options.place();
        let full = matches!(&self, Self::Server(e) if e.code() == Some(&SqlState::DISK_FULL));
        match self {
            Self::Said(error) => *error,
            Self::Damaged { place, reason } => JournalError::Damaged { directory, place, reason },
            Self::Server(_) | Self::Silent | Self::Unfit(_) => {
                JournalError::Storage { directory, action: action.past(), reason: self.words(), full }
            }
        }
    }

    /// What happened, without where.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Server(error) => words(error),
            Self::Silent => "the server took the connection and said nothing".to_owned(),
            Self::Unfit(reason) => reason.clone(),
            Self::Damaged { place, reason } => format!("damaged at {place}: {reason}"),
            Self::Said(error) => error.to_string(),
        }
    }

    /// Whether another try may find the server again.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Server(error) => is_lost(error) || error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS),
            Self::Silent => true,
            _ => false,
        }
    }
}

/// Whether the connection is gone, and with it the answer to what was sent last.
pub(super) fn is_lost(error: &Error) -> bool {
    let Some(code) = error.code() else {
        let is_io = error.source().is_some_and(|cause| cause.is::<io::Error>());
        return error.is_closed() || is_io || error.to_string().starts_with("timeout");
    };
    let ends = [
        &SqlState::ADMIN_SHUTDOWN,
        &SqlState::CRASH_SHUTDOWN,
        &SqlState::CANNOT_CONNECT_NOW,
        &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    ends.contains(&code) || code.code().starts_with("08")
}

/// The server's words with its code; the library's own name only the family. A server's details may quote rows: they stay there.
fn words(error: &Error) -> String {
    let said = |e: &DbError| format!("{} ({})", e.message(), e.code().code());
    match (error.as_db_error(), error.source()) {
        (Some(e), _) => said(e),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}
