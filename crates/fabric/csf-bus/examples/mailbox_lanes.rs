//! What a lane of a mailbox costs: to open, to open again, to share, in time and in memory. The figures of ADR 5.
//!
//! `cargo run --release -p csf-bus --example mailbox_lanes`; one line per way, nanoseconds and bytes.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures time and says what it found")]

use std::hint::black_box;
use std::time::Instant;

use csf_bus::{BusConfig, MailboxSender, PhaseCoherenceBus, TopicError};
use csf_core::Attributes;

const LANES: usize = 10_000;
/// Slots of a lane: an actor's default.
const CAPACITY: usize = 1_024;

/// Of 64 bytes, as the messages of the benches.
type Value = [u64; 8];

/// Bytes of this process in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096
}

fn report(
    what: &str,
    count: usize,
    work: impl FnOnce() -> Result<Vec<MailboxSender<Value>>, TopicError>,
) -> Result<(), TopicError> {
    let (bytes, from) = (resident(), Instant::now());
    let senders = work()?;
    let ns = from.elapsed().as_nanos() / count as u128;
    println!("{what:<42} {ns:>8} ns {:>8} B", resident().saturating_sub(bytes) / count as u64);
    black_box(senders);
    Ok(())
}

fn main() -> Result<(), TopicError> {
    let bus = PhaseCoherenceBus::new(BusConfig::default());
    let (mut mailbox, sender) = bus.mailbox::<Value>("actor.a", CAPACITY)?;
    let plain = Attributes::default();
    report("a clone", LANES, || Ok((0..LANES).map(|_| sender.clone()).collect()))?;
    report("an own lane, new", LANES, || (0..LANES).map(|i| sender.own_lane(&format!("author {i}"))).collect())?;
    report("an own lane, new, one packet sent", LANES, || {
        (0..LANES)
            .map(|i| {
                let own = sender.own_lane(&format!("sending {i}"))?;
                let _ = own.try_send([0; 8], &plain, None);
                Ok(own)
            })
            .collect()
    })?;
    while mailbox.peek().is_some() {
        mailbox.advance();
    }
    let (_few, first) = bus.mailbox::<Value>("actor.b", CAPACITY)?;
    report("an own lane, used before", LANES, || {
        (0..LANES).try_for_each(|_| first.own_lane("author").map(drop)).map(|()| Vec::new())
    })?;
    report("a mailbox whose lanes were used before", LANES, || {
        (0..LANES).try_for_each(|_| bus.mailbox::<Value>("actor.c", CAPACITY).map(drop)).map(|()| Vec::new())
    })?;
    Ok(())
}
