//! What a hybrid logical clock promises, one claim per function; `hlc_faults.rs` shows that each claim notices its fault.
//!
//! | property | claims |
//! | --- | --- |
//! | 1 happened-before, all branches of a receive | `happened_before_holds_in_every_small_history`, `a_receive_is_after_all_it_follows` |
//! | 2 growing, unique between producers | `stamps_of_threads_differ_at_least_in_their_node` |
//! | 3 not behind the clock, lead bounded | `a_stamp_is_not_behind_the_clock_nor_far_ahead` |
//! | 4 overflow carries, never wraps | `a_burst_carries_into_the_nanoseconds`, `the_end_of_time_is_an_error_and_changes_nothing` |
//! | 5 stamps beyond the offset | `an_impossible_stamp_is_refused_and_moves_nothing` |
//! | 6 jumps of the clock | `a_clock_set_back_takes_no_stamp_back`, `a_clock_that_jumped_ahead_is_detected` |
//! | 7 restart | `a_restart_continues_after_its_bound` |
//! | 8 wire form | `bytes_sort_as_stamps_do` |
//! | 9 consistent cut | `a_cut_at_any_time_is_consistent` |
//! | 10 suspend and resume | `a_node_that_slept_catches_up` |
//!
//! Properties 1, 2, 5 and 9 for five nodes are in `cluster.rs`. Source of the rules: Kulkarni et al., "Logical Physical Clocks"
//! (2014), figure 5; in nanoseconds: send `max(now, last + 1)`, receive `max(now, last, seen) + 1`.

use std::sync::Arc;
use std::time::Duration;

use csf_core::port::HlcClock;
use csf_core::{NodeId, Stamp, TimeError, TimeResult};
use csf_sim::SeededRng;
use csf_time::{Hlc, WireStamp};

use crate::stepped_clock::SteppedClock;

const START: u64 = 1_700_000_000_000_000_000;
/// Every clock here refuses stamps further ahead than this, nanoseconds.
pub(crate) const OFFSET: u64 = 1_000_000;
const HOUR: u64 = 3_600_000_000_000;

/// What the claims are made of.
pub(crate) trait Subject: Send {
    fn tick(&mut self) -> TimeResult<Stamp>;
    fn send(&mut self) -> TimeResult<Stamp>;
    fn batch(&mut self, count: u64) -> TimeResult<Stamp>;
    fn merge(&mut self, seen: Stamp) -> TimeResult<Stamp>;
    fn drift(&self) -> TimeResult<u64>;
    fn last(&self) -> Stamp;
}

/// Makes a clock of the node over the physical clock that continues after the stamp.
pub(crate) type Make<'a> = &'a dyn Fn(Arc<SteppedClock>, NodeId, Stamp) -> Box<dyn Subject>;

impl Subject for Hlc {
    fn tick(&mut self) -> TimeResult<Stamp> {
        HlcClock::tick(self)
    }
    fn send(&mut self) -> TimeResult<Stamp> {
        Hlc::send(self)
    }
    fn batch(&mut self, count: u64) -> TimeResult<Stamp> {
        self.tick_batch(count)
    }
    fn merge(&mut self, seen: Stamp) -> TimeResult<Stamp> {
        HlcClock::merge(self, seen)
    }
    fn drift(&self) -> TimeResult<u64> {
        self.check_drift()
    }
    fn last(&self) -> Stamp {
        HlcClock::last(self)
    }
}

fn real(source: Arc<SteppedClock>, node_id: NodeId, bound: Stamp) -> Box<dyn Subject> {
    Box::new(Hlc::new(source, node_id).with_max_offset(Duration::from_nanos(OFFSET)).not_before(bound))
}

