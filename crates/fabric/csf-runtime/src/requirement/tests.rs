//! INT-086 on a bus whose clock is simulated: slowed on purpose, it breaks both limits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, Publisher, Subscriber, TopicSpec};
use csf_core::port::LaneKind;
use csf_core::{Attributes, Message, NanoTime};
use csf_sim::SimExecutor;
use csf_time::SimulatedClock;
use schemars::JsonSchema;

use super::*;
use crate::node::{HealthChange, HealthMonitor, NotificationService, Status};

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Tick(u8);

impl Message for Tick {
    const NAME: &'static str = "requirement.tick";
    const VERSION: u16 = 1;
}

struct Load {
    bus: PhaseCoherenceBus,
    clock: Arc<SimulatedClock>,
    publisher: Publisher<Tick>,
    subscriber: Subscriber<Tick>,
}

impl Load {
    fn new() -> Self {
        let clock = SimulatedClock::starting_at(NanoTime::from_nanos(1_000_000_000));
        let bus = PhaseCoherenceBus::new(BusConfig { latency_every: 1, ..BusConfig::new(clock.clone()) });
        bus.declare(TopicSpec::new::<Tick>("ticks").capacity(64)).unwrap();
        let publisher = bus.publisher("ticks", "load", LaneKind::Source).unwrap();
        let subscriber = bus.subscriber("ticks", Interest::new()).unwrap();
        Self { bus, clock, publisher, subscriber }
    }

    /// Fills the ring until a packet is refused, and reads it `delay` later; ten times.
    fn saturate(&mut self, delay: Duration) {
        for _ in 0..10 {
            while self.publisher.try_publish(Tick(1), Attributes::default()).is_ok() {}
            self.clock.advance(delay);
            while self.subscriber.poll(|_, _| ()).is_some() {}
        }
    }
}

fn rulings(judgements: &[Judgement; 2]) -> [Ruling; 2] {
    judgements.each_ref().map(|judgement| judgement.ruling)
}

#[test]
fn a_slowed_bus_breaks_both_limits_and_a_fast_one_keeps_both() {
    let mut load = Load::new();
    let check = BusRequirementCheck::new(load.bus.clone(), PerformanceRequirements::PRODUCTION);
    load.saturate(Duration::from_millis(1));
    let slow = check.judge();
    assert_eq!(rulings(&slow), [Ruling::Broken; 2]);
    // 64 packets each 1 ms after a fill whose stamps are a nanosecond apart: 999,968 ns on average, and 64,000 a second.
    let told = slow.map(|judgement| judgement.to_string());
    let path = BUS_PATH;
    assert_eq!(told[0], format!("{path}: max_latency_us = 1 broken: 999.968 over 640 samples"));
    assert_eq!(told[1], format!("{path}: min_throughput_msg_per_sec = 1000000 broken: 64000 over 640 samples"));
    load.saturate(Duration::from_nanos(900));
    assert_eq!(rulings(&check.judge()), [Ruling::Kept; 2], "each look judges the time since the last");
}

#[test]
fn what_was_not_measured_is_not_judged() {
    let mut load = Load::new();
    let check = BusRequirementCheck::new(load.bus.clone(), PerformanceRequirements::PRODUCTION);
    load.clock.advance(Duration::from_secs(1));
    assert_eq!(rulings(&check.judge()), [Ruling::NotJudged; 2], "an idle bus");
    load.publisher.try_publish(Tick(1), Attributes::default()).unwrap();
    load.clock.advance(Duration::from_nanos(500));
    load.subscriber.poll(|_, _| ());
    let [latency, rate] = check.judge();
    assert_eq!((latency.ruling, rate.ruling), (Ruling::Kept, Ruling::NotJudged), "one packet is no saturation");
    assert!(rate.to_string().contains("no publisher was refused"), "{rate}");
}

#[test]
fn a_figure_equal_to_its_limit_keeps_it() {
    let measured = |value| Figure::Measured { value, samples: 1 };
    let path = |us, rate| PathMeasurement {
        name: "p".into(),
        latency_us: measured(us),
        throughput_msg_per_sec: measured(rate),
    };
    // INT-080.
    let environments = [
        (PerformanceRequirements::DEVELOPMENT, 10.0, 10_000.0),
        (PerformanceRequirements::STAGING, 5.0, 100_000.0),
        (PerformanceRequirements::PRODUCTION, 1.0, 1_000_000.0),
    ];
    for (requirements, us, rate) in environments {
        assert_eq!(rulings(&requirements.judge(&path(us, rate))), [Ruling::Kept; 2]);
        assert_eq!(rulings(&requirements.judge(&path(us + 0.001, rate))), [Ruling::Broken, Ruling::Kept]);
        assert_eq!(rulings(&requirements.judge(&path(us, rate - 1.0))), [Ruling::Kept, Ruling::Broken]);
    }
    let unknown = serde_json::from_str::<PerformanceRequirements>(r#"{"max_latency_ms": 1}"#);
    assert!(unknown.is_err(), "a key that means nothing is an error");
}

struct Alerts(Arc<Mutex<Vec<HealthChange>>>);

impl NotificationService for Alerts {
    fn send_status_change_alert(&self, change: &HealthChange) -> Result<(), String> {
        self.0.lock().unwrap().push(change.clone());
        Ok(())
    }
}

#[test]
fn a_slowed_bus_raises_one_alert_at_run_time_and_a_fast_one_ends_it() {
    let world = SimExecutor::new(1);
    let mut load = Load::new();
    let monitor = HealthMonitor::new(Arc::new(world.clone()), Arc::new(world.clone()), load.clock.clone());
    let sent = Arc::<Mutex<Vec<HealthChange>>>::default();
    monitor.notify(Arc::new(Alerts(sent.clone())));
    let check = BusRequirementCheck::new(load.bus.clone(), PerformanceRequirements::STAGING);
    monitor.register_health_check(Arc::new(check));
    let work = async {
        for delay_us in [1, 1, 1_000, 1_000, 1, 1] {
            load.saturate(Duration::from_micros(delay_us));
            monitor.check_system_health().await;
        }
    };
    world.block_on(work).unwrap();
    let sent = sent.lock().unwrap();
    let changes: Vec<_> = sent.iter().map(|change| (change.from, change.to)).collect();
    let expected = [(Status::Healthy, Status::Degraded), (Status::Degraded, Status::Healthy)];
    assert!(changes.ends_with(&expected), "{changes:?}");
    let alert = &sent[changes.len() - 2].message;
    assert!(alert.contains(BUS_PATH), "{alert}");
    assert!(
        alert.contains("max_latency_us = 5 broken: ") && alert.contains("msg_per_sec = 100000 broken: "),
        "{alert}"
    );
}
