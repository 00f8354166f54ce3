//! Hybrid logical clock: stamps that respect causality without synchronised clocks.
//!
//! A stamp is 64 bits of nanoseconds; its distance ahead of the physical clock is the logical part, so a logical part that grows
//! carries into the physical one and never wraps. One clock per producer: no word is shared between threads.
//! The clock is read without its order between threads ([`TimeSource::now_ns_unordered`], half the price): what an event follows it
//! follows because it merged or observed that stamp, never because it read the clock later. Who hands work over outside the
//! fabric hands the stamp over too.
//! Invariant: `tick` and `merge` return a stamp greater than every stamp this clock has given out or seen.
//! Reference: Kulkarni et al., "Logical Physical Clocks" (2014), figure 5 for the send and receive rules.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::SystemClock;
use csf_core::port::{HlcClock, TimeSource};
use csf_core::{LogicalTime, NanoTime, NodeId, Stamp, TimeError, TimeResult};

/// How far ahead of this node's clock a remote stamp may be, unless configured: what machines without any synchronisation
/// service stay within for hours, and small against a lease or a deadline of seconds.
pub const MAX_OFFSET_NS_DEFAULT: u64 = 500_000_000;

/// The specification's name of [`Hlc`] (FAB-043).
pub type HlcClockImpl = Hlc;

/// A hybrid logical clock over a time source.
#[derive(Clone)]
pub struct Hlc {
    source: Arc<dyn TimeSource>,
    /// The same, where it is the machine's clock: read without an indirect call.
    system: Option<Arc<SystemClock>>,
    node_id: NodeId,
    last: Stamp,
    /// Physical time when `last` was made or seen; for the three-part view.
    physical_ns: u64,
    max_offset_ns: u64,
}

impl Hlc {
    /// A clock of `node_id` that has seen nothing yet.
    #[must_use]
    pub fn new(source: Arc<dyn TimeSource>, node_id: NodeId) -> Self {
        let system = source.clone().into_any().and_then(|source| source.downcast().ok());
        Self { source, system, node_id, last: Stamp::ZERO, physical_ns: 0, max_offset_ns: MAX_OFFSET_NS_DEFAULT }
    }

    /// Refuses remote stamps more than this ahead of the physical clock.
    #[must_use]
    pub fn with_max_offset(mut self, max_offset: Duration) -> Self {
        self.max_offset_ns = NanoTime::from(max_offset).as_nanos();
        self
    }

    /// Gives out only stamps after `bound`: after a restart, the newest stamp that the last run can have given out.
    #[must_use]
    pub fn not_before(mut self, bound: Stamp) -> Self {
        self.observe(bound);
        self
    }

    #[inline(always)]
    fn read_unordered(&self) -> TimeResult<NanoTime> {
        if let Some(system) = &self.system
            && let Some(ns) = system.quick_unordered()
        {
            return Ok(NanoTime::from_nanos(ns));
        }
        self.read_slowly()
    }

    #[cold]
    fn read_slowly(&self) -> TimeResult<NanoTime> {
        self.source.now_ns_unordered()
    }

    /// The stamp of an outgoing message: the send rule is the local rule.
    ///
    /// # Errors
    /// As [`HlcClock::tick`].
    pub fn send(&mut self) -> TimeResult<Stamp> {
        self.tick()
    }

    /// A stamp not before `floor`: `max(now, last + 1, floor)`. The floor is this node's own and is not checked against the clock.
    ///
    /// # Errors
    /// When the time source fails.
    pub fn tick_at(&mut self, floor: Stamp) -> TimeResult<Stamp> {
        let physical = self.read_unordered()?;
        self.give(physical, floor.as_nanos())
    }

    /// A stamp by a reading taken before, for a batch that shares one: `max(physical, last + 1)`.
    ///
    /// # Errors
    /// [`TimeError::Unavailable`] at the end of 64-bit time.
    #[inline]
    pub fn tick_with(&mut self, physical: NanoTime) -> TimeResult<Stamp> {
        self.give(physical, 0)
    }

