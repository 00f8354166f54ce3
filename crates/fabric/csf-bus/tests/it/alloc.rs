//! Once warm, the bus allocates nothing: neither who publishes nor who reads, polls, waits or merges.
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use csf_bus::{Doorbell, Interest, Order, Policy, Publisher, TopicSpec};
use csf_core::Attributes;
use csf_core::port::LaneKind;

use super::{Number, bus, bus_with, number};

/// The system's allocator, counting what each thread asks of it.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends has no cell any more, and nobody who asks for it.
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
}

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and releases of this thread in 1,000 rounds, after some to get warm.
fn asked_by(mut round: impl FnMut()) -> u64 {
    (0..200).for_each(|_| round());
    let before = ASKED.get();
    (0..1_000).for_each(|_| round());
    ASKED.get() - before
}

fn publish(publisher: &mut Publisher<Number>) {
    publisher.try_publish(number(7), Attributes::default()).unwrap();
}

#[test]
fn the_allocator_counts() {
    assert_eq!(asked_by(|| drop(Box::new(7))), 2_000);
}

#[test]
fn publishing_and_polling_allocate_nothing() {
    let sample = Policy::Sample { interval_ns: 0 };
    for policy in [Policy::Block, Policy::DropOldest, Policy::DropNewest, Policy::Conflate, sample] {
        let bus = bus_with(64);
        let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
        let mut subscriber = bus.subscriber::<Number>("n", Interest::new().policy(policy)).unwrap();
        let asked = asked_by(|| {
            publish(&mut publisher);
            assert_eq!(subscriber.poll(|_, n| n.value), Some(7));
        });
        assert_eq!(asked, 0, "{policy:?}");
    }
}

#[test]
fn publishing_past_lossy_and_masked_readers_allocates_nothing() {
    let bus = bus_with(64);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let _lossy = bus.subscriber::<Number>("n", Interest::new().policy(Policy::DropOldest)).unwrap();
    // Once it keeps as many packets as it may, the others are only counted.
    let _full = bus.subscriber::<Number>("n", Interest::new().policy(Policy::DropNewest)).unwrap();
    let mut masked = bus.subscriber::<Number>("n", Interest::new().mask(2)).unwrap();
    assert_eq!(masked.poll(|_, n| n.value), None);
    let attributes = Attributes::default().with_targets(1);
    assert_eq!(asked_by(|| assert!(publisher.try_publish(number(7), attributes).is_ok())), 0);
}

#[test]
fn publishing_to_nobody_allocates_nothing() {
    let bus = bus();
    let mut spec = TopicSpec::new::<Number>("n");
    spec.history = 0;
    bus.declare(spec).unwrap();
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    assert_eq!(asked_by(|| publish(&mut publisher)), 0);
}

#[test]
fn batches_allocate_nothing() {
    let bus = bus_with(64);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut subscriber = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    let asked = asked_by(|| {
        assert_eq!(publisher.try_publish_batch([7; 16].map(number).into_iter(), Attributes::default()), 16);
        assert_eq!(subscriber.poll_batch(64, |_, _| ()), 16);
    });
    assert_eq!(asked, 0);
}

#[test]
fn merging_lanes_with_causes_allocates_nothing() {
    for order in [Order::Urgency, Order::Stamp, Order::Lane] {
        let bus = bus_with(64);
        let mut lanes: Vec<_> =
            (0..4).map(|i| bus.publisher::<Number>("n", &i.to_string(), LaneKind::Source).unwrap()).collect();
        let bell = Arc::new(Doorbell::default());
        let mut reader = bus.subscribe_any(&["n"], Interest::new().order(order), bell).unwrap();
        let asked = asked_by(|| {
            let mut cause = None;
            for lane in &mut lanes {
                cause = Some(lane.try_publish_caused(number(7), Attributes::default(), cause.as_slice()).unwrap());
            }
            for _ in 0..4 {
                assert!(reader.peek().is_some());
                reader.advance();
            }
            assert!(reader.peek().is_none());
        });
        assert_eq!(asked, 0, "{order:?}");
    }
}

#[test]
fn a_thread_that_waits_and_the_one_that_wakes_it_allocate_nothing() {
    let bus = bus_with(64);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut subscriber = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let reading = thread::spawn({
        let read = read.clone();
        move || {
            asked_by(|| {
                subscriber.wait(|_, _| ());
                read.fetch_add(1, Ordering::Release);
            })
        }
    });
    let mut published = 0;
    let asked = asked_by(|| {
        // Now and then long enough for the reader to fall asleep.
        let turns = if published % 16 == 0 { 2_000 } else { 0 };
        (0..turns).for_each(|_| thread::yield_now());
        publish(&mut publisher);
        published += 1;
        while read.load(Ordering::Acquire) < published {
            thread::yield_now();
        }
    });
    assert_eq!((asked, reading.join().unwrap()), (0, 0));
}

#[test]
fn a_task_that_waits_allocates_nothing() {
    let bus = bus_with(64);
    let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
    let mut subscriber = bus.subscriber::<Number>("n", Interest::new()).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let asked = asked_by(|| {
        let mut receiving = pin!(subscriber.recv_with(|_, n| n.value));
        assert_eq!(receiving.as_mut().poll(&mut cx), Poll::Pending);
        let publishing = pin!(publisher.publish(number(7), Attributes::default()));
        assert!(publishing.poll(&mut cx).is_ready());
        assert_eq!(receiving.poll(&mut cx), Poll::Ready(7));
    });
    assert_eq!(asked, 0);
}
