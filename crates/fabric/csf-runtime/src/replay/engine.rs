//! The engine of a replay: components with their outputs, given packets in the order of the journal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use csf_bus::EffectWriter;
use csf_core::port::{JournalReader, LaneInfo, LaneKind, StoredPacket};
use csf_core::{AnyPayload, Component, Event, Header, LaneId, MessageId, MessageType, Stamp, TimerId};

use super::lanes::{PlayedLane, PlayedLanes};
use super::{Difference, ReplayError, ReplayReport, Replayed, Resumption};
use crate::exec::{Failing, Handled, LaneBook, Parts, RepeatWriter, Timers, hand_over, handle, renew};
use crate::runs::{Begins, Chapter};
use crate::topology::{ComponentNode, Topology};
use crate::{Catalogue, Delivery, Input, Outcome};

/// Repeats a journal, packet by packet.
pub(super) struct Engine<'a> {
    lanes: PlayedLanes,
    catalogue: &'a Catalogue,
    topology: Option<Topology>,
    players: Vec<Player>,
    /// Players by their numbers in the delivery log.
    by_number: BTreeMap<u16, usize>,
    report: ReplayReport,
    pub(super) newest: Stamp,
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
    seen: Seen,
}

/// The next sequence that a component has not been given, by the place of the lane.
#[derive(Default)]
struct Seen(Vec<u64>);

impl Seen {
    fn next(&self, place: usize) -> u64 {
        self.0.get(place).copied().unwrap_or(0)
    }

    fn set(&mut self, place: usize, next: u64) {
        if self.0.len() <= place {
            self.0.resize(place + 1, 0);
        }
        self.0[place] = next;
    }
}

impl<'a> Engine<'a> {
    pub(super) fn new(lanes: PlayedLanes, catalogue: &'a Catalogue) -> Self {
        Self {
            lanes,
            catalogue,
            topology: None,
            players: Vec::new(),
            by_number: BTreeMap::new(),
            report: ReplayReport::default(),
            newest: Stamp::ZERO,
        }
    }

    /// Goes on under the configuration of a chapter.
    pub(super) fn begin(&mut self, chapter: &Chapter, reader: &mut dyn JournalReader) -> Result<(), ReplayError> {
        let topology = chapter.topology(self.catalogue)?;
        let wanted = self.reconfigure(topology, chapter);
        self.fetch(&wanted, reader)
    }

    /// Outputs that were made and not recorded will be in the journal before the next start is: who reads newly then begins after them.
    pub(super) fn count_made(&mut self) {
        for lane in self.lanes.iter_mut() {
            lane.end = lane.book.next_seq().max(lane.end);
        }
    }

