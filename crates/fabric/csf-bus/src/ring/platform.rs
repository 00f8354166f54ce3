//! What the ring needs from the machine: words, a lock, fences and a bell. The product uses [`Native`]; the models use loom's.
//!
//! Fences come in pairs, so that the side that runs for every packet pays nothing (asymmetric fences, as in Linux's RCU and in
//! C++ proposal P1202R5): when thread A does `write a; light; read b` and thread B does `write b; heavy; read a`, one of them sees the
//! other's write. The heavy side is the membarrier(2) system call, which makes every running thread of the process execute a full
//! fence; where the kernel refuses it, both sides are full fences.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, compiler_fence, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A shared 64-bit word.
pub(crate) trait Word: Send + Sync {
    fn new(value: u64) -> Self;
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    fn fetch_add(&self, value: u64, order: Ordering) -> u64;
    fn swap(&self, value: u64, order: Ordering) -> u64;
}

/// A lock for the slow paths.
pub(crate) trait Lock<T>: Send + Sync {
    fn new(value: T) -> Self;
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R;
}

/// Wakes whoever sleeps behind it.
pub(crate) trait Bell: Send + Sync {
    /// Wakes the sleeper if there is one. The caller has fenced after making its work visible.
    fn ring_after_fence(&self);
}

/// Told of every use of plain memory, so that a model can check that no two meet.
pub(crate) trait Watch: Default {
    fn on_write(&self);
    fn on_read(&self);
}

/// The machine as the ring sees it.
pub(crate) trait Platform: Sized + 'static {
    type Word: Word;
    type Lock<T: Send>: Lock<T>;
    type Bell: Bell;
    type Watch: Watch;

    /// The cheap side of the pair.
    fn fence_light();
    /// The dear side of the pair.
    fn fence_heavy();
    /// A sequentially consistent fence, its own pair.
    fn fence();
    /// One turn of a loop that waits for another thread.
    fn spin();
    /// One turn of a loop that waits for a thread in the middle of something, which may not be running.
    fn give_way();
}

/// The real machine.
pub(crate) struct Native;

impl Word for AtomicU64 {
    #[inline(always)]
    fn new(value: u64) -> Self {
        Self::new(value)
    }

    #[inline(always)]
    fn load(&self, order: Ordering) -> u64 {
        Self::load(self, order)
    }

    #[inline(always)]
    fn store(&self, value: u64, order: Ordering) {
        Self::store(self, value, order);
    }

    #[inline(always)]
    fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        Self::fetch_add(self, value, order)
    }

    #[inline(always)]
    fn swap(&self, value: u64, order: Ordering) -> u64 {
        Self::swap(self, value, order)
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

impl Bell for crate::Doorbell {
    fn ring_after_fence(&self) {
        self.ring_if_waiting();
    }
}

impl Watch for () {
    #[inline(always)]
    fn on_write(&self) {}
    #[inline(always)]
    fn on_read(&self) {}
}

impl Platform for Native {
    type Word = AtomicU64;
    type Lock<T: Send> = Mutex<T>;
    type Bell = crate::Doorbell;
    type Watch = ();

    #[inline(always)]
    fn fence_light() {
        // Relaxed: the flag is set before any ring of the process exists and never changes afterwards.
        if IS_ASYMMETRIC.load(Ordering::Relaxed) {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    fn fence_heavy() {
        fence(Ordering::SeqCst);
        if IS_ASYMMETRIC.load(Ordering::Relaxed) {
            membarrier::execute();
        }
        fence(Ordering::SeqCst);
    }

    #[inline(always)]
    fn fence() {
        fence(Ordering::SeqCst);
    }

    #[inline(always)]
    fn spin() {
        std::hint::spin_loop();
    }

    fn give_way() {
        std::thread::yield_now();
    }
}

/// Whether the heavy fence reaches the other threads by itself.
static IS_ASYMMETRIC: AtomicBool = AtomicBool::new(false);

static IS_DECIDED: OnceLock<()> = OnceLock::new();

/// Registers the process for membarrier(2). Called before the first ring is made; later calls do nothing.
pub(crate) fn prepare() {
    IS_DECIDED.get_or_init(|| IS_ASYMMETRIC.store(membarrier::register(), Ordering::SeqCst));
}

/// Makes both sides of every pair of fences full ones, in this process: less work where rings are made often and read on the thread that
/// writes them, as in simulation. Does nothing after the first ring was made.
pub fn prefer_symmetric_fences() {
    IS_DECIDED.get_or_init(|| ());
}

#[cfg(target_os = "linux")]
mod membarrier {
    use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};

    pub(super) fn register() -> bool {
        membarrier_query().contains_command(MembarrierCommand::PrivateExpedited)
            && membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
    }

    pub(super) fn execute() {
        // The process is registered and the command known, so the kernel has no reason left to refuse (membarrier(2), ERRORS).
        membarrier(MembarrierCommand::PrivateExpedited).expect("membarrier works after its registration");
    }
}

#[cfg(not(target_os = "linux"))]
mod membarrier {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn execute() {}
}
