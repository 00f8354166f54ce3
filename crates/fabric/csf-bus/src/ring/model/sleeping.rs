//! Readers that sleep until a packet comes, and producers that sleep until there is room.

use super::*;

/// `already` packets were read before the reader's first sleep: with one it looks at the producer's count, with none at the slot.
fn a_sleeping_reader_is_woken<F: Flaw>(policy: Policy, already: u64, packets: u64) {
    explore(move || {
        let lane = lane::<F>(2, 0);
        let mut reader = Consumer::new(&lane, Start::Now, policy, ALL);
        let mut producer = Producer::new(&lane);
        for _ in 0..already {
            assert!(producer.try_publish(ALL) && reader.read().is_some());
        }
        let reading = loom::thread::spawn(move || {
            reader.reader.fence();
            let end = already + packets;
            while reader.seen.len() as u64 != end {
                let bell = reader.bell.clone();
                bell.wait(|| reader.reader.acquire());
                reader.read();
            }
            reader
        });
        for _ in 0..packets {
            assert!(producer.try_publish(ALL));
        }
        let _reader = reading.join().unwrap();
    });
}

#[test]
fn no_call_to_a_sleeping_reader_is_lost() {
    a_sleeping_reader_is_woken::<Nothing>(Policy::Block, 0, 1);
    a_sleeping_reader_is_woken::<Nothing>(Policy::Block, 1, 1);
    a_sleeping_reader_is_woken::<Nothing>(Policy::Block, 0, 2);
    a_sleeping_reader_is_woken::<Nothing>(Policy::DropOldest, 1, 1);
}

/// Others come and go meanwhile: they change the word that tells the producer who sleeps.
#[test]
fn a_visitor_does_not_cover_up_a_sleeper() {
    explore(|| {
        let lane = lane::<Nothing>(2, 0);
        let mut reader = Consumer::new(&lane, Start::Now, Policy::Block, ALL);
        let mut producer = Producer::new(&lane);
        let visiting = loom::thread::spawn({
            let lane = lane.clone();
            move || drop(Consumer::new(&lane, Start::Now, Policy::DropOldest, ALL))
        });
        let reading = loom::thread::spawn(move || {
            reader.reader.fence();
            while reader.seen.is_empty() {
                let bell = reader.bell.clone();
                bell.wait(|| reader.reader.acquire());
                reader.read();
            }
            reader
        });
        assert!(producer.try_publish(ALL));
        visiting.join().unwrap();
        let _reader = reading.join().unwrap();
    });
}

#[test]
fn calling_a_reader_needs_every_fence() {
    refuted(|| a_sleeping_reader_is_woken::<LightFence>(Policy::Block, 0, 1), &[ASLEEP]);
    refuted(|| a_sleeping_reader_is_woken::<HeavyFence>(Policy::Block, 0, 1), &[ASLEEP]);
    refuted(|| a_sleeping_reader_is_woken::<FullFence>(Policy::Block, 0, 2), &[ASLEEP]);
}

/// The ring is full; the reader reads one packet, or leaves.
fn a_producer_waits_for_room<F: Flaw>(leaves: bool, policy: Policy) {
    explore(move || {
        let lane = lane::<F>(2, 0);
        let mut reader = Consumer::new(&lane, Start::Now, policy, ALL);
        let mut producer = Producer::new(&lane);
        assert!(producer.try_publish(ALL) && producer.try_publish(ALL));
        if policy != Policy::Block {
            assert!(reader.reader.acquire());
        }
        let reading = loom::thread::spawn(move || {
            if leaves {
                return None;
            }
            assert!(reader.read().is_some());
            Some(reader)
        });
        producer.publish();
        let _reader = reading.join().unwrap();
    });
}

#[test]
fn no_call_to_a_waiting_producer_is_lost() {
    a_producer_waits_for_room::<Nothing>(false, Policy::Block);
    a_producer_waits_for_room::<Nothing>(false, Policy::DropOldest);
    refuted(|| a_producer_waits_for_room::<LightFence>(false, Policy::Block), &[ASLEEP]);
    refuted(|| a_producer_waits_for_room::<HeavyFence>(false, Policy::Block), &[ASLEEP]);
    refuted(|| a_producer_waits_for_room::<FullFence>(false, Policy::Block), &[ASLEEP]);
}

#[test]
fn a_reader_that_leaves_calls_the_producer() {
    a_producer_waits_for_room::<Nothing>(true, Policy::Block);
    refuted(|| a_producer_waits_for_room::<FullFence>(true, Policy::Block), &[ASLEEP]);
}

/// The reader that holds everything back reads on while another one attaches.
#[test]
fn a_newcomer_does_not_keep_a_producer_waiting() {
    explore(|| {
        let lane = lane::<Nothing>(2, 1);
        let mut reader = Consumer::new(&lane, Start::Now, Policy::Block, ALL);
        let mut producer = Producer::new(&lane);
        assert!(producer.try_publish(ALL) && producer.try_publish(ALL));
        let reading = loom::thread::spawn({
            let lane = lane.clone();
            move || {
                reader.drain();
                (reader, Consumer::new(&lane, Start::Now, Policy::Block, ALL))
            }
        });
        producer.publish();
        let _readers = reading.join().unwrap();
    });
}

/// A reader that comes to an idle ring and sleeps at once is woken by the first packet after it.
#[test]
fn an_unsettled_reader_is_woken() {
    explore(|| {
        let lane = lane::<Nothing>(2, 0);
        let mut producer = Producer::new(&lane);
        assert!(producer.try_publish(ALL));
        let mut reader = Consumer::new(&lane, Start::Now, Policy::Block, ALL);
        let reading = loom::thread::spawn(move || {
            reader.reader.fence();
            while reader.seen.is_empty() {
                let bell = reader.bell.clone();
                bell.wait(|| reader.reader.acquire());
                reader.read();
            }
            reader
        });
        assert!(producer.try_publish(ALL));
        let reader = reading.join().unwrap();
        assert_eq!(reader.seen, [1]);
    });
}

/// The producer waits for two readers. It has stepped the masked one over to the end, which that reader finds out while it looks; then
/// there is nothing that it will ever release.
#[test]
fn a_reader_that_was_stepped_over_calls_the_producer() {
    explore(|| {
        let lane = lane::<Nothing>(2, 0);
        let mut reader = Consumer::new(&lane, Start::Now, Policy::Block, ALL);
        let mut masked = Consumer::new(&lane, Start::Now, Policy::Block, 2);
        let mut producer = Producer::new(&lane);
        assert!(producer.try_publish(1) && producer.try_publish(1) && !producer.try_publish(1));
        let reading = loom::thread::spawn(move || {
            assert!(reader.read().is_some());
            reader
        });
        let looking = loom::thread::spawn(move || {
            assert!(!masked.reader.acquire() || masked.reader.seq() == 2);
            masked
        });
        producer.publish();
        let _readers = (reading.join().unwrap(), looking.join().unwrap());
    });
}
