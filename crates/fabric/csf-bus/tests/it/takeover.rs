//! Lanes that a producer leaves to the next one of the same author, and subscriptions that take topics in and let them go.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;

use csf_bus::{Doorbell, Interest, Order, PhaseCoherenceBus, Start, Subscription, TopicSpec};
use csf_core::port::LaneKind;
use csf_core::{Attributes, MessageId, Stamp};

use super::{Number, bus, bus_with, number};

fn publish(bus: &PhaseCoherenceBus, topic: &str, author: &str, value: u64) -> (MessageId, Stamp) {
    let mut publisher = bus.publisher::<Number>(topic, author, LaneKind::Source).unwrap();
    let id = publisher.try_publish(number(value), Attributes::default()).unwrap();
    (id, publisher.last_stamp())
}

#[test]
fn the_next_producer_goes_on_where_the_one_before_left_off() {
    let bus = bus_with(8);
    let (first, stamped) = publish(&bus, "n", "a", 1);
    let (second, later) = publish(&bus, "n", "a", 2);
    assert_eq!((second.lane, second.seq), (first.lane, 1));
    assert!(later > stamped, "the clock stands");
    let (other, _) = publish(&bus, "n", "b", 3);
    assert_ne!(other.lane, first.lane, "of another author");
    let effects = bus.publisher::<Number>("n", "a", LaneKind::Effect).unwrap();
    assert_ne!(effects.info().id, first.lane, "of another kind");
    let alive = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let beside = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    assert_eq!(alive.info().id, first.lane);
    assert_ne!(beside.info().id, first.lane, "one is enough");
}

#[test]
fn what_is_staged_when_its_producer_goes_was_never_there() {
    let bus = bus_with(8);
    let mut reader = bus.subscriber::<Number>("n", Interest::new().start(Start::Earliest)).unwrap();
    let newest = Stamp(u64::MAX / 2);
    let stage = |value: u64, stamp: Stamp, commits: bool| {
        let mut writer = bus.effect_writer::<Number>("n", "a").unwrap();
        let before = writer.newest();
        assert!(writer.has_room(1));
        let mut value = Some(number(value));
        let id = writer.stage(TypeId::of::<Number>(), &mut value, stamp, Attributes::default(), None).unwrap();
        if commits {
            writer.commit();
        }
        (id.seq, before)
    };
    assert_eq!(stage(1, newest, true).0, 0);
    let (seq, before) = stage(2, newest.after(1), false);
    assert_eq!((seq, before), (1, newest), "its stamps come from elsewhere, and the next one is told of them");
    assert_eq!(stage(3, newest.after(2), true).0, 1);
    let seen: Vec<u64> = std::iter::from_fn(|| reader.poll(|_, n| n.value)).collect();
    assert_eq!(seen, [1, 3]);
}

#[test]
fn producers_of_one_author_on_many_threads_never_share_an_id_nor_go_back_in_time() {
    let bus = bus_with(64);
    let produce = || {
        let bus = bus.clone();
        thread::spawn(move || (0..500).map(|value| publish(&bus, "n", "a", value)).collect::<Vec<_>>())
    };
    let threads: Vec<_> = (0..4).map(|_| produce()).collect();
    let published: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(published.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len(), 2_000);
    let mut lanes: BTreeMap<_, BTreeMap<u64, Stamp>> = BTreeMap::new();
    for (id, stamp) in published {
        lanes.entry(id.lane).or_default().insert(id.seq, stamp);
    }
    assert!(lanes.len() <= 4, "{} lanes", lanes.len());
    for stamps in lanes.into_values() {
        assert!(stamps.values().zip(stamps.values().skip(1)).all(|(before, after)| before < after));
        assert_eq!(stamps.keys().last().map(|last| last + 1), Some(stamps.len() as u64));
    }
}

