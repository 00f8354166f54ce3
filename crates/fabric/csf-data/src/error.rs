//! SQLite's and the system's failures in the words of the journal port.

use std::io;
use std::path::Path;

use csf_core::port::JournalError;
use rusqlite::ErrorCode;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Read,
    Write,
}

impl Action {
    const fn past(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "written",
        }
    }
}

/// A failure of SQLite.
pub(crate) fn from_sqlite(directory: &Path, action: Action, error: &rusqlite::Error) -> JournalError {
    let code = error.sqlite_error_code();
    match code {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(directory, "journal.db", error),
        _ => storage(directory, action, error, code == Some(ErrorCode::DiskFull)),
    }
}

/// A failure of the file system.
pub(crate) fn from_io(directory: &Path, action: Action, error: &io::Error) -> JournalError {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    storage(directory, action, error, full)
}

/// Stored bytes that make no sense.
pub(crate) fn damaged(directory: &Path, place: impl Into<String>, reason: impl ToString) -> JournalError {
    JournalError::Damaged { directory: directory.to_owned(), place: place.into(), reason: reason.to_string() }
}

fn storage(directory: &Path, action: Action, reason: impl ToString, full: bool) -> JournalError {
    JournalError::Storage { directory: directory.to_owned(), action: action.past(), reason: reason.to_string(), full }
}
