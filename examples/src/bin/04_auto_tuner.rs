//! The auto-tuner on a real bus: it turns two knobs of a reader while a producer publishes at full speed, keeps what is measured to be
//! better, rolls the rest back, and judges what it found on a load it has not seen.
//!
//! `cargo run --release -p csf-examples --bin 04_auto_tuner -- 500000` measures with rounds of 500,000 packets; without a number of
//! 2,000, which shows how it goes and not how fast. The figures are this machine's; whatever they are, you will see
//!
//! > tried values outside their bounds: 0
//! > the reader has the setting that the report names
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::Duration;

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, Publisher, TopicError, TopicSpec};
use csf_core::port::{LaneKind, TimeSource};
use csf_core::{Attributes, Message};
use csf_runtime::tune::{
    EngineLimits, Knob, Load, Metric, OptimizationEngine, Parameters, PerformanceAutoTuner, Step, Tunable,
};
use csf_runtime::{BoxFuture, OsRng, TokioWorld};
use csf_time::SystemClock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const TOPIC: &str = "ticks";
/// Packets in a lane's ring: a reader that naps lets it run full.
const CAPACITY: usize = 512;
const BATCH_MAX: u64 = 512;
const NAP_US_MAX: u64 = 400;
/// Rounds of a measurement, of which the best counts: what else the machine does only slows a round (Chen and Revels, "Robust
/// benchmarking in noisy environments", 2016).
const ROUNDS: usize = 5;

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Tick([u64; 8]);

impl Message for Tick {
    const NAME: &'static str = "example.tick";
    const VERSION: u16 = 1;
}

/// How a reader reads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Setting {
    /// Packets it takes at one look.
    batch: usize,
    /// How long it parks after a look that found nothing; 0 to look again at once.
    nap: Duration,
}

/// The settings a reader was given, in order.
type Given = Arc<Mutex<Vec<Setting>>>;

/// A reader and the load on it.
struct Reader {
    bus: PhaseCoherenceBus,
    clock: Arc<SystemClock>,
    packets: u64,
    setting: Setting,
    given: Given,
}

impl Tunable for Reader {
    fn update_parameters(&mut self, parameters: &Parameters) -> Result<(), String> {
        let value = |name| parameters.get(name).ok_or_else(|| format!("`{name}` is missing"));
        let batch = usize::try_from(value("batch_packets")?).map_err(|error| error.to_string())?;
        self.setting = Setting { batch, nap: Duration::from_micros(value("nap_us")?) };
        self.given.lock().unwrap_or_else(PoisonError::into_inner).push(self.setting);
        Ok(())
    }

    fn measure(&mut self, load: Load) -> BoxFuture<'_, Result<f64, String>> {
        // The tuner has this thread for itself, so the measurement may keep it.
        Box::pin(async move {
            let mut best = 0.0f64;
            for _ in 0..ROUNDS {
                best = best.max(self.throughput(load).map_err(|error| error.to_string())?);
            }
            Ok(best)
        })
    }
}

impl Reader {
    /// Million packets per second from the first packet published to the last one read.
    fn throughput(&self, load: Load) -> Result<f64, Box<dyn Error>> {
        let lanes = match load {
            Load::Tuning => 1,
            // Two lanes in bursts of seven, which the reader has to merge.
            Load::Unseen => 2,
        };
        let publishers = (0..lanes).map(|_| self.bus.publisher::<Tick>(TOPIC, "load", LaneKind::Source));
        let mut publishers = publishers.collect::<Result<Vec<_>, TopicError>>()?;
        let mut subscriber = self.bus.subscriber::<Tick>(TOPIC, Interest::new())?;
        let (begin, packets, setting) = (Barrier::new(2), self.packets, self.setting);
        let span_ns = std::thread::scope(|scope| {
            let begin = &begin;
            scope.spawn(move || {
                begin.wait();
                produce(&mut publishers, packets);
                publishers
            });
            begin.wait();
            let started = self.clock.now_ns()?;
            let mut read = 0;
            while read < packets {
                match subscriber.poll_batch(setting.batch, |_, tick| assert_ne!(tick.0[0], u64::MAX)) {
                    0 if setting.nap > Duration::ZERO => std::thread::park_timeout(setting.nap),
                    0 => std::thread::yield_now(),
                    some => read += some as u64,
                }
            }
            Ok::<_, Box<dyn Error>>((self.clock.now_ns()? - started).as_nanos())
        })?;
        Ok(packets as f64 * 1e3 / span_ns.max(1) as f64)
    }
}

fn produce(publishers: &mut [Publisher<Tick>], packets: u64) {
    let count = publishers.len();
    for number in 0..packets {
        let publisher = &mut publishers[(number / 7) as usize % count];
        while publisher.try_publish(Tick([number; 8]), Attributes::default()).is_err() {
            // The ring is full: the reader decides how fast this goes.
            std::thread::yield_now();
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let packets = std::env::args().nth(1).map_or(Ok(2_000), |text| text.parse())?;
    let clock = SystemClock::detect()?;
    let bus = PhaseCoherenceBus::new(BusConfig::new(clock.clone()));
    bus.declare(TopicSpec::new::<Tick>(TOPIC).capacity(CAPACITY))?;
    let given = Given::default();
    let reader = Reader { bus, clock, packets, setting: Setting::default(), given: given.clone() };

    let limits = EngineLimits { pairs: 11, ..EngineLimits::default() };
    let engine = OptimizationEngine::new(Arc::new(TokioWorld::current()), OsRng, limits);
    let mut tuner = PerformanceAutoTuner::new(engine);
    let batch = Knob::new("batch_packets", 1..=BATCH_MAX, Step::Times(4))?;
    let nap = Knob::new("nap_us", 0..=NAP_US_MAX, Step::Add(100))?;
    let metric = Metric::maximize("million packets per second");
    tuner.register_component("reader", Box::new(reader), metric, vec![(batch, 1), (nap, 0)])?;

    println!("{ROUNDS} rounds of {packets} packets, {} pairs for each change\n", limits.pairs);
    let report = tuner.optimize_performance("reader").await?;
    report.trials.iter().for_each(|trial| println!("{trial}"));
    let rolled_back = report.trials.iter().filter(|trial| !trial.is_kept()).count();
    println!("\n{} changes tried, {rolled_back} rolled back", report.trials.len());
    println!("before: {}", report.start);
    println!("after:  {}", report.kept);
    match &report.unseen {
        None => println!("no change was better"),
        Some(trial) => {
            println!("on the unseen load: {trial}");
            println!("gained there: {:.1} %", 100.0 * report.measure_performance_improvement());
        }
    }

    let given = given.lock().unwrap_or_else(PoisonError::into_inner);
    let is_outside = |setting: &&Setting| {
        !(1..=BATCH_MAX).contains(&(setting.batch as u64)) || setting.nap.as_micros() > u128::from(NAP_US_MAX)
    };
    println!("\ntried values outside their bounds: {}", given.iter().filter(is_outside).count());
    let has = |setting: &Setting| {
        report.kept.get("batch_packets") == Some(setting.batch as u64)
            && report.kept.get("nap_us").map(Duration::from_micros) == Some(setting.nap)
    };
    if given.last().is_some_and(has) {
        println!("the reader has the setting that the report names");
    }
    Ok(())
}
