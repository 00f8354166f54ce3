//! The bus in every load, with full packets: stamped by the hybrid logical clock, addressed, with a deadline and a cause.

use std::sync::Arc;

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, Policy, Publisher, Subscriber, TopicSpec};
use csf_core::port::{LaneKind, TimeSource};
use csf_core::{Attributes, LaneId, Message, MessageId, NanoTime, Stamp};
use csf_time::SimulatedClock;

use super::time;
use crate::load::unique;
use crate::payload::{AsyncEnd, BATCH, CAPACITY, End, Frame, Rx, SMALL, Tx};

/// The component bit that frames are addressed to and consumers filter by.
const TARGET: u64 = 1;
/// How far ahead of its stamp a frame's deadline is.
const DEADLINE_NS: u64 = 1_000_000;
/// Most packets that a consumer takes at once.
const TAKE_MAX: usize = 256;
/// A packet that no reader of the bench waits for: what a full packet answers when its producer has not received any.
const ELSEWHERE: MessageId = MessageId { lane: LaneId { node: 9, incarnation: 1, lane: 0 }, seq: 0 };

/// What a packet carries and who looks on. An ablation leaves one out.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// Packets are addressed.
    pub mask: bool,
    /// The consumer filters by its mask.
    pub filter: bool,
    /// Stamps come from the clock; without, they are counted from a clock that stands still.
    pub hlc: bool,
    /// Packets carry a deadline, by which they are ordered.
    pub deadline: bool,
    /// Each packet names the one it answers.
    pub cause: bool,
    /// A lossy reader looks on and never reads.
    pub tap: bool,
}

impl Features {
    /// A full packet, for whoever reads the topic.
    pub const PACKET: Self = Self { mask: true, filter: false, hlc: true, deadline: true, cause: true, tap: false };
    /// A full packet, for a consumer that filters by mask.
    pub const FILTERED: Self = Self { filter: true, ..Self::PACKET };
    /// A full packet that is filtered and watched.
    pub const ALL: Self = Self { tap: true, ..Self::FILTERED };
    /// A frame and its place in the lane.
    pub const NONE: Self = Self { mask: false, filter: false, hlc: false, deadline: false, cause: false, tap: false };
}

/// How a consumer takes many packets at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// `wait_batch`, the recommended way: it lets a fast producer get ahead, and parks when nothing comes.
    Waiting,
    /// `poll_batch`: it takes what is there and never parks.
    Polling,
}

/// A bus without topics.
pub fn new_bus(time_source: Arc<dyn TimeSource>) -> PhaseCoherenceBus {
    // Ids of two buses must differ: the packets of one are causes on the other.
    PhaseCoherenceBus::new(BusConfig { node: 10 + (unique() % 50_000) as u16, ..BusConfig::new(time_source) })
}

/// A bus with one topic.
pub struct Stage {
    /// The bus.
    pub bus: PhaseCoherenceBus,
    topic: String,
    features: Features,
}

impl Stage {
    /// `history` packets of each lane are kept for late readers.
    pub fn new<T: Message>(capacity: usize, history: usize, features: Features) -> Self {
        let time_source: Arc<dyn TimeSource> =
            if features.hlc { time::source() } else { SimulatedClock::starting_at(NanoTime::from_nanos(1)) };
        let bus = new_bus(time_source);
        let topic = format!("bench.t{}", unique());
        let mut spec = TopicSpec::new::<T>(topic.as_str()).capacity(capacity);
        spec.history = history;
        bus.declare(spec).expect("the topic is new");
        Self { bus, topic, features }
    }

    fn publisher<T: Message>(&self) -> Publisher<T> {
        self.bus.publisher(&self.topic, "bench", LaneKind::Source).expect("the topic is declared")
    }

    /// A publisher of full packets.
    pub fn producer<const WORDS: usize, const IS_CAUSED: bool>(&self) -> Producer<WORDS, IS_CAUSED> {
        Producer { publisher: self.publisher(), answers: ELSEWHERE }
    }

    fn subscriber<T: Message>(&self, interest: Interest) -> Subscriber<T> {
        self.bus.subscriber(&self.topic, interest).expect("the topic is declared")
    }

