use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_bus::{BusConfig, Doorbell, Interest, Order, PhaseCoherenceBus, Publisher, Start, Subscriber, TopicSpec};
use csf_core::port::{LaneKind, TimeCheckpoint};
use csf_core::{Component, Context, Fault, Message, NanoTime, TimeResult};
use csf_time::SimulatedClock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::exec::crew::{Deck, Look};
use crate::exec::{
    ComponentPaths, ComponentStats, Desk, Dispatcher, Failing, Incident, LatencySummary, PathLatencies, RunState,
    Timers,
};

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
    deck: Deck,
    log: Publisher<Delivery>,
    hlc: Hlc,
    clock: Arc<Counting>,
    paths: Arc<PathLatencies>,
    incidents: Arc<Mutex<Vec<Incident>>>,
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
        let messages = [("test.number@1".to_owned(), csf_core::MessageType::of::<Number>())];
        let messages = Arc::new(messages.into_iter().collect());
        let incidents = Arc::new(Mutex::new(Vec::new()));
        let told = incidents.clone();
        let runner = Runner {
            index: 0,
            name: "echo".to_owned(),
            machine: Some(Box::new(Machine {
                component: Box::new(Echo { clock: clock.clone() }),
                ports: vec!["out"],
                outputs: vec![("out".to_owned(), Box::new(output))],
            })),
            factory: Arc::new(move || Box::new(Echo { clock: own.clone() })),
            input: bus.subscribe_any(&["in"], interest, Arc::new(Doorbell::default())).unwrap(),
            timers: Timers::default(),
            restart: crate::config::RestartSettings::default(),
            stuck_after: None,
            desk: Some(Box::new(Desk::new(messages))),
            stats: Arc::new(ComponentStats::default()),
            paths: ComponentPaths::new(paths.clone()),
            backlog: std::collections::VecDeque::new(),
            recent_restarts: Vec::new(),
            failing: Failing::default(),
            checkpoint: None,
            is_broken: false,
            untold: None,
            observer: Arc::new(|_, _, _| {}),
            incidents: Arc::new(move |incident| told.lock().unwrap().push(incident)),
            is_paused: false,
            is_held: false,
            tie: None,
        };
        runner.stats.set_state(RunState::Running);
        let counting = Arc::new(Counting { clock, readings: AtomicU64::new(0) });
        Self {
            source: bus.publisher("in", "test", LaneKind::Source).unwrap(),
            deliveries: bus.subscriber("log", Interest::new().label("test")).unwrap(),
            deck: Deck::new(vec![runner]),
            incidents,
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
        let seat = Seat::new(&self.deck, self.deck.hold(), 0);
        Turn::new(seat, &mut self.log, &mut self.hlc, self.clock.as_ref(), true).run();
        self.clock.readings.load(Ordering::Relaxed) - before
    }

    fn runner<R>(&self, look: impl FnOnce(&mut Runner) -> R) -> R {
        look(&mut self.deck.hold().runners[0])
    }

    fn stats(&self) -> Arc<ComponentStats> {
        self.runner(|runner| runner.stats.clone())
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
    assert_eq!(bench.stats().handled.load(Ordering::Relaxed), 10);
}

#[test]
fn a_latency_lasts_from_the_triggers_stamp_to_the_commit_of_its_effects() {
    let mut bench = Bench::new();
    bench.publish(1..=10);
    bench.turn();
    // Ten packets wait at the same time for 500 ns of work each. Their stamps, and so their latencies, differ by up to 10 ns.
    let LatencySummary { count, p50, max, .. } = bench.stats().latency.summary();
    assert_eq!(count, 10);
    assert!((2_490..=2_500).contains(&p50) && (4_990..=5_000).contains(&max), "{p50} {max}");
    let whole = bench.stats().latency.summary();
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
    assert_eq!(bench.stats().queue.load(Ordering::Relaxed), 5);
    bench.turn();
    assert_eq!(bench.stats().queue.load(Ordering::Relaxed), 0);
}

