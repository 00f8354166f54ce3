//! What a message costs in bytes written, proven by addresses: where its publisher put it, and where two threads read it.
//!
//! A payload that lies in one place for publisher and readers was written once. Every further place is a copy of all its bytes, and so is
//! every call of `clone`. Only places are counted, so what a peer moves in between is not held against it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus};
use csf_core::port::{EventBusTx, LaneKind};
use csf_core::{Attributes, ComponentId, Message, PhasePacket};
use futures_util::FutureExt;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::channel::bus;
use super::experiment::{Effort, Samples};
use super::stopwatch::{Stopwatch, joined};

/// Messages of a full round.
const MESSAGES: u64 = 20_000;
/// Words of a payload: 4 KiB.
const WORDS: usize = 512;
/// Bytes of a payload, which must be written once at least.
pub(super) const BYTES: f64 = (WORDS * 8) as f64;
/// Messages a channel holds.
const CAPACITY: usize = 64;
/// Readers, each a thread.
const READERS: usize = 2;

/// Clones of pages in this process, and the places where pages were when they were dropped.
static CLONES: AtomicU64 = AtomicU64::new(0);

/// A payload that counts its clones and tells where it dies.
struct Page {
    words: [u64; WORDS],
    /// Told the page's number and place when it is dropped.
    dies: Option<mpsc::Sender<(u64, usize)>>,
}

impl Page {
    fn new(number: u64, dies: Option<mpsc::Sender<(u64, usize)>>) -> Self {
        Self { words: [number; WORDS], dies }
    }

    /// Its number, and the address of its first word; reads every word.
    fn look(&self) -> (u64, usize) {
        let [number, rest @ ..] = &self.words;
        assert!(rest.iter().all(|word| word == number), "page {number} arrived torn");
        (*number, self.words.as_ptr().addr())
    }
}

impl Clone for Page {
    fn clone(&self) -> Self {
        CLONES.fetch_add(1, Ordering::Relaxed);
        Self { words: self.words, dies: None }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(dies) = self.dies.take() {
            // Who asked may have gone.
            let _ = dies.send((self.words[0], self.words.as_ptr().addr()));
        }
    }
}

impl Serialize for Page {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.words.as_slice().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Page {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<u64>::deserialize(deserializer)?;
        let length = words.len();
        let words = words.try_into().map_err(|_| serde::de::Error::invalid_length(length, &"a page's words"))?;
        Ok(Self { words, dies: None })
    }
}

impl JsonSchema for Page {
    fn schema_name() -> Cow<'static, str> {
        "Page".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<u64>::json_schema(generator)
    }
}

impl Message for Page {
    const NAME: &'static str = "bench.page";
    const VERSION: u16 = 1;
}

/// Where a page was seen, by its number.
type Seen = Vec<(u64, usize)>;

/// Two threads read `messages` pages each with `read` while `publish` publishes them; bytes written for each page.
///
/// `publish` returns where it put a page, and `kept` where the channel kept it until its end, once all readers are gone.
fn measured<R: FnMut() -> (u64, usize) + Send>(
    messages: u64,
    readers: Vec<R>,
    mut publish: impl FnMut(u64) -> Option<usize> + Send,
    kept: impl FnOnce() -> Seen,
) -> Result<Samples, String> {
    let clones_before = CLONES.load(Ordering::Relaxed);
    let (seen, mut placed) = thread::scope(|scope| {
        let reading: Vec<_> = readers
            .into_iter()
            .map(|mut read| scope.spawn(move || (0..messages).map(|_| read()).collect::<Seen>()))
            .collect();
        let publishing =
            scope.spawn(move || (0..messages).map(|number| publish(number).map(|at| (number, at))).collect());
        let seen: Vec<Seen> = reading.into_iter().map(joined).collect();
        let placed: Vec<Option<(u64, usize)>> = joined(publishing);
        (seen, placed)
    });
    placed.extend(kept().into_iter().map(Some));
    let mut places = vec![BTreeSet::new(); messages as usize];
    for (number, at) in seen.iter().flatten().chain(placed.iter().flatten()) {
        places.get_mut(*number as usize).ok_or_else(|| format!("page {number} was never published"))?.insert(*at);
    }
    let missing = seen.iter().flat_map(|seen| (0..).zip(seen)).find(|(expected, (number, _))| number != expected);
    if let Some((expected, (number, _))) = missing {
        return Err(format!("page {number} came where {expected} was due"));
    }
    let cloned = (CLONES.load(Ordering::Relaxed) - clones_before) as f64 / messages as f64;
    Ok(places.iter().map(|places| (places.len() as f64 + cloned) * BYTES).collect())
}

