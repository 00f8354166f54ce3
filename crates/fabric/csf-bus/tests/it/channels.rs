//! FAB-027: topics linked by name.

use csf_bus::{Channel, Interest, PhaseCoherenceBus, Start, Subscriber, TopicError, TopicSpec};
use csf_core::Attributes;
use csf_core::port::LaneKind;

use super::{Number, Word, bus, number};

fn linked(names: &[&str]) -> PhaseCoherenceBus {
    let bus = bus();
    for name in names {
        bus.declare(TopicSpec::new::<Number>(*name).capacity(16)).unwrap();
    }
    bus
}

fn all(subscriber: &mut Subscriber<Number>) -> Vec<u64> {
    std::iter::from_fn(|| subscriber.poll(|_, n| n.value)).collect()
}

#[test]
fn what_is_published_on_the_source_arrives_at_the_destination_until_the_channel_is_removed() {
    let bus = linked(&["drpp.patterns", "adp.input"]);
    let mut before = bus.publisher::<Number>("drpp.patterns", "before", LaneKind::Source).unwrap();
    let mut reader = bus.subscriber::<Number>("adp.input", Interest::new()).unwrap();
    before.try_publish(number(0), Attributes::default()).unwrap();
    bus.create_channel("drpp.patterns", "adp.input").unwrap();
    let mut after = bus.publisher::<Number>("drpp.patterns", "after", LaneKind::Source).unwrap();
    let mut late = bus.subscriber::<Number>("adp.input", Interest::new().start(Start::Last(1))).unwrap();
    let id = before.try_publish(number(1), Attributes::default()).unwrap();
    let after_id = after.try_publish(number(2), Attributes::default()).unwrap();
    let mut seen: Vec<_> = std::iter::from_fn(|| reader.poll(|h, n| (n.value, h.id))).collect();
    seen.sort_unstable();
    assert_eq!(seen, [(1, id), (2, after_id)], "packets keep their ids");
    let mut all_of_it = all(&mut late);
    all_of_it.sort_unstable();
    assert_eq!(all_of_it, [0, 1, 2]);
    assert_eq!(bus.channels(), [Channel { from: "drpp.patterns".into(), to: "adp.input".into() }]);

    bus.remove_channel("drpp.patterns", "adp.input").unwrap();
    before.try_publish(number(3), Attributes::default()).unwrap();
    assert_eq!((all(&mut reader), all(&mut late), bus.channels()), (vec![], vec![], vec![]));
    for value in 0..100 {
        before.try_publish(number(value), Attributes::default()).expect("who is not linked holds nothing back");
    }
}

#[test]
fn duplicates_circles_and_strangers_are_refused() {
    let bus = linked(&["a", "b", "c"]);
    bus.declare(TopicSpec::new::<Word>("w")).unwrap();
    bus.create_channel("a", "b").unwrap();
    bus.create_channel("b", "c").unwrap();
    let refusal = |from: &str, to: &str| bus.create_channel(from, to).unwrap_err();
    assert!(matches!(refusal("a", "b"), TopicError::ChannelExists { .. }));
    assert!(matches!(refusal("c", "a"), TopicError::ChannelCycle { .. }));
    assert!(matches!(refusal("a", "a"), TopicError::ChannelCycle { .. }));
    assert!(matches!(refusal("a", "w"), TopicError::WrongType { .. }));
    assert!(matches!(refusal("a", "x"), TopicError::Unknown { .. }));
    assert!(matches!(bus.remove_channel("a", "c"), Err(TopicError::UnknownChannel { .. })));
}

#[test]
fn a_packet_arrives_once_however_many_ways_lead_there() {
    let bus = linked(&["a", "b", "c", "d"]);
    let mut reader = bus.subscriber::<Number>("d", Interest::new()).unwrap();
    for (from, to) in [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")] {
        bus.create_channel(from, to).unwrap();
    }
    let mut both = bus.subscribe_any(&["a", "d"], Interest::new(), Default::default()).unwrap();
    let mut publisher = bus.publisher::<Number>("a", "x", LaneKind::Source).unwrap();
    publisher.try_publish(number(1), Attributes::default()).unwrap();
    assert_eq!(all(&mut reader), [1]);
    assert_eq!(both.lanes().len(), 1);
    bus.remove_channel("b", "d").unwrap();
    publisher.try_publish(number(2), Attributes::default()).unwrap();
    assert_eq!(all(&mut reader), [2], "one way is left");
    bus.remove_channel("c", "d").unwrap();
    publisher.try_publish(number(3), Attributes::default()).unwrap();
    assert!(all(&mut reader).is_empty());
    assert_eq!(both.lanes().len(), 1, "it reads `a` itself");
}
