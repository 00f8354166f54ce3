//! A journal on a server, repeated on this machine: commits are planned and read here, and stored there. While the server is away they
//! wait here, on a bounded part of the disk, and follow in their order when it is back.
//!
//! What makes that safe is that there is one writer, whose places in the log are its own: a commit that was sent and not answered is sent
//! again, and is stored once.
//! Invariant: a commit is in the server's log or in the spool before its receipt is given, and in the repeat before anybody here reads it.

mod journal;
mod outlet;
mod source;
mod spool;

pub use journal::MirroredJournal;

pub(crate) use journal::{arrived, is_explained};
pub(crate) use source::{NotStored, Opened, Source, Stopped};
pub(crate) use spool::Spool;

/// What a spool may hold unless another limit is set, bytes.
pub const SPOOL_BYTES: u64 = 256 << 20;
