//! One producer's FIFO: a ring of slots written in place by one producer and read by reference by any number of readers.
//!
//! The producer owns the sequence numbers `committed..limit`; a reader owns `its position..committed`. The two never overlap:
//!
//! * `limit` is computed under the cursor lock as `gate + capacity`, where `gate` is at most every reader's position and at most
//!   `committed - history`. The producer writes slot `s` only while `s < limit`, so the value it overwrites (`s - capacity`) lies below
//!   `gate`, where no reader is or will be.
//! * A reader attaches under the same lock at a position `>= gate`.
//! * A lossy reader pins its position with a compare-and-swap before it reads; the producer moves an unpinned lossy position
//!   forward with one, and treats a pinned one as blocking.
//!
//! The idea of gating sequences is the LMAX Disruptor's (Thompson et al., 2011); the cached `limit` is what rtrb calls a cached index.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;
use csf_core::Header;

use crate::Doorbell;

/// Marks a lossy reader's position as being read. Sequences stay below 2^63.
const PIN: u64 = 1 << 63;

/// A header and its payload in one slot.
pub(crate) struct Packet<T> {
    pub(crate) header: Header,
    pub(crate) payload: T,
}

/// What happens to a reader that is too slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It holds the producer back; nothing is lost.
    #[default]
    Block,
    /// It loses the oldest packets and is told how many.
    DropOldest,
    /// It sees only the newest packet of each lane.
    Conflate,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next packet.
    Now,
    /// With up to this many packets the lane still holds (its `history` guarantees that many).
    Last(u64),
    /// With the oldest packet the lane still holds.
    Earliest,
}

/// A reader's place in a lane.
#[derive(Debug)]
pub(crate) struct Cursor {
    position: CachePadded<AtomicU64>,
    policy: Policy,
    lost: AtomicU64,
    doorbell: Arc<Doorbell>,
}

impl Cursor {
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Readers {
    cursors: Vec<Arc<Cursor>>,
    gate: u64,
}

pub(crate) struct Ring<T> {
    slots: Box<[UnsafeCell<MaybeUninit<Packet<T>>>]>,
    history: u64,
    committed: CachePadded<AtomicU64>,
    /// First sequence whose slot still holds a value to be dropped; written by the producer only, read by `Drop`.
    written: AtomicU64,
    readers: Mutex<Readers>,
    readers_version: AtomicU64,
    has_writer: AtomicBool,
    pub(crate) space: Doorbell,
}

// SAFETY: a slot is reached mutably only by the one producer (`Writer` is created once, `has_writer`) and only at sequences no
// reader may touch; readers reach it by shared reference only at sequences the producer may not touch (see the module's text).
// Payloads move to the producer's thread for dropping and are read from any thread, hence `Send + Sync`.
unsafe impl<T: Send + Sync> Sync for Ring<T> {}
// SAFETY: as above; the ring owns its payloads.
unsafe impl<T: Send + Sync> Send for Ring<T> {}

impl<T> Ring<T> {
    /// `capacity` is rounded up to a power of two; `history` of those slots are kept for late readers.
    pub(crate) fn new(capacity: usize, history: usize) -> Self {
        let capacity = capacity.max(2).next_power_of_two();
        let slots = (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
        Self {
            slots,
            history: (history as u64).min(capacity as u64 / 2),
            committed: CachePadded::new(AtomicU64::new(0)),
            written: AtomicU64::new(0),
            readers: Mutex::default(),
            readers_version: AtomicU64::new(0),
            has_writer: AtomicBool::new(false),
            space: Doorbell::default(),
        }
    }

    fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    fn slot(&self, seq: u64) -> *mut MaybeUninit<Packet<T>> {
        // `capacity` is a power of two, so the mask keeps the index inside.
        self.slots[(seq & (self.capacity() - 1)) as usize].get()
    }

    /// Number of packets ever committed.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn attach(&self, start: Start, policy: Policy, doorbell: Arc<Doorbell>) -> Arc<Cursor> {
        let mut readers = self.lock();
        let committed = self.committed();
        let position = match start {
            Start::Now => committed,
            Start::Last(count) => committed.saturating_sub(count).max(readers.gate),
            Start::Earliest => readers.gate,
        };
        let cursor = Arc::new(Cursor {
            position: CachePadded::new(AtomicU64::new(position)),
            policy,
            lost: AtomicU64::new(0),
            doorbell,
        });
        readers.cursors.push(cursor.clone());
        self.readers_version.fetch_add(1, Ordering::SeqCst);
        cursor
    }

