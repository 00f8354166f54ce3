//! Reading topics: a set of lanes merged into one order, for threads, tasks and pollers alike.
//!
//! Causal rule: a packet is handed out only after every packet it was caused by that this subscription reads too. Within one node a
//! cause has a smaller stamp and is visible before its effect, so merging by stamp after looking once more at the cause's lane suffices.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use csf_core::port::LaneInfo;
use csf_core::{Header, MessageId};

use crate::lane::Lane;
use crate::ring::SlotHeader;
use crate::topic::Topic;
use crate::{Doorbell, LaneReader, Policy, Start};

/// Packets handed out from one lane before the others are looked at again, when nothing seen before is more urgent.
const RUN: u32 = 16;

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

/// The part of a subscription that topics know: where new lanes are announced.
pub(crate) struct Intake {
    policy: Policy,
    doorbell: Arc<Doorbell>,
    new_lanes: Mutex<Vec<LaneReader>>,
    has_new: AtomicBool,
}

impl Intake {
    pub(crate) fn add(&self, lane: Arc<Lane>, start: Start) {
        let reader = LaneReader::new(lane, start, self.policy, u64::MAX, self.doorbell.clone());
        self.new_lanes.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        self.has_new.store(true, Ordering::Release);
        self.doorbell.ring();
    }
}

/// An erased subscription over any number of topics.
pub struct Subscription {
    intake: Arc<Intake>,
    lanes: Vec<LaneReader>,
    topics: Vec<Arc<Topic>>,
    order: Order,
    mask: u64,
    sleeps: bool,
    selected: Option<usize>,
    run: Run,
}

/// A stretch of packets of one lane that come before everything else seen.
#[derive(Clone, Copy, Default)]
struct Run {
    lane: usize,
    left: u32,
    /// Key of the next best lane.
    before: Key,
}

impl Subscription {
    pub(crate) fn new(
        topics: Vec<Arc<Topic>>,
        policy: Policy,
        start: Start,
        order: Order,
        doorbell: Arc<Doorbell>,
    ) -> Self {
        let intake =
            Arc::new(Intake { policy, doorbell, new_lanes: Mutex::default(), has_new: AtomicBool::new(false) });
        for topic in &topics {
            topic.subscribe(&intake, start);
        }
        let (lanes, run) = (Vec::new(), Run::default());
        Self { intake, lanes, topics, order, mask: u64::MAX, sleeps: false, selected: None, run }
    }

    /// Only packets addressed to one of these component bits are handed out. The others hold no slot for this reader: a producer that
    /// needs room steps it over them.
    #[must_use]
    pub fn with_mask(mut self, mask: u64) -> Self {
        self.mask = mask;
        for reader in &mut self.lanes {
            reader.reader().set_mask(mask);
        }
        self
    }

    /// Readers that will sleep on the doorbell say so once: producers then fence after each commit and look whether to ring.
    /// A subscription that only polls spares them that.
    pub fn allow_sleep(&mut self) {
        if !self.sleeps {
            self.sleeps = true;
            for reader in &mut self.lanes {
                reader.reader().fence();
            }
        }
    }

    /// The bell that rings when something arrives, after [`Subscription::allow_sleep`].
    #[must_use]
    pub fn doorbell(&self) -> &Arc<Doorbell> {
        &self.intake.doorbell
    }

    /// The lanes known now.
    pub fn lanes(&mut self) -> &mut [LaneReader] {
        self.take_new_lanes();
        &mut self.lanes
    }

    #[inline(always)]
    fn take_new_lanes(&mut self) {
        if self.intake.has_new.load(Ordering::Acquire) {
            self.add_new_lanes();
        }
    }

    #[cold]
    fn add_new_lanes(&mut self) {
        self.intake.has_new.store(false, Ordering::SeqCst);
        let mut new = std::mem::take(&mut *self.intake.new_lanes.lock().unwrap_or_else(PoisonError::into_inner));
        for reader in &mut new {
            if self.mask != u64::MAX {
                reader.reader().set_mask(self.mask);
            }
            if self.sleeps {
                reader.reader().fence();
            }
        }
        self.lanes.append(&mut new);
    }

