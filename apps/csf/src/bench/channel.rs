//! What carries a message from a producer to a consumer: a lane of the bus, and the channels that the binary has anyway.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, Publisher, Subscriber, TopicSpec};
use csf_core::port::LaneKind;
use csf_core::{Attributes, Message};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stopwatch::Stopwatch;

/// Names of the sides.
pub(super) const LANE: &str = "csf-bus";
pub(super) const LANE_BATCH: &str = "csf-bus, batches of 16";
pub(super) const PACKET: &str = "csf-bus, whole packets";
pub(super) const STD: &str = "std mpsc";
pub(super) const TOKIO: &str = "tokio mpsc";

/// Messages that a channel holds.
pub(super) const CAPACITY: usize = 1024;
/// Messages taken at once, at most.
const TAKE_MAX: usize = 256;
/// Messages that a batch producer publishes at once.
const BATCH: u64 = 16;

/// 64 bytes: when it was sent, and its number seven times.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Probe {
    pub(super) sent_ns: u64,
    numbers: [u64; 7],
}

impl Message for Probe {
    const NAME: &'static str = "bench.probe";
    const VERSION: u16 = 1;
}

impl Probe {
    #[inline(always)]
    pub(super) fn new(number: u64, sent_ns: u64) -> Self {
        Self { sent_ns, numbers: [number; 7] }
    }

    /// Its number; reads the whole message, and panics when it is torn.
    #[inline(always)]
    pub(super) fn number(&self) -> u64 {
        let [number, rest @ ..] = self.numbers;
        assert!(rest.iter().all(|other| *other == number), "a message arrived torn: {:?}", self.numbers);
        number
    }
}

/// A producer.
pub(super) trait Tx: Send {
    /// Sends the message `number`, and those after it that belong to its batch, as far as there is room; returns how many.
    fn try_send(&mut self, number: u64, sent_ns: u64) -> u64;
}

/// A consumer.
pub(super) trait Rx: Send {
    /// Takes a message that is there.
    fn try_take(&mut self, take: impl FnMut(&Probe)) -> bool;

    /// Waits for one message, in the channel's own way.
    fn wait(&mut self, take: impl FnMut(&Probe));

    /// Waits for at least one and takes all that are there, in the channel's own way.
    fn wait_many(&mut self, take: impl FnMut(&Probe));
}

/// A bus with one topic of `T`, and its name.
pub(super) fn bus<T: Message>(clock: &Stopwatch, capacity: usize) -> Result<(PhaseCoherenceBus, String), String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let topic = format!("bench.t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let bus = PhaseCoherenceBus::new(BusConfig::new(clock.source()));
    let spec = TopicSpec::new::<T>(topic.as_str()).capacity(capacity).history(0);
    bus.declare(spec).map_err(|error| error.to_string())?;
    Ok((bus, topic))
}

/// A lane and its reader.
pub(super) fn lane(clock: &Stopwatch, capacity: usize) -> Result<(Publisher<Probe>, Subscriber<Probe>), String> {
    let (bus, topic) = bus::<Probe>(clock, capacity)?;
    let publisher = bus.publisher(&topic, "bench", LaneKind::Source).map_err(|error| error.to_string())?;
    let subscriber = bus.subscriber(&topic, Interest::new()).map_err(|error| error.to_string())?;
    Ok((publisher, subscriber))
}

impl Tx for Publisher<Probe> {
    #[inline(always)]
    fn try_send(&mut self, number: u64, sent_ns: u64) -> u64 {
        // A refusal is put into words; asking first is free.
        let has_room = self.has_room_for(1);
        u64::from(has_room && self.try_publish(Probe::new(number, sent_ns), Attributes::default()).is_ok())
    }
}

/// A lane that is published on in batches.
pub(super) struct Batches(pub(super) Publisher<Probe>);

impl Tx for Batches {
    #[inline(always)]
    fn try_send(&mut self, number: u64, sent_ns: u64) -> u64 {
        let probes = (0..BATCH as usize).map(|index| Probe::new(number + index as u64, sent_ns));
        self.0.try_publish_batch(probes, Attributes::default()) as u64
    }
}

impl Rx for Subscriber<Probe> {
    #[inline(always)]
    fn try_take(&mut self, mut take: impl FnMut(&Probe)) -> bool {
        self.poll(|_, probe| take(probe)).is_some()
    }

    #[inline(always)]
    fn wait(&mut self, mut take: impl FnMut(&Probe)) {
        Subscriber::wait(self, |_, probe| take(probe));
    }

    #[inline(always)]
    fn wait_many(&mut self, mut take: impl FnMut(&Probe)) {
        self.wait_batch(TAKE_MAX, |_, probe| take(probe));
    }
}

impl Tx for mpsc::SyncSender<Probe> {
    #[inline(always)]
    fn try_send(&mut self, number: u64, sent_ns: u64) -> u64 {
        u64::from(mpsc::SyncSender::try_send(self, Probe::new(number, sent_ns)).is_ok())
    }
}

impl Rx for mpsc::Receiver<Probe> {
    #[inline(always)]
    fn try_take(&mut self, mut take: impl FnMut(&Probe)) -> bool {
        self.try_recv().is_ok_and(|probe| {
            take(&probe);
            true
        })
    }

    #[inline(always)]
    fn wait(&mut self, mut take: impl FnMut(&Probe)) {
        take(&self.recv().expect("the sender lives while it is waited for"));
    }

    #[inline(always)]
    fn wait_many(&mut self, mut take: impl FnMut(&Probe)) {
        Rx::wait(self, &mut take);
        self.try_iter().take(TAKE_MAX - 1).for_each(|probe| take(&probe));
    }
}

/// tokio's receiver, with room for what it takes at once.
pub(super) struct TokioRx {
    receiver: tokio::sync::mpsc::Receiver<Probe>,
    taken: Vec<Probe>,
}

/// tokio's channel.
pub(super) fn tokio(capacity: usize) -> (tokio::sync::mpsc::Sender<Probe>, TokioRx) {
    let (sender, receiver) = tokio::sync::mpsc::channel(capacity);
    (sender, TokioRx { receiver, taken: Vec::with_capacity(TAKE_MAX) })
}

impl Tx for tokio::sync::mpsc::Sender<Probe> {
    #[inline(always)]
    fn try_send(&mut self, number: u64, sent_ns: u64) -> u64 {
        u64::from(tokio::sync::mpsc::Sender::try_send(self, Probe::new(number, sent_ns)).is_ok())
    }
}

impl Rx for TokioRx {
    #[inline(always)]
    fn try_take(&mut self, mut take: impl FnMut(&Probe)) -> bool {
        self.receiver.try_recv().is_ok_and(|probe| {
            take(&probe);
            true
        })
    }

    #[inline(always)]
    fn wait(&mut self, mut take: impl FnMut(&Probe)) {
        take(&self.receiver.blocking_recv().expect("the sender lives while it is waited for"));
    }

    #[inline(always)]
    fn wait_many(&mut self, mut take: impl FnMut(&Probe)) {
        self.receiver.blocking_recv_many(&mut self.taken, TAKE_MAX);
        self.taken.drain(..).for_each(|probe| take(&probe));
    }
}
