use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use csf_bus::{BusConfig, Doorbell, Interest, Order, PhaseCoherenceBus, Publisher, Start, Subscriber, TopicSpec};
use csf_core::port::{LaneKind, TimeCheckpoint};
use csf_core::{Component, Context, Fault, Message, NanoTime, TimeResult};
use csf_time::SimulatedClock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::exec::{ComponentPaths, ComponentStats, Dispatcher, LatencySummary, PathLatencies};

/// What a handler takes, in simulated time.
const WORK: Duration = Duration::from_nanos(500);
/// Where time begins: later than any span the test takes.
const ORIGIN: NanoTime = NanoTime::from_nanos(1_000_000_000);

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Number {
    value: u64,
}

impl Message for Number {
    const NAME: &'static str = "test.number";
    const VERSION: u16 = 1;
}

/// A simulated clock that counts its readings.
struct Counting {
    clock: Arc<SimulatedClock>,
    readings: AtomicU64,
}

impl TimeSource for Counting {
    fn now_ns(&self) -> TimeResult<NanoTime> {
        self.readings.fetch_add(1, Ordering::Relaxed);
        self.clock.now_ns()
    }

    fn has_hardware_timing(&self) -> bool {
        false
    }

    fn create_checkpoint(&self, name: &str) -> TimeResult<TimeCheckpoint> {
        self.clock.create_checkpoint(name)
    }
}

/// Repeats every number after some work; 0 sets a timer that is due during the work.
struct Echo {
    clock: Arc<SimulatedClock>,
}

