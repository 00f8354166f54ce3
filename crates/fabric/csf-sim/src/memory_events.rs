//! The events of a memory journal: streams, versions, names and conditions, as plainly as they can be said.

use std::collections::BTreeMap;

use csf_core::port::{
    Append, Appended, CHANGE_STREAM, Condition, Direction, Durability, EventId, NewEvent, Read, ReadOf, Refused,
    StoredEvent, StreamChange, StreamHead,
};

/// All events, and what is known of their streams.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// Ascending in position; truncated ones are gone.
    log: Vec<StoredEvent>,
    streams: BTreeMap<String, Stream>,
    ids: BTreeMap<EventId, u64>,
}

#[derive(Debug, Default)]
struct Stream {
    head: StreamHead,
    /// Of its events, from version `head.first` on.
    positions: Vec<u64>,
}

impl Events {
    /// One caller's append: done whole, or refused and without a trace.
    pub(crate) fn append(&mut self, position: &mut u64, append: &Append) -> Result<Appended, Refused> {
        append.check()?;
        if let Some(repeat) = self.repeat(*position, append)? {
            return Ok(repeat);
        }
        for (stream, expected) in &append.expects {
            let actual = self.head(stream).version;
            if !expected.holds(actual) {
                return Err(Refused::WrongVersion { stream: stream.clone(), expected: *expected, actual });
            }
        }
        if let Some(condition) = &append.unless {
            self.check(condition)?;
        }
        let written = append.events.iter().map(|event| event.stream.as_str());
        if let Some(closed) =
            written.chain(append.changes.iter().map(StreamChange::stream)).find(|s| self.head(s).is_closed)
        {
            return Err(Refused::Closed { stream: closed.to_owned() });
        }
        let before = *position;
        let mut version = 0;
        for event in &append.events {
            version = self.keep(position, event);
        }
        for change in &append.changes {
            let data = serde_json::to_value(change).expect("a change has a JSON form");
            version = self.keep(position, &NewEvent::new(CHANGE_STREAM, CHANGE_STREAM, append.stamp, data));
            self.change(change);
        }
        let first = if *position > before { before + 1 } else { before };
        Ok(Appended { first, last: *position, version, is_repeat: false, durability: Durability::Memory })
    }

    /// Where the append was stored before; an error when only some of its ids are known, or elsewhere.
    fn repeat(&self, position: u64, append: &Append) -> Result<Option<Appended>, Refused> {
        let mut named = (0..).zip(&append.events).filter_map(|(at, event)| Some((at, event, event.id?)));
        let Some((at, _, id)) = named.clone().next() else { return Ok(None) };
        let base = self.ids.get(&id).map(|known| known.wrapping_sub(at));
        let mut seen: BTreeMap<EventId, u64> = BTreeMap::new();
        let is_known = |(at, event, id): (u64, &NewEvent, EventId)| {
            let known = self.ids.get(&id).copied();
            let twice = seen.insert(id, position + 1 + at);
            let in_use = |position| Err(Refused::IdInUse { id, position });
            match (base, known) {
                (None, None) => twice.map_or(Ok(()), in_use),
                (Some(base), Some(position)) if position == base.wrapping_add(at) && self.is(position, event) => Ok(()),
                (Some(base), None) => in_use(base),
                (_, Some(position)) => in_use(position),
            }
        };
        named.try_for_each(is_known)?;
        let Some(first) = base else { return Ok(None) };
        let last = first + append.events.len() as u64 - 1;
        let version = self.at(last).map_or(0, |event| event.version);
        Ok(Some(Appended { first, last, version, is_repeat: true, durability: Durability::Memory }))
    }

    fn at(&self, position: u64) -> Option<&StoredEvent> {
        self.log.binary_search_by_key(&position, |event| event.position).ok().map(|at| &self.log[at])
    }

    fn is(&self, position: u64, event: &NewEvent) -> bool {
        self.at(position).is_some_and(|known| known.stream == event.stream && known.kind == event.kind)
    }

    fn check(&self, condition: &Condition) -> Result<(), Refused> {
        let meant = |e: &&StoredEvent| condition.filter.fits(&e.stream, &e.kind, &e.tags);
        let later = self.log.iter().rev().take_while(|event| event.position > condition.after);
        match later.filter(meant).map(|event| event.position).next() {
            Some(position) => Err(Refused::Happened { position, after: condition.after }),
            None => Ok(()),
        }
    }

    /// Stores an event as the stream's next; returns its version.
    pub(crate) fn keep(&mut self, position: &mut u64, event: &NewEvent) -> u64 {
        *position += 1;
        let known = self.streams.entry(event.stream.clone()).or_default();
        known.head.version += 1;
        known.positions.push(*position);
        let version = known.head.version;
        if let Some(id) = event.id {
            self.ids.insert(id, *position);
        }
        let NewEvent { id, stream, kind, stamp, tags, origin, data } = event.clone();
        self.log.push(StoredEvent { position: *position, id, stream, version, kind, stamp, tags, origin, data });
        version
    }

    fn change(&mut self, change: &StreamChange) {
        let Stream { head, positions } = self.streams.entry(change.stream().to_owned()).or_default();
        let kept_from = match change {
            StreamChange::Truncate { before, .. } => (*before).min(head.version + 1),
            StreamChange::Close { .. } => head.version + 1,
        };
        head.is_closed |= matches!(change, StreamChange::Close { .. });
        let kept_before = head.version + 1 - positions.len() as u64;
        head.first = head.first.max(kept_from);
        for position in positions.drain(..kept_from.saturating_sub(kept_before) as usize) {
            let at = self.log.binary_search_by_key(&position, |event| event.position).expect("an event is in the log");
            self.log.remove(at).id.map(|id| self.ids.remove(&id));
        }
    }

    pub(crate) fn head(&self, stream: &str) -> StreamHead {
        self.streams.get(stream).map_or_else(StreamHead::default, |known| known.head)
    }

    pub(crate) fn read(&self, read: &Read) -> Vec<StoredEvent> {
        match &read.of {
            ReadOf::Stream(stream) => {
                let positions = self.streams.get(stream).map_or(&[][..], |known| &known.positions);
                let events = positions.iter().filter_map(|position| self.at(*position));
                pick(events, read, |event| event.version)
            }
            ReadOf::Named(id) => {
                let event = self.ids.get(id).and_then(|position| self.at(*position));
                event.into_iter().take(read.limit).cloned().collect()
            }
            ReadOf::Log(filter) => {
                let from = match read.direction {
                    Direction::Forward => self.log.partition_point(|event| event.position < read.from)..self.log.len(),
                    Direction::Backward => 0..self.log.partition_point(|event| event.position <= read.from),
                };
                let meant = |event: &&StoredEvent| filter.fits(&event.stream, &event.kind, &event.tags);
                pick(self.log[from].iter().filter(meant), read, |event| event.position)
            }
        }
    }
}

/// Those of ascending `events` that are asked for.
fn pick<'a>(
    events: impl DoubleEndedIterator<Item = &'a StoredEvent>,
    read: &Read,
    place: impl Fn(&StoredEvent) -> u64,
) -> Vec<StoredEvent> {
    match read.direction {
        Direction::Forward => events.filter(|e| place(e) >= read.from).take(read.limit).cloned().collect(),
        Direction::Backward => events.rev().filter(|e| place(e) <= read.from).take(read.limit).cloned().collect(),
    }
}
