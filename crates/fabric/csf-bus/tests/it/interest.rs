//! What a subscriber may ask for: filters, masks, deadlines, and what that costs the producer.

use std::panic;
use std::time::Duration;

use csf_bus::{BusConfig, Expired, Interest, PhaseCoherenceBus, Policy, TopicSpec};
use csf_core::port::LaneKind;
use csf_core::{Attributes, NanoTime, Stamp};
use csf_time::SimulatedClock;

use super::{Number, bus_with, number};

fn is_hundred(_: &csf_core::Header, n: &Number) -> bool {
    n.value.is_multiple_of(100)
}

/// FAB-022: rejected packets use no slot.
#[test]
fn packets_that_a_subscriber_rejects_hold_no_slot() {
    let bus = bus_with(8);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut filtered = bus.subscriber::<Number>("n", Interest::new().filter(is_hundred)).unwrap();
    let mut masked = bus.subscriber::<Number>("n", Interest::new().mask(2)).unwrap();
    for i in 1..=700 {
        let targets = if i == 650 { 2 } else { 1 };
        publisher.try_publish(number(i), Attributes::default().with_targets(targets)).unwrap();
        if i % 100 == 0 {
            assert_eq!(filtered.poll(|_, n| n.value), Some(i));
            assert_eq!(filtered.poll(|_, n| n.value), None);
        }
        if i == 655 {
            assert_eq!(masked.poll(|_, n| n.value), Some(650));
        }
    }
    assert_eq!((filtered.lost(), masked.lost()), (0, 0), "blocking subscribers lost nothing");
    let stats = bus.get_stats();
    assert_eq!((stats.packets_published, stats.packets_delivered, stats.packets_dropped), (700, 8, 0));
}

#[test]
fn a_wanted_packet_holds_its_slot_until_it_is_read() {
    let bus = bus_with(8);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut filtered = bus.subscriber::<Number>("n", Interest::new().filter(is_hundred)).unwrap();
    publisher.try_publish(number(100), Attributes::default()).unwrap();
    let published = (1..100).take_while(|i| publisher.try_publish(number(*i), Attributes::default()).is_ok()).count();
    assert_eq!(published, 7, "the lane has 8 slots");
    assert_eq!(filtered.poll(|_, n| n.value), Some(100));
    assert!(publisher.try_publish(number(1), Attributes::default()).is_ok());
}

#[test]
fn a_filter_that_panics_rejects_the_packet_and_is_counted() {
    let bus = bus_with(8);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let grumpy = |_: &csf_core::Header, n: &Number| if n.value == 7 { true } else { panic::resume_unwind(Box::new(0)) };
    let mut subscriber = bus.subscriber::<Number>("n", Interest::new().filter(grumpy)).unwrap();
    for i in 0..100 {
        // Beyond 8, the producer asks the filter on its own thread.
        publisher.try_publish(number(i % 50 + 10), Attributes::default()).unwrap();
    }
    publisher.try_publish(number(7), Attributes::default()).unwrap();
    assert_eq!(subscriber.poll(|_, n| n.value), Some(7));
    assert_eq!(bus.get_temporal_metrics().filter_panics, 100);
}

#[test]
fn a_conflating_subscriber_sees_the_newest_packet_it_wants() {
    let bus = bus_with(16);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let interest = Interest::new().policy(Policy::Conflate).filter(is_hundred);
    let mut subscriber = bus.subscriber::<Number>("n", interest).unwrap();
    for i in [100, 200, 300, 301, 302] {
        publisher.try_publish(number(i), Attributes::default()).unwrap();
    }
    assert_eq!(subscriber.poll(|_, n| n.value), Some(300));
    assert_eq!(subscriber.poll(|_, n| n.value), None);
    assert_eq!(subscriber.lost(), 2);
}

/// FAB-023: missed deadlines are counted, whatever becomes of the packets.
#[test]
fn late_packets_are_delivered_or_dropped_and_always_counted() {
    let clock = SimulatedClock::starting_at(NanoTime::from_nanos(1_000));
    let bus = PhaseCoherenceBus::new(BusConfig::new(clock.clone()));
    bus.declare(TopicSpec::new::<Number>("n")).unwrap();
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut patient = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    let mut strict = bus.subscriber::<Number>("n", Interest::new().expired(Expired::Drop)).unwrap();
    let deadlines = [Some(Stamp(500)), Some(Stamp(2_000)), Some(Stamp(5_000)), Some(Stamp(u64::MAX)), None];
    for (value, deadline) in (0..).zip(deadlines) {
        publisher.try_publish(number(value), Attributes { deadline, ..Attributes::default() }).unwrap();
    }
    clock.advance(Duration::from_nanos(2_000));
    let all = |subscriber: &mut csf_bus::Subscriber<Number>| {
        let mut seen: Vec<_> = std::iter::from_fn(|| subscriber.poll(|_, n| n.value)).collect();
        seen.sort_unstable();
        seen
    };
    assert_eq!(all(&mut patient), [0, 1, 2, 3, 4]);
    assert_eq!(all(&mut strict), [2, 3, 4]);
    let times = bus.delivery_times();
    assert_eq!((times.delivered_late, times.dropped_late), (2, 2));
}

#[test]
fn lag_is_told_as_count_and_as_time() {
    let clock = SimulatedClock::starting_at(NanoTime::from_nanos(1_000));
    let bus = PhaseCoherenceBus::new(BusConfig::new(clock.clone()));
    bus.declare(TopicSpec::new::<Number>("n")).unwrap();
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut subscriber = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    assert_eq!((subscriber.lag(), subscriber.lag_ns()), (0, 0));
    publisher.try_publish(number(1), Attributes::default()).unwrap();
    clock.advance(Duration::from_micros(3));
    publisher.try_publish(number(2), Attributes::default()).unwrap();
    assert_eq!((subscriber.lag(), subscriber.lag_ns()), (2, 3_000));
}
