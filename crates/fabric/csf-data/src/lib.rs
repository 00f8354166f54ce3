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

/// The one door for the fuzzer in `fuzz/`; no part of the interface.
#[doc(hidden)]
pub mod fuzzing {
    /// How many packets a packed body holds, or the byte at which it is none.
    ///
    /// # Errors
    /// The offset of what cannot be read.
    pub fn unpack(body: &[u8]) -> Result<usize, usize> {
        let packets = crate::unpack::BlockReader::new(body).map_err(|e| e.offset)?;
        packets.into_iter().try_fold(0, |count, packet| packet.map(|_| count + 1).map_err(|e| e.offset))
    }
}
