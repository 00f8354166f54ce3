//! What the recorder has read of each lane and not written yet, and what of it forms a causally closed batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use csf_bus::LaneReader;
use csf_core::port::{Batch, LaneBatch, LaneInfo, LaneKind, StoredPacket};
use csf_core::{Header, LaneId, MessageId, MessageType, Stamp};

use super::BATCH;
use crate::Delivery;

/// Delivery lanes of each author's effects: several when its dispatcher was replaced.
type DeliveryLanes = BTreeMap<String, Vec<LaneId>>;

/// Every lane that the recorder knows, by its place.
pub(super) struct RecordedLanes {
    messages: BTreeMap<String, MessageType>,
    pub(super) delivery_of: DeliveryLanes,
    states: Vec<LaneState>,
    places: BTreeMap<LaneId, usize>,
    /// Of the subscription's lanes, by their numbers there: which lane it was when it was asked for last, and its place.
    numbered: Vec<Option<(LaneId, Option<usize>)>>,
}

/// How many packets of each lane a batch takes, by place.
pub(super) struct Cut(Vec<usize>);

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
    packet: Arc<StoredPacket>,
    /// What must be durable first, beside the lane's own order.
    needs: Option<MessageId>,
}

impl Cut {
    /// Packets of all lanes.
    pub(super) fn total(&self) -> usize {
        self.0.iter().sum()
    }
}

impl RecordedLanes {
    pub(super) fn new(messages: BTreeMap<String, MessageType>, delivery_of: DeliveryLanes) -> Self {
        Self { messages, delivery_of, states: Vec::new(), places: BTreeMap::new(), numbered: Vec::new() }
    }

    /// Whether something waits for its commit.
    pub(super) fn has_pending(&self) -> bool {
        self.states.iter().any(|state| !state.pending.is_empty())
    }

    /// One more delivery lane of an author's effects.
    pub(super) fn add_delivery_lane(&mut self, author: String, lane: LaneId) {
        let lanes = self.delivery_of.entry(author.clone()).or_default();
        if !lanes.contains(&lane) {
            lanes.push(lane);
        }
        let own = |state: &&mut LaneState| state.info.kind == LaneKind::Effect && state.info.author == author;
        self.states.iter_mut().filter(own).for_each(|state| state.delivery_lanes.clone_from(lanes));
    }

    /// Makes a lane known; answers its place, `None` when its type is not registered.
    pub(super) fn learn(&mut self, info: &LaneInfo) -> Option<usize> {
        if let Some(place) = self.places.get(&info.id) {
            return Some(*place);
        }
        let Some(message) = self.messages.get(&info.message) else {
            tracing::error!(lane = %info.id, message = %info.message, "lane of an unregistered message type is not recorded");
            return None;
        };
        let own = self.delivery_of.get(&info.author).filter(|_| info.kind == LaneKind::Effect);
        self.states.push(LaneState {
            info: Arc::new(info.clone()),
            announced: false,
            encode: message.encode,
            delivery_lanes: own.cloned().unwrap_or_default(),
            recorded: 0,
            pending: VecDeque::new(),
        });
        let place = self.states.len() - 1;
        self.places.insert(info.id, place);
        Some(place)
    }

    /// Copies what the subscription's `number`th lane holds now.
    pub(super) fn take(&mut self, number: usize, reader: &mut LaneReader) {
        let id = reader.info().id;
        let place = match self.numbered.get(number) {
            Some(Some((known, place))) if *known == id => *place,
            _ => {
                let place = self.learn(reader.info());
                if self.numbered.len() <= number {
                    self.numbered.resize(number + 1, None);
                }
                self.numbered[number] = Some((id, place));
                place
            }
        };
        if let Some(place) = place {
            self.states[place].take(reader);
        }
    }

    /// All that is pending, closed or not.
    pub(super) fn open_cut(&self) -> Cut {
        Cut(self.states.iter().map(LaneState::cut_at_most).collect())
    }

    /// How many pending packets of each lane form a causally closed set: the fix-point of removing what is not covered.
    pub(super) fn closed_cut(&self) -> Cut {
        let mut cut = self.open_cut();
        loop {
            let mut changed = false;
            for (place, state) in self.states.iter().enumerate() {
                let taken = cut.0[place];
                if taken == 0 {
                    continue;
                }
                if let Some(closed) = self.first_open(state, taken, &cut) {
                    cut.0[place] = closed;
                    changed = true;
                }
            }
            if !changed {
                return cut;
            }
        }
    }

