//! A packet's targets against the masks of many subscribers.

use std::hint::black_box;

use csf_bus::{Instructions, Matcher};

/// Components a packet addresses: 4 of 64.
const TARGETS: u64 = 1 << 3 | 1 << 19 | 1 << 42 | 1 << 60;

/// Subscribers, each of one component, and room for the result.
pub struct Match {
    masks: Vec<u64>,
    found: Vec<u64>,
    matcher: Matcher,
}

/// `count` subscribers, matched with these instructions; `None` where the machine lacks them.
pub fn subscribers(count: usize, instructions: Instructions) -> Option<Match> {
    // Components come in no order, so that no branch is predicted by its place.
    let masks = (0..count as u64).map(|i| 1 << (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58)).collect();
    let matcher = Matcher::new(instructions)?;
    Some(Match { masks, found: vec![0; count.div_ceil(64)], matcher })
}

/// Visits every subscriber that the packet addresses.
pub fn visit(subscribers: &mut Match) {
    let Match { masks, found, matcher } = subscribers;
    matcher.visit(black_box(masks), black_box(TARGETS), found, |position| {
        black_box(position);
    });
}

/// The same by a loop over the masks, one at a time.
pub fn visit_by_loop(subscribers: &mut Match) {
    let targets = black_box(TARGETS);
    for (position, mask) in black_box(&*subscribers.masks).iter().enumerate() {
        if mask & targets != 0 {
            black_box(position);
        }
    }
}
