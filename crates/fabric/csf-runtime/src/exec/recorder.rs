//! The recorder: one worker that reads every recorded lane and appends to the journal in causally closed batches.
//!
//! Invariant: after each commit, everything durable has its causes durable: a packet's trigger, a delivery's input, an effect's
//! delivery. What is not closed yet waits for the next batch, so the journal is always the prefix of an execution.
//! Positions follow the stamps inside a batch (a delivery before its effects), hence agree with causal order.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csf_bus::{Doorbell, LaneReader, Start, Subscription, Topic};
use csf_core::port::{
    Batch, Journal, JournalError, LaneBatch, LaneInfo, LaneKind, NewEvent, Receipt, StoredPacket, within,
};
use csf_core::{Header, LaneId, MessageType, Stamp};
use tokio::sync::oneshot;

use super::watermark::{CommittedPacket, DurableFeed};
use super::worker::{Work, Worker, step_back};
use crate::Delivery;
use crate::World;
use crate::world::Plant;

/// Longest time a packet waits for company before its commit, and the pause after a failed one.
const GATHER: Duration = Duration::from_millis(10);
/// Longest sleep; only a safety net, every producer rings the bell.
const NAP: Duration = Duration::from_millis(250);
/// Packets per commit at most; at about 100 bytes each a commit stays near 1 MiB.
const BATCH: usize = 8192;
/// Events told without waiting that may wait for their commit.
const TOLD_MAX: usize = 4096;

/// An event somebody wants journaled.
struct EventRequest {
    event: NewEvent,
    answer: oneshot::Sender<Result<u64, String>>,
    /// Whether a journal that refuses is tried again.
    is_patient: bool,
}

/// Reads lanes, writes the journal.
pub struct Recorder {
    journal: Box<dyn Journal>,
    subscription: Subscription,
    messages: BTreeMap<String, MessageType>,
    lanes: BTreeMap<LaneId, LaneState>,
    feed: Arc<DurableFeed>,
    shared: Arc<Shared>,
    events: Vec<EventRequest>,
    delivery_of: DeliveryLanes,
    plant: Option<Plant>,
    /// How many lanes were known, and the last of them.
    learned: Option<(usize, LaneId)>,
}

struct Shared {
    bell: Arc<Doorbell>,
    stop: AtomicBool,
    events: Mutex<Vec<EventRequest>>,
    orders: Mutex<Vec<Order>>,
}

/// Delivery lanes of each author's effects: several when its dispatcher was replaced.
type DeliveryLanes = BTreeMap<String, Vec<LaneId>>;

/// More to record.
struct Order {
    topics: Vec<Arc<Topic>>,
    /// Delivery lanes by author of the effects.
    delivery_of: Vec<(String, LaneId)>,
    done: oneshot::Sender<()>,
}

/// Talks to the recorder.
pub struct RecorderHandle {
    feed: Arc<DurableFeed>,
    shared: Arc<Shared>,
    worker: Worker,
}

/// What the recorder does after a turn.
enum Next {
    Turn,
    /// Waits for packets.
    Idle,
    /// Waits for company.
    Gather,
    End,
}

/// What is in the journal, and not told to anybody yet.
struct Written {
    batch: Batch,
    receipt: Receipt,
    total: usize,
}

struct LaneState {
    info: Arc<LaneInfo>,
    announced: bool,
    encode: fn(&dyn std::any::Any, &mut Vec<u8>) -> Result<(), csf_core::CodecError>,
    /// Delivery lanes of the dispatchers that committed this lane's effects.
    delivery_lanes: Vec<LaneId>,
    recorded: u64,
    pending: VecDeque<Pending>,
}

struct Pending {
    packet: StoredPacket,
    /// What must be durable first, beside the lane's own order.
    needs: Option<csf_core::MessageId>,
}

