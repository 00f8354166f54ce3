//! The lanes of a journal as far as a replay has read them, found by their places.

use std::collections::VecDeque;
use std::sync::Arc;

use csf_core::port::{LaneInfo, StoredPacket};
use csf_core::{AnyPayload, Header, LaneId, MessageType};

use super::ReplayError;
use crate::Catalogue;
use crate::exec::LaneBook;

/// A lane as far as it was read.
pub(super) struct PlayedLane {
    pub(super) info: Arc<LaneInfo>,
    /// `None` when no pack brings it.
    message: Option<MessageType>,
    /// Decoded packets not yet delivered to all their readers.
    pub(super) window: VecDeque<(Header, AnyPayload)>,
    /// A payload that is read no more: the next one takes its place.
    spare: Option<AnyPayload>,
    /// Components that read it.
    pub(super) readers: Vec<usize>,
    /// Where it goes on.
    pub(super) end: u64,
    /// Packets of the source that writes it now; 0 for other lanes.
    pub(super) recorded: u64,
    /// Outputs made and not yet compared. Shared with their writer.
    pub(super) book: LaneBook,
    /// Whether the journal describes it.
    pub(super) is_described: bool,
}

impl PlayedLane {
    fn new(info: LaneInfo, catalogue: &Catalogue, is_described: bool) -> Self {
        Self {
            message: catalogue.messages.get(&info.message).copied(),
            info: Arc::new(info),
            window: VecDeque::new(),
            spare: None,
            readers: Vec::new(),
            end: 0,
            recorded: 0,
            book: LaneBook::default(),
            is_described,
        }
    }

    pub(super) fn message(&self) -> Result<MessageType, ReplayError> {
        self.message.ok_or_else(|| ReplayError::Mismatch {
            reason: format!("no pack brings the message type {} of topic `{}`", self.info.message, self.info.topic),
        })
    }

    pub(super) fn decode(&mut self, packet: &StoredPacket) -> Result<AnyPayload, ReplayError> {
        let mismatch = |e| ReplayError::Mismatch { reason: format!("packet {}: {e}", packet.header.id) };
        let message = self.message()?;
        (message.decode_into)(&packet.payload, &mut self.spare).map_err(mismatch)?;
        Ok(self.spare.take().expect("what was decoded is there"))
    }

    /// Forgets the packets before `seq`.
    pub(super) fn trim(&mut self, seq: u64) {
        while let Some((_, payload)) = self.window.pop_front_if(|(header, _)| header.id.seq < seq) {
            self.spare = Some(payload);
        }
    }

    /// Takes back what [`PlayedLane::decode`] gave.
    pub(super) fn recycle(&mut self, payload: AnyPayload) {
        self.spare = Some(payload);
    }
}

/// Every lane that the replay knows.
#[derive(Default)]
pub(super) struct PlayedLanes {
    lanes: Vec<PlayedLane>,
    /// Sorted.
    places: Vec<(u64, usize)>,
}

/// The three numbers of a lane as one, in the same order.
fn key(id: LaneId) -> u64 {
    u64::from(id.node) << 48 | u64::from(id.incarnation) << 16 | u64::from(id.lane)
}

impl PlayedLanes {
    /// The lanes that a journal describes.
    pub(super) fn new(described: Vec<LaneInfo>, catalogue: &Catalogue) -> Self {
        let mut lanes = Self::default();
        described.into_iter().for_each(|info| lanes.add(info, catalogue, true));
        lanes
    }

    /// Takes a lane in, unless it is known.
    pub(super) fn add(&mut self, info: LaneInfo, catalogue: &Catalogue, is_described: bool) {
        let key = key(info.id);
        if let Err(at) = self.places.binary_search_by_key(&key, |(key, _)| *key) {
            self.places.insert(at, (key, self.lanes.len()));
            self.lanes.push(PlayedLane::new(info, catalogue, is_described));
        }
    }

    /// Where a lane lies.
    pub(super) fn place(&self, id: LaneId) -> Option<usize> {
        let at = self.places.binary_search_by_key(&key(id), |(key, _)| *key).ok()?;
        Some(self.places[at].1)
    }

    pub(super) fn get(&self, id: LaneId) -> Option<&PlayedLane> {
        Some(&self.lanes[self.place(id)?])
    }

    pub(super) fn get_mut(&mut self, id: LaneId) -> Option<&mut PlayedLane> {
        let place = self.place(id)?;
        Some(&mut self.lanes[place])
    }

    pub(super) fn at(&mut self, place: usize) -> &mut PlayedLane {
        &mut self.lanes[place]
    }

    /// By place.
    pub(super) fn iter(&self) -> impl Iterator<Item = &PlayedLane> {
        self.lanes.iter()
    }

    /// By place.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut PlayedLane> {
        self.lanes.iter_mut()
    }
}
