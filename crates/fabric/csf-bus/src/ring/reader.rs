//! The reading end of a ring: one reader's position and what it knows of the producer's.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use csf_core::MessageId;

use super::Ring;
use super::cursor::{Cursor, PIN, Start, UNSETTLED};
use super::memory::Memory;
use super::platform::{Bell, Platform, Word};
use super::slot::SlotHeader;
use super::spare::{Parcel, Spare};
use super::wants::{Policy, Wants};

/// Slots fetched ahead of the one being read, once a batch is known to be there. At 100 M packets/s it covers two line transfers.
const FETCH_AHEAD: u64 = 16;

/// Looks in vain after which traffic counts as thin. While it is thick, a reader that polls the slot takes the line away from the
/// producer, which is about to write it: one transfer per packet. The producer's count moves once for many packets, but then the packet
/// itself is a second transfer, which a lone packet should not have to wait for.
const THICK: u32 = 16;
/// Batches below and above which a polling reader looks less and more often.
const SMALL: u64 = 32;
const LARGE: u64 = 64;
/// Most pauses between two looks: one or two microseconds.
const PAUSES_MAX: u32 = 32;

/// What a reader holds.
#[derive(Clone, Copy, PartialEq)]
enum Held {
    Nothing,
    /// The packet in the slot at its position.
    Slot,
    /// The first parcel of its spare.
    Parcel,
}

/// One reader's end. Detaches on drop.
pub(crate) struct Reader<M: Memory> {
    ring: Arc<Ring<M>>,
    cursor: Arc<Cursor<M::Platform>>,
    /// Sequence to read next, or being read.
    position: u64,
    /// Everything below is known to be committed.
    ready: u64,
    /// Looks in vain since the last packet, as far as they matter.
    misses: u32,
    /// What [`Reader::pause`] waits.
    pauses: u32,
    held: Held,
    is_settled: bool,
    is_movable: bool,
    lost: u64,
    rejected: u64,
    /// Of the packets that found no room in the spare, how many are counted.
    overflow: u64,
    /// Stamp before which a sampling reader takes nothing.
    next_sample: u64,
}

impl<M: Memory> Reader<M> {
    pub(crate) fn new(
        ring: Arc<Ring<M>>,
        start: Start,
        wants: Wants,
        bell: Arc<<M::Platform as Platform>::Bell>,
    ) -> Self {
        let is_movable = wants.is_movable();
        let cursor = ring.attach(start, wants, bell);
        let position = cursor.position.load(Ordering::Acquire);
        Self {
            ring,
            cursor,
            position: position & !UNSETTLED,
            ready: 0,
            misses: THICK,
            pauses: 0,
            held: Held::Nothing,
            is_settled: position & UNSETTLED == 0,
            is_movable,
            lost: 0,
            rejected: 0,
            overflow: 0,
            next_sample: 0,
        }
    }

    /// Asks the producer to fence and to ring: for readers that are about to sleep for the first time.
    pub(crate) fn fence(&self) {
        self.ring.fence_for(&self.cursor);
    }

    /// [`Reader::fence`] before there is a producer.
    pub(crate) fn fence_unwritten(&self) {
        self.ring.fence_unwritten(&self.cursor);
    }

    /// Takes [`Reader::fence`] back, until the reader is about to sleep again.
    pub(crate) fn unfence(&self) {
        self.ring.unfence_for(&self.cursor);
    }

    /// Takes hold of the next packet; true when there is one. The same packet until [`Reader::release`].
    #[inline(always)]
    pub(crate) fn acquire(&mut self) -> bool {
        if self.held != Held::Nothing {
            return true;
        }
        if !self.is_movable && self.is_settled {
            let there = self.position < self.ready || self.look();
            self.hold_if(there);
            return there;
        }
        self.acquire_pinned()
    }

    /// [`Reader::acquire`] that finds whatever another reader of the ring has seen. While traffic is thick, `acquire` looks at the count
    /// alone; a reader that looks at the slot sees its packet before the producer has counted it, and may have answered it.
    pub(crate) fn acquire_seen(&mut self) -> bool {
        if !self.acquire() && !self.is_movable && self.is_settled && self.is_marked() {
            self.ready = self.position + 1;
            self.held = Held::Slot;
        }
        self.held != Held::Nothing
    }

    #[inline(always)]
    fn hold_if(&mut self, is_there: bool) {
        self.held = if is_there { Held::Slot } else { Held::Nothing };
    }