impl Recorder {
    /// Starts recording `subscription` (all recorded topics and the delivery logs, blocking).
    /// `delivery_of` names the delivery lane of each component's effects, by author.
    pub fn start(
        journal: Box<dyn Journal>,
        subscription: Subscription,
        messages: BTreeMap<String, MessageType>,
        delivery_of: BTreeMap<String, LaneId>,
        world: &World,
    ) -> std::io::Result<RecorderHandle> {
        let feed = Arc::new(DurableFeed::new(journal.position()));
        let bell = subscription.doorbell().clone();
        let shared =
            Arc::new(Shared { bell, stop: AtomicBool::new(false), events: Mutex::default(), orders: Mutex::default() });
        let recorder = Self {
            journal,
            subscription,
            messages,
            lanes: BTreeMap::new(),
            feed: feed.clone(),
            shared: shared.clone(),
            events: Vec::new(),
            delivery_of: delivery_of.into_iter().map(|(author, lane)| (author, vec![lane])).collect(),
            plant: world.plant,
            learned: None,
        };
        let worker = Worker::start("csf-recorder", recorder, world)?;
        Ok(RecorderHandle { feed, shared, worker })
    }

    /// After a collection.
    fn take_events(&mut self) {
        self.learn_lanes();
        self.events.append(&mut self.shared.events.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// After a commit that told how many packets it wrote. `is_stopping` was looked at before the collection.
    fn next(&self, is_stopping: bool, written: Result<usize, JournalError>) -> Next {
        match written {
            Ok(0) if is_stopping => Next::End,
            Ok(0) => Next::Idle,
            Ok(written) if written < BATCH / 8 && !is_stopping => Next::Gather,
            Ok(_) => Next::Turn,
            Err(error) => {
                if self.feed.failure().is_none() {
                    tracing::error!(%error, "journal refused a commit; trying again");
                }
                self.feed.fail(Some(format!("[{}] {error}", crate::node::journal_code(&error))));
                if is_stopping { Next::End } else { Next::Gather }
            }
        }
    }

    fn has_reason(shared: &Shared, subscription: &mut Subscription) -> bool {
        let has_events = !shared.events.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        let has_orders = !shared.orders.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        has_events
            || has_orders
            || shared.stop.load(Ordering::Acquire)
            || subscription.lanes().iter_mut().any(|l| l.peek().is_some())
    }

    fn take_orders(&mut self) {
        let orders = std::mem::take(&mut *self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner));
        for Order { topics, delivery_of, done } in orders {
            for (author, lane) in delivery_of {
                let lanes = self.delivery_of.entry(author.clone()).or_default();
                if !lanes.contains(&lane) {
                    lanes.push(lane);
                }
                let own = |state: &&mut LaneState| state.info.kind == LaneKind::Effect && state.info.author == author;
                self.lanes.values_mut().filter(own).for_each(|state| state.delivery_lanes.clone_from(lanes));
            }
            topics.iter().for_each(|topic| self.subscription.add_topic(topic, Start::Earliest));
            // Who asked and went away asked all the same.
            let _ = done.send(());
        }
    }

    /// Copies what the lanes hold now. Delivery logs last: an effect seen here has its delivery in the log by then.
    fn collect(&mut self) {
        self.collect_kind(false);
        self.collect_kind(true);
    }

    fn collect_kind(&mut self, deliveries: bool) {
        for lane in 0..self.subscription.lanes().len() {
            self.collect_lane(lane, deliveries);
        }
    }

    /// One lane of [`Recorder::collect`]; false when it is of the other kind.
    fn collect_lane(&mut self, lane: usize, deliveries: bool) -> bool {
        let Self { subscription, lanes, messages, delivery_of, .. } = self;
        let Some(reader) = subscription.lanes().get_mut(lane) else { return false };
        if (reader.info().kind == LaneKind::Delivery) != deliveries {
            return false;
        }
        if let Some(state) = LaneState::learn(lanes, reader.info(), messages, delivery_of) {
            state.take(reader);
        }
        true
    }

    /// A lane that was opened meanwhile may hold the cause of what was just copied: known, it is not taken for one of an earlier start.
    fn learn_lanes(&mut self) {
        let Self { subscription, lanes, messages, delivery_of, .. } = self;
        let readers = subscription.lanes();
        // New ones come last.
        let newest = readers.last().map(|reader| (readers.len(), reader.info().id));
        if std::mem::replace(&mut self.learned, newest) == newest {
            return;
        }
        for reader in readers {
            LaneState::learn(lanes, reader.info(), messages, delivery_of);
        }
    }

    /// Writes the largest closed set of pending packets and tells who waits for it; returns how many.
    fn commit(&mut self) -> Result<usize, JournalError> {
        Ok(self.append()?.map_or(0, |written| self.tell(written)))
    }

    /// Writes the largest closed set of pending packets, and the events; `None` when there are none.
    fn append(&mut self) -> Result<Option<Written>, JournalError> {
        let cut = self.closed_cut();
        let total: usize = cut.values().sum();
        if total == 0 && self.events.is_empty() {
            return Ok(None);
        }
        let batch = self.batch(&cut);
        match self.journal.append(&batch) {
            Ok(receipt) => Ok(Some(Written { batch, receipt, total })),
            Err(error) => {
                self.put_back(batch);
                for request in self.events.extract_if(.., |request| !request.is_patient) {
                    // Who asked may have gone away.
                    let _ = request.answer.send(Err(error.to_string()));
                }
                Err(error)
            }
        }
    }

    /// Lets what was written leave the node; returns how many packets that are.
    fn tell(&mut self, Written { batch, receipt, total }: Written) -> usize {
        self.feed.fail(None);
        for info in &batch.lanes {
            if let Some(state) = self.lanes.get_mut(&info.id) {
                state.announced = true;
            }
        }
        let mut commit = Vec::with_capacity(total);
        for packet in batch.packets.into_iter().flat_map(|lane| lane.packets) {
            if let Some(state) = self.lanes.get_mut(&packet.header.id.lane) {
                state.recorded = packet.header.id.seq + 1;
                commit.push(CommittedPacket { lane: state.info.clone(), packet: Arc::new(packet) });
            }
        }
        commit.sort_by_key(|c| c.packet.position);
        self.feed.publish(receipt, commit);
        for request in self.events.drain(..) {
            let _ = request.answer.send(Ok(receipt.position));
        }
        total
    }

    /// How many pending packets of each lane form a causally closed set: the fix-point of removing what is not covered.
    fn closed_cut(&self) -> BTreeMap<LaneId, usize> {
        let pending = || self.lanes.iter().filter(|(_, state)| !state.pending.is_empty());
        let mut cut: BTreeMap<LaneId, usize> = pending().map(|(id, state)| (*id, state.cut_at_most())).collect();
        if self.plant == Some(Plant::OpenCut) {
            return cut;
        }
        loop {
            let mut changed = false;
            for (id, state) in pending() {
                let taken = cut[id];
                // First stamp of this lane's dispatcher that is not in the batch.
                let open = state.delivery_lanes.iter().filter_map(|d| {
                    let delivery = self.lanes.get(d)?;
                    delivery.pending.get(taken_of(*d, &cut)).map(|p| p.packet.header.stamp)
                });
                let open_from = open.min();
                // Most packets of a lane need what is on the same lane as the need before.
                let mut known: Option<(LaneId, u64)> = None;
                let closed = state.pending.iter().take(taken).position(|p| {
                    let uncovered = p.needs.is_some_and(|need| {
                        let end = known.filter(|(lane, _)| *lane == need.lane).map(|(_, end)| end);
                        let end = end.unwrap_or_else(|| self.covered_until(need.lane, &cut));
                        known = Some((need.lane, end));
                        need.seq >= end
                    });
                    uncovered || open_from.is_some_and(|open| p.packet.header.stamp >= open)
                });
                if let Some(closed) = closed {
                    cut.insert(*id, closed);
                    changed = true;
                }
            }
            if !changed {
                return cut;
            }
        }
    }

    /// The first number of a lane that is neither durable nor in the cut. All of earlier starts and of unknown lanes are.
    fn covered_until(&self, lane: LaneId, cut: &BTreeMap<LaneId, usize>) -> u64 {
        self.lanes.get(&lane).map_or(u64::MAX, |state| state.recorded + taken_of(lane, cut) as u64)
    }

    /// Takes the cut out of what is pending, and numbers it. Packets move once; what is sorted are their places.
    fn batch(&mut self, cut: &BTreeMap<LaneId, usize>) -> Batch {
        let mut lanes = Vec::new();
        let mut packets: Vec<LaneBatch> = Vec::new();
        let mut order: Vec<(Stamp, bool, usize, usize)> = Vec::with_capacity(cut.values().sum());
        for (id, count) in cut.iter().filter(|(_, count)| **count > 0) {
            let Some(state) = self.lanes.get_mut(id) else { continue };
            if !state.announced {
                lanes.push((*state.info).clone());
            }
            let is_delivery = state.info.kind == LaneKind::Delivery;
            let lane: Vec<StoredPacket> = state.pending.drain(..*count).map(|p| p.packet).collect();
            // Lanes ascend, and so do the numbers on a lane.
            order.extend((0..).zip(&lane).map(|(at, p)| (p.header.stamp, !is_delivery, packets.len(), at)));
            packets.push(LaneBatch { packets: lane });
        }
        order.sort_unstable();
        for (position, (_, _, lane, at)) in (self.journal.position() + 1..).zip(order) {
            packets[lane].packets[at].position = position;
        }
        Batch { lanes, packets, events: self.events.iter().map(|request| request.event.clone()).collect() }
    }

    /// Returns the packets of a refused batch to the front of their lanes.
    fn put_back(&mut self, batch: Batch) {
        for lane in batch.packets {
            for packet in lane.packets.into_iter().rev() {
                if let Some(state) = self.lanes.get_mut(&packet.header.id.lane) {
                    let delivery = (MessageType::of::<Delivery>().decode)(&packet.payload).ok();
                    let needs = state.needs(&packet.header, delivery.as_ref().and_then(|d| d.downcast_ref()));
                    state.pending.push_front(Pending { packet, needs });
                }
            }
        }
    }
}

/// How many packets of a lane are in the cut.
fn taken_of(lane: LaneId, cut: &BTreeMap<LaneId, usize>) -> usize {
    cut.get(&lane).copied().unwrap_or(0)
}

impl LaneState {
    /// The state of a lane, made at the first call; `None` when its type is not registered.
    fn learn<'a>(
        lanes: &'a mut BTreeMap<LaneId, Self>,
        info: &LaneInfo,
        messages: &BTreeMap<String, MessageType>,
        delivery_of: &DeliveryLanes,
    ) -> Option<&'a mut Self> {
        Some(match lanes.entry(info.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Self::new(info, messages, delivery_of)?),
        })
    }

    fn new(info: &LaneInfo, messages: &BTreeMap<String, MessageType>, delivery_of: &DeliveryLanes) -> Option<Self> {
        let Some(message) = messages.get(&info.message) else {
            tracing::error!(lane = %info.id, message = %info.message, "lane of an unregistered message type is not recorded");
            return None;
        };
        let own = delivery_of.get(&info.author).filter(|_| info.kind == LaneKind::Effect);
        let delivery_lanes = own.cloned().unwrap_or_default();
        Some(Self {
            info: Arc::new(info.clone()),
            announced: false,
            encode: message.encode,
            delivery_lanes,
            recorded: 0,
            pending: VecDeque::new(),
        })
    }

    /// Packets that one batch may take. A full list may not be all: then its last delivery waits, and with it every effect from there on,
    /// since the next delivery is not known.
    fn cut_at_most(&self) -> usize {
        let is_cut_short = self.info.kind == LaneKind::Delivery && self.pending.len() >= BATCH;
        if is_cut_short { BATCH - 1 } else { self.pending.len().min(BATCH) }
    }

    fn take(&mut self, reader: &mut LaneReader) {
        let until = reader.committed();
        while self.pending.len() < BATCH {
            let Some((header, payload)) = reader.peek() else {
                break;
            };
            if header.id.seq >= until {
                break;
            }
            let mut bytes = Vec::new();
            // A type that encodes today and not tomorrow is a bug of its pack. A journal takes no gap, and all that comes later on the lane
            // would wait behind it for ever: so the packet is there, without its payload, and a replay that needs it says so.
            if let Err(error) = (self.encode)(payload, &mut bytes) {
                tracing::error!(id = %header.id, %error, "packet cannot be encoded; it is recorded without its payload");
                bytes.clear();
            }
            let needs = self.needs(header, payload.downcast_ref());
            let packet = StoredPacket { position: 0, header: *header, payload: bytes };
            self.pending.push_back(Pending { packet, needs });
            reader.advance();
        }
    }

    fn needs(&self, header: &Header, delivery: Option<&Delivery>) -> Option<csf_core::MessageId> {
        if self.info.kind != LaneKind::Delivery {
            return header.cause;
        }
        delivery?.input.packet()
    }
}

