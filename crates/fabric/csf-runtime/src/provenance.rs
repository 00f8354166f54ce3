//! Provenance: which packets and events made this one come about.
//!
//! An effect names the packet that triggered its handler, a service's packet and an event what led to it where they say so. The delivery log adds what the same component was given since its previous
//! output, because that shaped its state too. Joined recursively this is the causal ancestry of a packet, down to the sources.

use std::collections::{BTreeMap, BTreeSet};

use csf_core::port::{
    EventCause, Filter, JournalError, JournalReader, LaneInfo, LaneKind, Read, Scan, StoredEvent, StoredPacket,
};
use csf_core::{Header, LaneId, MessageId, Priority};
use serde::{Deserialize, Serialize};

use crate::runs::{Chapter, chapters};
use crate::{Catalogue, Delivery, Outcome};

/// Deliveries looked at backwards to find the previous output of a component.
const LOOK_BACK: usize = 2048;
/// Consumed packets listed per effect.
const MOST_CONSUMED: usize = 12;

/// How a cause relates to the effect above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// The packet asked about.
    Root,
    /// Its handler ran because of it.
    Trigger,
    /// Read by the same component since its previous output.
    Consumed,
    /// The newest of its lane that the component was given before that: its state may rest on it.
    Remembered,
    /// Caused by the packet above (in a trace forward).
    Effect,
}

/// A packet as people see it, or an event of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PacketView {
    /// `node.incarnation.lane-sequence`; `@position` of an event.
    pub id: String,
    /// Topic, or the event's stream.
    pub topic: String,
    /// Message type, `name@version`, or the event's type.
    #[serde(rename = "type")]
    pub message: String,
    /// Who published it.
    pub author: String,
    /// Hybrid logical time, nanoseconds since the Unix epoch, as text.
    pub stamp: String,
    /// When it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_at: Option<MeasuredView>,
    /// Until when it is of use, as `stamp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Its trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Queueing class.
    pub priority: csf_core::Priority,
    /// Position in the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Content.
    pub payload: serde_json::Value,
}

/// A measured time as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredView {
    /// Clock domain.
    pub clock: String,
    /// Nanoseconds on it, as text.
    pub ns: String,
}

impl PacketView {
    /// A stored packet with its payload decoded; `null` where that fails.
    #[must_use]
    pub fn of(lane: &LaneInfo, packet: &StoredPacket, catalogue: &Catalogue) -> Self {
        let message = catalogue.messages.get(&lane.message);
        let payload = message
            .and_then(|m| (m.decode)(&packet.payload).and_then(|v| (m.to_json)(v.as_ref())).ok())
            .unwrap_or(serde_json::Value::Null);
        let header = &packet.header;
        Self {
            id: header.id.to_string(),
            topic: lane.topic.clone(),
            message: lane.message.clone(),
            author: lane.author.clone(),
            stamp: header.stamp.to_string(),
            measured_at: header
                .measured_at
                .as_ref()
                .map(|m| MeasuredView { clock: m.clock.to_string(), ns: m.ns.to_string() }),
            deadline: header.deadline.map(|deadline| deadline.to_string()),
            cause: header.cause.map(|c| c.to_string()),
            priority: header.priority,
            position: (packet.position > 0).then_some(packet.position),
            payload,
        }
    }

    fn of_event(event: StoredEvent) -> Self {
        Self {
            id: EventCause::Event(event.position).to_string(),
            topic: event.stream,
            message: event.kind,
            author: event.origin.author.unwrap_or_default(),
            stamp: event.stamp.to_string(),
            measured_at: None,
            deadline: None,
            cause: event.origin.cause.map(|cause| cause.to_string()),
            priority: Priority::Normal,
            position: Some(event.position),
            payload: event.data.parse().unwrap_or(serde_json::Value::Null),
        }
    }
}