    /// [`Reader::acquire`] without a look at what the producer writes. Only for readers that are not movable.
    #[inline(always)]
    pub(crate) fn acquire_known(&mut self) -> bool {
        let there = self.position < self.ready;
        self.hold_if(there);
        there
    }

    /// Looks for packets where the least lines move: at `committed` while traffic is thick, at the next slot's word when it is thin.
    #[inline(always)]
    fn look(&mut self) -> bool {
        let (ring, next) = (&*self.ring, self.position + 1);
        if self.misses < THICK {
            self.ready = ring.committed.load(Ordering::Acquire);
            // A count behind what we have read: the producer is between the words and the count of one commit.
            if self.ready < self.position && self.is_marked() {
                self.ready = next;
            }
            if self.ready < next {
                // A count behind what we have read: the producer is between the words and the count of one commit.
                if self.ready == self.position || !self.is_marked() {
                    self.misses += 1;
                    return false;
                }
                self.ready = next;
            }
            match self.ready - self.position {
                ..SMALL => self.pauses = (self.pauses * 2 + 1).min(PAUSES_MAX),
                SMALL..=LARGE => {}
                _ => self.pauses /= 2,
            }
        } else {
            if !self.is_marked() {
                return false;
            }
            self.ready = next;
            self.pauses = 0;
        }
        self.misses = 0;
        true
    }

    /// Whether the next slot's word says that its packet is there.
    #[inline(always)]
    fn is_marked(&self) -> bool {
        self.ring.memory.commit(self.ring.index(self.position)).load(Ordering::Acquire) == self.position + 1
    }

    /// For readers that poll in a loop, before each look. Does nothing when traffic is thin. A reader that is faster than thick
    /// traffic takes the producer's line for every packet, and both end up as slow as the line travels; so after a small batch it
    /// leaves the line alone until a batch is worth the trip.
    #[inline(always)]
    pub(crate) fn pause(&self) {
        if self.misses == 0 && self.position >= self.ready {
            for _ in 0..self.pauses {
                M::Platform::spin();
            }
        }
    }

    #[inline(never)]
    fn acquire_pinned(&mut self) -> bool {
        if !self.is_settled {
            let position = self.cursor.position.load(Ordering::Acquire);
            if position & UNSETTLED != 0 {
                return false;
            }
            self.position = position;
            self.is_settled = true;
            if !self.is_movable {
                let there = self.look();
                self.hold_if(there);
                return there;
            }
        }
        loop {
            // A later word means that the producer moved us and used the slot again; an earlier one that nothing is there yet.
            let word = self.ring.memory.commit(self.ring.index(self.position)).load(Ordering::Acquire);
            if word <= self.position || !self.pin() {
                return self.held == Held::Parcel;
            }
            if self.cursor.wants.policy == Policy::Conflate {
                self.conflate();
            }
            self.held = Held::Slot;
            if !self.takes(self.position) {
                self.count_rejected(1);
                self.release();
                continue;
            }
            let Policy::Sample { interval_ns } = self.cursor.wants.policy else { return true };
            let stamp = self.header().stamp().0;
            if stamp >= self.next_sample {
                self.next_sample = stamp.saturating_add(interval_ns);
                return true;
            }
            self.count_lost(1);
            self.release();
        }
    }

    /// Pins the packet to read, past what was taken away meanwhile. False when there is none in a slot; it may then hold a parcel.
    #[inline(always)]
    fn pin(&mut self) -> bool {
        let cursor = &*self.cursor;
        let mut wanted = self.position;
        loop {
            cursor.position.store(wanted | PIN, Ordering::Release);
            <M::Platform as Platform>::fence_light();
            let floor = cursor.floor.load(Ordering::Acquire);
            if floor <= wanted {
                self.skip_to(wanted);
                return true;
            }
            if self.cursor.spare.is_some() {
                return self.pin_behind_parcels();
            }
            if floor >= self.ring.committed() {
                // Stepped over up to the end: nothing to read now.
                cursor.position.store(floor, Ordering::Release);
                self.skip_to(floor);
                self.notify_space();
                return false;
            }
            wanted = floor;
        }
    }

