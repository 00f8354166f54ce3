//! The bus as its edges see it: whole packets by Rust type (FAB-021 to FAB-026).
//!
//! Each type has one route: a topic of its own with one lane, whose slots hold the packets themselves, so that a subscriber reads the
//! very bytes that were published. The lane has a lock, because any thread may publish; who wants no lock has a
//! [`Publisher`](crate::Publisher).

mod any_packet;
mod central;
mod receipt;
mod receiver;
mod route;
mod router;

use std::any::{TypeId, type_name};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use csf_core::port::{BusStats, EventBusRx, EventBusTx, LaneKind, PacketRouter, Payload, SubscriptionId};
use csf_core::{AnyPacket, BusError, BusResult, MessageId, NanoTime, PhasePacket};

use crate::subscription::Intake;
use crate::{Interest, PhaseCoherenceBus, TopicSpec};
pub use any_packet::DowncastPacket;
pub use central::CentralMessageBus;
use receipt::Receipt;
pub use receiver::{Delivery, Receiver};
use route::{AnyRoute, Parcel, Route};
pub use router::{HardwareRouter, RouterParts, RouterStats, TemporalMessage};

/// Routes and receivers of one bus.
#[derive(Default)]
pub(crate) struct Edge {
    routes: RwLock<HashMap<TypeId, Arc<dyn AnyRoute>>>,
    receivers: Mutex<BTreeMap<SubscriptionId, (TypeId, Weak<Intake>)>>,
    next_receiver: AtomicU64,
}

impl Edge {
    /// Packets refused for want of room.
    pub(crate) fn dropped(&self) -> u64 {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).values().map(|route| route.dropped()).sum()
    }

    /// How many types have a route, and how many subscriptions these have.
    pub(crate) fn size(&self) -> (u64, u64) {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let subscribers: usize = routes.values().map(|route| route.subscriber_count()).sum();
        (routes.len() as u64, subscribers as u64)
    }

    fn live_receivers(&self) -> Vec<(SubscriptionId, TypeId, Arc<Intake>)> {
        let mut receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        receivers.retain(|_, (_, intake)| intake.strong_count() > 0);
        receivers.iter().filter_map(|(id, (of, intake))| Some((*id, *of, intake.upgrade()?))).collect()
    }
}

impl Drop for Edge {
    /// The bus is gone: receivers yield what is there, then end.
    fn drop(&mut self) {
        for (_, _, intake) in self.live_receivers() {
            intake.close();
        }
    }
}

impl PhaseCoherenceBus {
    fn route_of<T: Payload>(&self) -> BusResult<Arc<Route<T>>> {
        let key = TypeId::of::<T>();
        let known = self.edge().routes.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let route = match known {
            Some(route) => route,
            None => self.add_route::<T>()?,
        };
        route.as_any().downcast::<Route<T>>().map_err(|_| BusError::Internal {
            details: format!("the route of {} carries another type", type_name::<T>()),
        })
    }

    fn add_route<T: Payload>(&self) -> BusResult<Arc<dyn AnyRoute>> {
        let mut routes = self.edge().routes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = routes.get(&TypeId::of::<T>()) {
            return Ok(route.clone());
        }
        let topic = self.declare(TopicSpec::opaque::<Parcel<T>>(format!("type:{}", type_name::<T>())))?;
        let publisher = self.open_lane(&topic, "edge", LaneKind::Source)?;
        let route: Arc<dyn AnyRoute> = Arc::new(Route::<T>::new(topic, publisher, self.monitor().clone()));
        routes.insert(TypeId::of::<T>(), route.clone());
        Ok(route)
    }

    fn receive<T: Payload>(&self, interest: Interest) -> BusResult<Receiver<T>> {
        let route = self.route_of::<T>()?;
        let id = SubscriptionId(self.edge().next_receiver.fetch_add(1, Ordering::Relaxed));
        let subscription = self.open_subscription(vec![route.topic().clone()], interest);
        let intake = Arc::downgrade(subscription.intake());
        let mut receivers = self.edge().receivers.lock().unwrap_or_else(PoisonError::into_inner);
        receivers.insert(id, (TypeId::of::<T>(), intake));
        Ok(Receiver::new(id, subscription))
    }

