//! One producer's FIFO: slots written in place by one producer and read by reference by any number of readers.
//!
//! The producer owns the sequences `committed..limit`; a reader owns `its position..committed`. The two never overlap:
//!
//! * `limit = gate + capacity`, where `gate` is at most every reader's position and at most `committed - history`. The producer writes
//!   slot `s` only while `s < limit`, so the value it overwrites (`s - capacity`) lies below `gate`, where no reader is or will be.
//!   The gate that a limit followed from never falls.
//! * A reader that attaches makes itself known, then looks at `gate`; the producer publishes a new `gate`, then looks whether somebody
//!   attached. One of the two sees the other: the reader starts at or above the gate, or the producer counts it in.
//! * A reader that may be moved (lossy, or choosy) marks its position as pinned, then looks at its `floor`; the producer raises the
//!   floor, then looks at the pin. A pinned slot is left alone; an unpinned reader goes on at its floor.
//! * A reader that drops the newest is moved with what it has not read: the producer raises its floor, looks at the pin, publishes the
//!   gate, and when nobody attached meanwhile moves packets below that gate out of their slots, into the reader's FIFO of parcels. Then
//!   it says in `handed` that all below the floor is decided. Where it finds a pin or a newcomer, it lowers the floor again. A reader
//!   that pinned below its floor waits for the decision; until it has read its parcels it holds no slot. A slot whose value was moved
//!   lies below the gate, where no reader is or will be; its flag says that nothing is to be dropped.
//! * A reader that sleeps marks the ring as fenced before; from then on the producer fences after each commit and looks at the bells,
//!   until the reader, awake for long, takes the mark back.
//! * A ring that keeps no history and has no reader writes nothing but its count. Readers that attach then are unsettled until the
//!   producer, which finds them before its next packet, says where they begin.
//!
//! A reader polls the commit word of the next slot, which shares a line with what it is about to read: one line moves per packet when
//! traffic is thin. When the slot behind it is committed too, traffic is thick, and one look at `committed` names the whole batch.
//!
//! The idea of gating sequences is the LMAX Disruptor's (Thompson et al., 2011); the cached `limit` is what rtrb calls a cached index;
//! the word in the slot is FastFlow's (Aldinucci et al., 2012). Each protocol above has a model in `model/`; the law of all
//! operations together is in `laws.rs`, and whole nodes under random schedules are in `schedules/`.

mod causes;
mod cursor;
#[cfg(test)]
mod laws;
mod memory;
#[cfg(test)]
mod model;
mod platform;
mod reader;
#[cfg(test)]
mod schedules;
mod slot;
mod spare;
#[cfg(test)]
mod stress;
#[cfg(test)]
mod tests;
mod wants;
mod writer;

use std::alloc::Layout;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use causes::MoreCauses;
use crossbeam_utils::CachePadded;
use csf_core::MessageId;

pub use cursor::Start;
pub(crate) use cursor::{Cursor, Totals};
use memory::Memory;
pub(crate) use memory::{HeapMemory, LANE_BYTES_MAX};
use platform::Lock;
pub use platform::prefer_symmetric_fences;
pub(crate) use platform::{Native, Platform, Word};
pub(crate) use reader::Reader;
pub(crate) use slot::SlotHeader;
use slot::flag;
pub use wants::Policy;
pub(crate) use wants::{SlotFilter, Wants};
pub(crate) use writer::Writer;

/// Counts in [`Ring::attention`]: readers that sleep in the low half, changes of the reader list in the high half.
const FENCED: u64 = 1;
const CHANGE: u64 = 1 << 32;
const FENCED_MASK: u64 = CHANGE - 1;

/// What a payload needs to be dropped where it lies.
#[derive(Clone, Copy)]
pub(crate) struct DropGlue(Option<unsafe fn(*mut u8)>);

impl DropGlue {
    pub(crate) fn of<T>() -> Self {
        /// # Safety
        /// `payload` holds a `T` that nobody uses afterwards.
        unsafe fn drop_in_place<T>(payload: *mut u8) {
            // SAFETY: the caller's promise.
            unsafe { payload.cast::<T>().drop_in_place() };
        }
        Self(std::mem::needs_drop::<T>().then_some(drop_in_place::<T>))
    }
}

