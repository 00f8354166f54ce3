//! How a journal is opened.

/// Options of [`crate::SqliteJournal::open`]; the default suits a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// The write-ahead file is folded into the database, beside the commits, each time it has grown by about this many
    /// bytes; a commit itself folds it at four times that. More folds less often, and a restart after a crash reads more.
    pub checkpoint_bytes: u64,
    /// Appends are refused, as on a full disk, once the database holds this many bytes; `None` leaves that to the disk.
    pub size_bytes_max: Option<u64>,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { checkpoint_bytes: 4 << 20, size_bytes_max: None }
    }
}
