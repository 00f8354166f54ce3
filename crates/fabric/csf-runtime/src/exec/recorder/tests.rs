//! What a commit may hold, and what must wait.

use std::sync::Arc;

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, TopicSpec};
use csf_core::{Attributes, Message};
use csf_sim::MemoryJournal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::*;
use crate::{DELIVERY_TOPIC, Delivery, Input};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Number(u64);

impl Message for Number {
    const NAME: &'static str = "test.recorded-number";
    const VERSION: u16 = 1;
}

fn recorder(bus: &PhaseCoherenceBus) -> Recorder {
    let interest = Interest::new().start(Start::Earliest);
    let subscription = bus.subscribe_any(&["n", DELIVERY_TOPIC], interest, Arc::new(Doorbell::default())).unwrap();
    let types = [MessageType::of::<Number>(), MessageType::of::<Delivery>()];
    let bell = subscription.doorbell().clone();
    Recorder {
        journal: Box::new(MemoryJournal::new()),
        subscription,
        lanes: RecordedLanes::new(types.into_iter().map(|t| (t.full_name(), t)).collect(), BTreeMap::new()),
        feed: Arc::new(DurableFeed::new(0)),
        shared: Arc::new(Shared::new(bell)),
        events: Vec::new(),
        plant: None,
        timer: Arc::new(csf_sim::SimExecutor::new(1)),
        learned: None,
    }
}

#[test]
fn an_effect_waits_for_its_delivery_also_behind_a_full_list_of_them() {
    let clock = csf_time::SystemClock::detect().unwrap();
    let bus = PhaseCoherenceBus::new(BusConfig::new(clock));
    bus.declare(TopicSpec::new::<Number>("n")).unwrap();
    bus.declare(TopicSpec::new::<Delivery>(DELIVERY_TOPIC).capacity(4 * BATCH)).unwrap();
    let mut log = bus.publisher::<Delivery>(DELIVERY_TOPIC, "dispatcher", LaneKind::Delivery).unwrap();
    let mut effects = bus.publisher::<Number>("n", "component", LaneKind::Effect).unwrap();
    let mut recorder = recorder(&bus);
    recorder.lanes.delivery_of = [("component".to_owned(), vec![log.info().id])].into();
    let deliveries = BATCH + 10;
    for number in 0..deliveries {
        let input = Input::Timer(csf_core::TimerId(u16::try_from(number % 100).unwrap()));
        let delivery = Delivery { component: 0, input, outcome: crate::Outcome::Done };
        log.try_publish(delivery, Attributes::default()).unwrap();
    }
    effects.observe(log.last_stamp());
    effects.try_publish(Number(1), Attributes::default()).unwrap();
    let effect = effects.info().id;
    recorder.collect();
    assert_eq!(recorder.commit().unwrap(), BATCH - 1);
    assert_eq!(recorder.feed.durable_seq(effect), 0, "its delivery is not in the journal");
    recorder.collect();
    assert_eq!(recorder.commit().unwrap(), deliveries - (BATCH - 1) + 1);
    assert_eq!(recorder.feed.durable_seq(effect), 1);
}

#[test]
fn an_effect_waits_for_its_delivery_in_the_log_of_a_dispatcher_that_took_over() {
    let clock = csf_time::SystemClock::detect().unwrap();
    let bus = PhaseCoherenceBus::new(BusConfig::new(clock));
    bus.declare(TopicSpec::new::<Number>("n")).unwrap();
    bus.declare(TopicSpec::new::<Delivery>(DELIVERY_TOPIC)).unwrap();
    let old = bus.publisher::<Delivery>(DELIVERY_TOPIC, "dispatcher", LaneKind::Delivery).unwrap();
    let mut effects = bus.publisher::<Number>("n", "component", LaneKind::Effect).unwrap();
    let mut recorder = recorder(&bus);
    recorder.lanes.delivery_of = [("component".to_owned(), vec![old.info().id])].into();
    recorder.collect();
    let mut log = bus.publisher::<Delivery>(DELIVERY_TOPIC, "dispatcher.1", LaneKind::Delivery).unwrap();
    let (done, _) = oneshot::channel();
    let delivery_of = vec![("component".to_owned(), log.info().id)];
    recorder.shared.orders.lock().unwrap().push(Order { topics: Vec::new(), delivery_of, done });
    recorder.take_orders();
    // A delivery whose packet is not there yet, and its effect.
    let packet = Input::Packet { lane: effects.info().id, seq: 1 };
    let delivery = Delivery { component: 0, input: packet, outcome: crate::Outcome::Done };
    log.try_publish(delivery, Attributes::default()).unwrap();
    effects.observe(log.last_stamp());
    effects.try_publish(Number(1), Attributes::default()).unwrap();
    recorder.collect();
    assert_eq!(recorder.commit().unwrap(), 0, "neither without the other");
}