fn three_topics() -> (PhaseCoherenceBus, Subscription) {
    let bus = bus();
    for name in ["a", "b", "c"] {
        bus.declare(TopicSpec::new::<Number>(name).capacity(8)).unwrap();
    }
    let interest = Interest::new().start(Start::Earliest).order(Order::Stamp);
    let subscription = bus.subscribe_any(&["a", "b"], interest, Arc::new(Doorbell::default())).unwrap();
    (bus, subscription)
}

fn next(subscription: &mut Subscription) -> Option<u64> {
    let value = subscription.peek().map(|(_, _, payload)| payload.downcast_ref::<Number>().unwrap().value);
    subscription.advance();
    value
}

fn peeked(subscription: &mut Subscription) -> Option<u64> {
    subscription.peek().map(|(_, _, payload)| payload.downcast_ref::<Number>().unwrap().value)
}

#[test]
fn a_topic_that_goes_takes_its_own_packets_along_and_no_other() {
    for gone in ["a", "b"] {
        let (bus, mut subscription) = three_topics();
        let mut a = bus.publisher::<Number>("a", "test", LaneKind::Source).unwrap();
        let mut b = bus.publisher::<Number>("b", "test", LaneKind::Source).unwrap();
        for value in 0..4 {
            let publisher = if value % 2 == 0 { &mut a } else { &mut b };
            publisher.observe(Stamp(u64::MAX / 2 + value));
            publisher.try_publish(number(value), Attributes::default()).unwrap();
        }
        // Held while the change comes, on the topic that goes and on the one that stays.
        assert_eq!(peeked(&mut subscription), Some(0));
        subscription.remove_topic(gone);
        let left: Vec<u64> = std::iter::from_fn(|| next(&mut subscription)).collect();
        assert_eq!(left, if gone == "a" { [1, 3] } else { [0, 2] });
        // Nobody waits for who reads it no longer.
        for value in 10..30 {
            let publisher = if gone == "a" { &mut a } else { &mut b };
            publisher.try_publish(number(value), Attributes::default()).unwrap();
        }
        assert_eq!(next(&mut subscription), None);
        subscription.add_topic(&bus.topic(gone).unwrap(), Start::Now);
        let publisher = if gone == "a" { &mut a } else { &mut b };
        publisher.try_publish(number(30), Attributes::default()).unwrap();
        assert_eq!((next(&mut subscription), next(&mut subscription)), (Some(30), None));
    }
}

#[test]
fn a_packet_that_is_held_goes_with_its_topic() {
    let (bus, mut subscription) = three_topics();
    let mut a = bus.publisher::<Number>("a", "test", LaneKind::Source).unwrap();
    let (_, stamp) = publish(&bus, "b", "test", 1);
    a.observe(stamp);
    a.try_publish(number(2), Attributes::default()).unwrap();
    assert_eq!(peeked(&mut subscription), Some(1));
    subscription.remove_topic("b");
    assert_eq!((next(&mut subscription), next(&mut subscription)), (Some(2), None));
}

#[test]
fn a_topic_that_comes_waits_for_the_packet_that_is_held() {
    let (bus, mut subscription) = three_topics();
    publish(&bus, "c", "test", 1);
    publish(&bus, "a", "test", 2);
    assert_eq!(peeked(&mut subscription), Some(2));
    subscription.add_topic(&bus.topic("c").unwrap(), Start::Earliest);
    assert_eq!(peeked(&mut subscription), Some(2));
    assert_eq!((next(&mut subscription), next(&mut subscription), next(&mut subscription)), (Some(2), Some(1), None));
}