pub(crate) struct Readers<P: Platform> {
    cursors: Vec<Arc<Cursor<P>>>,
    /// Whether the producer writes its packets into slots.
    is_active: bool,
    /// Of readers that went.
    retired: Totals,
}

pub(crate) struct Ring<M: Memory> {
    memory: M,
    glue: DropGlue,
    history: u64,
    /// Packets ever committed. Written by the producer.
    committed: CachePadded<<M::Platform as Platform>::Word>,
    /// No reader is or will be below. Written by the producer.
    gate: CachePadded<<M::Platform as Platform>::Word>,
    /// Written by readers that come, go or fall asleep; read by the producer after each commit.
    attention: CachePadded<<M::Platform as Platform>::Word>,
    /// 1 when the producer sleeps for room now and then: readers fence after each release and look at `space`.
    is_space_fenced: CachePadded<<M::Platform as Platform>::Word>,
    space: Arc<<M::Platform as Platform>::Bell>,
    readers: <M::Platform as Platform>::Lock<Readers<M::Platform>>,
    more_causes: MoreCauses<M::Platform>,
    has_writer: <M::Platform as Platform>::Word,
}

impl Ring<HeapMemory> {
    /// A ring on the heap for payloads of type `T`. `None` when its slots need more than [`LANE_BYTES_MAX`].
    pub(crate) fn on_heap<T>(capacity: usize, history: usize) -> Option<Self> {
        platform::prepare();
        let memory = HeapMemory::new(capacity.max(2).checked_next_power_of_two()?, Layout::new::<T>())?;
        Some(Self::new(memory, DropGlue::of::<T>(), history, Arc::default()))
    }
}

impl<M: Memory> Ring<M> {
    /// `history` packets, at most half the capacity, are kept for late readers.
    pub(crate) fn new(memory: M, glue: DropGlue, history: usize, space: Arc<<M::Platform as Platform>::Bell>) -> Self {
        let history = (history as u64).min(memory.capacity() / 2);
        Self {
            memory,
            glue,
            history,
            committed: CachePadded::new(Word::new(0)),
            gate: CachePadded::new(Word::new(0)),
            attention: CachePadded::new(Word::new(0)),
            is_space_fenced: CachePadded::new(Word::new(0)),
            space,
            readers: Lock::new(Readers { cursors: Vec::new(), is_active: history > 0, retired: Totals::default() }),
            more_causes: MoreCauses::new(),
            has_writer: Word::new(0),
        }
    }

    #[inline(always)]
    pub(crate) fn capacity(&self) -> u64 {
        self.memory.capacity()
    }

    /// Slot of a sequence.
    #[inline(always)]
    fn index(&self, seq: u64) -> usize {
        // The capacity is a power of two, so the mask keeps the index inside.
        (seq & (self.capacity() - 1)) as usize
    }

    /// Number of packets ever committed.
    #[inline(always)]
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// No reader is or will be below.
    fn gate(&self) -> u64 {
        self.gate.load(Ordering::Acquire)
    }

    /// Remembers further causes of a packet about to be committed. For the producer.
    pub(crate) fn add_causes(&self, seq: u64, causes: &[MessageId]) {
        self.more_causes.add(seq, causes, self.gate());
    }

    /// What all readers have done so far, those that went included.
    pub(crate) fn totals(&self) -> Totals {
        self.readers.with(|readers| {
            readers.cursors.iter().fold(readers.retired, |mut sum, cursor| {
                sum.add(cursor.totals());
                sum
            })
        })
    }

    /// Bytes of the slots.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// Calls `f` with each reader's label, whether it holds the producer back, how many packets it has not passed, and its totals.
    pub(crate) fn for_each_reader(&self, mut f: impl FnMut(&Arc<str>, bool, u64, Totals)) {
        self.readers.with(|readers| {
            let committed = self.committed();
            for cursor in &readers.cursors {
                f(&cursor.wants.label, !cursor.wants.policy.is_lossy(), cursor.lag(committed), cursor.totals());
            }
        });
    }

    /// Whether every reader that loses nothing has passed this packet.
    pub(crate) fn is_passed(&self, seq: u64) -> bool {
        self.readers.with(|readers| {
            let committed = self.committed();
            readers.cursors.iter().all(|cursor| cursor.wants.policy.is_lossy() || cursor.passed(committed) > seq)
        })
    }

