//! The face of the bus for senders with clocks of their own (INT-005).
//!
//! What a sender says of its time is kept as what it is, a reading of a foreign clock (`measured_at`). Its hybrid logical stamp is merged, so
//! that what it has seen comes before what it sends; a stamp further ahead than the offset limit is refused and counted, and the packet gets
//! a stamp of this node alone. So no foreign clock, however wrong, moves the order inside.

use csf_core::port::{HlcClock, LaneKind};
use csf_core::{Attributes, BusError, BusResult, ClockDomain, MeasuredAt, Message, MessageId, Stamp};
use csf_time::Hlc;

use crate::{PhaseCoherenceBus, Publisher, TopicError};

/// Maps sessions of outside systems to streams of the bus.
#[derive(Clone)]
pub struct TemporalCoordinationBus {
    bus: PhaseCoherenceBus,
}

impl TemporalCoordinationBus {
    /// Over this bus.
    #[must_use]
    pub fn new(bus: PhaseCoherenceBus) -> Self {
        Self { bus }
    }

    /// Opens a session of the sender `name` on a topic, as a lane of its own.
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn open<T: Message>(&self, name: &str, topic: &str) -> Result<ExternalSession<T>, TopicError> {
        let publisher = self.bus.publisher::<T>(topic, name, LaneKind::Source)?;
        let clock = ClockDomain::intern(name).unwrap_or(ClockDomain::OS);
        Ok(ExternalSession { publisher, clock, judge: self.bus.hlc(), refused: 0, offset_ns: None })
    }
}

/// One outside sender's stream.
pub struct ExternalSession<T> {
    publisher: Publisher<T>,
    clock: ClockDomain,
    /// Judges foreign stamps; the publisher's own clock only follows those that pass.
    judge: Hlc,
    refused: u64,
    /// Smallest distance seen of this node's clock from the sender's: its offset and the least delay.
    offset_ns: Option<i64>,
}

impl<T: Message> ExternalSession<T> {
    /// Publishes what the sender sent at `sent_ns` on its clock, having seen `seen` of the fabric.
    ///
    /// # Errors
    /// As [`Publisher::try_publish`].
    pub fn publish(&mut self, value: T, sent_ns: u64, seen: Option<Stamp>) -> BusResult<MessageId> {
        if let Some(seen) = seen {
            match self.judge.merge(seen) {
                Ok(_) => self.publisher.observe(seen),
                Err(csf_core::TimeError::OffsetExceeded { .. }) => self.refused += 1,
                Err(error) => return Err(BusError::TemporalViolation { details: error.to_string() }),
            }
        }
        let measured_at = Some(MeasuredAt::new(self.clock, sent_ns));
        let id = self.publisher.try_publish(value, Attributes { measured_at, ..Attributes::default() })?;
        let distance = self.publisher.last_stamp().as_nanos().wrapping_sub(sent_ns).cast_signed();
        self.offset_ns = Some(self.offset_ns.map_or(distance, |least| least.min(distance)));
        Ok(id)
    }

    /// Foreign stamps that were too far ahead to be believed.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// How far this node's clock is ahead of the sender's, at most: the least distance seen, nanoseconds. `None` before the first packet.
    #[must_use]
    pub fn offset_ns(&self) -> Option<i64> {
        self.offset_ns
    }
}
