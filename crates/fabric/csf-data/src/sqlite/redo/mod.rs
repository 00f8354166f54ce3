//! The redo log: commits in two preallocated files, synced there before they are carried out in SQLite.
//!
//! A sync of bytes written over bytes needs no change of a file's size or blocks, so it costs about what the disk costs; a commit of SQLite writes
//! pages and makes its file grow. A commit is acknowledged when its record is synced (`file`), and a thread brings it into the database without a
//! sync (`applier`). A file is used again once what it holds is safe in SQLite's own files. After a crash, what SQLite lacks is
//! carried out again (`recover`).
//! Invariant: a commit that was acknowledged is in the redo log, or synced in SQLite's files.
//! Invariant: the database never holds a commit that is not synced in the redo log or by SQLite itself.
//! Reference: Mohan et al., "ARIES" (1992), of which this is the redo pass alone: nothing is written before its commit.

mod applier;
mod file;
mod place;
mod record;
mod recover;

pub(super) use applier::{Applied, Applier};
pub(super) use file::{RedoLog, Written, open};
pub(super) use place::Place;
pub(super) use record::{BlockRow, Draft, EventRow, Record, Row};
pub(crate) use recover::fuzzing;
pub(super) use recover::{recover, recover_what_is_left};

/// The two files.
pub(super) const FILES: [&str; 2] = ["journal.redo-0", "journal.redo-1"];
/// Bytes of a file when it is made; each time it is used again it is twice as long, up to the other.
const FILE_BYTES_MIN: u64 = 256 << 10;
const FILE_BYTES_MAX: u64 = 8 << 20;