/// A packet with its causes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyNode {
    /// The packet.
    pub packet: PacketView,
    /// How it relates to the effect above.
    pub relation: Relation,
    /// The effect's stamp minus this one's; 0 at the root.
    pub elapsed_ns: u64,
    /// Causes left out by depth or count.
    pub truncated: u64,
    /// Trigger first, then what was consumed, then what is remembered, each newest first.
    pub causes: Vec<WhyNode>,
}

/// Answers questions about one journal.
pub struct Provenance<'a> {
    reader: &'a mut dyn JournalReader,
    catalogue: &'a Catalogue,
    lanes: BTreeMap<LaneId, LaneInfo>,
    chapters: Vec<Chapter>,
}

impl<'a> Provenance<'a> {
    /// # Errors
    /// When the journal cannot be read.
    pub fn new(reader: &'a mut dyn JournalReader, catalogue: &'a Catalogue) -> Result<Self, JournalError> {
        let lanes = reader.lanes()?.into_iter().map(|l| (l.id, l)).collect();
        let chapters = chapters(reader)?;
        Ok(Self { reader, catalogue, lanes, chapters })
    }

    /// The component that a delivery at `position` was for.
    fn component(&self, number: u16, position: u64) -> Option<&str> {
        let at = self.chapters.partition_point(|chapter| chapter.position < position);
        self.chapters[..at].last()?.components.get(&number).map(String::as_str)
    }

