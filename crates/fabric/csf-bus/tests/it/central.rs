//! AVI-060: handlers by topic; INT-005: senders with clocks of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use csf_bus::{BusConfig, CentralMessageBus, Interest, Order, Start, TemporalCoordinationBus};
use csf_core::port::LaneKind;
use csf_core::{Attributes, Stamp};

use super::{Number, bus, bus_with, number};

#[test]
fn handlers_get_what_their_topic_carries_and_may_publish_themselves() {
    let bus = bus();
    let central = Arc::new(CentralMessageBus::new(&bus).unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (again, log) = (Arc::downgrade(&central), seen.clone());
    central.subscribe("vortex_detection", move |strength: &f64| {
        log.lock().unwrap().push(format!("vortex {strength}"));
        if let Some(central) = again.upgrade() {
            central.publish("recovery_command", format!("pull out at {strength}")).unwrap();
        }
    });
    let log = seen.clone();
    central.subscribe("recovery_command", move |command: &String| log.lock().unwrap().push(command.clone()));
    central.publish("vortex_detection", 0.7).unwrap();
    central.publish("vortex_detection", "of another type").unwrap();
    central.publish("nobody_listens", 1u8).unwrap();
    assert_eq!(central.process_messages(), 4, "what the handler published is handled too");
    assert_eq!(*seen.lock().unwrap(), ["vortex 0.7", "pull out at 0.7"]);
    drop(bus);
    assert!(central.publish("vortex_detection", 0.7).is_err(), "it holds the bus weakly");
}

#[test]
fn threads_publish_subscribe_and_process_at_once() {
    const EACH: u64 = 500;
    let bus = csf_bus::PhaseCoherenceBus::new(BusConfig::default());
    let central = Arc::new(CentralMessageBus::new(&bus).unwrap());
    let (sum, echoes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (total, weak) = (sum.clone(), Arc::downgrade(&central));
    central.subscribe("n", move |n: &u64| {
        total.fetch_add(*n, Ordering::Relaxed);
        if let Some(central) = weak.upgrade() {
            // A full queue is an answer too.
            let _ = central.publish("echo", *n);
        }
    });
    let count = echoes.clone();
    central.subscribe("echo", move |_: &u64| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 1..=EACH {
                    while central.publish("n", n).is_err() {
                        central.process_messages();
                    }
                }
            });
        }
        scope.spawn(|| {
            for i in 0..EACH {
                central.subscribe(&format!("other {i}"), |_: &u64| {});
                central.process_messages();
            }
        });
    });
    central.process_messages();
    assert_eq!(sum.load(Ordering::Relaxed), 2 * EACH * (EACH + 1) / 2);
    assert!(echoes.load(Ordering::Relaxed) > 0);
}

/// INT-005: a sender whose clock is 1 s ahead, and one whose clock is 1 s behind.
#[test]
fn a_foreign_clock_a_second_off_moves_no_order_inside() {
    const SECOND: u64 = 1_000_000_000;
    let bus = bus_with(64);
    let now = 5 * SECOND;
    // The test bus's clock stands at 1 ms; the sessions are judged by it.
    let edge = TemporalCoordinationBus::new(bus.clone());
    let mut inside = bus.publisher::<Number>("n", "inside", LaneKind::Source).unwrap();
    let mut reader =
        bus.subscribe_any(&["n"], Interest::new().start(Start::Earliest).order(Order::Stamp), Arc::default()).unwrap();
    let mut ahead = edge.open::<Number>("ahead", "n").unwrap();
    let mut behind = edge.open::<Number>("behind", "n").unwrap();
    let request = inside.try_publish(number(0), Attributes::default()).unwrap();
    let request_stamp = inside.last_stamp();
    ahead.publish(number(1), now + SECOND, Some(Stamp(request_stamp.as_nanos() + SECOND))).unwrap();
    behind.publish(number(2), 0, Some(request_stamp)).unwrap();
    let answer = inside.try_publish_caused(number(3), Attributes::default(), &[request]).unwrap();
    let mut seen = Vec::new();
    while let Some((_, header, _)) = reader.peek() {
        assert!(header.stamp.as_nanos() < 2_000_000, "no stamp inside follows a foreign clock: {header:?}");
        seen.push(header.id);
        reader.advance();
    }
    assert_eq!(seen.len(), 4);
    let place = |id| seen.iter().position(|seen| *seen == id).unwrap();
    assert!(place(request) < place(answer));
    assert_eq!((ahead.refused(), behind.refused()), (1, 0));
    assert!(bus.dead_letters().is_empty());
    assert!(behind.offset_ns().unwrap() >= 1_000_000 && ahead.offset_ns().unwrap() < 0);
}
