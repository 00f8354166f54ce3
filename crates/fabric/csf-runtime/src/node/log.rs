//! The node's journal as a log that everybody in the node appends to and reads: through the recorder, in its commits.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use csf_core::port::{Append, Appended, EventLog, JournalReader, LogError, LogFuture, Page, Read, StreamHead};

use super::Node;

/// The log of a node. It does not keep the node alive.
pub(super) struct NodeLog {
    node: Weak<Node>,
    reader: Mutex<Option<Box<dyn JournalReader>>>,
}

impl Node {
    /// The node's log. Handles on it may outlive the node; they say that it is closed then.
    #[must_use]
    pub fn log(self: &Arc<Self>) -> Arc<dyn EventLog> {
        Arc::new(NodeLog { node: Arc::downgrade(self), reader: Mutex::new(None) })
    }
}

impl NodeLog {
    fn node(&self) -> Result<Arc<Node>, LogError> {
        self.node.upgrade().ok_or(LogError::Closed)
    }

    /// Reads with a reader that is opened once. It is short, so that it may hold up a task.
    fn with_reader<T>(
        &self,
        read: impl FnOnce(&mut dyn JournalReader) -> Result<T, csf_core::port::JournalError>,
    ) -> Result<T, LogError> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match &mut *reader {
            Some(open) => open,
            closed => closed.insert(self.node()?.reader()?),
        };
        Ok(read(&mut **open)?)
    }
}

impl EventLog for NodeLog {
    fn append(&self, append: Append) -> LogFuture<'_, Appended> {
        Box::pin(async move { self.node()?.recorder().append(append).await })
    }

    fn read(&self, read: Read) -> LogFuture<'_, Page> {
        Box::pin(async move { self.with_reader(|reader| reader.read(&read)) })
    }

    fn head(&self, stream: &str) -> LogFuture<'_, StreamHead> {
        let stream = stream.to_owned();
        Box::pin(async move { self.with_reader(|reader| reader.head(&stream)) })
    }

    fn position(&self) -> u64 {
        self.node().map_or(0, |node| node.feed().position())
    }

    fn beyond(&self, position: u64) -> LogFuture<'_, u64> {
        Box::pin(async move {
            let feed = self.node()?.feed().clone();
            Ok(feed.beyond(position).await)
        })
    }
}
