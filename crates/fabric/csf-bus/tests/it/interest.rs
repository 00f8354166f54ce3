//! What a subscriber may ask for: filters, masks, deadlines, and what that costs the producer.

use std::panic;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use csf_bus::{BusConfig, Expired, Interest, PhaseCoherenceBus, Policy, Publisher, Subscriber, TopicSpec};
use csf_core::port::LaneKind;
use csf_core::{Attributes, Message, Stamp};
use csf_sim::init_test_environment;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Number, Word, bus, bus_with, number};

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
    let clock = init_test_environment();
    clock.advance(Duration::from_nanos(1_000));
    let bus = PhaseCoherenceBus::new(BusConfig::new(clock.clone()));
    bus.declare(TopicSpec::new::<Number>("n")).unwrap();
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut patient = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    let mut strict = bus.subscriber::<Number>("n", Interest::new().expired(Expired::Drop)).unwrap();
    let mut patient_batch = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    let mut strict_batch = bus.subscriber::<Number>("n", Interest::new().expired(Expired::Drop)).unwrap();
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
    let batch = |subscriber: &mut csf_bus::Subscriber<Number>| {
        let mut seen = Vec::new();
        subscriber.poll_batch(16, |_, n| seen.push(n.value));
        seen
    };
    assert_eq!(batch(&mut patient_batch), [0, 1, 2, 3, 4]);
    assert_eq!(batch(&mut strict_batch), [2, 3, 4]);
    let times = bus.delivery_times();
    assert_eq!((times.delivered_late, times.dropped_late), (4, 4));
}