/// A lane: the slot is where the bus drops the page, long after both threads have read it there.
pub(super) fn lane(effort: Effort) -> Result<Samples, String> {
    let (bus, topic) = bus::<Page>(&Stopwatch::get()?, CAPACITY)?;
    let text = |error: csf_bus::TopicError| error.to_string();
    let mut publisher = bus.publisher::<Page>(&topic, "bench", LaneKind::Source).map_err(text)?;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut subscriber = bus.subscriber::<Page>(&topic, Interest::new()).map_err(text)?;
        readers.push(move || subscriber.wait(|_, page| page.look()));
    }
    let (dies, dead) = mpsc::channel();
    let publish = move |number| {
        while !publisher.has_room_for(1) {
            thread::yield_now();
        }
        let page = Page::new(number, Some(dies.clone()));
        publisher.try_publish(page, Attributes::default()).expect("there was room");
        None
    };
    let messages = effort.of(MESSAGES, 500);
    let samples = measured(messages, readers, publish, move || {
        drop(bus);
        dead.try_iter().collect()
    })?;
    Ok(samples)
}

/// Whole packets: the publisher's place counts too.
pub(super) fn packets(effort: Effort) -> Result<Samples, String> {
    let bus = PhaseCoherenceBus::new(BusConfig {
        channel_buffer_size: CAPACITY,
        ..BusConfig::new(Stopwatch::get()?.source())
    });
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut receiver = bus.receiver::<Page>(Interest::new()).map_err(|error| error.to_string())?;
        readers.push(move || {
            loop {
                match receiver.try_recv() {
                    Some(delivery) => return delivery.payload.look(),
                    None => thread::yield_now(),
                }
            }
        });
    }
    let publish = move |number| {
        loop {
            let packet = PhasePacket::new(Page::new(number, None), ComponentId::custom(1));
            let (_, at) = packet.payload.look();
            match bus.publish(packet).now_or_never() {
                Some(Ok(_)) => return Some(at),
                _ => thread::yield_now(),
            }
        }
    };
    measured(effort.of(MESSAGES, 500), readers, publish, Vec::new)
}

/// The standard library's channels, one for each reader, with an `Arc`.
pub(super) fn shared(effort: Effort) -> Result<Samples, String> {
    let (senders, receivers) = channels::<Arc<Page>>();
    let readers = receivers.into_iter().map(|receiver| move || receiver.recv().expect(LIVES).look()).collect();
    let publish = move |number| {
        let page = Arc::new(Page::new(number, None));
        let (_, at) = page.look();
        senders.iter().for_each(|sender| sender.send(page.clone()).expect(LIVES));
        Some(at)
    };
    measured(effort.of(MESSAGES, 500), readers, publish, Vec::new)
}

/// The same by value.
pub(super) fn by_value(effort: Effort) -> Result<Samples, String> {
    let (senders, receivers) = channels::<Page>();
    let readers = receivers.into_iter().map(|receiver| move || receiver.recv().expect(LIVES).look()).collect();
    let publish = move |number| {
        let page = Page::new(number, None);
        let (_, at) = page.look();
        senders[1..].iter().for_each(|sender| sender.send(page.clone()).expect(LIVES));
        senders[0].send(page).expect(LIVES);
        Some(at)
    };
    measured(effort.of(MESSAGES, 500), readers, publish, Vec::new)
}

/// A channel for each reader.
fn channels<M>() -> (Vec<mpsc::SyncSender<M>>, Vec<mpsc::Receiver<M>>) {
    (0..READERS).map(|_| mpsc::sync_channel(CAPACITY)).unzip()
}

const LIVES: &str = "publisher and readers end together";
