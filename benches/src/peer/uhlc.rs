//! uhlc: the hybrid logical clock of zenoh, one for all threads, over the wall clock.

use uhlc::{HLC, Timestamp};

/// A clock and a stamp of another node, for merging.
pub struct Clock {
    clock: HLC,
    seen: Timestamp,
}

/// A new clock.
pub fn clock() -> Clock {
    Clock { clock: HLC::default(), seen: HLC::default().new_timestamp() }
}

/// Gives out a stamp.
#[inline(always)]
pub fn tick(clock: &mut Clock) {
    std::hint::black_box(clock.clock.new_timestamp());
}

/// Takes a stamp of another node in.
#[inline(always)]
pub fn merge(clock: &mut Clock) {
    std::hint::black_box(clock.clock.update_with_timestamp(&clock.seen).is_ok());
}
