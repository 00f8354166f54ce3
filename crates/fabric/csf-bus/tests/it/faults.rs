//! Handlers, payloads and producers that fail: what they leave behind is whole.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use csf_bus::{Interest, Policy, Start, TopicSpec};
use csf_core::port::LaneKind;
use csf_core::{Attributes, Message};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Number, bus, bus_with, number};

#[test]
fn the_packet_whose_handler_failed_comes_again() {
    let bus = bus_with(16);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    for policy in [Policy::Block, Policy::DropOldest, Policy::DropNewest] {
        let mut subscriber = bus.subscriber::<Number>("n", Interest::new().policy(policy)).unwrap();
        for value in 0..6 {
            publisher.try_publish(number(value), Attributes::default()).unwrap();
        }
        let mut seen = Vec::new();
        for failing in [0, 3] {
            let polled = catch_unwind(AssertUnwindSafe(|| {
                subscriber.poll_batch(16, |_, n| {
                    assert_ne!(n.value, failing, "the handler fails");
                    seen.push(n.value);
                })
            }));
            assert!(polled.is_err());
            assert_eq!(subscriber.poll(|_, n| n.value), Some(failing));
            seen.push(failing);
        }
        subscriber.poll_batch(16, |_, n| seen.push(n.value));
        assert_eq!(seen, [0, 1, 2, 3, 4, 5], "{policy:?}");
    }
}

#[test]
fn a_reader_that_dies_holding_a_packet_frees_the_producer() {
    let bus = bus_with(2);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut subscriber = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    publisher.try_publish(number(0), Attributes::default()).unwrap();
    publisher.try_publish(number(1), Attributes::default()).unwrap();
    assert!(publisher.try_publish(number(2), Attributes::default()).is_err());
    let dying = thread::spawn(move || subscriber.wait(|_, _| panic!("the handler fails")));
    assert!(dying.join().is_err());
    assert!(publisher.try_publish(number(2), Attributes::default()).is_ok());
}

thread_local! {
    static DROPS: Cell<i64> = const { Cell::new(0) };
}

/// Counts its drops less its births, and fails in the drop when armed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Bomb {
    is_armed: bool,
}

impl Bomb {
    fn new(is_armed: bool) -> Self {
        DROPS.set(DROPS.get() - 1);
        Self { is_armed }
    }
}

impl Clone for Bomb {
    fn clone(&self) -> Self {
        Self::new(self.is_armed)
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        DROPS.set(DROPS.get() + 1);
        assert!(!self.is_armed, "a payload that fails in its drop");
    }
}

impl Message for Bomb {
    const NAME: &'static str = "test.bomb";
    const VERSION: u16 = 1;
}

#[test]
fn a_payload_that_fails_in_its_drop_is_dropped_once_and_its_slot_used_again() {
    let bus = bus();
    bus.declare(TopicSpec::new::<Bomb>("b").capacity(2)).unwrap();
    let mut publisher = bus.publisher::<Bomb>("b", "a", LaneKind::Source).unwrap();
    for is_armed in [true, false] {
        publisher.try_publish(Bomb::new(is_armed), Attributes::default()).unwrap();
    }
    let publishing = catch_unwind(AssertUnwindSafe(|| publisher.try_publish(Bomb::new(false), Attributes::default())));
    assert!(publishing.is_err(), "the slot's old payload fails");
    for _ in 0..8 {
        publisher.try_publish(Bomb::new(false), Attributes::default()).unwrap();
    }
    assert_eq!(publisher.next_id().seq, 10);
    drop((publisher, bus));
    assert_eq!(DROPS.get(), 0);
}

#[test]
fn what_a_producer_staged_and_never_committed_is_never_seen() {
    let bus = bus();
    bus.declare(TopicSpec::new::<Bomb>("b").capacity(16)).unwrap();
    let mut reader = bus.subscriber::<Bomb>("b", Interest::new().start(Start::Earliest)).unwrap();
    let mut writer = bus.effect_writer::<Bomb>("b", "a").unwrap();
    assert!(writer.has_room(3));
    for _ in 0..3 {
        let mut value = Some(Bomb::new(false));
        let (kind, attributes) = (std::any::TypeId::of::<Bomb>(), Attributes::default());
        writer.stage(kind, &mut value, csf_core::Stamp(1), attributes, None).unwrap();
    }
    drop(writer);
    assert!(reader.poll(|_, _| ()).is_none());
    drop((reader, bus));
    assert_eq!(DROPS.get(), 0);
}

#[test]
fn a_batch_whose_source_fails_is_not_published() {
    let bus = bus_with(16);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut reader = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    let failing = [0, 1, 2].map(number).into_iter().inspect(|n| assert_ne!(n.value, 2, "the source fails"));
    assert!(catch_unwind(AssertUnwindSafe(|| publisher.try_publish_batch(failing, Attributes::default()))).is_err());
    publisher.try_publish(number(7), Attributes::default()).unwrap();
    assert_eq!(reader.poll(|_, n| n.value), Some(7));
}
