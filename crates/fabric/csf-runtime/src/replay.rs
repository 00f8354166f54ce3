//! Replay: the recorded deliveries through the same components on virtual time, every output compared with the recorded one.
//!
//! The journal is read once in position order. A source packet waits in a window until it was delivered; a delivery runs its component
//! at the recorded stamp; an effect must equal the oldest output the component made for that lane, header and payload, bit for bit.
//! Where the journal tells that the node changed its configuration, the replay does ([`crate::runs`]). No clock is read. Reference for the idea: Schneider, "Implementing Fault-Tolerant Services Using the State Machine Approach" (1990).

use std::any::{Any, TypeId};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use csf_bus::EffectWriter;
use csf_core::port::{JournalError, JournalReader, LaneInfo, LaneKind, Scan, StoredPacket};
use csf_core::{
    AnyPayload, Attributes, Component, Event, Fault, Header, LaneId, MessageId, MessageType, Stamp, TimerId,
};
use serde::{Deserialize, Serialize};

use crate::exec::{Failing, Handled, Parts, Timers, hand_over, handle, renew};
use crate::runs::{Begins, Chapter, chapters};
use crate::topology::{ComponentNode, Topology};
use crate::{Catalogue, Delivery, Input, Outcome};

/// Packets read from the journal at once.
const CHUNK: usize = 4096;

/// A replay that could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal speaks of something the topology lacks.
    #[error("the journal does not fit the topology: {reason}")]
    Mismatch {
        /// What is missing.
        reason: String,
    },
}

/// The first place where a replayed output differs from the recorded one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Journal position of the recorded packet.
    pub position: u64,
    /// Its id.
    pub id: String,
    /// Its topic.
    pub topic: String,
    /// The component that wrote it.
    pub author: String,
    /// What differs: `header`, `payload`, `outcome`, `missing` or `unexpected`.
    pub what: String,
    /// As recorded (JSON where it can be decoded).
    pub recorded: serde_json::Value,
    /// As replayed.
    pub replayed: serde_json::Value,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// Packets read from the journal.
    pub packets: u64,
    /// Source packets among them.
    pub inputs: u64,
    /// Deliveries repeated.
    pub deliveries: u64,
    /// Outputs compared.
    pub compared: u64,
    /// Outputs equal bit for bit.
    pub equal: u64,
    /// Outputs made again that the journal no longer got before it ended.
    pub unrecorded: u64,
    /// The first difference.
    pub first_difference: Option<Difference>,
}

/// A component as it stands after its recorded deliveries.
pub struct Replayed {
    /// The state machine.
    pub component: Box<dyn Component>,
    /// Its timers.
    pub timers: Timers,
    /// Events that failed and are to be tried again.
    pub failing: Failing,
    /// Recorded packets it reads that were not delivered, in stamp order.
    pub undelivered: Vec<(LaneInfo, Header, AnyPayload)>,
}

/// The end of a replay: the report and what a node needs to go on from there.
pub struct Resumption {
    /// What was found.
    pub report: ReplayReport,
    /// Components by index.
    pub components: Vec<Replayed>,
    /// Outputs that were made before the crash but not recorded: to be appended to their old lanes.
    pub missing: Vec<StoredPacket>,
    /// Lanes of such outputs that the journal does not describe: nothing of them was recorded.
    pub missing_lanes: Vec<LaneInfo>,
    /// Newest stamp seen.
    pub newest: Stamp,
    /// Source packets by (author, topic): where each source goes on.
    pub recorded: BTreeMap<(String, String), u64>,
}

/// Replays a journal under the configurations it tells of, up to and including `until`. `progress` gets the position from time to time.
///
/// # Errors
/// [`ReplayError`]. A difference is not an error; it is in the report.
pub fn replay(
    reader: &mut dyn JournalReader,
    catalogue: &Catalogue,
    until: Option<Stamp>,
    progress: &mut dyn FnMut(u64),
) -> Result<Resumption, ReplayError> {
    let mut goes_on = |position| {
        progress(position);
        true
    };
    replay_while(reader, catalogue, until, None, &mut goes_on).map(|whole| whole.expect("nothing ended it"))
}

