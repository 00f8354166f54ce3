//! The embedded journal: one SQLite database in WAL mode.

mod checkpointer;
mod error;
mod events;
mod journal;
mod lookup;
mod options;
mod reader;
mod scan;
mod schema;
mod store;

pub use journal::SqliteJournal;
pub use options::JournalOptions;
pub use reader::SqliteReader;