    /// Brings back what was read before a component was known to want it: it began to read while others published.
    fn fetch(&mut self, begins: &Begins, reader: &mut dyn JournalReader) -> Result<(), ReplayError> {
        for (id, begin) in begins {
            let Some(lane) = self.lanes.get_mut(*id) else { continue };
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
    pub(super) fn reconfigure(&mut self, topology: Topology, chapter: &Chapter) -> Begins {
        let mut wanted = Begins::new();
        let before = self.topology.take();
        let mut old: BTreeMap<String, Player> = self.players.drain(..).map(|p| (p.name.clone(), p)).collect();
        let reads =
            |node: &ComponentNode, lane: &PlayedLane| node.settings.reads.iter().any(|t| t.value == lane.info.topic);
        for lane in self.lanes.iter_mut() {
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
                _ => ((node.factory)(), Timers::default(), Failing::default(), Seen::default()),
            };
            let begins = chapter.begins.get(name);
            // One that had been given up reads all of them newly.
            let begun: BTreeSet<&str> = begins
                .into_iter()
                .flatten()
                .filter_map(|(id, _)| Some(self.lanes.get(*id)?.info.topic.as_str()))
                .collect();
            let is_new = |lane: &PlayedLane| {
                let topic = lane.info.topic.as_str();
                reads(node, lane) && (reads_newly(topic) || begun.contains(topic))
            };
            for (place, lane) in self.lanes.iter().enumerate().filter(|(_, lane)| is_new(lane)) {
                let id = lane.info.id;
                let is_over = chapter.is_start || id.incarnation < chapter.incarnation;
                let begin = match begins.and_then(|begins| begins.get(&id)) {
                    Some(begin) => *begin,
                    None if is_over => lane.end,
                    // Opened since: from its first packet on.
                    None => 0,
                };
                seen.set(place, begin);
                wanted.entry(id).and_modify(|least| *least = begin.min(*least)).or_insert(begin);
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
                self.lanes.iter_mut().filter(|lane| lane.info.author == *name).for_each(|lane| lane.recorded = 0);
            }
        }
        let numbers = chapter.components.iter().filter_map(|(number, name)| {
            Some((*number, topology.components.iter().position(|c| c.settings.name.value == *name)?))
        });
        self.by_number = numbers.collect();
        self.lanes.iter_mut().filter(|lane| lane.readers.is_empty()).for_each(|lane| lane.window.clear());
        self.topology = Some(topology);
        wanted
    }

    pub(super) fn take(&mut self, packet: &StoredPacket) -> Result<(), ReplayError> {
        self.report.packets += 1;
        self.newest = self.newest.max(packet.header.stamp);
        let id = packet.header.id.lane;
        let place = self
            .lanes
            .place(id)
            .ok_or_else(|| ReplayError::Mismatch { reason: format!("lane {id} is not described in the journal") })?;
        let lane = self.lanes.at(place);
        lane.end = packet.header.id.seq + 1;
        match lane.info.kind {
            LaneKind::Delivery => return self.deliver(place, packet),
            LaneKind::Effect => self.compare(place, packet)?,
            LaneKind::Source => {
                self.report.inputs += 1;
                lane.recorded += 1;
            }
        }
        let lane = self.lanes.at(place);
        if !lane.readers.is_empty() {
            let payload = lane.decode(packet)?;
            lane.window.push_back((packet.header, payload));
        }
        Ok(())
    }

    fn deliver(&mut self, place: usize, packet: &StoredPacket) -> Result<(), ReplayError> {
        let payload = self.lanes.at(place).decode(packet)?;
        let Some(delivery) = payload.downcast_ref::<Delivery>().cloned() else {
            return Err(ReplayError::Mismatch { reason: format!("packet {} is no delivery", packet.header.id) });
        };
        self.lanes.at(place).recycle(payload);
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
            let topic = self.lanes.at(place).info.topic.clone();
            self.differ(Difference {
                position: packet.position,
                id: packet.header.id.to_string(),
                topic,
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
                if let Some(place) = self.lanes.place(lane) {
                    player.seen.set(place, seq + 1);
                    self.trim(place);
                }
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
        let on = self.lanes.place(id.lane).ok_or_else(|| ReplayError::Mismatch {
            reason: format!("delivered packet {id} is on a lane the journal does not describe"),
        })?;
        let lane = self.lanes.at(on);
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
        player.seen.set(on, id.seq + 1);
        self.trim(on);
        Ok(outcome)
    }

    fn node(&self, index: usize) -> Result<&ComponentNode, ReplayError> {
        let found = self.topology.as_ref().and_then(|topology| topology.components.get(index));
        found.ok_or_else(|| ReplayError::Mismatch { reason: format!("there is no component number {index}") })
    }

    /// Forgets packets that every reader was given.
    fn trim(&mut self, place: usize) {
        let lane = self.lanes.at(place);
        let done = lane.readers.iter().map(|reader| self.players[*reader].seen.next(place)).min().unwrap_or(0);
        lane.trim(done);
    }

    /// Points a component's outputs at the lanes of the start that is being replayed.
    fn open_outputs(&mut self, index: usize, log: LaneId) -> Result<(), ReplayError> {
        let incarnation = log.incarnation;
        if self.players[index].incarnation == Some(incarnation) {
            return Ok(());
        }
        let node = self.node(index)?;
        let name = &node.settings.name.value;
        let mut outputs: Vec<(String, LaneInfo, MessageType)> = Vec::new();
        let mut opened: Vec<LaneInfo> = Vec::new();
        for (port, topic) in &node.settings.writes {
            let Some(output) = node.kind.writes.iter().find(|o| o.port == port) else {
                continue;
            };
            let is_it = |l: &&LaneInfo| {
                let is_effect = l.kind == LaneKind::Effect && l.id.incarnation == incarnation;
                is_effect && l.author == *name && l.topic == topic.value
            };
            let described = self.lanes.iter().map(|lane| &*lane.info).find(is_it);
            let known = described.or_else(|| opened.iter().find(is_it)).cloned();
            // A lane without a recorded packet is not in the journal, nor is its number: it gets one that nobody has.
            let info = known.unwrap_or_else(|| {
                let number = |lane| LaneId { lane, ..log };
                let is_free = |id: &LaneId| {
                    self.lanes.place(*id).is_none() && opened.iter().all(|lane: &LaneInfo| lane.id != *id)
                };
                LaneInfo {
                    id: (0..=u16::MAX).rev().map(number).find(is_free).unwrap_or(number(u16::MAX)),
                    topic: topic.value.clone(),
                    author: name.clone(),
                    message: output.message.full_name(),
                    kind: LaneKind::Effect,
                }
            });
            opened.push(info.clone());
            outputs.push((port.clone(), info, output.message));
        }
        for lane in opened {
            self.lanes.add(lane, self.catalogue, false);
        }
        let outputs = outputs.into_iter().map(|(port, info, message)| {
            let book = self.lanes.get(info.id).map_or_else(LaneBook::default, |lane| lane.book.clone());
            (port, Box::new(RepeatWriter { info, message, book }) as Box<dyn EffectWriter>)
        });
        let outputs = outputs.collect();
        self.players[index].outputs = outputs;
        self.players[index].incarnation = Some(incarnation);
        Ok(())
    }

    fn compare(&mut self, place: usize, packet: &StoredPacket) -> Result<(), ReplayError> {
        self.report.compared += 1;
        let made = self.lanes.at(place).book.take();
        let what = match &made {
            Some((header, payload)) if *header == packet.header && *payload == packet.payload => {
                self.report.equal += 1;
                return Ok(());
            }
            Some((header, _)) if *header != packet.header => "header",
            Some(_) => "payload",
            None => "missing",
        };
        let lane = self.lanes.at(place);
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

    pub(super) fn finish(mut self) -> Result<Resumption, ReplayError> {
        let made: BTreeMap<LaneId, VecDeque<(Header, Vec<u8>)>> =
            self.lanes.iter().map(|lane| (lane.info.id, lane.book.take_all())).collect();
        let lost: BTreeMap<_, _> = made.into_iter().filter(|(_, made)| !made.is_empty()).collect();
        let missing = lost.values().flatten().cloned();
        let mut missing: Vec<StoredPacket> =
            missing.map(|(header, payload)| StoredPacket { position: 0, header, payload }).collect();
        missing.sort_by_key(|p| (p.header.stamp, p.header.id));
        self.report.unrecorded += missing.len() as u64;
        self.newest = missing.last().map_or(self.newest, |last| self.newest.max(last.header.stamp));
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
        for lane in self.lanes.iter().filter(|lane| lane.recorded > 0) {
            *recorded.entry((lane.info.author.clone(), lane.info.topic.clone())).or_default() += lane.recorded;
        }
        let is_missing = |lane: &&PlayedLane| !lane.is_described && lost.contains_key(&lane.info.id);
        let missing_lanes = self.lanes.iter().filter(is_missing).map(|lane| (*lane.info).clone()).collect();
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
        let lanes = self.lanes.iter().enumerate();
        for (place, lane) in lanes.filter(|(_, lane)| reads.contains(lane.info.topic.as_str())) {
            let id = lane.info.id;
            let from = self.players[index].seen.next(place);
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
            for (header, bytes) in lost.get(&id).into_iter().flatten().filter(|(h, _)| h.id.seq >= from) {
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
