//! The bus as its edges see it: whole packets by Rust type (FAB-021, FAB-022), and what a bus tells about itself (FAB-028 to FAB-030).

use std::any::Any;
use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::{AnyPacket, BusResult, MessageId, PhasePacket, Stamp};

/// What a packet at the edge may carry. Delivery inside the process never clones it.
pub trait Payload: Any + Send + Sync + Clone {}

impl<T: Any + Send + Sync + Clone> Payload for T {}

/// Number of a subscription, unique in its bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubscriptionId(pub u64);

/// Publishes whole packets by type.
pub trait EventBusTx: Send + Sync {
    /// Publishes. A guaranteed packet waits for room and until every subscriber has accepted it; another one does not wait.
    /// Not cancel safe: a dropped future may have published.
    ///
    /// # Errors
    /// [`crate::BusError::ResourceExhausted`] when there is no room for a packet that is not guaranteed;
    /// [`crate::BusError::DeliveryFailed`] when a guaranteed one was not accepted in time or was rejected too often.
    fn publish<T: Payload>(&self, packet: PhasePacket<T>) -> impl Future<Output = BusResult<MessageId>> + Send;

    /// Publishes in this order. Packets that are not guaranteed become visible together.
    ///
    /// # Errors
    /// As [`EventBusTx::publish`], of the first packet that failed; those before it are published.
    fn publish_batch<T: Payload>(
        &self,
        packets: Vec<PhasePacket<T>>,
    ) -> impl Future<Output = BusResult<Vec<MessageId>>> + Send;

    /// Publishes without waiting, not for acceptance either.
    ///
    /// # Errors
    /// [`crate::BusError::ResourceExhausted`].
    fn try_publish<T: Payload>(&self, packet: PhasePacket<T>) -> BusResult<MessageId>;

    /// The counters.
    fn get_stats(&self) -> BusStats;

    /// Live subscriptions of a type.
    fn subscriber_count<T: Payload>(&self) -> usize;

    /// Whether the health check has no warning.
    fn is_healthy(&self) -> bool;
}

/// Subscribes to whole packets by type.
pub trait EventBusRx: Send + Sync {
    /// Yields packets; leaves the bus when dropped.
    type Receiver<T: Payload>: Send;

    /// Receives every packet of a type from now on.
    ///
    /// # Errors
    /// [`crate::BusError::InitializationFailed`].
    fn subscribe<T: Payload>(&self) -> impl Future<Output = BusResult<Self::Receiver<T>>> + Send;

    /// Receives the packets that pass `filter`; the others hold no slot.
    ///
    /// # Errors
    /// As [`EventBusRx::subscribe`].
    fn subscribe_filtered<T: Payload>(
        &self,
        filter: impl Fn(&PhasePacket<T>) -> bool + Send + Sync + 'static,
    ) -> impl Future<Output = BusResult<Self::Receiver<T>>> + Send;

    /// Ends a subscription of this type: its receiver yields no more packets.
    ///
    /// # Errors
    /// [`crate::BusError::SubscriptionNotFound`].
    fn unsubscribe<T: Payload>(&self, subscription: SubscriptionId) -> BusResult<()>;

    /// Subscriptions that are alive, in order of creation.
    fn active_subscriptions(&self) -> Vec<SubscriptionId>;

    /// Their number.
    fn subscription_count(&self) -> usize;
}

/// Both directions.
pub trait EventBus: EventBusTx + EventBusRx {}

impl<B: EventBusTx + EventBusRx> EventBus for B {}

/// The object-safe face: packets whose type is known at run time only.
pub trait PacketRouter: Send + Sync {
    /// Publishes without waiting.
    ///
    /// # Errors
    /// [`crate::BusError::DeliveryFailed`] for a type that nobody has published or subscribed to by name, else as
    /// [`EventBusTx::try_publish`].
    fn route(&self, packet: Box<AnyPacket>) -> BusResult<MessageId>;
}

/// Counters since the start of the bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusStats {
    /// Packets offered by publishers: committed, or refused at the edge for want of room.
    pub packets_published: u64,
    /// Packets handed to subscribers: one packet counts once for each.
    pub packets_delivered: u64,
    /// Packets that subscribers with a lossy policy lost, counted once for each, and packets refused at the edge.
    pub packets_dropped: u64,
    /// Live subscriptions.
    pub active_subscriptions: u64,
    /// Largest latency measured, from stamp to hand-over, nanoseconds.
    pub peak_latency_ns: u64,
    /// Mean latency measured, nanoseconds.
    pub avg_latency_ns: u64,
    /// Packets published per second, between the last two calls that were at least 100 ms apart.
    pub throughput_mps: u64,
}

/// Whether a bus does what it promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusHealthCheck {
    /// No warning.
    pub is_healthy: bool,
    /// The counters.
    pub stats: BusStats,
    /// What is wrong, with the measured numbers.
    pub warnings: Vec<String>,
    /// When it was looked at.
    pub timestamp: Stamp,
}

/// How well a bus keeps time and cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TemporalMetrics {
    /// Mean predictability of the streams, weighted by their messages, 0 to 1; `None` while none is tracked.
    pub quantum_coherence_score: Option<f64>,
    /// Packets that could not be delivered in causal order.
    pub violations: u64,
    /// Packets committed and not yet read, over all subscriptions.
    pub queue_depth: u64,
    /// Packets that had to wait for a cause.
    pub dependency_waits: u64,
    /// Panics of filters; each rejected a packet.
    pub filter_panics: u64,
    /// Packets handed out after their deadline.
    pub delivered_late: u64,
    /// Packets passed over because of their deadline.
    pub dropped_late: u64,
}
