//! The one producer of a ring. Packets are staged, then committed together or rolled back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::Matcher;

use super::cursor::{Cursor, PIN, UNSETTLED};
use super::memory::Memory;
use super::platform::{Bell, Lock, Platform, Word};
use super::slot::{SlotHeader, flag};
use super::spare::{Parcel, Spare};
use super::wants::Wants;
use super::{CHANGE, DropGlue, FENCED_MASK, Ring};

/// Slots whose lines are fetched for writing before they are needed: the line comes back from the reader's cache meanwhile.
const FETCH_AHEAD: u64 = 16;
/// A value of [`Ring::attention`] that never occurs: it makes the producer look.
const LOOK: u64 = u64::MAX;

pub(crate) struct Writer<M: Memory> {
    ring: Arc<Ring<M>>,
    /// Sequence the next staged packet gets.
    next: u64,
    committed: u64,
    /// The ring's gate that `limit` follows from. Never falls, as the slots below are overwritten.
    gate: u64,
    /// Packets below fit now.
    limit: u64,
    /// What `attention` reads when nobody came, went or sleeps; [`LOOK`] while somebody may.
    quiet: u64,
    /// What `attention` read when `cursors` was copied.
    seen: u64,
    /// No history and no reader: nothing is written but the count.
    is_idle: bool,
    cursors: Vec<Arc<Cursor<M::Platform>>>,
    /// Readers that are asked, while room is made, for what they have not read.
    asked: Vec<Asked<M::Platform>>,
    /// The cursors' masks, side by side for the matcher, and its room.
    masks: Vec<u64>,
    found: Vec<u64>,
    matcher: Matcher,
}

/// A reader that drops the newest and stands in the way.
struct Asked<P: Platform> {
    cursor: Arc<Cursor<P>>,
    /// What it has not read begins here.
    first: u64,
    /// The packets it takes of these, in order; `None` when it takes all.
    wanted: Option<Vec<u64>>,
}

impl<P: Platform> Asked<P> {
    fn spare(&self) -> &Spare<P> {
        self.cursor.spare.as_ref().expect("only readers with a spare are asked")
    }

    fn wants(&self, seq: u64) -> bool {
        seq >= self.first && self.wanted.as_ref().is_none_or(|wanted| wanted.binary_search(&seq).is_ok())
    }
}

impl<M: Memory> Writer<M> {
    /// `None` when the ring has a producer already.
    pub(crate) fn new(ring: Arc<Ring<M>>) -> Option<Self> {
        if ring.has_writer.swap(1, Ordering::AcqRel) != 0 {
            return None;
        }
        let committed = ring.committed();
        let is_idle = ring.readers.with(|readers| !readers.is_active);
        let limit = if is_idle { 0 } else { committed };
        let gate = ring.gate.load(Ordering::Relaxed);
        Some(Self {
            ring,
            gate,
            next: committed,
            committed,
            limit,
            quiet: LOOK,
            seen: LOOK,
            is_idle,
            cursors: Vec::new(),
            asked: Vec::new(),
            masks: Vec::new(),
            found: Vec::new(),
            matcher: Matcher::default(),
        })
    }

    /// Sequence the next staged packet gets.
    #[inline(always)]
    pub(crate) fn next_seq(&self) -> u64 {
        self.next
    }

    pub(crate) fn ring(&self) -> &Arc<Ring<M>> {
        &self.ring
    }

    /// Whether a packet staged now is written nowhere: no history, no reader.
    #[inline(always)]
    pub(crate) fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// Whether `count` more packets fit now.
    #[inline(always)]
    pub(crate) fn has_room(&mut self, count: u64) -> bool {
        self.next + count <= self.limit || self.stays_idle() || self.make_room(count)
    }

    /// Nobody came since the producer looked; and while idle packets are staged, a change of mind has to wait for their commit.
    #[inline(always)]
    fn stays_idle(&self) -> bool {
        self.is_idle && (self.next > self.committed || self.ring.attention.load(Ordering::Acquire) == self.seen)
    }

