//! The match of a packet's targets against the masks of 4,096 subscribers, by vector instructions and by a plain loop.

use std::hint::black_box;

use csf_bus::{Instructions, Matcher};

use super::experiment::{Effort, Samples};
use super::stopwatch::Stopwatch;

/// Names of the sides.
pub(super) const BEST: &str = "csf-bus, best instructions";
pub(super) const LOOP: &str = "scalar loop";
pub(super) const MASKS: &str = "reading the masks";

/// Subscribers, each of one of 64 components.
const SUBSCRIBERS: u64 = 4_096;
/// Components that the packet addresses: 4 of 64.
const TARGETS: u64 = 1 << 3 | 1 << 19 | 1 << 42 | 1 << 60;
/// Matches in a sample, and samples of a full round.
const MATCHES: u64 = 32;
const SAMPLES: u64 = 1_000;

/// Components in no order, so that no branch is predicted by its place.
fn masks() -> Vec<u64> {
    (0..SUBSCRIBERS).map(|index| 1 << (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58)).collect()
}

/// Positions that the definition of a match finds.
fn expected(masks: &[u64]) -> u64 {
    (0..).zip(masks).filter(|(_, mask)| *mask & TARGETS != 0).map(|(position, _): (u64, _)| position).sum()
}

fn timed(effort: Effort, mut visit: impl FnMut(&[u64]) -> u64) -> Result<Samples, String> {
    let (clock, masks) = (Stopwatch::get()?, masks());
    let expected = expected(&masks);
    if visit(&masks) != expected {
        return Err("it found other subscribers than the definition does".to_owned());
    }
    Ok(clock.repeated(effort.of(SAMPLES, 50), MATCHES, || _ = black_box(visit(black_box(&masks)))))
}

/// The best instructions of this machine, as the bus chooses them. What they are is for [`instructions`] to say.
pub(super) fn best(effort: Effort) -> Result<Samples, String> {
    let matcher = Matcher::default();
    if matcher.instructions() == Instructions::Scalar {
        return Err("this machine has no vector instructions that the bus knows".to_owned());
    }
    let mut found = vec![0; SUBSCRIBERS.div_ceil(64) as usize];
    timed(effort, move |masks| {
        let mut sum = 0;
        matcher.visit(masks, black_box(TARGETS), &mut found, |position| sum += position as u64);
        sum
    })
}

/// A loop over the masks, one at a time.
pub(super) fn scalar_loop(effort: Effort) -> Result<Samples, String> {
    timed(effort, |masks| {
        let targets = black_box(TARGETS);
        let mut sum = 0;
        for (position, mask) in (0u64..).zip(masks) {
            if mask & targets != 0 {
                sum += black_box(position);
            }
        }
        sum
    })
}

/// The floor: every mask read once.
pub(super) fn reading(effort: Effort) -> Result<Samples, String> {
    let (clock, masks) = (Stopwatch::get()?, masks());
    let read = || _ = black_box(black_box(&masks).iter().fold(0, |all, mask| all | mask));
    Ok(clock.repeated(effort.of(SAMPLES, 50), MATCHES, read))
}

/// What the bus matches with here.
pub(super) fn instructions() -> String {
    format!("{:?}", Matcher::default().instructions())
}