impl RecorderHandle {
    /// What is durable.
    #[must_use]
    pub fn feed(&self) -> &Arc<DurableFeed> {
        &self.feed
    }

    /// Appends an event and waits until it is durable; the answer is its commit's position. A journal that refuses is tried again.
    ///
    /// # Errors
    /// When the recorder has stopped.
    pub async fn append(&self, event: NewEvent) -> Result<u64, String> {
        self.request(event, true).await
    }

    /// [`RecorderHandle::append`] that gives up, for good, when the journal refuses.
    ///
    /// # Errors
    /// The journal's words.
    pub async fn try_append(&self, event: NewEvent) -> Result<u64, String> {
        self.request(event, false).await
    }

    async fn request(&self, event: NewEvent, is_patient: bool) -> Result<u64, String> {
        let (answer, receiver) = oneshot::channel();
        let request = EventRequest { event, answer, is_patient };
        self.shared.events.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        self.shared.bell.ring();
        let stopped = || "the recorder has stopped".to_owned();
        tokio::select! {
            biased;
            answer = receiver => answer.map_err(|_| stopped())?,
            () = self.worker.ended() => Err(stopped()),
        }
    }

    /// Appends an event without waiting; false when too many wait already.
    pub(crate) fn tell(&self, event: NewEvent) -> bool {
        let mut events = self.shared.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() >= TOLD_MAX {
            return false;
        }
        events.push(EventRequest { event, answer: oneshot::channel().0, is_patient: true });
        drop(events);
        self.shared.bell.ring();
        true
    }

