//! The ring's machine over shuttle's words, locks and threads, and slots whose values take a while to write.

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};

use shuttle::sync::atomic::AtomicU64;
use shuttle::sync::{Condvar, Mutex};

use crate::doorbell::Waiting;
use crate::ring::memory::Memory;
use crate::ring::platform::{Bell, Lock, Platform, Word};
use crate::ring::slot::SlotHeader;

/// A machine on which every access is a place to switch threads. All accesses are in one order, so its fences have nothing to do.
pub(super) struct Machine;

impl Word for AtomicU64 {
    fn new(value: u64) -> Self {
        Self::new(value)
    }
    fn load(&self, _: Ordering) -> u64 {
        Self::load(self, Ordering::SeqCst)
    }
    fn store(&self, value: u64, _: Ordering) {
        Self::store(self, value, Ordering::SeqCst);
    }
    fn fetch_add(&self, value: u64, _: Ordering) -> u64 {
        Self::fetch_add(self, value, Ordering::SeqCst)
    }
    fn swap(&self, value: u64, _: Ordering) -> u64 {
        Self::swap(self, value, Ordering::SeqCst)
    }
}

impl<T: Send> Lock<T> for Mutex<T> {
    fn new(value: T) -> Self {
        Self::new(value)
    }
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// As [`Doorbell`](crate::Doorbell), with a way to sleep that ends for no other reason than a call, so that a lost one is a deadlock, which
/// shuttle reports. (Its `park` ends now and then by itself, as std's may.)
#[derive(Default)]
pub(super) struct ScheduledBell {
    waiting: Waiting<Machine>,
    is_called: Mutex<bool>,
    call: Condvar,
}

impl ScheduledBell {
    pub(super) fn wait(&self, ready: impl FnOnce() -> bool) {
        self.waiting.wait(ready, || {
            let mut is_called = self.is_called.lock().unwrap_or_else(PoisonError::into_inner);
            while !std::mem::take(&mut *is_called) {
                is_called = self.call.wait(is_called).unwrap_or_else(PoisonError::into_inner);
            }
        });
    }
}

impl Bell for ScheduledBell {
    fn ring_after_fence(&self) {
        self.waiting.ring_after_fence(|| {
            *self.is_called.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.call.notify_one();
        });
    }
}

impl Platform for Machine {
    type Word = AtomicU64;
    type Lock<T: Send> = Mutex<T>;
    type Bell = ScheduledBell;
    type Watch = ();

    fn fence_light() {}
    fn fence_heavy() {}
    fn fence() {}
    fn spin() {
        shuttle::hint::spin_loop();
    }
    fn give_way() {
        shuttle::thread::yield_now();
    }
}

/// Words of a payload, each of which is its packet's sequence: half of one can be seen.
pub(super) const WORDS: usize = 4;

/// A packet's payload. Counted, so that one that is dropped twice or never shows.
pub(super) struct Load {
    pub(super) words: [u64; WORDS],
    pub(super) alive: Arc<AtomicI64>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
        self.words = [u64::MAX; WORDS];
    }
}

struct Slot {
    commit: AtomicU64,
    header: UnsafeCell<SlotHeader>,
    payload: UnsafeCell<MaybeUninit<Load>>,
}

pub(super) struct Slots(Vec<Slot>);

impl Slots {
    pub(super) fn new(capacity: usize) -> Self {
        let slot = |_| Slot {
            commit: AtomicU64::new(0),
            header: UnsafeCell::default(),
            payload: UnsafeCell::new(MaybeUninit::uninit()),
        };
        Self((0..capacity).map(slot).collect())
    }
}

// SAFETY: shuttle runs one thread at a time, so plain memory is never touched at once; that the protocol keeps threads apart is what the
// test looks at, with switches in the middle of writes and reads.
unsafe impl Send for Slots {}
// SAFETY: as above.
unsafe impl Sync for Slots {}

// SAFETY: every slot has its own fields, and the vector never changes.
unsafe impl Memory for Slots {
    type Platform = Machine;

    fn capacity(&self) -> u64 {
        self.0.len() as u64
    }
    fn bytes(&self) -> u64 {
        size_of_val(&self.0[..]) as u64
    }
    fn commit(&self, index: usize) -> &AtomicU64 {
        &self.0[index].commit
    }
    fn header(&self, index: usize) -> *mut SlotHeader {
        self.0[index].header.get()
    }
    fn payload(&self, index: usize) -> *mut u8 {
        self.0[index].payload.get().cast()
    }
    fn payload_layout(&self) -> Layout {
        Layout::new::<Load>()
    }
}