    pub(crate) fn detach(&self, cursor: &Arc<Cursor>) {
        self.lock().cursors.retain(|c| !Arc::ptr_eq(c, cursor));
        self.readers_version.fetch_add(1, Ordering::SeqCst);
        self.space.ring();
    }

    /// The sequence a reader may read now, pinned if the reader is lossy. `None` when it has seen everything.
    pub(crate) fn acquire(&self, cursor: &Cursor) -> Option<u64> {
        if cursor.policy == Policy::Block {
            let position = cursor.position.load(Ordering::Relaxed);
            return (position < self.committed()).then_some(position);
        }
        let mut position = cursor.position.load(Ordering::Acquire);
        loop {
            if position & PIN != 0 {
                return Some(position & !PIN);
            }
            let committed = self.committed();
            if position >= committed {
                return None;
            }
            let wanted = if cursor.policy == Policy::Conflate { committed - 1 } else { position };
            match cursor.position.compare_exchange_weak(position, wanted | PIN, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    cursor.lost.fetch_add(wanted - position, Ordering::Relaxed);
                    return Some(wanted);
                }
                Err(now) => position = now,
            }
        }
    }

    /// The packet at a sequence.
    ///
    /// # Safety
    /// `seq` came from [`Ring::acquire`] for a cursor attached to this ring and [`Ring::release`] was not called for it since.
    pub(crate) unsafe fn get(&self, seq: u64) -> &Packet<T> {
        // SAFETY: `acquire` saw `committed > seq` with acquire ordering, so the slot is initialised and its write visible; the
        // cursor's position (blocking) or pin (lossy) keeps the producer from overwriting it until `release`.
        unsafe { (*self.slot(seq)).assume_init_ref() }
    }

    /// Gives the slot back: the reader has seen everything up to and including `seq`.
    pub(crate) fn release(&self, cursor: &Cursor, seq: u64) {
        cursor.position.store(seq + 1, Ordering::Release);
        self.space.ring();
    }

    /// Packets a reader has not seen yet.
    pub(crate) fn lag(&self, cursor: &Cursor) -> u64 {
        self.committed().saturating_sub(cursor.position.load(Ordering::Relaxed) & !PIN)
    }

    /// Computes how far the producer may write with `head` slots used, moving lossy readers out of the way.
    fn make_room(&self, head: u64) -> u64 {
        let mut readers = self.lock();
        let committed = self.committed.load(Ordering::Relaxed);
        let mut gate = committed.saturating_sub(self.history);
        // Lossy readers leave half the ring at once, so that stealing is rare.
        let clear_to = (head + self.capacity() / 2).saturating_sub(self.capacity()).min(committed);
        for cursor in &readers.cursors {
            let mut position = cursor.position.load(Ordering::Acquire);
            while cursor.policy != Policy::Block && position & PIN == 0 && position < clear_to {
                match cursor.position.compare_exchange_weak(position, clear_to, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        cursor.lost.fetch_add(clear_to - position, Ordering::Relaxed);
                        position = clear_to;
                    }
                    Err(now) => position = now,
                }
            }
            gate = gate.min(position & !PIN);
        }
        readers.gate = gate;
        gate + self.capacity()
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let written = *self.written.get_mut();
        for seq in written.saturating_sub(self.capacity())..written {
            // SAFETY: nobody else holds the ring; sequences `written - capacity .. written` are the initialised ones.
            unsafe { (*self.slot(seq)).assume_init_drop() };
        }
    }
}

/// The one producer of a ring. Values are staged, then committed together or rolled back.
pub(crate) struct Writer<T> {
    ring: Arc<Ring<T>>,
    committed: u64,
    staged: u64,
    limit: u64,
    bells: Vec<Arc<Doorbell>>,
    bells_version: u64,
}

impl<T> Writer<T> {
    /// `None` when the ring has a producer already.
    pub(crate) fn new(ring: Arc<Ring<T>>) -> Option<Self> {
        if ring.has_writer.swap(true, Ordering::AcqRel) {
            return None;
        }
        let committed = ring.committed();
        Some(Self { ring, committed, staged: 0, limit: committed, bells: Vec::new(), bells_version: u64::MAX })
    }

    /// Sequence the next staged value gets.
    pub(crate) fn next_seq(&self) -> u64 {
        self.committed + self.staged
    }

    /// Whether `count` more values fit now.
    pub(crate) fn has_room(&mut self, count: u64) -> bool {
        let need = self.next_seq() + count;
        if need > self.limit {
            self.limit = self.ring.make_room(self.next_seq());
        }
        need <= self.limit
    }

