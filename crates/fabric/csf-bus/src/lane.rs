//! A lane: one producer's ring on one topic, readable without knowing its type.

use std::any::Any;
use std::sync::Arc;

use csf_core::port::LaneInfo;
use csf_core::{Header, Message};

use crate::ring::{Cursor, Ring};
use crate::{Doorbell, Policy, Start};

/// A lane whose payload type is erased.
pub(crate) trait AnyLane: Send + Sync {
    fn info(&self) -> &LaneInfo;
    fn committed(&self) -> u64;
    fn attach(&self, start: Start, policy: Policy, doorbell: Arc<Doorbell>) -> Arc<Cursor>;
    fn detach(&self, cursor: &Arc<Cursor>);
    fn acquire(&self, cursor: &Cursor) -> Option<u64>;
    fn release(&self, cursor: &Cursor, seq: u64);
    fn lag(&self, cursor: &Cursor) -> u64;
    /// # Safety
    /// As [`Ring::get`].
    unsafe fn get(&self, seq: u64) -> (&Header, &dyn Any);
}

pub(crate) struct Lane<T> {
    pub(crate) info: LaneInfo,
    pub(crate) ring: Arc<Ring<T>>,
}

impl<T: Message> AnyLane for Lane<T> {
    fn info(&self) -> &LaneInfo {
        &self.info
    }

    fn committed(&self) -> u64 {
        self.ring.committed()
    }

    fn attach(&self, start: Start, policy: Policy, doorbell: Arc<Doorbell>) -> Arc<Cursor> {
        self.ring.attach(start, policy, doorbell)
    }

    fn detach(&self, cursor: &Arc<Cursor>) {
        self.ring.detach(cursor);
    }

    fn acquire(&self, cursor: &Cursor) -> Option<u64> {
        self.ring.acquire(cursor)
    }

    fn release(&self, cursor: &Cursor, seq: u64) {
        self.ring.release(cursor, seq);
    }

    fn lag(&self, cursor: &Cursor) -> u64 {
        self.ring.lag(cursor)
    }

    unsafe fn get(&self, seq: u64) -> (&Header, &dyn Any) {
        // SAFETY: the caller keeps `Ring::get`'s contract.
        let packet = unsafe { self.ring.get(seq) };
        (&packet.header, &packet.payload)
    }
}

/// One reader's place in one lane. Detaches on drop.
pub struct LaneReader {
    lane: Arc<dyn AnyLane>,
    cursor: Arc<Cursor>,
    held: Option<u64>,
}

impl LaneReader {
    pub(crate) fn new(lane: Arc<dyn AnyLane>, start: Start, policy: Policy, doorbell: Arc<Doorbell>) -> Self {
        let cursor = lane.attach(start, policy, doorbell);
        Self { lane, cursor, held: None }
    }

    /// Who writes what here.
    #[must_use]
    pub fn info(&self) -> &LaneInfo {
        self.lane.info()
    }

    /// Number of packets ever committed on the lane.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.lane.committed()
    }

    /// The next packet, by reference into its slot; the same one until [`LaneReader::advance`].
    pub fn peek(&mut self) -> Option<(&Header, &dyn Any)> {
        if self.held.is_none() {
            self.held = self.lane.acquire(&self.cursor);
        }
        let seq = self.held?;
        // SAFETY: `seq` was acquired for our cursor on this lane and is released only in `advance`, which needs `&mut self`.
        Some(unsafe { self.lane.get(seq) })
    }

    /// The packet of the last [`LaneReader::peek`], again, without looking for newer ones.
    #[must_use]
    pub fn held(&self) -> Option<(&Header, &dyn Any)> {
        let seq = self.held?;
        // SAFETY: as in `peek`.
        Some(unsafe { self.lane.get(seq) })
    }

    /// Gives the peeked packet back.
    pub fn advance(&mut self) {
        if let Some(seq) = self.held.take() {
            self.lane.release(&self.cursor, seq);
        }
    }

    /// Packets not seen yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.lane.lag(&self.cursor)
    }

    /// Packets lost to the policy.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.cursor.lost()
    }
}

impl Drop for LaneReader {
    fn drop(&mut self) {
        self.lane.detach(&self.cursor);
    }
}
