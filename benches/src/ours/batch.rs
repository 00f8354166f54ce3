//! A thousand messages at once and one by one: on a lane, and as whole packets through `publish_batch` and `publish`.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, Publisher, Receiver, Subscriber, TopicSpec};
use csf_core::port::{EventBusTx, LaneKind};
use csf_core::{Attributes, ComponentId, PhasePacket};

use super::time;
use crate::load::{Missing, Publishing, THOUSAND, unique};
use crate::payload::{Frame, SMALL};

/// Slots of a lane: a thousand packets and room to spare.
const SLOTS: usize = 2_048;

fn bus() -> PhaseCoherenceBus {
    PhaseCoherenceBus::new(BusConfig { channel_buffer_size: SLOTS, ..BusConfig::new(time::source()) })
}

fn refused(error: &impl std::fmt::Display) -> Missing {
    Missing(format!("refused a message although every earlier one was read: {error}"))
}

/// A lane and its reader.
pub struct Lane<const AT_ONCE: bool> {
    publisher: Publisher<Frame<SMALL>>,
    subscriber: Subscriber<Frame<SMALL>>,
}

/// A new lane.
pub fn lane<const AT_ONCE: bool>() -> Lane<AT_ONCE> {
    let (bus, topic) = (bus(), format!("bench.t{}", unique()));
    bus.declare(TopicSpec::new::<Frame<SMALL>>(topic.as_str()).history(0)).expect("the topic is new");
    let publisher = bus.publisher(&topic, "bench", LaneKind::Source).expect("the topic is declared");
    Lane { publisher, subscriber: bus.subscriber(&topic, Interest::new()).expect("the topic is declared") }
}

impl<const AT_ONCE: bool> Publishing for Lane<AT_ONCE> {
    fn publish(&mut self, number: u64) -> Result<(), Missing> {
        if AT_ONCE {
            let frames = (0..THOUSAND as usize).map(|index| Frame::new(number + index as u64));
            let published = self.publisher.try_publish_batch(frames, Attributes::default());
            return if published as u64 == THOUSAND { Ok(()) } else { Err(refused(&"a batch was cut")) };
        }
        for number in number..number + THOUSAND {
            self.publisher.try_publish(Frame::new(number), Attributes::default()).map_err(|error| refused(&error))?;
        }
        Ok(())
    }

    fn drain(&mut self, number: u64) {
        let mut expected = number;
        while self.subscriber.poll_batch(256, |_, frame| {
            assert_eq!(frame.sum(), expected.wrapping_mul(SMALL as u64), "a message was lost, doubled or torn");
            expected += 1;
        }) > 0
        {}
        assert_eq!(expected, number + THOUSAND);
    }
}

/// Whole packets and their receiver.
pub struct Packets<const AT_ONCE: bool> {
    bus: PhaseCoherenceBus,
    receiver: Receiver<Frame<SMALL>>,
}

/// A new route.
pub fn packets<const AT_ONCE: bool>() -> Packets<AT_ONCE> {
    let bus = bus();
    let receiver = bus.receiver(Interest::new()).expect("a type has a route");
    Packets { bus, receiver }
}

/// A future that has nothing to wait for, as there is room.
fn now<R>(future: impl Future<Output = R>) -> R {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("there is room, and nothing is guaranteed"),
    }
}

impl<const AT_ONCE: bool> Publishing for Packets<AT_ONCE> {
    fn publish(&mut self, number: u64) -> Result<(), Missing> {
        let packet = |number| PhasePacket::new(Frame::<SMALL>::new(number), ComponentId::custom(1));
        let mut packets = (number..number + THOUSAND).map(packet);
        if AT_ONCE {
            return now(self.bus.publish_batch(packets.collect())).map(drop).map_err(|error| refused(&error));
        }
        packets.try_for_each(|packet| now(self.bus.publish(packet)).map(drop).map_err(|error| refused(&error)))
    }

    fn drain(&mut self, number: u64) {
        for number in number..number + THOUSAND {
            let delivery = self.receiver.try_recv().expect("what was published is there");
            assert_eq!(delivery.payload.sum(), number.wrapping_mul(SMALL as u64), "a message was doubled or torn");
        }
    }
}
