//! Subscribers that leave in the middle of a packet, by whatever way there is: the others lose nothing, and nobody waits for the one gone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, Receiver, Subscriber};
use csf_core::port::{EventBusRx, EventBusTx, LaneKind};
use csf_core::{Attributes, BusError, ComponentId, PhasePacket};
use futures_util::FutureExt;
use tokio::runtime::Builder;

use super::{Number, bus, bus_with, number};

const PACKETS: u64 = 5_000;

fn edge() -> PhaseCoherenceBus {
    PhaseCoherenceBus::new(BusConfig { channel_buffer_size: 8, ..bus().config().clone() })
}

fn packet(value: u64) -> PhasePacket<u64> {
    PhasePacket::new(value, ComponentId::custom(1))
}

fn receiver(bus: &PhaseCoherenceBus) -> Receiver<u64> {
    bus.subscribe().now_or_never().unwrap().unwrap()
}

/// Publishes at the edge until all is out, giving way while there is no room.
fn publish_all(bus: &PhaseCoherenceBus) {
    for value in 0..PACKETS {
        while bus.try_publish(packet(value)).is_err() {
            thread::yield_now();
        }
    }
}

/// Reads everything on a thread of its own.
fn resident(bus: &PhaseCoherenceBus) -> thread::JoinHandle<()> {
    let mut receiver = receiver(bus);
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for value in 0..PACKETS {
                assert_eq!(receiver.recv().await.unwrap().payload, value, "a resident misses nothing");
            }
        });
    })
}

/// FAB-022: it holds a packet while it ends its own subscription; it is told once, yields what was there, then ends.
#[test]
fn a_receiver_that_unsubscribes_itself_in_its_handler_ends_after_what_was_there() {
    let bus = edge();
    let (mut leaving, mut staying) = (receiver(&bus), receiver(&bus));
    for value in 0..5 {
        bus.try_publish(packet(value)).unwrap();
    }
    let (id, mut seen) = (leaving.id(), Vec::new());
    while let Some(delivery) = leaving.recv().now_or_never().expect("it has nothing to wait for") {
        seen.push(delivery.payload);
        if delivery.payload == 2 {
            bus.unsubscribe::<u64>(id).unwrap();
            let again = bus.unsubscribe::<u64>(id).unwrap_err();
            assert!(matches!(again, BusError::SubscriptionNotFound { .. }), "{again}");
        }
    }
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    drop(leaving);
    assert_eq!(bus.subscriber_count::<u64>(), 1);
    let seen: Vec<_> = std::iter::from_fn(|| staying.try_recv().map(|delivery| delivery.payload)).collect();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}

/// The same under load, with residents and a full lane.
#[test]
fn receivers_that_leave_in_their_handlers_cost_the_others_nothing() {
    let bus = edge();
    let residents = [resident(&bus), resident(&bus)];
    let leaving: Vec<_> = (0..8)
        .map(|own| {
            let (bus, mut receiver) = (bus.clone(), receiver(&bus));
            thread::spawn(move || {
                let runtime = Builder::new_current_thread().build().unwrap();
                runtime.block_on(async move {
                    let id = receiver.id();
                    for value in 0.. {
                        let delivery = receiver.recv().await.unwrap();
                        assert_eq!(delivery.payload, value);
                        if value == 100 * (own + 1) {
                            if own % 2 == 0 {
                                bus.unsubscribe::<u64>(id).unwrap();
                            }
                            // The packet it holds is given back, and then it is gone.
                            drop(delivery);
                            return;
                        }
                    }
                });
            })
        })
        .collect();
    publish_all(&bus);
    leaving.into_iter().chain(residents).for_each(|thread| thread.join().unwrap());
    assert_eq!((bus.subscription_count(), bus.subscriber_count::<u64>()), (0, 0));
}

/// A filter runs in the middle of everything: on the reader's thread, and on the publisher's, under the route's lock.
#[test]
fn a_receiver_whose_filter_unsubscribes_it_does_not_hang_the_route() {
    let bus = edge();
    let own = Arc::new(Mutex::new(None));
    let filter = {
        let (bus, own) = (bus.downgrade(), own.clone());
        move |packet: &PhasePacket<u64>| {
            if packet.payload == 20
                && let Some(id) = own.lock().unwrap().take()
            {
                bus.upgrade().unwrap().unsubscribe::<u64>(id).unwrap();
            }
            packet.payload >= 100
        }
    };
    let mut leaving = bus.subscribe_filtered(filter).now_or_never().unwrap().unwrap();
    *own.lock().unwrap() = Some(leaving.id());
    let mut staying = receiver(&bus);
    // Nobody but the publisher runs the filter, when the lane is full of what it rejects.
    for value in 0..40 {
        bus.try_publish(packet(value)).expect("rejected packets hold no slot");
        assert_eq!(staying.try_recv().unwrap().payload, value);
    }
    assert!(own.lock().unwrap().is_none(), "the filter ran");
    assert_eq!(bus.active_subscriptions(), [staying.id()]);
    assert!(leaving.recv().now_or_never().expect("it has ended").is_none());
}

