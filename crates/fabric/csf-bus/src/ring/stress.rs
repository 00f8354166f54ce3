//! The ring under load without std's locks and bells, which ThreadSanitizer cannot see into: `cargo xtask test --only tsan` builds
//! this test for it. What it sees is that plain memory of a slot is never touched by two threads without an order between them; fences
//! it does not see, so it proves less than the models do, but on the real machine's threads.

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use csf_core::{Attributes, Stamp};

use super::memory::Memory;
use super::platform::{Bell, Lock, Native, Platform};
use super::slot::SlotHeader;
use super::{DropGlue, Policy, Reader, Ring, Start, Wants, Writer};

/// Packets of a run.
fn packets() -> u64 {
    std::env::var("CSF_STRESS_PACKETS").map_or(20_000, |n| n.parse().expect("CSF_STRESS_PACKETS is a number"))
}

/// The native machine, whose lock spins and whose bell nobody waits for.
struct Bare;

struct SpinLock<T> {
    is_taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with` lets one thread at a time to the value.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T: Send> Lock<T> for SpinLock<T> {
    fn new(value: T) -> Self {
        Self { is_taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        while self.is_taken.swap(true, Ordering::Acquire) {
            thread::yield_now();
        }
        // SAFETY: we took the lock, and give it back afterwards.
        let result = f(unsafe { &mut *self.value.get() });
        self.is_taken.store(false, Ordering::Release);
        result
    }
}

#[derive(Default)]
struct Silence;

impl Bell for Silence {
    fn ring_after_fence(&self) {}
}

impl Platform for Bare {
    type Word = AtomicU64;
    type Lock<T: Send> = SpinLock<T>;
    type Bell = Silence;
    type Watch = ();

    fn fence_light() {
        Native::fence_light();
    }
    fn fence_heavy() {
        Native::fence_heavy();
    }
    fn fence() {
        Native::fence();
    }
    fn spin() {
        thread::yield_now();
    }
    fn give_way() {
        thread::yield_now();
    }
}

/// A payload of two lines, every word of which is its packet's sequence.
type Payload = [u64; 16];

#[derive(Default)]
struct Slot {
    commit: AtomicU64,
    header: UnsafeCell<SlotHeader>,
    payload: UnsafeCell<Payload>,
}

struct Slots(Vec<Slot>);

// SAFETY: who may touch which slot when is the ring's protocol, which this test is about.
unsafe impl Sync for Slots {}

// SAFETY: every slot has its own fields, and the vector never changes.
unsafe impl Memory for Slots {
    type Platform = Bare;

    fn capacity(&self) -> u64 {
        self.0.len() as u64
    }
    fn bytes(&self) -> u64 {
        size_of_val(&self.0[..]) as u64
    }
    fn commit(&self, index: usize) -> &AtomicU64 {
        &self.0[index].commit
    }
    fn header(&self, index: usize) -> *mut SlotHeader {
        self.0[index].header.get()
    }
    fn payload(&self, index: usize) -> *mut u8 {
        self.0[index].payload.get().cast()
    }
    fn payload_layout(&self) -> Layout {
        Layout::new::<Payload>()
    }
}

type Lane = Arc<Ring<Slots>>;

fn targets(seq: u64) -> u64 {
    1 << (seq % 3)
}

fn produce(lane: &Lane, count: u64) {
    let mut writer = Writer::new(lane.clone()).expect("its first producer");
    while writer.next_seq() < count {
        let batch = (writer.next_seq() % 3 + 1).min(count - writer.next_seq());
        while !writer.has_room(batch) {
            thread::yield_now();
        }
        for _ in 0..batch {
            let seq = writer.next_seq();
            let attributes = Attributes::default().with_targets(targets(seq));
            // SAFETY: there is room, and the slots are for such payloads.
            unsafe {
                writer.stage(|payload| payload.cast::<Payload>().write([seq; 16])).fill(Stamp(seq), &attributes, &[]);
            }
        }
        writer.commit();
    }
}

/// Reads a packet if there is one; it is whole, and stays so while others run.
fn read(reader: &mut Reader<Slots>) -> Option<u64> {
    if !reader.acquire() {
        thread::yield_now();
        return None;
    }
    let seq = reader.seq();
    if seq.is_multiple_of(8) {
        thread::yield_now();
    }
    // SAFETY: a packet is held, and the slots are for such payloads.
    let payload = unsafe { &*reader.payload().cast::<Payload>() };
    assert_eq!((reader.header().stamp(), reader.header().targets, *payload), (Stamp(seq), targets(seq), [seq; 16]));
    reader.release();
    Some(seq)
}

fn attach(lane: &Lane, start: Start, policy: Policy, mask: u64) -> Reader<Slots> {
    Reader::new(lane.clone(), start, Wants::of(policy, mask), Arc::default())
}

#[test]
fn packets_are_whole_while_readers_come_and_go() {
    let count = packets();
    super::platform::prepare();
    let slots = Slots((0..8).map(|_| Slot::default()).collect());
    let lane: Lane = Arc::new(Ring::new(slots, DropGlue::of::<Payload>(), 2, Arc::default()));
    let mut resident = attach(&lane, Start::Now, Policy::Block, u64::MAX);
    thread::scope(|scope| {
        scope.spawn(|| produce(&lane, count));
        scope.spawn(move || {
            let mut next = 0;
            while next < count {
                if let Some(seq) = read(&mut resident) {
                    assert_eq!(seq, next, "a blocking reader misses nothing");
                    next += 1;
                }
            }
        });
        for policy in [Policy::DropOldest, Policy::DropNewest] {
            let lane = &lane;
            scope.spawn(move || {
                let mut lossy = attach(lane, Start::Earliest, policy, u64::MAX);
                let (start, mut seen, mut last) = (lossy.seq(), 0, None);
                while last != Some(count - 1) {
                    if let Some(seq) = read(&mut lossy) {
                        assert!(last.is_none_or(|last| last < seq), "{seq} after {last:?}");
                        (last, seen) = (Some(seq), seen + 1);
                    }
                }
                assert_eq!(start + seen + lossy.lost(), count);
            });
        }
        scope.spawn(|| {
            let mut visits = 0;
            while lane.committed() < count {
                let start = [Start::Earliest, Start::Now, Start::Last(2)][visits % 3];
                let policy = [Policy::Block, Policy::Conflate][visits % 2];
                let mask = [u64::MAX, 2][visits / 2 % 2];
                let mut visitor = attach(&lane, start, policy, mask);
                for _ in 0..visits % 7 {
                    read(&mut visitor);
                }
                visits += 1;
            }
        });
    });
    assert_eq!(lane.committed(), count);
}