    /// What [`Reader::pin`] does once the producer has asked for the packet that a reader with a spare has pinned.
    #[inline(never)]
    fn pin_behind_parcels(&mut self) -> bool {
        let mut wanted = self.position;
        loop {
            let Some(floor) = self.floor_above(wanted) else {
                // The pin holds, so nothing is handed over and the count of lost ones stays.
                self.skip_counted(wanted, self.spare().lost());
                if self.is_marked() {
                    return true;
                }
                self.unpin_at(wanted);
                return false;
            };
            if let Some((parcel, lost)) = self.spare().front() {
                let seq = parcel.seq;
                self.skip_counted(seq, lost);
                self.unpin_at(seq);
                self.held = Held::Parcel;
                return false;
            }
            wanted = floor;
            self.cursor.position.store(wanted | PIN, Ordering::Release);
            <M::Platform as Platform>::fence_light();
        }
    }

    /// The floor to which the packets from `pinned` on were handed over; `None` when they were not. Waits while that is undecided: the
    /// producer allocates and copies meanwhile, but runs nobody's code.
    fn floor_above(&self, pinned: u64) -> Option<u64> {
        loop {
            let floor = self.cursor.floor.load(Ordering::Acquire);
            if floor <= pinned {
                return None;
            }
            if floor <= self.spare().handed() {
                return Some(floor);
            }
            M::Platform::give_way();
        }
    }

    /// Lets the producer move us, and says so.
    fn unpin_at(&self, position: u64) {
        self.cursor.position.store(position, Ordering::Release);
        self.notify_space();
    }

    /// Passes over packets of which those were lost that brought the sum to `lost`; the others were none of ours.
    fn skip_counted(&mut self, position: u64, lost: u64) {
        let (passed, newly) = (position - self.position, lost - self.overflow);
        self.position = position;
        self.overflow = lost;
        self.count_lost(newly);
        self.count_rejected(passed - newly);
    }

    fn spare(&self) -> &Spare<M::Platform> {
        self.cursor.spare.as_ref().expect("its policy keeps what it has not read")
    }

    /// The held parcel.
    ///
    /// Panics when nothing is held.
    #[cold]
    #[inline(never)]
    fn parcel(&self) -> &Parcel {
        assert!(self.held == Held::Parcel, "a packet is acquired before it is read");
        self.spare().front().expect("a held parcel stays until its release").0
    }

    #[cold]
    #[inline(never)]
    fn release_parcel(&mut self) {
        self.held = Held::Nothing;
        self.position += 1;
        self.cursor.position.store(self.position, Ordering::Release);
        // Last, because the payload may fail in its drop.
        drop(self.spare().pop());
    }

    /// Moves the pin from the packet at our position to the newest one that we take, or to the newest when we take none.
    fn conflate(&mut self) {
        // The count may be behind the slot's word that we saw, even zero.
        let newest = self.ring.committed().saturating_sub(1).max(self.position);
        // The producer keeps everything from the pin on.
        let wanted = (self.position..=newest).rev().find(|seq| self.takes(*seq));
        let target = wanted.unwrap_or(newest);
        if target > self.position {
            let lost = (self.position..target).filter(|seq| wanted.is_some() && self.takes(*seq)).count() as u64;
            self.count_lost(lost);
            self.count_rejected(target - self.position - lost);
            self.position = target;
            self.cursor.position.store(target | PIN, Ordering::Release);
            self.notify_space();
        }
    }

    /// Whether a packet that the producer must leave alone is one we take.
    fn takes(&self, seq: u64) -> bool {
        let wants = &self.cursor.wants;
        if wants.takes_all() {
            return true;
        }
        let (memory, index) = (&self.ring.memory, self.ring.index(seq));
        memory.on_read(index);
        // SAFETY: `seq` lies between our pin and `committed`, so the slot holds its packet and the producer keeps away.
        unsafe { wants.takes(&*memory.header(index), seq, memory.payload(index)) }
    }

    /// Passes packets over: lost ones for a reader that may lose some, else ones that the producer saw we do not take.
    fn skip_to(&mut self, position: u64) {
        let count = position - self.position;
        self.position = position;
        if self.cursor.wants.policy.is_lossy() {
            self.count_lost(count);
        } else {
            self.count_rejected(count);
        }
    }

    fn count_lost(&mut self, count: u64) {
        self.lost += count;
        self.cursor.lost.store(self.lost, Ordering::Relaxed);
    }

    fn count_rejected(&mut self, count: u64) {
        self.rejected += count;
        self.cursor.rejected.store(self.rejected, Ordering::Relaxed);
    }

