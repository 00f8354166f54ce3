//! The place of one answer: written by the actor, awaited by who asked.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::AskError;

enum Place<R> {
    /// Nobody looked yet, or this one wants to hear.
    Empty(Option<Waker>),
    Answered(Result<R, AskError>),
    /// Taken, or not wanted any more.
    Closed,
}

pub(super) struct ReplySlot<R>(Mutex<Place<R>>);

impl<R> ReplySlot<R> {
    fn lock(&self) -> MutexGuard<'_, Place<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False when nobody waits any more.
    pub(super) fn answer(&self, answer: Result<R, AskError>) -> bool {
        let mut place = self.lock();
        let Place::Empty(waker) = &mut *place else { return false };
        let waker = waker.take();
        *place = Place::Answered(answer);
        drop(place);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

/// The answer to come. Dropping it makes the answer a late one.
pub(super) struct Answer<R>(Arc<ReplySlot<R>>);

/// A slot and what waits for it.
pub(super) fn reply_slot<R>() -> (Arc<ReplySlot<R>>, Answer<R>) {
    let slot = Arc::new(ReplySlot(Mutex::new(Place::Empty(None))));
    (slot.clone(), Answer(slot))
}

impl<R> Future for Answer<R> {
    type Output = Result<R, AskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut place = self.0.lock();
        match std::mem::replace(&mut *place, Place::Closed) {
            Place::Answered(answer) => Poll::Ready(answer),
            Place::Empty(_) => {
                *place = Place::Empty(Some(cx.waker().clone()));
                Poll::Pending
            }
            Place::Closed => Poll::Pending,
        }
    }
}

impl<R> Drop for Answer<R> {
    fn drop(&mut self) {
        let place = std::mem::replace(&mut *self.0.lock(), Place::Closed);
        // Outside the lock: it may hold the last handle of a task.
        drop(place);
    }
}
