//! The reading end of a ring: one reader's position and what it knows of the producer's.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Ring;
use super::cursor::{Cursor, PIN, Start, UNSETTLED};
use super::memory::Memory;
use super::platform::{Bell, Platform, Word};
use super::slot::SlotHeader;
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
    is_held: bool,
    is_settled: bool,
    is_movable: bool,
    lost: u64,
    rejected: u64,
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
            is_held: false,
            is_settled: position & UNSETTLED == 0,
            is_movable,
            lost: 0,
            rejected: 0,
            next_sample: 0,
        }
    }

    /// Asks the producer to fence and to ring: for readers that are about to sleep for the first time.
    pub(crate) fn fence(&self) {
        self.ring.fence_for(&self.cursor);
    }

    /// Takes [`Reader::fence`] back, until the reader is about to sleep again.
    pub(crate) fn unfence(&self) {
        self.ring.unfence_for(&self.cursor);
    }

    /// Takes hold of the next packet; true when there is one. The same packet until [`Reader::release`].
    #[inline(always)]
    pub(crate) fn acquire(&mut self) -> bool {
        if self.is_held {
            return true;
        }
        if !self.is_movable && self.is_settled {
            let there = self.position < self.ready || self.look();
            self.is_held = there;
            return there;
        }
        self.acquire_pinned()
    }

    /// [`Reader::acquire`] that finds whatever another reader of the ring has seen. While traffic is thick, `acquire` looks at the count
    /// alone; a reader that looks at the slot sees its packet before the producer has counted it, and may have answered it.
    pub(crate) fn acquire_seen(&mut self) -> bool {
        if !self.acquire() && !self.is_movable && self.is_settled && self.is_marked() {
            self.ready = self.position + 1;
            self.is_held = true;
        }
        self.is_held
    }

    /// [`Reader::acquire`] without a look at what the producer writes. Only for readers that are not movable.
    #[inline(always)]
    pub(crate) fn acquire_known(&mut self) -> bool {
        self.is_held = self.position < self.ready;
        self.is_held
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
                self.is_held = self.look();
                return self.is_held;
            }
        }
        loop {
            // A later word means that the producer moved us and used the slot again; an earlier one that nothing is there yet.
            let word = self.ring.memory.commit(self.ring.index(self.position)).load(Ordering::Acquire);
            if word <= self.position || !self.pin() {
                return false;
            }
            if self.cursor.wants.policy == Policy::Conflate {
                self.conflate();
            }
            self.is_held = true;
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

    /// Pins the packet to read, past what was taken away meanwhile.
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
        assert!(self.is_held, "a packet is acquired before it is read");
        let index = self.ring.index(self.position);
        self.ring.memory.on_read(index);
        // SAFETY: `acquire` saw the slot's word (or `committed` beyond it) with acquire ordering, so the header is written and
        // visible; our position or pin keeps the producer away until `release`, which needs `&mut self`.
        unsafe { &*self.ring.memory.header(index) }
    }

    /// Where the held packet's payload lies; valid until [`Reader::release`].
    #[inline(always)]
    pub(crate) fn payload(&self) -> *const u8 {
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
        if self.is_held {
            self.pass();
            self.acknowledge();
        }
    }

    /// Moves on without telling the producer, which keeps the slot as it is until [`Reader::acknowledge`]. Only for readers that are
    /// not movable.
    #[inline(always)]
    pub(crate) fn pass(&mut self) {
        self.position += 1;
        self.is_held = false;
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
        self.ring.committed().saturating_sub(self.position.max(self.cursor.floor.load(Ordering::Relaxed)))
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
    }
}