    /// Packets waiting over all lanes.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.lanes.iter().map(LaneReader::lag).sum()
    }

    /// Packets lost to the policy over all lanes.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lanes.iter().map(LaneReader::lost).sum()
    }

    /// The next packet in order, by reference; the same one until [`Subscription::advance`].
    pub fn peek(&mut self) -> Option<(&LaneInfo, &Header, &dyn Any)> {
        let index = self.select()?;
        let reader = &mut self.lanes[index];
        reader.peek()?;
        reader.peeked()
    }

    /// Gives the peeked packet back.
    #[inline]
    pub fn advance(&mut self) {
        if let Some(index) = self.selected.take() {
            self.lanes[index].advance();
        }
    }

    /// Takes hold of the next packet and says on which lane it is.
    #[inline(always)]
    pub(crate) fn select(&mut self) -> Option<usize> {
        if self.selected.is_none() {
            self.take_new_lanes();
            self.selected = match self.lanes.len() {
                0 => None,
                1 => self.lanes[0].wanted(self.mask).map(|_| 0),
                _ => self.select_of_many(),
            };
        }
        self.selected
    }

    /// See [`Reader::pause`](crate::ring::Reader::pause). A reader of many lanes is busy with the others meanwhile.
    #[inline(always)]
    pub(crate) fn pause(&mut self) {
        if let [lane] = &mut self.lanes[..] {
            lane.reader().pause();
        }
    }

    #[inline(always)]
    pub(crate) fn lane(&mut self, index: usize) -> &mut LaneReader {
        &mut self.lanes[index]
    }

    /// Hands out what is ready on the selected lane while the merge would go on with it, up to `max` packets; one acknowledgement for
    /// all. `T` is what the lane carries, and the lane's reader is not movable.
    #[inline(always)]
    pub(crate) fn drain<T>(&mut self, index: usize, max: usize, f: &mut impl FnMut(&Header, &T)) -> usize {
        let (mask, order) = (self.mask, self.order);
        let is_alone = self.lanes.len() == 1;
        let max = if is_alone || order == Order::Lane { max } else { max.min(RUN as usize) };
        let before = if self.run.lane == index { self.run.before } else { Key::default() };
        let lane = &mut self.lanes[index];
        self.selected = None;
        let mut count = 0;
        let mut acknowledge = Acknowledge { lane, passed: 0 };
        loop {
            let lane = &mut *acknowledge.lane;
            // SAFETY: the caller selected this lane, so a packet is held; its type is the caller's promise.
            let (header, payload) = unsafe { lane.held::<T>() };
            f(&header, payload);
            count += 1;
            lane.reader().pass();
            acknowledge.passed = count;
            if count == max || !lane.reader().acquire_known() {
                break;
            }
            let head = lane.reader().header();
            let goes_on = is_alone || (head.cause().is_none() && Key::of(head, order) <= before);
            if head.targets & mask == 0 || !goes_on {
                break;
            }
        }
        count
    }

    fn select_of_many(&mut self) -> Option<usize> {
        let index = self.go_on().or_else(|| self.best())?;
        let cause = self.lanes[index].head().and_then(SlotHeader::cause);
        // A cause was committed before its effect became visible, so a second look at its lane finds it.
        let earlier = cause.and_then(|cause| self.unseen_lane_of(cause)).filter(|lane| *lane != index);
        Some(earlier.unwrap_or(index))
    }

    /// The lane of the run, while its head still comes before everything else that was seen.
    #[inline(always)]
    fn go_on(&mut self) -> Option<usize> {
        let Run { lane, left, before } = self.run;
        if left == 0 {
            return None;
        }
        self.run.left -= 1;
        let (order, mask) = (self.order, self.mask);
        self.lanes[lane].wanted(mask).is_some_and(|head| Key::of(head, order) <= before).then_some(lane)
    }

    fn best(&mut self) -> Option<usize> {
        if self.order == Order::Lane {
            return self.next_in_turn();
        }
        let (mut best, mut second): (Option<(usize, Key)>, Key) = (None, Key::LAST);
        for (index, reader) in self.lanes.iter_mut().enumerate() {
            let Some(head) = reader.wanted(self.mask) else { continue };
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

    fn next_in_turn(&mut self) -> Option<usize> {
        let count = self.lanes.len();
        let lane = (1..=count)
            .map(|step| (self.run.lane + step) % count)
            .find(|lane| self.lanes[*lane].wanted(self.mask).is_some())?;
        let left = u32::try_from(self.lanes[lane].reader().ready_count()).unwrap_or(u32::MAX);
        self.run = Run { lane, left, before: Key::LAST };
        Some(lane)
    }

    /// The lane we read on which `cause` was not handed out yet, if its head is still before or at the cause.
    fn unseen_lane_of(&mut self, cause: MessageId) -> Option<usize> {
        let index = self.lanes.iter().position(|r| r.id() == cause.lane)?;
        let reader = self.lanes[index].reader();
        (reader.acquire() && reader.seq() <= cause.seq).then_some(index)
    }
}

/// Gives the passed slots back, also when the handler panics: the packet it was looking at stays.
struct Acknowledge<'a> {
    lane: &'a mut LaneReader,
    passed: usize,
}

impl Drop for Acknowledge<'_> {
    fn drop(&mut self) {
        if self.passed > 0 {
            self.lane.reader().acknowledge();
        }
    }
}

impl LaneReader {
    /// The next packet addressed to one of the mask's components; the others are given back.
    #[inline(always)]
    fn wanted(&mut self, mask: u64) -> Option<&SlotHeader> {
        while self.head()?.targets & mask == 0 {
            self.advance();
        }
        self.head()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for topic in &self.topics {
            topic.unsubscribe(&self.intake);
        }
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    class: u8,
    deadline: u64,
    stamp: u64,
}

impl Key {
    const LAST: Self = Self { class: u8::MAX, deadline: u64::MAX, stamp: u64::MAX };

    #[inline(always)]
    fn of(header: &SlotHeader, order: Order) -> Self {
        match order {
            Order::Lane => Self::default(),
            Order::Stamp => Self { class: 0, deadline: 0, stamp: header.stamp().0 },
            Order::Urgency => Self {
                class: u8::MAX - header.priority() as u8,
                deadline: header.deadline().map_or(u64::MAX, |d| d.0),
                stamp: header.stamp().0,
            },
        }
    }
}