    /// One packet, or `None` when it is not in the journal.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn packet(&mut self, id: MessageId) -> Result<Option<PacketView>, JournalError> {
        let Some(lane) = self.lanes.get(&id.lane) else {
            return Ok(None);
        };
        Ok(self.reader.packet(id)?.map(|p| PacketView::of(lane, &p, self.catalogue)))
    }

    /// The newest packet of a topic; `None` when the journal holds none.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn newest(&mut self, topic: &str) -> Result<Option<MessageId>, JournalError> {
        let mut newest: Option<Header> = None;
        for lane in self.lanes.values().filter(|l| l.topic == topic) {
            let last = self.reader.lane_tail(lane.id, 1)?.pop().map(|p| p.header);
            if last.as_ref().map(|h| h.stamp) > newest.as_ref().map(|h| h.stamp) {
                newest = last;
            }
        }
        Ok(newest.map(|h| h.id))
    }

    /// The causal ancestry of a packet or an event to `depth` generations; `None` when it is not in the journal.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn why(&mut self, of: impl Into<EventCause>, depth: usize) -> Result<Option<WhyNode>, JournalError> {
        self.either(of.into(), Relation::Root, None, depth, &mut BTreeSet::new())
    }

    fn either(
        &mut self,
        of: EventCause,
        relation: Relation,
        effect_stamp: Option<u64>,
        depth: usize,
        seen: &mut BTreeSet<MessageId>,
    ) -> Result<Option<WhyNode>, JournalError> {
        match of {
            EventCause::Packet(id) => self.node(id, relation, effect_stamp, depth, seen),
            EventCause::Event(position) => self.event_node(position, relation, effect_stamp, depth, seen),
        }
    }

    fn event_node(
        &mut self,
        position: u64,
        relation: Relation,
        effect_stamp: Option<u64>,
        depth: usize,
        seen: &mut BTreeSet<MessageId>,
    ) -> Result<Option<WhyNode>, JournalError> {
        let mut page = self.reader.read(&Read::log(Filter::all()).from(position).limit(1))?;
        let Some(event) = page.events.pop().filter(|event| event.position == position) else { return Ok(None) };
        let (stamp, cause) = (event.stamp.0, event.origin.cause);
        let elapsed_ns = effect_stamp.map_or(0, |effect| effect.saturating_sub(stamp));
        let packet = PacketView::of_event(event);
        let mut node = WhyNode { packet, relation, elapsed_ns, truncated: 0, causes: Vec::new() };
        match cause {
            Some(_) if depth == 0 => node.truncated = 1,
            Some(cause) => node.causes.extend(self.either(cause, Relation::Trigger, Some(stamp), depth - 1, seen)?),
            None => {}
        }
        Ok(Some(node))
    }

    fn node(
        &mut self,
        id: MessageId,
        relation: Relation,
        effect_stamp: Option<u64>,
        depth: usize,
        seen: &mut BTreeSet<MessageId>,
    ) -> Result<Option<WhyNode>, JournalError> {
        let Some(lane) = self.lanes.get(&id.lane).cloned() else {
            return Ok(None);
        };
        let Some(packet) = self.reader.packet(id)? else {
            return Ok(None);
        };
        let stamp = packet.header.stamp.0;
        let mut node = WhyNode {
            packet: PacketView::of(&lane, &packet, self.catalogue),
            relation,
            elapsed_ns: effect_stamp.map_or(0, |e| e.saturating_sub(stamp)),
            truncated: 0,
            causes: Vec::new(),
        };
        let first_visit = seen.insert(id);
        if lane.kind == LaneKind::Delivery || !first_visit || relation == Relation::Remembered {
            return Ok(Some(node));
        }
        let mut causes = match lane.kind {
            LaneKind::Effect => self.causes(&lane, &packet)?,
            // No delivery log says what a service was given.
            _ => packet.header.cause.map(|cause| (cause, Relation::Trigger)).into_iter().collect(),
        };
        if lane.kind == LaneKind::Effect && relation != Relation::Consumed {
            let remembered = self.remembered(&lane, &packet, &causes)?;
            causes.extend(remembered.into_iter().map(|id| (id, Relation::Remembered)));
        }
        if depth == 0 {
            node.truncated = causes.len() as u64;
            return Ok(Some(node));
        }
        let mut consumed = 0;
        for (cause, relation) in &causes {
            consumed += usize::from(*relation == Relation::Consumed);
            if *relation == Relation::Consumed && consumed > MOST_CONSUMED {
                node.truncated += 1;
                continue;
            }
            if let Some(cause) = self.node(*cause, *relation, Some(stamp), depth - 1, seen)? {
                node.causes.push(cause);
            }
        }
        Ok(Some(node))
    }

    /// Trigger first, then what the component was given since its previous output on any lane, newest first.
    fn causes(&mut self, lane: &LaneInfo, packet: &StoredPacket) -> Result<Vec<(MessageId, Relation)>, JournalError> {
        let trigger = packet.header.cause;
        let mut causes: Vec<(MessageId, Relation)> = trigger.map(|t| (t, Relation::Trigger)).into_iter().collect();
        let previous = self.previous_output(lane, packet)?;
        let given = self.given(lane, packet, previous)?;
        causes.extend(given.into_iter().filter(|id| Some(*id) != trigger).map(|id| (id, Relation::Consumed)));
        Ok(causes)
    }

    /// The newest packet of each further lane that the component was given earlier: its state may rest on it.
    fn remembered(
        &mut self,
        lane: &LaneInfo,
        packet: &StoredPacket,
        causes: &[(MessageId, Relation)],
    ) -> Result<Vec<MessageId>, JournalError> {
        let mut lanes: BTreeSet<LaneId> = causes.iter().map(|(id, _)| id.lane).collect();
        let given = self.given(lane, packet, 0)?;
        Ok(given.into_iter().filter(|id| lanes.insert(id.lane)).collect())
    }

    /// What the component that wrote the packet was given after a position, newest first, as far as we look back.
    fn given(&mut self, lane: &LaneInfo, packet: &StoredPacket, after: u64) -> Result<Vec<MessageId>, JournalError> {
        let logs: Vec<LaneId> = self
            .lanes
            .values()
            .filter(|l| l.kind == LaneKind::Delivery && l.id.incarnation == lane.id.incarnation)
            .map(|l| l.id)
            .collect();
        let from = packet.position.saturating_sub(16 * LOOK_BACK as u64).max(after);
        let deliveries = self.reader.scan(&Scan { from_position: from + 1, limit: 16 * LOOK_BACK, lanes: logs })?;
        let earlier = deliveries.iter().rev().filter(|d| d.position < packet.position);
        let own = earlier.filter_map(|d| {
            let delivery = self.delivery(d)?;
            // Its state does not rest on what it failed on.
            let is_part = !matches!(delivery.outcome, Outcome::Failed | Outcome::Skipped);
            (is_part && self.component(delivery.component, d.position)? == lane.author).then_some(delivery)
        });
        Ok(own.filter_map(|d| d.input.packet()).collect())
    }

    /// Position of the component's newest earlier output, or of its trigger's own delivery's predecessor when there is none.
    fn previous_output(&mut self, lane: &LaneInfo, packet: &StoredPacket) -> Result<u64, JournalError> {
        let own: Vec<LaneId> = self
            .lanes
            .values()
            .filter(|l| {
                l.author == lane.author && l.kind == LaneKind::Effect && l.id.incarnation == lane.id.incarnation
            })
            .map(|l| l.id)
            .collect();
        let mut newest = 0;
        for id in own {
            let earlier = if id == packet.header.id.lane && packet.header.id.seq > 0 {
                self.reader.packet(id.message(packet.header.id.seq - 1))?
            } else {
                None
            };
            if let Some(earlier) = earlier.filter(|e| e.position < packet.position) {
                newest = newest.max(earlier.position);
            }
        }
        Ok(newest)
    }

    fn delivery(&self, packet: &StoredPacket) -> Option<Delivery> {
        let lane = self.lanes.get(&packet.header.id.lane)?;
        let message = self.catalogue.messages.get(&lane.message)?;
        (message.decode)(&packet.payload).ok()?.downcast::<Delivery>().ok().map(|d| *d)
    }

    /// What this packet or event caused, to `depth` generations, at most `limit` packets and as many events per generation.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn effects(
        &mut self,
        of: impl Into<EventCause>,
        depth: usize,
        limit: usize,
    ) -> Result<Vec<WhyNode>, JournalError> {
        let of = of.into();
        let (position, stamp) = match of {
            EventCause::Packet(id) => match self.reader.packet(id)? {
                Some(packet) => (packet.position, packet.header.stamp),
                None => return Ok(Vec::new()),
            },
            EventCause::Event(position) => {
                let page = self.reader.read(&Read::log(Filter::all()).from(position).limit(1))?;
                let Some(event) = page.events.first() else { return Ok(Vec::new()) };
                (position, event.stamp)
            }
        };
        if depth == 0 {
            return Ok(Vec::new());
        }
        let mut direct: Vec<(EventCause, u64, PacketView)> = Vec::new();
        if let EventCause::Packet(id) = of {
            let lanes = self.lanes.values().filter(|l| l.kind != LaneKind::Delivery).map(|l| l.id).collect();
            let scan = Scan { from_position: position + 1, limit: LOOK_BACK, lanes };
            let packets = self.reader.scan(&scan)?.into_iter().filter(|p| p.header.cause == Some(id)).take(limit);
            for packet in packets {
                let Some(lane) = self.lanes.get(&packet.header.id.lane) else { continue };
                let view = PacketView::of(lane, &packet, self.catalogue);
                direct.push((packet.header.id.into(), packet.header.stamp.since(stamp), view));
            }
        }
        let page = self.reader.read(&Read::log(Filter::all()).from(position + 1).limit(LOOK_BACK))?;
        for event in page.events.into_iter().filter(|event| event.origin.cause == Some(of)).take(limit) {
            let elapsed_ns = event.stamp.since(stamp);
            direct.push((EventCause::Event(event.position), elapsed_ns, PacketView::of_event(event)));
        }
        let mut nodes = Vec::new();
        for (effect, elapsed_ns, packet) in direct {
            let causes = self.effects(effect, depth - 1, limit)?;
            nodes.push(WhyNode { packet, relation: Relation::Effect, elapsed_ns, truncated: 0, causes });
        }
        Ok(nodes)
    }
}
