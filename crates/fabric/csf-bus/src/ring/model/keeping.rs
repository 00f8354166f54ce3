//! Readers that drop the newest, and what the producer moves out of its slots for them.

use super::*;

/// As [`Consumer::drain`], with what was lost.
fn rest_of<F: Flaw>(mut reader: Consumer<F>) -> (Vec<u64>, u64) {
    reader.drain();
    assert!(reader.seen.is_sorted_by(|a, b| a < b), "out of order: {:?}", reader.seen);
    (reader.seen.clone(), reader.reader.lost())
}

/// The producer needs room, and then room again, while the reader reads. A lane of two slots keeps four packets, at least.
fn a_slow_reader_keeps_the_oldest<F: Flaw>(packets: u64, reads: usize) {
    explore(move || {
        let lane = lane::<F>(2, 0);
        let mut slow = Consumer::new(&lane, Start::Now, Policy::DropNewest, ALL);
        let mut producer = Producer::new(&lane);
        let reading = loom::thread::spawn(move || {
            for _ in 0..reads {
                slow.read();
            }
            slow
        });
        for _ in 0..packets {
            producer.try_publish(ALL);
        }
        let (seen, lost) = rest_of(reading.join().unwrap());
        assert_eq!(seen.len() as u64 + lost, lane.committed(), "not accounted for: seen {seen:?}, lost {lost}");
        let kept = lane.committed().min(2);
        assert!(seen.iter().copied().take(2).eq(0..kept), "not the oldest: {seen:?}");
        assert!(lost == 0 || packets > 4, "lost {lost} with room for it: {seen:?}");
    });
}

/// What a flawed machine makes of the claims above.
const WRONG: &[&str] = &[TORN, RACE, "out of order", "not accounted", "not the oldest", "with room", "overflow"];

#[test]
fn what_a_slow_reader_has_not_read_is_kept() {
    a_slow_reader_keeps_the_oldest::<Nothing>(4, 2);
}

#[test]
fn what_finds_no_room_is_lost_and_counted() {
    a_slow_reader_keeps_the_oldest::<Nothing>(5, 1);
}

#[test]
fn keeping_needs_both_fences_and_the_orders() {
    refuted(|| a_slow_reader_keeps_the_oldest::<LightFence>(4, 2), WRONG);
    refuted(|| a_slow_reader_keeps_the_oldest::<HeavyFence>(4, 2), WRONG);
    refuted(|| a_slow_reader_keeps_the_oldest::<Orders>(4, 2), WRONG);
}

/// Two readers want the same packets; one reads while the producer needs room, the other one only looks, or holds a slot meanwhile.
fn two_readers_share_what_is_moved<F: Flaw>(holds: bool) {
    explore(move || {
        let lane = lane::<F>(2, 0);
        let [mut reader, mut other] = [(); 2].map(|()| Consumer::new(&lane, Start::Now, Policy::DropNewest, ALL));
        let mut producer = Producer::new(&lane);
        assert!(producer.try_publish(ALL) && producer.try_publish(ALL));
        if holds {
            other.read();
            assert!(other.reader.acquire());
        }
        let reading = loom::thread::spawn(move || {
            reader.read();
            reader.read();
            reader
        });
        producer.try_publish(ALL);
        producer.try_publish(ALL);
        for reader in [other, reading.join().unwrap()] {
            let (seen, lost) = rest_of(reader);
            assert!(seen.iter().copied().eq(0..lane.committed()) && lost == 0, "not accounted for: {seen:?}, {lost}");
        }
    });
}

#[test]
fn readers_share_what_is_moved() {
    for holds in [false, true] {
        two_readers_share_what_is_moved::<Nothing>(holds);
        refuted(|| two_readers_share_what_is_moved::<LightFence>(holds), WRONG);
        refuted(|| two_readers_share_what_is_moved::<HeavyFence>(holds), WRONG);
        refuted(|| two_readers_share_what_is_moved::<Orders>(holds), WRONG);
    }
}

