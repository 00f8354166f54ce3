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

/// Reads these bytes as a block with a fitting checksum, which no fuzzer finds by itself: the way in for the fuzz target.
#[doc(hidden)]
pub fn fuzz_unpack(content: &[u8]) {
    let mut body = content.to_vec();
    body.extend(crc32fast::hash(content).to_le_bytes());
    if let Ok(reader) = unpack::BlockReader::new(body) {
        reader.for_each(drop);
    }
}
