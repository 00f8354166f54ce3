//! The embedded journal: packets in packed blocks and events in streams, one SQLite database, one commit for both.
//!
//! [`SqliteJournal`] is the node's one writer; any number of [`SqliteReader`]s look at the same directory, from any process.
//! The bytes are described in `docs/formats/journal.md`.
//! Invariant: an append that returned is on stable storage; one that failed, or was cut by a crash, left nothing.

mod block;
mod checkpointer;
mod contiguity;
mod error;
mod journal;
mod options;
mod pack;
mod reader;
mod scan;
mod schema;
mod unpack;
mod varint;

pub use journal::SqliteJournal;
pub use options::JournalOptions;
pub use reader::SqliteReader;
