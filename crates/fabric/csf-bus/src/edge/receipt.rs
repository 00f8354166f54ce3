//! How the publisher of a guaranteed packet learns what became of it.
//!
//! Acceptance needs no message: a subscriber has accepted what its position has passed. The receipt wakes the publisher to look, and
//! carries the refusals.

use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use atomic_waker::AtomicWaker;

/// Lies in the slot beside the packet; shared with its publisher.
#[derive(Default)]
pub(crate) struct Receipt {
    publisher: AtomicWaker,
    refusal: Mutex<Option<String>>,
}

impl Receipt {
    /// A subscriber went on.
    pub(super) fn passed(&self) {
        self.publisher.wake();
    }

    /// A subscriber gave the packet up.
    pub(super) fn refuse(&self, reason: String) {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.publisher.wake();
    }

    /// Waits until `is_accepted`, or until a subscriber has given the packet up: its reason.
    pub(super) async fn settled(&self, mut is_accepted: impl FnMut() -> bool) -> Result<(), String> {
        poll_fn(|cx| {
            self.publisher.register(cx.waker());
            if let Some(reason) = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return Poll::Ready(Err(reason));
            }
            if is_accepted() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }
}
