//! A store of domain events that tells the bus what it has stored.
//!
//! Invariant: what the bus is told is stored, as safely as the log's receipts say; it is told in the log's order, each event once while the store
//! lives. A packet that finds no room on the bus is counted and left out; the versions show the gap, and the log has the event.
//! Reference: FAB-111.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csf_core::port::{
    Append, Appended, EventBusTx, EventCause, EventLog, ExpectedVersion, Filter, Json, LogError, NewEvent, Origin,
    Read, Spawn, StoredEvent,
};
use csf_core::{ComponentId, PhasePacket, Priority, Stamp};
use tokio::sync::watch;

use crate::Subscription;

/// Whom stored events are for: the first eight components.
pub const TARGETS: u64 = 0xFF;

/// What happened to an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainEvent {
    /// The aggregate: the stream's name behind its category, such as `alice` of `account-alice`.
    pub aggregate_id: String,
    /// Its type.
    pub event_type: String,
    /// Its content.
    pub event_data: Json,
    /// Its number in the stream, from 1; what a new event says here is not looked at.
    pub version: u64,
    /// When it happened.
    pub timestamp: Stamp,
    /// Where it comes from.
    pub origin: Origin,
}

impl DomainEvent {
    /// An event that is to be stored.
    pub fn new(aggregate_id: impl Into<String>, event_type: impl Into<String>, data: Json, timestamp: Stamp) -> Self {
        let (aggregate_id, event_type) = (aggregate_id.into(), event_type.into());
        Self { aggregate_id, event_type, event_data: data, version: 0, timestamp, origin: Origin::default() }
    }

    fn of(event: StoredEvent) -> Self {
        Self {
            aggregate_id: aggregate_id(&event.stream).to_owned(),
            event_type: event.kind,
            event_data: event.data,
            version: event.version,
            timestamp: event.stamp,
            origin: event.origin,
        }
    }
}

fn aggregate_id(stream: &str) -> &str {
    stream.split_once('-').map_or(stream, |(_, id)| id)
}

/// Why events were not stored.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventStoreError {
    /// The log refused or failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An event of another aggregate.
    #[error("an event of `{aggregate_id}` does not belong into stream `{stream_id}`")]
    OtherAggregate {
        /// The stream.
        stream_id: String,
        /// Whose event it is.
        aggregate_id: String,
    },
}

/// Domain events in a log, told to a bus. Dropping it ends the telling.
pub struct EventStore {
    storage: Arc<dyn EventLog>,
    told: watch::Receiver<u64>,
    untold: Arc<AtomicU64>,
}

impl EventStore {
    /// A store on `storage` that tells `bus` of every event of `filter` that is stored from now on, whoever appends it: as a
    /// [`PhasePacket`] of a [`DomainEvent`], from [`ComponentId::EventStore`] to [`TARGETS`], with [`Priority::High`].
    pub fn start(
        bus: impl EventBusTx + 'static,
        storage: Arc<dyn EventLog>,
        filter: Filter,
        spawn: &dyn Spawn,
    ) -> Self {
        let after = storage.position();
        let (tell, told) = watch::channel(after);
        let untold = Arc::<AtomicU64>::default();
        let events = Subscription::new(storage.clone(), filter, after);
        let teller = Teller { bus, events, told: tell, untold: untold.clone() };
        spawn.spawn(Box::pin(teller.run()));
        Self { storage, told, untold }
    }

    /// The log below.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn EventLog> {
        &self.storage
    }

    /// Stores events at the end of a stream that is as expected, all or none; back when they are as safe as the receipt says.
    ///
    /// Cancel safety: a dropped call may still be carried out.
    ///
    /// # Errors
    /// [`EventStoreError`]; [`csf_core::port::Refused::WrongVersion`] when the stream is not as expected.
    pub async fn append_events(
        &self,
        stream_id: &str,
        expected_version: ExpectedVersion,
        events: Vec<DomainEvent>,
    ) -> Result<Appended, EventStoreError> {
        if let Some(other) = events.iter().find(|event| event.aggregate_id != aggregate_id(stream_id)) {
            let (stream_id, aggregate_id) = (stream_id.to_owned(), other.aggregate_id.clone());
            return Err(EventStoreError::OtherAggregate { stream_id, aggregate_id });
        }
        let new = |event: DomainEvent| {
            NewEvent::new(stream_id, event.event_type, event.timestamp, event.event_data).with_origin(event.origin)
        };
        let events: Vec<NewEvent> = events.into_iter().map(new).collect();
        let append = Append::events(events).expecting(stream_id, expected_version);
        Ok(self.storage.append(append).await?)
    }

    /// Events of a stream from a version on, at most so many.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn read_events(
        &self,
        stream_id: &str,
        from_version: u64,
        max_count: usize,
    ) -> Result<Vec<DomainEvent>, LogError> {
        let page = self.storage.read(Read::stream(stream_id).from(from_version).limit(max_count)).await?;
        Ok(page.events.into_iter().map(DomainEvent::of).collect())
    }

    /// Waits until the bus has been told of everything up to this position. False when the telling has ended before: the log failed.
    /// Cancel safe.
    pub async fn told(&self, position: u64) -> bool {
        let mut told = self.told.clone();
        let reached = told.wait_for(|told| *told >= position).await.is_ok();
        reached || *self.told.borrow() >= position
    }

    /// Packets that found no room on the bus.
    #[must_use]
    pub fn untold(&self) -> u64 {
        self.untold.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for EventStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStore").field("told", &*self.told.borrow()).finish_non_exhaustive()
    }
}

/// The task that tells, as long as somebody has the [`EventStore`].
struct Teller<B> {
    bus: B,
    events: Subscription,
    told: watch::Sender<u64>,
    untold: Arc<AtomicU64>,
}

impl<B: EventBusTx> Teller<B> {
    async fn run(mut self) {
        loop {
            let page = tokio::select! {
                biased;
                () = self.told.closed() => return,
                page = self.events.progress() => page,
            };
            match page {
                Ok(page) => self.tell(page).await,
                Err(LogError::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, "stored events are not told any more");
                    return;
                }
            }
            self.told.send_replace(self.events.seen());
        }
    }

    async fn tell(&self, page: Vec<StoredEvent>) {
        for event in page {
            let cause = event.origin.cause;
            let packet = PhasePacket::new(DomainEvent::of(event), ComponentId::EventStore);
            let mut packet = packet.with_priority(Priority::High).with_targets(TARGETS);
            if let Some(EventCause::Packet(cause)) = cause {
                packet.add_temporal_correlation(vec![cause]);
            }
            if self.bus.publish(packet).await.is_err() {
                self.untold.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
