//! The protocol on a machine that reorders: the same code over loom's atomics, in every interleaving of up to
//! [`PREEMPTIONS`] preemptions and with every stale value that the C++ memory model lets a load return.
//!
//! The counter is a shared word that each read advances. An ordered read acquires what was released before an earlier read, as
//! LFENCE and the writer's full fence bring about; an unordered read acquires nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use loom::sync::atomic::AtomicU64;

use super::{Machine, Reading, Timeline, Word};
use crate::discipline::Line;

/// By loom's documentation most faults need two or three; three pass as well, in 15 s instead of 2.
const PREEMPTIONS: usize = 2;
/// Ticks between two reads of the counter, one nanosecond each on the first line.
const TICKS: u64 = 100;
const FIRST: Line = Line { tsc: 0, ns: 5_000_000, rate: 1 << 56 };
/// Far more than any reading is apart, so that words of two lines taken together are on none.
const STEP_NS: u64 = 1_000_000;

loom::lazy_static! {
    static ref COUNTER: AtomicU64 = AtomicU64::new(TICKS);
}

impl Word for AtomicU64 {
    fn new(value: u64) -> Self {
        Self::new(value)
    }
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }
}

struct Model;

impl Machine for Model {
    type Word = AtomicU64;
    fn fence(order: Ordering) {
        loom::sync::atomic::fence(order);
    }
    fn spin() {
        loom::thread::yield_now();
    }
    fn counter() -> u64 {
        COUNTER.fetch_add(TICKS, Ordering::Acquire)
    }
    fn counter_unordered() -> u64 {
        COUNTER.fetch_add(TICKS, Ordering::Relaxed)
    }
}

/// A machine on which the protocol's fences are left out.
struct Fenceless;

impl Machine for Fenceless {
    type Word = AtomicU64;
    fn fence(_: Ordering) {}
    fn spin() {
        Model::spin();
    }
    fn counter() -> u64 {
        Model::counter()
    }
    fn counter_unordered() -> u64 {
        Model::counter_unordered()
    }
}

fn explore(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(run);
}

/// Counter and time of a reading of a line in use.
fn look<M: Machine>(timeline: &Timeline<M>, counter: fn() -> u64) -> (u64, u64) {
    let now = std::cell::Cell::new(0);
    let reading = timeline.read_by(|| {
        now.set(counter());
        now.get()
    });
    match reading {
        Reading::Counter { ns, is_due: false } => (now.get(), ns),
        other => panic!("the counter advances and nothing is due, got {other:?}"),
    }
}

/// One writer draws `lines`, one reader looks twice; every look is on one line, whole.
fn looks_are_on_one_line<M: Machine<Word = AtomicU64> + Send + Sync + 'static>(
    counter: fn() -> u64,
    rates: &'static [u64],
) {
    explore(move || {
        let timeline = Arc::new(Timeline::<M>::new(FIRST, u64::MAX));
        // Not loom's: what the test knows adds no order to what it tests.
        let lines = Arc::new(Mutex::new(vec![FIRST]));
        let writer = loom::thread::spawn({
            let (timeline, lines) = (timeline.clone(), lines.clone());
            move || {
                for &rate in rates {
                    timeline.adjust(rate, STEP_NS, u64::MAX);
                    lines.lock().unwrap().push(timeline.line());
                }
            }
        });
        let looks = [look(&timeline, counter), look(&timeline, counter)];
        writer.join().unwrap();
        let lines = lines.lock().unwrap();
        for (now, ns) in looks {
            assert!(lines.iter().any(|line| line.at(now) == ns), "{ns} at {now} is on none of {lines:?}");
        }
        assert!(looks[1].1 >= looks[0].1, "time went back: {looks:?}");
    });
}

#[test]
fn no_reader_sees_a_torn_line() {
    looks_are_on_one_line::<Model>(Model::counter, &[3 << 55, 1 << 55]);
}

#[test]
fn no_unordered_reader_sees_a_torn_line() {
    looks_are_on_one_line::<Model>(Model::counter_unordered, &[3 << 55, 1 << 55]);
}

/// What the model says when the protocol does not hold on `run`'s machine.
fn complaint(run: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("the model notices");
    panic.downcast_ref::<String>().cloned().expect("an assertion with values")
}

#[test]
fn without_its_fences_the_protocol_tears() {
    let torn = complaint(|| looks_are_on_one_line::<Fenceless>(Model::counter_unordered, &[3 << 55]));
    assert!(torn.contains("is on none of"), "{torn}");
}

/// Two looks while a line of `rate` follows without a step, and one after it.
fn time_never_goes_back<M: Machine<Word = AtomicU64> + Send + Sync + 'static>(counter: fn() -> u64, rate: u64) {
    explore(move || {
        let timeline = Arc::new(Timeline::<M>::new(FIRST, u64::MAX));
        let writer = loom::thread::spawn({
            let timeline = timeline.clone();
            move || timeline.adjust(rate, 0, u64::MAX)
        });
        let looks = [(); 2].map(|()| look(&timeline, counter).1);
        writer.join().unwrap();
        let last = look(&timeline, counter).1;
        assert!(looks.is_sorted() && last >= looks[1], "time went back: {looks:?}, {last}");
    });
}

#[test]
fn ordered_readings_never_go_back_whatever_the_rate() {
    time_never_goes_back::<Model>(Model::counter, 1 << 53);
    let back = complaint(|| time_never_goes_back::<Fenceless>(Model::counter, 1 << 53));
    assert!(back.contains("time went back"), "without the writer's fence: {back}");
}

/// The strongest correction there is; readings that missed the new line are ahead of it by less than a nanosecond.
#[test]
fn unordered_readings_never_go_back_at_rates_that_the_discipline_draws() {
    time_never_goes_back::<Model>(Model::counter_unordered, (1 << 56) / 1_000 * 999);
}

#[test]
fn a_reader_sees_the_counter_or_the_system_and_nothing_between() {
    explore(|| {
        let timeline = Arc::new(Timeline::<Model>::new(FIRST, u64::MAX));
        let writer = loom::thread::spawn({
            let timeline = timeline.clone();
            move || timeline.give_up(17, || u64::MAX)
        });
        let now = std::cell::Cell::new(0);
        let looks = [(); 2].map(|()| {
            timeline.read_by(|| {
                now.set(Model::counter_unordered());
                now.get()
            })
        });
        writer.join().unwrap();
        for look in looks {
            let is_whole = match look {
                Reading::Counter { ns, is_due } => !is_due && (FIRST.ns..FIRST.ns + STEP_NS).contains(&ns),
                Reading::System { shift_ns } => shift_ns == 17,
                Reading::CounterReset => false,
            };
            assert!(is_whole, "{look:?}");
        }
        let has_gone_over = matches!(looks, [Reading::System { .. }, Reading::Counter { .. }]);
        assert!(!has_gone_over, "a counter given up stays given up");
    });
}
