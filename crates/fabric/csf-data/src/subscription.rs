//! Following a log: what is there first, what comes next after that, without a gap between them and nothing twice.
//!
//! There is no hand-over that could go wrong: a subscription only ever reads the log, from the position after the last one it saw, and a new
//! position is what wakes it.

use std::collections::VecDeque;
use std::sync::Arc;

use csf_core::port::{EventLog, Filter, LogError, Read, StoredEvent};

/// Events read at a time.
const PAGE: usize = 256;

/// A place in a log that moves forward.
pub struct Subscription {
    log: Arc<dyn EventLog>,
    filter: Filter,
    page: VecDeque<StoredEvent>,
    /// Everything up to here is in `page`, was handed out or is not meant.
    read: u64,
    /// Everything up to here was handed out or is not meant.
    seen: u64,
}

impl Subscription {
    /// What is meant by `filter` and comes after position `after`; 0 is before everything.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>, filter: Filter, after: u64) -> Self {
        Self { log, filter, page: VecDeque::new(), read: after, seen: after }
    }

    /// The next event; waits for it. Cancel safe: what was not handed out comes again.
    ///
    /// # Errors
    /// [`LogError`] of the log; the subscription may be asked again.
    pub async fn next(&mut self) -> Result<StoredEvent, LogError> {
        loop {
            if let Some(event) = self.take() {
                return Ok(event);
            }
            self.log.beyond(self.read).await?;
            self.fill().await?;
        }
    }

    /// The next event that is there already; `None` when there is none. Cancel safe.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub async fn try_next(&mut self) -> Result<Option<StoredEvent>, LogError> {
        while self.page.is_empty() && self.read < self.log.position() {
            self.fill().await?;
        }
        Ok(self.take())
    }

    /// Waits until the log has gone on, and hands out what is meant of that, at most a page; nothing when others' events came. Cancel safe.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub async fn progress(&mut self) -> Result<Vec<StoredEvent>, LogError> {
        if self.page.is_empty() {
            self.log.beyond(self.read).await?;
            self.fill().await?;
        }
        self.seen = self.read;
        Ok(self.page.drain(..).collect())
    }

    /// Everything up to this position was handed out, or is not meant: a later subscription goes on from here.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    fn take(&mut self) -> Option<StoredEvent> {
        let event = self.page.pop_front();
        self.seen = match &event {
            Some(event) if !self.page.is_empty() => event.position,
            _ => self.read,
        };
        event
    }

    async fn fill(&mut self) -> Result<(), LogError> {
        let page = self.log.read(Read::log(self.filter.clone()).from(self.read + 1).limit(PAGE)).await?;
        self.read = match page.events.last() {
            Some(last) if page.events.len() == PAGE => last.position,
            _ => page.position.max(self.read),
        };
        self.page.extend(page.events);
        Ok(())
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("filter", &self.filter).field("seen", &self.seen).finish_non_exhaustive()
    }
}