    /// The held packet's header.
    ///
    /// Panics when nothing is held.
    #[inline(always)]
    pub(crate) fn header(&self) -> &SlotHeader {
        if self.held != Held::Slot {
            return &self.parcel().header;
        }
        let index = self.ring.index(self.position);
        self.ring.memory.on_read(index);
        // SAFETY: `acquire` saw the slot's word (or `committed` beyond it) with acquire ordering, so the header is written and
        // visible; our position or pin keeps the producer away until `release`, which needs `&mut self`.
        unsafe { &*self.ring.memory.header(index) }
    }

    /// The held packet's header, and where its payload lies; valid until [`Reader::release`].
    #[inline(always)]
    pub(crate) fn packet(&self) -> (&SlotHeader, *const u8) {
        if self.held != Held::Slot {
            let parcel = self.parcel();
            return (&parcel.header, parcel.payload());
        }
        let index = self.ring.index(self.position);
        self.ring.memory.on_read(index);
        // SAFETY: as in `header`.
        (unsafe { &*self.ring.memory.header(index) }, self.ring.memory.payload(index))
    }

    /// Where the held packet's payload lies; valid until [`Reader::release`].
    #[inline(always)]
    pub(crate) fn payload(&self) -> *const u8 {
        if self.held == Held::Parcel {
            return self.parcel().payload();
        }
        let index = self.ring.index(self.position);
        self.ring.memory.on_read(index);
        self.ring.memory.payload(index)
    }

    /// Sequence of the held packet.
    #[inline(always)]
    pub(crate) fn seq(&self) -> u64 {
        self.position
    }

    /// Gives the held slot back.
    #[inline(always)]
    pub(crate) fn release(&mut self) {
        if self.held == Held::Slot {
            self.pass();
            self.acknowledge();
        } else if self.held == Held::Parcel {
            self.release_parcel();
        }
    }

    /// Moves on without telling the producer, which keeps the slot as it is until [`Reader::acknowledge`]. Only for readers that are
    /// not movable.
    #[inline(always)]
    pub(crate) fn pass(&mut self) {
        self.position += 1;
        self.held = Held::Nothing;
        if self.position + FETCH_AHEAD < self.ready {
            self.ring.memory.prefetch_read(self.ring.index(self.position + FETCH_AHEAD));
        }
    }

    /// Gives every passed slot back.
    #[inline(always)]
    pub(crate) fn acknowledge(&self) {
        self.cursor.position.store(self.position, Ordering::Release);
        self.notify_space();
    }

    #[inline(always)]
    fn notify_space(&self) {
        <M::Platform as Platform>::fence_light();
        if self.ring.is_space_fenced.load(Ordering::Relaxed) != 0 {
            self.ring_space();
        }
    }

    #[inline(never)]
    fn ring_space(&self) {
        <M::Platform as Platform>::fence();
        self.ring.space.ring_after_fence();
    }

    /// Whether the producer may move this reader, so that it must release each packet by itself.
    pub(crate) fn is_movable(&self) -> bool {
        self.is_movable
    }

    /// Packets known to be there, the held one included.
    pub(crate) fn ready_count(&self) -> u64 {
        self.ready.saturating_sub(self.position).max(1)
    }

    /// Packets not seen yet.
    pub(crate) fn lag(&self) -> u64 {
        if !self.is_settled {
            return 0;
        }
        if self.cursor.spare.is_some() {
            return self.cursor.lag(self.ring.committed());
        }
        self.ring.committed().saturating_sub(self.position.max(self.cursor.floor.load(Ordering::Relaxed)))
    }

    /// Causes beyond the first of the held packet.
    pub(crate) fn more_causes(&self) -> Option<Arc<[MessageId]>> {
        match self.held {
            Held::Parcel => self.parcel().more_causes.clone(),
            Held::Slot | Held::Nothing => self.ring.more_causes.get(self.position),
        }
    }

    /// What the producer knows of this reader.
    #[cfg(test)]
    pub(crate) fn cursor(&self) -> &Cursor<M::Platform> {
        &self.cursor
    }

    /// Whether the held packet needs its slot.
    #[cfg(test)]
    pub(crate) fn holds_slot(&self) -> bool {
        self.held == Held::Slot
    }

    /// Packets that were none of ours.
    #[cfg(test)]
    pub(crate) fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Packets lost to the policy; for a choosy reader they may include some it would not have taken.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}

impl<M: Memory> Drop for Reader<M> {
    fn drop(&mut self) {
        self.ring.detach(&self.cursor);
        if let Some(spare) = &self.cursor.spare {
            // The producer may put more aside until it sees that we are gone; it drops that with its copy of the cursor.
            while spare.pop().is_some() {}
        }
    }
}
