//! minstant: the counter, calibrated once at start.

/// The first reading.
pub fn first() -> minstant::Instant {
    minstant::Instant::now()
}

/// Nanoseconds since `first`.
#[inline(always)]
pub fn elapsed_ns(first: &minstant::Instant) -> u64 {
    first.elapsed().as_nanos() as u64
}

/// Reads it.
#[inline(always)]
pub fn now<S>(_state: &mut S) {
    std::hint::black_box(minstant::Instant::now());
}
