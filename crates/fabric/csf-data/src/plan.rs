//! What a commit is to store: the rules of the port, decided before anything is written. Pure but for what it looks up.
//!
//! Every store uses it, so that an append means the same on each. The newest state of lanes and streams is kept, so that a busy writer asks
//! the store about what it has not seen yet.
//! Invariant: a plan that is not carried out leaves the planner as it was.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use csf_core::port::{
    Append, Appended, Batch, CHANGE_STREAM, Durability, EventId, Filter, JournalError, LANE_STREAM, LaneInfo, NewEvent,
    Refused, StreamChange, StreamHead,
};
use csf_core::{LaneId, Stamp};
use hashbrown::hash_map::EntryRef;

use crate::contiguity::{LaneEnd, check_lanes, check_positions, not_contiguous};
use crate::packed::block::Block;
use crate::packed::pack::pack;

/// Streams whose state is remembered; beyond that the store is asked again.
const HEADS_MAX: usize = 100_000;

/// What a planner asks its store. The answers are those of the last commit.
pub(crate) trait Lookup {
    /// What is about to be planned, for a store that is far away: it may look up at once what it will be asked. `is_known` says which streams
    /// it will not be asked about.
    fn prepare(&mut self, batch: &Batch, is_known: &dyn Fn(&str) -> bool) -> Result<(), JournalError> {
        let _ = (batch, is_known);
        Ok(())
    }

    /// Where a lane ends.
    fn lane_end(&mut self, lane: LaneId) -> Result<Option<LaneEnd>, JournalError>;

    /// What is known of a stream.
    fn head(&mut self, stream: &str) -> Result<StreamHead, JournalError>;

    /// The event of this name.
    fn named(&mut self, id: EventId) -> Result<Option<Place>, JournalError>;

    /// The event at this position.
    fn at(&mut self, position: u64) -> Result<Option<Place>, JournalError>;

    /// Position of the newest event after `after` that is meant, and not gone by its stream and version.
    fn newest(
        &mut self,
        filter: &Filter,
        after: u64,
        is_gone: &dyn Fn(&str, u64) -> bool,
    ) -> Result<Option<u64>, JournalError>;
}

/// Where an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: u64,
    pub(crate) stream: String,
    pub(crate) version: u64,
    pub(crate) kind: String,
}

/// An event with its numbers.
#[derive(Clone, Debug)]
pub(crate) struct Planned<'b> {
    pub(crate) position: u64,
    pub(crate) version: u64,
    pub(crate) event: Cow<'b, NewEvent>,
}

/// What is done with the events, in this order.
#[derive(Clone, Debug)]
pub(crate) enum Step<'b> {
    /// An event is stored.
    Keep(Planned<'b>),
    /// A stream's events before `head.first` are forgotten, and the head is kept.
    Change { stream: String, head: StreamHead },
}

/// A commit, ready to be stored.
#[derive(Debug)]
pub(crate) struct Plan<'b> {
    pub(crate) blocks: Vec<Block>,
    pub(crate) steps: Vec<Step<'b>>,
    /// Position of the last packet; events follow.
    pub(crate) packets_end: u64,
    /// Position of the last event.
    pub(crate) position: u64,
    pub(crate) answers: Vec<Result<Appended, Refused>>,
    learned: Learned,
}

impl Plan<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.steps.is_empty()
    }
}

/// The state of streams by name: looked up several times for each event, so by a cheaper hash than the standard one.
type Heads = hashbrown::HashMap<String, StreamHead>;

/// What a planner knows once the plan is carried out.
#[derive(Debug, Default)]
struct Learned {
    ends: BTreeMap<LaneId, LaneEnd>,
    lanes: BTreeMap<LaneId, LaneInfo>,
    heads: Heads,
}

/// What has been committed, as far as the next commit needs it.
#[derive(Debug)]
pub(crate) struct Planner {
    position: u64,
    durability: Durability,
    ends: BTreeMap<LaneId, LaneEnd>,
    lanes: BTreeMap<LaneId, LaneInfo>,
    heads: Heads,
}

