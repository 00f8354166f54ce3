//! A lane: one producer's ring on one topic, and one reader's place in it, without knowing its type.

use std::any::Any;
use std::sync::Arc;

use csf_core::port::LaneInfo;
use csf_core::{Header, LaneId, Message};

use crate::ring::{HeapMemory, Reader, Ring, SlotHeader};
use crate::{Doorbell, Policy, Start};

/// One producer's stream on a topic.
pub(crate) struct Lane {
    pub(crate) info: LaneInfo,
    pub(crate) ring: Arc<Ring<HeapMemory>>,
    /// The payload at an address, with its type's vtable.
    as_any: unsafe fn(*const u8) -> *const dyn Any,
}

impl Lane {
    /// A lane for `T`. `None` when its slots need more memory than a lane may have.
    pub(crate) fn new<T: Message>(info: LaneInfo, capacity: usize, history: usize) -> Option<Self> {
        let ring = Arc::new(Ring::on_heap::<T>(capacity, history)?);
        Some(Self { info, ring, as_any: |payload| payload.cast::<T>() })
    }
}

/// One reader's place in one lane. Detaches on drop.
pub struct LaneReader {
    lane: Arc<Lane>,
    reader: Reader<HeapMemory>,
    id: LaneId,
    /// The peeked packet's header.
    view: Option<Header>,
}

impl LaneReader {
    pub(crate) fn new(lane: Arc<Lane>, start: Start, policy: Policy, mask: u64, bell: Arc<Doorbell>) -> Self {
        let reader = Reader::new(lane.ring.clone(), start, policy, mask, bell);
        Self { id: lane.info.id, lane, reader, view: None }
    }

    /// Who writes what here.
    #[must_use]
    pub fn info(&self) -> &LaneInfo {
        &self.lane.info
    }

    /// Number of packets ever committed on the lane.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.lane.ring.committed()
    }

    /// The next packet, by reference into its slot; the same one until [`LaneReader::advance`].
    pub fn peek(&mut self) -> Option<(&Header, &dyn Any)> {
        if !self.reader.acquire() {
            return None;
        }
        if self.view.is_none() {
            self.view = Some(self.reader.header().view(self.id.message(self.reader.seq())));
        }
        // SAFETY: the held slot carries a value of the lane's type, which stays in place until `release`, which needs `&mut self`.
        let payload = unsafe { &*(self.lane.as_any)(self.reader.payload()) };
        Some((self.view.as_ref()?, payload))
    }

    /// The packet of the last [`LaneReader::peek`], again, and its lane.
    pub(crate) fn peeked(&self) -> Option<(&LaneInfo, &Header, &dyn Any)> {
        let view = self.view.as_ref()?;
        // SAFETY: as in `peek`; a view is there only while the packet is held.
        let payload = unsafe { &*(self.lane.as_any)(self.reader.payload()) };
        Some((&self.lane.info, view, payload))
    }

    /// Gives the peeked packet back.
    #[inline]
    pub fn advance(&mut self) {
        self.view = None;
        self.reader.release();
    }

    /// Packets not seen yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.reader.lag()
    }

    /// Packets lost to the policy.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.reader.lost()
    }

    #[inline(always)]
    pub(crate) fn id(&self) -> LaneId {
        self.id
    }

    #[inline(always)]
    pub(crate) fn reader(&mut self) -> &mut Reader<HeapMemory> {
        &mut self.reader
    }

    /// The raw header of the next packet, if there is one.
    #[inline(always)]
    pub(crate) fn head(&mut self) -> Option<&SlotHeader> {
        if self.reader.acquire() { Some(self.reader.header()) } else { None }
    }

    /// The held packet as what it is.
    ///
    /// # Safety
    /// A packet is held, and the lane carries `T`.
    #[inline(always)]
    pub(crate) unsafe fn held<T>(&self) -> (Header, &T) {
        let header = self.reader.header().view(self.id.message(self.reader.seq()));
        // SAFETY: the caller's promise; the slot stays until `release`, which needs `&mut self`.
        (header, unsafe { &*self.reader.payload().cast::<T>() })
    }
}
