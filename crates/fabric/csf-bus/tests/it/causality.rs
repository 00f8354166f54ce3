//! FAB-031: nothing is handed out before its causes; what cannot be is reported with both ids.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use csf_bus::{BusConfig, Doorbell, Interest, Order, PhaseCoherenceBus, Publisher, Start, TopicSpec, ViolationKind};
use csf_core::port::{LaneKind, Timer};
use csf_core::{Attributes, BusError, LaneId, MessageId, Priority};
use csf_sim::{SimClock, SimExecutor, init_test_environment};
use csf_time::{SimulatedClock, SystemClock};
use proptest::prelude::*;

use super::{Number, number};

const HOLD_MAX: Duration = Duration::from_millis(10);

fn bus() -> (PhaseCoherenceBus, Arc<SimulatedClock>) {
    let clock = init_test_environment();
    let bus = PhaseCoherenceBus::new(BusConfig { hold_max: HOLD_MAX, ..BusConfig::new(clock.clone()) });
    bus.declare(TopicSpec::new::<Number>("n").capacity(256)).unwrap();
    (bus, clock)
}

fn lanes<const N: usize>(bus: &PhaseCoherenceBus) -> [Publisher<Number>; N] {
    std::array::from_fn(|i| bus.publisher::<Number>("n", &i.to_string(), LaneKind::Source).unwrap())
}

fn publish(lane: &mut Publisher<Number>, value: u64, causes: &[MessageId]) -> MessageId {
    lane.try_publish_caused(number(value), Attributes::default(), causes).unwrap()
}

fn subscribe(bus: &PhaseCoherenceBus, order: Order) -> impl FnMut() -> Option<u64> {
    let mut subscriber = bus.subscriber::<Number>("n", Interest::new().start(Start::Earliest).order(order)).unwrap();
    move || subscriber.poll(|_, n| n.value)
}

/// The cause's lane may itself be waiting for a third one.
#[test]
fn the_causes_of_a_cause_go_first() {
    for order in [Order::Urgency, Order::Stamp, Order::Lane] {
        let (bus, _clock) = bus();
        let [mut a, mut b, mut c] = lanes(&bus);
        let mut next = subscribe(&bus, order);
        let third = c.next_id();
        let second = publish(&mut b, 2, &[third]);
        let urgent = Attributes::default().with_priority(Priority::Critical);
        a.try_publish_caused(number(1), urgent, &[second]).unwrap();
        publish(&mut c, 3, &[]);
        assert_eq!([next(), next(), next(), next()], [Some(3), Some(2), Some(1), None], "{order:?}");
    }
}

#[test]
fn an_effect_waits_for_its_cause_and_the_other_lanes_go_on() {
    let (bus, clock) = bus();
    let [mut a, mut b, mut c] = lanes(&bus);
    let mut next = subscribe(&bus, Order::Urgency);
    let cause = b.next_id();
    publish(&mut a, 1, &[cause]);
    assert_eq!(next(), None);
    publish(&mut c, 2, &[]);
    assert_eq!((next(), next()), (Some(2), None));
    clock.advance(HOLD_MAX / 2);
    publish(&mut b, 3, &[]);
    clock.advance(HOLD_MAX);
    assert_eq!([next(), next(), next()], [Some(3), Some(1), None]);
    assert_eq!(bus.dead_letters(), []);
    let metrics = bus.get_temporal_metrics();
    assert_eq!((metrics.dependency_waits, metrics.violations), (1, 0));
}

#[test]
fn every_one_of_several_causes_is_waited_for() {
    let (bus, _clock) = bus();
    let [mut a, mut b, mut c, mut d] = lanes(&bus);
    let mut next = subscribe(&bus, Order::Urgency);
    let causes = [b.next_id(), c.next_id(), d.next_id()];
    publish(&mut a, 1, &causes);
    for (lane, value) in [(&mut c, 3), (&mut d, 4), (&mut b, 2)] {
        assert_eq!(next(), None);
        publish(lane, value, &[]);
        assert_eq!(next(), Some(value));
    }
    assert_eq!(next(), Some(1));
}