impl Planner {
    /// Of a store at `position` with these lanes, whose commits are this safe.
    pub(crate) fn new(position: u64, lanes: Vec<LaneInfo>, durability: Durability) -> Self {
        let lanes = lanes.into_iter().map(|info| (info.id, info)).collect();
        Self { position, durability, ends: BTreeMap::new(), lanes, heads: Heads::new() }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// What storing the batch means.
    pub(crate) fn plan<'b>(&mut self, store: &mut impl Lookup, batch: &'b Batch) -> Result<Plan<'b>, JournalError> {
        let packets_end = self.position + check_positions(self.position, &batch.packets)?;
        store.prepare(batch, &|stream| self.heads.contains_key(stream))?;
        let known = |lane| match self.ends.get(&lane) {
            Some(end) => Ok(Some(*end)),
            None => store.lane_end(lane),
        };
        let ends = check_lanes(&batch.packets, known)?;
        let mut draft = Draft {
            known: self,
            store,
            position: packets_end,
            steps: Vec::new(),
            ids: HashMap::new(),
            changed: false,
            learned: Learned { ends, ..Learned::default() },
        };
        for info in &batch.lanes {
            draft.lane(info, batch)?;
        }
        let answers = batch.appends.iter().map(|append| draft.append(append)).collect::<Result<_, _>>()?;
        let Draft { position, steps, learned, .. } = draft;
        let mut blocks = Vec::new();
        for lane in &batch.packets {
            pack(&lane.packets, &mut blocks);
        }
        // In the order of the primary key, so that the table only ever grows at its end.
        blocks.sort_unstable_by_key(|block| block.last_position);
        Ok(Plan { blocks, steps, packets_end, position, answers, learned })
    }

    /// The plan has been carried out; its answers.
    pub(crate) fn done(&mut self, plan: Plan<'_>) -> Vec<Result<Appended, Refused>> {
        self.position = plan.position;
        self.ends.extend(plan.learned.ends);
        self.lanes.extend(plan.learned.lanes);
        if self.heads.len() > HEADS_MAX {
            self.heads.clear();
        }
        self.heads.extend(plan.learned.heads);
        plan.answers
    }
}

/// A plan in the making. What it has decided so far counts as done for what follows.
struct Draft<'p, 'b, L> {
    known: &'p Planner,
    store: &'p mut L,
    position: u64,
    steps: Vec<Step<'b>>,
    /// Names given in this plan.
    ids: HashMap<EventId, Place>,
    /// Whether a stream was changed in this plan.
    changed: bool,
    learned: Learned,
}