/// A packet that carries a receiver of its own route: until somebody takes it out, it waits for the very packet it lies in.
#[test]
fn a_receiver_may_be_dropped_by_the_handler_of_the_packet_it_lies_in() {
    #[derive(Default)]
    struct Holder(Mutex<Option<Receiver<Self>>>);
    impl Clone for Holder {
        fn clone(&self) -> Self {
            panic!("the bus clones nothing")
        }
    }
    let bus = edge();
    let publish = |holder| bus.try_publish(PhasePacket::new(Holder(Mutex::new(holder)), ComponentId::custom(1)));
    let mut staying = bus.receiver::<Holder>(Interest::new()).unwrap();
    let leaving = bus.receiver::<Holder>(Interest::new()).unwrap();
    publish(Some(leaving)).unwrap();
    for _ in 0..7 {
        publish(None).unwrap();
    }
    assert!(matches!(publish(None), Err(BusError::ResourceExhausted { .. })), "nobody has read anything");
    let taken = staying.try_recv().unwrap().payload.0.lock().unwrap().take();
    assert!(publish(None).is_err(), "what was taken out still has to read");
    drop(taken);
    for _ in 0..7 {
        assert!(staying.try_recv().unwrap().payload.0.lock().unwrap().is_none());
    }
    for _ in 0..20 {
        publish(None).unwrap();
        assert!(staying.try_recv().is_some());
    }
    assert_eq!(bus.subscriber_count::<Holder>(), 1);
}

/// The hot path: readers that are dropped after the handler that decided so, between the packets of a batch, and as tasks that abort
/// themselves while a handler runs.
#[test]
fn subscribers_that_leave_in_their_handlers_cost_the_others_nothing() {
    let bus = bus_with(8);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let subscriber = || bus.subscriber::<Number>("n", Interest::new()).unwrap();
    let residents = [(); 2].map(|()| {
        let mut subscriber = subscriber();
        thread::spawn(move || (0..PACKETS).for_each(|value| assert_eq!(subscriber.wait(|_, n| n.value), value)))
    });
    let at_once: Vec<_> = (1..5)
        .map(|own| {
            let mut subscriber = subscriber();
            thread::spawn(move || {
                // Its last packet is the one whose handler says so.
                while subscriber.wait(|_, n| n.value) < own * 100 {}
                drop(subscriber);
            })
        })
        .collect();
    let in_a_batch = thread::spawn({
        let mut subscriber = subscriber();
        move || {
            let mut is_over = false;
            while !is_over {
                subscriber.wait_batch(4, |_, n| is_over |= n.value >= 300);
            }
        }
    });
    let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let aborting = aborts_itself(&runtime, subscriber());
    for value in 0..PACKETS {
        while publisher.try_publish(number(value), Attributes::default()).is_err() {
            thread::yield_now();
        }
    }
    at_once.into_iter().chain(residents).chain([in_a_batch]).for_each(|thread| thread.join().unwrap());
    assert!(runtime.block_on(aborting).unwrap_err().is_cancelled());
    assert_eq!(bus.topic("n").unwrap().subscriber_count(), 0);
}

/// A task whose handler aborts it: the runtime drops the subscriber where the task waits next.
fn aborts_itself(runtime: &tokio::runtime::Runtime, mut subscriber: Subscriber<Number>) -> tokio::task::JoinHandle<()> {
    let handle = Arc::new(Mutex::new(None::<tokio::task::AbortHandle>));
    let own = handle.clone();
    let started = Arc::new(AtomicBool::new(false));
    let is_started = started.clone();
    let task = runtime.spawn(async move {
        while !is_started.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        loop {
            subscriber
                .recv_with(|_, n| {
                    if n.value == 500 {
                        own.lock().unwrap().take().unwrap().abort();
                    }
                })
                .await;
            tokio::task::yield_now().await;
        }
    });
    *handle.lock().unwrap() = Some(task.abort_handle());
    started.store(true, Ordering::Release);
    task
}

/// Its slots are free from then on.
#[test]
fn a_handler_may_drop_another_subscriber_of_the_lane_it_reads() {
    let bus = bus_with(2);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut reader = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    let mut other = Some(bus.subscriber::<Number>("n", Interest::new()).unwrap());
    let mut publish = |value| publisher.try_publish(number(value), Attributes::default()).is_ok();
    assert!(publish(0) && publish(1) && !publish(2));
    let dropped = AtomicU64::new(0);
    for value in 0..2 {
        let seen = reader.poll(|_, n| {
            dropped.fetch_add(u64::from(other.take().is_some()), Ordering::Relaxed);
            n.value
        });
        assert_eq!(seen, Some(value));
    }
    assert_eq!(dropped.into_inner(), 1);
    assert!(publish(2) && publish(3));
    assert_eq!(reader.poll(|_, n| n.value), Some(2));
    assert_eq!(bus.topic("n").unwrap().subscriber_count(), 1);
}
