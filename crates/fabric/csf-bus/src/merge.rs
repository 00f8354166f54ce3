//! In which order the lanes of a subscription are read.
//!
//! Causal rule: a packet is handed out only after every packet it was caused by on the lanes that this subscription reads; lost,
//! conflated and rejected ones count as passed. Inside a node a cause is committed before its effect, so looking at the cause's lane
//! again finds it. Where it is not there (a link has not brought it yet, or it never was), the effect's lane is held; after the longest
//! hold, or at once where packets that are all there wait for one another, it is given up: a dead letter with its violation.

use csf_core::{LaneId, MessageId, Priority};

use crate::LaneReader;
use crate::monitor::{DeadLetter, Monitor, TemporalViolation, ViolationKind};
use crate::ring::SlotHeader;

/// Packets handed out from one lane before the others are looked at again, when nothing seen before is more urgent.
pub(crate) const RUN: u32 = 16;
/// No round of holds.
const NONE: u64 = u64::MAX;

/// How lanes are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Highest priority, then earliest deadline, then smallest stamp. A more urgent packet waits for 16 others at most.
    #[default]
    Urgency,
    /// Smallest stamp among what is there.
    Stamp,
    /// Each lane in turn, as much as is there: least work per packet. The causal rule holds.
    Lane,
}

/// The lanes of a subscription.
#[derive(Default)]
pub(crate) struct Lanes {
    pub(crate) readers: Vec<LaneReader>,
    /// Sorted.
    by_id: Vec<(LaneId, usize)>,
    pub(crate) reads: LaneSet,
}

/// Lanes as bits of a hash: it may hold a lane that is not in it, never the other way.
#[derive(Clone, Copy, Default)]
pub(crate) struct LaneSet(u64);

impl LaneSet {
    fn bit(lane: LaneId) -> u64 {
        let word = u64::from(lane.node) << 48 | u64::from(lane.incarnation) << 16 | u64::from(lane.lane);
        // Fibonacci hashing: the upper bits of the product are the mixed ones (Knuth, vol. 3, section 6.4).
        1 << (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58)
    }

    /// Whether a packet names a cause that may lie on one of the lanes.
    #[inline(always)]
    pub(crate) fn may_wait(self, head: &SlotHeader) -> bool {
        head.has_more_causes() || head.cause().is_some_and(|cause| self.0 & Self::bit(cause.lane) != 0)
    }
}

impl Lanes {
    /// Detaches the lanes of `gone`, then takes `new` ones in.
    pub(crate) fn change(&mut self, gone: &[LaneId], mut new: Vec<LaneReader>) {
        self.readers.retain(|reader| !gone.contains(&reader.id()));
        self.readers.append(&mut new);
        self.by_id = self.readers.iter().enumerate().map(|(index, reader)| (reader.id(), index)).collect();
        self.by_id.sort_unstable();
        self.reads = LaneSet(self.readers.iter().fold(0, |bits, reader| bits | LaneSet::bit(reader.id())));
    }

    fn index_of(&self, id: LaneId) -> Option<usize> {
        let at = self.by_id.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.by_id[at].1)
    }

    /// What has to be handed out before the head of `lane`.
    fn obstacle(&mut self, lane: usize) -> Option<Obstacle> {
        let reader = &mut self.readers[lane];
        let head = reader.head()?;
        let (inline, has_more) = (head.cause(), head.has_more_causes());
        let effect = reader.next_id();
        let more = if has_more { reader.more_causes() } else { None };
        inline.into_iter().chain(more.iter().flat_map(|more| more.iter().copied())).find_map(|cause| {
            let on = self.index_of(cause.lane)?;
            let reader = &mut self.readers[on];
            let is_there = reader.reader().acquire_seen();
            (reader.next_id().seq <= cause.seq).then_some(Obstacle { effect, cause, next: is_there.then_some(on) })
        })
    }

    /// Follows causes from the head of `first` to a packet that may be handed out.
    fn chase(&mut self, first: usize) -> Chase {
        let mut lane = first;
        // Each step leads to a head that must go earlier; more steps than lanes go round in a circle.
        for _ in 0..=self.readers.len() {
            match self.obstacle(lane) {
                None => return Chase::Free(lane),
                Some(Obstacle { next: Some(next), .. }) => lane = next,
                Some(Obstacle { effect, cause, next: None }) => {
                    return Chase::Held { lane, effect, cause, kind: ViolationKind::Overdue };
                }
            }
        }
        self.culprit(lane)
    }

    /// Which packet of a circle of heads through `first` is to blame: one whose cause was never committed, which may still come, else
    /// any of them, and at once.
    fn culprit(&mut self, first: usize) -> Chase {
        let mut lane = first;
        loop {
            let Some(Obstacle { effect, cause, next }) = self.obstacle(lane) else { return Chase::Free(lane) };
            let Some(next) = next.filter(|next| cause.seq < self.readers[*next].committed()) else {
                return Chase::Held { lane, effect, cause, kind: ViolationKind::Overdue };
            };
            if next == first {
                return Chase::Held { lane, effect, cause, kind: ViolationKind::Cyclic };
            }
            lane = next;
        }
    }
}

/// A cause that was not passed.
struct Obstacle {
    effect: MessageId,
    cause: MessageId,
    /// Its lane, when something is there.
    next: Option<usize>,
}

enum Chase {
    Free(usize),
    Held { lane: usize, effect: MessageId, cause: MessageId, kind: ViolationKind },
}

/// A stretch of packets of one lane that come before everything else seen.
#[derive(Clone, Copy, Default)]
struct Run {
    lane: usize,
    left: u32,
    /// Key of the next best lane.
    before: Key,
}

