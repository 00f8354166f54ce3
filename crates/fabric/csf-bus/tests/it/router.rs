//! FAB-060, FAB-062 to FAB-064: erased packets, now and later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use csf_bus::{BusConfig, HardwareRouter, PhaseCoherenceBus, RouterParts};
use csf_core::port::{EventBusRx, TimeCheckpoint, TimeSource};
use csf_core::{BusError, ComponentId, MessageId, NanoTime, PhasePacket, Priority, TimeResult};
use csf_time::SimulatedClock;
use futures_util::FutureExt;

const SOURCE: ComponentId = ComponentId::custom(1);
const START: u64 = 1_000_000;

fn bus() -> (PhaseCoherenceBus, Arc<SimulatedClock>) {
    let clock = SimulatedClock::starting_at(NanoTime::from_nanos(START));
    (PhaseCoherenceBus::new(BusConfig::new(clock.clone())), clock)
}

fn receiver(bus: &PhaseCoherenceBus) -> csf_bus::Receiver<u64> {
    EventBusRx::subscribe::<u64>(bus).now_or_never().unwrap().unwrap()
}

fn received(receiver: &mut csf_bus::Receiver<u64>) -> Vec<u64> {
    std::iter::from_fn(|| receiver.try_recv().map(|delivery| delivery.payload)).collect()
}

fn at(ns: u64) -> NanoTime {
    NanoTime::from_nanos(START + ns)
}

#[test]
fn it_routes_without_any_one_of_its_parts() {
    let all = RouterParts::default();
    let without = [
        all,
        RouterParts { tsc: false, ..all },
        RouterParts { hlc: false, ..all },
        RouterParts { simd: false, ..all },
        RouterParts { tsc: false, hlc: false, simd: false },
    ];
    for parts in without {
        let (bus, clock) = bus();
        let router = HardwareRouter::new(&bus, parts).unwrap();
        let mut subscriber = receiver(&bus);
        router.route(Box::new(PhasePacket::new(1u64, SOURCE))).unwrap();
        router.route_at(Box::new(PhasePacket::new(2u64, SOURCE)), at(10)).unwrap();
        assert!(router.route(Box::new(PhasePacket::new("nobody asked", SOURCE))).is_err());
        clock.advance(Duration::from_nanos(10));
        assert_eq!(router.process_pending_messages().unwrap(), 1);
        assert_eq!(received(&mut subscriber), [1, 2], "{parts:?}");
        let stats = router.get_stats();
        assert_eq!((stats.messages_routed, stats.routing_failures), (2, 1));
        assert_eq!((stats.active_routes, stats.total_subscribers), (1, 1));
        assert_eq!(stats.total_latency_tsc > 0, parts.tsc, "a standing clock measures nothing");
    }
}

#[test]
fn pending_packets_go_by_time_priority_and_arrival() {
    let (bus, clock) = bus();
    let router = HardwareRouter::new(&bus, RouterParts { tsc: false, ..RouterParts::default() }).unwrap();
    let mut subscriber = receiver(&bus);
    let pending: [(u64, u64, Priority); 5] = [
        (5, 30, Priority::Normal),
        (3, 20, Priority::Low),
        (2, 20, Priority::High),
        (4, 20, Priority::Low),
        (1, 10, Priority::Low),
    ];
    for (value, ns, priority) in pending {
        router.route_at(Box::new(PhasePacket::new(value, SOURCE).with_priority(priority)), at(ns)).unwrap();
    }
    assert_eq!((router.process_pending_messages().unwrap(), router.pending()), (0, 5), "nothing is due");
    clock.advance(Duration::from_nanos(20));
    assert_eq!((router.process_pending_messages().unwrap(), router.pending()), (4, 1));
    clock.advance(Duration::from_nanos(10));
    assert_eq!(router.process_pending_messages().unwrap(), 1);
    assert_eq!(received_by_id(&mut subscriber), [1, 2, 3, 4, 5]);
}

/// In the order of publication, whatever the receiver's own order.
fn received_by_id(receiver: &mut csf_bus::Receiver<u64>) -> Vec<u64> {
    let mut all: Vec<(MessageId, u64)> =
        std::iter::from_fn(|| receiver.try_recv().map(|delivery| (delivery.id, delivery.payload))).collect();
    all.sort_unstable();
    all.into_iter().map(|(_, value)| value).collect()
}

/// FAB-062: dependencies that arrive late.
#[test]
fn a_pending_packet_waits_for_its_dependencies_and_is_given_up_in_the_end() {
    let (bus, clock) = bus();
    let router = HardwareRouter::new(&bus, RouterParts { tsc: false, ..RouterParts::default() }).unwrap();
    let mut subscriber = receiver(&bus);
    let first = router.route(Box::new(PhasePacket::new(0u64, SOURCE))).unwrap();
    let next = first.lane.message(first.seq + 1);
    let mut late = PhasePacket::new(2u64, SOURCE);
    late.add_temporal_correlation(vec![first, next]);
    router.route_at(Box::new(late), at(0)).unwrap();
    let mut never = PhasePacket::new(9u64, SOURCE);
    never.add_temporal_correlation(vec![first.lane.message(1_000)]);
    router.route_at(Box::new(never), at(0)).unwrap();
    assert_eq!((router.process_pending_messages().unwrap(), router.pending()), (0, 2));
    router.route(Box::new(PhasePacket::new(1u64, SOURCE))).unwrap();
    assert_eq!((router.process_pending_messages().unwrap(), router.pending()), (1, 1));
    assert_eq!(received(&mut subscriber), [0, 1, 2]);
    clock.advance(bus.config().hold_max);
    assert_eq!((router.process_pending_messages().unwrap(), router.pending()), (0, 0));
    let letters = bus.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].violation.cause, first.lane.message(1_000));
}

/// A clock on which every reading takes 2 µs.
struct SlowClock(AtomicU64);

impl TimeSource for SlowClock {
    fn now_ns(&self) -> TimeResult<NanoTime> {
        Ok(NanoTime::from_nanos(self.0.fetch_add(2_000, Ordering::Relaxed)))
    }

    fn has_hardware_timing(&self) -> bool {
        false
    }

    fn create_checkpoint(&self, name: &str) -> TimeResult<TimeCheckpoint> {
        Ok(TimeCheckpoint { name: name.to_owned(), time: self.now_ns()?, sequence: 0 })
    }
}

/// FAB-064: 2 µs a route.
#[test]
fn a_delay_of_two_microseconds_makes_it_unhealthy() {
    let parts = RouterParts { tsc: false, ..RouterParts::default() };
    let (idle, _clock) = bus();
    let healthy = HardwareRouter::new(&idle, parts).unwrap();
    assert!(healthy.is_healthy());
    let _subscriber = receiver(&idle);
    healthy.route(Box::new(PhasePacket::new(1u64, SOURCE))).unwrap();
    assert!(healthy.is_healthy());

    let bus = PhaseCoherenceBus::new(BusConfig::new(Arc::new(SlowClock(AtomicU64::new(START)))));
    let router = HardwareRouter::new(&bus, parts).unwrap();
    let _subscriber = receiver(&bus);
    router.route(Box::new(PhasePacket::new(1u64, SOURCE))).unwrap();
    assert!(router.calculate_avg_latency_ns() >= 2_000);
    assert!(!router.is_healthy());
    drop(bus);
    let gone = router.route(Box::new(PhasePacket::new(1u64, SOURCE)));
    assert!(matches!(gone, Err(BusError::DeliveryFailed { .. })), "it holds the bus weakly");
}
