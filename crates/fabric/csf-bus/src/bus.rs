//! The Phase Coherence Bus of one node: its topics, and the lanes on them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use csf_core::port::{LaneInfo, LaneKind, TimeSource, Timer};
use csf_core::{BusError, Incarnation, LaneId, Message, MessageId, MessageType, NodeId, Stamp};
use csf_time::Hlc;

use crate::edge::Edge;
use crate::health::Marks;
use crate::lane::{Content, Lane};
use crate::monitor::{DeadLetter, DeliveryTimes, Monitor};
use crate::real_timer::RealTimer;
use crate::topic::Wiring;
use crate::{Doorbell, EffectWriter, Interest, Publisher, Subscriber, Subscription, Topic, TopicSpec};

/// Who the node is, where its time comes from, and the bus's limits.
#[derive(Clone)]
pub struct BusConfig {
    /// Number of the node in the fabric.
    pub node: NodeId,
    /// This start of the node.
    pub incarnation: Incarnation,
    /// Physical time.
    pub time_source: Arc<dyn TimeSource>,
    /// Waits: for the cause of a packet that is held, and for the end of a guaranteed delivery's time.
    pub timer: Arc<dyn Timer>,
    /// Stamps of this incarnation are later than this one (the newest of the last incarnation).
    pub not_before: Stamp,
    /// Slots per lane of topics that do not say; rounded up to a power of two.
    pub channel_buffer_size: usize,
    /// A packet waits this long at most for a cause that is not there; then it is a dead letter.
    pub hold_max: Duration,
    /// A subscription measures the latency of every so many packets; 0 measures none.
    pub latency_every: u64,
}

impl BusConfig {
    /// A lone node's first start on this clock, with the default limits: 1,024 slots, 1 s, every 64th packet. It waits in real time, on
    /// any executor.
    #[must_use]
    pub fn new(time_source: Arc<dyn TimeSource>) -> Self {
        Self {
            node: 1,
            incarnation: 1,
            timer: Arc::new(RealTimer::new(time_source.clone())),
            time_source,
            not_before: Stamp::ZERO,
            channel_buffer_size: 1024,
            hold_max: Duration::from_secs(1),
            latency_every: 64,
        }
    }
}

impl Default for BusConfig {
    /// [`BusConfig::new`] on the machine's best clock, which is calibrated for about 4 ms.
    ///
    /// # Panics
    /// On a machine without a monotonic clock.
    fn default() -> Self {
        let clock = csf_time::SystemClock::detect().expect("every machine this runs on has a monotonic clock");
        Self::new(clock)
    }
}

/// Handle to the bus; clones share it. Components hold subscriptions and publishers, never the bus itself; who must hold it, and is
/// held by something on it, holds a [`WeakBus`].
#[derive(Clone)]
pub struct PhaseCoherenceBus {
    inner: Arc<Inner>,
}

/// A handle that does not keep the bus alive.
#[derive(Clone)]
pub struct WeakBus {
    inner: Weak<Inner>,
}

impl WeakBus {
    /// The bus, if somebody still holds it.
    #[must_use]
    pub fn upgrade(&self) -> Option<PhaseCoherenceBus> {
        self.inner.upgrade().map(|inner| PhaseCoherenceBus { inner })
    }
}

struct Inner {
    config: BusConfig,
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    wiring: Arc<Wiring>,
    monitor: Arc<Monitor>,
    marks: Marks,
    edge: Edge,
    next_lane: AtomicU32,
}

