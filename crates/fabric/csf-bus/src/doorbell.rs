//! Waking a reader or writer that went to sleep, at the price of one load for those who are awake.
//!
//! Invariant (Dekker): the sleeper sets `waiting`, fences, then looks once more; the ringer makes its work visible, fences, then looks
//! at `waiting`. One of the two sees the other. The protocol is [`Waiting`], of which `ring/model` has models; [`Doorbell`] adds how a
//! thread and a task sleep.

use std::future::poll_fn;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::thread::Thread;
use std::time::Duration;

use atomic_waker::AtomicWaker;

use crate::ring::{Native, Platform, Word};

/// Whether somebody sleeps behind a bell.
pub(crate) struct Waiting<P: Platform>(P::Word);

impl<P: Platform> Default for Waiting<P> {
    fn default() -> Self {
        Self(Word::new(0))
    }
}

impl<P: Platform> Waiting<P> {
    /// Calls `wake` if somebody sleeps. The caller has fenced after making its work visible.
    #[inline]
    pub(crate) fn ring_after_fence(&self, wake: impl FnOnce()) {
        if self.0.load(Ordering::Relaxed) != 0 {
            self.ring_sleeper(wake);
        }
    }

    #[cold]
    fn ring_sleeper(&self, wake: impl FnOnce()) {
        if self.0.swap(0, Ordering::AcqRel) != 0 {
            wake();
        }
    }

    /// Calls `sleep` unless `ready`. A `wake` that comes before `sleep` must not be lost: `sleep` then returns at once.
    pub(crate) fn wait(&self, ready: impl FnOnce() -> bool, sleep: impl FnOnce()) {
        self.announce();
        if !ready() {
            sleep();
        }
        self.0.store(0, Ordering::Release);
    }

    /// One turn of a task; `register` says whom to wake.
    pub(crate) fn poll<R>(&self, mut ready: impl FnMut() -> Option<R>, register: impl FnOnce()) -> Poll<R> {
        if let Some(value) = ready() {
            return Poll::Ready(value);
        }
        register();
        self.announce();
        match ready() {
            Some(value) => {
                self.0.store(0, Ordering::Release);
                Poll::Ready(value)
            }
            None => Poll::Pending,
        }
    }

    fn announce(&self) {
        self.0.store(1, Ordering::SeqCst);
        P::fence();
    }
}

/// One sleeper's bell: a thread or a task, any number of ringers.
#[derive(Default)]
pub struct Doorbell {
    waiting: Waiting<Native>,
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
        self.waiting.ring_after_fence(|| self.wake());
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            thread.unpark();
        }
        self.task.wake();
    }

    /// Parks the calling thread until the bell rings or `limit` is over, unless `ready` is already true.
    /// May also return early without cause, like every park.
    pub fn wait(&self, limit: Duration, ready: impl FnMut() -> bool) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
        self.waiting.wait(ready, || std::thread::park_timeout(limit));
    }

    /// Waits in a task until `ready` gives a value. Cancel safe: dropping the future forgets the wait.
    pub async fn wait_until<R>(&self, mut ready: impl FnMut() -> Option<R>) -> R {
        poll_fn(|cx| self.waiting.poll(&mut ready, || self.task.register(cx.waker()))).await
    }
}

impl std::fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorbell").finish_non_exhaustive()
    }
}