    /// The first of `count` consecutive stamps by one reading: `max(now, last + 1)` and the `count - 1` that follow it belong to
    /// the caller, as if it had ticked `count` times while the clock stood. An empty batch takes nothing.
    ///
    /// # Errors
    /// When the time source fails; [`TimeError::Unavailable`] when the batch would pass the end of 64-bit time. The clock did
    /// not move.
    #[inline]
    pub fn tick_batch(&mut self, count: u64) -> TimeResult<Stamp> {
        let physical_ns = self.read_unordered()?.as_nanos();
        let next = self.last.as_nanos().checked_add(1).ok_or_else(exhausted)?;
        let first = physical_ns.max(next);
        if let Some(more) = count.checked_sub(1) {
            self.last = Stamp(first.checked_add(more).ok_or_else(exhausted)?);
            self.physical_ns = physical_ns;
        }
        Ok(Stamp(first))
    }

    /// Makes every later stamp greater than `seen`, without reading the clock. For stamps of this node, which need no offset check.
    #[inline]
    pub fn observe(&mut self, seen: Stamp) {
        self.last = self.last.max(seen);
    }

    /// The time a stamp would have now; the clock does not move.
    ///
    /// # Errors
    /// When the time source fails.
    pub fn now(&self) -> TimeResult<LogicalTime> {
        let physical = self.source.now_ns()?.as_nanos();
        Ok(self.view(self.last.as_nanos().max(physical), physical))
    }

    /// Nanoseconds by which the newest stamp is ahead of the physical clock.
    ///
    /// # Errors
    /// [`TimeError::OffsetExceeded`] when that is more than the allowed offset, for instance after the restart bound of a node
    /// whose clock was set back.
    pub fn check_drift(&self) -> TimeResult<u64> {
        let physical = self.source.now_ns()?.as_nanos();
        self.within_offset(self.last, physical)
    }

    /// The node whose stamps these are.
    #[must_use]
    pub const fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// How far ahead of the physical clock a remote stamp may be, nanoseconds.
    #[must_use]
    pub const fn max_offset_ns(&self) -> u64 {
        self.max_offset_ns
    }

    /// The source behind this clock.
    #[must_use]
    pub fn time_source(&self) -> &Arc<dyn TimeSource> {
        &self.source
    }

    #[inline(always)]
    fn give(&mut self, physical: NanoTime, floor: u64) -> TimeResult<Stamp> {
        let next = self.last.as_nanos().checked_add(1).ok_or_else(exhausted)?;
        self.physical_ns = physical.as_nanos();
        self.last = Stamp(self.physical_ns.max(next).max(floor));
        Ok(self.last)
    }

    fn within_offset(&self, stamp: Stamp, physical_ns: u64) -> TimeResult<u64> {
        let ahead_ns = stamp.as_nanos().saturating_sub(physical_ns);
        if ahead_ns > self.max_offset_ns {
            return Err(TimeError::OffsetExceeded {
                remote_ns: stamp.as_nanos(),
                ahead_ns,
                max_offset_ns: self.max_offset_ns,
            });
        }
        Ok(ahead_ns)
    }

    /// The stamp itself comes first, so that the order of views is the order of stamps, also between nodes.
    fn view(&self, stamp_ns: u64, physical_ns: u64) -> LogicalTime {
        LogicalTime { physical: stamp_ns, logical: stamp_ns.saturating_sub(physical_ns), node_id: self.node_id }
    }
}

#[cold]
fn exhausted() -> TimeError {
    TimeError::Unavailable {
        reason: "64-bit time ends in 2554 and a stamp there was seen; check the sender's clock".into(),
    }
}

impl HlcClock for Hlc {
    #[inline(always)]
    fn tick(&mut self) -> TimeResult<Stamp> {
        let physical = self.read_unordered()?;
        self.give(physical, 0)
    }

    fn merge(&mut self, seen: Stamp) -> TimeResult<Stamp> {
        let physical = self.read_unordered()?;
        self.within_offset(seen, physical.as_nanos())?;
        let latest = physical.as_nanos().max(self.last.as_nanos()).max(seen.as_nanos());
        let stamp = latest.checked_add(1).ok_or_else(exhausted)?;
        self.physical_ns = physical.as_nanos();
        self.last = Stamp(stamp);
        Ok(self.last)
    }

    fn last(&self) -> Stamp {
        self.last
    }

    fn logical_time(&self) -> LogicalTime {
        self.view(self.last.as_nanos(), self.physical_ns)
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hlc")
            .field("node_id", &self.node_id)
            .field("last", &self.last)
            .field("max_offset_ns", &self.max_offset_ns)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "hlc/tests.rs"]
mod tests;