    /// Packets committed that readers have not passed, each counted once for each reader.
    pub(crate) fn queue_depth(&self) -> u64 {
        self.readers.with(|readers| {
            let committed = self.committed();
            readers.cursors.iter().map(|cursor| cursor.lag(committed)).sum()
        })
    }

    pub(crate) fn space(&self) -> &Arc<<M::Platform as Platform>::Bell> {
        &self.space
    }

    pub(crate) fn attach(
        &self,
        start: Start,
        wants: Wants,
        bell: Arc<<M::Platform as Platform>::Bell>,
    ) -> Arc<Cursor<M::Platform>> {
        self.readers.with(|readers| {
            let committed = self.committed();
            if !readers.is_active {
                let cursor = Arc::new(Cursor::new(committed | cursor::UNSETTLED, self.capacity(), wants, bell));
                readers.cursors.push(cursor.clone());
                self.attention.fetch_add(CHANGE, Ordering::SeqCst);
                return cursor;
            }
            // At the gate until the producer is known to have seen us or we are known to have seen its newest gate.
            let cursor = Arc::new(Cursor::new(self.gate(), self.capacity(), wants, bell));
            readers.cursors.push(cursor.clone());
            self.attention.fetch_add(CHANGE, Ordering::SeqCst);
            <M::Platform as Platform>::fence_heavy();
            let gate = self.gate.load(Ordering::Acquire);
            let committed = self.committed();
            let position = match start {
                Start::Now => committed,
                Start::Last(count) => committed.saturating_sub(count).max(gate),
                Start::Earliest => gate,
            };
            cursor.start.store(position, Ordering::Relaxed);
            cursor.position.store(position, Ordering::Release);
            cursor
        })
    }

    pub(crate) fn detach(&self, cursor: &Arc<Cursor<M::Platform>>) {
        let fenced = if cursor.is_fenced.load(Ordering::Relaxed) == 0 { 0 } else { FENCED };
        self.readers.with(|readers| {
            readers.cursors.retain(|c| !Arc::ptr_eq(c, cursor));
            readers.retired.add(cursor.totals());
            self.attention.fetch_add(CHANGE.wrapping_sub(fenced), Ordering::SeqCst);
        });
        <M::Platform as Platform>::fence();
        platform::Bell::ring_after_fence(&*self.space);
    }

    /// From now on the producer fences after its commits and rings this reader's bell if it waits.
    pub(crate) fn fence_for(&self, cursor: &Cursor<M::Platform>) {
        if cursor.is_fenced.swap(1, Ordering::AcqRel) == 0 {
            self.attention.fetch_add(FENCED, Ordering::SeqCst);
            <M::Platform as Platform>::fence_heavy();
        }
    }

    /// [`Ring::fence_for`] on a ring without a producer: the one to come looks before its first commit, so nobody has to be made to fence.
    pub(crate) fn fence_unwritten(&self, cursor: &Cursor<M::Platform>) {
        if cursor.is_fenced.swap(1, Ordering::AcqRel) == 0 {
            self.attention.fetch_add(FENCED, Ordering::SeqCst);
        }
    }

    /// Takes [`Ring::fence_for`] back. Only for a reader that does not sleep, and asks again before it does.
    pub(crate) fn unfence_for(&self, cursor: &Cursor<M::Platform>) {
        if cursor.is_fenced.swap(0, Ordering::AcqRel) != 0 {
            self.attention.fetch_add(FENCED.wrapping_neg(), Ordering::SeqCst);
        }
    }

    /// From now on readers fence after their releases and ring the producer's bell if it waits.
    pub(crate) fn fence_space(&self) {
        if self.is_space_fenced.swap(1, Ordering::AcqRel) == 0 {
            <M::Platform as Platform>::fence_heavy();
        }
    }
}

impl<M: Memory> Drop for Ring<M> {
    fn drop(&mut self) {
        let DropGlue(Some(glue)) = self.glue else { return };
        for index in 0..self.memory.capacity() as usize {
            // SAFETY: nobody else holds the ring; a header is zero or was written by the producer, and its flag says whether the
            // payload is a live value.
            unsafe {
                if (*self.memory.header(index)).flags & flag::INIT != 0 {
                    glue(self.memory.payload(index));
                }
            }
        }
    }
}
