//! Competing consumers: each event of a group goes to one of its members, again when that one fails, and aside when all tries are used up.
//!
//! The group's place is a checkpoint in stream `csf.group-NAME`: everything up to a position, and single events beyond it. Events set aside
//! are in `csf.parked-NAME`, with the reason; a redrive there brings them back. Both are streams of the same log, so a group stands
//! wherever its log stands.
//! Invariant: an event is done once it was acknowledged or parked and the checkpoint after that was appended; until then it comes again
//! after a crash: at least once. After a start the first events are handed out one at a time, each with its try appended before, so that one
//! that ends the process each time is parked.

mod delivery;
mod ledger;
mod parked;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{
    Append, CHANGE_STREAM, Criteria, EventCause, EventId, EventLog, ExpectedVersion, Filter, Json, LogError, NewEvent,
    Origin, Read, Refused, StoredEvent, StreamChange, Timer, category, within,
};
use tokio::sync::Notify;

pub use delivery::Delivery;
pub use parked::{PARKED_CATEGORY, Parked, ParkedReason, parked, redrive};

use crate::Subscription;
use ledger::{Due, Ledger, Place};

/// Longest name of a group, bytes.
pub const GROUP_BYTES_MAX: usize = 128;
/// Category of the streams that hold groups' places.
const GROUP_CATEGORY: &str = "csf.group";

/// How a group deals with its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// The events of the group.
    pub filter: Filter,
    /// Where a new group begins: after this position.
    pub after: u64,
    /// Most events that are handed out and not settled; at least 1.
    pub in_flight_max: usize,
    /// One after the other in the order of the log: an event that failed holds up those behind it until it is done or parked.
    pub is_ordered: bool,
    /// An event that is not settled within this time has failed.
    pub settle_within: Duration,
    /// Tries of one event; then it is parked. At least 1.
    pub tries_max: u32,
    /// Pause before an event's second try; doubled with each one after.
    pub retry_after: Duration,
    /// Longest pause between tries.
    pub retry_after_max: Duration,
    /// A checkpoint is appended after this many settled events.
    pub checkpoint_every: usize,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            filter: Filter::all(),
            after: 0,
            in_flight_max: 64,
            is_ordered: false,
            settle_within: Duration::from_secs(30),
            tries_max: 5,
            retry_after: Duration::from_millis(100),
            retry_after_max: Duration::from_secs(30),
            checkpoint_every: 64,
        }
    }
}

/// Why a group cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Somebody else has taken the group over: its place was moved by another.
    #[error("group `{group}` is consumed elsewhere; join it there, or under another name")]
    TakenOver {
        /// The group.
        group: String,
    },
    /// A name that cannot be one.
    #[error("`{name}` is no name of a group: 1 to {GROUP_BYTES_MAX} bytes without control characters")]
    BadName {
        /// The name.
        name: String,
    },
    /// What stands in the group's stream makes no sense.
    #[error("the checkpoint of group `{group}` at position {position} cannot be read: {reason}")]
    BadCheckpoint {
        /// The group.
        group: String,
        /// Position of the event.
        position: u64,
        /// Why.
        reason: String,
    },
}

/// A group and its place. Members share it and ask for events, each for itself.
pub struct Group {
    name: String,
    log: Arc<dyn EventLog>,
    timer: Arc<dyn Timer>,
    clock: Arc<dyn Fn() -> Stamp + Send + Sync>,
    options: GroupOptions,
    /// Held by the member that reads the log.
    events: tokio::sync::Mutex<Subscription>,
    ledger: Mutex<Ledger>,
    /// Held while a checkpoint is appended; the version of the stream of checkpoints.
    version: tokio::sync::Mutex<u64>,
    settled: Notify,
}