impl<'b, L: Lookup> Draft<'_, 'b, L> {
    /// A lane is stored as an event, stamped as its first packet in this batch.
    fn lane(&mut self, info: &LaneInfo, batch: &Batch) -> Result<(), JournalError> {
        match self.known.lanes.get(&info.id).or_else(|| self.learned.lanes.get(&info.id)) {
            Some(known) if known == info => return Ok(()),
            Some(_) => return Err(not_contiguous(&format!("lane {} announced again, differently", info.id), 0, 1)),
            None => {}
        }
        let first = batch.packets.iter().filter_map(|lane| lane.packets.first()).find(|p| p.header.id.lane == info.id);
        let stamp = first.map_or(Stamp::ZERO, |p| p.header.stamp);
        let data = serde_json::to_value(info).expect("a lane has a JSON form");
        self.keep(Cow::Owned(NewEvent::new(LANE_STREAM, LANE_STREAM, stamp, data)))?;
        self.learned.lanes.insert(info.id, info.clone());
        Ok(())
    }

    /// One caller's append: every question first, so that a refusal leaves no trace.
    fn append(&mut self, append: &'b Append) -> Result<Result<Appended, Refused>, JournalError> {
        if let Err(refused) = append.check() {
            return Ok(Err(refused));
        }
        match self.repeat(append)? {
            Ok(None) => {}
            Ok(Some(repeat)) => return Ok(Ok(repeat)),
            Err(refused) => return Ok(Err(refused)),
        }
        for (stream, expected) in &append.expects {
            let actual = self.head(stream)?.version;
            if !expected.holds(actual) {
                return Ok(Err(Refused::WrongVersion { stream: stream.clone(), expected: *expected, actual }));
            }
        }
        if let Some(condition) = &append.unless
            && let Some(position) = self.newest(&condition.filter, condition.after)?
        {
            return Ok(Err(Refused::Happened { position, after: condition.after }));
        }
        let events = append.events.iter().map(|event| event.stream.as_str());
        for stream in events.chain(append.changes.iter().map(StreamChange::stream)) {
            if self.head(stream)?.is_closed {
                return Ok(Err(Refused::Closed { stream: stream.to_owned() }));
            }
        }
        let before = self.position;
        let mut version = 0;
        for event in &append.events {
            version = self.keep(Cow::Borrowed(event))?;
        }
        for change in &append.changes {
            let data = serde_json::to_value(change).expect("a change has a JSON form");
            version = self.keep(Cow::Owned(NewEvent::new(CHANGE_STREAM, CHANGE_STREAM, append.stamp, data)))?;
            self.change(change)?;
        }
        let first = if self.position > before { before + 1 } else { before };
        Ok(Ok(Appended { first, last: self.position, version, is_repeat: false, durability: self.known.durability }))
    }

    /// Where the append was stored before; refused when only some of its ids are known, or elsewhere.
    fn repeat(&mut self, append: &Append) -> Result<Result<Option<Appended>, Refused>, JournalError> {
        let mut base = None;
        let mut own: BTreeMap<EventId, u64> = BTreeMap::new();
        for (at, event) in (0u64..).zip(&append.events) {
            let Some(id) = event.id else { continue };
            let known = self.named(id)?;
            let in_use = |position| Ok(Err(Refused::IdInUse { id, position }));
            let base = *base.get_or_insert_with(|| known.as_ref().map(|place| place.position.wrapping_sub(at)));
            match (base, known) {
                (None, None) => match own.insert(id, self.position + 1 + at) {
                    None => {}
                    Some(twice) => return in_use(twice),
                },
                (Some(base), Some(place))
                    if place.position == base.wrapping_add(at)
                        && place.stream == event.stream
                        && place.kind == event.kind => {}
                (Some(base), None) => return in_use(base),
                (_, Some(place)) => return in_use(place.position),
            }
        }
        let Some(first) = base.flatten() else { return Ok(Ok(None)) };
        let last = first + append.events.len() as u64 - 1;
        let version = self.at(last)?.map_or(0, |place| place.version);
        Ok(Ok(Some(Appended { first, last, version, is_repeat: true, durability: self.known.durability })))
    }

    /// The stream's state, as far as this plan has come.
    fn head(&mut self, stream: &str) -> Result<&mut StreamHead, JournalError> {
        match self.learned.heads.entry_ref(stream) {
            EntryRef::Occupied(head) => Ok(head.into_mut()),
            EntryRef::Vacant(unknown) => {
                let head = match self.known.heads.get(stream) {
                    Some(head) => *head,
                    None => self.store.head(stream)?,
                };
                Ok(unknown.insert(head))
            }
        }
    }

    /// Whether a stored event has been truncated in this plan.
    fn is_gone(&self, stream: &str, version: u64) -> bool {
        self.changed && self.learned.heads.get(stream).is_some_and(|head| version < head.first)
    }

    fn named(&mut self, id: EventId) -> Result<Option<Place>, JournalError> {
        let place = match self.ids.get(&id) {
            Some(place) => Some(place.clone()),
            None => self.store.named(id)?,
        };
        Ok(place.filter(|place| !self.is_gone(&place.stream, place.version)))
    }

    fn at(&mut self, position: u64) -> Result<Option<Place>, JournalError> {
        let planned = self.planned().find(|planned| planned.position == position).map(Planned::place);
        let place = match planned {
            Some(place) => Some(place),
            None => self.store.at(position)?,
        };
        Ok(place.filter(|place| !self.is_gone(&place.stream, place.version)))
    }

    fn newest(&mut self, filter: &Filter, after: u64) -> Result<Option<u64>, JournalError> {
        let is_gone = |stream: &str, version| self.is_gone(stream, version);
        let meant = |planned: &&Planned<'_>| {
            let NewEvent { stream, kind, tags, .. } = &*planned.event;
            planned.position > after && filter.fits(stream, kind, tags) && !is_gone(stream, planned.version)
        };
        if let Some(planned) = self.planned().rev().find(meant) {
            return Ok(Some(planned.position));
        }
        let Self { store, learned, changed, .. } = self;
        let is_gone =
            |stream: &str, version: u64| *changed && learned.heads.get(stream).is_some_and(|head| version < head.first);
        store.newest(filter, after, &is_gone)
    }

    fn planned(&self) -> impl DoubleEndedIterator<Item = &Planned<'b>> {
        self.steps.iter().filter_map(|step| match step {
            Step::Keep(planned) => Some(planned),
            Step::Change { .. } => None,
        })
    }

    /// The event becomes the stream's next; its version.
    fn keep(&mut self, event: Cow<'b, NewEvent>) -> Result<u64, JournalError> {
        let head = self.head(&event.stream)?;
        head.version += 1;
        let version = head.version;
        self.position += 1;
        let planned = Planned { position: self.position, version, event };
        if let Some(id) = planned.event.id {
            self.ids.insert(id, planned.place());
        }
        self.steps.push(Step::Keep(planned));
        Ok(version)
    }

    fn change(&mut self, change: &StreamChange) -> Result<(), JournalError> {
        let head = self.head(change.stream())?;
        match change {
            StreamChange::Truncate { before, .. } => head.first = head.first.max((*before).min(head.version + 1)),
            StreamChange::Close { .. } => (head.first, head.is_closed) = (head.version + 1, true),
        }
        let head = *head;
        self.changed = true;
        self.steps.push(Step::Change { stream: change.stream().to_owned(), head });
        Ok(())
    }
}

impl Planned<'_> {
    fn place(&self) -> Place {
        let NewEvent { stream, kind, .. } = &*self.event;
        Place { position: self.position, stream: stream.clone(), version: self.version, kind: kind.clone() }
    }
}