macro_rules! claims {
    ($($claim:ident),+ $(,)?) => {
        $(
            #[test]
            fn $claim() {
                claims::$claim(&real);
            }
        )+

        pub(crate) const CLAIMS: &[(&str, fn(Make<'_>))] = &[$((stringify!($claim), claims::$claim)),+];
    };
}

claims!(
    happened_before_holds_in_every_small_history,
    a_receive_is_after_all_it_follows,
    stamps_of_threads_differ_at_least_in_their_node,
    a_stamp_is_not_behind_the_clock_nor_far_ahead,
    a_burst_carries_into_the_nanoseconds,
    the_end_of_time_is_an_error_and_changes_nothing,
    an_impossible_stamp_is_refused_and_moves_nothing,
    a_clock_set_back_takes_no_stamp_back,
    a_clock_that_jumped_ahead_is_detected,
    a_restart_continues_after_its_bound,
    bytes_sort_as_stamps_do,
    a_cut_at_any_time_is_consistent,
    a_node_that_slept_catches_up,
    a_batch_is_that_many_ticks,
);

mod claims {
    use super::*;

    pub(super) fn happened_before_holds_in_every_small_history(make: Make<'_>) {
        const LENGTH: u32 = 5;
        for history in 0..(2 * STEPS).pow(LENGTH) {
            let mut pair = Pair::new(make, 10);
            let mut rest = history;
            for _ in 0..LENGTH {
                pair.step((rest % 2) as usize, rest / 2 % STEPS);
                rest /= 2 * STEPS;
            }
            pair.judge(history);
        }
    }

    pub(super) fn a_receive_is_after_all_it_follows(make: Make<'_>) {
        // Every order of own stamp, remote stamp and physical time, with every pair and all three equal.
        for own in 0..3 {
            for seen in 0..3 {
                for physical in 0..3 {
                    let clock = SteppedClock::at(START + physical);
                    let mut hlc = make(clock, 1, Stamp(START + own));
                    let largest = own.max(seen).max(physical);
                    let given = hlc.merge(Stamp(START + seen)).unwrap();
                    assert_eq!(given, Stamp(START + largest + 1), "own {own}, seen {seen}, physical {physical}");
                    assert_eq!(hlc.last(), given);
                    assert!(hlc.send().unwrap() > given, "what is sent in answer is after it");
                }
            }
        }
    }

    pub(super) fn stamps_of_threads_differ_at_least_in_their_node(make: Make<'_>) {
        const EACH: u64 = 5_000;
        // The clock stands, so that every producer gives out the same nanoseconds.
        let clock = SteppedClock::at(START);
        let runs: Vec<Vec<WireStamp>> = std::thread::scope(|threads| {
            let producers: Vec<_> = (0..4)
                .map(|node_id| {
                    let mut hlc = make(clock.clone(), node_id, Stamp::ZERO);
                    let stamp = move |n| WireStamp { stamp: give(hlc.as_mut(), n), node_id };
                    threads.spawn(move || (0..EACH).map(stamp).collect())
                })
                .collect();
            producers.into_iter().map(|producer| producer.join().unwrap()).collect()
        });
        for run in &runs {
            assert!(run.is_sorted_by(|a, b| a.stamp < b.stamp), "one producer's stamps grow");
        }
        let mut all: Vec<_> = runs.concat();
        all.sort_unstable();
        assert!(all.is_sorted_by(|a, b| a < b), "no stamp of a node is given out twice");
        assert!(all.iter().zip(&all[1..]).any(|(a, b)| a.stamp == b.stamp), "and nanoseconds did meet");
    }

    pub(super) fn a_stamp_is_not_behind_the_clock_nor_far_ahead(make: Make<'_>) {
        let mut rng = SeededRng::new(0x0333);
        let clock = SteppedClock::at(START);
        let mut hlc = make(clock.clone(), 1, Stamp::ZERO);
        for n in 0..20_000 {
            // The clock advances by at least 3 ns for each event, so that leads cannot pile up.
            clock.set(clock.get() + 3 + rng.below(500));
            let stamp = match rng.below(10_000) {
                0 => hlc.merge(Stamp(clock.get() + OFFSET)).unwrap(),
                // Mostly leads that the clock makes up for within a few events.
                1..2_000 => hlc.merge(Stamp(clock.get() - OFFSET + rng.below(OFFSET + 1_000))).unwrap(),
                _ => give(hlc.as_mut(), n),
            };
            assert!(stamp.as_nanos() >= clock.get(), "{stamp} is behind the clock at {}", clock.get());
            assert!(stamp.as_nanos() - clock.get() <= OFFSET + 1, "{stamp} is ahead of the clock at {}", clock.get());
            assert_eq!(hlc.drift().unwrap_or(OFFSET + 1), stamp.as_nanos() - clock.get());
        }
    }

    pub(super) fn a_burst_carries_into_the_nanoseconds(make: Make<'_>) {
        // Past every width a separate logical counter could have up to 16 bits.
        const BURST: u64 = 70_000;
        let clock = SteppedClock::at(START);
        let mut hlc = make(clock.clone(), 1, Stamp::ZERO);
        for n in 0..BURST {
            assert_eq!(hlc.tick().unwrap(), Stamp(START + n));
        }
        clock.set(START + BURST - 1);
        assert_eq!(hlc.tick().unwrap(), Stamp(START + BURST), "the lead is still one");
        clock.set(START + BURST + 7);
        assert_eq!(hlc.tick().unwrap(), Stamp(START + BURST + 7), "and gone when the clock has caught up");
    }

    pub(super) fn the_end_of_time_is_an_error_and_changes_nothing(make: Make<'_>) {
        let end = Stamp(u64::MAX);
        let mut hlc = make(SteppedClock::at(u64::MAX - 5), 1, end);
        assert!(matches!(hlc.tick(), Err(TimeError::Unavailable { .. })));
        assert!(matches!(hlc.send(), Err(TimeError::Unavailable { .. })));
        assert!(matches!(hlc.batch(1), Err(TimeError::Unavailable { .. })));
        assert!(matches!(hlc.merge(end), Err(TimeError::Unavailable { .. })));
        assert_eq!(hlc.last(), end);
    }

    pub(super) fn an_impossible_stamp_is_refused_and_moves_nothing(make: Make<'_>) {
        let clock = SteppedClock::at(START);
        let mut hlc = make(clock, 1, Stamp::ZERO);
        let own = hlc.tick().unwrap();
        for ahead in [OFFSET + 1, HOUR, u64::MAX - START] {
            match hlc.merge(Stamp(START + ahead)) {
                Err(TimeError::OffsetExceeded { remote_ns, ahead_ns, max_offset_ns }) => {
                    assert_eq!((remote_ns, ahead_ns, max_offset_ns), (START + ahead, ahead, OFFSET));
                }
                other => panic!("a stamp {ahead} ns ahead is refused, got {other:?}"),
            }
            assert_eq!(hlc.last(), own, "and forgotten");
            assert_eq!(hlc.drift(), Ok(0));
        }
        assert_eq!(hlc.tick().unwrap(), Stamp(START + 1), "the next stamp is as if nothing had come");
        assert_eq!(hlc.merge(Stamp(START + OFFSET)).unwrap(), Stamp(START + OFFSET + 1), "the limit is allowed");
    }

    pub(super) fn a_clock_set_back_takes_no_stamp_back(make: Make<'_>) {
        let clock = SteppedClock::at(START);
        let mut hlc = make(clock.clone(), 1, Stamp::ZERO);
        let mut last = hlc.tick().unwrap();
        for (n, back) in (0..).zip([1, 1_000, OFFSET, HOUR]) {
            clock.set(START - back);
            for _ in 0..4 {
                let stamp = give(hlc.as_mut(), n);
                assert_eq!(stamp, last.after(1), "a clock {back} ns behind only counts");
                last = stamp;
            }
            assert_eq!(hlc.merge(Stamp(START - back)).unwrap(), last.after(1), "and so does a receive");
            last = last.after(1);
        }
        match hlc.drift() {
            Err(TimeError::OffsetExceeded { ahead_ns, .. }) => assert_eq!(ahead_ns, last.as_nanos() - (START - HOUR)),
            other => panic!("an hour is more than the limit, got {other:?}"),
        }
    }

    pub(super) fn a_clock_that_jumped_ahead_is_detected(make: Make<'_>) {
        let (broken, sane) = (SteppedClock::at(START), SteppedClock::at(START));
        let mut sender = make(broken.clone(), 1, Stamp::ZERO);
        let mut receiver = make(sane, 2, Stamp::ZERO);
        receiver.merge(sender.send().unwrap()).unwrap();
        let before = receiver.last();
        broken.set(START + HOUR);
        let poisoned = sender.send().unwrap();
        assert!(matches!(receiver.merge(poisoned), Err(TimeError::OffsetExceeded { .. })), "the peer notices at once");
        assert_eq!(receiver.last(), before);
        broken.set(START + 10);
        assert!(matches!(sender.drift(), Err(TimeError::OffsetExceeded { .. })), "the node, once its clock is right");
        assert!(sender.send().unwrap() > poisoned, "and it keeps its order all the same");
    }

    pub(super) fn a_restart_continues_after_its_bound(make: Make<'_>) {
        let clock = SteppedClock::at(START);
        let mut first_run = make(clock.clone(), 1, Stamp::ZERO);
        let given = first_run.merge(Stamp(START + OFFSET / 2)).unwrap();
        // The bound is written down ahead of the stamps, as far as a stamp may be ahead of the clock.
        let bound = Stamp(clock.get() + OFFSET + 1);
        assert!(given <= bound);
        clock.set(START - 5);
        let mut second_run = make(clock.clone(), 1, bound);
        assert!(second_run.tick().unwrap() > bound);
        clock.set(START + 2 * OFFSET);
        assert_eq!(make(clock, 1, bound).tick().unwrap(), Stamp(START + 2 * OFFSET), "a bound passed binds nobody");
    }

    pub(super) fn bytes_sort_as_stamps_do(make: Make<'_>) {
        let mut rng = SeededRng::new(0x0888);
        let clock = SteppedClock::at(0);
        let mut stamps = Vec::new();
        for bit in 0..62 {
            // Around every carry of a byte.
            clock.set((1 << bit) - 1);
            let mut hlc = make(clock.clone(), rng.below(1 << 16) as NodeId, Stamp::ZERO);
            let node_id = rng.below(1 << 16) as NodeId;
            stamps.extend((0..3).map(|n| WireStamp { stamp: give(hlc.as_mut(), n), node_id }));
        }
        for a in &stamps {
            assert_eq!(WireStamp::decode(a.encode()), *a);
            for b in &stamps {
                assert_eq!(a.encode().cmp(&b.encode()), (a.stamp, a.node_id).cmp(&(b.stamp, b.node_id)));
            }
        }
    }

    pub(super) fn a_cut_at_any_time_is_consistent(make: Make<'_>) {
        let mut rng = SeededRng::new(0x0999);
        let mut pair = Pair::new(make, START);
        for _ in 0..400 {
            pair.step(rng.below(2) as usize, rng.below(u64::from(STEPS)) as u32);
        }
        assert!(pair.deliveries.len() > 20, "the two did talk");
        for cut in pair.events.iter().map(|event| event.stamp) {
            let torn = pair.deliveries.iter().find(|(sent, received)| *received <= cut && *sent > cut);
            assert_eq!(torn, None, "received in the snapshot at {cut}, sent after it");
        }
    }

    pub(super) fn a_node_that_slept_catches_up(make: Make<'_>) {
        let (sleepy, awake) = (SteppedClock::at(START), SteppedClock::at(START));
        let mut sleeper = make(sleepy.clone(), 1, Stamp::ZERO);
        let mut peer = make(awake.clone(), 2, Stamp::ZERO);
        let before = sleeper.send().unwrap();
        awake.set(START + HOUR);
        // Awake again, but its clock stood: to it the whole world is an hour ahead, and it must not follow blindly.
        assert!(sleeper.merge(peer.send().unwrap()).is_err());
        assert_eq!(sleeper.send().unwrap(), before.after(1), "meanwhile it counts");
        assert_eq!(peer.merge(before).unwrap().since(before), HOUR + 1, "its old messages are welcome");
        sleepy.set(START + HOUR);
        let seen = peer.send().unwrap();
        assert!(sleeper.merge(seen).unwrap() > seen, "once the clock is right it takes part again");
        assert_eq!(sleeper.tick().unwrap().since(before), seen.since(before) + 2, "in the world's time");
    }

    pub(super) fn a_batch_is_that_many_ticks(make: Make<'_>) {
        let clock = SteppedClock::at(START);
        let (mut batching, mut ticking) = (make(clock.clone(), 1, Stamp::ZERO), make(clock.clone(), 1, Stamp::ZERO));
        for count in [1, 2, 17, 1_000, 1] {
            clock.set(clock.get() + 500);
            let first = batching.batch(count).unwrap();
            for n in 0..count {
                assert_eq!(ticking.tick().unwrap(), first.after(n));
            }
            assert_eq!(batching.last(), ticking.last());
        }
        assert!(batching.tick().unwrap() > ticking.last(), "what follows a batch is after all of it");
    }
}

/// A local event of the clock: each of its three forms in turn.
fn give(hlc: &mut dyn Subject, n: u64) -> Stamp {
    match n % 3 {
        0 => hlc.tick(),
        1 => hlc.send(),
        _ => hlc.batch(1),
    }
    .unwrap()
}

/// What [`Pair::step`] knows.
const STEPS: u32 = 5;

struct Event {
    stamp: Stamp,
    /// Events of each node that happened before this one or are it (Mattern 1988).
    vector: [u64; 2],
}

/// Two nodes and the messages between them.
struct Pair {
    clocks: [Arc<SteppedClock>; 2],
    nodes: [Box<dyn Subject>; 2],
    vectors: [[u64; 2]; 2],
    /// For each node, what is on its way to it: the index of the send.
    flight: [Vec<usize>; 2],
    events: Vec<Event>,
    /// Stamps of a send and of its receive.
    deliveries: Vec<(Stamp, Stamp)>,
}

impl Pair {
    fn new(make: Make<'_>, start: u64) -> Self {
        let clocks = [SteppedClock::at(start), SteppedClock::at(start)];
        let nodes = [make(clocks[0].clone(), 0, Stamp::ZERO), make(clocks[1].clone(), 1, Stamp::ZERO)];
        let flight = [Vec::new(), Vec::new()];
        Self { clocks, nodes, vectors: [[0; 2]; 2], flight, events: Vec::new(), deliveries: Vec::new() }
    }

    fn step(&mut self, node: usize, step: u32) {
        let clock = &self.clocks[node];
        match step {
            0 => {
                let stamp = self.nodes[node].tick().unwrap();
                self.event(node, stamp);
            }
            1 => {
                let stamp = self.nodes[node].send().unwrap();
                self.event(node, stamp);
                self.flight[1 - node].push(self.events.len() - 1);
            }
            2 => {
                // The newest first: messages overtake each other.
                let Some(sent) = self.flight[node].pop() else { return };
                let Event { stamp: seen, vector } = self.events[sent];
                let stamp = self.nodes[node].merge(seen).unwrap();
                self.vectors[node] = [0, 1].map(|n| self.vectors[node][n].max(vector[n]));
                self.event(node, stamp);
                self.deliveries.push((seen, stamp));
            }
            3 => clock.set(clock.get() + 1),
            _ => clock.set(clock.get() - 1),
        }
    }

    fn event(&mut self, node: usize, stamp: Stamp) {
        self.vectors[node][node] += 1;
        self.events.push(Event { stamp, vector: self.vectors[node] });
    }

    /// What happened before has the smaller stamp.
    fn judge(&self, history: u32) {
        for (n, later) in self.events.iter().enumerate() {
            for earlier in &self.events[..n] {
                let is_before = earlier.vector[0] <= later.vector[0] && earlier.vector[1] <= later.vector[1];
                assert!(
                    !is_before || earlier.stamp < later.stamp,
                    "history {history}: event {n} is not after its cause"
                );
            }
        }
    }
}
