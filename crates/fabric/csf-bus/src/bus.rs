//! The Phase Coherence Bus of one node: its topics, and the lanes on them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use csf_core::port::TimeSource;
use csf_core::port::{LaneInfo, LaneKind};
use csf_core::{BusError, Header, Incarnation, LaneId, Message, MessageType, NodeId, Stamp};
use csf_time::Hlc;

use crate::subscriber::Filter;
use crate::{Doorbell, EffectWriter, Order, Policy, Publisher, Start, Subscriber, Subscription, Topic, TopicSpec};

/// Who the node is and where its time comes from.
#[derive(Clone)]
pub struct BusConfig {
    /// Number of the node in the fabric.
    pub node: NodeId,
    /// This start of the node.
    pub incarnation: Incarnation,
    /// Physical time.
    pub time_source: Arc<dyn TimeSource>,
    /// Stamps of this incarnation are later than this one (the newest of the last incarnation).
    pub not_before: Stamp,
}

/// Handle to the bus; clones share it. Components hold subscriptions and publishers, never the bus itself.
#[derive(Clone)]
pub struct PhaseCoherenceBus {
    inner: Arc<Inner>,
}

struct Inner {
    config: BusConfig,
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    next_lane: AtomicU32,
}

/// A refused declaration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// No topic has this name.
    #[error("no topic is called `{name}`")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The topic carries another type.
    #[error("topic `{name}` carries {carries}, not {wanted}")]
    WrongType {
        /// The topic.
        name: String,
        /// Its type.
        carries: String,
        /// The type asked for.
        wanted: String,
    },
    /// Declared before with another type.
    #[error("topic `{name}` is declared twice, as {first} and as {second}")]
    Redeclared {
        /// The topic.
        name: String,
        /// First declaration.
        first: String,
        /// Second declaration.
        second: String,
    },
    /// A lane's slots would need too much memory.
    #[error(
        "a lane of `{name}` with {capacity} slots of {payload_bytes} bytes exceeds {limit_bytes} bytes; lower `capacity`, or put large payloads behind a `Vec`"
    )]
    LaneTooLarge {
        /// The topic.
        name: String,
        /// Slots asked for.
        capacity: usize,
        /// Bytes of the payload's type.
        payload_bytes: usize,
        /// Most bytes a lane may take.
        limit_bytes: usize,
    },
    /// All 65,536 lanes of this incarnation are used.
    #[error("all 65,536 lanes of this start are used; restart the node")]
    LanesExhausted,
}

impl From<TopicError> for BusError {
    fn from(error: TopicError) -> Self {
        Self::InitializationFailed { component: "topic".to_owned(), reason: error.to_string() }
    }
}

impl PhaseCoherenceBus {
    /// A bus without topics.
    #[must_use]
    pub fn new(config: BusConfig) -> Self {
        Self { inner: Arc::new(Inner { config, topics: RwLock::default(), next_lane: AtomicU32::new(0) }) }
    }

    /// As built.
    #[must_use]
    pub fn config(&self) -> &BusConfig {
        &self.inner.config
    }

    /// A clock of its own for one producer.
    #[must_use]
    pub fn hlc(&self) -> Hlc {
        let config = &self.inner.config;
        Hlc::new(config.time_source.clone(), config.node).not_before(config.not_before)
    }

    /// Declares a topic; declaring it again with the same type is fine.
    ///
    /// # Errors
    /// [`TopicError::Redeclared`].
    pub fn declare(&self, spec: TopicSpec) -> Result<Arc<Topic>, TopicError> {
        let mut topics = self.inner.topics.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(&spec.name) {
            if topic.spec().message != spec.message {
                return Err(TopicError::Redeclared {
                    name: spec.name,
                    first: topic.spec().message.full_name(),
                    second: spec.message.full_name(),
                });
            }
            return Ok(topic.clone());
        }
        let topic = Arc::new(Topic::new(spec));
        topics.insert(topic.spec().name.clone(), topic.clone());
        Ok(topic)
    }

    /// Every topic, by name.
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.inner.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// One topic.
    ///
    /// # Errors
    /// [`TopicError::Unknown`].
    pub fn topic(&self, name: &str) -> Result<Arc<Topic>, TopicError> {
        let topics = self.inner.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(name).cloned().ok_or_else(|| TopicError::Unknown { name: name.to_owned() })
    }

    fn typed(&self, name: &str, message: MessageType) -> Result<Arc<Topic>, TopicError> {
        let topic = self.topic(name)?;
        if topic.spec().message != message {
            return Err(TopicError::WrongType {
                name: name.to_owned(),
                carries: topic.spec().message.full_name(),
                wanted: message.full_name(),
            });
        }
        Ok(topic)
    }

    /// A new lane on a topic for one producer.
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn publisher<T: Message>(&self, topic: &str, author: &str, kind: LaneKind) -> Result<Publisher<T>, TopicError> {
        let topic = self.typed(topic, MessageType::of::<T>())?;
        let number = self.inner.next_lane.fetch_add(1, Ordering::Relaxed);
        let lane = u16::try_from(number).map_err(|_| TopicError::LanesExhausted)?;
        let info = LaneInfo {
            id: LaneId { node: self.inner.config.node, incarnation: self.inner.config.incarnation, lane },
            topic: topic.spec().name.clone(),
            author: author.to_owned(),
            message: topic.spec().message.full_name(),
            kind,
        };
        let lane = topic.add_lane::<T>(info)?;
        Publisher::new(lane, self.hlc()).map_err(|_| TopicError::LanesExhausted)
    }

    /// A component's output on a topic.
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn effect_writer<T: Message>(&self, topic: &str, author: &str) -> Result<Box<dyn EffectWriter>, TopicError> {
        Ok(Box::new(self.publisher::<T>(topic, author, LaneKind::Effect)?))
    }

    /// Reads several topics of any type as one stream.
    ///
    /// # Errors
    /// [`TopicError::Unknown`].
    pub fn subscribe_any(
        &self,
        topics: &[&str],
        policy: Policy,
        start: Start,
        order: Order,
        doorbell: Arc<Doorbell>,
    ) -> Result<Subscription, TopicError> {
        let topics = topics.iter().map(|name| self.topic(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(Subscription::new(topics, policy, start, order, doorbell))
    }

    /// Reads one topic.
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn subscribe<T: Message>(
        &self,
        topic: &str,
        policy: Policy,
        start: Start,
    ) -> Result<Subscriber<T>, TopicError> {
        self.subscribe_with(topic, policy, start, None)
    }

    /// Reads those packets of one topic that pass `filter`, which runs before they are handed out.
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn subscribe_filtered<T: Message>(
        &self,
        topic: &str,
        policy: Policy,
        filter: impl Fn(&Header, &T) -> bool + Send + Sync + 'static,
    ) -> Result<Subscriber<T>, TopicError> {
        self.subscribe_with(topic, policy, Start::Now, Some(Box::new(filter)))
    }

    fn subscribe_with<T: Message>(
        &self,
        topic: &str,
        policy: Policy,
        start: Start,
        filter: Option<Filter<T>>,
    ) -> Result<Subscriber<T>, TopicError> {
        let topic = self.typed(topic, MessageType::of::<T>())?;
        let inner = Subscription::new(vec![topic], policy, start, Order::Urgency, Arc::default());
        Ok(Subscriber::new(inner, filter))
    }

    /// Number of live subscriptions of a topic.
    ///
    /// # Errors
    /// [`TopicError::Unknown`].
    pub fn subscriber_count(&self, topic: &str) -> Result<usize, TopicError> {
        Ok(self.topic(topic)?.subscriber_count())
    }
}