    /// A subscriber that loses nothing.
    pub fn consumer<const WORDS: usize>(&self) -> Consumer<WORDS> {
        let mask = if self.features.filter { TARGET } else { u64::MAX };
        Consumer { subscriber: self.subscriber(Interest::new().mask(mask)) }
    }

    /// One that takes many packets at once.
    pub fn batch_consumer<const WORDS: usize>(&self, taking: Taking) -> BatchConsumer<WORDS> {
        BatchConsumer { subscriber: self.consumer().subscriber, taking }
    }
}

impl<const WORDS: usize> From<Publisher<Frame<WORDS>>> for Producer<WORDS> {
    fn from(publisher: Publisher<Frame<WORDS>>) -> Self {
        Self { publisher, answers: ELSEWHERE }
    }
}

fn stage<const WORDS: usize>(features: Features) -> Stage {
    Stage::new::<Frame<WORDS>>(CAPACITY, 0, features)
}

/// A publisher of full packets, one at a time; what they carry is known when it is compiled, as in a component.
pub struct Producer<const WORDS: usize, const IS_CAUSED: bool = true> {
    publisher: Publisher<Frame<WORDS>>,
    answers: MessageId,
}

/// A subscriber, a packet at a time: the way to the least latency.
pub struct Consumer<const WORDS: usize> {
    subscriber: Subscriber<Frame<WORDS>>,
}

/// A subscriber that takes what is there: the way to the highest throughput.
pub struct BatchConsumer<const WORDS: usize> {
    subscriber: Subscriber<Frame<WORDS>>,
    taking: Taking,
}

/// One publisher, one subscriber, in one thread.
pub fn pair<const WORDS: usize>() -> (Producer<WORDS>, Consumer<WORDS>) {
    let stage = stage::<WORDS>(Features::PACKET);
    (stage.producer(), stage.consumer())
}

/// One publisher, one subscriber in a thread of its own.
pub fn lane<const WORDS: usize>(features: Features, taking: Taking) -> (Producer<WORDS>, BatchConsumer<WORDS>) {
    let stage = stage::<WORDS>(features);
    (stage.producer(), stage.batch_consumer(taking))
}

/// One publisher, `count` subscribers who each see every packet.
pub fn fan_out<const WORDS: usize>(
    count: usize,
    features: Features,
    taking: Taking,
) -> (Producer<WORDS>, Vec<BatchConsumer<WORDS>>) {
    let stage = stage::<WORDS>(features);
    (stage.producer(), (0..count).map(|_| stage.batch_consumer(taking)).collect())
}

/// `count` publishers on one topic, one subscriber that merges their lanes.
pub fn fan_in<const WORDS: usize, const IS_CAUSED: bool>(
    count: usize,
    features: Features,
    taking: Taking,
) -> (Vec<Producer<WORDS, IS_CAUSED>>, BatchConsumer<WORDS>) {
    let stage = stage::<WORDS>(features);
    ((0..count).map(|_| stage.producer()).collect(), stage.batch_consumer(taking))
}

/// A publisher whom nobody hears; the topic keeps `history` packets for late readers.
pub fn unheard<const WORDS: usize>(history: usize) -> Producer<WORDS> {
    Stage::new::<Frame<WORDS>>(CAPACITY.max(2 * history), history, Features::PACKET).producer()
}

/// One publisher that stamps and commits [`BATCH`] packets at once, one subscriber.
pub fn batches<const WORDS: usize>(taking: Taking) -> (BatchProducer<WORDS>, BatchConsumer<WORDS>) {
    let (producer, consumer) = lane(Features::PACKET, taking);
    (BatchProducer { producer, done: 0 }, consumer)
}

impl Features {
    #[inline(always)]
    fn attributes(self, last: Stamp) -> Attributes {
        let mut attributes = Attributes::default();
        if self.mask {
            attributes.targets = TARGET;
        }
        if self.deadline {
            attributes.deadline = Some(last.after(DEADLINE_NS));
        }
        attributes
    }

    /// Publishes a frame.
    #[inline(always)]
    fn publish<const WORDS: usize>(self, to: &mut Publisher<Frame<WORDS>>, number: u64, answers: MessageId) -> bool {
        let attributes = self.attributes(to.last_stamp());
        to.try_publish_caused(Frame::new(number), attributes, self.cause.then_some(answers).as_slice()).is_ok()
    }
}

