//! FAB-028 to FAB-030: counters that agree with an independent count, and health by the two rules.

use std::time::Duration;

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, Policy, TopicSpec};
use csf_core::port::LaneKind;
use csf_core::{Attributes, NanoTime};
use csf_time::SimulatedClock;

use super::{Number, number};

fn bus() -> (PhaseCoherenceBus, std::sync::Arc<SimulatedClock>) {
    let clock = SimulatedClock::starting_at(NanoTime::from_nanos(1_000_000_000));
    let bus = PhaseCoherenceBus::new(BusConfig { latency_every: 1, ..BusConfig::new(clock.clone()) });
    bus.declare(TopicSpec::new::<Number>("n").capacity(64)).unwrap();
    (bus, clock)
}

#[test]
fn the_counters_agree_with_a_script() {
    let (bus, clock) = bus();
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut every = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    let mut newest = bus.subscriber::<Number>("n", Interest::new().policy(Policy::Conflate)).unwrap();
    assert_eq!(bus.get_stats().throughput_mps, 0, "a rate needs two looks");
    let (mut delivered, mut latencies) = (0, Vec::new());
    for round in 1..=10u64 {
        for _ in 0..5 {
            publisher.try_publish(number(round), Attributes::default()).unwrap();
        }
        clock.advance(Duration::from_nanos(100 * round));
        while every.poll(|_, _| ()).is_some() {
            delivered += 1;
        }
        assert!(newest.poll(|_, _| ()).is_some());
        delivered += 1;
        // Five packets of one moment have stamps one nanosecond apart; the conflating subscriber sees the last.
        latencies.extend((0..5).chain([4]).map(|i| 100 * round - i));
        clock.advance(Duration::from_millis(20));
    }
    let stats = bus.get_stats();
    assert_eq!((stats.packets_published, stats.packets_delivered, stats.packets_dropped), (50, delivered, 40));
    assert_eq!(stats.active_subscriptions, 2);
    assert_eq!(stats.peak_latency_ns, 1_000);
    assert_eq!(stats.avg_latency_ns, latencies.iter().sum::<u64>() / latencies.len() as u64);
    // 50 packets in 200 ms and 5.5 µs.
    assert_eq!(stats.throughput_mps, 249);
    drop((every, newest));
    let after = bus.get_stats();
    assert_eq!((after.packets_delivered, after.active_subscriptions), (delivered, 0), "who left is still counted");
}

#[test]
fn an_idle_bus_is_healthy_and_a_slowed_one_says_both_numbers() {
    let (bus, clock) = bus();
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut subscriber = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    for _ in 0..3 {
        clock.advance(Duration::from_secs(1));
        let idle = bus.health_check();
        assert!(idle.is_healthy && idle.warnings.is_empty(), "{:?}", idle.warnings);
    }
    for _ in 0..10 {
        while publisher.try_publish(number(1), Attributes::default()).is_ok() {}
        clock.advance(Duration::from_millis(100));
        while subscriber.poll(|_, _| ()).is_some() {}
    }
    let slow = bus.health_check();
    assert!(!slow.is_healthy);
    assert_eq!(slow.warnings.len(), 2, "{:?}", slow.warnings);
    assert!(slow.warnings[0].starts_with("average latency 99999968 ns over 640 samples"), "{}", slow.warnings[0]);
    assert_eq!(slow.warnings[1], "throughput 640 msg/s is below 1000000 msg/s while publishers were refused 10 times");
    clock.advance(Duration::from_secs(1));
    assert!(bus.health_check().is_healthy, "what is over is over");
}

#[test]
fn every_topics_traffic_names_who_is_behind() {
    let (bus, _clock) = bus();
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let _slow = bus.subscriber::<Number>("n", Interest::new().label("slow")).unwrap();
    let mut fast = bus.subscriber::<Number>("n", Interest::new().label("fast")).unwrap();
    for i in 0..40 {
        publisher.try_publish(number(i), Attributes::default()).unwrap();
        fast.poll(|_, _| ());
    }
    let traffic = bus.traffic();
    let [topic] = &traffic[..] else { panic!("one topic: {traffic:?}") };
    assert_eq!((topic.name.as_str(), topic.packets, topic.capacity, topic.refusals), ("n", 40, 64, 0));
    assert_eq!(topic.newest.map(|newest| newest.bytes), Some(1));
    let who: Vec<_> = topic.subscribers.iter().map(|s| (s.label.as_str(), s.blocks, s.lag, s.delivered)).collect();
    assert_eq!(who, [("slow", true, 40, 0), ("fast", true, 0, 40)]);
    assert_eq!(bus.topic("n").unwrap().subscriber_count(), 2, "the look itself is gone");
}

/// FAB-025: also what a reader was moved over and has not noticed yet is lost.
#[test]
fn drops_are_what_was_published_and_neither_delivered_nor_queued() {
    let (bus, _clock) = bus();
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut oldest = bus.subscriber::<Number>("n", Interest::new().policy(Policy::DropOldest)).unwrap();
    let mut newest = bus.subscriber::<Number>("n", Interest::new().policy(Policy::DropNewest)).unwrap();
    let _asleep = bus.subscriber::<Number>("n", Interest::new().policy(Policy::Conflate)).unwrap();
    let balance = |seen: u64| {
        let (stats, queued) = (bus.get_stats(), bus.get_temporal_metrics().queue_depth);
        assert_eq!(stats.packets_published, seen);
        assert_eq!(stats.packets_delivered + stats.packets_dropped + queued, 3 * seen, "{stats:?}, {queued} queued");
    };
    for i in 0..1_000u64 {
        publisher.try_publish(number(i), Attributes::default()).unwrap();
        if i.is_multiple_of(100) {
            oldest.poll(|_, _| ());
        }
        if i.is_multiple_of(7) {
            newest.poll(|_, _| ());
        }
        balance(i + 1);
    }
    while newest.poll(|_, _| ()).is_some() || oldest.poll(|_, _| ()).is_some() {
        balance(1_000);
    }
}
