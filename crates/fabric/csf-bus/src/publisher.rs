//! The writing side of a lane: typed for services, erased for the dispatcher that commits a component's effects.

use std::any::{Any, TypeId};
use std::marker::PhantomData;
use std::sync::Arc;

use csf_core::port::HlcClock;
use csf_core::port::LaneInfo;
use csf_core::{Attributes, BusError, BusResult, Fault, LaneId, LogicalTime, Message, MessageId, Stamp};
use csf_time::Hlc;

use crate::lane::{Content, Lane};
use crate::ring::{HeapMemory, Ring, Writer};
use crate::{Doorbell, Matcher};

/// One producer on one topic. Not `Clone`: whoever else wants to publish takes a lane of its own.
pub struct Publisher<T> {
    lane: Arc<Lane>,
    writer: Writer<HeapMemory>,
    id: LaneId,
    hlc: Hlc,
    _payload: PhantomData<fn(T)>,
}

impl<T: Content> Publisher<T> {
    /// `lane` carries `T`. Goes on where an earlier producer of the lane left off; `None` when it has one.
    pub(crate) fn new(lane: Arc<Lane>, mut hlc: Hlc) -> Option<Self> {
        let writer = Writer::new(lane.ring.clone())?;
        hlc.observe(lane.left_at());
        Some(Self { id: lane.info.id, lane, writer, hlc, _payload: PhantomData })
    }

    /// Who writes what here.
    #[must_use]
    pub fn info(&self) -> &LaneInfo {
        &self.lane.info
    }

    /// The id the next packet will have.
    #[must_use]
    pub fn next_id(&self) -> MessageId {
        self.id.message(self.writer.next_seq())
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

    /// Whether the next packet may name `cause` as its cause.
    pub(crate) fn may_follow(&self, cause: MessageId) -> bool {
        cause.lane != self.id || cause.seq < self.writer.next_seq()
    }

    /// Leaves the lane to another producer.
    pub(crate) fn retire(self) -> Arc<Lane> {
        self.lane.clone()
    }

    /// Publishes without waiting.
    ///
    /// # Errors
    /// [`BusError::ResourceExhausted`] when the slowest blocking reader holds every slot; the value is dropped.
    #[inline(always)]
    pub fn try_publish(&mut self, value: T, attributes: Attributes) -> BusResult<MessageId> {
        self.try_publish_caused(value, attributes, &[])
    }

    /// [`Publisher::try_publish`] with the packets that led to this one. The first travels in the packet, further ones beside it (one
    /// lock and one allocation).
    ///
    /// # Errors
    /// As [`Publisher::try_publish`]; [`BusError::TemporalViolation`] when a cause is this packet or a later one of the same lane.
    #[inline(always)]
    pub fn try_publish_caused(
        &mut self,
        value: T,
        attributes: Attributes,
        causes: &[MessageId],
    ) -> BusResult<MessageId> {
        let id = self.next_for(causes)?;
        if self.writer.is_idle() {
            // No history, no reader: the packet needs neither slot nor stamp.
            self.writer.skip();
        } else {
            // SAFETY: there is room, and `T` is what the lane carries.
            let header = unsafe { self.writer.stage(|slot| slot.cast::<T>().write(value)) };
            header.fill(tick(&mut self.hlc), &attributes, causes);
            self.lane.add_causes(id.seq, causes);
        }
        self.writer.commit();
        Ok(id)
    }

    /// Stages a packet that carries its own id and time; invisible until [`Publisher::commit`].
    pub(crate) fn stage_built(
        &mut self,
        attributes: Attributes,
        causes: &[MessageId],
        build: impl FnOnce(MessageId, LogicalTime) -> T,
    ) -> BusResult<MessageId> {
        let id = self.next_for(causes)?;
        let stamp = tick(&mut self.hlc);
        let value = build(id, self.hlc.logical_time());
        if self.writer.is_idle() {
            self.writer.skip();
        } else {
            // SAFETY: there is room, and `T` is what the lane carries.
            let header = unsafe { self.writer.stage(|slot| slot.cast::<T>().write(value)) };
            header.fill(stamp, &attributes, causes);
            self.lane.add_causes(id.seq, causes);
        }
        Ok(id)
    }

    /// Makes staged packets visible.
    pub(crate) fn commit(&mut self) {
        self.writer.commit();
    }

    /// Forgets staged packets.
    pub(crate) fn rollback(&mut self) {
        self.writer.rollback();
    }

    /// Whether `count` packets fit now: what a producer that spins asks, since a refusal is put into words.
    #[inline(always)]
    pub fn has_room_for(&mut self, count: usize) -> bool {
        self.writer.has_room(count as u64)
    }

    /// Chooses the instructions by which sleeping subscribers are matched.
    pub(crate) fn set_matcher(&mut self, matcher: Matcher) {
        self.writer.set_matcher(matcher);
    }

    /// The bell that rings when readers give slots back, from now on.
    pub(crate) fn wait_for_space(&self) -> Arc<Doorbell> {
        let ring = self.writer.ring();
        ring.fence_space();
        ring.space().clone()
    }

    pub(crate) fn ring(&self) -> &Arc<Ring<HeapMemory>> {
        self.writer.ring()
    }

    /// The id of the next packet, if there is room for it and its causes can come before it.
    #[inline(always)]
    fn next_for(&mut self, causes: &[MessageId]) -> BusResult<MessageId> {
        if !self.writer.has_room(1) {
            return Err(self.full());
        }
        let id = self.next_id();
        if causes.iter().any(|cause| cause.lane == id.lane && cause.seq >= id.seq) {
            return Err(future_cause(id, causes));
        }
        Ok(id)
    }

    /// Publishes the values of `batch` with the same attributes as far as there is room, without waiting; they become visible at once,
    /// and share one reading of the clock: their stamps follow each other by one. Returns how many were published; the iterator is not
    /// asked for more.
    #[inline]
    pub fn try_publish_batch(&mut self, batch: impl ExactSizeIterator<Item = T>, attributes: Attributes) -> usize {
        let wanted = batch.len() as u64;
        let count = if self.writer.has_room(wanted) { wanted } else { self.writer.room().min(wanted) };
        if count < wanted {
            self.lane.count_refusal();
        }
        if count == 0 {
            return 0;
        }
        // A clock that cannot be read must not stop traffic.
        let mut stamp = self.hlc.tick_batch(count).unwrap_or_else(|_| self.hlc.last().after(1));
        let last = stamp.after(count - 1);
        let staging = Staging(&mut self.writer);
        let mut published = 0;
        for value in batch.take(usize::try_from(count).unwrap_or(usize::MAX)) {
            if staging.0.is_idle() {
                staging.0.skip();
            } else {
                // SAFETY: there is room for `count`, and `T` is what the lane carries.
                let header = unsafe { staging.0.stage(|slot| slot.cast::<T>().write(value)) };
                header.fill(stamp, &attributes, &[]);
            }
            stamp = stamp.after(1);
            published += 1;
        }
        staging.0.commit();
        self.hlc.observe(last);
        published
    }

    /// Publishes, waiting for room. Cancel safe: a dropped future has published nothing.
    ///
    /// # Errors
    /// None without causes; a bus that closes will say so here.
    pub async fn publish(&mut self, value: T, attributes: Attributes) -> BusResult<MessageId> {
        self.publish_caused(value, attributes, &[]).await
    }

    /// [`Publisher::publish`] with causes, as [`Publisher::try_publish_caused`].
    ///
    /// # Errors
    /// [`BusError::TemporalViolation`] when a cause is this packet or a later one of the same lane.
    pub async fn publish_caused(
        &mut self,
        value: T,
        attributes: Attributes,
        causes: &[MessageId],
    ) -> BusResult<MessageId> {
        self.room().await;
        self.try_publish_caused(value, attributes, causes)
    }

    /// Waits until a packet fits. Cancel safe.
    async fn room(&mut self) {
        if !self.writer.has_room(1) {
            self.lane.count_refusal();
            let space = self.wait_for_space();
            space.wait_until(|| self.writer.has_room(1).then_some(())).await;
        }
    }

    #[cold]
    pub(crate) fn full(&self) -> BusError {
        self.lane.count_refusal();
        BusError::ResourceExhausted {
            resource: format!("lane {} of `{}`", self.lane.info.id, self.lane.info.topic),
            details: "its slowest reader holds every slot; raise the topic's `capacity` or the reader's speed"
                .to_owned(),
        }
    }
}

impl<T> Drop for Publisher<T> {
    /// The next producer of the lane comes after everything stamped here. The writer, dropped after this, hands that over.
    fn drop(&mut self) {
        self.lane.leave(self.hlc.last());
    }
}

/// What is staged and not committed is forgotten, also when the source of a batch panics.
struct Staging<'a>(&'a mut Writer<HeapMemory>);

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        self.0.rollback();
    }
}

