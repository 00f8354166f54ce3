//! A mailbox: private lanes that one reader merges, whose senders come and go while it stays.
//!
//! Senders that are clones of each other share a lane behind its lock; one that sends much takes a lane of its own. A lane whose last
//! sender is gone goes to the next one of the same author, and all lanes of a mailbox that is gone go to the next mailbox on the topic:
//! 65,536 lanes are enough for any number of short-lived senders and readers, and ids stay unique, because a lane's sequence goes on.
//! Invariant: what a sender was told is accepted is read, before or after a close, as long as somebody reads.
//! Reference: ADR 5 for why clones share a lane.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csf_core::port::LaneKind;
use csf_core::{Attributes, Header, MessageId};

use crate::lane::{Content, Lane};
use crate::subscription::Intake;
use crate::{
    Interest, Order, PhaseCoherenceBus, Publisher, Start, Subscriber, Subscription, Topic, TopicError, TopicSpec,
};

/// A value that was not sent, given back.
#[derive(PartialEq, Eq)]
pub enum Refused<T> {
    /// The reader is behind by as many as the lane holds.
    Full(T),
    /// The mailbox takes nothing now.
    Closed(T),
    /// The cause that was named comes after the packet itself.
    FutureCause(T),
}

impl<T> Refused<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) | Self::FutureCause(value) => value,
        }
    }
}

impl<T> fmt::Display for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the mailbox is full: its reader is slower than its senders",
            Self::Closed(_) => "the mailbox is closed",
            Self::FutureCause(_) => "the cause comes after the packet",
        })
    }
}

/// Whatever the value is.
impl<T> fmt::Debug for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
            Self::FutureCause(_) => "FutureCause(..)",
        })
    }
}

impl<T> std::error::Error for Refused<T> {}

/// One lane and who sends on it.
struct MailLane<T> {
    author: Arc<str>,
    publisher: Mutex<Publisher<T>>,
    /// Held by the one sender that waits for room.
    turn: futures_util::lock::Mutex<()>,
}

impl<T: Content> MailLane<T> {
    fn publisher(&self) -> MutexGuard<'_, Publisher<T>> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Shared<T: Content> {
    bus: PhaseCoherenceBus,
    topic: Arc<Topic>,
    intake: Arc<Intake>,
    /// Looked at and changed with a lane's lock held: closing takes each once.
    is_open: AtomicBool,
    /// The common one first. A lane that only this list holds is free.
    lanes: Mutex<Vec<Arc<MailLane<T>>>>,
}

impl<T: Content> Shared<T> {
    fn lanes(&self) -> MutexGuard<'_, Vec<Arc<MailLane<T>>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane_of(&self, author: &str) -> Result<Arc<MailLane<T>>, TopicError> {
        let mut lanes = self.lanes();
        // The common lane has senders to come.
        if let Some(free) = lanes.iter().skip(1).find(|lane| &*lane.author == author && Arc::strong_count(lane) == 1) {
            return Ok(free.clone());
        }
        let attach = |lane: &Arc<Lane>| self.intake.add_private(lane.clone());
        let publisher = self.bus.open_private_lane::<T>(&self.topic, author, attach)?;
        let turn = futures_util::lock::Mutex::new(());
        let lane = Arc::new(MailLane { author: author.into(), publisher: Mutex::new(publisher), turn });
        lanes.push(lane.clone());
        Ok(lane)
    }

    fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
        let lanes: Vec<_> = self.lanes().clone();
        for lane in lanes {
            // Whoever has the lock publishes before we return; whoever comes later sees the mailbox closed.
            let space = lane.publisher().ring().space().clone();
            space.ring();
        }
    }

    /// Publishes unless there is a reason not to; `value` is taken when it is published.
    fn put(
        &self,
        lane: &MailLane<T>,
        value: &mut Option<T>,
        attributes: &Attributes,
        cause: Option<&Header>,
    ) -> Result<MessageId, Refusal> {
        let mut publisher = lane.publisher();
        if !self.is_open.load(Ordering::Relaxed) {
            return Err(Refusal::Closed);
        }
        if !publisher.has_room_for(1) {
            return Err(Refusal::Full);
        }
        let causes = cause.map(|header| header.id);
        if let Some(header) = cause {
            if !publisher.may_follow(header.id) {
                return Err(Refusal::FutureCause);
            }
            publisher.observe(header.stamp);
        }
        let value = value.take().ok_or(Refusal::Closed)?;
        // There is room, and the cause was looked at.
        publisher.try_publish_caused(value, *attributes, causes.as_slice()).map_err(|_| Refusal::Full)
    }
}