#[test]
fn an_effect_waits_for_its_delivery_also_when_its_author_came_back_on_another_dispatcher() {
    let clock = csf_time::SystemClock::detect().unwrap();
    let bus = PhaseCoherenceBus::new(BusConfig::new(clock));
    bus.declare(TopicSpec::new::<Number>("n")).unwrap();
    bus.declare(TopicSpec::new::<Delivery>(DELIVERY_TOPIC)).unwrap();
    let before = bus.publisher::<Delivery>(DELIVERY_TOPIC, "before", LaneKind::Delivery).unwrap();
    let mut log = bus.publisher::<Delivery>(DELIVERY_TOPIC, "after", LaneKind::Delivery).unwrap();
    let mut api = bus.publisher::<Number>("n", "api", LaneKind::Source).unwrap();
    let mut effects = bus.publisher::<Number>("n", "component", LaneKind::Effect).unwrap();
    let mut recorder = recorder(&bus);
    recorder.lanes.delivery_of = [("component".to_owned(), vec![before.info().id])].into();
    effects.try_publish(Number(1), Attributes::default()).unwrap();
    recorder.collect();
    assert_eq!(recorder.commit().unwrap(), 1);
    let delivery_of = vec![("component".to_owned(), log.info().id)];
    let order = Order { topics: Vec::new(), delivery_of, done: oneshot::channel().0 };
    recorder.shared.orders.lock().unwrap().push(order);
    recorder.take_orders();
    // Its input is seen later than itself, and so is not closed yet.
    let input = Input::Packet { lane: api.info().id, seq: 0 };
    let delivery = Delivery { component: 0, input, outcome: crate::Outcome::Done };
    log.observe(effects.last_stamp());
    log.try_publish(delivery, Attributes::default()).unwrap();
    effects.observe(log.last_stamp());
    effects.try_publish(Number(2), Attributes::default()).unwrap();
    recorder.collect();
    recorder.learn_lanes();
    assert_eq!(recorder.commit().unwrap(), 0, "the effect's delivery is not in the journal");
    api.try_publish(Number(3), Attributes::default()).unwrap();
    recorder.collect();
    assert_eq!(recorder.commit().unwrap(), 3);
}

#[test]
fn a_delivery_waits_for_a_packet_whose_lane_was_opened_while_the_recorder_looked() {
    let clock = csf_time::SystemClock::detect().unwrap();
    let bus = PhaseCoherenceBus::new(BusConfig::new(clock));
    bus.declare(TopicSpec::new::<Number>("n")).unwrap();
    bus.declare(TopicSpec::new::<Delivery>(DELIVERY_TOPIC)).unwrap();
    let mut log = bus.publisher::<Delivery>(DELIVERY_TOPIC, "dispatcher", LaneKind::Delivery).unwrap();
    let mut recorder = recorder(&bus);
    recorder.collect_kind(false);
    // Meanwhile a lane is opened, and its first packet is delivered.
    let mut lane = bus.publisher::<Number>("n", "api", LaneKind::Source).unwrap();
    let id = lane.try_publish(Number(1), Attributes::default()).unwrap();
    let input = Input::Packet { lane: id.lane, seq: id.seq };
    let delivery = Delivery { component: 0, input, outcome: crate::Outcome::Done };
    log.try_publish(delivery, Attributes::default()).unwrap();
    recorder.collect_kind(true);
    recorder.learn_lanes();
    assert_eq!(recorder.commit().unwrap(), 0, "the delivery has no packet yet");
    recorder.collect();
    assert_eq!(recorder.commit().unwrap(), 2);
}
