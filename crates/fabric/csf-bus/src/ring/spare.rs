//! Packets that outlive their slots: what a reader that drops the newest has not read when the producer needs the room.
//!
//! The producer moves a packet out of its slot into a parcel, which readers that want the same packet share, and never clones it. Each
//! such reader has a FIFO of parcels, as long as the lane has slots; what finds it full is lost for that reader.
//!
//! * Of the FIFO, the producer owns the entries `tail..head + capacity`, the reader `head..tail`.
//! * A parcel leaves the FIFO when its reader releases it; its last reader drops the payload.
//! * `handed` follows the cursor's floor: while `handed < floor`, the producer has asked for what is below the floor and has not decided.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;
use csf_core::MessageId;

use super::DropGlue;
use super::platform::{Platform, Watch, Word};
use super::slot::{SlotHeader, flag};

/// A packet without a slot.
pub(super) struct Parcel {
    pub(super) seq: u64,
    pub(super) header: SlotHeader,
    /// Causes beyond the first.
    pub(super) more_causes: Option<Arc<[MessageId]>>,
    payload: NonNull<u8>,
    layout: Layout,
    glue: DropGlue,
}

// SAFETY: the payload is a value of the lane, which is lent to the threads of its readers and dropped by any of them.
unsafe impl Send for Parcel {}
// SAFETY: as above.
unsafe impl Sync for Parcel {}

impl Parcel {
    /// Moves the packet `seq` out of its slot.
    ///
    /// # Safety
    /// `payload` holds the value that belongs to `header`, of this layout, and `glue` drops it; nobody uses it there afterwards.
    pub(super) unsafe fn of(
        seq: u64,
        header: SlotHeader,
        payload: *const u8,
        layout: Layout,
        glue: DropGlue,
        more_causes: Option<Arc<[MessageId]>>,
    ) -> Self {
        let room = if layout.size() == 0 {
            NonNull::without_provenance(NonZeroUsize::new(layout.align()).unwrap_or(NonZeroUsize::MIN))
        } else {
            // SAFETY: the size is not zero.
            NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
        };
        // SAFETY: both are valid for the layout, and the room is new.
        unsafe { room.as_ptr().copy_from_nonoverlapping(payload, layout.size()) };
        Self { seq, header, more_causes, payload: room, layout, glue }
    }

    pub(super) fn payload(&self) -> *const u8 {
        self.payload.as_ptr()
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        /// Gives the room back, also when the payload fails in its drop.
        struct Room(NonNull<u8>, Layout);
        impl Drop for Room {
            fn drop(&mut self) {
                if self.1.size() > 0 {
                    // SAFETY: allocated in `of` with this layout.
                    unsafe { dealloc(self.0.as_ptr(), self.1) };
                }
            }
        }
        let room = Room(self.payload, self.layout);
        if let DropGlue(Some(glue)) = self.glue
            && self.header.flags & flag::INIT != 0
        {
            // SAFETY: the value was moved here, and nobody uses it after its owner's drop.
            unsafe { glue(room.0.as_ptr()) };
        }
    }
}

/// What the producer told of a parcel: its packet, and how many packets the reader had lost when it was put aside.
struct Entry<P: Platform> {
    watch: P::Watch,
    content: UnsafeCell<MaybeUninit<(Arc<Parcel>, u64)>>,
}

/// One reader's FIFO of parcels.
pub(super) struct Spare<P: Platform> {
    entries: Box<[Entry<P>]>,
    /// Parcels ever put in. Written by the producer.
    tail: CachePadded<P::Word>,
    /// Parcels ever released. Written by the reader.
    head: CachePadded<P::Word>,
    /// Every packet below is put aside, lost, or none of the reader's. Written by the producer.
    handed: P::Word,
    /// Packets of the reader that found no room. Written by the producer before `handed`.
    lost: P::Word,
}