impl<T: Content> Drop for Shared<T> {
    /// The last sender and the reader are gone: the lanes are free for the next mailbox on the topic.
    fn drop(&mut self) {
        for lane in self.lanes().drain(..) {
            if let Some(lane) = Arc::into_inner(lane) {
                self.topic.vacate(lane.publisher.into_inner().unwrap_or_else(PoisonError::into_inner).retire());
            }
        }
    }
}

enum Refusal {
    Full,
    Closed,
    FutureCause,
}

impl Refusal {
    fn with<T>(self, value: T) -> Refused<T> {
        match self {
            Self::Full => Refused::Full(value),
            Self::Closed => Refused::Closed(value),
            Self::FutureCause => Refused::FutureCause(value),
        }
    }
}

/// The sending end. Clones share its lane.
pub struct MailboxSender<T: Content> {
    // Let go of before the mailbox, which gives away lanes that nobody holds.
    lane: Arc<MailLane<T>>,
    shared: Arc<Shared<T>>,
}

impl<T: Content> Clone for MailboxSender<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), lane: self.lane.clone() }
    }
}

impl<T: Content> MailboxSender<T> {
    /// Sends without waiting; `cause` is the packet that led to this one.
    ///
    /// # Errors
    /// [`Refused`], with the value.
    #[inline]
    pub fn try_send(&self, value: T, attributes: &Attributes, cause: Option<&Header>) -> Result<MessageId, Refused<T>> {
        let mut value = Some(value);
        match self.shared.put(&self.lane, &mut value, attributes, cause) {
            Ok(id) => Ok(id),
            Err(refusal) => Err(refusal.with(value.expect("a refused value was not taken"))),
        }
    }

    /// Sends, waiting for room. Senders of one lane that wait are served in order. Cancel safe: a dropped future has sent nothing.
    ///
    /// # Errors
    /// [`Refused::Closed`], also when the mailbox closes meanwhile, and [`Refused::FutureCause`]; with the value.
    pub async fn send(
        &self,
        value: T,
        attributes: &Attributes,
        cause: Option<&Header>,
    ) -> Result<MessageId, Refused<T>> {
        match self.try_send(value, attributes, cause) {
            Err(Refused::Full(value)) => self.send_later(value, attributes, cause).await,
            outcome => outcome,
        }
    }

    #[cold]
    async fn send_later(
        &self,
        value: T,
        attributes: &Attributes,
        cause: Option<&Header>,
    ) -> Result<MessageId, Refused<T>> {
        let _turn = self.lane.turn.lock().await;
        let space = self.lane.publisher().wait_for_space();
        let mut value = Some(value);
        let put = || match self.shared.put(&self.lane, &mut value, attributes, cause) {
            Err(Refusal::Full) => None,
            outcome => Some(outcome),
        };
        let outcome = space.wait_until(put).await;
        outcome.map_err(|refusal| refusal.with(value.expect("a refused value was not taken")))
    }

    /// A sender with a lane of its own under `author`'s name: it shares neither lock nor room with others. For senders that live long
    /// or send much; memory is that of a lane, 64 bytes and the value for each slot.
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn own_lane(&self, author: &str) -> Result<Self, TopicError> {
        Ok(Self { shared: self.shared.clone(), lane: self.shared.lane_of(author)? })
    }