    /// Records more topics, from the oldest packet they hold; `delivery_of` adds delivery lanes by the authors whose effects they cover.
    /// Back when all of it holds.
    ///
    /// # Errors
    /// When the recorder has stopped.
    pub async fn record(&self, topics: Vec<Arc<Topic>>, delivery_of: Vec<(String, LaneId)>) -> Result<(), String> {
        let (done, receiver) = oneshot::channel();
        self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner).push(Order { topics, delivery_of, done });
        self.shared.bell.ring();
        tokio::select! {
            biased;
            done = receiver => done.map_err(|_| "the recorder has stopped".to_owned()),
            () = self.worker.ended() => Err("the recorder has stopped".to_owned()),
        }
    }

    /// Writes everything that was published before the call, then ends. A second call does nothing.
    pub async fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.bell.ring();
        self.worker.ended().await;
    }
}

impl Work for Recorder {
    fn run(mut self) {
        self.subscription.allow_sleep();
        loop {
            let is_stopping = self.shared.stop.load(Ordering::Acquire);
            self.take_orders();
            self.collect();
            self.take_events();
            let written = self.commit();
            match self.next(is_stopping, written) {
                Next::Turn => {}
                Next::Idle => {
                    let Self { shared, subscription, .. } = &mut self;
                    shared.bell.wait(NAP, || Self::has_reason(shared, subscription));
                }
                Next::Gather => Doorbell::default().wait(GATHER, || self.shared.stop.load(Ordering::Acquire)),
                Next::End => return,
            }
        }
    }