impl Group {
    /// The group of this name, at its place. `clock` stamps what the group appends.
    ///
    /// # Errors
    /// [`GroupError`].
    pub async fn join(
        log: Arc<dyn EventLog>,
        timer: Arc<dyn Timer>,
        clock: Arc<dyn Fn() -> Stamp + Send + Sync>,
        name: &str,
        options: GroupOptions,
    ) -> Result<Arc<Self>, GroupError> {
        if name.is_empty() || name.len() > GROUP_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(GroupError::BadName { name: name.to_owned() });
        }
        let stream = format!("{GROUP_CATEGORY}-{name}");
        let version = log.head(&stream).await?.version;
        let newest = log.read(Read::stream(&stream).backward().limit(1)).await?.events.pop();
        // As many as may have been out, or settled and not saved, when the process before ended. Of a new group one: its place is
        // there from then on.
        let careful = newest.as_ref().map_or(1, |_| options.in_flight_max.max(1) + 2 * options.checkpoint_every.max(1));
        let place = match newest {
            None => Place { done_up_to: options.after, ..Place::default() },
            Some(event) => event.parse().map_err(|e| GroupError::BadCheckpoint {
                group: name.to_owned(),
                position: event.position,
                reason: e.to_string(),
            })?,
        };
        // Redrives are found beside the events.
        let control = Criteria { streams: vec![parked::stream(name)], ..Criteria::default() };
        let events = Subscription::new(log.clone(), options.filter.clone().or(control.into()), place.done_up_to);
        Ok(Arc::new(Self {
            name: name.to_owned(),
            log,
            timer,
            clock,
            options,
            events: tokio::sync::Mutex::new(events),
            ledger: Mutex::new(Ledger::new(place, careful)),
            version: tokio::sync::Mutex::new(version),
            settled: Notify::new(),
        }))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next event for whoever asks; waits for it. Cancel safe.
    ///
    /// # Errors
    /// [`GroupError`].
    pub async fn next(self: &Arc<Self>) -> Result<Delivery, GroupError> {
        loop {
            self.expire().await?;
            self.fetch().await?;
            // Before the look, so that what is settled after it wakes this one.
            let mut settled = pin!(self.settled.notified());
            settled.as_mut().enable();
            let now = self.timer.now();
            let due = self.ledger().due(now, &self.options);
            let (until, may_read) = match due {
                Due::Now(event, tries) if tries > self.options.tries_max.max(1) => {
                    self.park(event, tries - 1, "the process ended each time it was tried").await?;
                    continue;
                }
                Due::Now(event, tries) => return self.hand_out(event, tries).await,
                Due::Full(until) => (until, false),
                Due::Later(until) => (until, true),
            };
            let news = async {
                tokio::select! {
                    biased;
                    () = settled => Ok(()),
                    read = self.read(), if may_read => read,
                }
            };
            match until {
                Some(until) => within(&*self.timer, until.saturating_sub(now), news).await.unwrap_or(Ok(()))?,
                None => news.await?,
            }
        }
    }

    /// Reads one more event, unless another member did while this one waited for its turn. Cancel safe.
    async fn read(&self) -> Result<(), LogError> {
        let mut events = self.events.lock().await;
        if self.ledger().has_waiting() {
            return Ok(());
        }
        let event = events.next().await?;
        let mut ledger = self.ledger();
        match category(&event.stream) {
            // What groups write down is nobody's event; a redrive of this one is an order.
            GROUP_CATEGORY | PARKED_CATEGORY | CHANGE_STREAM => {
                ledger.pass(event.position);
                let is_own = event.stream == parked::stream(&self.name);
                let again = parked::redriven(&event).filter(|_| is_own);
                again.into_iter().for_each(|position| ledger.again(position));
            }
            _ => ledger.wait(event),
        }
        Ok(())
    }

    /// Reads events that came back. Cancel safe.
    async fn fetch(&self) -> Result<(), LogError> {
        loop {
            let missing = self.ledger().missing();
            let Some(position) = missing else { return Ok(()) };
            let page = self.log.read(Read::log(Filter::all()).from(position).limit(1)).await?;
            let event = page.events.into_iter().find(|event| event.position == position);
            self.ledger().found(position, event);
        }
    }

    /// Appends the group's place, so that nothing that was settled comes again.
    ///
    /// # Errors
    /// [`GroupError`].
    pub async fn checkpoint(&self) -> Result<(), GroupError> {
        if self.ledger().is_saved() { Ok(()) } else { self.save(None).await }
    }

