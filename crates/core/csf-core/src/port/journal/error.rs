//! What can go wrong with a journal.

use std::path::PathBuf;

use crate::Incarnation;

/// A failed journal call. Nothing of the failed append is stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process holds the directory.
    #[error("journal {directory} is in use by another node; stop it or choose another directory with --journal", directory = directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// A newer start has taken the journal over; this one must not write any more.
    #[error("journal {directory} was taken over by start {newest}, this is start {own}; nothing more is written here, stop one of the two", directory = directory.display())]
    Fenced {
        /// The directory.
        directory: PathBuf,
        /// This start's number.
        own: Incarnation,
        /// The newest start's.
        newest: Incarnation,
    },
    /// Written by a newer version of this software.
    #[error("journal {directory} has format {found}, this build reads up to {supported}; use a newer csf", directory = directory.display())]
    NewerFormat {
        /// The directory.
        directory: PathBuf,
        /// Format found.
        found: u32,
        /// Newest format known.
        supported: u32,
    },
    /// Written by an older version, and not brought up to date yet.
    #[error("journal {directory} has format {found}, this build reads from {oldest}; start a node on it once, which renews it", directory = directory.display())]
    OlderFormat {
        /// The directory.
        directory: PathBuf,
        /// Format found.
        found: u32,
        /// Oldest format that can be read.
        oldest: u32,
    },
    /// The disk or file system refused.
    #[error("journal {directory} cannot be {action}: {reason}", directory = directory.display())]
    Storage {
        /// The directory.
        directory: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// The system's words.
        reason: String,
        /// Whether the storage is full.
        full: bool,
    },
    /// Stored bytes that make no sense.
    #[error("journal {directory} is damaged at {place}: {reason}", directory = directory.display())]
    Damaged {
        /// The directory.
        directory: PathBuf,
        /// Block or event.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The disk failed to make something durable. What it holds now is not known; the journal refuses everything until it is opened again.
    #[error("journal {directory} could not be synced: {reason}; nothing more is written, check the disk and start again", directory = directory.display())]
    Unsynced {
        /// The directory.
        directory: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Positions or sequences that do not continue what is stored: a bug of the writer.
    #[error("append does not continue the journal: expected {expected}, got {got} ({what})")]
    NotContiguous {
        /// `position` or the lane.
        what: String,
        /// Next number.
        expected: u64,
        /// Number given.
        got: u64,
    },
}
