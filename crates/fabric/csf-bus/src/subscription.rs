//! Reading topics: a set of lanes merged into one order, for threads, tasks and pollers alike.
//!
//! Causal rule: a packet is handed out only after every packet it was caused by that this subscription reads too. Within one node a
//! cause has a smaller stamp and is visible before its effect, so merging by stamp after looking once more at the cause's lane suffices.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use csf_core::port::LaneInfo;
use csf_core::{Header, Message};

use crate::lane::AnyLane;
use crate::topic::Topic;
use crate::{Doorbell, LaneReader, Policy, Start};

/// How lanes are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Highest priority, then earliest deadline, then smallest stamp.
    #[default]
    Urgency,
    /// Smallest stamp.
    Stamp,
}

/// The part of a subscription that topics know: where new lanes are announced.
pub(crate) struct Intake {
    policy: Policy,
    doorbell: Arc<Doorbell>,
    new_lanes: Mutex<Vec<LaneReader>>,
    has_new: AtomicBool,
}

impl Intake {
    pub(crate) fn add(&self, lane: Arc<dyn AnyLane>, start: Start) {
        let reader = LaneReader::new(lane, start, self.policy, self.doorbell.clone());
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
    selected: Option<usize>,
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
        Self { intake, lanes: Vec::new(), topics, order, mask: u64::MAX, selected: None }
    }

    /// Only packets addressed to one of these component bits are handed out.
    #[must_use]
    pub fn with_mask(mut self, mask: u64) -> Self {
        self.mask = mask;
        self
    }

    /// The bell that rings when something arrives.
    #[must_use]
    pub fn doorbell(&self) -> &Arc<Doorbell> {
        &self.intake.doorbell
    }

    /// The lanes known now.
    pub fn lanes(&mut self) -> &mut [LaneReader] {
        self.take_new_lanes();
        &mut self.lanes
    }

    fn take_new_lanes(&mut self) {
        if self.intake.has_new.swap(false, Ordering::AcqRel) {
            self.lanes.append(&mut self.intake.new_lanes.lock().unwrap_or_else(PoisonError::into_inner));
        }
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
        self.take_new_lanes();
        if self.selected.is_none() {
            self.selected = self.select();
        }
        let reader = &self.lanes[self.selected?];
        let (header, payload) = reader.held()?;
        Some((reader.info(), header, payload))
    }

    /// Gives the peeked packet back.
    pub fn advance(&mut self) {
        if let Some(index) = self.selected.take() {
            self.lanes[index].advance();
        }
    }

    fn select(&mut self) -> Option<usize> {
        let mut best: Option<(usize, Key)> = None;
        for (index, reader) in self.lanes.iter_mut().enumerate() {
            while let Some((header, _)) = reader.peek() {
                if header.targets & self.mask != 0 {
                    let key = Key::of(header, self.order);
                    if best.as_ref().is_none_or(|(_, least)| key < *least) {
                        best = Some((index, key));
                    }
                    break;
                }
                reader.advance();
            }
        }
        let (index, _) = best?;
        let cause = self.lanes[index].held().and_then(|(header, _)| header.cause);
        // A cause was committed before its effect became visible, so a second look at its lane finds it.
        cause.and_then(|cause| self.unseen_lane_of(cause)).filter(|lane| *lane != index).or(Some(index))
    }

    /// The lane we read on which `cause` was not handed out yet, if its head is still before or at the cause.
    fn unseen_lane_of(&mut self, cause: csf_core::MessageId) -> Option<usize> {
        let index = self.lanes.iter().position(|r| r.info().id == cause.lane)?;
        let (header, _) = self.lanes[index].peek()?;
        (header.id.seq <= cause.seq).then_some(index)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for topic in &self.topics {
            topic.unsubscribe(&self.intake);
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    class: u8,
    deadline: u64,
    stamp: u64,
}

impl Key {
    fn of(header: &Header, order: Order) -> Self {
        match order {
            Order::Stamp => Self { class: 0, deadline: 0, stamp: header.stamp.0 },
            Order::Urgency => Self {
                class: u8::MAX - header.priority as u8,
                deadline: header.deadline.map_or(u64::MAX, |d| d.0),
                stamp: header.stamp.0,
            },
        }
    }
}

/// A predicate over a packet, run before it is handed out.
pub type Filter<T> = Box<dyn Fn(&Header, &T) -> bool + Send + Sync>;

/// A typed subscription to one topic.
pub struct Subscriber<T> {
    inner: Subscription,
    filter: Option<Filter<T>>,
    _payload: PhantomData<fn() -> T>,
}

impl<T: Message> Subscriber<T> {
    pub(crate) fn new(inner: Subscription, filter: Option<Filter<T>>) -> Self {
        Self { inner, filter, _payload: PhantomData }
    }

    /// Only packets addressed to one of these component bits are handed out.
    #[must_use]
    pub fn with_mask(mut self, mask: u64) -> Self {
        self.inner = self.inner.with_mask(mask);
        self
    }

    /// Calls `f` with the next packet, if there is one now.
    pub fn poll<R>(&mut self, f: impl FnOnce(&Header, &T) -> R) -> Option<R> {
        loop {
            let (_, header, payload) = self.inner.peek()?;
            let wanted =
                payload.downcast_ref::<T>().filter(|p| self.filter.as_ref().is_none_or(|keep| keep(header, p)));
            if let Some(payload) = wanted {
                let result = f(header, payload);
                self.inner.advance();
                return Some(result);
            }
            self.inner.advance();
        }
    }

    /// Waits for the next packet and hands out a copy. Cancel safe: an undelivered packet stays.
    pub async fn recv(&mut self) -> (Header, T) {
        let doorbell = self.inner.doorbell().clone();
        doorbell.wait_until(|| self.poll(|header, payload| (header.clone(), payload.clone()))).await
    }

    /// Parks the thread until the next packet is here, then calls `f` with it.
    pub fn wait<R>(&mut self, mut f: impl FnMut(&Header, &T) -> R) -> R {
        let doorbell = self.inner.doorbell().clone();
        loop {
            if let Some(result) = self.poll(&mut f) {
                return result;
            }
            let inner = &mut self.inner;
            doorbell.wait(std::time::Duration::from_millis(100), || inner.peek().is_some());
        }
    }

    /// Packets waiting.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.inner.lag()
    }

    /// Packets lost to the policy.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.inner.lost()
    }
}
