//! A reader's place in a ring, as the producer sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;

use super::platform::{Platform, Word};
use super::spare::Spare;
use super::wants::{Policy, Wants};

/// Marks a position as being read. Sequences stay below 2^62.
pub(super) const PIN: u64 = 1 << 63;
/// Marks a reader that waits for the producer to say where it begins.
pub(super) const UNSETTLED: u64 = 1 << 62;

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

/// What readers have done with the packets they passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Handed out.
    pub(crate) delivered: u64,
    /// Lost to the policy.
    pub(crate) lost: u64,
    /// Not taken: addressed to others, or refused by the filter.
    pub(crate) rejected: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.rejected += other.rejected;
    }
}

/// A reader's place in a lane.
pub(crate) struct Cursor<P: Platform> {
    /// Next sequence to read, or the one being read with [`PIN`]. Written by the reader, except while [`UNSETTLED`].
    pub(super) position: CachePadded<P::Word>,
    /// Everything below is gone for this reader, or, with a spare, asked for. Written by the producer.
    pub(super) floor: CachePadded<P::Word>,
    /// First sequence of this reader. Written with `position` while [`UNSETTLED`].
    pub(super) start: P::Word,
    pub(super) is_fenced: P::Word,
    /// Written by the reader, when it happens.
    pub(super) lost: P::Word,
    /// As `lost`.
    pub(super) rejected: P::Word,
    /// What was put aside for a reader that drops the newest.
    pub(super) spare: Option<Box<Spare<P>>>,
    pub(super) wants: Wants,
    pub(super) bell: Arc<P::Bell>,
}

impl<P: Platform> Cursor<P> {
    /// `capacity` is the ring's.
    pub(super) fn new(position: u64, capacity: u64, wants: Wants, bell: Arc<P::Bell>) -> Self {
        Self {
            position: CachePadded::new(Word::new(position)),
            floor: CachePadded::new(Word::new(0)),
            start: Word::new(position & !UNSETTLED),
            is_fenced: Word::new(0),
            lost: Word::new(0),
            rejected: Word::new(0),
            spare: (wants.policy == Policy::DropNewest).then(|| Box::new(Spare::new(capacity))),
            wants,
            bell,
        }
    }

    /// What this reader has done so far.
    pub(super) fn totals(&self) -> Totals {
        let position = self.position.load(Ordering::Acquire) & !PIN;
        if position & UNSETTLED != 0 {
            return Totals::default();
        }
        let (lost, rejected) = (self.lost.load(Ordering::Relaxed), self.rejected.load(Ordering::Relaxed));
        let passed = position.saturating_sub(self.start.load(Ordering::Relaxed));
        let mut totals = Totals { delivered: passed.saturating_sub(lost + rejected), lost, rejected };
        // What the producer moved the reader over, which will count it when it looks.
        let moved = match &self.spare {
            Some(spare) => self.place(spare).0.saturating_sub(position + spare.len()),
            None => self.floor.load(Ordering::Relaxed).saturating_sub(position),
        };
        if self.wants.policy.is_lossy() {
            totals.lost += moved;
        } else {
            totals.rejected += moved;
        }
        totals
    }

    /// Everything below is behind this reader; `committed` while it waits to be told where it begins.
    pub(super) fn passed(&self, committed: u64) -> u64 {
        let position = self.position.load(Ordering::Acquire) & !PIN;
        if position & UNSETTLED != 0 { committed } else { position.max(self.floor.load(Ordering::Relaxed)) }
    }

    /// Packets that this reader has not passed.
    pub(super) fn lag(&self, committed: u64) -> u64 {
        let Some(spare) = &self.spare else { return committed.saturating_sub(self.passed(committed)) };
        let (place, _) = self.place(spare);
        spare.len() + committed.saturating_sub(place)
    }

    /// Where a reader with a spare is in the slots, and whether it holds the packet there. A pin below what was handed over is given up
    /// as soon as its reader looks at its floor.
    pub(super) fn place(&self, spare: &Spare<P>) -> (u64, bool) {
        let (position, handed) = (self.position.load(Ordering::Acquire), spare.handed());
        let at = position & !PIN;
        (at.max(handed), position & PIN != 0 && at >= handed)
    }

    /// Raises the floor of an unpinned reader; returns the position the producer must respect.
    pub(super) fn move_to(&self, floor: u64) -> u64 {
        self.floor.store(floor, Ordering::SeqCst);
        P::fence_heavy();
        let position = self.position.load(Ordering::Acquire);
        if position & PIN != 0 { position & !PIN } else { position.max(floor) }
    }
}
