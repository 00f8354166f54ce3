//! The embedded journal: one SQLite database in WAL mode.

mod checkpointer;
mod error;
mod events;
mod find;
#[cfg(feature = "jetstream")]
mod index;
mod journal;
mod lookup;
mod options;
mod reader;
mod redo;
mod scan;
mod schema;
mod store;

#[cfg(feature = "jetstream")]
pub(crate) use error::damaged;
#[cfg(feature = "jetstream")]
pub(crate) use index::{Entry, Mark, SqliteIndex};
pub use journal::SqliteJournal;
pub use options::JournalOptions;
pub use reader::SqliteReader;
pub(crate) use redo::fuzzing;