    /// Writes a value into the next slot, invisible until [`Writer::commit`]; gives it back when the ring is full.
    pub(crate) fn stage(&mut self, packet: Packet<T>) -> Result<(), Packet<T>> {
        if !self.has_room(1) {
            return Err(packet);
        }
        let seq = self.next_seq();
        let slot = self.ring.slot(seq);
        let written = self.ring.written.load(Ordering::Relaxed);
        // SAFETY: we are the one producer and `seq < limit`, so no reader is at `seq - capacity` or will be (module text). The old
        // value is dropped exactly when `seq - capacity` was written and not dropped since: `written` counts the live ones.
        unsafe {
            if seq >= self.ring.capacity() || seq < written {
                (*slot).assume_init_drop();
            }
            (*slot).write(packet);
        }
        self.ring.written.store(written.max(seq + 1), Ordering::Relaxed);
        self.staged += 1;
        Ok(())
    }

    /// Makes all staged values visible at once and wakes sleeping readers.
    pub(crate) fn commit(&mut self) {
        if self.staged == 0 {
            return;
        }
        self.committed += self.staged;
        self.staged = 0;
        self.ring.committed.store(self.committed, Ordering::Release);
        std::sync::atomic::fence(Ordering::SeqCst);
        let version = self.ring.readers_version.load(Ordering::Relaxed);
        if version != self.bells_version {
            self.bells = self.ring.lock().cursors.iter().map(|c| c.doorbell.clone()).collect();
            self.bells_version = version;
        }
        for bell in &self.bells {
            bell.ring();
        }
    }

    /// Forgets all staged values; their sequences are used again.
    pub(crate) fn rollback(&mut self) {
        // The slots stay initialised; the next stage at the same sequence drops them (`seq < written`).
        self.staged = 0;
    }

    pub(crate) fn ring(&self) -> &Arc<Ring<T>> {
        &self.ring
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        self.ring.has_writer.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use csf_core::{LaneId, Stamp};

    use super::*;

    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn packet(drops: &Arc<AtomicUsize>) -> Packet<Counted> {
        let lane = LaneId { node: 1, incarnation: 1, lane: 0 };
        Packet { header: Header::new(lane.message(0), Stamp(1)), payload: Counted(drops.clone()) }
    }

    #[test]
    fn every_value_is_dropped_exactly_once_over_wraps_and_rollbacks() {
        let drops = Arc::new(AtomicUsize::new(0));
        let ring = Arc::new(Ring::new(4, 1));
        let mut writer = Writer::new(ring.clone()).unwrap();
        let mut made = 0;
        for round in 0..50 {
            for _ in 0..(round % 3) + 1 {
                made += usize::from(writer.stage(packet(&drops)).is_ok());
            }
            if round % 4 == 0 { writer.rollback() } else { writer.commit() }
        }
        drop((writer, ring));
        assert_eq!(drops.load(Ordering::SeqCst), made);
    }

    #[test]
    fn staged_values_are_invisible_until_commit() {
        let drops = Arc::new(AtomicUsize::new(0));
        let ring = Arc::new(Ring::new(8, 1));
        let mut writer = Writer::new(ring.clone()).unwrap();
        let cursor = ring.attach(Start::Now, Policy::Block, Arc::default());
        assert!(writer.stage(packet(&drops)).is_ok());
        assert_eq!(ring.acquire(&cursor), None);
        writer.rollback();
        assert!(writer.stage(packet(&drops)).is_ok());
        writer.commit();
        assert_eq!(ring.acquire(&cursor), Some(0));
        assert_eq!(ring.lag(&cursor), 1);
    }

    #[test]
    fn a_ring_has_one_producer() {
        let ring = Arc::new(Ring::<u8>::new(8, 1));
        let writer = Writer::new(ring.clone());
        assert!(writer.is_some() && Writer::new(ring.clone()).is_none());
        drop(writer);
        assert!(Writer::new(ring).is_some());
    }

    #[test]
    fn a_pinned_slot_is_not_taken_from_a_lossy_reader() {
        let drops = Arc::new(AtomicUsize::new(0));
        let ring = Arc::new(Ring::new(4, 0));
        let mut writer = Writer::new(ring.clone()).unwrap();
        let cursor = ring.attach(Start::Now, Policy::DropOldest, Arc::default());
        assert!(writer.stage(packet(&drops)).is_ok());
        writer.commit();
        assert_eq!(ring.acquire(&cursor), Some(0));
        for _ in 0..10 {
            if writer.stage(packet(&drops)).is_ok() {
                writer.commit();
            }
        }
        assert_eq!(ring.committed(), 4, "the pinned slot holds the producer back");
        ring.release(&cursor, 0);
        assert!(writer.stage(packet(&drops)).is_ok());
    }
}
