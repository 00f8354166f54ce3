//! The bulkhead: so many calls at the same time and no more, so that a slow service takes its own slots and nobody else's.
//!
//! Waiting callers are served in their order (tokio's semaphore is fair and needs no runtime). Invariant: at most `max_concurrent` slots
//! are out, but for those given before the limit was lowered; they are not taken back, and none is given until they are home.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::port::{Timer, within};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::policy::{Problems, span};

/// Settings of a bulkhead. The default is `quantum_integration` of INT-085.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkheadPolicy {
    /// Calls at the same time.
    pub max_concurrent: u32,
    /// Longest wait for a slot.
    pub max_wait: Duration,
    /// Calls that may wait at the same time; one more is refused at once.
    pub max_waiting: u32,
}

impl Default for BulkheadPolicy {
    fn default() -> Self {
        Self::quantum_integration()
    }
}

impl BulkheadPolicy {
    /// Most slots of a bulkhead.
    pub const SLOTS_MAX: u32 = 1_000_000;

    /// INT-085: 10 calls, 1,000 ms.
    #[must_use]
    pub fn quantum_integration() -> Self {
        Self { max_concurrent: 10, max_wait: Duration::from_millis(1_000), max_waiting: 1_000 }
    }

    /// INT-085: 50 calls, 500 ms.
    #[must_use]
    pub fn neuromorphic_integration() -> Self {
        Self { max_concurrent: 50, max_wait: Duration::from_millis(500), max_waiting: 1_000 }
    }

    pub(crate) fn validate(&self, problems: &mut Problems) {
        problems.range("max_concurrent_calls", u64::from(self.max_concurrent), 1, u64::from(Self::SLOTS_MAX));
        problems.span("max_wait_duration", self.max_wait, Duration::ZERO, span::DAY);
        problems.range("max_waiting", u64::from(self.max_waiting), 0, u64::from(Self::SLOTS_MAX));
    }
}

/// No slot came free in time, or too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The limit of concurrent calls.
    pub max_concurrent: u32,
    /// The limit of the wait.
    pub max_wait: Duration,
    /// How long this call waited.
    pub waited: Duration,
    /// Calls that wait, when their number was the reason.
    pub waiting: Option<u32>,
}

/// A bulkhead at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BulkheadReport {
    /// Slots.
    pub max_concurrent: u32,
    /// Slots that are out.
    pub in_use: u32,
    /// Calls that wait.
    pub waiting: u32,
    /// Calls refused ever.
    pub rejected: u64,
}

struct Limits {
    policy: BulkheadPolicy,
    /// Slots that are out although the limit is lower now.
    debt: usize,
}

struct Inner {
    slots: Arc<Semaphore>,
    limits: Mutex<Limits>,
    in_use: AtomicU32,
    waiting: AtomicU32,
    rejected: AtomicU64,
    timer: Arc<dyn Timer>,
}

/// A counted door. Clones are the same bulkhead.
#[derive(Clone)]
pub struct Bulkhead(Arc<Inner>);

impl Bulkhead {
    /// A bulkhead with all slots free.
    #[must_use]
    pub fn new(policy: BulkheadPolicy, timer: Arc<dyn Timer>) -> Self {
        Self(Arc::new(Inner {
            slots: Arc::new(Semaphore::new(policy.max_concurrent as usize)),
            limits: Mutex::new(Limits { policy, debt: 0 }),
            in_use: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            rejected: AtomicU64::new(0),
            timer,
        }))
    }

    /// Waits for a slot, `max_wait` at most, behind those who wait already. Cancel safe: a caller that is dropped leaves the queue.
    ///
    /// # Errors
    /// [`Full`] with both limits.
    pub async fn acquire(&self) -> Result<Slot, Full> {
        if let Ok(permit) = self.0.slots.clone().try_acquire_owned() {
            return Ok(self.slot(permit));
        }
        let policy = self.limits().policy.clone();
        let asked_at = self.0.timer.now();
        let refuse = |waiting| {
            self.0.rejected.fetch_add(1, Relaxed);
            let waited = self.0.timer.now().saturating_sub(asked_at);
            Full { max_concurrent: policy.max_concurrent, max_wait: policy.max_wait, waited, waiting }
        };
        let place = Waiting::join(&self.0.waiting);
        if place.ahead >= policy.max_waiting {
            return Err(refuse(Some(place.ahead)));
        }
        let acquiring = self.0.slots.clone().acquire_owned();
        match within(&*self.0.timer, policy.max_wait, acquiring).await {
            Some(permit) => Ok(self.slot(permit.expect("the semaphore is never closed"))),
            None => Err(refuse(None)),
        }
    }

    /// New limits. Calls that have a slot keep it; calls that wait keep their longest wait.
    pub fn reconfigure(&self, policy: BulkheadPolicy) {
        let mut limits = self.limits();
        let (old, new) = (limits.policy.max_concurrent as usize, policy.max_concurrent as usize);
        if new < old {
            let forgotten = self.0.slots.forget_permits(old - new);
            limits.debt += old - new - forgotten;
        } else {
            let paid = limits.debt.min(new - old);
            limits.debt -= paid;
            self.0.slots.add_permits(new - old - paid);
        }
        limits.policy = policy;
    }

    /// Everything at a glance.
    #[must_use]
    pub fn report(&self) -> BulkheadReport {
        BulkheadReport {
            max_concurrent: self.limits().policy.max_concurrent,
            in_use: self.0.in_use.load(Relaxed),
            waiting: self.0.waiting.load(Relaxed),
            rejected: self.0.rejected.load(Relaxed),
        }
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.0.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, permit: OwnedSemaphorePermit) -> Slot {
        self.0.in_use.fetch_add(1, Relaxed);
        Slot { permit: Some(permit), bulkhead: self.clone() }
    }
}

/// A place inside. Dropping it gives it to the next.
#[must_use = "a slot that is dropped is free again"]
pub struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    bulkhead: Bulkhead,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.bulkhead.0.in_use.fetch_sub(1, Relaxed);
        let mut limits = self.bulkhead.limits();
        if limits.debt > 0
            && let Some(permit) = self.permit.take()
        {
            limits.debt -= 1;
            permit.forget();
        }
    }
}

/// Counts a caller as waiting for as long as it lives.
pub(crate) struct Waiting<'a> {
    count: &'a AtomicU32,
    /// Callers that waited already.
    pub(crate) ahead: u32,
}

impl<'a> Waiting<'a> {
    pub(crate) fn join(count: &'a AtomicU32) -> Self {
        Self { ahead: count.fetch_add(1, Relaxed), count }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Relaxed);
    }
}
