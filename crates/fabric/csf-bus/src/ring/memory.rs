//! Where slots lie. Slots are reached by index and offset, never by stored pointer.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use super::platform::{Native, Platform};
use super::slot::{HEADER_BYTES, SlotHeader};

/// Bytes one lane may take. A lane that needs more is a mistake in `capacity` or in the payload's type.
pub(crate) const LANE_BYTES_MAX: usize = 1 << 30;
/// Two cache lines: the unit that the neighbour-line prefetcher of x86 fetches.
const PAIR: usize = 128;

/// Slots of one ring.
///
/// # Safety
/// `commit(i)`, `header(i)` and `payload(i)` name disjoint memory for each `i < capacity()`, valid as long as the value lives;
/// `capacity()` is a power of two and constant.
pub(crate) unsafe trait Memory: Send + Sync {
    type Platform: Platform;

    fn capacity(&self) -> u64;
    /// Bytes of all slots.
    fn bytes(&self) -> u64;
    /// Holds `sequence + 1` of the packet the slot carries.
    fn commit(&self, index: usize) -> &<Self::Platform as Platform>::Word;
    fn header(&self, index: usize) -> *mut SlotHeader;
    fn payload(&self, index: usize) -> *mut u8;
    /// Of a payload.
    fn payload_layout(&self) -> Layout;

    /// Told before the producer writes a slot, so that a model can check that nobody reads it.
    #[inline(always)]
    fn on_write(&self, _index: usize) {}
    /// Told before a reader reads a slot.
    #[inline(always)]
    fn on_read(&self, _index: usize) {}
    /// Fetches a slot's lines for reading.
    #[inline(always)]
    fn prefetch_read(&self, _index: usize) {}
    /// Fetches the line of a slot's header for writing.
    #[inline(always)]
    fn prefetch_header(&self, _index: usize) {}
    /// Fetches a slot's lines for writing.
    #[inline(always)]
    fn prefetch_write(&self, _index: usize) {}
}

/// Slots on the heap, zeroed; pages come from the kernel when they are first written.
pub(crate) struct HeapMemory {
    base: NonNull<u8>,
    layout: Layout,
    payload: Layout,
    stride: usize,
    payload_offset: usize,
    capacity: u64,
}

// SAFETY: the memory is plain bytes and atomics; who may touch which slot when is the ring's protocol, not this type's.
unsafe impl Send for HeapMemory {}
// SAFETY: as above.
unsafe impl Sync for HeapMemory {}

impl HeapMemory {
    /// `capacity` slots, a power of two, for payloads of this layout. `None` when they would need more than [`LANE_BYTES_MAX`].
    pub(crate) fn new(capacity: usize, payload: Layout) -> Option<Self> {
        let align = payload.align().max(HEADER_BYTES);
        let payload_offset = HEADER_BYTES.next_multiple_of(payload.align());
        let stride = payload_offset.checked_add(payload.size())?.checked_next_multiple_of(align)?;
        let bytes = stride.checked_mul(capacity).filter(|bytes| *bytes <= LANE_BYTES_MAX)?;
        let layout = Layout::from_size_align(bytes, align.max(PAIR)).ok()?;
        // SAFETY: `bytes` is at least one header, hence not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { base, layout, payload, stride, payload_offset, capacity: capacity as u64 })
    }

    #[inline(always)]
    fn at(&self, index: usize, offset: usize) -> *mut u8 {
        debug_assert!((index as u64) < self.capacity);
        // SAFETY: `index < capacity` (the ring masks it) and `offset <= stride`, so the address is inside the allocation.
        unsafe { self.base.as_ptr().add(index * self.stride + offset) }
    }
}

// SAFETY: slots are `stride` apart; the commit word, the header behind it and the payload behind that do not overlap.
unsafe impl Memory for HeapMemory {
    type Platform = Native;

    #[inline(always)]
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn bytes(&self) -> u64 {
        self.layout.size() as u64
    }

    #[inline(always)]
    fn commit(&self, index: usize) -> &AtomicU64 {
        // SAFETY: the word lies at a multiple of 64 inside the allocation, was zeroed, and is only ever used as this atomic.
        unsafe { AtomicU64::from_ptr(self.at(index, 0).cast()) }
    }

    #[inline(always)]
    fn header(&self, index: usize) -> *mut SlotHeader {
        self.at(index, size_of::<u64>()).cast()
    }

    #[inline(always)]
    fn payload(&self, index: usize) -> *mut u8 {
        self.at(index, self.payload_offset)
    }

    fn payload_layout(&self) -> Layout {
        self.payload
    }

    #[inline(always)]
    fn prefetch_read(&self, index: usize) {
        prefetch::read(self.at(index, 0));
        prefetch::read(self.at(index, HEADER_BYTES.min(self.stride - 1)));
    }

    #[inline(always)]
    fn prefetch_header(&self, index: usize) {
        prefetch::write(self.at(index, 0));
    }

    #[inline(always)]
    fn prefetch_write(&self, index: usize) {
        prefetch::write(self.at(index, 0));
        prefetch::write(self.at(index, HEADER_BYTES.min(self.stride - 1)));
    }
}

impl Drop for HeapMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

#[cfg(target_arch = "x86_64")]
mod prefetch {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    #[inline(always)]
    pub(super) fn read(address: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }

    /// PREFETCHW, which processors without it execute as a no-operation (Intel SDM vol. 2B). The intrinsic falls back to a fetch for
    /// reading unless the whole program is compiled for such processors, hence the instruction itself.
    #[inline(always)]
    pub(super) fn write(address: *const u8) {
        // SAFETY: a prefetch never faults and changes no register or flag.
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod prefetch {
    #[inline(always)]
    pub(super) fn read(_: *const u8) {}
    #[inline(always)]
    pub(super) fn write(_: *const u8) {}
}