    /// Whether the mailbox takes values now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.is_open.load(Ordering::Relaxed)
    }

    /// Takes no more values. Those accepted stay; who waits for room gets its value back.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Takes values again.
    pub fn open(&self) {
        self.shared.is_open.store(true, Ordering::Relaxed);
    }

    /// The topic that the lanes are on.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.shared.topic.spec().name
    }

    /// Reads along from now on: whatever any sender sends to any mailbox on the topic. With [`crate::Policy::Block`] it holds senders back,
    /// as every such subscriber does.
    #[must_use]
    pub fn tap(&self, interest: Interest) -> Subscriber<T> {
        Subscriber::new(self.shared.bus.open_subscription(vec![self.shared.topic.clone()], interest))
    }
}

/// The reading end. Packets come in the order of their stamps as far as they are there, each after its cause.
pub struct Mailbox<T: Content> {
    // Leaves its lanes before they are given away.
    subscription: Subscription,
    shared: Arc<Shared<T>>,
}

impl<T: Content> Mailbox<T> {
    /// A mailbox for any number of senders, the lanes of which hold `capacity` values each.
    pub(crate) fn new(bus: &PhaseCoherenceBus, topic: Arc<Topic>) -> Result<(Self, MailboxSender<T>), TopicError> {
        let interest = Interest::new().start(Start::Now).order(Order::Stamp).label(&topic.spec().name);
        let subscription = bus.open_subscription(Vec::new(), interest);
        let intake = subscription.intake().clone();
        let (is_open, lanes) = (AtomicBool::new(true), Mutex::default());
        let author = topic.spec().name.clone();
        let shared = Arc::new(Shared { bus: bus.clone(), topic, intake, is_open, lanes });
        let lane = shared.lane_of(&author)?;
        Ok((Self { subscription, shared: shared.clone() }, MailboxSender { shared, lane }))
    }

    /// The next packet, by reference into its slot; the same one until [`Mailbox::advance`].
    #[inline]
    pub fn peek(&mut self) -> Option<(Header, &T)> {
        let index = self.subscription.select()?;
        // SAFETY: `select` took hold of a packet on this lane, and every lane of the mailbox carries `T`.
        Some(unsafe { self.subscription.lane(index).held::<T>() })
    }

    /// Gives the peeked packet back. Its value lives until the slot is used again.
    #[inline]
    pub fn advance(&mut self) {
        self.subscription.advance();
    }

    /// Waits until a packet is there. Cancel safe.
    pub async fn ready(&mut self) {
        // Nobody closes its subscription.
        if self.subscription.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Packets accepted and not given back yet.
    pub fn lag(&mut self) -> u64 {
        for lane in self.subscription.lanes() {
            // A lane that was never looked at does not know yet where it begins.
            lane.head();
        }
        self.subscription.lag()
    }

    /// Lanes that it reads: one for all clones of the first sender, one for each sender with a lane of its own, past ones included.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.shared.lanes().len()
    }
}

impl<T: Content> Drop for Mailbox<T> {
    /// Nobody reads any more.
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl PhaseCoherenceBus {
    /// A mailbox on a topic of its own, or beside others that carry `T`: its reading end and the first sender.
    /// `capacity` is the number of slots per lane, rounded up to a power of two; the topic's first mailbox decides.
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn mailbox<T: Content>(
        &self,
        topic: &str,
        capacity: usize,
    ) -> Result<(Mailbox<T>, MailboxSender<T>), TopicError> {
        let topic = self.declare(TopicSpec::opaque::<T>(topic.to_owned()).capacity(capacity))?;
        Mailbox::new(self, topic)
    }

    fn open_private_lane<T: Content>(
        &self,
        topic: &Arc<Topic>,
        author: &str,
        attach: impl FnOnce(&Arc<Lane>),
    ) -> Result<Publisher<T>, TopicError> {
        if let Some(lane) = topic.take_vacant(author) {
            attach(&lane);
            return Publisher::new(lane, self.hlc()).ok_or(TopicError::LanesExhausted);
        }
        self.new_lane(topic, author, LaneKind::Source, Some(attach))
    }
}
