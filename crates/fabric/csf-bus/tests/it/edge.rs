//! The bus by Rust type: FAB-010 to FAB-026.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use csf_bus::{BusConfig, DowncastPacket, PhaseCoherenceBus, Receiver};
use csf_core::port::{EventBusRx, EventBusTx, PacketRouter, SubscriptionId};
use csf_core::{AnyPacket, BusError, ComponentId, NanoTime, PhasePacket, Priority, QuantumOffset, Stamp, TraceSpan};
use csf_sim::init_test_environment;
use csf_time::SystemClock;
use futures_util::FutureExt;
use tokio::runtime::{Builder, Runtime};

const SOURCE: ComponentId = ComponentId::custom(1);

#[derive(Clone, Debug, PartialEq)]
struct Reading {
    value: f32,
}

fn bus() -> PhaseCoherenceBus {
    let clock = init_test_environment();
    clock.advance(Duration::from_millis(1));
    PhaseCoherenceBus::new(BusConfig { channel_buffer_size: 8, ..BusConfig::new(clock) })
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn packet(value: f32) -> PhasePacket<Reading> {
    PhasePacket::new(Reading { value }, SOURCE)
}

/// A future that is ready at once.
fn now<R>(future: impl Future<Output = R>) -> R {
    future.now_or_never().expect("it has nothing to wait for")
}

fn receiver<T: csf_core::port::Payload>(bus: &PhaseCoherenceBus) -> Receiver<T> {
    now(bus.subscribe::<T>()).unwrap()
}

/// FAB-010, FAB-014, FAB-018: one packet, in one place, with everything filled in.
#[test]
fn two_subscribers_observe_one_packet() {
    let bus = bus();
    let (mut one, mut two) = (receiver::<Reading>(&bus), receiver::<Reading>(&bus));
    let span = TraceSpan { trace_id: 7, span_id: 9, is_sampled: true };
    let offset = QuantumOffset::new(0.5, 1_000.0, 1.0).unwrap();
    let mut sent = PhasePacket::with_quantum_optimization(Reading { value: 23.5 }, offset)
        .with_source(SOURCE)
        .with_priority(Priority::High)
        .with_trace_span(span);
    let earlier = now(bus.publish(packet(1.0))).unwrap();
    sent.add_temporal_correlation(vec![earlier]);
    let id = now(bus.publish(sent)).unwrap();
    for receiver in [&mut one, &mut two] {
        assert_eq!(receiver.try_recv().unwrap().id, earlier);
    }
    let (first, second) = (one.try_recv().unwrap(), two.try_recv().unwrap());
    assert!(std::ptr::eq(&raw const first.payload, &raw const second.payload), "nothing was copied");
    assert_eq!((first.id, first.trace_span, first.payload.value), (id, span, 23.5));
    assert_eq!(first.timestamp.physical, 1_000_001, "the second stamp of a standing clock");
    assert_eq!(first.quantum_correlation.causal_dependencies, [earlier]);
    assert_eq!(first.quantum_correlation.quantum_offset, offset);
    // 1 ms at 1 kHz is one cycle, and the phase is where it began.
    assert!((first.quantum_correlation.temporal_phase - 1.0).abs() < 1e-4, "{first:?}");
}

/// FAB-018: 64 subscribers, and nobody clones.
#[test]
fn delivery_never_clones() {
    struct Unclonable;
    impl Clone for Unclonable {
        fn clone(&self) -> Self {
            panic!("cloned")
        }
    }
    let bus = bus();
    let mut receivers: Vec<_> = (0..64).map(|_| receiver::<Unclonable>(&bus)).collect();
    assert_eq!(bus.subscriber_count::<Unclonable>(), 64);
    now(bus.publish(PhasePacket::new(Unclonable, SOURCE))).unwrap();
    assert!(receivers.iter_mut().all(|receiver| receiver.try_recv().is_some()));
    assert_eq!(bus.get_stats().packets_delivered, 64);
}

/// FAB-017.
#[test]
fn a_mixed_queue_returns_every_packet_to_its_type_in_its_place() {
    let words = Arc::new(PhasePacket::new("a".to_owned(), SOURCE));
    let numbers = Arc::new(PhasePacket::new(7u64, SOURCE));
    let queue: Vec<Arc<AnyPacket>> = vec![words.clone(), numbers.clone()];
    let [first, second] = <[_; 2]>::try_from(queue).ok().unwrap();
    let first = first.downcast_packet::<u64>().unwrap_err();
    assert!(Arc::ptr_eq(&first.downcast_packet::<String>().unwrap(), &words));
    assert!(Arc::ptr_eq(&second.downcast_packet::<u64>().unwrap(), &numbers));

    let bus = bus();
    let mut strings = receiver::<String>(&bus);
    let mut counts = receiver::<u64>(&bus);
    let mixed: Vec<Box<AnyPacket>> =
        vec![Box::new(PhasePacket::new(5u64, SOURCE)), Box::new(PhasePacket::new("b".to_owned(), SOURCE))];
    for packet in mixed {
        bus.route(packet).unwrap();
    }
    let delivery = strings.try_recv().unwrap();
    let erased: &dyn Any = &delivery.erased().payload;
    assert_eq!(erased.downcast_ref::<String>().map(String::as_str), Some("b"));
    assert_eq!(counts.try_recv().unwrap().payload, 5);
    let stranger = bus.route(Box::new(PhasePacket::new('c', SOURCE))).unwrap_err();
    assert!(matches!(stranger, BusError::DeliveryFailed { .. }));
}

/// A payload that somebody else counts travels as it is.
#[test]
fn a_foreign_arc_arrives_as_the_same_arc() {
    let bus = bus();
    let mut subscriber = receiver::<Arc<Reading>>(&bus);
    let shared = Arc::new(Reading { value: 1.0 });
    now(bus.publish(PhasePacket::new(shared.clone(), SOURCE))).unwrap();
    assert!(Arc::ptr_eq(&subscriber.try_recv().unwrap().payload, &shared));
}

/// FAB-021, FAB-025: a full route refuses at once, and the books balance.
#[test]
fn a_full_route_drops_and_counts() {
    let bus = bus();
    let mut slow = receiver::<Reading>(&bus);
    let refused = (0..20u8).filter(|i| bus.try_publish(packet(f32::from(*i))).is_err()).count();
    assert_eq!(refused, 12, "the route has 8 slots");
    let error = bus.try_publish(packet(0.0)).unwrap_err();
    assert!(matches!(error, BusError::ResourceExhausted { .. }), "{error}");
    assert!(now(bus.publish_batch(vec![packet(0.0), packet(1.0)])).is_err());
    assert_eq!(slow.try_recv().unwrap().payload.value, 0.0);
    let (stats, queued) = (bus.get_stats(), slow.lag());
    assert_eq!((stats.packets_published, stats.packets_delivered, queued), (23, 1, 7));
    assert_eq!(stats.packets_dropped, stats.packets_published - stats.packets_delivered - queued);
}

#[test]
fn a_batch_keeps_its_order_and_its_ids_follow_each_other() {
    let bus = bus();
    let mut subscriber = receiver::<Reading>(&bus);
    let ids = now(bus.publish_batch((0..5u8).map(|i| packet(f32::from(i))).collect())).unwrap();
    assert!(ids.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
    for (i, id) in (0..5u8).zip(ids) {
        let delivery = subscriber.try_recv().unwrap();
        assert_eq!((delivery.id, delivery.payload.value), (id, f32::from(i)));
    }
}

/// FAB-022.
#[test]
fn filters_run_before_queueing_and_subscriptions_end_by_number() {
    let bus = bus();
    let mut filtered = now(bus.subscribe_filtered(|p: &PhasePacket<Reading>| p.payload.value > 900.0)).unwrap();
    for i in 0..1000u16 {
        bus.try_publish(packet(f32::from(i))).expect("rejected packets use no slot");
        if i > 900 {
            assert_eq!(filtered.try_recv().unwrap().payload.value, f32::from(i));
        }
    }
    let id = filtered.id();
    assert_eq!((bus.active_subscriptions(), bus.subscription_count()), (vec![id], 1));
    let unknown = SubscriptionId(99);
    let error = bus.unsubscribe::<Reading>(unknown).unwrap_err();
    assert_eq!(error, BusError::SubscriptionNotFound { subscription_id: 99 });
    assert!(bus.unsubscribe::<u64>(id).is_err(), "the number is another type's");
    bus.try_publish(packet(1_000.0)).unwrap();
    bus.unsubscribe::<Reading>(id).unwrap();
    assert!(bus.unsubscribe::<Reading>(id).is_err(), "it has ended");
    assert_eq!(now(filtered.recv()).map(|d| d.payload.value), Some(1_000.0), "what was there is still read");
    assert!(now(filtered.recv()).is_none());
}

/// FAB-024: rejected twice, accepted once.
#[test]
fn a_guaranteed_packet_comes_again_until_it_is_accepted() {
    let bus = bus();
    let mut subscriber = receiver::<Reading>(&bus);
    let sent = bus.publish(packet(7.0).with_guaranteed_delivery(3).with_timeout(u64::MAX));
    let mut seen = Vec::new();
    let handling = async {
        for attempt in 0..3 {
            let delivery = subscriber.recv().await.unwrap();
            seen.push(delivery.id);
            if attempt < 2 {
                delivery.reject("not yet");
            }
        }
        assert!(subscriber.try_recv().is_none(), "it came once only after it was accepted");
    };
    let (sent, ()) = runtime().block_on(async { tokio::join!(sent, handling) });
    assert_eq!(seen, [sent.unwrap(); 3]);
}

#[test]
fn a_guaranteed_packet_that_is_rejected_too_often_fails_with_the_reason() {
    let bus = bus();
    let mut subscriber = receiver::<Reading>(&bus);
    let sent = bus.publish(packet(7.0).with_guaranteed_delivery(1).with_timeout(u64::MAX));
    let attempts = AtomicUsize::new(0);
    let handling = async {
        for _ in 0..2 {
            attempts.fetch_add(1, Ordering::Relaxed);
            subscriber.recv().await.unwrap().reject("sensor off");
        }
    };
    let (sent, ()) = runtime().block_on(async { tokio::join!(sent, handling) });
    let text = sent.unwrap_err().to_string();
    assert!(text.contains("rejected it 2 times: sensor off"), "{text}");
    assert!(subscriber.try_recv().is_none(), "the stream goes on without it");
}

#[test]
fn a_guaranteed_packet_that_nobody_takes_in_time_fails() {
    let clock = SystemClock::detect().unwrap();
    let bus = PhaseCoherenceBus::new(BusConfig { channel_buffer_size: 2, ..BusConfig::new(clock) });
    let _idle = receiver::<Reading>(&bus);
    let guaranteed = |value| packet(value).with_guaranteed_delivery(3).with_timeout(2_000_000);
    let runtime = runtime();
    let unread = runtime.block_on(bus.publish(guaranteed(1.0))).unwrap_err();
    assert!(unread.to_string().contains("was not accepted by every subscriber within 2000000 ns"), "{unread}");
    bus.try_publish(packet(2.0)).unwrap();
    let no_room = runtime.block_on(bus.publish(guaranteed(3.0))).unwrap_err();
    assert!(no_room.to_string().contains("there was no room within 2000000 ns"), "{no_room}");
}

#[test]
fn a_subscriber_that_leaves_is_not_waited_for() {
    let bus = bus();
    let leaving = receiver::<Reading>(&bus);
    let sent = bus.publish(packet(7.0).with_guaranteed_delivery(3).with_timeout(u64::MAX));
    let (sent, ()) = runtime().block_on(async { tokio::join!(sent, async { drop(leaving) }) });
    sent.unwrap();
}

/// FAB-020: many threads, nothing lost.
#[test]
fn sixteen_publishers_and_sixteen_subscribers_lose_no_guaranteed_packet() {
    const EACH: u32 = 20;
    let bus = PhaseCoherenceBus::new(BusConfig { channel_buffer_size: 8, ..BusConfig::default() });
    let runtime = Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let subscribers: Vec<_> = (0..16)
        .map(|_| {
            let mut subscriber = receiver::<(u32, u32)>(&bus);
            runtime.spawn(async move {
                let mut next = [0; 16];
                for _ in 0..16 * EACH {
                    let delivery = subscriber.recv().await.unwrap();
                    let (publisher, number) = delivery.payload;
                    assert_eq!(number, std::mem::replace(&mut next[publisher as usize], number + 1), "in order, once");
                }
            })
        })
        .collect();
    let publishers: Vec<_> = (0..16u32)
        .map(|publisher| {
            let bus = bus.clone();
            runtime.spawn(async move {
                for number in 0..EACH {
                    let packet = PhasePacket::new((publisher, number), SOURCE);
                    bus.publish(packet.with_guaranteed_delivery(0).with_timeout(u64::MAX)).await.unwrap();
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for task in publishers.into_iter().chain(subscribers) {
            task.await.unwrap();
        }
    });
    assert_eq!(bus.get_stats().packets_delivered, 16 * 16 * u64::from(EACH));
}

/// FAB-022, FAB-026: receivers end with the bus, and who holds the bus weakly does not keep it.
#[test]
fn receivers_end_with_the_bus() {
    let bus = bus();
    let weak = bus.downgrade();
    let mut subscriber = receiver::<Reading>(&bus);
    bus.try_publish(packet(1.0)).unwrap();
    assert!(weak.upgrade().is_some());
    drop(bus);
    assert!(weak.upgrade().is_none());
    assert!(now(subscriber.recv()).is_some());
    assert!(now(subscriber.recv()).is_none());
}

#[test]
fn dropped_receivers_leave_nothing_behind() {
    let bus = bus();
    for _ in 0..10_000 {
        drop(receiver::<Reading>(&bus));
    }
    assert_eq!((bus.subscription_count(), bus.subscriber_count::<Reading>()), (0, 0));
    assert_eq!(bus.get_stats().active_subscriptions, 0);
}

/// FAB-012, FAB-023: targets and deadlines of a packet are the header's.
#[test]
fn targets_and_deadlines_hold_at_the_edge_too() {
    let bus = bus();
    let mut third = bus.receiver::<Reading>(csf_bus::Interest::new().mask(1 << 3)).unwrap();
    now(bus.publish(packet(1.0).with_targets(1 << 5))).unwrap();
    now(bus.publish_with_deadline(packet(2.0).with_targets(1 << 3 | 1 << 5), NanoTime::from_nanos(5))).unwrap();
    let delivery = third.try_recv().unwrap();
    assert_eq!(delivery.payload.value, 2.0);
    assert_eq!(delivery.routing_metadata.deadline_ns.map(|d| Stamp(d.as_nanos())), Some(Stamp(5)));
    drop(delivery);
    assert!(third.try_recv().is_none());
    assert_eq!(bus.get_temporal_metrics().delivered_late, 1);
}

/// FAB-013, FAB-061: who sleeps is woken by what addresses it, whatever instructions find that out.
#[test]
fn sleepers_are_woken_by_what_addresses_them_whatever_the_instructions() {
    for (accelerated, simd_flags) in [(false, 0xFF), (true, 0), (true, 1), (true, 2), (true, 0xFF)] {
        let bus = bus();
        let runtime = runtime();
        let tasks: Vec<_> = (0..64)
            .map(|bit| {
                let mut receiver = bus.receiver::<Reading>(csf_bus::Interest::new().mask(1 << bit)).unwrap();
                runtime.spawn(async move { receiver.recv().await.unwrap().payload.value })
            })
            .collect();
        runtime.block_on(async {
            tokio::task::yield_now().await;
            for bit in (0..64u8).rev() {
                let mut packet = packet(f32::from(bit)).with_targets(1 << bit);
                let options = &mut packet.routing_metadata.delivery_options;
                (options.use_hardware_acceleration, options.simd_flags) = (accelerated, simd_flags);
                while bus.try_publish(packet.clone()).is_err() {
                    tokio::task::yield_now().await;
                }
            }
            for (bit, task) in (0..64u8).zip(tasks) {
                assert_eq!(task.await.unwrap(), f32::from(bit));
            }
        });
    }
}
