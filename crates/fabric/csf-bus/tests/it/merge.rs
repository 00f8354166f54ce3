//! Lanes merged where urgency and cause pull in different directions.

use std::sync::Arc;

use csf_bus::{Doorbell, Interest, Order};
use csf_core::port::LaneKind;
use csf_core::{Attributes, Priority};

use super::{Number, bus_with, number};

#[test]
fn the_cause_of_a_cause_comes_first_however_urgent_the_effect() {
    let bus = bus_with(64);
    let mut lanes: Vec<_> =
        ["d", "a", "b"].map(|author| bus.publisher::<Number>("n", author, LaneKind::Source).unwrap()).into();
    let bell = Arc::new(Doorbell::default());
    for order in [Order::Urgency, Order::Stamp, Order::Lane] {
        let mut reader = bus.subscribe_any(&["n"], Interest::new().order(order), bell.clone()).unwrap();
        let mut cause = None;
        let mut published = Vec::new();
        for (lane, priority) in lanes.iter_mut().zip([Priority::Low, Priority::Normal, Priority::Critical]) {
            let attributes = Attributes::default().with_priority(priority);
            let id = lane.try_publish_caused(number(0), attributes, cause.as_slice()).unwrap();
            published.push(id);
            cause = Some(id);
        }
        let mut seen = Vec::new();
        while let Some((_, header, _)) = reader.peek() {
            seen.push(header.id);
            reader.advance();
        }
        assert_eq!(seen, published, "{order:?}");
    }
}

#[test]
fn a_masked_subscriber_that_has_not_looked_yet_holds_nobody_back() {
    let bus = bus_with(4);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let _masked = bus.subscriber::<Number>("n", Interest::new().mask(2)).unwrap();
    for value in 0..100 {
        publisher.try_publish(number(value), Attributes::default().with_targets(1)).unwrap();
    }
}
