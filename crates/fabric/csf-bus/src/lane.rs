//! A lane: one producer's ring on one topic, and one reader's place in it, without knowing its type.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csf_core::port::LaneInfo;
use csf_core::{Header, LaneId, MessageId, Stamp};

use crate::interest::AnyFilter;
use crate::monitor::Monitor;
use crate::ring::{HeapMemory, Reader, Ring, SlotFilter, SlotHeader, Wants};
use crate::{Doorbell, Interest, Start};

/// What a slot may hold: a [`csf_core::Message`], or at the edge any value that threads may share.
pub trait Content: Send + Sync + 'static {}

impl<T: Send + Sync + 'static> Content for T {}

/// Appends a payload's byte form.
type Encode = fn(&dyn Any, &mut Vec<u8>) -> Result<(), csf_core::CodecError>;

/// One producer's stream on a topic.
pub(crate) struct Lane {
    pub(crate) info: LaneInfo,
    pub(crate) ring: Arc<Ring<HeapMemory>>,
    /// The payload at an address, with its type's vtable.
    as_any: unsafe fn(*const u8) -> *const dyn Any,
    encode: Encode,
    /// How often the producer found the lane full. Written by the producer.
    pub(crate) refusals: AtomicU64,
    /// The newest stamp of its last producer. Written before the ring says that it has none.
    left_at: AtomicU64,
    /// Of a mailbox, which keeps its lanes itself.
    pub(crate) is_private: bool,
}

impl Lane {
    /// A lane for `T`. `None` when its slots need more memory than a lane may have.
    pub(crate) fn new<T: Content>(
        info: LaneInfo,
        capacity: usize,
        history: usize,
        encode: Encode,
        is_private: bool,
    ) -> Option<Self> {
        let ring = Arc::new(Ring::on_heap::<T>(capacity, history)?);
        let (refusals, left_at) = (AtomicU64::new(0), AtomicU64::new(0));
        Some(Self { info, ring, as_any: |payload| payload.cast::<T>(), encode, refusals, left_at, is_private })
    }

    /// Notes that its producer goes. For the producer.
    pub(crate) fn leave(&self, newest: Stamp) {
        self.left_at.store(newest.0, Ordering::Relaxed);
    }

    /// The newest stamp of the producer that left. For the next one.
    pub(crate) fn left_at(&self) -> Stamp {
        Stamp(self.left_at.load(Ordering::Relaxed))
    }

    /// Counts a publication that found the lane full. For the producer.
    #[cold]
    pub(crate) fn count_refusal(&self) {
        self.refusals.store(self.refusals.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Remembers the causes beyond the first of a packet about to be committed.
    #[inline(always)]
    pub(crate) fn add_causes(&self, seq: u64, causes: &[MessageId]) {
        if causes.len() > 1 {
            self.ring.add_causes(seq, &causes[1..]);
        }
    }

    /// A filter over packets as one over slots. A panic rejects the packet.
    fn slot_filter(&self, filter: &AnyFilter, monitor: &Arc<Monitor>) -> Arc<SlotFilter> {
        let (filter, monitor, as_any, id) = (filter.clone(), monitor.clone(), self.as_any, self.info.id);
        Arc::new(move |header, seq, payload| {
            // SAFETY: the ring calls a filter with the payload of a committed packet of this lane, which stays during the call.
            let payload = unsafe { &*as_any(payload) };
            let outcome = catch_unwind(AssertUnwindSafe(|| filter(&header.view(id.message(seq)), payload)));
            outcome.unwrap_or_else(|_| {
                monitor.count_filter_panic();
                false
            })
        })
    }
}

/// One reader's place in one lane. Detaches on drop.
pub struct LaneReader {
    lane: Arc<Lane>,
    reader: Reader<HeapMemory>,
    id: LaneId,
    /// The peeked packet's header.
    view: Option<Header>,
    /// Sequence of the packet held for its cause, and since when.
    hold: Option<(u64, u64)>,
    /// The search in which the lane was found held.
    pub(crate) held_in: u64,
}

impl LaneReader {
    pub(crate) fn new(
        lane: Arc<Lane>,
        start: Start,
        interest: &Interest,
        monitor: &Arc<Monitor>,
        bell: Arc<Doorbell>,
    ) -> Self {
        let filter = interest.filter.as_ref().map(|filter| lane.slot_filter(filter, monitor));
        let wants = Wants { policy: interest.policy, mask: interest.mask, filter, label: interest.label.clone() };
        let reader = Reader::new(lane.ring.clone(), start, wants, bell);
        Self { id: lane.info.id, lane, reader, view: None, hold: None, held_in: 0 }
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

    /// Id of the held packet, or of the one that comes next.
    pub(crate) fn next_id(&self) -> MessageId {
        self.id.message(self.reader.seq())
    }

    /// Causes beyond the first of the held packet.
    pub(crate) fn more_causes(&self) -> Option<Arc<[MessageId]>> {
        self.reader.more_causes()
    }

    /// Since when the packet `seq` is held; calls `begin` when that is now.
    pub(crate) fn hold(&mut self, seq: u64, now_ns: u64, begin: impl FnOnce()) -> u64 {
        match self.hold {
            Some((held, since_ns)) if held == seq => since_ns,
            _ => {
                begin();
                self.hold = Some((seq, now_ns));
                now_ns
            }
        }
    }

    /// The next packet's header and byte form; no bytes where it has none.
    pub(crate) fn encoded(&mut self) -> Option<(Header, Vec<u8>)> {
        let encode = self.lane.encode;
        let (header, payload) = self.peek()?;
        let mut bytes = Vec::new();
        let bytes = if encode(payload, &mut bytes).is_ok() { bytes } else { Vec::new() };
        Some((*header, bytes))
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

    /// The held packet's payload as what it is.
    ///
    /// # Safety
    /// A packet is held, and the lane carries `T`.
    pub(crate) unsafe fn held_payload<T>(&self) -> &T {
        // SAFETY: the caller's promise; the slot stays until `release`, which needs `&mut self`.
        unsafe { &*self.reader.payload().cast::<T>() }
    }

    /// The held packet as what it is.
    ///
    /// # Safety
    /// A packet is held, and the lane carries `T`.
    #[inline(always)]
    pub(crate) unsafe fn held<T>(&self) -> (Header, &T) {
        let (header, payload) = self.reader.packet();
        // SAFETY: the caller's promise; the packet stays until `release`, which needs `&mut self`.
        (header.view(self.id.message(self.reader.seq())), unsafe { &*payload.cast::<T>() })
    }
}