impl<const WORDS: usize, const IS_CAUSED: bool> Tx for Producer<WORDS, IS_CAUSED> {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        let features = const { Features { cause: IS_CAUSED, ..Features::PACKET } };
        features.publish(&mut self.publisher, number, self.answers)
    }
}

impl<const WORDS: usize> Rx for Consumer<WORDS> {
    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        let Some(frame) = self.subscriber.poll(|_, frame| frame.sum()) else { return 0 };
        *sum = sum.wrapping_add(frame);
        1
    }

    fn recv(&mut self, sum: &mut u64) -> usize {
        *sum = sum.wrapping_add(self.subscriber.wait(|_, frame| frame.sum()));
        1
    }
}

impl<const WORDS: usize> Rx for BatchConsumer<WORDS> {
    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        match self.taking {
            Taking::Waiting => self.subscriber.wait_batch(TAKE_MAX, |_, frame| *sum = sum.wrapping_add(frame.sum())),
            Taking::Polling => self.subscriber.poll_batch(TAKE_MAX, |_, frame| *sum = sum.wrapping_add(frame.sum())),
        }
    }
}

/// A publisher that reads the clock once for each batch.
pub struct BatchProducer<const WORDS: usize> {
    producer: Producer<WORDS>,
    /// Frames of the group that are published already: a lane takes as much of a batch as it has room for.
    done: u64,
}

impl<const WORDS: usize> Tx for BatchProducer<WORDS> {
    const GROUP: u64 = BATCH;

    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        let attributes = Features::PACKET.attributes(self.producer.publisher.last_stamp());
        let (from, left) = (number + self.done, (BATCH - self.done) as usize);
        let frames = (0..left).map(|index| Frame::new(from + index as u64));
        let published = self.producer.publisher.try_publish_batch(frames, attributes);
        let is_whole = published == left;
        self.done = if is_whole { 0 } else { self.done + published as u64 };
        is_whole
    }
}

/// One end of a round trip; each packet answers the one received before.
pub struct Link {
    publisher: Publisher<Frame<SMALL>>,
    features: Features,
    answers: MessageId,
    consumer: Consumer<SMALL>,
    /// Kept attached, never read.
    _tap: Option<Subscriber<Frame<SMALL>>>,
}

/// Both ends of a round trip.
pub fn links(features: Features) -> (Link, Link) {
    let (there, back) = (stage::<SMALL>(features), stage::<SMALL>(features));
    let end = |out: &Stage, into: &Stage| Link {
        publisher: out.publisher(),
        features,
        answers: ELSEWHERE,
        consumer: into.consumer(),
        _tap: features.tap.then(|| out.subscriber(Interest::new().policy(Policy::DropOldest))),
    };
    (end(&there, &back), end(&back, &there))
}

impl End for Link {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        self.features.publish(&mut self.publisher, number, self.answers)
    }

    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        let taken = self.consumer.subscriber.poll(|header, frame| (frame.sum(), header.id));
        let Some((frame, id)) = taken else { return 0 };
        self.answers = id;
        *sum = sum.wrapping_add(frame);
        1
    }

    fn send(&mut self, number: u64) {
        while !self.try_send(number) {
            std::hint::spin_loop();
        }
    }

    fn recv(&mut self, sum: &mut u64) -> usize {
        let (frame, id) = self.consumer.subscriber.wait(|header, frame| (frame.sum(), header.id));
        self.answers = id;
        *sum = sum.wrapping_add(frame);
        1
    }
}

/// One task's end.
pub struct Task(Producer<SMALL>, Consumer<SMALL>);

/// Two tasks' ends.
pub fn tasks() -> (Task, Task) {
    let (there, back) = (stage::<SMALL>(Features::PACKET), stage::<SMALL>(Features::PACKET));
    (Task(there.producer(), back.consumer()), Task(back.producer(), there.consumer()))
}

impl AsyncEnd for Task {
    async fn send(&mut self, number: u64) {
        let Producer { publisher, answers } = &mut self.0;
        let attributes = Features::PACKET.attributes(publisher.last_stamp());
        publisher.publish_caused(Frame::new(number), attributes, &[*answers]).await.expect("the bus is open");
    }

    async fn recv(&mut self) -> u64 {
        let (frame, id) = self.1.subscriber.recv_with(|header, frame| (frame.sum(), header.id)).await;
        self.0.answers = id;
        frame
    }
}