/// Chooses the lane to read from.
pub(crate) struct Merge {
    pub(crate) order: Order,
    run: Run,
    /// Number of the search past held lanes.
    round: u64,
    /// Nanoseconds until the next held packet is given up; `None` when none is held.
    pub(crate) hold_left_ns: Option<u64>,
}

impl Merge {
    pub(crate) fn new(order: Order) -> Self {
        Self { order, run: Run::default(), round: 0, hold_left_ns: None }
    }

    /// Forgets what it knew of lanes that may have changed places.
    pub(crate) fn restart(&mut self) {
        self.run = Run::default();
        // What was held may be gone; who looks next finds it again.
        self.hold_left_ns = None;
    }

    /// The lane whose head is next.
    pub(crate) fn select(&mut self, lanes: &mut Lanes, monitor: &Monitor) -> Option<usize> {
        self.hold_left_ns = None;
        let first = self.go_on(lanes).or_else(|| self.best(lanes, NONE))?;
        let reads = lanes.reads;
        if lanes.readers[first].head().is_some_and(|head| !reads.may_wait(head)) {
            return Some(first);
        }
        match lanes.chase(first) {
            Chase::Free(lane) => Some(lane),
            Chase::Held { .. } => self.select_past_holds(lanes, monitor),
        }
    }

    /// How many packets of `lane` may follow each other without another selection, at most `max`; and the key they must not exceed.
    #[inline(always)]
    pub(crate) fn stretch(&self, lane: usize, max: usize) -> (usize, Key) {
        let max = if self.order == Order::Lane { max } else { max.min(RUN as usize) };
        (max, if self.run.lane == lane { self.run.before } else { Key::default() })
    }

    /// Searches among the lanes that are not held; gives up what was held too long.
    #[cold]
    fn select_past_holds(&mut self, lanes: &mut Lanes, monitor: &Monitor) -> Option<usize> {
        let now_ns = monitor.now_ns();
        self.round += 1;
        self.run.left = 0;
        self.hold_left_ns = None;
        while let Some(first) = self.best(lanes, self.round) {
            self.run.left = 0;
            let (lane, effect, cause, kind) = match lanes.chase(first) {
                Chase::Free(lane) => return Some(lane),
                Chase::Held { lane, effect, cause, kind } => (lane, effect, cause, kind),
            };
            let reader = &mut lanes.readers[lane];
            let since_ns = reader.hold(effect.seq, now_ns, || monitor.count_wait());
            let held_ns = now_ns.saturating_sub(since_ns);
            if held_ns < monitor.hold_max_ns && kind == ViolationKind::Overdue {
                let left_ns = monitor.hold_max_ns - held_ns;
                self.hold_left_ns = Some(self.hold_left_ns.map_or(left_ns, |least| least.min(left_ns)));
                lanes.readers[first].held_in = self.round;
                continue;
            }
            if let Some((header, payload)) = reader.encoded() {
                let topic = reader.info().topic.clone();
                let violation = TemporalViolation { effect, cause, topic, held_ns, kind };
                monitor.bury(DeadLetter { violation, header, payload });
            }
            reader.advance();
            // What waited for this packet may go on.
            self.round += 1;
        }
        None
    }

    /// The lane of the run, while its head still comes before everything else that was seen.
    #[inline(always)]
    fn go_on(&mut self, lanes: &mut Lanes) -> Option<usize> {
        let Run { lane, left, before } = self.run;
        if left == 0 {
            return None;
        }
        self.run.left -= 1;
        let order = self.order;
        lanes.readers[lane].head().is_some_and(|head| Key::of(head, order) <= before).then_some(lane)
    }

    /// The best lane that is not held in `round`.
    fn best(&mut self, lanes: &mut Lanes, round: u64) -> Option<usize> {
        if self.order == Order::Lane {
            return self.next_in_turn(lanes, round);
        }
        let (mut best, mut second): (Option<(usize, Key)>, Key) = (None, Key::LAST);
        for (index, reader) in lanes.readers.iter_mut().enumerate() {
            if reader.held_in == round {
                continue;
            }
            let Some(head) = reader.head() else { continue };
            let key = Key::of(head, self.order);
            match best {
                Some((_, least)) if key >= least => second = second.min(key),
                _ => second = best.replace((index, key)).map_or(second, |(_, key)| key),
            }
        }
        let (lane, _) = best?;
        self.run = Run { lane, left: RUN, before: second };
        Some(lane)
    }

    fn next_in_turn(&mut self, lanes: &mut Lanes, round: u64) -> Option<usize> {
        let count = lanes.readers.len();
        let lane = (1..=count)
            .map(|step| (self.run.lane + step) % count)
            .find(|lane| lanes.readers[*lane].held_in != round && lanes.readers[*lane].head().is_some())?;
        let left = u32::try_from(lanes.readers[lane].reader().ready_count()).unwrap_or(u32::MAX);
        self.run = Run { lane, left, before: Key::LAST };
        Some(lane)
    }
}

/// What a lane's head is judged by; the least goes first.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    class: u8,
    deadline: u64,
    stamp: u64,
}

impl Key {
    const LAST: Self = Self { class: u8::MAX, deadline: u64::MAX, stamp: u64::MAX };

    #[inline(always)]
    pub(crate) fn of(header: &SlotHeader, order: Order) -> Self {
        match order {
            Order::Lane => Self::default(),
            Order::Stamp => Self { class: 0, deadline: 0, stamp: header.stamp().0 },
            Order::Urgency => Self {
                class: Priority::Critical as u8 - header.priority() as u8,
                deadline: header.deadline().map_or(u64::MAX, |d| d.0),
                stamp: header.stamp().0,
            },
        }
    }
}
