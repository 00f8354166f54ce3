//! Sleepers that take their mark back, the wish to be rung for, while the producer looks at it.
//!
//! The reader here is `Subscription`'s loop on one lane, which counts a single wait that ended awake as long.

use super::*;

/// What a reader does to its mark: what the product does, and what it might have done.
#[derive(Clone, Copy, PartialEq)]
enum Habit {
    Product,
    /// Tells the producer, and forgets that it did.
    CountsOnly,
    /// Takes everybody's mark back.
    Clears,
    /// Relies on a wish of which nothing is left.
    AsksOnce,
}

struct Sleeper<F: Flaw> {
    lane: Lane<F>,
    consumer: Consumer<F>,
    habit: Habit,
    sleeps: bool,
}

impl<F: Flaw> Sleeper<F> {
    fn new(lane: &Lane<F>, policy: Policy, habit: Habit) -> Self {
        let consumer = Consumer::new(lane, Start::Now, policy, ALL);
        Self { lane: lane.clone(), consumer, habit, sleeps: false }
    }

    /// As `Subscription::allow_sleep`.
    fn ask(&mut self) {
        if !self.sleeps {
            self.sleeps = true;
            if self.habit != Habit::AsksOnce || self.consumer.seen.is_empty() {
                self.consumer.reader.fence();
            }
        }
    }

    /// As `Subscription::stayed_awake`.
    fn take_back(&mut self) {
        if self.sleeps {
            self.sleeps = false;
            let attention = &self.lane.attention;
            match self.habit {
                Habit::Product | Habit::AsksOnce => self.consumer.reader.unfence(),
                Habit::CountsOnly => _ = attention.fetch_add(FENCED.wrapping_neg(), Ordering::SeqCst),
                Habit::Clears => {
                    self.consumer.reader.cursor().is_fenced.store(0, Ordering::Release);
                    let marks = attention.load(Ordering::Acquire) & FENCED_MASK;
                    attention.fetch_add(marks.wrapping_neg(), Ordering::SeqCst);
                }
            }
        }
    }

    /// As `Subscriber::wait`.
    fn next(&mut self) {
        if self.consumer.read().is_some() {
            return self.take_back();
        }
        self.ask();
        let bell = self.consumer.bell.clone();
        while self.consumer.read().is_none() {
            bell.wait(|| self.consumer.reader.acquire());
        }
    }
}

/// Nobody wants to be rung for: neither the ring nor its producer pays for it.
fn no_mark_is_left<F: Flaw>(lane: &Lane<F>, producer: &mut Producer<F>) {
    assert_eq!(lane.attention.load(Ordering::Acquire) & FENCED_MASK, 0, "a mark is left behind");
    assert!(producer.try_publish(ALL));
    assert!(producer.0.is_quiet(), "a mark is left behind, at the producer");
}

/// The reader asks to be rung for, is awake when the first packet comes, takes that back, and sleeps for the second one.
fn a_reader_sleeps_again<F: Flaw>(policy: Policy, habit: Habit) {
    explore(move || {
        let lane = lane::<F>(4, 0);
        let mut sleeper = Sleeper::new(&lane, policy, habit);
        let mut producer = Producer::new(&lane);
        let reading = loom::thread::spawn(move || {
            sleeper.ask();
            sleeper.next();
            sleeper.next();
            sleeper
        });
        assert!(producer.try_publish(ALL) && producer.try_publish(ALL));
        let mut sleeper = reading.join().unwrap();
        assert_eq!(sleeper.consumer.seen, [0, 1]);
        sleeper.take_back();
        no_mark_is_left(&lane, &mut producer);
        // A reader that took its mark back has none to leave.
        drop(sleeper);
        let _late = Consumer::new(&lane, Start::Now, policy, ALL);
        no_mark_is_left(&lane, &mut producer);
    });
}

#[test]
fn no_call_is_lost_to_a_reader_that_took_its_mark_back() {
    a_reader_sleeps_again::<Nothing>(Policy::Block, Habit::Product);
    a_reader_sleeps_again::<Nothing>(Policy::DropOldest, Habit::Product);
}

#[test]
fn sleeping_again_needs_every_fence_and_another_wish() {
    refuted(|| a_reader_sleeps_again::<LightFence>(Policy::Block, Habit::Product), &[ASLEEP]);
    refuted(|| a_reader_sleeps_again::<HeavyFence>(Policy::Block, Habit::Product), &[ASLEEP]);
    refuted(|| a_reader_sleeps_again::<FullFence>(Policy::Block, Habit::Product), &[ASLEEP]);
    refuted(|| a_reader_sleeps_again::<Nothing>(Policy::Block, Habit::AsksOnce), &[ASLEEP]);
    refuted(|| a_reader_sleeps_again::<Nothing>(Policy::Block, Habit::CountsOnly), &[ASLEEP, "left behind"]);
}

/// One reader sleeps; another one takes its mark back and leaves meanwhile.
fn a_sleeper_stays_marked<F: Flaw>(habit: Habit) {
    explore(move || {
        let lane = lane::<F>(2, 0);
        let mut sleeper = Sleeper::new(&lane, Policy::Block, Habit::Product);
        let mut leaver = Sleeper::new(&lane, Policy::DropOldest, habit);
        let mut producer = Producer::new(&lane);
        leaver.ask();
        let reading = loom::thread::spawn(move || {
            sleeper.next();
            sleeper
        });
        let leaving = loom::thread::spawn(move || leaver.take_back());
        assert!(producer.try_publish(ALL));
        leaving.join().unwrap();
        let mut sleeper = reading.join().unwrap();
        sleeper.take_back();
        no_mark_is_left(&lane, &mut producer);
    });
}

#[test]
fn taking_a_mark_back_leaves_the_others() {
    a_sleeper_stays_marked::<Nothing>(Habit::Product);
    refuted(|| a_sleeper_stays_marked::<Nothing>(Habit::Clears), &[ASLEEP, "left behind"]);
}