    /// [`EventBusRx::subscribe`] with everything a subscriber may ask for. A filter sees [`PhasePacket`]s through
    /// [`EventBusRx::subscribe_filtered`] only.
    ///
    /// # Errors
    /// [`BusError::InitializationFailed`].
    pub fn receiver<T: Payload>(&self, interest: Interest) -> BusResult<Receiver<T>> {
        self.receive(interest)
    }

    /// [`EventBusTx::publish`] with a deadline: counted and reported when it is missed, see [`crate::Expired`].
    ///
    /// # Errors
    /// As [`EventBusTx::publish`].
    pub async fn publish_with_deadline<T: Payload>(
        &self,
        packet: PhasePacket<T>,
        deadline: NanoTime,
    ) -> BusResult<MessageId> {
        self.publish(packet.with_deadline(deadline)).await
    }
}

impl EventBusTx for PhaseCoherenceBus {
    async fn publish<T: Payload>(&self, packet: PhasePacket<T>) -> BusResult<MessageId> {
        let route = self.route_of::<T>()?;
        if packet.routing_metadata.delivery_options.guaranteed_delivery {
            route.publish_guaranteed(packet).await
        } else {
            route.try_publish(packet)
        }
    }

    async fn publish_batch<T: Payload>(&self, packets: Vec<PhasePacket<T>>) -> BusResult<Vec<MessageId>> {
        let route = self.route_of::<T>()?;
        let is_guaranteed = |packet: &PhasePacket<T>| packet.routing_metadata.delivery_options.guaranteed_delivery;
        if !packets.iter().any(is_guaranteed) {
            return route.try_publish_batch(packets);
        }
        let mut ids = Vec::with_capacity(packets.len());
        for packet in packets {
            ids.push(self.publish(packet).await?);
        }
        Ok(ids)
    }

    fn try_publish<T: Payload>(&self, packet: PhasePacket<T>) -> BusResult<MessageId> {
        self.route_of::<T>()?.try_publish(packet)
    }

    fn get_stats(&self) -> BusStats {
        self.get_stats()
    }

    fn subscriber_count<T: Payload>(&self) -> usize {
        self.route_of::<T>().map_or(0, |route| route.topic().subscriber_count())
    }

    fn is_healthy(&self) -> bool {
        self.health_check().is_healthy
    }
}

impl EventBusRx for PhaseCoherenceBus {
    type Receiver<T: Payload> = Receiver<T>;

    async fn subscribe<T: Payload>(&self) -> BusResult<Receiver<T>> {
        self.receive(Interest::new())
    }

    async fn subscribe_filtered<T: Payload>(
        &self,
        filter: impl Fn(&PhasePacket<T>) -> bool + Send + Sync + 'static,
    ) -> BusResult<Receiver<T>> {
        self.receive(Interest::new().filter(move |_, parcel: &Parcel<T>| filter(&parcel.packet)))
    }

    fn unsubscribe<T: Payload>(&self, subscription: SubscriptionId) -> BusResult<()> {
        let live = self.edge().live_receivers();
        let found =
            live.iter().find(|(id, of, intake)| *id == subscription && *of == TypeId::of::<T>() && !intake.is_closed());
        let (.., intake) = found.ok_or(BusError::SubscriptionNotFound { subscription_id: subscription.0 })?;
        intake.close();
        self.edge().receivers.lock().unwrap_or_else(PoisonError::into_inner).remove(&subscription);
        Ok(())
    }

    fn active_subscriptions(&self) -> Vec<SubscriptionId> {
        self.edge().live_receivers().into_iter().map(|(id, ..)| id).collect()
    }

    fn subscription_count(&self) -> usize {
        self.edge().live_receivers().len()
    }
}

impl PacketRouter for PhaseCoherenceBus {
    fn route(&self, packet: Box<AnyPacket>) -> BusResult<MessageId> {
        let key = packet.payload.type_id();
        let route = self.edge().routes.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let route = route.ok_or_else(|| BusError::DeliveryFailed {
            details: "nobody has published or subscribed to this payload type yet".to_owned(),
        })?;
        route.try_publish_any(packet)
    }
}
