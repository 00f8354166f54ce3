//! The ring at its edges, on one thread.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use csf_core::{Attributes, Stamp};

use super::memory::LANE_BYTES_MAX;
use super::{HeapMemory, Policy, Reader, Ring, Start, Wants, Writer};

const ALL: u64 = u64::MAX;

/// A ring for `T` and its producer.
fn lane<T>(capacity: usize, history: usize) -> (Arc<Ring<HeapMemory>>, Writer<HeapMemory>) {
    let ring = Arc::new(Ring::on_heap::<T>(capacity, history).expect("a small lane"));
    let writer = Writer::new(ring.clone()).expect("its first producer");
    (ring, writer)
}

fn attach(ring: &Arc<Ring<HeapMemory>>, start: Start, policy: Policy, mask: u64) -> Reader<HeapMemory> {
    Reader::new(ring.clone(), start, Wants::of(policy, mask), Arc::default())
}

fn stage<T>(writer: &mut Writer<HeapMemory>, stamp: u64, targets: u64, value: T) -> bool {
    let has_room = writer.has_room(1);
    if has_room && writer.is_idle() {
        writer.skip();
    } else if has_room {
        let attributes = Attributes::default().with_targets(targets);
        // SAFETY: there is room, and callers stage what their lane was made for.
        unsafe {
            writer.stage(|payload| payload.cast::<T>().write(value)).fill(Stamp(stamp), &attributes, &[]);
        }
    }
    has_room
}

fn publish<T>(writer: &mut Writer<HeapMemory>, value: T) -> bool {
    let stamp = writer.next_seq();
    let has_room = stage(writer, stamp, ALL, value);
    writer.commit();
    has_room
}

/// The held packet's payload.
fn held<T: Clone>(reader: &Reader<HeapMemory>) -> T {
    // SAFETY: callers have acquired a packet of the type that their lane was made for.
    unsafe { (*reader.payload().cast::<T>()).clone() }
}

fn read<T: Clone>(reader: &mut Reader<HeapMemory>) -> Option<T> {
    let value = reader.acquire().then(|| held(reader));
    reader.release();
    value
}

fn drain<T: Clone>(reader: &mut Reader<HeapMemory>) -> Vec<T> {
    std::iter::from_fn(|| read(reader)).collect()
}

