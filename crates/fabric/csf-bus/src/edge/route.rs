//! How packets of one Rust type travel: a topic with one lane, open to every thread.

use std::any::Any;
use std::f64::consts::TAU;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::port::Payload;
use csf_core::{AnyPacket, Attributes, BusError, BusResult, LogicalTime, MessageId, PhasePacket, Stamp};
use futures_util::future::{Either, select};

use super::{DowncastPacket, Receipt};
use crate::monitor::Monitor;
use crate::{Matcher, Publisher, Topic};

/// What a slot of a route holds.
pub(crate) struct Parcel<T> {
    pub(super) packet: PhasePacket<T>,
    /// Of a guaranteed packet.
    pub(super) receipt: Option<Arc<Receipt>>,
}

/// The route of packets that carry `T`.
pub(crate) struct Route<T: Payload> {
    topic: Arc<Topic>,
    publisher: Mutex<Publisher<Parcel<T>>>,
    /// Held by the one guaranteed packet that waits for room.
    turn: futures_util::lock::Mutex<()>,
    monitor: Arc<Monitor>,
    dropped: AtomicU64,
}

/// A route whose type is known at run time only.
pub(crate) trait AnyRoute: Send + Sync {
    fn try_publish_any(&self, packet: Box<AnyPacket>) -> BusResult<MessageId>;
    /// Packets refused for want of room.
    fn dropped(&self) -> u64;
    fn subscriber_count(&self) -> usize;
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<T: Payload> Route<T> {
    pub(super) fn new(topic: Arc<Topic>, publisher: Publisher<Parcel<T>>, monitor: Arc<Monitor>) -> Self {
        let (publisher, turn) = (Mutex::new(publisher), futures_util::lock::Mutex::new(()));
        Self { topic, publisher, turn, monitor, dropped: AtomicU64::new(0) }
    }

    pub(super) fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    fn publisher(&self) -> MutexGuard<'_, Publisher<Parcel<T>>> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn try_publish(&self, packet: PhasePacket<T>) -> BusResult<MessageId> {
        let mut publisher = self.publisher();
        let outcome = self.stage(&mut publisher, packet, None);
        publisher.commit();
        self.count_drop(outcome)
    }

    /// All or, where there is no room for all, none.
    pub(super) fn try_publish_batch(&self, packets: Vec<PhasePacket<T>>) -> BusResult<Vec<MessageId>> {
        let mut publisher = self.publisher();
        if !publisher.has_room_for(packets.len()) {
            self.dropped.fetch_add(packets.len() as u64, Ordering::Relaxed);
            return Err(publisher.full());
        }
        let mut stage = |packet| self.stage(&mut publisher, packet, None);
        let ids = packets.into_iter().map(&mut stage).collect();
        match &ids {
            Ok(_) => publisher.commit(),
            Err(_) => publisher.rollback(),
        }
        ids
    }

    /// A packet refused for want of room is a packet dropped.
    fn count_drop<R>(&self, outcome: BusResult<R>) -> BusResult<R> {
        if matches!(outcome, Err(BusError::ResourceExhausted { .. })) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Stages a packet with everything that the bus fills in.
    fn stage(
        &self,
        publisher: &mut Publisher<Parcel<T>>,
        mut packet: PhasePacket<T>,
        receipt: Option<Arc<Receipt>>,
    ) -> BusResult<MessageId> {
        let routing = &packet.routing_metadata;
        let attributes = Attributes {
            measured_at: None,
            priority: routing.priority,
            deadline: routing.deadline_ns.map(|deadline| Stamp(deadline.as_nanos())),
            targets: routing.target_component_mask,
        };
        publisher.set_matcher(Matcher::for_options(&routing.delivery_options));
        let causes = packet.quantum_correlation.causal_dependencies.clone();
        publisher.stage_built(attributes, &causes, |id, time| {
            (packet.id, packet.timestamp) = (id, time);
            self.correlate(&mut packet, time);
            Parcel { packet, receipt }
        })
    }

    /// Fills in the stream's rhythm as far as the packet does not say itself.
    fn correlate(&self, packet: &mut PhasePacket<T>, time: LogicalTime) {
        let correlation = &mut packet.quantum_correlation;
        if correlation.quantum_offset == csf_core::QuantumOffset::default() {
            correlation.quantum_offset = self.monitor.clock.quantum_offset();
        }
        let offset = correlation.quantum_offset;
        let cycles = offset.frequency * (time.physical as f64 * 1e-9);
        correlation.temporal_phase = (TAU * cycles.fract() + offset.phase).rem_euclid(TAU);
    }

    pub(super) async fn publish_guaranteed(&self, packet: PhasePacket<T>) -> BusResult<MessageId> {
        let timeout_ns = packet.routing_metadata.delivery_options.timeout_ns;
        let until_ns = self.monitor.now_ns().saturating_add(timeout_ns);
        let late = |what: &str| BusError::DeliveryFailed {
            details: format!(
                "{what} within {timeout_ns} ns on `{}`; raise `timeout_ns` or look at its subscribers",
                self.topic.spec().name
            ),
        };
        let published = Mutex::new(None);
        let receipt = Arc::new(Receipt::default());
        let mut packet = Some(packet);
        let mut put = || {
            let mut publisher = self.publisher();
            if !publisher.has_room_for(1) {
                return None;
            }
            let outcome = self.stage(&mut publisher, packet.take()?, Some(receipt.clone()));
            publisher.commit();
            Some((outcome, publisher.ring().clone()))
        };
        let delivery = async {
            let turn = self.turn.lock().await;
            let space = self.publisher().wait_for_space();
            let (outcome, ring) = space.wait_until(&mut put).await;
            drop(turn);
            let id = outcome?;
            *published.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
            match receipt.settled(|| ring.is_passed(id.seq)).await {
                Ok(()) => Ok(id),
                Err(reason) => Err(BusError::DeliveryFailed { details: format!("packet {id}: {reason}") }),
            }
        };
        let outcome = self.within(until_ns, delivery).await;
        outcome.unwrap_or_else(|| {
            Err(late(&match published.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Some(id) => format!("packet {id} was not accepted by every subscriber"),
                None => "there was no room".to_owned(),
            }))
        })
    }

    /// The future's value, or `None` when the bus's clock reaches `until_ns` first.
    async fn within<R>(&self, until_ns: u64, future: impl Future<Output = R>) -> Option<R> {
        let left = || Duration::from_nanos(until_ns.saturating_sub(self.monitor.now_ns()));
        let mut future = pin!(future);
        loop {
            match select(future.as_mut(), self.monitor.timer.sleep(left())).await {
                Either::Left((value, _)) => return Some(value),
                Either::Right(_) if left().is_zero() => return None,
                Either::Right(_) => {}
            }
        }
    }
}

impl<T: Payload> AnyRoute for Route<T> {
    fn try_publish_any(&self, packet: Box<AnyPacket>) -> BusResult<MessageId> {
        let packet = packet.downcast_packet::<T>().map_err(|_| BusError::Internal {
            details: format!("a packet of another type came to `{}`", self.topic.spec().name),
        })?;
        self.try_publish(*packet)
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn subscriber_count(&self) -> usize {
        self.topic.subscriber_count()
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