#[cold]
fn future_cause(id: MessageId, causes: &[MessageId]) -> BusError {
    let cause = causes.iter().find(|cause| cause.lane == id.lane && cause.seq >= id.seq).unwrap_or(&id);
    BusError::TemporalViolation { details: format!("packet {id} names as its cause {cause}, which comes after it") }
}

/// A clock that cannot be read must not stop traffic: the stamp still grows by one.
#[inline(always)]
fn tick(hlc: &mut Hlc) -> Stamp {
    hlc.tick().unwrap_or_else(|_| hlc.last().after(1))
}

/// A component's output: staged while the handler runs, committed or rolled back after it.
pub trait EffectWriter: Send {
    /// Who writes what here.
    fn info(&self) -> &LaneInfo;

    /// The id that the next packet will have.
    fn next_id(&self) -> MessageId;

    /// Whether `count` packets fit now.
    fn has_room(&mut self, count: u64) -> bool;

    /// A stamp that the next packet has to be after, so that the stamps of the lane grow also over its producers.
    fn newest(&self) -> Stamp {
        Stamp::ZERO
    }

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

    fn next_id(&self) -> MessageId {
        Self::next_id(self)
    }

    fn has_room(&mut self, count: u64) -> bool {
        self.writer.has_room(count)
    }

    fn newest(&self) -> Stamp {
        self.hlc.last()
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
        if !self.writer.has_room(1) {
            return Err(Fault::OutputLimit { limit: crate::CREDIT });
        }
        let id = self.next_id();
        if self.writer.is_idle() {
            self.writer.skip();
        } else {
            // SAFETY: there is room, and `T` is what the lane carries.
            let header = unsafe { self.writer.stage(|slot| slot.cast::<T>().write(payload)) };
            header.fill(stamp, &attributes, cause.as_slice());
        }
        // Not its clock's, but what the next producer has to come after.
        self.hlc.observe(stamp);
        Ok(id)
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