/// Counts its drops.
struct Counted(Rc<Cell<u32>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Makes payloads and knows how often each was dropped.
#[derive(Default)]
struct Mint(Vec<Rc<Cell<u32>>>);

impl Mint {
    fn make(&mut self) -> Counted {
        let drops = Rc::default();
        self.0.push(Rc::clone(&drops));
        Counted(drops)
    }

    fn live(&self) -> usize {
        assert!(self.0.iter().all(|drops| drops.get() <= 1), "dropped twice");
        self.0.iter().filter(|drops| drops.get() == 0).count()
    }
}

#[test]
fn each_payload_is_dropped_once_over_wraps_and_rollbacks() {
    let mut mint = Mint::default();
    let (ring, mut writer) = lane::<Counted>(4, 2);
    for round in 0..20 {
        assert!(publish(&mut writer, mint.make()));
        for _ in 0..2 {
            assert!(stage(&mut writer, 0, ALL, mint.make()));
        }
        if round % 3 == 0 {
            writer.rollback();
        }
        writer.commit();
        assert!(mint.live() <= 4, "a slot holds one payload at most");
    }
    drop(writer);
    drop(ring);
    assert_eq!(mint.live(), 0);
}

#[test]
fn a_panic_in_write_drops_nothing_twice_and_publishes_nothing() {
    let mut mint = Mint::default();
    let (ring, mut writer) = lane::<Counted>(2, 1);
    let mut reader = attach(&ring, Start::Now, Policy::DropOldest, ALL);
    for round in 0..10 {
        assert!(publish(&mut writer, mint.make()));
        let seq = writer.next_seq();
        if writer.has_room(1) {
            let result = catch_unwind(AssertUnwindSafe(|| {
                // SAFETY: there is room, and a payload that is never written is none.
                unsafe { writer.stage(|_| panic!("a payload that cannot be built")) };
            }));
            assert!(result.is_err());
        }
        writer.commit();
        assert_eq!((writer.next_seq(), ring.committed()), (seq, seq));
        if round % 2 == 0 {
            reader.acquire();
            reader.release();
        }
        mint.live();
    }
    drop((reader, writer, ring));
    assert_eq!(mint.live(), 0);
}

#[test]
fn packets_staged_and_never_committed_are_dropped_with_the_ring() {
    let mut mint = Mint::default();
    let (ring, mut writer) = lane::<Counted>(4, 1);
    assert!(stage(&mut writer, 0, ALL, mint.make()));
    drop(writer);
    let mut next = Writer::new(ring.clone()).expect("the first producer has left");
    assert_eq!(mint.live(), 1);
    assert!(stage(&mut next, 0, ALL, mint.make()));
    assert_eq!(mint.live(), 1, "the second producer stages at the same sequence");
    drop((next, ring));
    assert_eq!(mint.live(), 0);
}

#[test]
fn staged_packets_are_invisible_until_they_are_committed() {
    let (ring, mut writer) = lane::<u64>(8, 1);
    let mut readers =
        [Policy::Block, Policy::DropOldest, Policy::Conflate].map(|p| attach(&ring, Start::Earliest, p, ALL));
    for value in 0..3u64 {
        assert!(stage(&mut writer, value, ALL, value));
    }
    assert!(readers.iter_mut().all(|reader| !reader.acquire()));
    assert_eq!((ring.committed(), readers[0].lag()), (0, 0));
    writer.commit();
    assert_eq!(readers.each_mut().map(drain::<u64>), [vec![0, 1, 2], vec![0, 1, 2], vec![2]]);
}

#[test]
fn a_rolled_back_sequence_is_used_again() {
    let (ring, mut writer) = lane::<u64>(2, 0);
    let mut reader = attach(&ring, Start::Now, Policy::Block, ALL);
    for value in 0..10u64 {
        assert!(stage(&mut writer, 0, ALL, 1_000 + value));
        writer.rollback();
        assert!(publish(&mut writer, value));
        assert_eq!((reader.acquire(), reader.seq(), held::<u64>(&reader)), (true, value, value));
        reader.release();
    }
}

#[test]
fn a_ring_has_one_producer_at_a_time() {
    let (ring, mut writer) = lane::<u64>(4, 0);
    let mut reader = attach(&ring, Start::Now, Policy::Block, ALL);
    assert!(Writer::new(ring.clone()).is_none());
    assert!(publish(&mut writer, 7u64));
    drop(writer);
    let mut second = Writer::new(ring).expect("the first producer has left");
    assert!(publish(&mut second, 8u64));
    assert_eq!(drain::<u64>(&mut reader), [7, 8]);
}

#[test]
fn the_slot_that_a_lossy_reader_holds_is_not_taken() {
    for policy in [Policy::DropOldest, Policy::Conflate, Policy::Sample { interval_ns: 0 }] {
        let (ring, mut writer) = lane::<String>(4, 0);
        let mut reader = attach(&ring, Start::Now, policy, ALL);
        assert!(publish(&mut writer, "held".to_owned()));
        assert!(reader.acquire());
        let published = (0..10).take_while(|i| publish(&mut writer, format!("{i}"))).count();
        assert_eq!(published, 3, "every slot but the held one");
        assert_eq!((held::<String>(&reader), reader.seq()), ("held".to_owned(), 0));
        reader.release();
        assert!(publish(&mut writer, "next".to_owned()), "{policy:?}");
        assert_eq!(drain::<String>(&mut reader).last().map(String::as_str), Some("next"));
    }
}

#[test]
fn a_lossy_reader_that_does_not_read_never_refuses_a_batch() {
    let (ring, mut writer) = lane::<u64>(16, 0);
    let mut reader = attach(&ring, Start::Now, Policy::DropOldest, ALL);
    for batch in [16, 16, 9, 15, 16] {
        assert!(writer.has_room(batch), "{batch} packets fit");
        for _ in 0..batch {
            assert!(stage(&mut writer, 0, ALL, 0u64));
        }
        writer.commit();
    }
    let seen = drain::<u64>(&mut reader).len() as u64;
    assert_eq!(seen + reader.lost(), ring.committed());
}

#[test]
fn a_conflating_reader_sees_the_newest_and_counts_the_rest() {
    let (ring, mut writer) = lane::<u64>(8, 0);
    let mut reader = attach(&ring, Start::Now, Policy::Conflate, ALL);
    for (burst, newest, lost) in [(1, 0, 0), (5, 5, 4), (30, 35, 33)] {
        for _ in 0..burst {
            let value = writer.next_seq();
            assert!(publish(&mut writer, value));
        }
        assert_eq!(drain::<u64>(&mut reader), [newest]);
        assert_eq!(reader.lost(), lost);
    }
}

#[test]
fn a_sampling_reader_sees_packets_an_interval_apart() {
    let (ring, mut writer) = lane::<u64>(32, 0);
    let mut reader = attach(&ring, Start::Now, Policy::Sample { interval_ns: 10 }, ALL);
    for stamp in [100, 101, 109, 110, 111, 125, 134, 135] {
        assert!(stage(&mut writer, stamp, ALL, stamp));
    }
    writer.commit();
    assert_eq!(drain::<u64>(&mut reader), [100, 110, 125, 135]);
    assert_eq!(reader.lost(), 4);
}

#[test]
fn a_masked_reader_is_stepped_over_but_not_past_its_own() {
    let (ring, mut writer) = lane::<u64>(4, 0);
    let mut reader = attach(&ring, Start::Now, Policy::Block, 1 << 3);
    for value in 0..100u64 {
        assert!(stage(&mut writer, 0, 1 << 5, value));
        writer.commit();
    }
    assert!(stage(&mut writer, 0, 1 << 3, 100u64));
    writer.commit();
    let more = (0..100).take_while(|_| publish(&mut writer, 0u64)).count();
    assert_eq!(more, 3, "the packet for the reader keeps its slot");
    assert!(drain::<u64>(&mut reader).contains(&100));
    assert_eq!(reader.lost(), 0);
}

#[test]
fn a_lane_has_two_slots_at_least() {
    for asked in [0, 1, 2] {
        let (ring, mut writer) = lane::<u64>(asked, 1);
        assert_eq!(ring.capacity(), 2);
        let mut reader = attach(&ring, Start::Now, Policy::Block, ALL);
        for value in 0..20u64 {
            assert!(publish(&mut writer, value));
            assert_eq!(drain::<u64>(&mut reader), [value]);
        }
        assert!(publish(&mut writer, 20u64) && publish(&mut writer, 21u64) && !publish(&mut writer, 22u64));
        assert_eq!(drain::<u64>(&mut reader), [20, 21]);
    }
}

#[test]
fn a_payload_may_have_no_bytes() {
    thread_local! {
        static DROPS: Cell<u32> = const { Cell::new(0) };
    }
    #[derive(Clone)]
    struct Beat;
    impl Drop for Beat {
        fn drop(&mut self) {
            DROPS.set(DROPS.get() + 1);
        }
    }
    let (ring, mut writer) = lane::<Beat>(4, 0);
    let mut reader = attach(&ring, Start::Now, Policy::Block, ALL);
    for _ in 0..10 {
        assert!(publish(&mut writer, Beat));
        assert_eq!((reader.acquire(), reader.payload().cast::<Beat>().is_aligned()), (true, true));
        reader.release();
    }
    drop((reader, writer, ring));
    assert_eq!(DROPS.get(), 10);
}

#[test]
fn a_payload_may_be_aligned_to_more_than_a_line() {
    #[derive(Clone, Debug, PartialEq)]
    #[repr(align(256))]
    struct Wide([u8; 300]);
    let (ring, mut writer) = lane::<Wide>(4, 0);
    let mut reader = attach(&ring, Start::Now, Policy::Block, ALL);
    for round in 0..12u8 {
        assert!(publish(&mut writer, Wide([round; 300])));
        assert!(reader.acquire() && reader.payload().cast::<Wide>().is_aligned());
        assert_eq!(held::<Wide>(&reader), Wide([round; 300]));
        assert_eq!(reader.header().stamp(), Stamp(u64::from(round)));
        reader.release();
    }
}

#[test]
fn a_lane_that_needs_too_much_memory_is_refused() {
    let slot = size_of::<[u8; 4032]>() + 64;
    let fits = LANE_BYTES_MAX / slot;
    assert!(Ring::on_heap::<[u8; 4032]>(fits, 0).is_some(), "pages that are not written cost nothing");
    assert!(Ring::on_heap::<[u8; 4032]>(fits + 1, 0).is_none());
    assert!(Ring::on_heap::<()>(usize::MAX, 0).is_none());
    assert!(Ring::on_heap::<[u64; 1 << 40]>(2, 0).is_none());
}

#[test]
fn a_reader_that_comes_while_nobody_reads_starts_with_what_is_published_next() {
    let (ring, mut writer) = lane::<u64>(4, 0);
    assert!(publish(&mut writer, 0u64) && writer.is_idle());
    assert!(stage(&mut writer, 0, ALL, 1u64), "counted, written nowhere");
    let mut reader = attach(&ring, Start::Earliest, Policy::Block, ALL);
    assert!(stage(&mut writer, 0, ALL, 2u64));
    writer.commit();
    assert_eq!((drain::<u64>(&mut reader), reader.lag()), (vec![], 0));
    assert!(publish(&mut writer, 3u64));
    assert_eq!(drain::<u64>(&mut reader), [3]);
    drop(reader);
    assert!(publish(&mut writer, 4u64) && publish(&mut writer, 5u64));
    assert!(writer.is_idle(), "the last reader has left");
}

#[test]
fn a_late_reader_gets_what_the_lane_keeps() {
    let (ring, mut writer) = lane::<u64>(8, 4);
    for value in 0..21u64 {
        assert!(publish(&mut writer, value));
    }
    for (start, least) in [(Start::Now, 0), (Start::Last(3), 3), (Start::Last(100), 4), (Start::Earliest, 4)] {
        let seen = drain::<u64>(&mut attach(&ring, start, Policy::Block, ALL));
        assert!(
            seen.len() as u64 >= least && seen.iter().copied().eq(21 - seen.len() as u64..21),
            "{start:?}: {seen:?}"
        );
        assert!(start != Start::Now || seen.is_empty());
        assert!(start != Start::Last(3) || seen.len() == 3);
    }
}

#[test]
fn many_readers_come_and_go() {
    let (ring, mut writer) = lane::<u64>(4, 1);
    for value in 0..1_000u64 {
        let reader = attach(&ring, Start::Now, Policy::Block, ALL);
        assert!(publish(&mut writer, value), "a reader that left holds nothing");
        drop(reader);
    }
}

#[test]
fn a_reader_that_drops_the_newest_keeps_the_oldest_and_counts_the_gap() {
    let (ring, mut writer) = lane::<u64>(4, 0);
    let mut reader = attach(&ring, Start::Now, Policy::DropNewest, ALL);
    for value in 0..100 {
        assert!(publish(&mut writer, value), "it holds nobody back");
    }
    assert_eq!(read::<u64>(&mut reader), Some(0));
    assert_eq!((reader.lag(), reader.lost()), (3 + 4, 0), "three put aside, and what is in the slots");
    for value in 100..103 {
        assert!(publish(&mut writer, value));
    }
    let seen = drain::<u64>(&mut reader);
    assert_eq!(seen[..3], [1, 2, 3]);
    assert!(seen[3..].windows(2).all(|w| w[0] < w[1]) && seen.last() == Some(&102));
    assert_eq!(reader.lost() + 1 + seen.len() as u64, 103);
    assert_eq!((reader.lag(), ring.queue_depth(), reader.rejected()), (0, 0, 0));
    assert_eq!((ring.totals().delivered, ring.totals().lost), (1 + seen.len() as u64, reader.lost()));
}

#[test]
fn a_reader_that_keeps_up_with_its_parcels_loses_nothing() {
    let (ring, mut writer) = lane::<u64>(4, 1);
    let mut reader = attach(&ring, Start::Now, Policy::DropNewest, ALL);
    for value in 0..4u64 {
        assert!(publish(&mut writer, value));
    }
    for value in 4..100u64 {
        assert!(publish(&mut writer, value));
        assert_eq!(read::<u64>(&mut reader), Some(value - 4));
    }
    assert_eq!((drain::<u64>(&mut reader).len(), reader.lost()), (4, 0));
}

#[test]
fn a_held_parcel_needs_no_slot() {
    let (ring, mut writer) = lane::<String>(4, 0);
    let mut reader = attach(&ring, Start::Now, Policy::DropNewest, ALL);
    for value in 0..6 {
        assert!(publish(&mut writer, value.to_string()));
    }
    assert!(reader.acquire() && !reader.holds_slot());
    for value in 6..50 {
        assert!(publish(&mut writer, value.to_string()));
        let (header, payload) = reader.packet();
        // SAFETY: the lane carries strings.
        let payload = unsafe { &*payload.cast::<String>() };
        assert_eq!((header.stamp(), payload.as_str(), reader.seq()), (Stamp(0), "0", 0));
    }
}

#[test]
fn what_readers_share_is_dropped_once_with_the_last_of_them() {
    let mut mint = Mint::default();
    let (ring, mut writer) = lane::<Counted>(4, 0);
    let mut readers = [(); 2].map(|()| attach(&ring, Start::Now, Policy::DropNewest, ALL));
    for _ in 0..100 {
        assert!(publish(&mut writer, mint.make()));
        assert!(mint.live() <= 4 + 4, "in the slots, and aside: both readers share");
    }
    assert!(readers[0].acquire() && readers[1].acquire());
    readers[0].release();
    assert_eq!(mint.0[0].get(), 0, "the other one holds it");
    let [first, second] = readers;
    drop(first);
    assert_eq!((mint.0[0].get(), mint.live()), (0, 8));
    drop(second);
    assert_eq!(mint.live(), 4, "what is in the slots");
    let mut third = attach(&ring, Start::Now, Policy::DropNewest, ALL);
    for _ in 0..20 {
        assert!(publish(&mut writer, mint.make()));
    }
    assert!(third.acquire());
    drop((writer, ring));
    drop(third);
    assert_eq!(mint.live(), 0);
}

#[test]
fn a_choosy_reader_keeps_only_what_it_takes() {
    let (ring, mut writer) = lane::<u64>(4, 0);
    let mut masked = attach(&ring, Start::Now, Policy::DropNewest, 1 << 3);
    for value in 0..400u64 {
        assert!(stage(&mut writer, 0, if value % 100 == 0 { 1 << 3 } else { 1 }, value));
        writer.commit();
    }
    assert_eq!(drain::<u64>(&mut masked), [0, 100, 200, 300]);
    assert_eq!((masked.lost(), masked.rejected()), (0, 396));
    for value in 0..50u64 {
        assert!(stage(&mut writer, 0, 1 << 3, value) && stage(&mut writer, 0, 1, 0));
        writer.commit();
    }
    let seen = drain::<u64>(&mut masked);
    assert_eq!(seen[..4], [0, 1, 2, 3]);
    assert_eq!((seen.len() as u64 + masked.lost(), masked.rejected()), (50, 396 + 50));
}

#[test]
fn a_parcel_is_aligned_and_may_have_no_bytes() {
    #[derive(Clone, Debug, PartialEq)]
    #[repr(align(256))]
    struct Wide([u8; 300]);
    let (ring, mut writer) = lane::<Wide>(4, 0);
    let mut reader = attach(&ring, Start::Now, Policy::DropNewest, ALL);
    let (empty, mut beats) = lane::<[u128; 0]>(4, 0);
    let mut beaten = attach(&empty, Start::Now, Policy::DropNewest, ALL);
    for round in 0..8 {
        assert!(publish(&mut writer, Wide([round; 300])) && publish(&mut beats, [0; 0]));
    }
    for round in 0..8 {
        assert!(reader.acquire() && reader.payload().cast::<Wide>().is_aligned());
        assert_eq!(read(&mut reader), Some(Wide([round; 300])));
        assert!(beaten.acquire() && beaten.payload().cast::<[u128; 0]>().is_aligned());
        beaten.release();
    }
}

#[test]
fn a_parcel_whose_payload_fails_in_its_drop_is_gone() {
    struct Bomb(u64);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert_ne!(self.0, 0, "the first one fails");
        }
    }
    let (ring, mut writer) = lane::<Bomb>(2, 0);
    let mut reader = attach(&ring, Start::Now, Policy::DropNewest, ALL);
    for value in 0..4 {
        assert!(publish(&mut writer, Bomb(value)));
    }
    assert!(reader.acquire());
    assert!(catch_unwind(AssertUnwindSafe(|| reader.release())).is_err());
    assert!(reader.acquire());
    assert_eq!(reader.seq(), 1);
}

#[test]
fn a_second_producer_goes_on_with_what_was_put_aside() {
    let (ring, mut writer) = lane::<u64>(4, 0);
    let mut reader = attach(&ring, Start::Now, Policy::DropNewest, ALL);
    for value in 0..6u64 {
        assert!(publish(&mut writer, value));
    }
    drop(writer);
    let mut second = Writer::new(ring).expect("the first producer has left");
    for value in 6..8u64 {
        assert!(publish(&mut second, value));
    }
    assert_eq!(drain::<u64>(&mut reader), [0, 1, 2, 3, 4, 5, 6, 7]);
}