    /// The first of a lane's `taken` packets that may not be in the batch.
    fn first_open(&self, state: &LaneState, taken: usize, cut: &Cut) -> Option<usize> {
        // First stamp of this lane's dispatchers that is not in the batch.
        let open = state.delivery_lanes.iter().filter_map(|lane| {
            let place = *self.places.get(lane)?;
            self.states[place].pending.get(cut.0[place]).map(|pending| pending.packet.header.stamp)
        });
        let open_from = open.min().unwrap_or(Stamp(u64::MAX));
        // Most packets of a lane need what is on the same lane as the need before.
        let mut known: Option<(LaneId, u64)> = None;
        state.pending.iter().take(taken).position(|pending| {
            let is_uncovered = pending.needs.is_some_and(|need| {
                let end = known.filter(|(lane, _)| *lane == need.lane).map(|(_, end)| end);
                let end = end.unwrap_or_else(|| self.covered_until(need.lane, cut));
                known = Some((need.lane, end));
                need.seq >= end
            });
            is_uncovered || pending.packet.header.stamp >= open_from
        })
    }

    /// The first number of a lane that is neither durable nor in the cut. All of earlier starts and of unknown lanes are.
    fn covered_until(&self, lane: LaneId, cut: &Cut) -> u64 {
        let place = self.places.get(&lane);
        place.map_or(u64::MAX, |place| self.states[*place].recorded + cut.0[*place] as u64)
    }

    /// Takes the cut out of what is pending, and numbers it from `position` on. What is sorted are the places of packets.
    pub(super) fn batch(&mut self, cut: &Cut, position: u64) -> Batch {
        let mut lanes = Vec::new();
        let mut packets: Vec<LaneBatch> = Vec::new();
        let mut order: Vec<(Stamp, bool, usize, usize)> = Vec::with_capacity(cut.total());
        for (state, count) in self.states.iter_mut().zip(&cut.0).filter(|(_, count)| **count > 0) {
            if !state.announced {
                lanes.push((*state.info).clone());
            }
            let is_delivery = state.info.kind == LaneKind::Delivery;
            let lane: Vec<Arc<StoredPacket>> = state.pending.drain(..*count).map(|p| p.packet).collect();
            order.extend((0..).zip(&lane).map(|(at, p)| (p.header.stamp, !is_delivery, packets.len(), at)));
            packets.push(LaneBatch { packets: lane });
        }
        order.sort_unstable();
        for (position, (_, _, lane, at)) in (position..).zip(order) {
            // Nobody else has it yet, unless a journal kept what it refused.
            Arc::make_mut(&mut packets[lane].packets[at]).position = position;
        }
        Batch { lanes, packets, appends: Vec::new() }
    }

    /// Returns the packets of a refused batch to the front of their lanes.
    pub(super) fn put_back(&mut self, batch: Batch) {
        for lane in batch.packets {
            let place = lane.packets.first().and_then(|first| self.places.get(&first.header.id.lane));
            let Some(state) = place.map(|place| &mut self.states[*place]) else { continue };
            for packet in lane.packets.into_iter().rev() {
                let delivery = (MessageType::of::<Delivery>().decode)(&packet.payload).ok();
                let needs = state.needs(&packet.header, delivery.as_ref().and_then(|d| d.downcast_ref()));
                state.pending.push_front(Pending { packet, needs });
            }
        }
    }

    /// Notes that a batch is durable; tells whose packets they are, lane by lane.
    pub(super) fn written(&mut self, batch: Batch, mut tell: impl FnMut(&Arc<LaneInfo>, Vec<Arc<StoredPacket>>)) {
        let place_of = |places: &BTreeMap<LaneId, usize>, id| places.get(&id).copied();
        for info in &batch.lanes {
            if let Some(place) = place_of(&self.places, info.id) {
                self.states[place].announced = true;
            }
        }
        for lane in batch.packets {
            let Some(last) = lane.packets.last().map(|last| last.header.id) else { continue };
            let Some(place) = place_of(&self.places, last.lane) else { continue };
            self.states[place].recorded = last.seq + 1;
            tell(&self.states[place].info, lane.packets);
        }
    }
}

impl LaneState {
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
            self.pending.push_back(Pending { packet: Arc::new(packet), needs });
            reader.advance();
        }
    }

    fn needs(&self, header: &Header, delivery: Option<&Delivery>) -> Option<MessageId> {
        if self.info.kind != LaneKind::Delivery {
            return header.cause;
        }
        delivery?.input.packet()
    }
}
