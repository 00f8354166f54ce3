//! How a journal is opened.

/// Options of [`crate::SqliteJournal::open`]; the default suits a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// The write-ahead file is folded into the database, beside the commits, each time it has grown by about this many
    /// bytes; a commit itself folds it at four times that. More folds less often, and a restart after a crash reads more.
    pub checkpoint_bytes: u64,
    /// So many events come together in memory before they are written into the index of events, beside the commits. More makes the index
    /// cheaper, and a start after a crash reads more; a reader in another process reads up to twice as many to catch up.
    pub index_events: usize,
    /// Appends are refused, as on a full disk, once the database holds this many bytes; `None` leaves that to the disk.
    pub size_bytes_max: Option<u64>,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { checkpoint_bytes: 16 << 20, index_events: 4096, size_bytes_max: None }
    }
}
