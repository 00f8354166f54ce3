//! The log of a node and what is made of it: packets in packed blocks and events in streams, one commit for both.
//!
//! [`SqliteJournal`] is the embedded journal: the node's one writer; any number of [`SqliteReader`]s look at the same directory, from any
//! process. The bytes are described in `docs/formats/journal.md`. [`PostgresJournal`] keeps the same log in PostgreSQL.
//! Invariant: an append that returned is as safe as its receipt says; one that failed, or was cut by a crash, left nothing.

pub mod aggregate;
pub mod cache;
mod checksum;
mod commit;
mod contiguity;
pub mod cqrs;
pub mod event_store;
pub mod group;
pub mod integration;
#[cfg(feature = "jetstream")]
mod jetstream;
pub mod lock;
mod log;
mod mirror;
pub mod model;
mod packed;
mod plan;
mod postgres;
mod sqlite;
mod subscription;

#[cfg(feature = "jetstream")]
pub use jetstream::{JetStreamOptions, ServerSync};
pub use log::SharedLog;
pub use mirror::{MirroredJournal, SPOOL_BYTES};
pub use postgres::{PostgresJournal, PostgresOptions, PostgresReader};
pub use sqlite::{JournalOptions, SqliteJournal, SqliteReader};
pub use subscription::Subscription;

/// The one door for the fuzzer in `fuzz/`; no part of the interface.
#[doc(hidden)]
pub mod fuzzing {
    /// How many packets a packed body holds, or the byte at which it is none.
    ///
    /// # Errors
    /// The offset of what cannot be read.
    pub fn unpack(body: &[u8]) -> Result<usize, usize> {
        let packets = crate::packed::unpack::BlockReader::new(body).map_err(|e| e.offset)?;
        packets.into_iter().try_fold(0, |count, packet| packet.map(|_| count + 1).map_err(|e| e.offset))
    }
    /// Reads a file of the redo log: how many rows each record has, nothing for one whose rows make no sense.
    #[must_use]
    pub fn redo_log(bytes: &[u8]) -> Vec<Option<usize>> {
        crate::sqlite::fuzzing(bytes)
    }

    /// Reads one message of a journal in JetStream and, if it holds a whole commit, reads the commit, writes it and reads it again.
    ///
    /// # Errors
    /// What is wrong with it.
    #[cfg(feature = "jetstream")]
    pub fn jetstream_message(bytes: &[u8]) -> Result<(), String> {
        crate::jetstream::fuzzing(bytes)
    }
}
