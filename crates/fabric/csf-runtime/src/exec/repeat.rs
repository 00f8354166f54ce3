//! An output of a component whose recorded deliveries are repeated: it gives out the ids it gave out then, and publishes nothing.
//!
//! What it would have published gathers in a book, in the order of the lane, for whoever compares it with what was recorded.

use std::any::{Any, TypeId};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csf_bus::EffectWriter;
use csf_core::port::LaneInfo;
use csf_core::{Attributes, Fault, Header, MessageId, MessageType, Stamp};

/// What was published again on one lane; clones are the same book.
#[derive(Clone, Default)]
pub(crate) struct LaneBook(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    /// The number of the next packet, without those staged.
    next_seq: u64,
    staged: Vec<(Header, Vec<u8>)>,
    /// Committed and not yet taken.
    made: VecDeque<(Header, Vec<u8>)>,
}

impl LaneBook {
    /// A book of a lane that goes on with `next_seq`.
    pub(super) fn starting_at(next_seq: u64) -> Self {
        Self(Arc::new(Mutex::new(Pages { next_seq, ..Pages::default() })))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next packet.
    pub(crate) fn next_seq(&self) -> u64 {
        self.pages().next_seq
    }

    /// The oldest packet that was not taken yet.
    pub(crate) fn take(&self) -> Option<(Header, Vec<u8>)> {
        self.pages().made.pop_front()
    }

    /// All that were not taken yet, the oldest first.
    pub(crate) fn take_all(&self) -> VecDeque<(Header, Vec<u8>)> {
        std::mem::take(&mut self.pages().made)
    }
}

/// An output that writes into a book.
pub(crate) struct RepeatWriter {
    pub(crate) info: LaneInfo,
    pub(crate) message: MessageType,
    pub(crate) book: LaneBook,
}

impl EffectWriter for RepeatWriter {
    fn info(&self) -> &LaneInfo {
        &self.info
    }

    fn next_id(&self) -> MessageId {
        let pages = self.book.pages();
        self.info.id.message(pages.next_seq + pages.staged.len() as u64)
    }

    fn has_room(&mut self, _count: u64) -> bool {
        true
    }

    fn stage(
        &mut self,
        type_id: TypeId,
        value: &mut dyn Any,
        stamp: Stamp,
        attributes: Attributes,
        cause: Option<MessageId>,
    ) -> Result<MessageId, Fault> {
        let wrong = || Fault::WrongType { topic: self.info.topic.clone(), expected: self.message.name };
        if type_id != self.message.type_id {
            return Err(wrong());
        }
        let bytes = (self.message.encode_option)(value).map_err(|_| wrong())?;
        let mut pages = self.book.pages();
        let id = self.info.id.message(pages.next_seq + pages.staged.len() as u64);
        let header = Header {
            measured_at: attributes.measured_at,
            cause,
            priority: attributes.priority,
            deadline: attributes.deadline,
            ..Header::new(id, stamp)
        };
        pages.staged.push((header, bytes));
        Ok(id)
    }

    fn commit(&mut self) {
        let pages = &mut *self.book.pages();
        pages.next_seq += pages.staged.len() as u64;
        pages.made.extend(pages.staged.drain(..));
    }

    fn rollback(&mut self) {
        self.book.pages().staged.clear();
    }
}
