//! Readers that come and go while the producer publishes.

use super::*;

/// A reader attaches while the producer wraps: what it sees has no gap, and in the end it has seen everything.
fn a_late_reader_misses_nothing<F: Flaw>(start: Start, policy: Policy, already: usize) {
    explore(move || {
        let lane = lane::<F>(2, 1);
        let mut producer = Producer::new(&lane);
        for _ in 0..already {
            assert!(producer.try_publish(ALL));
        }
        // The producer runs first: one interruption less to where it matters.
        let reading = loom::thread::spawn({
            let lane = lane.clone();
            move || {
                let mut late = Consumer::new(&lane, start, policy, ALL);
                late.read();
                late.read();
                late
            }
        });
        for _ in 0..3 {
            producer.try_publish(ALL);
        }
        let mut late = reading.join().unwrap();
        late.drain();
        producer.try_publish(ALL);
        late.drain();
        let lost = late.reader.lost();
        let is_whole = late.seen.windows(2).all(|w| w[0] + 1 == w[1]) || lost > 0;
        assert!(is_whole, "a gap: {:?}", late.seen);
        assert_eq!(late.seen.last(), Some(&(lane.committed() - 1)), "the reader is stuck behind {:?}", late.seen);
    });
}

#[test]
fn a_reader_from_the_earliest_misses_nothing() {
    a_late_reader_misses_nothing::<Nothing>(Start::Earliest, Policy::Block, 0);
    a_late_reader_misses_nothing::<Nothing>(Start::Earliest, Policy::Block, 2);
}

#[test]
fn a_reader_of_the_last_packet_misses_nothing() {
    a_late_reader_misses_nothing::<Nothing>(Start::Last(1), Policy::Block, 1);
}

#[test]
fn a_reader_from_now_misses_nothing() {
    a_late_reader_misses_nothing::<Nothing>(Start::Now, Policy::Block, 2);
}

#[test]
fn a_late_lossy_reader_ends_with_the_newest() {
    a_late_reader_misses_nothing::<Nothing>(Start::Earliest, Policy::DropOldest, 1);
    a_late_reader_misses_nothing::<Nothing>(Start::Earliest, Policy::DropNewest, 1);
    a_late_reader_misses_nothing::<Nothing>(Start::Earliest, Policy::Conflate, 0);
}

#[test]
fn attaching_needs_both_fences_and_the_orders() {
    let run = a_late_reader_misses_nothing::<LightFence>;
    refuted(|| run(Start::Earliest, Policy::Block, 2), &[TORN, RACE, "is stuck"]);
    let run = a_late_reader_misses_nothing::<HeavyFence>;
    refuted(|| run(Start::Earliest, Policy::Block, 2), &[TORN, RACE, "is stuck"]);
    let run = a_late_reader_misses_nothing::<Orders>;
    refuted(|| run(Start::Earliest, Policy::Block, 2), &[TORN, RACE, "is stuck"]);
}

/// A lossy reader that pins where it no longer is must not lead a newcomer there.
#[test]
fn a_newcomer_never_starts_below_what_is_overwritten() {
    explore(|| {
        let lane = lane::<Nothing>(2, 0);
        let mut lossy = Consumer::new(&lane, Start::Now, Policy::DropOldest, ALL);
        let mut producer = Producer::new(&lane);
        assert!(producer.try_publish(ALL) && producer.try_publish(ALL));
        let reading = loom::thread::spawn(move || {
            lossy.read();
            lossy
        });
        producer.try_publish(ALL);
        producer.try_publish(ALL);
        let mut newcomer = Consumer::new(&lane, Start::Earliest, Policy::Block, ALL);
        newcomer.drain();
        let _lossy = reading.join().unwrap();
        producer.try_publish(ALL);
        newcomer.drain();
        assert_eq!(newcomer.seen.last(), Some(&(lane.committed() - 1)), "stuck behind {:?}", newcomer.seen);
    });
}

