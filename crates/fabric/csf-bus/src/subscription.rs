//! Reading topics: a set of lanes merged into one order, for threads, tasks and pollers alike.

use std::any::Any;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::port::LaneInfo;
use csf_core::{Header, LaneId};
use futures_util::future::{Either, select};

use crate::interest::Expired;
use crate::lane::Lane;
use crate::merge::{Key, Lanes, Merge};
use crate::monitor::{Meter, Monitor};
use crate::topic::Topic;
use crate::{Doorbell, Interest, LaneReader, Start};

/// Waits that end before sleep, one after the other, until a reader counts as one that does not sleep: asking again takes a system call.
const AWAKE: u32 = 4_096;

/// The part of a subscription that topics know: where lanes that come and go are announced.
pub(crate) struct Intake {
    interest: Interest,
    monitor: Arc<Monitor>,
    doorbell: Arc<Doorbell>,
    news: Mutex<News>,
    has_news: AtomicBool,
    is_closed: AtomicBool,
}

#[derive(Default)]
struct News {
    lanes: Vec<LaneReader>,
    gone: Vec<LaneId>,
    /// By how many topics each lane is reached.
    reached: BTreeMap<LaneId, usize>,
}

impl Intake {
    pub(crate) fn add(&self, lane: Arc<Lane>, start: Start) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let ways = news.reached.entry(lane.info.id).or_default();
        *ways += 1;
        if *ways == 1 {
            news.lanes.push(self.reader(lane, start));
            self.announce(news);
        }
    }

    /// [`Intake::add`] of a lane that somebody reads already: by `reader`, unless it is reached here in another way.
    pub(crate) fn adopt(&self, lane: &Arc<Lane>, reader: Option<LaneReader>) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let ways = news.reached.entry(lane.info.id).or_default();
        *ways += 1;
        if *ways == 1 {
            news.lanes.push(reader.unwrap_or_else(|| self.reader(lane.clone(), Start::Earliest)));
            self.announce(news);
        }
    }

    /// Adds a lane of one reader, reached in no other way, before it has a producer. The reader will sleep.
    pub(crate) fn add_private(&self, lane: Arc<Lane>) {
        let mut reader = self.reader(lane, Start::Now);
        reader.reader().fence_unwritten();
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.lanes.push(reader);
        self.announce(news);
    }

    fn reader(&self, lane: Arc<Lane>, start: Start) -> LaneReader {
        LaneReader::new(lane, start, &self.interest, &self.monitor, self.doorbell.clone())
    }

    pub(crate) fn remove(&self, lane: LaneId) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ways) = news.reached.get_mut(&lane) else { return };
        *ways -= 1;
        if *ways == 0 {
            news.reached.remove(&lane);
            news.lanes.retain(|reader| reader.id() != lane);
            news.gone.push(lane);
            self.announce(news);
        }
    }

    /// Ends the subscription: it yields what is there, then no more.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.doorbell.ring();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn announce(&self, news: MutexGuard<'_, News>) {
        self.has_news.store(true, Ordering::Release);
        drop(news);
        self.doorbell.ring();
    }
}

/// An erased subscription over any number of topics.
pub struct Subscription {
    intake: Arc<Intake>,
    lanes: Lanes,
    topics: Vec<Arc<Topic>>,
    merge: Merge,
    meter: Meter,
    sleeps: bool,
    /// Waits in a row that ended before sleep.
    awake: u32,
    selected: Option<usize>,
}

impl Subscription {
    pub(crate) fn new(
        topics: Vec<Arc<Topic>>,
        interest: Interest,
        doorbell: Arc<Doorbell>,
        monitor: Arc<Monitor>,
    ) -> Self {
        let (start, order) = (interest.start, interest.order);
        let meter = Meter::new(monitor.clone(), interest.expired == Expired::Drop);
        let (news, has_news, is_closed) = (Mutex::default(), AtomicBool::new(false), AtomicBool::new(false));
        let intake = Arc::new(Intake { interest, monitor, doorbell, news, has_news, is_closed });
        for topic in &topics {
            topic.subscribe(&intake, start);
        }
        let (lanes, merge) = (Lanes::default(), Merge::new(order));
        Self { intake, lanes, topics, merge, meter, sleeps: false, awake: 0, selected: None }
    }

    /// Readers that will sleep on the doorbell say so before they do: producers then fence after each commit and look whether to ring.
    /// A subscription that only polls spares them that.
    pub fn allow_sleep(&mut self) {
        self.awake = 0;
        if !self.sleeps {
            self.sleeps = true;
            for reader in &mut self.lanes.readers {
                reader.reader().fence();
            }
        }
    }

    /// Notes that something came before sleep did; after many times in a row the producers are spared again.
    pub(crate) fn stayed_awake(&mut self) {
        if !self.sleeps {
            return;
        }
        self.awake += 1;
        if self.awake == AWAKE {
            self.sleeps = false;
            for reader in &mut self.lanes.readers {
                reader.reader().unfence();
            }
        }
    }

