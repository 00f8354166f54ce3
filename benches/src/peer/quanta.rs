//! quanta: the counter, calibrated against the operating system's monotonic clock.

/// A clock and its first reading.
pub fn clock() -> (quanta::Clock, quanta::Instant) {
    let clock = quanta::Clock::new();
    let first = clock.now();
    (clock, first)
}

/// Nanoseconds since the first reading.
#[inline(always)]
pub fn elapsed_ns((clock, first): &(quanta::Clock, quanta::Instant)) -> u64 {
    (clock.now() - *first).as_nanos() as u64
}

/// Reads it.
#[inline(always)]
pub fn now(clock: &mut (quanta::Clock, quanta::Instant)) {
    std::hint::black_box(clock.0.now());
}
