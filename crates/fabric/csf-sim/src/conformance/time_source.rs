//! What every time source does (FAB-040).

use csf_core::port::TimeSource;
use csf_core::{NanoTime, TimeResult};

/// Readings per thread: enough for several re-fits' worth of reads between other threads' reads.
const READINGS: usize = 20_000;

/// Runs the suite.
///
/// # Panics
/// With the claim that does not hold.
pub fn time_source(source: &dyn TimeSource) {
    never_goes_backwards(source);
    never_goes_backwards_between_threads(source);
    checkpoints_are_numbered_and_coherent(source);
}

fn read(source: &dyn TimeSource) -> NanoTime {
    expect(source.now_ns())
}

fn expect<T>(result: TimeResult<T>) -> T {
    result.expect("a healthy time source answers")
}

fn never_goes_backwards(source: &dyn TimeSource) {
    let mut last = read(source);
    for _ in 0..READINGS {
        let now = read(source);
        assert!(now >= last, "a reading of {now:?} came after {last:?}");
        last = now;
    }
}

/// Two threads hand the newest reading to each other: whoever takes it reads nothing earlier.
fn never_goes_backwards_between_threads(source: &dyn TimeSource) {
    use std::sync::atomic::{AtomicU64, Ordering};
    let newest = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                for _ in 0..READINGS {
                    let seen = newest.load(Ordering::Acquire);
                    let now = read(source).as_nanos();
                    assert!(now >= seen, "a thread read {now} after another thread had read {seen}");
                    newest.fetch_max(now, Ordering::AcqRel);
                }
            });
        }
    });
}

fn checkpoints_are_numbered_and_coherent(source: &dyn TimeSource) {
    let first = expect(source.create_checkpoint("first"));
    let second = expect(source.create_checkpoint("second"));
    assert_eq!((first.name.as_str(), second.name.as_str()), ("first", "second"));
    assert_eq!(second.sequence, first.sequence + 1, "checkpoints are numbered without gap");
    assert!(source.validate_coherence(&first, &second), "time and sequence advance from {first:?} to {second:?}");
    assert!(!source.validate_coherence(&second, &first), "nothing advances from {second:?} back to {first:?}");
    assert!(!source.validate_coherence(&first, &first), "a checkpoint is not after itself");
}
