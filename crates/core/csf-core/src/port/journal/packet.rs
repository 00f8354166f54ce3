//! Packets as the journal holds them: in lanes, numbered by the log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Header, LaneId};

/// A packet as the journal holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPacket {
    /// Gap-free number within the node's journal, from 1.
    pub position: u64,
    /// Identity, time, cause.
    pub header: Header,
    /// Postcard form of the payload.
    pub payload: Vec<u8>,
}

/// Who writes what on a lane; stored before the lane's first packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneInfo {
    /// The lane.
    pub id: LaneId,
    /// Topic name.
    pub topic: String,
    /// Name of the component or service that writes it.
    pub author: String,
    /// Message type, `name@version`.
    pub message: String,
    /// What the lane is for.
    pub kind: LaneKind,
}

/// What a lane carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LaneKind {
    /// Packets of a service: inputs of the node.
    Source,
    /// Effects of a component: reproduced by replay.
    Effect,
    /// A dispatcher's delivery log.
    Delivery,
}

/// Packets of one lane, in sequence, without a gap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaneBatch {
    /// Ascending in sequence and position. Shared, so that who writes them and who tells of them copies none.
    pub packets: Vec<Arc<StoredPacket>>,
}

impl LaneBatch {
    /// Of these packets.
    #[must_use]
    pub fn of(packets: impl IntoIterator<Item = StoredPacket>) -> Self {
        Self { packets: packets.into_iter().map(Arc::new).collect() }
    }

    /// Adds one more.
    pub fn push(&mut self, packet: StoredPacket) {
        self.packets.push(Arc::new(packet));
    }
}

/// Which packets a scan wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// First position wanted.
    pub from_position: u64,
    /// Largest number of packets returned; 0 means none.
    pub limit: usize,
    /// Lanes wanted; empty means all.
    pub lanes: Vec<LaneId>,
}