/// [`replay`] that ends early, with `None`, when `goes_on` says no at some position. With `then`, its components go on under that
/// configuration.
pub(crate) fn replay_while(
    reader: &mut dyn JournalReader,
    catalogue: &Catalogue,
    until: Option<Stamp>,
    then: Option<&Topology>,
    goes_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<Resumption>, ReplayError> {
    let lanes = reader.lanes()?.into_iter().map(|lane| (lane.id, PlayedLane::new(lane, catalogue))).collect();
    let is_wanted = |stamp: Stamp| until.is_none_or(|until| stamp <= until);
    let mut chapters = chapters(reader)?.into_iter().filter(|chapter| is_wanted(chapter.stamp)).peekable();
    let mut engine = Engine::new(lanes, catalogue);
    let mut from_position = 1;
    loop {
        let packets = reader.scan(&Scan { from_position, limit: CHUNK, lanes: Vec::new() })?;
        let Some(last) = packets.last() else { break };
        from_position = last.position + 1;
        for packet in packets {
            while let Some(chapter) = chapters.next_if(|chapter| chapter.position < packet.position) {
                engine.begin(&chapter, reader)?;
            }
            if is_wanted(packet.header.stamp) {
                engine.take(packet)?;
            }
        }
        if !goes_on(from_position - 1) {
            return Ok(None);
        }
    }
    for chapter in chapters {
        engine.begin(&chapter, reader)?;
    }
    if let Some(topology) = then {
        engine.count_made();
        let chapter = Chapter::start(topology, u32::MAX, "", engine.newest);
        engine.reconfigure(topology.clone(), &chapter);
    }
    engine.finish().map(Some)
}

struct Engine<'a> {
    lanes: BTreeMap<LaneId, PlayedLane>,
    catalogue: &'a Catalogue,
    topology: Option<Topology>,
    players: Vec<Player>,
    /// Players by their numbers in the delivery log.
    by_number: BTreeMap<u16, usize>,
    /// Lanes that the journal does not describe.
    invented: BTreeSet<LaneId>,
    books: Books,
    report: ReplayReport,
    newest: Stamp,
}

/// A lane as far as it was read.
struct PlayedLane {
    info: Arc<LaneInfo>,
    /// `None` when no pack brings it.
    message: Option<MessageType>,
    /// Decoded packets not yet delivered to all their readers.
    window: VecDeque<(Header, AnyPayload)>,
    /// Components that read it.
    readers: Vec<usize>,
    /// Where it goes on.
    end: u64,
    /// Packets of the source that writes it now; 0 for other lanes.
    recorded: u64,
}

impl PlayedLane {
    fn new(info: LaneInfo, catalogue: &Catalogue) -> Self {
        let message = catalogue.messages.get(&info.message).copied();
        Self { info: Arc::new(info), message, window: VecDeque::new(), readers: Vec::new(), end: 0, recorded: 0 }
    }

    fn message(&self) -> Result<MessageType, ReplayError> {
        self.message.ok_or_else(|| ReplayError::Mismatch {
            reason: format!("no pack brings the message type {} of topic `{}`", self.info.message, self.info.topic),
        })
    }

    fn decode(&self, packet: &StoredPacket) -> Result<AnyPayload, ReplayError> {
        (self.message()?.decode)(&packet.payload)
            .map_err(|e| ReplayError::Mismatch { reason: format!("packet {}: {e}", packet.header.id) })
    }
}

/// Outputs made and not yet compared, by lane. Shared with the writers.
type Books = Arc<Mutex<BTreeMap<LaneId, LaneBook>>>;

#[derive(Default)]
struct LaneBook {
    next_seq: u64,
    staged: Vec<(Header, Vec<u8>)>,
    made: VecDeque<(Header, Vec<u8>)>,
}

struct Player {
    name: String,
    component: Box<dyn Component>,
    timers: Timers,
    failing: Failing,
    ports: Vec<&'static str>,
    outputs: Vec<(String, Box<dyn EffectWriter>)>,
    /// The start whose lanes the outputs are; `None` before the first delivery under a configuration.
    incarnation: Option<u32>,
    /// Next sequence this component has not been given, by lane.
    seen: BTreeMap<LaneId, u64>,
}