#[test]
fn a_cause_that_never_comes_makes_a_dead_letter_with_both_ids() {
    let (bus, clock) = bus();
    let [mut a, b] = lanes(&bus);
    let mut next = subscribe(&bus, Order::Urgency);
    let cause = b.next_id();
    let effect = publish(&mut a, 1, &[cause]);
    publish(&mut a, 2, &[]);
    assert_eq!(next(), None);
    clock.advance(HOLD_MAX - Duration::from_nanos(1));
    assert_eq!(next(), None);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(next(), Some(2), "the lane goes on behind it");
    let letters = bus.dead_letters();
    assert_eq!(letters.len(), 1);
    let violation = &letters[0].violation;
    assert_eq!((violation.effect, violation.cause, violation.kind), (effect, cause, ViolationKind::Overdue));
    assert_eq!((violation.topic.as_str(), violation.held_ns), ("n", HOLD_MAX.as_nanos() as u64));
    assert_eq!(letters[0].header.id, effect);
    assert_eq!(postcard::from_bytes::<Number>(&letters[0].payload).unwrap(), number(1));
    let text = BusError::from(violation).to_string();
    let expected =
        format!("Temporal violation: packet {effect} on `n` names as its cause {cause}, which did not come within");
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn packets_that_wait_for_each_other_are_reported_at_once() {
    let (bus, _clock) = bus();
    let [mut a, mut b] = lanes(&bus);
    let mut next = subscribe(&bus, Order::Urgency);
    let (first, second) = (a.next_id(), b.next_id());
    publish(&mut a, 1, &[second]);
    publish(&mut b, 2, &[first]);
    let delivered = next().expect("with one of them gone, the other waits for nothing");
    assert_eq!(next(), None);
    let letters = bus.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].violation.kind, ViolationKind::Cyclic);
    let gone = letters[0].violation.effect;
    assert_eq!(BTreeSet::from([gone, letters[0].violation.cause]), BTreeSet::from([first, second]));
    assert_eq!(delivered, if gone == first { 2 } else { 1 });
}

#[test]
fn a_packet_cannot_follow_itself_or_a_later_one_of_its_lane() {
    let (bus, _clock) = bus();
    let [mut a] = lanes(&bus);
    let itself = a.next_id();
    let error = a.try_publish_caused(number(1), Attributes::default(), &[itself]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("Temporal violation: packet {itself} names as its cause {itself}, which comes after it")
    );
    assert_eq!(a.next_id(), itself, "nothing was published");
}

#[test]
fn a_sleeping_task_and_a_sleeping_thread_report_an_overdue_cause_unasked() {
    let bus = PhaseCoherenceBus::new(BusConfig {
        hold_max: Duration::from_millis(2),
        ..BusConfig::new(SystemClock::detect().unwrap())
    });
    bus.declare(TopicSpec::new::<Number>("n").capacity(64)).unwrap();
    let [mut a, b] = lanes(&bus);
    let missing = b.next_id();
    let mut task = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    let mut thread = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    publish(&mut a, 1, &[missing]);
    publish(&mut a, 2, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(task.recv()).1, number(2));
    assert_eq!(thread.wait(|_, n| n.value), 2);
    assert_eq!(bus.dead_letters().len(), 2, "one for each subscription");
}

/// With a timer of its own the world would have nothing to wait for, and stall.
#[test]
fn a_held_packet_waits_on_the_timer_that_the_bus_was_given() {
    let world = SimExecutor::new(1);
    let clock = SimClock::new(&world, 1_000, 0);
    let timer = Arc::new(world.clone());
    let bus = PhaseCoherenceBus::new(BusConfig { hold_max: HOLD_MAX, timer, ..BusConfig::new(clock) });
    bus.declare(TopicSpec::new::<Number>("n").capacity(64)).unwrap();
    let [mut a, b] = lanes(&bus);
    let missing = b.next_id();
    let mut task = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    publish(&mut a, 1, &[missing]);
    publish(&mut a, 2, &[]);
    assert_eq!(world.block_on(task.recv()).unwrap().1, number(2));
    assert_eq!(world.now(), HOLD_MAX);
}

