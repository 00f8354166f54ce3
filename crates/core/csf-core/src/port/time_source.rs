//! Time as a port (FAB-040). Only `csf-time` implements it over a real clock.

use std::any::Any;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{LogicalTime, NanoTime, QuantumOffset, Stamp, TimeResult};

/// A named point in time, made by [`TimeSource::create_checkpoint`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeCheckpoint {
    /// The caller's name for it.
    pub name: String,
    /// Physical time, nanoseconds since the Unix epoch.
    pub time: NanoTime,
    /// Counts the checkpoints of one source, from 0.
    pub sequence: u64,
}

/// Where physical time comes from. A simulated source replays identically.
pub trait TimeSource: Send + Sync {
    /// Nanoseconds since the Unix epoch. Never goes backwards on one source, also between threads that hand readings over.
    ///
    /// # Errors
    /// [`crate::TimeError::Unavailable`] when the clock cannot be read.
    fn now_ns(&self) -> TimeResult<NanoTime>;

    /// [`TimeSource::now_ns`] without its order between threads: the reading may have been taken a moment before the caller saw what
    /// another thread did. For stamps, which get that order by merging the stamps they follow.
    ///
    /// # Errors
    /// As [`TimeSource::now_ns`].
    fn now_ns_unordered(&self) -> TimeResult<NanoTime> {
        self.now_ns()
    }

    /// The source by its type, for clocks that read one they know without an indirect call.
    fn into_any(self: Arc<Self>) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }

    /// Fitted periodic component of the node's dominant stream; zero when nothing is fitted.
    fn quantum_offset(&self) -> QuantumOffset {
        QuantumOffset::default()
    }

    /// Whether a calibrated hardware counter is behind [`TimeSource::now_ns`].
    fn has_hardware_timing(&self) -> bool;

    /// Names the present moment.
    ///
    /// # Errors
    /// As [`TimeSource::now_ns`].
    fn create_checkpoint(&self, name: &str) -> TimeResult<TimeCheckpoint>;

    /// True when time and sequence both advance from `from` to `to`.
    fn validate_coherence(&self, from: &TimeCheckpoint, to: &TimeCheckpoint) -> bool {
        from.time <= to.time && from.sequence < to.sequence
    }
}

/// A hybrid logical clock (FAB-043). One per producer: there is no shared clock word.
pub trait HlcClock: Send {
    /// A stamp greater than every stamp seen before: `max(now, last + 1)`.
    ///
    /// # Errors
    /// When the time source fails.
    fn tick(&mut self) -> TimeResult<Stamp>;

    /// A stamp after both this clock and `seen`: `max(now, last, seen) + 1`.
    ///
    /// # Errors
    /// [`crate::TimeError::OffsetExceeded`], and the clock did not move.
    fn merge(&mut self, seen: Stamp) -> TimeResult<Stamp>;

    /// The newest stamp given out.
    fn last(&self) -> Stamp;

    /// The three-part view of the newest stamp.
    fn logical_time(&self) -> LogicalTime;
}