/// Both read while the producer needs room, and may find that they have pinned what it has asked both of them for.
fn two_readers_wait_for_one_hand_over<F: Flaw>() {
    explore(|| {
        let lane = lane::<F>(2, 0);
        let readers = [(); 2].map(|()| Consumer::new(&lane, Start::Now, Policy::DropNewest, ALL));
        let mut producer = Producer::new(&lane);
        assert!(producer.try_publish(ALL) && producer.try_publish(ALL));
        let reading = readers.map(|mut reader| {
            loom::thread::spawn(move || {
                reader.read();
                reader
            })
        });
        producer.try_publish(ALL);
        for reader in reading {
            let (seen, lost) = rest_of(reader.join().unwrap());
            assert!(seen.iter().copied().eq(0..lane.committed()) && lost == 0, "not accounted for: {seen:?}, {lost}");
        }
    });
}

#[test]
fn readers_wait_for_one_hand_over_at_the_same_time() {
    two_readers_wait_for_one_hand_over::<Nothing>();
    assert_eq!(most_asleep(), 2, "the model never had both of them wait");
    refuted(two_readers_wait_for_one_hand_over::<LightFence>, WRONG);
    refuted(two_readers_wait_for_one_hand_over::<HeavyFence>, WRONG);
    refuted(two_readers_wait_for_one_hand_over::<Orders>, WRONG);
}

/// Somebody who wants what the lane has kept attaches while the producer moves it out of its slots.
fn a_newcomer_sees_no_empty_slot<F: Flaw>(policy: Policy) {
    explore(move || {
        let lane = lane::<F>(2, 1);
        let slow = Consumer::new(&lane, Start::Now, Policy::DropNewest, ALL);
        let mut producer = Producer::new(&lane);
        assert!(producer.try_publish(ALL) && producer.try_publish(ALL));
        let reading = loom::thread::spawn({
            let lane = lane.clone();
            move || {
                let mut late = Consumer::new(&lane, Start::Earliest, policy, ALL);
                late.read();
                late
            }
        });
        producer.try_publish(ALL);
        producer.try_publish(ALL);
        let (seen, lost) = rest_of(reading.join().unwrap());
        assert!(seen.windows(2).all(|w| w[0] + 1 == w[1]) && lost == 0, "not accounted for: {seen:?}, {lost}");
        assert_eq!(seen.last(), Some(&(lane.committed() - 1)), "the reader is stuck behind {seen:?}");
        let (seen, lost) = rest_of(slow);
        assert!(seen.iter().copied().eq(0..lane.committed()) && lost == 0, "not accounted for: {seen:?}, {lost}");
    });
}

#[test]
fn a_newcomer_never_starts_at_a_slot_whose_value_was_moved() {
    a_newcomer_sees_no_empty_slot::<Nothing>(Policy::Block);
    a_newcomer_sees_no_empty_slot::<Nothing>(Policy::DropNewest);
    for run in [
        || a_newcomer_sees_no_empty_slot::<LightFence>(Policy::Block),
        || a_newcomer_sees_no_empty_slot::<HeavyFence>(Policy::Block),
        || a_newcomer_sees_no_empty_slot::<Orders>(Policy::Block),
    ] as [fn(); 3]
    {
        refuted(run, &[TORN, RACE, "is stuck", "not accounted"]);
    }
}

/// Packets for others are not kept, and are not lost either.
#[test]
fn a_masked_reader_keeps_its_own() {
    const OWN: u64 = 2;
    explore(|| {
        let lane = lane::<Nothing>(2, 0);
        let mut masked = Consumer::new(&lane, Start::Now, Policy::DropNewest, OWN);
        let mut producer = Producer::new(&lane);
        let reading = loom::thread::spawn(move || {
            masked.read();
            masked
        });
        let targets = [1, OWN, 1, OWN, 1];
        let addressed: Vec<u64> = targets
            .into_iter()
            .filter_map(|targets| {
                let seq = producer.0.next_seq();
                (producer.try_publish(targets) && targets == OWN).then_some(seq)
            })
            .collect();
        let (seen, lost) = rest_of(reading.join().unwrap());
        assert_eq!((seen, lost), (addressed, 0));
    });
}

/// A producer that sleeps for room is woken by a reader that held a slot and goes.
#[test]
fn a_reader_that_leaves_gives_back_what_it_kept() {
    explore(|| {
        let lane = lane::<Nothing>(2, 0);
        let mut slow = Consumer::new(&lane, Start::Now, Policy::DropNewest, ALL);
        let mut producer = Producer::new(&lane);
        let reading = loom::thread::spawn(move || {
            slow.read();
            slow.reader.acquire();
        });
        for _ in 0..3 {
            producer.publish();
        }
        reading.join().unwrap();
        assert!(producer.try_publish(ALL));
    });
}
