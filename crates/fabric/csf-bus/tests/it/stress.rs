//! Readers that come and go by the thousand while a producer publishes and a blocking reader reads. `CSF_STRESS_SEED` and
//! `CSF_STRESS_ROUNDS` choose another run; a failure names its seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use csf_bus::{Interest, PhaseCoherenceBus, Policy, Start, Subscriber, TopicSpec};
use csf_core::port::LaneKind;
use csf_core::{Attributes, Header};

use super::{Word, bus};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

fn targets(seq: u64) -> u64 {
    1 << (seq % 3)
}

/// Heap payloads: a slot read while it is overwritten shows in the text.
fn text(seq: u64) -> String {
    format!("packet {seq}")
}

fn check(header: &Header, word: &Word) -> u64 {
    let seq = header.id.seq;
    assert_eq!((word.0.as_str(), header.targets), (text(seq).as_str(), targets(seq)));
    seq
}

/// One visit: subscribes somehow, reads some packets, leaves. Returns how many it read.
fn visit(bus: &PhaseCoherenceBus, dice: &mut Dice) -> u64 {
    let policy = match dice.below(5) {
        0 | 1 => Policy::Block,
        2 => Policy::DropOldest,
        3 => Policy::DropNewest,
        _ => Policy::Conflate,
    };
    let start = match dice.below(3) {
        0 => Start::Now,
        1 => Start::Last(dice.below(8)),
        _ => Start::Earliest,
    };
    let mask = [u64::MAX, u64::MAX, 1, 2][dice.below(4) as usize];
    let mut visitor: Subscriber<Word> =
        bus.subscriber("w", Interest::new().policy(policy).start(start).mask(mask)).unwrap();
    let (mut last, mut count) = (None, 0);
    for _ in 0..dice.below(24) {
        // A blocking reader may hold the producer back, so it only looks; the next visit may find more.
        let turns = dice.below(4);
        let look = |header: &Header, word: &Word| {
            // What a reader holds stays what it is while others run.
            (0..turns).for_each(|_| thread::yield_now());
            check(header, word)
        };
        let Some(seq) = visitor.poll(look) else { continue };
        assert!(targets(seq) & mask != 0);
        let step = if mask == u64::MAX { 1 } else { 3 };
        let follows = last.is_none_or(|last| if policy == Policy::Block { seq == last + step } else { seq > last });
        assert!(follows, "{policy:?}: {seq} after {last:?}");
        (last, count) = (Some(seq), count + 1);
    }
    count
}

#[test]
#[expect(clippy::print_stdout, reason = "the run to repeat")]
fn ten_thousand_readers_come_and_go_under_load() {
    const VISITORS: u64 = 2;
    /// The lane moves on by this many packets from visit to visit, at least.
    const PACE: u64 = 64;
    let (seed, rounds) = (setting("CSF_STRESS_SEED", 1), setting("CSF_STRESS_ROUNDS", 10_000));
    println!("CSF_STRESS_SEED={seed} CSF_STRESS_ROUNDS={rounds}");
    let bus = bus();
    let mut spec = TopicSpec::new::<Word>("w").capacity(16);
    spec.history = 4;
    bus.declare(spec).unwrap();
    let mut publisher = bus.publisher::<Word>("w", "a", LaneKind::Source).unwrap();
    let mut resident = bus.subscriber::<Word>("w", Interest::new()).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let (produced, total) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));

    let producing = thread::spawn({
        let (is_over, produced, total) = (is_over.clone(), produced.clone(), total.clone());
        move || {
            let mut seq = 0;
            while !is_over.load(Ordering::Relaxed) || seq == 0 {
                match publisher.try_publish(Word(text(seq)), Attributes::default().with_targets(targets(seq))) {
                    Ok(_) => {
                        seq += 1;
                        produced.store(seq, Ordering::Relaxed);
                    }
                    Err(_) => thread::yield_now(),
                }
            }
            total.store(seq, Ordering::Release);
        }
    });
    let reading = thread::spawn(move || {
        let mut next = 0;
        while next < total.load(Ordering::Acquire) {
            match resident.poll(check) {
                Some(seq) => {
                    assert_eq!(seq, next, "a blocking reader misses nothing");
                    next += 1;
                }
                None => thread::yield_now(),
            }
        }
    });
    let visiting: Vec<_> = (0..VISITORS)
        .map(|visitor| {
            let (bus, produced) = (bus.clone(), produced.clone());
            let mut dice = Dice(seed.wrapping_mul(VISITORS) + visitor);
            let mut pace = move |round: u64| {
                while produced.load(Ordering::Relaxed) < round * PACE {
                    thread::yield_now();
                }
                visit(&bus, &mut dice)
            };
            thread::spawn(move || (0..rounds / VISITORS).map(&mut pace).sum::<u64>())
        })
        .collect();
    let visits: Vec<_> = visiting.into_iter().map(thread::JoinHandle::join).collect();
    is_over.store(true, Ordering::Relaxed);
    let (producing, reading) = (producing.join(), reading.join());
    println!("visitors read {visits:?} of {} packets", bus.topic("w").unwrap().packets());
    assert!(visits.iter().all(Result::is_ok) && producing.is_ok() && reading.is_ok(), "with CSF_STRESS_SEED={seed}");
    assert_eq!(bus.topic("w").unwrap().subscriber_count(), 0);
}