    /// The bell that rings when something arrives, after [`Subscription::allow_sleep`].
    #[must_use]
    pub fn doorbell(&self) -> &Arc<Doorbell> {
        &self.intake.doorbell
    }

    /// Nanoseconds until a packet that is held for its cause is given up: a sleeper looks again then. `None` when none is held.
    #[must_use]
    pub fn hold_left_ns(&self) -> Option<u64> {
        self.merge.hold_left_ns
    }

    /// The lanes known now.
    pub fn lanes(&mut self) -> &mut [LaneReader] {
        self.take_news();
        &mut self.lanes.readers
    }

    #[inline(always)]
    fn take_news(&mut self) {
        if self.intake.has_news.load(Ordering::Acquire) {
            self.change_lanes();
        }
    }

    #[cold]
    fn change_lanes(&mut self) {
        self.intake.has_news.store(false, Ordering::SeqCst);
        let mut news = self.intake.news.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut lanes, gone) = (std::mem::take(&mut news.lanes), std::mem::take(&mut news.gone));
        drop(news);
        if self.sleeps {
            for reader in &mut lanes {
                reader.reader().fence();
            }
        }
        self.lanes.change(&gone, lanes);
        self.merge.restart();
    }

    /// Reads one more topic of the same bus, its lanes from `start` on. A topic that is read already is left alone.
    pub fn add_topic(&mut self, topic: &Arc<Topic>, start: Start) {
        if !self.topics.iter().any(|known| Arc::ptr_eq(known, topic)) {
            topic.subscribe(&self.intake, start);
            self.topics.push(topic.clone());
        }
    }

    /// Takes over the topics that `held` reads, each lane at the place where `held` is: what came since it was opened is handed out here.
    /// Both are of one bus and ring one bell. Topics that are read already stay as they are.
    pub fn adopt(&mut self, mut held: Self) {
        for topic in std::mem::take(&mut held.topics) {
            if self.topics.iter().any(|known| Arc::ptr_eq(known, &topic)) {
                topic.unsubscribe(&held.intake);
            } else {
                let from = held.intake.clone();
                topic.hand_over(&from, &self.intake, |lane| held.take_reader(lane));
                self.topics.push(topic);
            }
        }
    }

    fn take_reader(&mut self, lane: LaneId) -> Option<LaneReader> {
        self.take_news();
        let at = self.lanes.readers.iter().position(|reader| reader.id() == lane)?;
        Some(self.lanes.readers.swap_remove(at))
    }

    /// The next sequence of each lane that has had a packet or may have one.
    #[must_use]
    pub fn places(&mut self) -> BTreeMap<LaneId, u64> {
        self.take_news();
        self.lanes.readers.iter().map(|reader| (reader.id(), reader.next_id().seq)).collect()
    }

    /// Reads a topic no longer; what of it was not read yet is passed over. Places in the other lanes stay.
    pub fn remove_topic(&mut self, name: &str) {
        let Some(at) = self.topics.iter().position(|topic| topic.spec().name == name) else { return };
        self.topics.remove(at).unsubscribe(&self.intake);
        // Numbers of lanes change; the packet that was peeked is selected anew.
        self.selected = None;
        self.take_news();
    }

    /// Packets waiting over all lanes.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.lanes.readers.iter().map(LaneReader::lag).sum()
    }

    /// Age of the oldest packet waiting, nanoseconds; zero when none waits.
    pub fn lag_ns(&mut self) -> u64 {
        self.take_news();
        let oldest = self.lanes.readers.iter_mut().filter_map(|reader| reader.head().map(|head| head.stamp().0)).min();
        oldest.map_or(0, |stamp| self.intake.monitor.now_ns().saturating_sub(stamp))
    }

    /// Packets lost to the policy over all lanes.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lanes.readers.iter().map(LaneReader::lost).sum()
    }

    /// The next packet in order, by reference; the same one until [`Subscription::advance`].
    pub fn peek(&mut self) -> Option<(&LaneInfo, &Header, &dyn Any)> {
        let index = self.select()?;
        let reader = &mut self.lanes.readers[index];
        reader.peek()?;
        reader.peeked()
    }

    /// Gives the peeked packet back.
    #[inline]
    pub fn advance(&mut self) {
        if let Some(index) = self.selected.take() {
            self.lanes.readers[index].advance();
        }
    }

    /// Takes hold of the next packet and says on which lane it is.
    #[inline(always)]
    pub(crate) fn select(&mut self) -> Option<usize> {
        while self.selected.is_none() {
            self.take_news();
            let index = match self.lanes.readers.len() {
                0 => return None,
                1 => 0,
                _ => self.merge.select(&mut self.lanes, self.meter.monitor())?,
            };
            let reader = &mut self.lanes.readers[index];
            let head = reader.head()?;
            let (stamp, deadline) = (head.stamp(), head.deadline());
            if self.meter.admit(stamp, deadline) {
                self.selected = Some(index);
            } else {
                reader.advance();
            }
        }
        self.selected
    }

    /// Waits for the next packet and says on which lane it is; `None` when the subscription was closed and everything is read. Cancel
    /// safe.
    pub(crate) async fn next(&mut self) -> Option<usize> {
        if let Some(lane) = self.select() {
            self.stayed_awake();
            return Some(lane);
        }
        self.allow_sleep();
        // SAFETY: the bell lies in the intake, which lives as long as the subscription; cloning the handle instead would take the line
        // from the producers that look at the bell.
        let doorbell = unsafe { &*Arc::as_ptr(self.doorbell()) };
        loop {
            let news = doorbell.wait_until(|| self.look().or_else(|| self.hold_left_ns().map(Look::Held)));
            let left_ns = match news.await {
                Look::At(lane) => return Some(lane),
                Look::Closed => return None,
                Look::Held(left_ns) => left_ns,
            };
            // A packet is held for its cause: look again when another comes, and when the hold is over.
            let over = self.intake.monitor.timer.sleep(Duration::from_nanos(left_ns));
            let news = pin!(doorbell.wait_until(|| self.look()));
            match select(news, over).await {
                Either::Left((Look::At(lane), _)) => return Some(lane),
                Either::Left((Look::Closed, _)) => return None,
                Either::Left((Look::Held(_), _)) | Either::Right(_) => {}
            }
        }
    }

    /// Packets that came after their deadline so far, handed out or passed over.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.meter.late()
    }

    fn look(&mut self) -> Option<Look> {
        // Closed is looked at first: what was published before is then seen.
        let is_closed = self.intake.is_closed();
        self.select().map(Look::At).or_else(|| is_closed.then_some(Look::Closed))
    }

    /// The selected packet's payload.
    ///
    /// # Safety
    /// `lane` is selected, and carries `T`.
    pub(crate) unsafe fn held<T>(&self, lane: usize) -> &T {
        // SAFETY: the caller's promise.
        unsafe { self.lanes.readers[lane].held_payload::<T>() }
    }

    pub(crate) fn intake(&self) -> &Arc<Intake> {
        &self.intake
    }

    /// Reads no topic any more: what was not read is passed over, and producers no longer wait for this reader.
    pub fn detach(&mut self) {
        for topic in self.topics.drain(..) {
            topic.unsubscribe(&self.intake);
        }
        self.selected = None;
        self.change_lanes();
        self.lanes = Lanes::default();
    }

    /// See [`Reader::pause`](crate::ring::Reader::pause). A reader of many lanes is busy with the others meanwhile.
    #[inline(always)]
    pub(crate) fn pause(&mut self) {
        if let [lane] = &mut self.lanes.readers[..] {
            lane.reader().pause();
        }
    }

    #[inline(always)]
    pub(crate) fn lane(&mut self, index: usize) -> &mut LaneReader {
        &mut self.lanes.readers[index]
    }

    /// Hands out what is ready on the selected lane while the merge would go on with it, up to `max` packets; one acknowledgement for
    /// all. `T` is what the lane carries, and the lane's reader is not movable.
    #[inline(always)]
    pub(crate) fn drain<T>(&mut self, index: usize, max: usize, f: &mut impl FnMut(&Header, &T)) -> usize {
        let order = self.merge.order;
        let is_alone = self.lanes.readers.len() == 1;
        let (max, before) = if is_alone { (max, Key::default()) } else { self.merge.stretch(index, max) };
        let lane = &mut self.lanes.readers[index];
        self.selected = None;
        let mut count = 0;
        let mut acknowledge = Acknowledge { lane, passed: false };
        'packets: loop {
            let lane = &mut *acknowledge.lane;
            // SAFETY: the caller selected this lane, so a packet is held; its type is the caller's promise.
            let (header, payload) = unsafe { lane.held::<T>() };
            f(&header, payload);
            count += 1;
            loop {
                lane.reader().pass();
                acknowledge.passed = true;
                if count == max || !lane.reader().acquire_known() {
                    break 'packets;
                }
                let head = lane.reader().header();
                // A packet that is not handed out now is selected, and judged, later.
                if !is_alone && (self.lanes.reads.may_wait(head) || Key::of(head, order) > before) {
                    break 'packets;
                }
                let (stamp, deadline) = (head.stamp(), head.deadline());
                if self.meter.admit(stamp, deadline) {
                    break;
                }
            }
        }
        count
    }
}

/// Gives the passed slots back, also when the handler panics: the packet it was looking at stays.
struct Acknowledge<'a> {
    lane: &'a mut LaneReader,
    passed: bool,
}

impl Drop for Acknowledge<'_> {
    fn drop(&mut self) {
        if self.passed {
            self.lane.reader().acknowledge();
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.detach();
    }
}

/// What a look brought.
enum Look {
    At(usize),
    Held(u64),
    Closed,
}
