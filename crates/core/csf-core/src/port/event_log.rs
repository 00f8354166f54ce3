//! The event log port: what a node's journal is to everybody who appends and reads events, from any task.
//!
//! Beside [`Journal`](super::Journal), which one writer owns, a log is shared: calls of any number of callers go into one commit.
//! Invariant: positions are told in order, and only once everything before them is as safe as the receipts say; so a reader that goes from
//! position to position misses nothing and meets nothing twice.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::{Append, Appended, JournalError, Page, Read, Refused, StreamHead};

/// An answer of the log. See [`EventLog`] for what dropping it means.
pub type LogFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, LogError>> + Send + 'a>>;

/// Why a log did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The append was not done, and will not be as it is.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The journal failed. Nothing of the append is stored; the same append with the same ids may be tried again.
    #[error(transparent)]
    Journal(Arc<JournalError>),
    /// The log has been closed. Whether an append that was under way is stored, its ids tell.
    #[error("the log is closed")]
    Closed,
}

impl From<JournalError> for LogError {
    fn from(error: JournalError) -> Self {
        Self::Journal(Arc::new(error))
    }
}

/// A shared log of events.
///
/// Cancel safety: a dropped append may still be done; who must know gives it ids and asks again. A dropped read or wait is forgotten.
pub trait EventLog: Send + Sync {
    /// Appends, and is back when it is as safe as the receipt says.
    fn append(&self, append: Append) -> LogFuture<'_, Appended>;

    /// Reads what had been appended before the call.
    fn read(&self, read: Read) -> LogFuture<'_, Page>;

    /// What is known of a stream.
    fn head(&self, stream: &str) -> LogFuture<'_, StreamHead>;

    /// The newest position: everything up to it can be read.
    fn position(&self) -> u64;

    /// Waits until the newest position is beyond this one; that position.
    fn beyond(&self, position: u64) -> LogFuture<'_, u64>;
}
