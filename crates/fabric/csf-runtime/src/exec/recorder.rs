//! The recorder: one worker that reads every recorded lane and appends to the journal in causally closed batches.
//!
//! Invariant: after each commit, everything durable has its causes durable: a packet's trigger, a delivery's input, an effect's
//! delivery. What is not closed yet waits for the next batch, so the journal is always the prefix of an execution.
//! Positions follow the stamps inside a batch (a delivery before its effects), hence agree with causal order.

mod handle;
mod lanes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use csf_bus::{Doorbell, Start, Subscription};
use csf_core::port::{Batch, Journal, JournalError, LaneKind, LogError, Receipt, Timer, within};
use csf_core::{LaneId, MessageType};

use super::watermark::{CommittedPacket, DurableFeed};
use super::worker::{Work, Worker, step_back};
use crate::World;
use crate::world::Plant;
pub use handle::RecorderHandle;
use handle::{EventRequest, Order, Shared};
use lanes::RecordedLanes;

/// Longest time a packet waits for company before its commit, and the pause after a failed one.
const GATHER: Duration = Duration::from_millis(10);
/// Longest sleep; only a safety net, every producer rings the bell.
const NAP: Duration = Duration::from_millis(250);
/// Packets per commit at most; at about 100 bytes each a commit stays near 1 MiB.
const BATCH: usize = 8192;

/// Reads lanes, writes the journal.
pub struct Recorder {
    journal: Box<dyn Journal>,
    subscription: Subscription,
    lanes: RecordedLanes,
    feed: Arc<DurableFeed>,
    shared: Arc<Shared>,
    events: Vec<EventRequest>,
    plant: Option<Plant>,
    timer: Arc<dyn Timer>,
    /// How many lanes were known, and the last of them.
    learned: Option<(usize, LaneId)>,
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
        let outage = journal.outage();
        let bell = subscription.doorbell().clone();
        let shared = Arc::new(Shared::new(bell));
        let delivery_of = delivery_of.into_iter().map(|(author, lane)| (author, vec![lane])).collect();
        let recorder = Self {
            journal,
            subscription,
            lanes: RecordedLanes::new(messages, delivery_of),
            feed: feed.clone(),
            shared: shared.clone(),
            events: Vec::new(),
            plant: world.plant,
            timer: world.timer.clone(),
            learned: None,
        };
        let worker = Worker::start("csf-recorder", recorder, world)?;
        Ok(RecorderHandle { feed, shared, worker, outage, timer: world.timer.clone() })
    }

    /// After a collection.
    fn take_events(&mut self) {
        self.learn_lanes();
        self.events.append(&mut self.shared.events());
    }

    /// After a commit that told how many packets it wrote. `is_stopping` was looked at before the collection.
    fn next(&self, is_stopping: bool, written: Result<usize, Arc<JournalError>>) -> Next {
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
        !shared.events().is_empty()
            || !shared.orders().is_empty()
            || shared.stop.load(Ordering::Acquire)
            || subscription.lanes().iter_mut().any(|l| l.peek().is_some())
    }

    fn take_orders(&mut self) {
        let orders = std::mem::take(&mut *self.shared.orders());
        for Order { topics, delivery_of, done } in orders {
            delivery_of.into_iter().for_each(|(author, lane)| self.lanes.add_delivery_lane(author, lane));
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
        let Some(reader) = self.subscription.lanes().get_mut(lane) else { return false };
        if (reader.info().kind == LaneKind::Delivery) != deliveries {
            return false;
        }
        if reader.peek().is_some() {
            self.lanes.take(lane, reader);
        }
        true
    }

    /// A lane that was opened meanwhile may hold the cause of what was just copied: known, it is not taken for one of an earlier start.
    fn learn_lanes(&mut self) {
        let readers = self.subscription.lanes();
        // New ones come last.
        let newest = readers.last().map(|reader| (readers.len(), reader.info().id));
        if std::mem::replace(&mut self.learned, newest) == newest {
            return;
        }
        for reader in readers {
            self.lanes.learn(reader.info());
        }
    }

    /// Writes the largest closed set of pending packets and tells who waits for it; returns how many.
    fn commit(&mut self) -> Result<usize, Arc<JournalError>> {
        Ok(self.append()?.map_or(0, |written| self.tell(written)))
    }

    /// Writes the largest closed set of pending packets, and the events; `None` when there are none.
    fn append(&mut self) -> Result<Option<Written>, Arc<JournalError>> {
        let cut = if self.plant == Some(Plant::OpenCut) { self.lanes.open_cut() } else { self.lanes.closed_cut() };
        let total = cut.total();
        if total == 0 && self.events.is_empty() {
            return Ok(None);
        }
        let mut batch = self.lanes.batch(&cut, self.journal.position() + 1);
        // Theirs are taken, and come back if they are to be tried again.
        batch.appends = self.events.iter_mut().map(|request| std::mem::take(&mut request.append)).collect();
        let now = u64::try_from(self.timer.now().as_nanos()).unwrap_or(u64::MAX - 1);
        self.shared.began.store(now + 1, Ordering::Relaxed);
        let appended = self.journal.append(&batch);
        self.shared.began.store(0, Ordering::Relaxed);
        match appended {
            Ok(receipt) => Ok(Some(Written { batch, receipt, total })),
            Err(error) => {
                let appends = std::mem::take(&mut batch.appends);
                self.lanes.put_back(batch);
                self.events.iter_mut().zip(appends).for_each(|(request, append)| request.append = append);
                let error = Arc::new(error);
                for request in self.events.extract_if(.., |request| !request.is_patient) {
                    // Who asked may have gone away.
                    let _ = request.answer.send(Err(LogError::Journal(error.clone())));
                }
                Err(error)
            }
        }
    }

    /// Lets what was written leave the node; returns how many packets that are.
    fn tell(&mut self, Written { batch, receipt, total }: Written) -> usize {
        self.feed.fail(None);
        let mut commit = Vec::with_capacity(total);
        self.lanes.written(batch, |lane, packets| {
            commit.extend(packets.into_iter().map(|packet| CommittedPacket { lane: lane.clone(), packet }));
        });
        commit.sort_unstable_by_key(|committed| committed.packet.position);
        self.feed.publish(receipt.position, commit);
        for (request, outcome) in self.events.drain(..).zip(receipt.appends) {
            if let (Err(refused), true) = (&outcome, request.is_patient) {
                tracing::error!(%refused, "an event of the node is not journaled");
            }
            // Who asked may have gone away.
            let _ = request.answer.send(outcome.map_err(LogError::from));
        }
        total
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
            let has_work = !self.events.is_empty() || self.lanes.has_pending();
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