    async fn run_as_task(mut self, world: World) {
        self.subscription.allow_sleep();
        let mut rng = world.rng();
        loop {
            let is_stopping = self.shared.stop.load(Ordering::Acquire);
            self.take_orders();
            // Beside a thread others run between any two lanes. Some collections show it; all would only cost steps.
            let is_slow = rng.next_u64().is_multiple_of(8);
            for deliveries in [false, true] {
                for lane in 0..self.subscription.lanes().len() {
                    if self.collect_lane(lane, deliveries) && is_slow {
                        step_back().await;
                    }
                }
            }
            self.take_events();
            // A slow disk is slow before the write or after it: a crash then finds it undone, or done and not told.
            let is_late = is_slow || rng.next_u64().is_multiple_of(2);
            let has_work = !self.events.is_empty() || self.lanes.values().any(|lane| !lane.pending.is_empty());
            if has_work && is_late {
                world.commit().await;
            }
            let written = match self.append() {
                Ok(Some(written)) => {
                    if !is_late {
                        world.commit().await;
                    }
                    Ok(self.tell(written))
                }
                Ok(None) => Ok(0),
                Err(error) => Err(error),
            };
            match self.next(is_stopping, written) {
                Next::Turn => step_back().await,
                Next::Idle => {
                    let Self { shared, subscription, .. } = &mut self;
                    let news = shared.bell.wait_until(|| Self::has_reason(shared, subscription).then_some(()));
                    within(&*world.timer, NAP, news).await;
                }
                Next::Gather => {
                    let stop = self.shared.bell.wait_until(|| self.shared.stop.load(Ordering::Acquire).then_some(()));
                    within(&*world.timer, GATHER, stop).await;
                }
                Next::End => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, TopicSpec};
    use csf_core::{Attributes, Message};
    use csf_sim::MemoryJournal;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{DELIVERY_TOPIC, Input};

    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    struct Number(u64);

    impl Message for Number {
        const NAME: &'static str = "test.recorded-number";
        const VERSION: u16 = 1;
    }

    fn recorder(bus: &PhaseCoherenceBus) -> Recorder {
        let interest = Interest::new().start(Start::Earliest);
        let subscription = bus.subscribe_any(&["n", DELIVERY_TOPIC], interest, Arc::new(Doorbell::default())).unwrap();
        let types = [MessageType::of::<Number>(), MessageType::of::<Delivery>()];
        let bell = subscription.doorbell().clone();
        Recorder {
            journal: Box::new(MemoryJournal::new()),
            subscription,
            messages: types.into_iter().map(|t| (t.full_name(), t)).collect(),
            lanes: BTreeMap::new(),
            feed: Arc::new(DurableFeed::new(0)),
            shared: Arc::new(Shared {
                bell,
                stop: AtomicBool::new(false),
                events: Mutex::default(),
                orders: Mutex::default(),
            }),
            events: Vec::new(),
            delivery_of: BTreeMap::new(),
            plant: None,
            learned: None,
        }
    }

    #[test]
    fn an_effect_waits_for_its_delivery_also_behind_a_full_list_of_them() {
        let clock = csf_time::SystemClock::detect().unwrap();
        let bus = PhaseCoherenceBus::new(BusConfig::new(clock));
        bus.declare(TopicSpec::new::<Number>("n")).unwrap();
        bus.declare(TopicSpec::new::<Delivery>(DELIVERY_TOPIC).capacity(4 * BATCH)).unwrap();
        let mut log = bus.publisher::<Delivery>(DELIVERY_TOPIC, "dispatcher", LaneKind::Delivery).unwrap();
        let mut effects = bus.publisher::<Number>("n", "component", LaneKind::Effect).unwrap();
        let mut recorder = recorder(&bus);
        recorder.delivery_of = [("component".to_owned(), vec![log.info().id])].into();
        let deliveries = BATCH + 10;
        for number in 0..deliveries {
            let input = Input::Timer(csf_core::TimerId(u16::try_from(number % 100).unwrap()));
            let delivery = Delivery { component: 0, input, outcome: crate::Outcome::Done };
            log.try_publish(delivery, Attributes::default()).unwrap();
        }
        effects.observe(log.last_stamp());
        effects.try_publish(Number(1), Attributes::default()).unwrap();
        let effect = effects.info().id;
        recorder.collect();
        assert_eq!(recorder.commit().unwrap(), BATCH - 1);
        assert_eq!(recorder.feed.durable_seq(effect), 0, "its delivery is not in the journal");
        recorder.collect();
        assert_eq!(recorder.commit().unwrap(), deliveries - (BATCH - 1) + 1);
        assert_eq!(recorder.feed.durable_seq(effect), 1);
    }

    #[test]
    fn an_effect_waits_for_its_delivery_in_the_log_of_a_dispatcher_that_took_over() {
        let clock = csf_time::SystemClock::detect().unwrap();
        let bus = PhaseCoherenceBus::new(BusConfig::new(clock));
        bus.declare(TopicSpec::new::<Number>("n")).unwrap();
        bus.declare(TopicSpec::new::<Delivery>(DELIVERY_TOPIC)).unwrap();
        let old = bus.publisher::<Delivery>(DELIVERY_TOPIC, "dispatcher", LaneKind::Delivery).unwrap();
        let mut effects = bus.publisher::<Number>("n", "component", LaneKind::Effect).unwrap();
        let mut recorder = recorder(&bus);
        recorder.delivery_of = [("component".to_owned(), vec![old.info().id])].into();
        recorder.collect();
        let mut log = bus.publisher::<Delivery>(DELIVERY_TOPIC, "dispatcher.1", LaneKind::Delivery).unwrap();
        let (done, _) = oneshot::channel();
        let delivery_of = vec![("component".to_owned(), log.info().id)];
        recorder.shared.orders.lock().unwrap().push(Order { topics: Vec::new(), delivery_of, done });
        recorder.take_orders();
        // A delivery whose packet is not there yet, and its effect.
        let packet = Input::Packet { lane: effects.info().id, seq: 1 };
        let delivery = Delivery { component: 0, input: packet, outcome: crate::Outcome::Done };
        log.try_publish(delivery, Attributes::default()).unwrap();
        effects.observe(log.last_stamp());
        effects.try_publish(Number(1), Attributes::default()).unwrap();
        recorder.collect();
        assert_eq!(recorder.commit().unwrap(), 0, "neither without the other");
    }

    #[test]
    fn an_effect_waits_for_its_delivery_also_when_its_author_came_back_on_another_dispatcher() {
        let clock = csf_time::SystemClock::detect().unwrap();
        let bus = PhaseCoherenceBus::new(BusConfig::new(clock));
        bus.declare(TopicSpec::new::<Number>("n")).unwrap();
        bus.declare(TopicSpec::new::<Delivery>(DELIVERY_TOPIC)).unwrap();
        let before = bus.publisher::<Delivery>(DELIVERY_TOPIC, "before", LaneKind::Delivery).unwrap();
        let mut log = bus.publisher::<Delivery>(DELIVERY_TOPIC, "after", LaneKind::Delivery).unwrap();
        let mut api = bus.publisher::<Number>("n", "api", LaneKind::Source).unwrap();
        let mut effects = bus.publisher::<Number>("n", "component", LaneKind::Effect).unwrap();
        let mut recorder = recorder(&bus);
        recorder.delivery_of = [("component".to_owned(), vec![before.info().id])].into();
        effects.try_publish(Number(1), Attributes::default()).unwrap();
        recorder.collect();
        assert_eq!(recorder.commit().unwrap(), 1);
        let delivery_of = vec![("component".to_owned(), log.info().id)];
        let order = Order { topics: Vec::new(), delivery_of, done: oneshot::channel().0 };
        recorder.shared.orders.lock().unwrap().push(order);
        recorder.take_orders();
        // Its input is seen later than itself, and so is not closed yet.
        let input = Input::Packet { lane: api.info().id, seq: 0 };
        let delivery = Delivery { component: 0, input, outcome: crate::Outcome::Done };
        log.observe(effects.last_stamp());
        log.try_publish(delivery, Attributes::default()).unwrap();
        effects.observe(log.last_stamp());
        effects.try_publish(Number(2), Attributes::default()).unwrap();
        recorder.collect();
        assert_eq!(recorder.commit().unwrap(), 0, "the effect's delivery is not in the journal");
        api.try_publish(Number(3), Attributes::default()).unwrap();
        recorder.collect();
        assert_eq!(recorder.commit().unwrap(), 3);
    }

    #[test]
    fn a_delivery_waits_for_a_packet_whose_lane_was_opened_while_the_recorder_looked() {
        let clock = csf_time::SystemClock::detect().unwrap();
        let bus = PhaseCoherenceBus::new(BusConfig::new(clock));
        bus.declare(TopicSpec::new::<Number>("n")).unwrap();
        bus.declare(TopicSpec::new::<Delivery>(DELIVERY_TOPIC)).unwrap();
        let mut log = bus.publisher::<Delivery>(DELIVERY_TOPIC, "dispatcher", LaneKind::Delivery).unwrap();
        let mut recorder = recorder(&bus);
        recorder.collect_kind(false);
        // Meanwhile a lane is opened, and its first packet is delivered.
        let mut lane = bus.publisher::<Number>("n", "api", LaneKind::Source).unwrap();
        let id = lane.try_publish(Number(1), Attributes::default()).unwrap();
        let input = Input::Packet { lane: id.lane, seq: id.seq };
        let delivery = Delivery { component: 0, input, outcome: crate::Outcome::Done };
        log.try_publish(delivery, Attributes::default()).unwrap();
        recorder.collect_kind(true);
        recorder.learn_lanes();
        assert_eq!(recorder.commit().unwrap(), 0, "the delivery has no packet yet");
        recorder.collect();
        assert_eq!(recorder.commit().unwrap(), 2);
    }
}