/// Two topics linked by name: what is published on `from` arrives on `to` as well.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Channel {
    /// The source.
    pub from: String,
    /// The destination.
    pub to: String,
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
    /// The channel is there already.
    #[error("channel `{from}` -> `{to}` exists already")]
    ChannelExists {
        /// Its source.
        from: String,
        /// Its destination.
        to: String,
    },
    /// The channel would lead back to its source.
    #[error("channel `{from}` -> `{to}` would close a circle: packets of `{to}` arrive on `{from}` already")]
    ChannelCycle {
        /// Its source.
        from: String,
        /// Its destination.
        to: String,
    },
    /// The topic carries values that have no JSON form.
    #[error("topic `{name}` carries Rust values only; declare a topic for a `Message` to reach it from outside")]
    Opaque {
        /// The topic.
        name: String,
    },
    /// There is no such channel.
    #[error("there is no channel `{from}` -> `{to}`")]
    UnknownChannel {
        /// Its source.
        from: String,
        /// Its destination.
        to: String,
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
        let monitor = Arc::new(Monitor::new(&config));
        let (topics, wiring, next_lane) = (RwLock::default(), Arc::default(), AtomicU32::new(0));
        Self {
            inner: Arc::new(Inner {
                config,
                topics,
                wiring,
                monitor,
                marks: Marks::default(),
                edge: Edge::default(),
                next_lane,
            }),
        }
    }

    /// A handle that does not keep the bus alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakBus {
        WeakBus { inner: Arc::downgrade(&self.inner) }
    }

    /// As built.
    #[must_use]
    pub fn config(&self) -> &BusConfig {
        &self.inner.config
    }

    pub(crate) fn monitor(&self) -> &Arc<Monitor> {
        &self.inner.monitor
    }

    pub(crate) fn edge(&self) -> &Edge {
        &self.inner.edge
    }

    pub(crate) fn marks(&self) -> &Marks {
        &self.inner.marks
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
        let topic = Arc::new(Topic::new(spec, self.inner.config.channel_buffer_size, self.inner.wiring.clone()));
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

    /// A lane on a topic for one producer. Who opens it again after its producer was dropped, under the same author and kind, goes on
    /// with the same lane, its sequence and its stamps: a producer that is started again uses no lane up.
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn publisher<T: Message>(&self, topic: &str, author: &str, kind: LaneKind) -> Result<Publisher<T>, TopicError> {
        self.open_lane(&self.typed(topic, MessageType::of::<T>())?, author, kind)
    }

    /// `T` is the topic's type.
    pub(crate) fn open_lane<T: Content>(
        &self,
        topic: &Arc<Topic>,
        author: &str,
        kind: LaneKind,
    ) -> Result<Publisher<T>, TopicError> {
        let left = topic.lanes_of(author, kind).into_iter().find_map(|lane| Publisher::new(lane, self.hlc()));
        left.map_or_else(|| self.new_lane(topic, author, kind, None::<fn(&Arc<Lane>)>), Ok)
    }

    /// A lane that was not there before. One with `attach` is private; `attach` sees it before it has a producer.
    pub(crate) fn new_lane<T: Content>(
        &self,
        topic: &Arc<Topic>,
        author: &str,
        kind: LaneKind,
        attach: Option<impl FnOnce(&Arc<Lane>)>,
    ) -> Result<Publisher<T>, TopicError> {
        let number = self.inner.next_lane.fetch_add(1, Ordering::Relaxed);
        let lane = u16::try_from(number).map_err(|_| TopicError::LanesExhausted)?;
        let info = LaneInfo {
            id: LaneId { node: self.inner.config.node, incarnation: self.inner.config.incarnation, lane },
            topic: topic.spec().name.clone(),
            author: author.to_owned(),
            message: topic.spec().message.full_name(),
            kind,
        };
        let lane = topic.add_lane::<T>(info, attach.is_some())?;
        if let Some(attach) = attach {
            attach(&lane);
        }
        Publisher::new(lane, self.hlc()).ok_or(TopicError::LanesExhausted)
    }

    pub(crate) fn open_subscription(&self, topics: Vec<Arc<Topic>>, interest: Interest) -> Subscription {
        Subscription::new(topics, interest, Arc::default(), self.inner.monitor.clone())
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
        interest: Interest,
        doorbell: Arc<Doorbell>,
    ) -> Result<Subscription, TopicError> {
        let topics = topics.iter().map(|name| self.topic(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(Subscription::new(topics, interest, doorbell, self.inner.monitor.clone()))
    }

    /// Reads one topic.
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn subscriber<T: Message>(&self, topic: &str, interest: Interest) -> Result<Subscriber<T>, TopicError> {
        let topic = self.typed(topic, MessageType::of::<T>())?;
        Ok(Subscriber::new(self.open_subscription(vec![topic], interest)))
    }

    /// Lets what is published on `from` arrive on `to` too, from now on, by reference and with its own id and stamp. Both carry the
    /// same type. No thread forwards: subscribers of `to` read the lanes of `from`.
    ///
    /// # Errors
    /// [`TopicError`]: an unknown topic, another type, a channel that exists or closes a circle.
    pub fn create_channel(&self, from: &str, to: &str) -> Result<(), TopicError> {
        let source = self.topic(from)?;
        let sink = self.typed(to, source.spec().message)?;
        if source.link(&sink) {
            return Ok(());
        }
        let (from, to) = (from.to_owned(), to.to_owned());
        Err(if source.linked().contains(&to) {
            TopicError::ChannelExists { from, to }
        } else {
            TopicError::ChannelCycle { from, to }
        })
    }

    /// Removes a channel. Packets that its subscribers have not read yet are lost to them; each lets the lanes go when it looks next.
    ///
    /// # Errors
    /// [`TopicError::Unknown`], [`TopicError::UnknownChannel`].
    pub fn remove_channel(&self, from: &str, to: &str) -> Result<(), TopicError> {
        if self.topic(from)?.unlink(&self.topic(to)?) {
            return Ok(());
        }
        Err(TopicError::UnknownChannel { from: from.to_owned(), to: to.to_owned() })
    }

    /// All channels, by name.
    #[must_use]
    pub fn channels(&self) -> Vec<Channel> {
        let channels = self.topics().into_iter().flat_map(|topic| {
            let from = topic.spec().name.clone();
            topic.linked().into_iter().map(move |to| Channel { from: from.clone(), to })
        });
        let mut channels: Vec<_> = channels.collect();
        channels.sort();
        channels
    }

    /// Whether the packet with this id was committed on this bus.
    #[must_use]
    pub fn has_published(&self, id: MessageId) -> bool {
        self.topics()
            .iter()
            .flat_map(|topic| topic.committed())
            .any(|(lane, committed)| lane == id.lane && id.seq < committed)
    }

    /// The newest packets that could not be delivered in causal order, at most [`crate::DEAD_LETTERS_MAX`].
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.inner.monitor.dead_letters()
    }

    /// Latencies and missed deadlines over all subscriptions so far.
    #[must_use]
    pub fn delivery_times(&self) -> DeliveryTimes {
        self.inner.monitor.times()
    }
}
