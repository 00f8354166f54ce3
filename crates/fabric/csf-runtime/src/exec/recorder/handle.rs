//! The recorder from outside: what is durable, and what else shall be.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_bus::{Doorbell, Topic};
use csf_core::LaneId;
use csf_core::port::{Append, Appended, Away, LogError, OutageWatch, Timer};
use tokio::sync::oneshot;

use crate::exec::watermark::DurableFeed;
use crate::exec::worker::Worker;

/// Events told without waiting that may wait for their commit.
const TOLD_MAX: usize = 4096;

/// What somebody wants appended.
pub(super) struct EventRequest {
    pub(super) append: Append,
    pub(super) answer: oneshot::Sender<Result<Appended, LogError>>,
    /// Whether a journal that refuses is tried again.
    pub(super) is_patient: bool,
}

/// More to record.
pub(super) struct Order {
    pub(super) topics: Vec<Arc<Topic>>,
    /// Delivery lanes by author of the effects.
    pub(super) delivery_of: Vec<(String, LaneId)>,
    pub(super) done: oneshot::Sender<()>,
}

/// Between a recorder and who talks to it.
pub(super) struct Shared {
    pub(super) bell: Arc<Doorbell>,
    pub(super) stop: AtomicBool,
    pub(super) events: Mutex<Vec<EventRequest>>,
    pub(super) orders: Mutex<Vec<Order>>,
    /// When the commit under way began, nanoseconds on the timer and one more; 0 when none is.
    pub(super) began: AtomicU64,
}

impl Shared {
    pub(super) fn new(bell: Arc<Doorbell>) -> Self {
        Self {
            bell,
            stop: AtomicBool::new(false),
            events: Mutex::default(),
            orders: Mutex::default(),
            began: AtomicU64::new(0),
        }
    }

    pub(super) fn events(&self) -> MutexGuard<'_, Vec<EventRequest>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn orders(&self) -> MutexGuard<'_, Vec<Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Talks to the recorder.
pub struct RecorderHandle {
    pub(super) feed: Arc<DurableFeed>,
    pub(super) shared: Arc<Shared>,
    pub(super) worker: Worker,
    pub(super) outage: OutageWatch,
    pub(super) timer: Arc<dyn Timer>,
}

impl RecorderHandle {
    /// What is durable.
    #[must_use]
    pub fn feed(&self) -> &Arc<DurableFeed> {
        &self.feed
    }

    /// What keeps the journal's store away, while it is.
    pub(crate) fn away(&self) -> Option<Away> {
        (self.outage)()
    }

    /// How long the commit under way has taken so far.
    pub(crate) fn commit_age(&self) -> Option<Duration> {
        let began = self.shared.began.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.timer.now().saturating_sub(Duration::from_nanos(began)))
    }

    /// Appends events and waits until they are durable. Cancel safe as [`csf_core::port::EventLog::append`] is.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn append(&self, append: Append) -> Result<Appended, LogError> {
        let (answer, receiver) = oneshot::channel();
        self.shared.events().push(EventRequest { append, answer, is_patient: false });
        self.shared.bell.ring();
        tokio::select! {
            biased;
            answer = receiver => answer.map_err(|_| LogError::Closed)?,
            () = self.worker.ended() => Err(LogError::Closed),
        }
    }

    /// Appends events without waiting, however often the journal refuses them; false when too many wait already.
    pub(crate) fn tell(&self, append: Append) -> bool {
        let mut events = self.shared.events();
        if events.len() >= TOLD_MAX {
            return false;
        }
        events.push(EventRequest { append, answer: oneshot::channel().0, is_patient: true });
        drop(events);
        self.shared.bell.ring();
        true
    }

    /// Records more topics, from the oldest packet they hold; `delivery_of` adds delivery lanes by the authors whose effects they cover.
    /// Back when all of it holds.
    ///
    /// # Errors
    /// When the recorder has stopped.
    pub async fn record(&self, topics: Vec<Arc<Topic>>, delivery_of: Vec<(String, LaneId)>) -> Result<(), String> {
        let (done, receiver) = oneshot::channel();
        self.shared.orders().push(Order { topics, delivery_of, done });
        self.shared.bell.ring();
        tokio::select! {
            biased;
            done = receiver => done.map_err(|_| "the recorder has stopped".to_owned()),
            () = self.worker.ended() => Err("the recorder has stopped".to_owned()),
        }
    }

    /// Writes everything that was published before the call, then ends. A second call does nothing.
    pub async fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.bell.ring();
        self.worker.ended().await;
    }
}