#[test]
fn a_lane_that_two_topics_lead_to_goes_with_the_second() {
    let (bus, mut subscription) = three_topics();
    bus.create_channel("a", "b").unwrap();
    bus.create_channel("c", "b").unwrap();
    publish(&bus, "a", "test", 1);
    publish(&bus, "c", "test", 2);
    assert_eq!((next(&mut subscription), next(&mut subscription), next(&mut subscription)), (Some(1), Some(2), None));
    // Its packets still arrive by the channel.
    subscription.remove_topic("a");
    publish(&bus, "a", "test", 3);
    assert_eq!((next(&mut subscription), next(&mut subscription)), (Some(3), None));
    subscription.add_topic(&bus.topic("a").unwrap(), Start::Earliest);
    publish(&bus, "a", "test", 4);
    assert_eq!((next(&mut subscription), next(&mut subscription)), (Some(4), None), "once each");
    subscription.remove_topic("b");
    publish(&bus, "a", "test", 5);
    publish(&bus, "c", "test", 6);
    assert_eq!((next(&mut subscription), next(&mut subscription)), (Some(5), None));
    // A channel that comes later leads nowhere from a topic that was let go.
    bus.remove_channel("c", "b").unwrap();
    bus.create_channel("c", "b").unwrap();
    publish(&bus, "c", "test", 7);
    subscription.remove_topic("a");
    publish(&bus, "a", "test", 8);
    assert_eq!(next(&mut subscription), None);
}

#[test]
fn what_was_held_is_read_on_from_where_it_was_held() {
    let (bus, mut subscription) = three_topics();
    let mut c = bus.publisher::<Number>("c", "test", LaneKind::Source).unwrap();
    c.try_publish(number(0), Attributes::default()).unwrap();
    let interest = || Interest::new().start(Start::Now).order(Order::Stamp);
    let mut held = bus.subscribe_any(&["a", "c"], interest(), subscription.doorbell().clone()).unwrap();
    assert_eq!(held.places(), [(c.info().id, 1)].into());
    // While it is held: on a lane that was there, on one that comes, and by one that goes.
    c.try_publish(number(1), Attributes::default()).unwrap();
    publish(&bus, "c", "late", 2);
    drop(c);
    publish(&bus, "a", "test", 3);
    assert_eq!(held.places().len(), 3);
    subscription.adopt(held);
    publish(&bus, "c", "later", 4);
    publish(&bus, "c", "late", 5);
    let mut handed_out: Vec<u64> = std::iter::from_fn(|| next(&mut subscription)).collect();
    handed_out.sort_unstable();
    assert_eq!(handed_out, [1, 2, 3, 4, 5], "each once; `a` was read already");
    subscription.remove_topic("c");
    publish(&bus, "c", "later", 6);
    assert_eq!(next(&mut subscription), None);
}

#[test]
fn packets_of_an_author_are_counted_by_what_kind_of_author_it_was() {
    let (bus, _subscription) = three_topics();
    let mut source = bus.publisher::<Number>("a", "twice", LaneKind::Source).unwrap();
    let mut effects = bus.publisher::<Number>("a", "twice", LaneKind::Effect).unwrap();
    source.try_publish(number(1), Attributes::default()).unwrap();
    for value in 2..4 {
        effects.try_publish(number(value), Attributes::default()).unwrap();
    }
    let topic = bus.topic("a").unwrap();
    assert_eq!([LaneKind::Source, LaneKind::Effect].map(|kind| topic.packets_by("twice", kind)), [1, 2]);
}

#[test]
fn an_effect_whose_cause_is_on_a_topic_that_goes_is_held_no_longer() {
    let (bus, mut subscription) = three_topics();
    let a = bus.publisher::<Number>("a", "test", LaneKind::Source).unwrap();
    let mut b = bus.publisher::<Number>("b", "test", LaneKind::Source).unwrap();
    let cause = a.next_id();
    b.try_publish_caused(number(2), Attributes::default(), &[cause]).unwrap();
    assert_eq!(peeked(&mut subscription), None, "its cause has not come");
    assert!(subscription.hold_left_ns().is_some());
    subscription.remove_topic("a");
    assert_eq!((next(&mut subscription), subscription.hold_left_ns()), (Some(2), None));
}
