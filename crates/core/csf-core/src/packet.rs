//! What travels beside a payload: identity, time, cause, routing.

use serde::{Deserialize, Serialize};

use crate::{LaneId, MeasuredAt, MessageId, Stamp};

/// Queueing class; a later variant is served first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Bulk and background.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before normal traffic.
    High,
    /// Safety.
    Critical,
}

/// Every packet's header. The author is the lane's, so it is not repeated here.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Identity, derived from the slot.
    pub id: MessageId,
    /// Entry into the fabric, hybrid logical time.
    pub stamp: Stamp,
    /// When the content was measured, where that is known.
    pub measured_at: Option<MeasuredAt>,
    /// The packet whose handling produced this one; further causes are found through the delivery log.
    pub cause: Option<MessageId>,
    /// Queueing class.
    pub priority: Priority,
    /// Latest useful processing time.
    pub deadline: Option<Stamp>,
    /// One bit per addressed component; all ones addresses everyone.
    pub targets: u64,
}

impl Header {
    /// A header with no measured time, cause or deadline, addressed to everyone.
    #[must_use]
    pub const fn new(id: MessageId, stamp: Stamp) -> Self {
        Self {
            id,
            stamp,
            measured_at: None,
            cause: None,
            priority: Priority::Normal,
            deadline: None,
            targets: u64::MAX,
        }
    }

    /// The lane of this packet.
    #[must_use]
    pub const fn lane(&self) -> LaneId {
        self.id.lane
    }
}