impl<'a> Engine<'a> {
    fn new(lanes: BTreeMap<LaneId, PlayedLane>, catalogue: &'a Catalogue) -> Self {
        Self {
            lanes,
            catalogue,
            topology: None,
            players: Vec::new(),
            by_number: BTreeMap::new(),
            invented: BTreeSet::new(),
            books: Books::default(),
            report: ReplayReport::default(),
            newest: Stamp::ZERO,
        }
    }

    /// Goes on under the configuration of a chapter.
    fn begin(&mut self, chapter: &Chapter, reader: &mut dyn JournalReader) -> Result<(), ReplayError> {
        let topology = chapter.topology(self.catalogue)?;
        let wanted = self.reconfigure(topology, chapter);
        self.fetch(&wanted, reader)
    }

    /// Outputs that were made and not recorded will be in the journal before the next start is: who reads newly then begins after them.
    fn count_made(&mut self) {
        for (id, book) in self.books.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(lane) = self.lanes.get_mut(id) {
                lane.end = book.next_seq.max(lane.end);
            }
        }
    }

    /// Brings back what was read before a component was known to want it: it began to read while others published.
    fn fetch(&mut self, begins: &Begins, reader: &mut dyn JournalReader) -> Result<(), ReplayError> {
        for (id, begin) in begins {
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            let end = lane.window.front().map_or(lane.end, |(header, _)| header.id.seq);
            for seq in (*begin..end).rev() {
                let Some(packet) = reader.packet(id.message(seq))? else { break };
                let payload = lane.decode(&packet)?;
                lane.window.push_front((packet.header, payload));
            }
        }
        Ok(())
    }

    /// Goes on under `topology`; answers where its components begin to read lanes newly. A lane that was opened while the change was
    /// under way may have been read and forgotten already.
    fn reconfigure(&mut self, topology: Topology, chapter: &Chapter) -> Begins {
        let mut wanted = Begins::new();
        let before = self.topology.take();
        let mut old: BTreeMap<String, Player> = self.players.drain(..).map(|p| (p.name.clone(), p)).collect();
        let reads =
            |node: &ComponentNode, lane: &PlayedLane| node.settings.reads.iter().any(|t| t.value == lane.info.topic);
        for lane in self.lanes.values_mut() {
            lane.readers =
                (0..).zip(&topology.components).filter(|(_, node)| reads(node, lane)).map(|(at, _)| at).collect();
        }
        for node in &topology.components {
            let name = &node.settings.name.value;
            let was = before.as_ref().and_then(|before| before.component(name));
            let reads_newly = |topic: &str| was.is_none_or(|was| !was.settings.reads.iter().any(|t| t.value == topic));
            let (component, timers, failing, mut seen) = match (was, old.remove(name)) {
                (Some(was), Some(player)) => {
                    let (component, timers) = match was.settings.is_same_machine(&node.settings) {
                        true => (player.component, player.timers),
                        false => hand_over(player.component.as_ref(), player.timers, was, node),
                    };
                    (component, timers, player.failing, player.seen)
                }
                _ => ((node.factory)(), Timers::default(), Failing::default(), BTreeMap::new()),
            };
            let begins = chapter.begins.get(name);
            // One that had been given up reads all of them newly.
            let begun: BTreeSet<&str> = begins
                .into_iter()
                .flatten()
                .filter_map(|(id, _)| Some(self.lanes.get(id)?.info.topic.as_str()))
                .collect();
            let is_new = |lane: &PlayedLane| {
                let topic = lane.info.topic.as_str();
                reads(node, lane) && (reads_newly(topic) || begun.contains(topic))
            };
            for (id, lane) in self.lanes.iter().filter(|(_, lane)| is_new(lane)) {
                let is_over = chapter.is_start || id.incarnation < chapter.incarnation;
                let begin = match begins.and_then(|begins| begins.get(id)) {
                    Some(begin) => *begin,
                    None if is_over => lane.end,
                    // Opened since: from its first packet on.
                    None => 0,
                };
                seen.insert(*id, begin);
                wanted.entry(*id).and_modify(|least| *least = begin.min(*least)).or_insert(begin);
            }
            self.players.push(Player {
                name: name.clone(),
                component,
                timers,
                failing,
                ports: node.kind.writes.iter().map(|p| p.port).collect(),
                outputs: Vec::new(),
                incarnation: None,
                seen,
            });
        }
        for service in &topology.services {
            let name = &service.settings.name.value;
            let was = before.as_ref().and_then(|before| before.service(name));
            if was.is_some_and(|was| !was.settings.is_same_source(&service.settings)) {
                self.lanes.values_mut().filter(|lane| lane.info.author == *name).for_each(|lane| lane.recorded = 0);
            }
        }
        let numbers = chapter.components.iter().filter_map(|(number, name)| {
            Some((*number, topology.components.iter().position(|c| c.settings.name.value == *name)?))
        });
        self.by_number = numbers.collect();
        self.lanes.values_mut().filter(|lane| lane.readers.is_empty()).for_each(|lane| lane.window.clear());
        self.topology = Some(topology);
        wanted
    }

    fn take(&mut self, packet: StoredPacket) -> Result<(), ReplayError> {
        self.report.packets += 1;
        self.newest = self.newest.max(packet.header.stamp);
        let id = packet.header.id.lane;
        let lane = self
            .lanes
            .get_mut(&id)
            .ok_or_else(|| ReplayError::Mismatch { reason: format!("lane {id} is not described in the journal") })?;
        lane.end = packet.header.id.seq + 1;
        match lane.info.kind {
            LaneKind::Delivery => return self.deliver(&packet),
            LaneKind::Effect => self.compare(&packet)?,
            LaneKind::Source => {
                self.report.inputs += 1;
                lane.recorded += 1;
            }
        }
        if let Some(lane) = self.lanes.get_mut(&id).filter(|lane| !lane.readers.is_empty()) {
            let payload = lane.decode(&packet)?;
            lane.window.push_back((packet.header, payload));
        }
        Ok(())
    }

    fn deliver(&mut self, packet: &StoredPacket) -> Result<(), ReplayError> {
        let lane = &self.lanes[&packet.header.id.lane];
        let (lane, payload) = (lane.info.clone(), lane.decode(packet)?);
        let Some(delivery) = payload.downcast_ref::<Delivery>() else {
            return Err(ReplayError::Mismatch { reason: format!("packet {} is no delivery", packet.header.id) });
        };
        self.report.deliveries += 1;
        let number = delivery.component;
        let index = *self.by_number.get(&number).ok_or_else(|| ReplayError::Mismatch {
            reason: format!("there is no component number {number} at position {}", packet.position),
        })?;
        self.open_outputs(index, packet.header.id.lane)?;
        let at = packet.header.stamp;
        let outcome = match (delivery.input, delivery.outcome) {
            (Input::Reset, outcome) => {
                self.make_anew(index)?;
                outcome
            }
            (Input::Renewal, outcome) => {
                let factory = self.node(index)?.factory.clone();
                let player = &mut self.players[index];
                if let Some(fresh) = renew(player.component.as_ref(), &factory) {
                    player.component = fresh;
                }
                outcome
            }
            // It had no effect, on the component neither.
            (input, outcome @ (Outcome::Failed | Outcome::Skipped)) => {
                self.pass_over(index, input, outcome);
                outcome
            }
            (Input::Timer(timer), _) => self.run_timer(index, timer, at),
            (Input::Packet { lane, seq }, _) => self.run_packet(index, lane.message(seq), at)?,
        };
        if outcome != delivery.outcome {
            self.differ(Difference {
                position: packet.position,
                id: packet.header.id.to_string(),
                topic: lane.topic.clone(),
                author: self.players[index].name.clone(),
                what: "outcome".to_owned(),
                recorded: serde_json::json!(delivery.outcome),
                replayed: serde_json::json!(outcome),
            });
        }
        if outcome == Outcome::Panic {
            self.make_anew(index)?;
        } else if outcome == Outcome::Done {
            self.players[index].failing.clear(delivery.input);
        }
        Ok(())
    }

    fn make_anew(&mut self, index: usize) -> Result<(), ReplayError> {
        self.players[index].component = (self.node(index)?.factory)();
        self.players[index].timers = Timers::default();
        Ok(())
    }

    fn pass_over(&mut self, index: usize, input: Input, outcome: Outcome) {
        let player = &mut self.players[index];
        if outcome == Outcome::Failed {
            player.failing.add(input);
            return;
        }
        player.failing.clear(input);
        match input {
            Input::Timer(timer) => player.timers.clear(timer),
            Input::Packet { lane, seq } => {
                player.seen.insert(lane, seq + 1);
                self.trim(lane);
            }
            Input::Reset | Input::Renewal => {}
        }
    }

    fn run_timer(&mut self, index: usize, timer: TimerId, at: Stamp) -> Outcome {
        let player = &mut self.players[index];
        player.timers.clear(timer);
        let parts = Parts { component: player.component.as_mut(), outputs: &mut player.outputs, ports: &player.ports };
        let handled = handle(parts, |c, cx| c.on_timer(cx, timer), at, None);
        player.commit(handled)
    }

    fn run_packet(&mut self, index: usize, id: MessageId, at: Stamp) -> Result<Outcome, ReplayError> {
        let lane = self.lanes.get(&id.lane).ok_or_else(|| ReplayError::Mismatch {
            reason: format!("delivered packet {id} is on a lane the journal does not describe"),
        })?;
        let first = lane.window.front().map_or(u64::MAX, |(header, _)| header.id.seq);
        let place = id.seq.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        let Some((header, payload)) = place.and_then(|place| lane.window.get(place)) else {
            return Err(ReplayError::Mismatch {
                reason: format!("packet {id} was delivered but is not in the journal"),
            });
        };
        let player = &mut self.players[index];
        let event = Event::new(&lane.info.topic, header, payload.as_ref());
        let parts = Parts { component: player.component.as_mut(), outputs: &mut player.outputs, ports: &player.ports };
        let handled = handle(parts, |c, cx| c.on_event(cx, &event), at, Some(id));
        let outcome = player.commit(handled);
        player.seen.insert(id.lane, id.seq + 1);
        self.trim(id.lane);
        Ok(outcome)
    }

    fn node(&self, index: usize) -> Result<&ComponentNode, ReplayError> {
        let found = self.topology.as_ref().and_then(|topology| topology.components.get(index));
        found.ok_or_else(|| ReplayError::Mismatch { reason: format!("there is no component number {index}") })
    }

    /// Forgets packets that every reader was given.
    fn trim(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let seen = lane.readers.iter().map(|reader| self.players[*reader].seen.get(&id).copied().unwrap_or(0));
        let done = seen.min().unwrap_or(0);
        while lane.window.front().is_some_and(|(header, _)| header.id.seq < done) {
            lane.window.pop_front();
        }
    }

    /// Points a component's outputs at the lanes of the start that is being replayed.
    fn open_outputs(&mut self, index: usize, log: LaneId) -> Result<(), ReplayError> {
        let incarnation = log.incarnation;
        if self.players[index].incarnation == Some(incarnation) {
            return Ok(());
        }
        let node = self.node(index)?;
        let name = &node.settings.name.value;
        let mut outputs: Vec<(String, Box<dyn EffectWriter>)> = Vec::new();
        let mut opened: Vec<LaneInfo> = Vec::new();
        for (port, topic) in &node.settings.writes {
            let Some(output) = node.kind.writes.iter().find(|o| o.port == port) else {
                continue;
            };
            let is_it = |l: &&LaneInfo| {
                let is_effect = l.kind == LaneKind::Effect && l.id.incarnation == incarnation;
                is_effect && l.author == *name && l.topic == topic.value
            };
            let described = self.lanes.values().map(|lane| &*lane.info).find(is_it);
            let known = described.or_else(|| opened.iter().find(is_it)).cloned();
            // A lane without a recorded packet is not in the journal, nor is its number: it gets one that nobody has.
            let info = known.unwrap_or_else(|| {
                let number = |lane| LaneId { lane, ..log };
                let is_free =
                    |id: &LaneId| !self.lanes.contains_key(id) && opened.iter().all(|lane: &LaneInfo| lane.id != *id);
                LaneInfo {
                    id: (0..=u16::MAX).rev().map(number).find(is_free).unwrap_or(number(u16::MAX)),
                    topic: topic.value.clone(),
                    author: name.clone(),
                    message: output.message.full_name(),
                    kind: LaneKind::Effect,
                }
            });
            opened.push(info.clone());
            let writer = ReplayWriter { info, message: output.message, books: self.books.clone() };
            outputs.push((port.clone(), Box::new(writer)));
        }
        for lane in opened {
            if let Entry::Vacant(new) = self.lanes.entry(lane.id) {
                self.invented.insert(lane.id);
                new.insert(PlayedLane::new(lane, self.catalogue));
            }
        }
        self.players[index].outputs = outputs;
        self.players[index].incarnation = Some(incarnation);
        Ok(())
    }

    fn compare(&mut self, packet: &StoredPacket) -> Result<(), ReplayError> {
        let id = packet.header.id.lane;
        self.report.compared += 1;
        let made =
            self.books.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&id).and_then(|b| b.made.pop_front());
        let what = match &made {
            Some((header, payload)) if *header == packet.header && *payload == packet.payload => {
                self.report.equal += 1;
                return Ok(());
            }
            Some((header, _)) if *header != packet.header => "header",
            Some(_) => "payload",
            None => "missing",
        };
        let lane = &self.lanes[&id];
        let (message, lane) = (lane.message()?, lane.info.clone());
        let json = |bytes: &[u8]| {
            (message.decode)(bytes).and_then(|v| (message.to_json)(v.as_ref())).unwrap_or(serde_json::Value::Null)
        };
        let show = |header: &Header, bytes: &[u8]| {
            if what == "header" { serde_json::json!(header) } else { json(bytes) }
        };
        self.differ(Difference {
            position: packet.position,
            id: packet.header.id.to_string(),
            topic: lane.topic.clone(),
            author: lane.author.clone(),
            what: what.to_owned(),
            recorded: show(&packet.header, &packet.payload),
            replayed: made.map_or(serde_json::Value::Null, |(header, bytes)| show(&header, &bytes)),
        });
        Ok(())
    }

    fn differ(&mut self, difference: Difference) {
        self.report.first_difference.get_or_insert(difference);
    }

    fn finish(mut self) -> Result<Resumption, ReplayError> {
        let mut missing = Vec::new();
        for book in self.books.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            self.report.unrecorded += book.made.len() as u64;
            missing.extend(book.made.drain(..).map(|(header, payload)| StoredPacket { position: 0, header, payload }));
        }
        missing.sort_by_key(|p| (p.header.stamp, p.header.id));
        let mut lost: BTreeMap<LaneId, VecDeque<(Header, Vec<u8>)>> = BTreeMap::new();
        for packet in &missing {
            lost.entry(packet.header.id.lane).or_default().push_back((packet.header, packet.payload.clone()));
            self.newest = self.newest.max(packet.header.stamp);
        }
        let components =
            (0..self.players.len()).map(|index| self.undelivered(index, &lost)).collect::<Result<Vec<_>, _>>()?;
        let players = std::mem::take(&mut self.players);
        let components = players
            .into_iter()
            .zip(components)
            .map(|(player, undelivered)| {
                let Player { component, timers, failing, .. } = player;
                Replayed { component, timers, failing, undelivered }
            })
            .collect();
        let mut recorded: BTreeMap<(String, String), u64> = BTreeMap::new();
        for lane in self.lanes.values().filter(|lane| lane.recorded > 0) {
            *recorded.entry((lane.info.author.clone(), lane.info.topic.clone())).or_default() += lane.recorded;
        }
        let is_missing = |id: &&LaneId| lost.contains_key(*id);
        let missing_lanes = self.invented.iter().filter(is_missing);
        let missing_lanes = missing_lanes.filter_map(|id| Some((*self.lanes.get(id)?.info).clone())).collect();
        let (report, newest) = (self.report, self.newest);
        Ok(Resumption { report, components, missing, missing_lanes, newest, recorded })
    }

    /// Packets on a component's topics that it was not given, in stamp order. Decoded anew, since several components may want one.
    fn undelivered(
        &self,
        index: usize,
        lost: &BTreeMap<LaneId, VecDeque<(Header, Vec<u8>)>>,
    ) -> Result<Vec<(LaneInfo, Header, AnyPayload)>, ReplayError> {
        let reads: BTreeSet<&str> = self.node(index)?.settings.reads.iter().map(|t| t.value.as_str()).collect();
        let mut packets = Vec::new();
        for (id, lane) in self.lanes.iter().filter(|(_, l)| reads.contains(l.info.topic.as_str())) {
            let from = self.players[index].seen.get(id).copied().unwrap_or(0);
            let message = lane.message()?;
            let copy = |bytes: &[u8]| {
                (message.decode)(bytes).map_err(|e| ReplayError::Mismatch { reason: format!("lane {id}: {e}") })
            };
            for (header, payload) in lane.window.iter().filter(|(h, _)| h.id.seq >= from) {
                let mut bytes = Vec::new();
                (message.encode)(payload.as_ref(), &mut bytes)
                    .map_err(|e| ReplayError::Mismatch { reason: format!("lane {id}: {e}") })?;
                packets.push(((*lane.info).clone(), *header, copy(&bytes)?));
            }
            for (header, bytes) in lost.get(id).into_iter().flatten().filter(|(h, _)| h.id.seq >= from) {
                packets.push(((*lane.info).clone(), *header, copy(bytes)?));
            }
        }
        packets.sort_by_key(|(_, header, _)| (header.stamp, header.id));
        Ok(packets)
    }
}

