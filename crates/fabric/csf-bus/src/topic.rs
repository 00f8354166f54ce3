//! A topic: a named, typed stream; the union of its lanes.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use csf_core::port::{LaneInfo, LaneKind};
use csf_core::{LaneId, Message, MessageType};

use crate::lane::Lane;
use crate::ring::LANE_BYTES_MAX;
use crate::subscription::Intake;
use crate::{EdgePublisher, PhaseCoherenceBus, Start, TopicError};

/// What a topic is made of. `capacity` is per lane.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    /// `pack.words`, dots between segments.
    pub name: String,
    /// Its message type.
    pub message: MessageType,
    /// One line for people.
    pub doc: String,
    /// Slots per lane, rounded up to a power of two.
    pub capacity: usize,
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
    /// A recorded topic for `T` with 1,024 slots and the last value kept.
    #[must_use]
    pub fn new<T: Message>(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            message: MessageType::of::<T>(),
            doc: MessageType::of::<T>().doc(),
            capacity: 1024,
            history: 1,
            recorded: true,
            edge: |bus, topic, author| Ok(Box::new(bus.publisher::<T>(topic, author, LaneKind::Source)?)),
        }
    }

    /// Sets the slots per lane.
    #[must_use]
    pub fn capacity(mut self, slots: usize) -> Self {
        self.capacity = slots;
        self
    }
}

#[derive(Default)]
struct Members {
    lanes: Vec<Arc<Lane>>,
    subscriptions: Vec<Weak<Intake>>,
}

/// A declared topic.
pub struct Topic {
    spec: TopicSpec,
    members: Mutex<Members>,
}

impl Topic {
    pub(crate) fn new(spec: TopicSpec) -> Self {
        Self { spec, members: Mutex::default() }
    }

    /// As declared.
    #[must_use]
    pub fn spec(&self) -> &TopicSpec {
        &self.spec
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `T` is the topic's type.
    pub(crate) fn add_lane<T: Message>(&self, info: LaneInfo) -> Result<Arc<Lane>, TopicError> {
        let lane = Lane::new::<T>(info, self.spec.capacity, self.spec.history);
        let lane = Arc::new(lane.ok_or_else(|| TopicError::LaneTooLarge {
            name: self.spec.name.clone(),
            capacity: self.spec.capacity,
            payload_bytes: size_of::<T>(),
            limit_bytes: LANE_BYTES_MAX,
        })?);
        let mut members = self.lock();
        members.lanes.push(lane.clone());
        // Under the lock, before the producer exists: a subscriber misses nothing of a new lane.
        members.subscriptions.retain(|s| s.upgrade().map(|s| s.add(lane.clone(), Start::Earliest)).is_some());
        Ok(lane)
    }

    pub(crate) fn subscribe(&self, intake: &Arc<Intake>, start: Start) {
        let mut members = self.lock();
        for lane in &members.lanes {
            intake.add(lane.clone(), start);
        }
        members.subscriptions.push(Arc::downgrade(intake));
    }

    pub(crate) fn unsubscribe(&self, intake: &Arc<Intake>) {
        self.lock().subscriptions.retain(|s| !std::ptr::eq(s.as_ptr(), Arc::as_ptr(intake)));
    }

    /// Who writes here.
    #[must_use]
    pub fn lanes(&self) -> Vec<LaneInfo> {
        self.lock().lanes.iter().map(|l| l.info.clone()).collect()
    }

    /// Number of live subscriptions.
    #[must_use]
    pub fn subscriber_count(&self) -> usize {
        self.lock().subscriptions.iter().filter(|s| s.strong_count() > 0).count()
    }

    /// Number of packets ever committed over all lanes.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.lock().lanes.iter().map(|l| l.ring.committed()).sum()
    }

    /// Number of packets `author` ever committed here.
    #[must_use]
    pub fn packets_by(&self, author: &str) -> u64 {
        self.lock().lanes.iter().filter(|l| l.info.author == author).map(|l| l.ring.committed()).sum()
    }

    /// Every lane with the number of packets committed on it.
    #[must_use]
    pub fn committed(&self) -> Vec<(LaneId, u64)> {
        self.lock().lanes.iter().map(|l| (l.info.id, l.ring.committed())).collect()
    }
}
