//! A reader's place in a ring, as the producer sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;

use super::platform::{Platform, Word};

/// Marks a position as being read. Sequences stay below 2^62.
pub(super) const PIN: u64 = 1 << 63;
/// Marks a reader that waits for the producer to say where it begins.
pub(super) const UNSETTLED: u64 = 1 << 62;

/// What happens to a reader that is too slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It holds the producer back; nothing is lost.
    #[default]
    Block,
    /// It loses the oldest packets and is told how many.
    DropOldest,
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

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next packet.
    Now,
    /// With up to this many packets the lane still holds (its `history` guarantees that many).
    Last(u64),
    /// With the oldest packet the lane still holds.
    Earliest,
}

/// A reader's place in a lane.
pub(crate) struct Cursor<P: Platform> {
    /// Next sequence to read, or the one being read with [`PIN`]. Written by the reader, except while [`UNSETTLED`].
    pub(super) position: CachePadded<P::Word>,
    /// Everything below is gone for this reader. Written by the producer.
    pub(super) floor: CachePadded<P::Word>,
    /// Packets whose targets miss it are none of this reader's.
    pub(super) mask: P::Word,
    pub(super) is_fenced: P::Word,
    pub(super) policy: Policy,
    pub(super) bell: Arc<P::Bell>,
}

impl<P: Platform> Cursor<P> {
    pub(super) fn new(position: u64, policy: Policy, mask: u64, bell: Arc<P::Bell>) -> Self {
        Self {
            position: CachePadded::new(Word::new(position)),
            floor: CachePadded::new(Word::new(0)),
            mask: Word::new(mask),
            is_fenced: Word::new(0),
            policy,
            bell,
        }
    }

    /// Whether the producer may move the reader, so that it has to pin what it reads.
    pub(super) fn is_movable(&self) -> bool {
        self.policy.is_lossy() || self.mask.load(Ordering::Relaxed) != u64::MAX
    }

    /// Raises the floor of an unpinned reader; returns the position the producer must respect.
    pub(super) fn move_to(&self, floor: u64) -> u64 {
        self.floor.store(floor, Ordering::SeqCst);
        P::fence_heavy();
        let position = self.position.load(Ordering::Acquire);
        if position & PIN != 0 { position & !PIN } else { position.max(floor) }
    }
}
