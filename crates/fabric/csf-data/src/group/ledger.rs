//! What a group knows of its events: which wait, which are out, which are done. Pure: it is told the time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use csf_core::port::StoredEvent;
use serde::{Deserialize, Serialize};

use super::GroupOptions;

/// A group's place in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Every event up to here is done, or not the group's.
    pub(super) done_up_to: u64,
    /// Events beyond it that are done.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) done: BTreeSet<u64>,
    /// Tries of events that have failed and wait for the next one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tries: BTreeMap<u64, u32>,
    /// Events that came back after they had been parked, and are not done again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) again: BTreeSet<u64>,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Due {
    /// This event is handed out, for the n-th time.
    Now(StoredEvent, u32),
    /// As many are out as may be; one is late at this time.
    Full(Option<Duration>),
    /// None waits; one comes back or is late at this time.
    Later(Option<Duration>),
}

#[derive(Debug)]
struct Out {
    event: StoredEvent,
    tries: u32,
    until: Duration,
    ticket: u64,
}

#[derive(Debug)]
pub(super) struct Ledger {
    place: Place,
    /// Positions that were read and are not done, or were skipped: what `done_up_to` waits for.
    open: BTreeSet<u64>,
    /// The newest position that was read.
    read: u64,
    waiting: VecDeque<StoredEvent>,
    /// Of those that came back: to be read again.
    missing: BTreeSet<u64>,
    /// Failed ones by the time of their next try and position, with its number.
    retries: BTreeMap<(Duration, u64), (StoredEvent, u32)>,
    out: BTreeMap<u64, Out>,
    tickets: u64,
    /// Events that are handed out one at a time, each after its try is on the disk: one of them may have ended the process before.
    careful: usize,
    /// Settled since the last checkpoint.
    unsaved: usize,
}

impl Ledger {
    pub(super) fn new(place: Place, careful: usize) -> Self {
        Self {
            careful,
            read: place.done_up_to,
            missing: place.again.clone(),
            place,
            open: BTreeSet::new(),
            waiting: VecDeque::new(),
            retries: BTreeMap::new(),
            out: BTreeMap::new(),
            tickets: 0,
            unsaved: 0,
        }
    }

    /// An event was read.
    pub(super) fn wait(&mut self, event: StoredEvent) {
        self.read = self.read.max(event.position);
        if self.place.done.contains(&event.position) {
            self.advance();
            return;
        }
        self.open.insert(event.position);
        self.waiting.push_back(event);
    }

    /// A position was read that is no event of the group.
    pub(super) fn pass(&mut self, position: u64) {
        self.read = self.read.max(position);
        self.advance();
    }

    /// An event that was done comes back, unless it is back already.
    pub(super) fn again(&mut self, position: u64) {
        if !self.open.contains(&position) && self.place.again.insert(position) {
            self.place.done.remove(&position);
            self.missing.insert(position);
            self.unsaved += 1;
        }
    }

    /// Position of an event that came back and has to be read.
    pub(super) fn missing(&self) -> Option<u64> {
        self.missing.first().copied()
    }

    /// The missing event was read; `None` when it is gone.
    pub(super) fn found(&mut self, position: u64, event: Option<StoredEvent>) {
        if !self.missing.remove(&position) {
            return;
        }
        match event {
            Some(event) => self.waiting.push_back(event),
            None => _ = self.settle(position),
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.out.len()
    }

    pub(super) fn due(&mut self, now: Duration, options: &GroupOptions) -> Due {
        let late = self.out.values().map(|out| out.until).min();
        let in_flight_max = if options.is_ordered || self.careful > 0 { 1 } else { options.in_flight_max.max(1) };
        if self.out.len() >= in_flight_max {
            return Due::Full(late);
        }
        if let Some(first) = self.retries.first_entry()
            && first.key().0 <= now
        {
            let (event, tries) = first.remove();
            return Due::Now(event, tries);
        }
        let back = self.retries.first_key_value().map(|((at, _), _)| *at);
        if options.is_ordered && back.is_some() {
            return Due::Full(back);
        }
        if let Some(event) = self.waiting.pop_front() {
            let tries = self.place.tries.get(&event.position).map_or(1, |failed| failed + 1);
            return Due::Now(event, tries);
        }
        Due::Later(late.into_iter().chain(back).min())
    }

    /// The event is out until then; the number of this handing out, and whether its try is to be saved first.
    pub(super) fn hand_out(&mut self, event: StoredEvent, tries: u32, until: Duration) -> (u64, bool) {
        self.tickets += 1;
        let ticket = self.tickets;
        let is_careful = self.careful > 0;
        if is_careful {
            self.careful -= 1;
            self.place.tries.insert(event.position, tries);
        }
        self.out.insert(event.position, Out { event, tries, until, ticket });
        (ticket, is_careful)
    }

    /// An event that nobody got to see is back, as if it had not been handed out.
    pub(super) fn put_back(&mut self, position: u64, ticket: u64) {
        let Some((event, tries)) = self.take_back(position, ticket) else { return };
        self.careful += 1;
        match tries {
            0 | 1 => _ = self.place.tries.remove(&position),
            _ => _ = self.place.tries.insert(position, tries - 1),
        }
        self.waiting.push_front(event);
    }

    /// Whether the event is still out under this number. Then it is out no more, and the caller's to settle.
    pub(super) fn take_back(&mut self, position: u64, ticket: u64) -> Option<(StoredEvent, u32)> {
        let is_out = self.out.get(&position).is_some_and(|out| out.ticket == ticket);
        is_out.then(|| self.out.remove(&position)).flatten().map(|out| (out.event, out.tries))
    }

    /// Those that are out beyond their time; they are out no more.
    pub(super) fn late(&mut self, now: Duration) -> Vec<(StoredEvent, u32)> {
        self.out.extract_if(.., |_, out| out.until <= now).map(|(_, out)| (out.event, out.tries)).collect()
    }

    /// The event is done; how many are since the last checkpoint.
    pub(super) fn settle(&mut self, position: u64) -> usize {
        self.open.remove(&position);
        self.place.tries.remove(&position);
        self.place.again.remove(&position);
        if position > self.place.done_up_to {
            self.place.done.insert(position);
        }
        self.unsaved += 1;
        self.advance();
        self.unsaved
    }

    pub(super) fn retry(&mut self, event: StoredEvent, tries: u32, at: Duration) {
        self.place.tries.insert(event.position, tries - 1);
        self.retries.insert((at, event.position), (event, tries));
    }

    fn advance(&mut self) {
        let end = self.open.first().map_or(self.read, |open| open - 1);
        self.place.done_up_to = self.place.done_up_to.max(end.min(self.read));
        let done_up_to = self.place.done_up_to;
        self.place.done.retain(|position| *position > done_up_to);
    }

    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Whether nothing has moved since the last checkpoint.
    pub(super) fn is_saved(&self) -> bool {
        self.unsaved == 0
    }

    /// This place was appended.
    pub(super) fn saved(&mut self, place: &Place) {
        if *place == self.place {
            self.unsaved = 0;
        }
    }
}