    /// Events that are handed out and not settled.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.ledger().in_flight()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hand_out(self: &Arc<Self>, event: StoredEvent, tries: u32) -> Result<Delivery, GroupError> {
        let until = self.timer.now() + self.options.settle_within;
        let (ticket, is_careful) = self.ledger().hand_out(event.clone(), tries, until);
        if is_careful {
            let unseen = Unseen { group: self, position: event.position, ticket };
            self.save(None).await?;
            std::mem::forget(unseen);
        }
        Ok(Delivery::new(self.clone(), event, tries, ticket))
    }

    /// Events that nobody settled in time have failed.
    async fn expire(&self) -> Result<(), GroupError> {
        let late = self.ledger().late(self.timer.now());
        for (event, tries) in late {
            self.failed(event, tries, "it was not settled in time").await?;
        }
        Ok(())
    }

    async fn acknowledged(&self, position: u64) -> Result<(), GroupError> {
        let unsaved = self.ledger().settle(position);
        self.settled.notify_waiters();
        if unsaved >= self.options.checkpoint_every.max(1) {
            return self.checkpoint().await;
        }
        Ok(())
    }

    /// A try was in vain: the event waits for the next one, or is parked.
    async fn failed(&self, event: StoredEvent, tries: u32, reason: &str) -> Result<(), GroupError> {
        if tries >= self.options.tries_max.max(1) {
            return self.park(event, tries, reason).await;
        }
        let factor = 2u32.saturating_pow(tries.saturating_sub(1));
        let pause = self.options.retry_after.saturating_mul(factor).min(self.options.retry_after_max);
        let at = self.timer.now() + pause;
        self.ledger().retry(event, tries + 1, at);
        self.settled.notify_waiters();
        Ok(())
    }

    /// Sets the event aside, with the reason, and the place that no longer waits for it with that. It comes again when that fails.
    async fn park(&self, event: StoredEvent, tries: u32, reason: &str) -> Result<(), GroupError> {
        let position = event.position;
        let note = parked::note(&self.name, &event, tries, reason, (self.clock)());
        self.ledger().settle(position);
        let saved = self.save(Some(note)).await;
        if saved.is_err() {
            self.ledger().again(position);
        }
        self.settled.notify_waiters();
        saved
    }

    async fn save(&self, beside: Option<NewEvent>) -> Result<(), GroupError> {
        let mut version = self.version.lock().await;
        // What was settled while this one waited for its turn goes with it.
        let place = self.ledger().place();
        let stream = format!("{GROUP_CATEGORY}-{}", self.name);
        let data = Json::of(&place).expect("numbers have a JSON form");
        let stamp = (self.clock)();
        let checkpoint = NewEvent::new(&stream, "checkpoint", stamp, data);
        let keep = StreamChange::Truncate { stream: stream.clone(), before: *version + 1 };
        let append = Append::events(beside.into_iter().chain([checkpoint]).collect::<Vec<_>>());
        let append = append.expecting(&stream, ExpectedVersion::Exactly(*version)).changing(stamp, keep);
        match self.log.append(append).await {
            Ok(_) => {
                *version += 1;
                self.ledger().saved(&place);
                Ok(())
            }
            Err(LogError::Refused(Refused::WrongVersion { .. })) => {
                Err(GroupError::TakenOver { group: self.name.clone() })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// An event that is handed out to nobody yet: dropped, it is put back.
struct Unseen<'g> {
    group: &'g Group,
    position: u64,
    ticket: u64,
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        self.group.ledger().put_back(self.position, self.ticket);
        self.group.settled.notify_waiters();
    }
}

/// The origin of what happened because of `event`.
fn because_of(event: &StoredEvent, author: &str) -> Origin {
    Origin {
        cause: Some(EventCause::Event(event.position)),
        author: Some(author.to_owned()),
        correlation: event.origin.correlation.clone(),
    }
}

/// The name of what `group` notes about the event at this position.
fn note_id(group: &str, position: u64, what: &str) -> EventId {
    EventId::from_u128(u128::from(position)).derive(&format!("{group}/{what}"))
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("name", &self.name).field("options", &self.options).finish_non_exhaustive()
    }
}
