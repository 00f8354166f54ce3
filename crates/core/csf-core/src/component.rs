//! The component contract: events and timers in, effects out.
//!
//! A component is a deterministic state machine. It sees time only as [`Context::now`], speaks only through effects, and its
//! effects commit together when the handler returns `Ok`; on `Err` or panic none of them happened.
//! Effect `i` of a delivery is stamped `now + i`, so a replay that feeds the same deliveries yields the same bits.

use std::any::{Any, TypeId};

use crate::{Header, MeasuredAt, Message, MessageId, Priority, Stamp};

/// Why a handler could not do its work. The supervisor decides what follows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The event carries another type than the handler asked for.
    #[error("the packet on `{topic}` is no {expected}")]
    WrongType {
        /// Topic of the event.
        topic: String,
        /// Name of the type asked for.
        expected: &'static str,
    },
    /// The component does not declare this output.
    #[error("output `{output}` is not declared in `writes`")]
    UnknownOutput {
        /// The name as given.
        output: String,
    },
    /// More effects than one delivery may have.
    #[error("a delivery may publish at most {limit} packets on one output; publish from a timer or raise `credit`")]
    OutputLimit {
        /// Largest number of packets per delivery and output.
        limit: usize,
    },
    /// A snapshot that does not fit this component.
    #[error("the snapshot does not fit: {reason}")]
    Snapshot {
        /// What did not fit.
        reason: String,
    },
    /// The component's own reason.
    #[error("{0}")]
    Failed(String),
}

/// Names one of a component's timers; setting it again moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct TimerId(pub u16);

/// A packet as a component sees it: by reference into the bus.
pub struct Event<'a> {
    /// Name of the topic it came on.
    pub topic: &'a str,
    /// Identity, time, cause.
    pub header: &'a Header,
    payload: &'a dyn Any,
}

impl<'a> Event<'a> {
    /// An event over a payload that lives elsewhere.
    #[must_use]
    pub fn new(topic: &'a str, header: &'a Header, payload: &'a dyn Any) -> Self {
        Self { topic, header, payload }
    }

    /// The payload as `T`.
    ///
    /// # Errors
    /// [`Fault::WrongType`] when the topic carries another type.
    pub fn get<T: Message>(&self) -> Result<&'a T, Fault> {
        self.try_get().ok_or_else(|| Fault::WrongType { topic: self.topic.to_owned(), expected: T::NAME })
    }

    /// The payload as `T`, or `None` when it is something else.
    #[must_use]
    pub fn try_get<T: Message>(&self) -> Option<&'a T> {
        self.payload.downcast_ref::<T>()
    }
}

/// What a publication says beside its payload (FAB-011). The default: normal priority, no deadline, addressed to everyone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attributes {
    /// When the content was measured.
    pub measured_at: Option<MeasuredAt>,
    /// Queueing class.
    pub priority: Priority,
    /// Latest useful processing time.
    pub deadline: Option<Stamp>,
    /// One bit per addressed component; all ones addresses everyone. Subscriptions with a mask see only what meets it.
    pub targets: u64,
}

impl Default for Attributes {
    fn default() -> Self {
        Self { measured_at: None, priority: Priority::Normal, deadline: None, targets: u64::MAX }
    }
}

impl Attributes {
    /// States when the content was measured.
    #[must_use]
    pub fn with_measured_at(self, measured_at: MeasuredAt) -> Self {
        Self { measured_at: Some(measured_at), ..self }
    }

    /// Sets the queueing class.
    #[must_use]
    pub fn with_priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// Sets the latest useful processing time.
    #[must_use]
    pub fn with_deadline(self, deadline: Stamp) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// Addresses components by bit: `0xFF` is the first eight.
    #[must_use]
    pub fn with_targets(self, targets: u64) -> Self {
        Self { targets, ..self }
    }
}

/// Where effects gather until the handler returned `Ok`. Implemented by the dispatcher, by replay and by test doubles.
pub trait EffectSink {
    /// Takes the value out of `value` (an `Option<T>` of the type `type_id`) into the output's lane, invisible until commit.
    /// `None` when the configuration connects the output to nothing.
    ///
    /// # Errors
    /// [`Fault::UnknownOutput`], [`Fault::WrongType`] or [`Fault::OutputLimit`].
    fn stage(
        &mut self,
        output: &str,
        type_id: TypeId,
        value: &mut dyn Any,
        attributes: Attributes,
    ) -> Result<Option<MessageId>, Fault>;

    /// Wakes the component at `at` with `timer`.
    fn set_timer(&mut self, timer: TimerId, at: Stamp);
}

/// A handler's only way to the world.
pub struct Context<'a> {
    now: Stamp,
    sink: &'a mut dyn EffectSink,
}

impl<'a> Context<'a> {
    /// A context for a delivery at `now`.
    pub fn new(now: Stamp, sink: &'a mut dyn EffectSink) -> Self {
        Self { now, sink }
    }

    /// The delivery's stamp: the only time a component sees.
    #[must_use]
    pub fn now(&self) -> Stamp {
        self.now
    }

    /// Publishes `value` on the output (the key in `writes`) once the handler returns `Ok`; `None` when it leads nowhere.
    ///
    /// # Errors
    /// See [`EffectSink::stage`].
    pub fn publish<T: Message>(&mut self, output: &str, value: T) -> Result<Option<MessageId>, Fault> {
        self.publish_with(output, value, Attributes::default())
    }

    /// [`Context::publish`] with a measured time, priority or deadline.
    ///
    /// # Errors
    /// See [`EffectSink::stage`].
    pub fn publish_with<T: Message>(
        &mut self,
        output: &str,
        value: T,
        attributes: Attributes,
    ) -> Result<Option<MessageId>, Fault> {
        let mut value = Some(value);
        self.sink.stage(output, TypeId::of::<T>(), &mut value, attributes)
    }

    /// Asks for [`Component::on_timer`] at `at`; the same timer set again moves.
    pub fn set_timer(&mut self, timer: TimerId, at: Stamp) {
        self.sink.set_timer(timer, at);
    }
}

/// A deterministic state machine on the bus.
pub trait Component: Send {
    /// Handles one packet.
    ///
    /// # Errors
    /// A [`Fault`] undoes all effects of this call and is the supervisor's to judge.
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault>;

    /// Handles one timer set with [`Context::set_timer`].
    ///
    /// # Errors
    /// As [`Component::on_event`].
    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> Result<(), Fault> {
        let _ = (cx, timer);
        Ok(())
    }

    /// The whole state as bytes; `restore` of these bytes gives an equal component.
    fn snapshot(&self) -> Vec<u8>;

    /// Takes over the state of a snapshot.
    ///
    /// # Errors
    /// [`Fault::Snapshot`] when the bytes do not fit.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault>;

    /// Goes on from the snapshot of an instance of the same type that had other options, and keeps its own: what a changed configuration
    /// asks of a running node. False, the default, means that nothing was taken and this instance starts anew, without timers.
    fn take_over(&mut self, snapshot: &[u8]) -> bool {
        let _ = snapshot;
        false
    }
}