#[derive(Clone, Debug)]
struct Planned {
    lane: usize,
    /// Into the list of earlier packets, and whether a packet that never comes is named instead.
    cause: Option<(usize, bool)>,
}

fn planned() -> impl Strategy<Value = Planned> {
    let cause = prop::option::weighted(0.7, (any::<usize>(), prop::bool::weighted(0.1)));
    (0..4usize, cause).prop_map(|(lane, cause)| Planned { lane, cause })
}

proptest! {
    /// Packets of four lanes arrive in an order that respects each lane but not their causes; some name causes that never come.
    #[test]
    fn reordered_packets_come_in_causal_order_and_every_violation_is_reported(
        plan in prop::collection::vec(planned(), 1..60),
        arrivals in prop::collection::vec((0..4usize, any::<bool>()), 0..120),
    ) {
        let (bus, clock) = bus();
        let mut publishers: [_; 4] = lanes(&bus);
        let lane_ids: Vec<LaneId> = publishers.iter().map(|lane| lane.next_id().lane).collect();
        let mut subscriber = bus
            .subscribe_any(&["n"], Interest::new().start(Start::Earliest), Arc::new(Doorbell::default()))
            .unwrap();
        // The packets in an order that does respect their causes, with their ids to be.
        let mut counts = [0; 4];
        let mut packets: Vec<(usize, MessageId, Option<MessageId>)> = Vec::new();
        let mut violations = BTreeSet::new();
        for Planned { lane, cause } in plan {
            let id = lane_ids[lane].message(counts[lane]);
            counts[lane] += 1;
            let cause = cause.and_then(|(pick, is_missing)| {
                let earlier = packets.get(pick % packets.len().max(1))?.1;
                let other = lane_ids[(lane + 1) % 4];
                Some(if is_missing { other.message(1_000) } else { earlier })
            });
            if let Some(cause) = cause && cause.seq == 1_000 {
                violations.insert((id, cause));
            }
            packets.push((lane, id, cause));
        }
        let mut queues: [std::collections::VecDeque<_>; 4] = Default::default();
        for (lane, id, cause) in &packets {
            queues[*lane].push_back((*id, *cause));
        }
        let mut delivered = Vec::new();
        let mut arrive = |lane: usize, queues: &mut [std::collections::VecDeque<(MessageId, Option<MessageId>)>; 4]| {
            let Some((id, cause)) = queues[lane].pop_front() else { return };
            let causes: Vec<_> = cause.into_iter().collect();
            assert_eq!(publish(&mut publishers[lane], 0, &causes), id);
        };
        for (lane, polls) in arrivals {
            arrive(lane, &mut queues);
            if polls && let Some((_, header, _)) = subscriber.peek() {
                delivered.push(*header);
                subscriber.advance();
            }
        }
        for lane in 0..4 {
            while !queues[lane].is_empty() {
                arrive(lane, &mut queues);
            }
        }
        // Every hold ends: each turn gives up what is overdue and delivers what that frees.
        for _ in 0..=packets.len() {
            while let Some((_, header, _)) = subscriber.peek() {
                delivered.push(*header);
                subscriber.advance();
            }
            clock.advance(HOLD_MAX);
        }
        let letters = bus.dead_letters();
        let reported: BTreeSet<_> = letters.iter().map(|l| (l.violation.effect, l.violation.cause)).collect();
        prop_assert_eq!(&reported, &violations);
        prop_assert_eq!(delivered.len() + letters.len(), packets.len(), "every packet is delivered or reported");
        let mut passed: BTreeSet<MessageId> = violations.iter().map(|(effect, _)| *effect).collect();
        for header in delivered {
            prop_assert!(header.cause.is_none_or(|cause| passed.contains(&cause)), "{} before {:?}", header.id, header.cause);
            prop_assert!(passed.insert(header.id), "{} twice", header.id);
        }
    }
}