    /// Packets that fit at least.
    pub(crate) fn room(&self) -> u64 {
        if self.is_idle { u64::MAX } else { self.limit.saturating_sub(self.next) }
    }

    /// Writes a packet into the next slot, invisible until [`Writer::commit`], before which the caller fills the header. The payload goes
    /// first: a value that had to wait for the header's clock would be built elsewhere and copied.
    ///
    /// # Safety
    /// [`Writer::has_room`] said yes for this packet since the last one, and `write` fills the payload with a value that the ring's
    /// drop glue fits.
    #[inline(always)]
    pub(crate) unsafe fn stage(&mut self, write: impl FnOnce(*mut u8)) -> &mut SlotHeader {
        debug_assert!(self.is_idle || self.next < self.limit);
        let memory = &self.ring.memory;
        let index = self.ring.index(self.next);
        memory.on_write(index);
        // A reader that polls for this packet has the line; asked for now, it comes back while the clock is read.
        memory.prefetch_header(index);
        // SAFETY: we are the one producer and `next < limit`, so no reader is at the packet this slot held or will be (module text).
        // The flag says whether that packet's value still lives; it is cleared first, so that a panic in `write` drops nothing twice.
        unsafe {
            if let DropGlue(Some(glue)) = self.ring.glue
                && (*memory.header(index)).flags & flag::INIT != 0
            {
                (*memory.header(index)).flags = 0;
                glue(memory.payload(index));
            }
            write(memory.payload(index));
        }
        self.next += 1;
        let ahead = self.next + FETCH_AHEAD;
        if ahead < self.limit {
            memory.prefetch_write(self.ring.index(ahead));
        }
        // SAFETY: as above; nothing else is written to the slot until the caller lets go of `self`.
        unsafe { &mut *memory.header(index) }
    }

    /// Counts a packet that nobody reads.
    #[inline(always)]
    pub(crate) fn skip(&mut self) {
        debug_assert!(self.is_idle);
        self.next += 1;
    }

    /// Makes all staged packets visible at once and wakes sleeping readers.
    #[inline(always)]
    pub(crate) fn commit(&mut self) {
        if self.next == self.committed {
            return;
        }
        if !self.is_idle {
            // Last to first: a reader waits at the first, so it sees all of them or none.
            let mut seq = self.next;
            while seq > self.committed {
                self.ring.memory.commit(self.ring.index(seq - 1)).store(seq, Ordering::Release);
                seq -= 1;
            }
        }
        let first = self.committed;
        self.committed = self.next;
        self.ring.committed.store(self.next, Ordering::Release);
        <M::Platform as Platform>::fence_light();
        if self.ring.attention.load(Ordering::Relaxed) != self.quiet && !self.is_idle {
            self.wake(first);
        }
    }

    /// Forgets all staged packets; their sequences are used again.
    pub(crate) fn rollback(&mut self) {
        // The slots keep their values; staging at the same sequences drops them.
        self.next = self.committed;
    }

    /// Looks who reads, and rings for those who sleep and are addressed by a packet from `first` on.
    #[inline(never)]
    fn wake(&mut self, first: u64) {
        <M::Platform as Platform>::fence();
        self.refresh();
        if self.seen & FENCED_MASK == 0 {
            return;
        }
        let targets = (first..self.committed).fold(0, |targets, seq| targets | self.targets_of(seq));
        let ring = |cursor: &Cursor<M::Platform>| {
            if cursor.is_fenced.load(Ordering::Relaxed) != 0 {
                cursor.bell.ring_after_fence();
            }
        };
        if let [cursor] = &self.cursors[..] {
            if targets & self.masks[0] != 0 {
                ring(cursor);
            }
            return;
        }
        self.matcher.visit(&self.masks, targets, &mut self.found, |index| ring(&self.cursors[index]));
    }