impl Component for Echo {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        let number = event.get::<Number>()?;
        if number.value == 0 {
            cx.set_timer(TimerId(7), cx.now().after(1));
        }
        self.clock.advance(WORK);
        cx.publish("out", number.clone()).map(drop)
    }

    fn on_timer(&mut self, _cx: &mut Context<'_>, _timer: TimerId) -> Result<(), Fault> {
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

/// One component between two topics, and its dispatcher's part.
struct Bench {
    source: Publisher<Number>,
    deliveries: Subscriber<Delivery>,
    runner: Runner,
    log: Publisher<Delivery>,
    hlc: Hlc,
    clock: Arc<Counting>,
    paths: Arc<PathLatencies>,
}

impl Bench {
    fn new() -> Self {
        let clock = SimulatedClock::starting_at(ORIGIN);
        let bus = PhaseCoherenceBus::new(BusConfig::new(clock.clone()));
        for spec in [TopicSpec::new::<Number>("in"), TopicSpec::new::<Number>("out"), TopicSpec::new::<Delivery>("log")]
        {
            bus.declare(spec).unwrap();
        }
        let interest = Interest::new().start(Start::Earliest).order(Order::Stamp).label("echo");
        let output = bus.publisher::<Number>("out", "echo", LaneKind::Effect).unwrap();
        let own = clock.clone();
        let paths = Arc::new(PathLatencies::default());
        let runner = Runner {
            index: 0,
            name: "echo".to_owned(),
            component: Box::new(Echo { clock: clock.clone() }),
            factory: Arc::new(move || Box::new(Echo { clock: own.clone() })),
            input: bus.subscribe_any(&["in"], interest, Arc::new(Doorbell::default())).unwrap(),
            ports: vec!["out"],
            outputs: vec![("out".to_owned(), Box::new(output))],
            timers: Timers::default(),
            restart: crate::config::RestartSettings::default(),
            stats: Arc::new(ComponentStats::default()),
            paths: ComponentPaths::new(paths.clone()),
            backlog: std::collections::VecDeque::new(),
            recent_restarts: Vec::new(),
            observer: std::sync::Arc::new(|_, _, _| {}),
            is_paused: false,
        };
        let counting = Arc::new(Counting { clock, readings: AtomicU64::new(0) });
        Self {
            source: bus.publisher("in", "test", LaneKind::Source).unwrap(),
            deliveries: bus.subscriber("log", Interest::new().label("test")).unwrap(),
            runner,
            log: bus.publisher("log", "test", LaneKind::Delivery).unwrap(),
            hlc: Hlc::new(counting.clone(), 1),
            clock: counting,
            paths,
        }
    }

    fn publish(&mut self, values: impl IntoIterator<Item = u64>) {
        for value in values {
            self.source.try_publish(Number { value }, Attributes::default()).unwrap();
        }
    }

    /// Runs one turn; how often it read the clock.
    fn turn(&mut self) -> u64 {
        let before = self.clock.readings.load(Ordering::Relaxed);
        Turn::new(&mut self.runner, &mut self.log, &mut self.hlc, self.clock.as_ref()).run();
        self.clock.readings.load(Ordering::Relaxed) - before
    }

    fn delivered(&mut self) -> Vec<Input> {
        std::iter::from_fn(|| self.deliveries.poll(|_, delivery| delivery.input)).collect()
    }
}

#[test]
fn a_turn_reads_the_clock_once_per_delivery_and_once_at_its_end() {
    let mut bench = Bench::new();
    assert_eq!(bench.turn(), 0, "nothing to do");
    bench.publish(1..=10);
    assert_eq!(bench.turn(), 10 + 1);
    assert_eq!(bench.turn(), 0, "nothing left");
    assert_eq!(bench.runner.stats.handled.load(Ordering::Relaxed), 10);
}

#[test]
fn a_latency_lasts_from_the_triggers_stamp_to_the_commit_of_its_effects() {
    let mut bench = Bench::new();
    bench.publish(1..=10);
    bench.turn();
    // Ten packets wait at the same time for 500 ns of work each. Their stamps, and so their latencies, differ by up to 10 ns.
    let LatencySummary { count, p50, max, .. } = bench.runner.stats.latency.summary();
    assert_eq!(count, 10);
    assert!((2_490..=2_500).contains(&p50) && (4_990..=5_000).contains(&max), "{p50} {max}");
    let whole = bench.runner.stats.latency.summary();
    assert_eq!(bench.paths.summaries(), [("in".to_owned(), "out".to_owned(), whole)]);
}

#[test]
fn a_timer_that_falls_due_lets_one_more_delivery_pass() {
    let mut bench = Bench::new();
    bench.publish([0, 1, 2, 3]);
    bench.turn();
    let order: Vec<bool> = bench.delivered().iter().map(|input| matches!(input, Input::Timer(_))).collect();
    assert_eq!(order, [false, false, true, false, false]);
}

#[test]
fn a_timer_due_between_turns_goes_first() {
    let mut bench = Bench::new();
    bench.publish([0]);
    bench.turn();
    assert_eq!(bench.delivered().len(), 1);
    bench.publish([1]);
    bench.turn();
    assert!(matches!(bench.delivered()[..], [Input::Timer(TimerId(7)), Input::Packet { .. }]));
}

#[test]
fn a_turn_leaves_the_rest_and_says_how_much() {
    let mut bench = Bench::new();
    bench.publish(1..=LENGTH as u64 + 5);
    bench.turn();
    assert_eq!(bench.runner.stats.queue.load(Ordering::Relaxed), 5);
    bench.turn();
    assert_eq!(bench.runner.stats.queue.load(Ordering::Relaxed), 0);
}

#[test]
fn components_that_share_a_path_are_added_up() {
    let node = Arc::new(PathLatencies::default());
    for bench in [Bench::new(), Bench::new()] {
        let mut bench = Bench { runner: Runner { paths: ComponentPaths::new(node.clone()), ..bench.runner }, ..bench };
        bench.publish(1..=3);
        bench.turn();
    }
    let counts: Vec<u64> = node.summaries().into_iter().map(|(_, _, summary)| summary.count).collect();
    assert_eq!(counts, [6]);
}

#[test]
fn bits_come_in_order() {
    assert_eq!(bits(0).count(), 0);
    assert_eq!(bits(1 << 63 | 0b1010).collect::<Vec<_>>(), [1, 3, 63]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_goes_on_after_what_the_lanes_it_is_given_were_stamped() {
    let Bench { mut source, mut deliveries, mut runner, log, hlc, clock, .. } = Bench::new();
    let ahead = Stamp(2 * ORIGIN.as_nanos());
    let output = &mut runner.outputs[0].1;
    assert!(output.has_room(1));
    let mut number = Some(Number { value: 1 });
    output.stage(TypeId::of::<Number>(), &mut number, ahead, Attributes::default(), None).unwrap();
    output.commit();
    let (bell, world) = (Arc::default(), crate::World::machine());
    let dispatcher = Dispatcher::start("test", Vec::new(), Box::new(log), hlc, clock, bell, 0, &world).unwrap();
    dispatcher.between_rounds(|runners| runners.push(runner)).await.unwrap();
    source.try_publish(Number { value: 2 }, Attributes::default()).unwrap();
    dispatcher.stop().await;
    assert!(deliveries.poll(|header, _| header.stamp).unwrap() > ahead);
}
