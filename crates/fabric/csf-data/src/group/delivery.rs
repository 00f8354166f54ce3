//! An event in a member's hands.

use std::sync::Arc;

use csf_core::port::StoredEvent;

use super::{Group, GroupError};

/// An event that was handed out. It is settled by [`Delivery::ack`], [`Delivery::nack`] or [`Delivery::park`]; dropped, it counts as not
/// settled, and comes again once its time is over.
#[derive(Debug)]
pub struct Delivery {
    group: Arc<Group>,
    event: StoredEvent,
    tries: u32,
    ticket: u64,
}

impl Delivery {
    pub(super) fn new(group: Arc<Group>, event: StoredEvent, tries: u32, ticket: u64) -> Self {
        Self { group, event, tries, ticket }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &StoredEvent {
        &self.event
    }

    /// 1 for the first try.
    #[must_use]
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// It is done. False when it was too late: the event has been given to another.
    ///
    /// # Errors
    /// [`GroupError`] of the checkpoint, when it was time for one. The event is done all the same.
    pub async fn ack(self) -> Result<bool, GroupError> {
        match self.take_back() {
            Some((event, _)) => self.group.acknowledged(event.position).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// It failed: it comes again after a pause, or is parked when this was the last try. False when it was too late.
    ///
    /// # Errors
    /// [`GroupError`] of parking it.
    pub async fn nack(self, reason: &str) -> Result<bool, GroupError> {
        match self.take_back() {
            Some((event, tries)) => self.group.failed(event, tries, reason).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// It is set aside, whatever tries are left. False when it was too late.
    ///
    /// # Errors
    /// [`GroupError`].
    pub async fn park(self, reason: &str) -> Result<bool, GroupError> {
        match self.take_back() {
            Some((event, tries)) => self.group.park(event, tries, reason).await.map(|()| true),
            None => Ok(false),
        }
    }

    fn take_back(&self) -> Option<(StoredEvent, u32)> {
        self.group.ledger().take_back(self.event.position, self.ticket)
    }
}
