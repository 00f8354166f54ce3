//! The node's clock and its hybrid logical clock.

use std::hint::black_box;
use std::sync::{Arc, OnceLock};

use csf_core::port::{HlcClock, TimeSource};
use csf_core::{Stamp, TimeError};
use csf_time::{Hlc, Reference, SystemClock, TscClock};

use crate::payload::BATCH;

/// The node's clock, calibrated once, as components see it.
pub fn source() -> Arc<dyn TimeSource> {
    static CLOCK: OnceLock<Arc<SystemClock>> = OnceLock::new();
    CLOCK.get_or_init(|| SystemClock::detect().expect("this machine has a monotonic clock")).clone()
}

/// A hybrid logical clock over the node's clock, and a stamp of another node.
pub struct Clock {
    clock: Hlc,
    seen: Stamp,
}

/// A new clock.
pub fn clock() -> Clock {
    let mut other = Hlc::new(source(), 2);
    let seen = other.tick().expect("the clock reads");
    Clock { clock: Hlc::new(source(), 1), seen }
}

/// Gives out a stamp.
#[inline(always)]
pub fn tick(clock: &mut Clock) {
    black_box(clock.clock.tick().expect("the clock reads"));
}

/// Gives out [`BATCH`] stamps.
#[inline(always)]
pub fn tick_batch(clock: &mut Clock) {
    black_box(clock.clock.tick_batch(BATCH).expect("the clock reads"));
}

/// Takes a stamp of another node in.
#[inline(always)]
pub fn merge(clock: &mut Clock) {
    black_box(clock.clock.merge(clock.seen).expect("the stamp is near"));
}

/// Reads the node's clock after every earlier load, as `Instant` does.
#[inline(always)]
pub fn now(source: &mut Arc<dyn TimeSource>) {
    black_box(source.now_ns().expect("the clock reads"));
}

/// Reads it without a fence, as stamps do.
#[inline(always)]
pub fn now_unordered(source: &mut Arc<dyn TimeSource>) {
    black_box(source.now_ns_unordered().expect("the clock reads"));
}

/// The counter calibrated against the raw oscillator, so that its error is that of the calibration alone.
pub fn calibrated() -> Result<TscClock, TimeError> {
    TscClock::calibrate_against(Reference::Raw)
}
