//! Waking a reader or writer that went to sleep, at the price of one load for those who are awake.
//!
//! Invariant (Dekker): the sleeper sets `waiting`, fences, then looks once more; the ringer makes its work visible, fences, then looks
//! at `waiting`. One of the two sees the other.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::thread::Thread;
use std::time::Duration;

use atomic_waker::AtomicWaker;

/// One sleeper's bell: a thread or a task, any number of ringers.
#[derive(Debug, Default)]
pub struct Doorbell {
    waiting: AtomicBool,
    thread: Mutex<Option<Thread>>,
    task: AtomicWaker,
}

impl Doorbell {
    /// Wakes the sleeper if there is one. Call after the work is visible.
    #[inline]
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        self.ring_if_waiting();
    }

    /// [`Doorbell::ring`] for callers that have fenced.
    #[inline]
    pub(crate) fn ring_if_waiting(&self) {
        if self.waiting.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if self.waiting.swap(false, Ordering::AcqRel) {
            if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                thread.unpark();
            }
            self.task.wake();
        }
    }

    /// Parks the calling thread until the bell rings or `limit` is over, unless `ready` is already true.
    /// May also return early without cause, like every park.
    pub fn wait(&self, limit: Duration, mut ready: impl FnMut() -> bool) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
        self.waiting.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !ready() {
            std::thread::park_timeout(limit);
        }
        self.waiting.store(false, Ordering::Release);
    }

    /// Waits in a task until `ready` gives a value. Cancel safe: dropping the future forgets the wait.
    pub async fn wait_until<R>(&self, mut ready: impl FnMut() -> Option<R>) -> R {
        poll_fn(|cx| {
            if let Some(value) = ready() {
                return Poll::Ready(value);
            }
            self.task.register(cx.waker());
            self.waiting.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            match ready() {
                Some(value) => {
                    self.waiting.store(false, Ordering::Release);
                    Poll::Ready(value)
                }
                None => Poll::Pending,
            }
        })
        .await
    }
}