/// A reader attaches to a ring that nobody reads and that keeps nothing, while its producer counts packets.
fn an_unsettled_reader_sees_what_comes_after_it<F: Flaw>(policy: Policy) {
    explore(move || {
        let lane = lane::<F>(2, 0);
        let mut producer = Producer::new(&lane);
        assert!(producer.try_publish(ALL));
        let reading = loom::thread::spawn({
            let lane = lane.clone();
            move || {
                let mut reader = Consumer::new(&lane, Start::Earliest, policy, ALL);
                reader.read();
                reader.read();
                reader
            }
        });
        producer.try_publish(ALL);
        producer.try_publish(ALL);
        let mut reader = reading.join().unwrap();
        reader.drain();
        assert!(producer.try_publish(ALL), "nothing is in the way");
        reader.drain();
        assert!(reader.seen.windows(2).all(|w| w[0] + 1 == w[1]), "a gap: {:?}", reader.seen);
        assert_eq!(reader.seen.last(), Some(&3), "the reader is stuck behind {:?}", reader.seen);
    });
}

#[test]
fn an_unsettled_reader_is_settled_by_the_next_packet() {
    an_unsettled_reader_sees_what_comes_after_it::<Nothing>(Policy::Block);
    an_unsettled_reader_sees_what_comes_after_it::<Nothing>(Policy::DropOldest);
    an_unsettled_reader_sees_what_comes_after_it::<Nothing>(Policy::DropNewest);
    let run = an_unsettled_reader_sees_what_comes_after_it::<Orders>;
    refuted(|| run(Policy::Block), &[TORN, RACE, "a gap", "is stuck"]);
}

/// The last reader of a ring leaves, and another one comes, while the producer publishes.
#[test]
fn a_ring_falls_idle_and_wakes_up_again() {
    explore(|| {
        let lane = lane::<Nothing>(2, 0);
        let first = Consumer::new(&lane, Start::Now, Policy::Block, ALL);
        let mut producer = Producer::new(&lane);
        assert!(producer.try_publish(ALL));
        let reading = loom::thread::spawn({
            let lane = lane.clone();
            move || {
                drop(first);
                let mut second = Consumer::new(&lane, Start::Earliest, Policy::Block, ALL);
                second.read();
                second
            }
        });
        for _ in 0..3 {
            producer.try_publish(ALL);
        }
        let mut second = reading.join().unwrap();
        second.drain();
        assert!(producer.try_publish(ALL), "nothing is in the way");
        second.drain();
        assert!(second.seen.windows(2).all(|w| w[0] + 1 == w[1]), "a gap: {:?}", second.seen);
        assert_eq!(second.seen.last(), Some(&(lane.committed() - 1)), "stuck behind {:?}", second.seen);
    });
}

/// One reader came to an idle ring; another one comes while the producer wakes it up.
#[test]
fn a_second_reader_comes_while_the_ring_wakes_up() {
    explore(|| {
        let lane = lane::<Nothing>(2, 0);
        let mut producer = Producer::new(&lane);
        assert!(producer.try_publish(ALL));
        let mut first = Consumer::new(&lane, Start::Earliest, Policy::Block, ALL);
        let reading = loom::thread::spawn({
            let lane = lane.clone();
            move || {
                let mut second = Consumer::new(&lane, Start::Earliest, Policy::Block, ALL);
                second.read();
                second
            }
        });
        assert!(producer.try_publish(ALL) && producer.try_publish(ALL));
        let mut second = reading.join().unwrap();
        first.drain();
        second.drain();
        assert!(producer.try_publish(ALL), "nothing is in the way");
        first.drain();
        second.drain();
        assert_eq!(first.seen, [1, 2, 3]);
        assert!(second.seen.ends_with(&[3]), "the reader is stuck behind {:?}", second.seen);
    });
}

/// A producer leaves, and another thread takes its place.
fn a_second_producer_follows_the_first<F: Flaw>() {
    explore(|| {
        let lane = lane::<F>(2, 0);
        let mut reader = Consumer::new(&lane, Start::Now, Policy::Block, ALL);
        let mut first = Producer::new(&lane);
        assert!(first.try_publish(ALL) && reader.read().is_some());
        let following = loom::thread::spawn({
            let lane = lane.clone();
            move || {
                let writer = Writer::new(Arc::clone(&lane))?;
                let mut second = Producer(Calm::new(writer));
                second.try_publish(ALL);
                Some(second)
            }
        });
        first.try_publish(ALL);
        drop(first);
        let _second = following.join().unwrap();
        reader.drain();
        assert!(reader.seen.iter().copied().eq(0..lane.committed()), "a gap: {:?}", reader.seen);
    });
}

#[test]
fn producers_follow_each_other() {
    a_second_producer_follows_the_first::<Nothing>();
    refuted(a_second_producer_follows_the_first::<Orders>, &[TORN, RACE, "a gap"]);
}
