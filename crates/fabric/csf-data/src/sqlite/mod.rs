//! The embedded journal: one SQLite database in WAL mode.

mod checkpointer;
mod error;
mod events;
mod find;
mod index;
mod journal;
mod lookup;
mod options;
mod reader;
mod redo;
mod scan;
mod schema;
mod store;

pub(crate) use error::{Action, damaged, from_sqlite};
pub(crate) use index::{Entry, Mark, SqliteIndex};
pub use journal::SqliteJournal;
pub(crate) use journal::signed;
pub use options::JournalOptions;
pub use reader::SqliteReader;
pub(crate) use redo::fuzzing;
