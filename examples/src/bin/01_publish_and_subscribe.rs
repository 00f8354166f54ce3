//! Publishing and subscribing inside a process: by reference, with a stamp and an id on every packet.
//!
//! Run it: `cargo run -p csf-examples --bin 01_publish_and_subscribe`. You will see:
//!
//! > 21.5 °C on room.temperature, packet 1.1.0-0
//! > a late reader still gets the last value: 23.0 °C
#![expect(clippy::print_stdout, reason = "an example talks")]

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, Start, TopicSpec};
use csf_core::port::LaneKind;
use csf_core::{Attributes, Message};
use csf_time::SystemClock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Temperature {
    celsius: f64,
}

impl Message for Temperature {
    const NAME: &'static str = "room.temperature";
    const VERSION: u16 = 1;
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = SystemClock::detect()?;
    let bus = PhaseCoherenceBus::new(BusConfig::new(clock));
    bus.declare(TopicSpec::new::<Temperature>("room.temperature"))?;

    let mut thermometer = bus.publisher::<Temperature>("room.temperature", "thermometer", LaneKind::Source)?;
    let mut display = bus.subscriber::<Temperature>("room.temperature", Interest::new())?;

    for celsius in [21.5, 23.0] {
        thermometer.try_publish(Temperature { celsius }, Attributes::default())?;
    }
    while display.poll(|header, t| println!("{:.1} °C on room.temperature, packet {}", t.celsius, header.id)).is_some()
    {
    }

    let mut late = bus.subscriber::<Temperature>("room.temperature", Interest::new().start(Start::Last(1)))?;
    late.poll(|_, t| println!("a late reader still gets the last value: {:.1} °C", t.celsius));
    Ok(())
}