#[test]
fn lag_is_told_as_count_and_as_time() {
    let clock = init_test_environment();
    clock.advance(Duration::from_nanos(1_000));
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

fn newest_dropped() -> Interest {
    Interest::new().policy(Policy::DropNewest)
}

fn publish_all(publisher: &mut Publisher<Number>, values: std::ops::Range<u64>) {
    for value in values {
        publisher.try_publish(number(value), Attributes::default()).expect("nobody stalls the publisher");
    }
}

fn drain(subscriber: &mut Subscriber<Number>) -> Vec<u64> {
    std::iter::from_fn(|| subscriber.poll(|header, n| (header.id.seq, n.value)))
        .map(|(seq, value)| {
            assert_eq!(seq, value, "each value was published under its own number");
            value
        })
        .collect()
}

#[test]
fn a_slow_subscriber_that_drops_the_newest_keeps_the_oldest_in_order() {
    let bus = bus_with(8);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut slow = bus.subscriber::<Number>("n", newest_dropped()).unwrap();
    publish_all(&mut publisher, 0..1_000);
    let dropped = bus.get_stats().packets_dropped;
    assert_eq!(slow.lost(), 0, "it is told when it comes to the gap");
    let seen = drain(&mut slow);
    assert_eq!(dropped, slow.lost(), "the bus knew before");
    assert!(seen[..8].iter().copied().eq(0..8), "{seen:?}");
    assert!(
        seen[8..].iter().copied().eq(1_000 - (seen.len() as u64 - 8)..1_000),
        "then what is in the slots: {seen:?}"
    );
    assert_eq!(seen.len() as u64 + slow.lost(), 1_000);
    assert_eq!((slow.lag(), bus.get_stats().packets_dropped), (0, slow.lost()));
    publish_all(&mut publisher, 1_000..1_008);
    assert!(drain(&mut slow).into_iter().eq(1_000..1_008), "it has read, and loses nothing");
}

#[test]
fn subscribers_that_drop_the_newest_share_what_they_keep_with_all_others() {
    let bus = bus_with(8);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut slow = [(); 2].map(|()| bus.subscriber::<Number>("n", newest_dropped()).unwrap());
    let mut oldest_dropped = bus.subscriber::<Number>("n", Interest::new().policy(Policy::DropOldest)).unwrap();
    let mut blocking = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    for round in 0..2 {
        publish_all(&mut publisher, round * 8..round * 8 + 8);
        assert!(drain(&mut blocking).into_iter().eq(round * 8..round * 8 + 8));
    }
    assert!(drain(&mut slow[0]).into_iter().eq(0..16));
    publish_all(&mut publisher, 16..24);
    assert!(drain(&mut slow[0]).into_iter().eq(16..24));
    let seen = drain(&mut slow[1]);
    assert!(seen[..8].iter().copied().eq(0..8), "{seen:?}");
    assert_eq!(seen.len() as u64 + slow[1].lost(), 24);
    assert_eq!(drain(&mut oldest_dropped).last(), Some(&23));
    assert!(drain(&mut blocking).into_iter().eq(16..24));
}

#[test]
fn a_choosy_subscriber_that_drops_the_newest_keeps_only_its_own() {
    let bus = bus_with(8);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut filtered = bus.subscriber::<Number>("n", newest_dropped().filter(is_hundred)).unwrap();
    let mut masked = bus.subscriber::<Number>("n", newest_dropped().mask(2)).unwrap();
    for value in 0..800 {
        let targets = if value % 100 == 50 { 2 } else { 1 };
        publisher.try_publish(number(value), Attributes::default().with_targets(targets)).unwrap();
    }
    assert!(drain(&mut filtered).into_iter().eq((0..8).map(|i| i * 100)));
    assert!(drain(&mut masked).into_iter().eq((0..8).map(|i| i * 100 + 50)));
    assert_eq!((filtered.lost(), masked.lost()), (0, 0));
}

#[test]
fn a_kept_packet_has_all_its_causes_and_comes_after_them() {
    let bus = bus_with(4);
    let mut causes: Vec<_> =
        ["a", "b"].map(|author| bus.publisher::<Number>("n", author, LaneKind::Source).unwrap()).into();
    let mut effects = bus.publisher::<Number>("n", "c", LaneKind::Source).unwrap();
    // The effects are the more urgent ones; only their causes hold them back.
    let urgent = Attributes::default().with_priority(csf_core::Priority::Critical);
    let mut slow = bus.subscriber::<Number>("n", newest_dropped()).unwrap();
    let mut published = Vec::new();
    for value in 0..8 {
        let ids: Vec<_> =
            causes.iter_mut().map(|lane| lane.try_publish(number(value), Attributes::default()).unwrap()).collect();
        published.extend(ids.iter().copied());
        published.push(effects.try_publish_caused(number(value), urgent, &ids).unwrap());
    }
    let seen: Vec<_> = std::iter::from_fn(|| slow.poll(|header, _| header.id)).collect();
    assert_eq!((seen.len(), slow.lost()), (24, 0));
    let place = |id| seen.iter().position(|seen| *seen == id);
    for packets in published.chunks(3) {
        assert!(place(packets[0]) < place(packets[2]) && place(packets[1]) < place(packets[2]), "{seen:?}");
    }
    assert_eq!(bus.get_temporal_metrics().violations, 0);
}

/// The payload's text tells the packet; what is alive is counted.
#[test]
fn memory_stays_bounded_however_slow_the_subscriber() {
    let packets = std::env::var("CSF_NEWEST_PACKETS").map_or(100_000, |n| n.parse().expect("a number"));
    let bus = bus();
    bus.declare(TopicSpec::new::<Counted>("c").capacity(64)).unwrap();
    let mut publisher = bus.publisher::<Counted>("c", "a", LaneKind::Source).unwrap();
    let stuck = bus.subscriber::<Counted>("c", newest_dropped()).unwrap();
    let mut slow = bus.subscriber::<Counted>("c", newest_dropped()).unwrap();
    let (mut seen, mut last, mut most) = (0, None, 0);
    let mut read = |slow: &mut Subscriber<Counted>| {
        let seq = slow.poll(|header, counted| {
            assert_eq!(counted.text, format!("packet {}", header.id.seq));
            header.id.seq
        });
        assert!(seq.is_none() || seq > last, "{seq:?} after {last:?}");
        last = seq.or(last);
        seen += u64::from(seq.is_some());
        seq.is_some()
    };
    for seq in 0..packets {
        publisher.try_publish(Counted::new(seq), Attributes::default()).expect("nobody stalls the publisher");
        if seq % 3 == 0 {
            read(&mut slow);
        }
        most = most.max(LIVE.load(Ordering::Relaxed));
    }
    assert!(most <= 64 + 2 * 64, "{most} payloads alive: one in each slot, and so many aside for each subscriber");
    while read(&mut slow) {}
    assert_eq!(seen + slow.lost(), packets);
    assert_eq!(last, Some(packets - 1));
    drop((publisher, slow, stuck, bus));
    assert_eq!(LIVE.load(Ordering::Relaxed), 0, "each payload was dropped once");
}

static LIVE: AtomicI64 = AtomicI64::new(0);

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Counted {
    text: String,
}

impl Counted {
    fn new(seq: u64) -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Self { text: format!("packet {seq}") }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        unreachable!("local delivery never clones a payload")
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Message for Counted {
    const NAME: &'static str = "test.counted";
    const VERSION: u16 = 1;
}

/// The publisher never waits; the subscriber and one that reads everything run beside it.
#[test]
fn a_racing_subscriber_that_drops_the_newest_accounts_for_every_packet() {
    const COUNT: u64 = 100_000;
    let bus = bus();
    bus.declare(TopicSpec::new::<Word>("w").capacity(16)).unwrap();
    let mut publisher = bus.publisher::<Word>("w", "a", LaneKind::Source).unwrap();
    let reading: Vec<_> = [u64::MAX, u64::MAX, 2]
        .into_iter()
        .map(|mask| {
            let mut subscriber = bus.subscriber::<Word>("w", newest_dropped().mask(mask)).unwrap();
            thread::spawn(move || {
                let (mut seen, mut last) = (0, None);
                // The last packet is for all, and none after it needs its slot.
                while last != Some(COUNT) {
                    let seq = subscriber.wait(|header, word| {
                        assert_eq!(word.0, format!("packet {}", header.id.seq));
                        header.id.seq
                    });
                    assert!(last.is_none_or(|last| last < seq), "{seq} after {last:?}");
                    (seen, last) = (seen + 1, Some(seq));
                }
                (mask, seen, subscriber.lost())
            })
        })
        .collect();
    for seq in 0..=COUNT {
        let attributes = Attributes::default().with_targets(if seq == COUNT { u64::MAX } else { 1 << (seq % 2) });
        // A reader that holds a slot at this moment gives it back.
        while publisher.try_publish(Word(format!("packet {seq}")), attributes).is_err() {
            thread::yield_now();
        }
    }
    for reading in reading {
        let (mask, seen, lost) = reading.join().unwrap();
        let own = if mask == u64::MAX { COUNT } else { COUNT / 2 };
        assert_eq!(seen + lost, own + 1, "mask {mask:x}: seen {seen}, lost {lost}");
    }
}
