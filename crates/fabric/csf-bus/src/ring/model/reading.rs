//! Readers and the slots they read.

use super::*;

/// A reader that may be moved reads while the producer wraps twice.
fn a_lossy_reader_accounts_for_every_packet<F: Flaw>(policy: Policy, reads: usize) {
    explore(move || {
        let lane = lane::<F>(2, 0);
        let mut lossy = Consumer::new(&lane, Start::Now, policy, ALL);
        let mut producer = Producer::new(&lane);
        let reading = loom::thread::spawn(move || {
            for _ in 0..reads {
                lossy.read();
            }
            lossy
        });
        for _ in 0..4 {
            producer.try_publish(ALL);
        }
        let mut lossy = reading.join().unwrap();
        lossy.drain();
        assert!(lossy.seen.is_sorted_by(|a, b| a < b), "out of order: {:?}", lossy.seen);
        let accounted = lossy.seen.len() as u64 + lossy.reader.lost();
        assert_eq!(accounted, lane.committed(), "seen {:?}, lost {}", lossy.seen, lossy.reader.lost());
    });
}

#[test]
fn a_slot_that_a_lossy_reader_pinned_is_left_alone() {
    a_lossy_reader_accounts_for_every_packet::<Nothing>(Policy::DropOldest, 2);
}

#[test]
fn a_conflating_reader_is_at_a_packet_that_is_there() {
    a_lossy_reader_accounts_for_every_packet::<Nothing>(Policy::Conflate, 2);
}

#[test]
fn pinning_needs_both_fences_and_the_orders() {
    refuted(|| a_lossy_reader_accounts_for_every_packet::<LightFence>(Policy::DropOldest, 1), &[TORN, RACE]);
    refuted(|| a_lossy_reader_accounts_for_every_packet::<HeavyFence>(Policy::DropOldest, 1), &[TORN, RACE]);
    refuted(|| a_lossy_reader_accounts_for_every_packet::<Orders>(Policy::DropOldest, 1), &[TORN, RACE]);
}

/// The first packet is for somebody else, the second for the reader, and the third needs the slot of the first.
fn a_masked_reader_sees_what_is_addressed_to_it<F: Flaw>() {
    const OWN: u64 = 2;
    explore(|| {
        let lane = lane::<F>(2, 0);
        let mut masked = Consumer::new(&lane, Start::Now, Policy::Block, OWN);
        let mut producer = Producer::new(&lane);
        let reading = loom::thread::spawn(move || {
            masked.read();
            masked.read();
            masked
        });
        let addressed: Vec<u64> = [1, OWN, 1, 1, OWN]
            .into_iter()
            .filter_map(|targets| {
                let seq = producer.0.next_seq();
                (producer.try_publish(targets) && targets == OWN).then_some(seq)
            })
            .collect();
        let mut masked = reading.join().unwrap();
        masked.drain();
        assert!(masked.seen.is_sorted_by(|a, b| a < b), "out of order: {:?}", masked.seen);
        assert!(addressed.iter().all(|seq| masked.seen.contains(seq)), "{:?} lacks one of {addressed:?}", masked.seen);
        assert!(addressed.len() == 2 || lane.committed() < 5, "{addressed:?}");
    });
}

#[test]
fn a_masked_reader_is_stepped_over_and_loses_nothing_of_its_own() {
    a_masked_reader_sees_what_is_addressed_to_it::<Nothing>();
    refuted(a_masked_reader_sees_what_is_addressed_to_it::<LightFence>, &[TORN, RACE]);
    refuted(a_masked_reader_sees_what_is_addressed_to_it::<HeavyFence>, &[TORN, RACE]);
    refuted(a_masked_reader_sees_what_is_addressed_to_it::<Orders>, &[TORN, RACE]);
}

