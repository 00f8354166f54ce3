//! The bus's hot path, each operation in a function of its own: what `cargo xtask asm` disassembles and checks.
//!
//! Run: `cargo run --release --package csf-bus --example hot_path`. You will see that what was published arrived. The functions are not
//! inlined, so that their instructions are theirs alone; what they call of the bus is.
#![expect(clippy::print_stdout, reason = "an example")]

use std::hint::black_box;

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, Publisher, Subscriber, TopicSpec};
use csf_core::port::{HlcClock, LaneKind};
use csf_core::{Attributes, BusResult, Message, MessageId, Stamp, TimeResult};
use csf_time::Hlc;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One cache line of payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Line {
    words: [u64; 8],
}

impl Message for Line {
    const NAME: &'static str = "example.line";
    const VERSION: u16 = 1;
}

/// Routes and publishes one packet.
#[inline(never)]
fn publish(publisher: &mut Publisher<Line>, line: &Line) -> BusResult<MessageId> {
    publisher.try_publish(*line, Attributes::default())
}

/// Routes and publishes packets that become visible together.
#[inline(never)]
fn publish_batch(publisher: &mut Publisher<Line>, lines: &[Line]) -> usize {
    publisher.try_publish_batch(lines.iter().copied(), Attributes::default())
}

/// Receives one packet.
#[inline(never)]
fn poll(subscriber: &mut Subscriber<Line>) -> Option<u64> {
    subscriber.poll(|_, line| line.words[0])
}

/// Receives what is there.
#[inline(never)]
fn poll_batch(subscriber: &mut Subscriber<Line>, max: usize) -> u64 {
    let mut sum = 0;
    subscriber.poll_batch(max, |_, line| sum += line.words[0]);
    sum
}

/// Stamps one event.
#[inline(never)]
fn tick(hlc: &mut Hlc) -> TimeResult<Stamp> {
    hlc.tick()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = PhaseCoherenceBus::new(BusConfig::default());
    bus.declare(TopicSpec::new::<Line>("lines"))?;
    let mut subscriber = bus.subscriber::<Line>("lines", Interest::new().label("example"))?;
    let mut publisher = bus.publisher::<Line>("lines", "example", LaneKind::Source)?;
    let lines = black_box([1, 2, 3].map(|first| Line { words: [first; 8] }));
    let id = publish(&mut publisher, &lines[0])?;
    let count = publish_batch(&mut publisher, &lines[1..]);
    let first = poll(&mut subscriber).unwrap_or_default();
    let rest = poll_batch(&mut subscriber, black_box(16));
    println!("{id} and {count} more were published; {first} and {rest} arrived; stamped {}", tick(&mut bus.hlc())?);
    Ok(())
}