    /// Whether nobody came, went or sleeps as far as the producer knows: its commits end with one look.
    #[cfg(test)]
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet != LOOK
    }

    /// Chooses the instructions by which sleepers are matched.
    pub(crate) fn set_matcher(&mut self, matcher: Matcher) {
        self.matcher = matcher;
    }

    fn targets_of(&self, seq: u64) -> u64 {
        // SAFETY: `committed - capacity <= seq < committed`, so the slot holds the packet of `seq`; only this producer could change it.
        unsafe { (*self.ring.memory.header(self.ring.index(seq))).targets }
    }

    /// Copies the list of readers if it changed.
    fn refresh(&mut self) {
        let attention = self.ring.attention.load(Ordering::Acquire);
        if attention / CHANGE != self.seen / CHANGE || self.seen == LOOK {
            let ring = &self.ring;
            let (cursors, seen) = ring.readers.with(|readers| {
                let nothing_staged = self.next == self.committed;
                // A ring that loses its last reader with packets staged stays active until the next change; that costs only time.
                if ring.history == 0 && nothing_staged && readers.is_active == readers.cursors.is_empty() {
                    readers.is_active = !readers.cursors.is_empty();
                    if readers.is_active {
                        self.gate = self.next;
                        ring.gate.store(self.next, Ordering::Release);
                        for cursor in &readers.cursors {
                            if cursor.position.load(Ordering::Relaxed) & UNSETTLED != 0 {
                                cursor.start.store(self.next, Ordering::Relaxed);
                                cursor.position.store(self.next, Ordering::Release);
                            }
                        }
                    }
                }
                self.is_idle = !readers.is_active;
                (readers.cursors.clone(), ring.attention.load(Ordering::Acquire))
            });
            self.masks = cursors.iter().map(|cursor| cursor.wants.mask).collect();
            self.found = vec![0; cursors.len().div_ceil(64)];
            self.cursors = cursors;
            self.seen = seen;
            self.limit = if self.is_idle { 0 } else { self.limit.max(self.committed) };
        } else {
            self.seen = attention;
        }
        self.quiet = if self.seen & FENCED_MASK == 0 { self.seen } else { LOOK };
    }

    /// Finds out how far the producer may write.
    #[inline(never)]
    fn make_room(&mut self, count: u64) -> bool {
        let capacity = self.ring.capacity();
        loop {
            self.refresh();
            if self.is_idle {
                return true;
            }
            let mut gate = self.committed.saturating_sub(self.ring.history);
            for cursor in self.cursors.iter().filter(|cursor| cursor.spare.is_none()) {
                gate = gate.min(self.position_of(cursor, count));
            }
            // A reader that was moved may pin a place below for a moment, until it sees its floor; what is there may be overwritten.
            let gate = self.ask(gate, count).max(self.gate);
            self.ring.gate.store(gate, Ordering::Release);
            <M::Platform as Platform>::fence_light();
            if self.ring.attention.load(Ordering::Relaxed) / CHANGE == self.seen / CHANGE {
                self.gate = gate;
                self.limit = gate + capacity;
                self.hand_over();
                return self.next + count <= self.limit;
            }
            // Somebody came who may read what we would take away.
            self.take_back();
        }
    }

    /// Asks readers that drop the newest and stand in the way for what they have not read; returns the gate that they and the other
    /// readers, who need everything from `gate` on, leave. Settled by [`Writer::hand_over`] or [`Writer::take_back`].
    fn ask(&mut self, gate: u64, count: u64) -> u64 {
        let capacity = self.ring.capacity();
        let needed = (self.next + count).saturating_sub(capacity);
        let mut gate = gate;
        let mut asked = std::mem::take(&mut self.asked);
        for cursor in &self.cursors {
            let Some(spare) = &cursor.spare else { continue };
            let (first, is_pinned) = cursor.place(spare);
            if is_pinned || first >= needed {
                gate = gate.min(first);
            } else {
                asked.push(Asked { cursor: cursor.clone(), first, wanted: None });
            }
        }
        // Half the ring at once, so that asking is rare.
        let clear_to = (self.next + count.max(capacity / 2)).saturating_sub(capacity).min(self.committed);
        let target = gate.min(clear_to);
        asked.retain(|asked| asked.first < target);
        if !asked.is_empty() {
            gate = target;
            for asked in &mut asked {
                let wants = &asked.cursor.wants;
                if !wants.takes_all() {
                    asked.wanted = Some((asked.first..target).filter(|seq| self.is_wanted(*seq, wants)).collect());
                }
            }
            // From here on readers may wait for us, so nobody else's code runs.
            for asked in &asked {
                asked.cursor.floor.store(target, Ordering::SeqCst);
            }
            <M::Platform as Platform>::fence_heavy();
            for asked in &mut asked {
                let (first, is_pinned) = asked.cursor.place(asked.spare());
                asked.first = first;
                if is_pinned {
                    gate = gate.min(first);
                }
            }
        }
        self.asked = asked;
        gate
    }

    /// Moves what the asked readers have not read below the gate out of its slots. No reader is or will be there.
    fn hand_over(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let asked = std::mem::take(&mut self.asked);
        let first = asked.iter().map(|asked| asked.first).min().unwrap_or(self.gate);
        for seq in first..self.gate {
            let mut parcel = None;
            for asked in asked.iter().filter(|asked| asked.wants(seq)) {
                asked.spare().put(|| Arc::clone(parcel.get_or_insert_with(|| self.parcel_of(seq))));
            }
        }
        for asked in &asked {
            if asked.first < self.gate {
                asked.spare().hand(self.gate);
            }
            asked.cursor.floor.store(asked.spare().handed(), Ordering::Release);
        }
        self.asked = asked;
        self.asked.clear();
    }

    /// Leaves the asked readers what they have.
    fn take_back(&mut self) {
        for asked in self.asked.drain(..) {
            asked.cursor.floor.store(asked.spare().handed(), Ordering::Release);
        }
    }

    fn parcel_of(&self, seq: u64) -> Arc<Parcel> {
        let (memory, index) = (&self.ring.memory, self.ring.index(seq));
        memory.on_write(index);
        // SAFETY: `seq` is below the gate, where no reader is or will be, and not below the gate that staging knew of, so the slot still
        // holds its packet. The flag is cleared, so that the slot's next packet and the ring's drop leave the value to the parcel.
        unsafe {
            let header = *memory.header(index);
            let more_causes = if header.has_more_causes() { self.ring.more_causes.get(seq) } else { None };
            let (payload, layout) = (memory.payload(index), memory.payload_layout());
            let parcel = Parcel::of(seq, header, payload, layout, self.ring.glue, more_causes);
            (*memory.header(index)).flags &= !flag::INIT;
            Arc::new(parcel)
        }
    }

    /// The oldest sequence this reader may still read; readers that may be moved are moved when they stand in the way.
    fn position_of(&self, cursor: &Cursor<M::Platform>, count: u64) -> u64 {
        let capacity = self.ring.capacity();
        let position = cursor.position.load(Ordering::Acquire);
        if position & PIN != 0 {
            return position & !PIN;
        }
        let position = position.max(cursor.floor.load(Ordering::Relaxed));
        if cursor.wants.policy.is_lossy() {
            // Half the ring at once, so that moving is rare.
            let clear_to = (self.next + count.max(capacity / 2)).saturating_sub(capacity).min(self.committed);
            return if position < clear_to { cursor.move_to(clear_to) } else { position };
        }
        if !cursor.wants.takes_all() && position + capacity < self.next + count {
            let first = (position..self.committed).find(|seq| self.is_wanted(*seq, &cursor.wants));
            let clear_to = first.unwrap_or(self.committed);
            return if position < clear_to { cursor.move_to(clear_to) } else { position };
        }
        position
    }

    /// Whether a committed packet that no other slot use has replaced is one this reader takes.
    fn is_wanted(&self, seq: u64, wants: &Wants) -> bool {
        let (memory, index) = (&self.ring.memory, self.ring.index(seq));
        // SAFETY: `committed - capacity <= seq < committed`, so the slot holds the packet of `seq`; only this producer could change it.
        unsafe { wants.takes(&*memory.header(index), seq, memory.payload(index)) }
    }
}

impl<M: Memory> Drop for Writer<M> {
    fn drop(&mut self) {
        self.ring.has_writer.store(0, Ordering::Release);
    }
}