// SAFETY: who may touch which entry when is said by `tail` and `head`.
unsafe impl<P: Platform> Send for Spare<P> {}
// SAFETY: as above.
unsafe impl<P: Platform> Sync for Spare<P> {}

impl<P: Platform> Spare<P> {
    pub(super) fn new(capacity: u64) -> Self {
        let entry = |_| Entry { watch: P::Watch::default(), content: UnsafeCell::new(MaybeUninit::uninit()) };
        Self {
            entries: (0..capacity).map(entry).collect(),
            tail: CachePadded::new(Word::new(0)),
            head: CachePadded::new(Word::new(0)),
            handed: Word::new(0),
            lost: Word::new(0),
        }
    }

    fn entry(&self, number: u64) -> &Entry<P> {
        // The capacity is the ring's, a power of two, so the mask keeps the index inside.
        &self.entries[(number & (self.entries.len() as u64 - 1)) as usize]
    }

    /// Parcels not released yet.
    pub(super) fn len(&self) -> u64 {
        // The head first: it never passes the tail.
        let head = self.head.load(Ordering::Acquire);
        self.tail.load(Ordering::Acquire).saturating_sub(head)
    }

    /// Every packet below is put aside, lost, or none of the reader's.
    pub(super) fn handed(&self) -> u64 {
        self.handed.load(Ordering::Acquire)
    }

    /// Packets that found no room so far. For the producer, and for a reader that keeps it from handing more over.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Puts a packet aside, or counts it as lost when there is no room. For the producer.
    pub(super) fn put(&self, parcel: impl FnOnce() -> Arc<Parcel>) {
        let tail = self.tail.load(Ordering::Relaxed);
        if tail - self.head.load(Ordering::Acquire) == self.entries.len() as u64 {
            self.lost.store(self.lost() + 1, Ordering::Relaxed);
            return;
        }
        let entry = self.entry(tail);
        entry.watch.on_write();
        // SAFETY: the reader released what lay here, and does not look until it sees the new tail.
        unsafe { (*entry.content.get()).write((parcel(), self.lost())) };
        self.tail.store(tail + 1, Ordering::Release);
    }

    /// Says that everything below is decided. For the producer.
    pub(super) fn hand(&self, to: u64) {
        self.handed.store(to, Ordering::Release);
    }

    /// The oldest parcel, and how many packets were lost before it. For the reader.
    pub(super) fn front(&self) -> Option<(&Parcel, u64)> {
        let head = self.head.load(Ordering::Relaxed);
        if self.tail.load(Ordering::Acquire) == head {
            return None;
        }
        let entry = self.entry(head);
        entry.watch.on_read();
        // SAFETY: the tail says that the entry is filled; it stays until we release it.
        let (parcel, lost) = unsafe { (*entry.content.get()).assume_init_ref() };
        Some((parcel, *lost))
    }

    /// Takes the oldest parcel out. For the reader.
    pub(super) fn pop(&self) -> Option<Arc<Parcel>> {
        let head = self.head.load(Ordering::Relaxed);
        if self.tail.load(Ordering::Acquire) == head {
            return None;
        }
        let entry = self.entry(head);
        entry.watch.on_write();
        // SAFETY: the tail says that the entry is filled; the new head says that it is empty.
        let (parcel, _) = unsafe { (*entry.content.get()).assume_init_read() };
        self.head.store(head + 1, Ordering::Release);
        Some(parcel)
    }
}

impl<P: Platform> Drop for Spare<P> {
    fn drop(&mut self) {
        // The newest values, and all that was done before them, as models know them too, which cannot see through the cursor's `Arc`.
        let [head, tail] = [&self.head, &self.tail].map(|word| word.fetch_add(0, Ordering::AcqRel));
        for number in head..tail {
            self.entry(number).watch.on_write();
            // SAFETY: the entry is filled, and nobody uses it after its owner's drop.
            unsafe { (*self.entry(number).content.get()).assume_init_drop() };
        }
    }
}
