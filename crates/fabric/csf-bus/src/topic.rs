//! A topic: a named, typed stream; the union of its lanes and of those of the topics that channels link to it.
//!
//! Invariant: a subscription reads each lane it reaches once, however many channels lead to it. All changes of who reaches whom happen
//! under the bus's one wiring lock, so that nothing that comes meanwhile is missed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use csf_core::port::{LaneInfo, LaneKind};
use csf_core::{LaneId, Message, MessageType};

use crate::lane::{Content, Lane};
use crate::ring::{HeapMemory, LANE_BYTES_MAX, Ring, Totals};
use crate::subscription::Intake;
use crate::{EdgePublisher, PhaseCoherenceBus, Start, TopicError};

/// What a topic is made of. `capacity` is per lane.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    /// `pack.words`, dots between segments.
    pub name: String,
    /// Its message type.
    pub message: MessageType,
    /// One line for people; what the message says of itself when `None`.
    pub doc: Option<String>,
    /// Slots per lane, rounded up to a power of two; the bus's default when `None`.
    pub capacity: Option<usize>,
    /// Packets a lane keeps for late readers, at most half its capacity.
    pub history: usize,
    /// Whether the journal records it.
    pub recorded: bool,
    /// Opens a lane for packets that come as JSON.
    pub edge: EdgeOpener,
}

/// Opens a source lane for JSON on a topic, under an author's name.
pub type EdgeOpener = fn(&PhaseCoherenceBus, &str, &str) -> Result<Box<dyn EdgePublisher>, TopicError>;

impl TopicSpec {
    /// A recorded topic for `T` with the last value kept.
    #[must_use]
    pub fn new<T: Message>(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            message: MessageType::of::<T>(),
            doc: None,
            capacity: None,
            history: 1,
            recorded: true,
            edge: |bus, topic, author| Ok(Box::new(bus.publisher::<T>(topic, author, LaneKind::Source)?)),
        }
    }

    /// A topic for Rust values that do not leave the process: not recorded, nothing kept.
    #[must_use]
    pub(crate) fn opaque<T: Content>(name: String) -> Self {
        Self {
            name,
            message: MessageType::opaque::<T>(),
            doc: None,
            capacity: None,
            history: 0,
            recorded: false,
            edge: |_, topic, _| Err(TopicError::Opaque { name: topic.to_owned() }),
        }
    }

    /// Sets the slots per lane.
    #[must_use]
    pub fn capacity(mut self, slots: usize) -> Self {
        self.capacity = Some(slots);
        self
    }

    /// Sets how many packets a lane keeps for late readers.
    #[must_use]
    pub fn history(mut self, packets: usize) -> Self {
        self.history = packets;
        self
    }
}

/// Held while it changes who reaches whom.
pub(crate) type Wiring = Mutex<()>;

#[derive(Default)]
struct Members {
    lanes: Vec<Arc<Lane>>,
    subscriptions: Vec<Weak<Intake>>,
    /// Private lanes that nobody writes or reads now.
    vacant: Vec<Arc<Lane>>,
    /// Topics whose packets arrive here too.
    upstream: Vec<Weak<Topic>>,
    /// Topics where the packets of this one arrive too.
    downstream: Vec<Weak<Topic>>,
}

/// A declared topic.
pub struct Topic {
    spec: TopicSpec,
    capacity: usize,
    wiring: Arc<Wiring>,
    members: Mutex<Members>,
}

impl Topic {
    pub(crate) fn new(spec: TopicSpec, capacity_default: usize, wiring: Arc<Wiring>) -> Self {
        Self { capacity: spec.capacity.unwrap_or(capacity_default), spec, wiring, members: Mutex::default() }
    }

    /// As declared.
    #[must_use]
    pub fn spec(&self) -> &TopicSpec {
        &self.spec
    }

    /// Slots per lane as asked for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rewire(&self) -> MutexGuard<'_, ()> {
        self.wiring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This topic and all that `next` leads to, each once.
    fn reach(self: &Arc<Self>, next: impl Fn(&Members) -> &[Weak<Self>]) -> Vec<Arc<Self>> {
        let mut found = vec![self.clone()];
        let mut at = 0;
        while let Some(topic) = found.get(at).cloned() {
            for next in next(&topic.members()).iter().filter_map(Weak::upgrade) {
                if !found.iter().any(|known| Arc::ptr_eq(known, &next)) {
                    found.push(next);
                }
            }
            at += 1;
        }
        found
    }