/// Two readers hold the producer back; it wraps.
fn blocking_readers_see_every_packet<F: Flaw>() {
    explore(|| {
        let lane = lane::<F>(2, 0);
        let readers: Vec<_> = (0..2).map(|_| Consumer::new(&lane, Start::Now, Policy::Block, ALL)).collect();
        let mut producer = Producer::new(&lane);
        let reading: Vec<_> = readers
            .into_iter()
            .map(|mut reader| {
                loom::thread::spawn(move || {
                    reader.read();
                    reader.read();
                    reader
                })
            })
            .collect();
        for _ in 0..3 {
            producer.try_publish(ALL);
        }
        for reader in reading {
            let mut reader = reader.join().unwrap();
            reader.drain();
            assert!(reader.seen.iter().copied().eq(0..lane.committed()), "{:?}", reader.seen);
        }
    });
}

#[test]
fn what_a_blocking_reader_has_not_read_is_not_overwritten() {
    blocking_readers_see_every_packet::<Nothing>();
    refuted(blocking_readers_see_every_packet::<Orders>, &[TORN, RACE]);
}

/// `already` packets were read one by one before: none leaves the reader looking at slots, one at the producer's count.
fn a_batch_is_seen_whole_or_not_at_all<F: Flaw>(policy: Policy, already: u64) {
    explore(move || {
        let lane = lane::<F>(4, 0);
        let mut reader = Consumer::new(&lane, Start::Now, policy, ALL);
        let mut producer = Producer::new(&lane);
        for _ in 0..already {
            assert!(producer.try_publish(ALL) && reader.read().is_some());
        }
        let reading = loom::thread::spawn(move || {
            if reader.read().is_some() {
                assert!(reader.read().is_some(), "half a batch was seen");
            }
            reader
        });
        assert!(producer.0.has_room(2));
        producer.stage(ALL);
        producer.stage(ALL);
        producer.0.commit();
        let _reader = reading.join().unwrap();
    });
}

#[test]
fn no_reader_sees_half_a_batch() {
    for policy in [Policy::Block, Policy::DropOldest, Policy::DropNewest] {
        a_batch_is_seen_whole_or_not_at_all::<Nothing>(policy, 0);
        a_batch_is_seen_whole_or_not_at_all::<Nothing>(policy, 1);
    }
    refuted(|| a_batch_is_seen_whole_or_not_at_all::<Orders>(Policy::DropOldest, 0), &["half a batch", RACE, TORN]);
}

/// One component answers a packet of another lane; who sees the answer and then looks for its cause finds it.
fn a_cause_is_found_after_its_effect<F: Flaw>(find: fn(&mut Consumer<F>) -> bool) {
    explore(move || {
        let (causes, effects) = (lane::<F>(2, 0), lane::<F>(2, 0));
        let mut both = [&causes, &effects].map(|lane| Consumer::new(lane, Start::Now, Policy::Block, ALL));
        let (mut cause, mut effect) = (Producer::new(&causes), Producer::new(&effects));
        // The reader of both lanes is in the middle of thick traffic; the component waits at the slot.
        assert!(cause.try_publish(ALL) && both[0].read().is_some());
        let mut component = Consumer::new(&causes, Start::Now, Policy::Block, ALL);
        let answering = loom::thread::spawn(move || {
            if component.read().is_some() {
                effect.try_publish(ALL);
            }
            (component, effect)
        });
        let merging = loom::thread::spawn(move || {
            if both[1].read().is_some() {
                assert!(find(&mut both[0]), "an effect without its cause");
            }
            both
        });
        cause.try_publish(ALL);
        let _rest = (answering.join().unwrap(), merging.join().unwrap());
    });
}

#[test]
fn a_second_look_finds_the_cause() {
    a_cause_is_found_after_its_effect::<Nothing>(Consumer::read_cause);
    refuted(|| a_cause_is_found_after_its_effect::<Orders>(Consumer::read_cause), &["without its cause", RACE, TORN]);
}

#[test]
fn a_look_at_the_count_alone_would_miss_the_cause() {
    refuted(|| a_cause_is_found_after_its_effect::<Nothing>(|both| both.read().is_some()), &["without its cause"]);
}
