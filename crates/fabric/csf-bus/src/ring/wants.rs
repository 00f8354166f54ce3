//! Which packets a reader takes, and what happens when it is too slow.

use std::sync::Arc;

use super::slot::SlotHeader;

/// What happens to a reader that is too slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It holds the producer back; nothing is lost.
    #[default]
    Block,
    /// It loses the oldest packets and is told how many.
    DropOldest,
    /// It keeps the oldest packets, beside the slots as many of each lane as the lane has slots, and loses newer ones until it has read;
    /// it is told how many. What the producer puts aside for it is moved, never cloned, and shared by all who want it.
    DropNewest,
    /// It sees only the newest packet of each lane.
    Conflate,
    /// It sees at most one packet of each lane in this many nanoseconds of their stamps, and loses the oldest when it is too slow.
    Sample {
        /// Least distance of two packets, nanoseconds.
        interval_ns: u64,
    },
}

impl Policy {
    pub(crate) fn is_lossy(self) -> bool {
        self != Self::Block
    }
}

/// A predicate over a packet where it lies: header, sequence, payload. The reader runs it on the packet it holds, and the producer on
/// packets that stand in its way.
pub(crate) type SlotFilter = dyn Fn(&SlotHeader, u64, *const u8) -> bool + Send + Sync;

/// What one reader asks of a ring.
#[derive(Clone)]
pub(crate) struct Wants {
    pub(crate) policy: Policy,
    /// Packets whose targets miss it are none of this reader's.
    pub(crate) mask: u64,
    pub(crate) filter: Option<Arc<SlotFilter>>,
    /// What the reader is called in reports.
    pub(crate) label: Arc<str>,
}

impl Wants {
    /// A test's reader.
    #[cfg(test)]
    pub(crate) fn of(policy: Policy, mask: u64) -> Self {
        Self { policy, mask, filter: None, label: "test".into() }
    }

    /// Whether the reader takes every packet.
    pub(crate) fn takes_all(&self) -> bool {
        self.mask == u64::MAX && self.filter.is_none()
    }

    /// Whether the producer may move the reader, so that it has to pin what it reads.
    pub(crate) fn is_movable(&self) -> bool {
        self.policy.is_lossy() || !self.takes_all()
    }

    /// # Safety
    /// `payload` is the payload of the packet with this header and sequence, and stays as it is during the call.
    #[inline]
    pub(crate) unsafe fn takes(&self, header: &SlotHeader, seq: u64, payload: *const u8) -> bool {
        header.targets & self.mask != 0 && self.filter.as_ref().is_none_or(|filter| filter(header, seq, payload))
    }
}
