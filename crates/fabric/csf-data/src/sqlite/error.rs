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
        _ if is_unsynced(error) => {
            JournalError::Unsynced { directory: directory.to_owned(), reason: error.to_string() }
        }
        _ => storage(directory, action, error, code == Some(ErrorCode::DiskFull)),
    }
}

/// Whether a sync failed: then the system may have dropped what was written, and a second sync would not tell.
/// Reference: Rebello et al., "Can Applications Recover from fsync Failures?" (2020).
fn is_unsynced(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};
    let code = error.sqlite_error().map(|e| e.extended_code);
    matches!(code, Some(SQLITE_IOERR_FSYNC | SQLITE_IOERR_DIR_FSYNC))
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