#[test]
fn components_that_share_a_path_are_added_up() {
    let node = Arc::new(PathLatencies::default());
    for bench in [Bench::new(), Bench::new()] {
        let mut bench = bench;
        bench.runner(|runner| runner.paths = ComponentPaths::new(node.clone()));
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

/// Numbers up to 8 are added up; 9 panics; 10 waits until it is let go.
#[derive(Default)]
struct Odd {
    sum: u64,
    door: Arc<(Mutex<bool>, std::sync::Condvar)>,
}

impl Component for Odd {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        let value = event.get::<Number>()?.value;
        assert!(value != 9, "nine");
        if value == 10 {
            let (is_open, opens) = &*self.door;
            drop(opens.wait_while(is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
        }
        self.sum += value;
        cx.publish("out", Number { value: self.sum }).map(drop)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.sum.to_le_bytes().to_vec()
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

#[test]
fn a_panic_stops_the_turn_at_its_event_and_asks_for_the_state_of_before() {
    let mut bench = Bench::new();
    bench.runner(|runner| runner.machine.as_mut().unwrap().component = Box::new(Odd::default()));
    bench.publish([1, 2, 9, 3]);
    bench.turn();
    assert!(bench.runner(|runner| runner.is_broken));
    assert_eq!(bench.stats().state(), RunState::Restarting);
    let outcomes: Vec<Outcome> = std::iter::from_fn(|| bench.deliveries.poll(|_, delivery| delivery.outcome)).collect();
    assert_eq!(outcomes, [Outcome::Done, Outcome::Done, Outcome::Failed]);
    let incidents = std::mem::take(&mut *bench.incidents.lock().unwrap());
    let asked = incidents.into_iter().map(|incident| match incident {
        Incident::Rebuild(rebuild) => rebuild.until.seq,
        Incident::Dead(dead) => panic!("{dead:?}"),
    });
    assert_eq!(asked.collect::<Vec<_>>(), [2]);
    assert_eq!(bench.turn(), 0, "nothing is given to what has no state");
}

#[test]
fn a_handler_that_was_given_up_commits_nothing_when_it_returns() {
    let mut bench = Bench::new();
    let door = Arc::<(Mutex<bool>, std::sync::Condvar)>::default();
    bench.runner(|runner| {
        runner.machine.as_mut().unwrap().component = Box::new(Odd { sum: 0, door: door.clone() });
        runner.stuck_after = Some(Duration::from_secs(1));
    });
    bench.publish([1, 10, 2]);
    let Bench { deck, log, hlc, clock, deliveries, .. } = &mut bench;
    let (deck, clock) = (&*deck, clock.clone());
    std::thread::scope(|scope| {
        let late = scope.spawn(move || {
            let (left, _) = Turn::new(Seat::new(deck, deck.hold(), 0), log, hlc, clock.as_ref(), true).run();
            left.is_none()
        });
        let abandoned = loop {
            // The second handler is the one that waits.
            if let Look::Handling(2, limit) = deck.look() {
                break deck.abandon(2, limit).unwrap();
            }
            std::thread::yield_now();
        };
        assert_eq!((abandoned.component.as_str(), abandoned.delivery.outcome), ("echo", Outcome::Skipped));
        // Its successor has the lock meanwhile.
        let held = deck.hold();
        *door.0.lock().unwrap() = true;
        door.1.notify_all();
        assert!(late.join().unwrap(), "it knows that it was given up");
        assert!(held.runners[0].machine.is_none());
        assert_eq!(held.runners[0].stats.published.load(Ordering::Relaxed), 1);
    });
    assert_eq!(std::iter::from_fn(|| deliveries.poll(|_, delivery| delivery.outcome)).count(), 1);
    assert_eq!(bench.stats().state(), RunState::Stuck);
    assert_eq!(bench.turn(), 0);
}

/// `cargo test --release -p csf-runtime --lib -- --ignored --nocapture what_a_delivery_costs`
#[test]
#[ignore = "a measurement, not a claim"]
#[expect(clippy::print_stdout, reason = "a measurement is read by whoever asked for it")]
fn what_a_delivery_costs() {
    struct Forward(u64);
    impl Component for Forward {
        fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
            self.0 += event.get::<Number>()?.value;
            cx.publish("out", Number { value: self.0 }).map(drop)
        }

        fn snapshot(&self) -> Vec<u8> {
            self.0.to_le_bytes().to_vec()
        }

        fn restore(&mut self, _snapshot: &[u8]) -> Result<(), Fault> {
            Ok(())
        }
    }
    let clock = csf_time::SystemClock::detect().unwrap();
    for stuck_after in [None, Some(Duration::from_secs(30))] {
        let mut bench = Bench::new();
        bench.hlc = Hlc::new(clock.clone(), 1);
        bench.runner(|runner| {
            runner.machine.as_mut().unwrap().component = Box::new(Forward(0));
            runner.stuck_after = stuck_after;
        });
        let mut rounds: Vec<u64> = Vec::new();
        for _ in 0..4_000 {
            for _ in 0..50 {
                bench.publish(1..=4);
            }
            let begin = clock.now_ns().unwrap().as_nanos();
            for _ in 0..4 {
                let seat = Seat::new(&bench.deck, bench.deck.hold(), 0);
                Turn::new(seat, &mut bench.log, &mut bench.hlc, clock.as_ref(), true).run();
            }
            rounds.push((clock.now_ns().unwrap().as_nanos() - begin) / 200);
            while bench.deliveries.poll_batch(256, |_, _| ()) > 0 {}
        }
        rounds.sort_unstable();
        println!(
            "ns per delivery, watched {}: p10 {} p50 {} p90 {}",
            stuck_after.is_some(),
            rounds[400],
            rounds[2_000],
            rounds[3_600]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_goes_on_after_what_the_lanes_it_is_given_were_stamped() {
    let Bench { mut source, mut deliveries, deck, log, hlc, clock, .. } = Bench::new();
    let mut runner = deck.hold().runners.remove(0);
    let ahead = Stamp(2 * ORIGIN.as_nanos());
    let output = &mut runner.machine.as_mut().unwrap().outputs[0].1;
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
