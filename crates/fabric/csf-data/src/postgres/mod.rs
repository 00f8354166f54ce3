//! The log in PostgreSQL: packets in packed blocks, events in rows, one writer whose commits are fenced.
//!
//! The writer holds an advisory lock, and every commit moves the one row of `head` from where this start left it: a writer that was
//! replaced cannot commit. So positions become visible in their order, and a reader that sees one sees all before it.
//! Invariant: an append that returned is stored once, whatever became of its connection; one that failed left nothing, or says that
//! what the server holds is not known.

mod error;
mod events;
mod journal;
mod lookup;
mod options;
mod packets;
mod reader;
mod schema;
mod session;
mod source;
mod store;
mod writer;

pub use journal::PostgresJournal;
pub use options::PostgresOptions;
pub use reader::PostgresReader;

pub(crate) use error::Failure;
pub(crate) use session::{Session, Value};
pub(crate) use writer::Deadline;