impl Player {
    /// Commits what was staged, and keeps the timers that were set.
    fn commit(&mut self, handled: Handled) -> Outcome {
        for (bit, (_, output)) in self.outputs.iter_mut().enumerate() {
            if handled.touched >> bit & 1 == 1 {
                output.commit();
            }
        }
        handled.timers.into_iter().for_each(|(timer, at)| self.timers.set(timer, at));
        handled.outcome
    }
}

/// A component's output during replay: encodes what the component publishes and keeps it for comparison.
struct ReplayWriter {
    info: LaneInfo,
    message: MessageType,
    books: Books,
}

impl EffectWriter for ReplayWriter {
    fn info(&self) -> &LaneInfo {
        &self.info
    }

    fn next_id(&self) -> MessageId {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let next = books.get(&self.info.id).map_or(0, |book| book.next_seq + book.staged.len() as u64);
        self.info.id.message(next)
    }

    fn has_room(&mut self, _count: u64) -> bool {
        true
    }

    fn stage(
        &mut self,
        type_id: TypeId,
        value: &mut dyn Any,
        stamp: Stamp,
        attributes: Attributes,
        cause: Option<MessageId>,
    ) -> Result<MessageId, Fault> {
        let wrong = || Fault::WrongType { topic: self.info.topic.clone(), expected: self.message.name };
        if type_id != self.message.type_id {
            return Err(wrong());
        }
        let bytes = (self.message.encode_option)(value).map_err(|_| wrong())?;
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let book = books.entry(self.info.id).or_default();
        let id = self.info.id.message(book.next_seq + book.staged.len() as u64);
        let header = Header {
            measured_at: attributes.measured_at,
            cause,
            priority: attributes.priority,
            deadline: attributes.deadline,
            ..Header::new(id, stamp)
        };
        book.staged.push((header, bytes));
        Ok(id)
    }

    fn commit(&mut self) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let book = books.entry(self.info.id).or_default();
        book.next_seq += book.staged.len() as u64;
        let staged = std::mem::take(&mut book.staged);
        book.made.extend(staged);
    }

    fn rollback(&mut self) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.entry(self.info.id).or_default().staged.clear();
    }
}
