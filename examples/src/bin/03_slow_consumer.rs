//! A producer at full speed, and one slow consumer for each policy: memory stays where it is and the books balance.
//!
//! `cargo run --release -p csf-examples --bin 03_slow_consumer -- 10` runs for ten minutes (FAB-025); without a number for two seconds.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, Policy, Publisher, TopicSpec};
use csf_core::port::{LaneKind, TimeSource};
use csf_core::{Attributes, Message};
use csf_time::SystemClock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes that a payload owns outside its slot.
const BYTES: usize = 1_000;
/// How often a consumer takes a packet.
const PERIOD: Duration = Duration::from_millis(1);

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Frame {
    bytes: Vec<u8>,
}

impl Message for Frame {
    const NAME: &'static str = "example.frame";
    const VERSION: u16 = 1;
}

fn main() -> Result<(), Box<dyn Error>> {
    let minutes: u64 = std::env::args().nth(1).map_or(Ok(0), |text| text.parse())?;
    let lasts_ns = if minutes == 0 { 2_000_000_000 } else { minutes * 60_000_000_000 };
    let clock = SystemClock::detect()?;
    let bus = PhaseCoherenceBus::new(BusConfig::new(clock.clone()));
    let policies = [
        ("block", Policy::Block),
        ("drop-newest", Policy::DropNewest),
        ("drop-oldest", Policy::DropOldest),
        ("conflate", Policy::Conflate),
    ];
    let mut producers = Vec::new();
    for (name, _) in policies {
        bus.declare(TopicSpec::new::<Frame>(name).capacity(256))?;
        producers.push(bus.publisher::<Frame>(name, "producer", LaneKind::Source)?);
    }
    let is_over = AtomicBool::new(false);
    let begin = clock.now_ns()?;
    std::thread::scope(|scope| {
        let consumers: Vec<_> = policies
            .iter()
            .map(|(name, policy)| {
                let mut subscriber = bus.subscriber::<Frame>(name, Interest::new().policy(*policy).label(name))?;
                let is_over = &is_over;
                Ok::<_, csf_bus::TopicError>(scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        subscriber.poll(|_, frame| assert_eq!(frame.bytes.len(), BYTES));
                        std::thread::park_timeout(PERIOD);
                    }
                    subscriber
                }))
            })
            .collect::<Result<_, _>>()?;
        println!("{:>7} {:>14} {:>9}", "minute", "packets", "resident");
        let mut next_ns = 0;
        loop {
            produce(&mut producers);
            let spent_ns = (clock.now_ns()? - begin).as_nanos();
            if spent_ns >= next_ns || spent_ns >= lasts_ns {
                let resident = resident_kib().map_or_else(|| "?".to_owned(), |kib| format!("{kib} KiB"));
                println!("{:>7.2} {:>14} {resident:>9}", spent_ns as f64 / 6e10, bus.get_stats().packets_published);
                next_ns += lasts_ns / 10;
            }
            if spent_ns >= lasts_ns {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let subscribers: Vec<_> = consumers.into_iter().filter_map(|consumer| consumer.join().ok()).collect();
        for topic in bus.traffic() {
            let Some(reader) = topic.subscribers.first() else { continue };
            let balance = reader.delivered + reader.lost + reader.lag;
            println!(
                "{:<12} published {:>12}, delivered {:>8}, lost {:>12}, queued {:>4}, refused {:>12}",
                topic.name, topic.packets, reader.delivered, reader.lost, reader.lag, topic.refusals
            );
            assert_eq!(topic.packets, balance, "what was published is delivered, lost or queued");
        }
        drop(subscribers);
        Ok::<_, Box<dyn Error>>(())
    })
}

/// A packet for each policy; a refusal is the blocking subscriber's right.
fn produce(producers: &mut [Publisher<Frame>]) {
    for _ in 0..1_000 {
        for producer in &mut *producers {
            if producer.has_room_for(1) {
                // There is room.
                let _ = producer.try_publish(Frame { bytes: vec![7; BYTES] }, Attributes::default());
            }
        }
    }
}

fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}
