//! Times: hybrid logical stamps, their three-part view, and measured times of foreign clocks.
//!
//! A stamp is 64 bits of nanoseconds since the Unix epoch (enough until 2554). Its distance ahead of the physical clock is the logical part.
//! Reference: Kulkarni et al., "Logical Physical Clocks" (2014).

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ClockDomain;

/// Hybrid logical time of an event on a node: nanoseconds, never repeated by one producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Before everything.
    pub const ZERO: Self = Self(0);

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Nanoseconds from `earlier` to here, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This stamp moved `nanos` into the future.
    #[must_use]
    pub const fn after(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A physical instant or span in nanoseconds (FAB-005).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NanoTime(u64);

impl NanoTime {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// As nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
}

impl Sub for NanoTime {
    type Output = Self;

    /// Saturates at zero: a span is never negative.
    fn sub(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for NanoTime {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(Self::from(span).0))
    }
}

impl From<Duration> for NanoTime {
    /// Saturates at `u64::MAX` (584 years).
    fn from(span: Duration) -> Self {
        Self(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// The API view of a stamp: physical nanoseconds, nanoseconds ahead of the clock, and the node. Ordered in that field order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogicalTime {
    /// Nanoseconds since the Unix epoch.
    pub physical: u64,
    /// Nanoseconds by which the stamp ran ahead of the physical clock when it was made.
    pub logical: u64,
    /// The node that made it.
    pub node_id: u16,
}

/// When something was measured, on the clock of whoever measured it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MeasuredAt {
    /// The clock.
    pub clock: ClockDomain,
    /// Nanoseconds on that clock.
    pub ns: u64,
}

impl MeasuredAt {
    /// `ns` on the clock domain `clock`.
    #[must_use]
    pub const fn new(clock: ClockDomain, ns: u64) -> Self {
        Self { clock, ns }
    }
}