    fn sources(self: &Arc<Self>) -> Vec<Arc<Self>> {
        self.reach(|members| &members.upstream)
    }

    fn sinks(self: &Arc<Self>) -> Vec<Arc<Self>> {
        self.reach(|members| &members.downstream)
    }

    fn intakes(&self) -> Vec<Arc<Intake>> {
        self.members().subscriptions.iter().filter_map(Weak::upgrade).collect()
    }

    /// `T` is the topic's type.
    pub(crate) fn add_lane<T: Content>(
        self: &Arc<Self>,
        info: LaneInfo,
        is_private: bool,
    ) -> Result<Arc<Lane>, TopicError> {
        let lane = Lane::new::<T>(info, self.capacity, self.spec.history, self.spec.message.encode, is_private);
        let lane = Arc::new(lane.ok_or_else(|| TopicError::LaneTooLarge {
            name: self.spec.name.clone(),
            capacity: self.capacity,
            payload_bytes: size_of::<T>(),
            limit_bytes: LANE_BYTES_MAX,
        })?);
        let _wiring = self.rewire();
        self.members().lanes.push(lane.clone());
        // Before the producer exists: a subscriber misses nothing of a new lane.
        for intake in self.sinks().iter().flat_map(|sink| sink.intakes()) {
            intake.add(lane.clone(), Start::Earliest);
        }
        Ok(lane)
    }

    /// Lanes of one author that others might have left to the next producer.
    pub(crate) fn lanes_of(&self, author: &str, kind: LaneKind) -> Vec<Arc<Lane>> {
        let fits = |lane: &&Arc<Lane>| !lane.is_private && lane.info.kind == kind && lane.info.author == author;
        self.members().lanes.iter().filter(fits).cloned().collect()
    }

    /// Leaves a private lane to the next mailbox.
    pub(crate) fn vacate(&self, lane: Arc<Lane>) {
        self.members().vacant.push(lane);
    }

    /// A private lane of `author` that nobody uses; the newest first, as its memory is warm.
    pub(crate) fn take_vacant(&self, author: &str) -> Option<Arc<Lane>> {
        let mut members = self.members();
        let at = members.vacant.iter().rposition(|lane| lane.info.author == author)?;
        Some(members.vacant.swap_remove(at))
    }

    pub(crate) fn subscribe(self: &Arc<Self>, intake: &Arc<Intake>, start: Start) {
        let _wiring = self.rewire();
        for source in self.sources() {
            for lane in &source.members().lanes {
                intake.add(lane.clone(), start);
            }
        }
        self.members().subscriptions.push(Arc::downgrade(intake));
    }

    /// Lets `to` read on where `from` is; `take` gives the readers of `from`.
    pub(crate) fn hand_over(
        self: &Arc<Self>,
        from: &Arc<Intake>,
        to: &Arc<Intake>,
        mut take: impl FnMut(LaneId) -> Option<crate::LaneReader>,
    ) {
        let _wiring = self.rewire();
        {
            let mut members = self.members();
            members.subscriptions.retain(|s| !std::ptr::eq(s.as_ptr(), Arc::as_ptr(from)));
            members.subscriptions.push(Arc::downgrade(to));
        }
        for source in self.sources() {
            let lanes = source.members().lanes.clone();
            for lane in &lanes {
                to.adopt(lane, take(lane.info.id));
            }
        }
    }

    pub(crate) fn unsubscribe(self: &Arc<Self>, intake: &Arc<Intake>) {
        let _wiring = self.rewire();
        self.members().subscriptions.retain(|s| !std::ptr::eq(s.as_ptr(), Arc::as_ptr(intake)));
        for source in self.sources() {
            for lane in &source.members().lanes {
                intake.remove(lane.info.id);
            }
        }
    }

    /// Lets the packets of this topic arrive on `sink` too, from now on. False when `sink` leads back here, or is linked already.
    pub(crate) fn link(self: &Arc<Self>, sink: &Arc<Self>) -> bool {
        let _wiring = self.rewire();
        if sink.sinks().iter().any(|topic| Arc::ptr_eq(topic, self)) || self.leads_to(sink) {
            return false;
        }
        let before: Vec<_> = sink.sinks().iter().map(Self::sources).collect();
        self.members().downstream.push(Arc::downgrade(sink));
        sink.members().upstream.push(Arc::downgrade(self));
        for (topic, before) in sink.sinks().iter().zip(before) {
            for new in missing(&topic.sources(), &before) {
                for (intake, lane) in pairs(&topic.intakes(), &new.members().lanes) {
                    intake.add(lane.clone(), Start::Now);
                }
            }
        }
        true
    }

