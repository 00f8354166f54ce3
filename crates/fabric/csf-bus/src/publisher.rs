//! The writing side of a lane: typed for services, erased for the dispatcher that commits a component's effects.

use std::any::{Any, TypeId};
use std::sync::Arc;

use csf_core::port::HlcClock;
use csf_core::port::LaneInfo;
use csf_core::{Attributes, BusError, BusResult, Fault, Header, LaneId, Message, MessageId, Stamp};
use csf_time::Hlc;

use crate::lane::Lane;
use crate::ring::{Packet, Writer};

/// One producer on one topic. Not `Clone`: whoever else wants to publish takes a lane of its own.
pub struct Publisher<T> {
    lane: Arc<Lane<T>>,
    writer: Writer<T>,
    hlc: Hlc,
}

impl<T: Message> Publisher<T> {
    pub(crate) fn new(lane: Arc<Lane<T>>, hlc: Hlc) -> BusResult<Self> {
        let writer = Writer::new(lane.ring.clone())
            .ok_or_else(|| BusError::Internal { details: format!("lane {} has a producer already", lane.info.id) })?;
        Ok(Self { lane, writer, hlc })
    }

    /// Who writes what here.
    #[must_use]
    pub fn info(&self) -> &LaneInfo {
        &self.lane.info
    }

    /// The id the next packet will have.
    #[must_use]
    pub fn next_id(&self) -> MessageId {
        self.lane.info.id.message(self.writer.next_seq())
    }

    /// The newest stamp given out.
    #[must_use]
    pub fn last_stamp(&self) -> Stamp {
        self.hlc.last()
    }

    /// Makes later stamps follow `seen`.
    pub fn observe(&mut self, seen: Stamp) {
        self.hlc.observe(seen);
    }

    /// Publishes without waiting.
    ///
    /// # Errors
    /// [`BusError::ResourceExhausted`] when the slowest blocking reader holds every slot; the value is dropped.
    pub fn try_publish(&mut self, value: T, attributes: Attributes) -> BusResult<MessageId> {
        self.offer(value, attributes, None).map_err(|_| self.full())
    }

    /// Publishes, waiting for room. Cancel safe: a dropped future has published nothing.
    ///
    /// # Errors
    /// When the clock cannot be read.
    pub async fn publish(&mut self, value: T, attributes: Attributes) -> BusResult<MessageId> {
        self.publish_caused(value, attributes, None).await
    }

    /// [`Publisher::publish`] with a cause.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub async fn publish_caused(
        &mut self,
        value: T,
        attributes: Attributes,
        cause: Option<MessageId>,
    ) -> BusResult<MessageId> {
        if !self.writer.has_room(1) {
            let ring = self.writer.ring().clone();
            let writer = &mut self.writer;
            ring.space.wait_until(|| writer.has_room(1).then_some(())).await;
        }
        self.offer(value, attributes, cause).map_err(|_| self.full())
    }

    fn full(&self) -> BusError {
        BusError::ResourceExhausted {
            resource: format!("lane {} of `{}`", self.lane.info.id, self.lane.info.topic),
            details: "its slowest reader holds every slot; raise the topic's `capacity` or the reader's speed"
                .to_owned(),
        }
    }

    fn offer(&mut self, payload: T, attributes: Attributes, cause: Option<MessageId>) -> Result<MessageId, T> {
        if !self.writer.has_room(1) {
            return Err(payload);
        }
        // A clock that cannot be read must not stop traffic: the stamp still grows by one.
        let stamp = self.hlc.tick().unwrap_or_else(|_| self.hlc.last().after(1));
        let header = header(self.lane.info.id, self.writer.next_seq(), stamp, attributes, cause);
        let id = header.id;
        self.writer.stage(Packet { header, payload }).map_err(|packet| packet.payload)?;
        self.writer.commit();
        Ok(id)
    }
}

fn header(lane: LaneId, seq: u64, stamp: Stamp, attributes: Attributes, cause: Option<MessageId>) -> Header {
    Header {
        measured_at: attributes.measured_at,
        cause,
        priority: attributes.priority,
        deadline: attributes.deadline,
        targets: attributes.targets,
        ..Header::new(lane.message(seq), stamp)
    }
}

/// A component's output: staged while the handler runs, committed or rolled back after it.
pub trait EffectWriter: Send {
    /// Who writes what here.
    fn info(&self) -> &LaneInfo;

    /// Whether `count` packets fit now.
    fn has_room(&mut self, count: u64) -> bool;

    /// Moves the `Option<T>` behind `value` into the next slot, invisible until commit.
    ///
    /// # Errors
    /// [`Fault::WrongType`], or [`Fault::OutputLimit`] when the slots promised by `has_room` are used up.
    fn stage(
        &mut self,
        type_id: TypeId,
        value: &mut dyn Any,
        stamp: Stamp,
        attributes: Attributes,
        cause: Option<MessageId>,
    ) -> Result<MessageId, Fault>;

    /// Makes the staged packets visible.
    fn commit(&mut self);

    /// Forgets the staged packets.
    fn rollback(&mut self);
}

impl<T: Message> EffectWriter for Publisher<T> {
    fn info(&self) -> &LaneInfo {
        &self.lane.info
    }

    fn has_room(&mut self, count: u64) -> bool {
        self.writer.has_room(count)
    }

    fn stage(
        &mut self,
        type_id: TypeId,
        value: &mut dyn Any,
        stamp: Stamp,
        attributes: Attributes,
        cause: Option<MessageId>,
    ) -> Result<MessageId, Fault> {
        let slot = if type_id == TypeId::of::<T>() { value.downcast_mut::<Option<T>>() } else { None };
        let payload = slot
            .and_then(Option::take)
            .ok_or_else(|| Fault::WrongType { topic: self.lane.info.topic.clone(), expected: T::NAME })?;
        let header = header(self.lane.info.id, self.writer.next_seq(), stamp, attributes, cause);
        let id = header.id;
        match self.writer.stage(Packet { header, payload }) {
            Ok(()) => Ok(id),
            Err(_) => Err(Fault::OutputLimit { limit: crate::CREDIT }),
        }
    }

    fn commit(&mut self) {
        self.writer.commit();
    }

    fn rollback(&mut self) {
        self.writer.rollback();
    }
}

/// A payload that did not get onto the bus from the edge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EdgeError {
    /// Not of the topic's type.
    #[error(transparent)]
    Codec(#[from] csf_core::CodecError),
    /// Refused by the bus.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// A publisher that takes JSON: how packets enter from the API.
pub trait EdgePublisher: Send {
    /// Decodes and publishes without waiting.
    ///
    /// # Errors
    /// [`EdgeError`].
    fn try_publish_json(&mut self, payload: serde_json::Value) -> Result<(MessageId, Stamp), EdgeError>;
}

impl<T: Message> EdgePublisher for Publisher<T> {
    fn try_publish_json(&mut self, payload: serde_json::Value) -> Result<(MessageId, Stamp), EdgeError> {
        let value = (csf_core::MessageType::of::<T>().from_json)(payload)?;
        let value = value
            .downcast::<T>()
            .map_err(|_| csf_core::CodecError::WrongType { name: T::NAME, version: T::VERSION })?;
        let id = self.try_publish(*value, Attributes::default())?;
        Ok((id, self.last_stamp()))
    }
}