    /// Undoes [`Topic::link`]. False when there is no such link.
    pub(crate) fn unlink(self: &Arc<Self>, sink: &Arc<Self>) -> bool {
        let _wiring = self.rewire();
        if !self.leads_to(sink) {
            return false;
        }
        let before: Vec<_> = sink.sinks().iter().map(Self::sources).collect();
        self.members().downstream.retain(|topic| !std::ptr::eq(topic.as_ptr(), Arc::as_ptr(sink)));
        sink.members().upstream.retain(|topic| !std::ptr::eq(topic.as_ptr(), Arc::as_ptr(self)));
        for (topic, before) in sink.sinks().iter().zip(before) {
            for gone in missing(&before, &topic.sources()) {
                for (intake, lane) in pairs(&topic.intakes(), &gone.members().lanes) {
                    intake.remove(lane.info.id);
                }
            }
        }
        true
    }

    fn leads_to(&self, sink: &Arc<Self>) -> bool {
        self.members().downstream.iter().any(|topic| std::ptr::eq(topic.as_ptr(), Arc::as_ptr(sink)))
    }

    /// Names of the topics where the packets of this one arrive too, by one channel.
    pub(crate) fn linked(&self) -> Vec<String> {
        self.members().downstream.iter().filter_map(Weak::upgrade).map(|sink| sink.spec.name.clone()).collect()
    }

    /// Who writes here.
    #[must_use]
    pub fn lanes(&self) -> Vec<LaneInfo> {
        self.members().lanes.iter().map(|l| l.info.clone()).collect()
    }

    /// Number of live subscriptions.
    #[must_use]
    pub fn subscriber_count(&self) -> usize {
        self.members().subscriptions.iter().filter(|s| s.strong_count() > 0).count()
    }

    /// Number of packets ever committed over all lanes.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.members().lanes.iter().map(|l| l.ring.committed()).sum()
    }

    /// Number of packets `author` ever committed here on lanes of this kind.
    #[must_use]
    pub fn packets_by(&self, author: &str, kind: LaneKind) -> u64 {
        let is_own = |lane: &&Arc<Lane>| lane.info.author == author && lane.info.kind == kind;
        self.members().lanes.iter().filter(is_own).map(|l| l.ring.committed()).sum()
    }

    pub(crate) fn for_each_ring(&self, mut f: impl FnMut(&Ring<HeapMemory>)) {
        for lane in &self.members().lanes {
            f(&lane.ring);
        }
    }

    /// What became of its packets, over all lanes and readers.
    pub(crate) fn totals(&self) -> Totals {
        self.members().lanes.iter().fold(Totals::default(), |mut sum, lane| {
            sum.add(lane.ring.totals());
            sum
        })
    }

    /// How often a publisher found a lane full.
    pub(crate) fn refusals(&self) -> u64 {
        self.members().lanes.iter().map(|lane| lane.refusals.load(Ordering::Relaxed)).sum()
    }

    /// Packets committed and not yet read, over all readers.
    pub(crate) fn queue_depth(&self) -> u64 {
        self.members().lanes.iter().map(|lane| lane.ring.queue_depth()).sum()
    }

    /// Every lane with the number of packets committed on it.
    #[must_use]
    pub fn committed(&self) -> Vec<(LaneId, u64)> {
        self.members().lanes.iter().map(|l| (l.info.id, l.ring.committed())).collect()
    }
}

/// Topics of `all` that are not in `known`.
fn missing<'a>(all: &'a [Arc<Topic>], known: &[Arc<Topic>]) -> Vec<&'a Arc<Topic>> {
    all.iter().filter(|topic| !known.iter().any(|known| Arc::ptr_eq(known, topic))).collect()
}

fn pairs<'a, A, B>(left: &'a [A], right: &'a [B]) -> impl Iterator<Item = (&'a A, &'a B)> {
    left.iter().flat_map(move |l| right.iter().map(move |r| (l, r)))
}
