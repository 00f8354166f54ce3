//! The acceptance lines of AVI-102, TRU-062 and TRU-063, on virtual time: measurements with noise, no clock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, TopicSpec};
use csf_core::port::{LaneKind, Rng, Timer};
use csf_core::{Attributes, Message, NanoTime};
use csf_sim::{SeededRng, SimExecutor};
use csf_time::SimulatedClock;
use futures_util::FutureExt;
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::BoxFuture;

type Values = Vec<u64>;

/// What a component was given, in order.
type Taken = Arc<Mutex<Vec<Values>>>;

/// A component whose figure is a function of its knobs and the load, with noise of a known standard deviation.
struct Synthetic {
    figure: fn(&[u64], Load) -> f64,
    noise: f64,
    rng: SeededRng,
    values: Values,
    taken: Taken,
}

impl Tunable for Synthetic {
    fn update_parameters(&mut self, parameters: &Parameters) -> Result<(), String> {
        let values: Values = parameters.iter().map(|(_, value)| value).collect();
        self.taken.lock().unwrap().push(values.clone());
        if values.contains(&REFUSED) {
            return Err("not this one".to_owned());
        }
        self.values = values;
        Ok(())
    }

    fn measure(&mut self, load: Load) -> BoxFuture<'_, Result<f64, String>> {
        // Twelve uniform numbers: nearly normal, standard deviation 1 (Irwin and Hall).
        let uniform = (0..12).map(|_| self.rng.next_u64() as f64 / u64::MAX as f64).sum::<f64>();
        let value = (self.figure)(&self.values, load) + self.noise * (uniform - 6.0);
        Box::pin(async move {
            if self.values.contains(&HANGS) {
                std::future::pending::<()>().await;
            }
            Ok(value)
        })
    }
}

/// A value that [`Synthetic`] does not take.
const REFUSED: u64 = 13;
/// A value with which it does not answer.
const HANGS: u64 = 17;

struct Bench {
    world: SimExecutor,
    tuner: PerformanceAutoTuner,
    taken: Taken,
}

/// A tuner with one synthetic component, `name`, of two knobs.
fn bench(
    seed: u64,
    name: &str,
    metric: Metric,
    figure: fn(&[u64], Load) -> f64,
    noise: f64,
    knobs: Vec<(Knob, u64)>,
) -> Bench {
    let world = SimExecutor::new(seed);
    let rng = SeededRng::new(seed);
    let engine = OptimizationEngine::new(Arc::new(world.clone()), rng.stream(1), EngineLimits::default());
    let mut tuner = PerformanceAutoTuner::new(engine);
    let taken = Taken::default();
    let component = Synthetic { figure, noise, rng: rng.stream(2), values: Vec::new(), taken: taken.clone() };
    tuner.register_component(name, Box::new(component), metric, knobs).unwrap();
    Bench { world, tuner, taken }
}

impl Bench {
    fn run(&mut self, name: &str) -> Result<TuneReport, TuneError> {
        self.world.block_on(self.tuner.optimize_performance(name)).unwrap()
    }

    fn last_taken(&self) -> Values {
        self.taken.lock().unwrap().last().unwrap().clone()
    }
}

fn knob(name: &str, bounds: std::ops::RangeInclusive<u64>, step: Step) -> Knob {
    Knob::new(name, bounds, step).unwrap()
}

fn two_knobs() -> Vec<(Knob, u64)> {
    vec![(knob("a_batch", 1..=64, Step::Times(2)), 1), (knob("b_spins", 0..=10, Step::Add(1)), 9)]
}

/// Best at a batch of 32 and 2 spins; the unseen load is slower everywhere, and its best batch is another.
fn bowl(values: &[u64], load: Load) -> f64 {
    let best = if load == Load::Tuning { 5.0 } else { 4.0 };
    let (batch, spins) = ((values[0] as f64).log2(), values[1] as f64);
    let base = if load == Load::Tuning { 100.0 } else { 150.0 };
    base + 20.0 * (batch - best).powi(2) + 3.0 * (spins - 2.0).powi(2)
}

/// AVI-102.
#[test]
fn a_synthetic_component_gets_better_and_is_judged_on_unseen_load() {
    for seed in 0..20 {
        let mut bench = bench(seed, "synthetic", Metric::minimize("latency_ns"), bowl, 2.0, two_knobs());
        let report = bench.run("synthetic").unwrap();
        let unseen = report.unseen.as_ref().unwrap();
        assert_eq!((unseen.load, unseen.outcome.clone()), (Load::Unseen, Outcome::Kept), "seed {seed}");
        assert_eq!((unseen.from.clone(), unseen.to.clone()), (report.start.clone(), report.kept.clone()));
        let share = report.measure_performance_improvement();
        // From 150 + 320 + 147 to about 150 + 20.
        assert!(share > 0.6, "seed {seed}: {share}");
        assert!((16..=64).contains(&report.kept.get("a_batch").unwrap()), "seed {seed}: {}", report.kept);
        assert!(report.kept.get("b_spins").unwrap() <= 4, "seed {seed}: {}", report.kept);
        assert!(report.trials.iter().all(|trial| trial.load == Load::Tuning));
        assert_eq!(bench.tuner.parameters("synthetic"), Some(&report.kept));
        assert_eq!(bench.last_taken(), report.kept.iter().map(|(_, value)| value).collect::<Vec<_>>());
    }
}

/// TRU-062: every change of this knob is worse.
#[test]
fn a_change_that_does_not_help_is_rolled_back_and_bounds_are_never_left() {
    let worse_everywhere = |values: &[u64], _| 100.0 + 10.0 * (values[0] as f64 - 4.0).abs();
    for seed in 0..20 {
        let knobs = vec![(knob("harmful", 3..=5, Step::Add(7)), 4)];
        let mut bench = bench(seed, "stoq", Metric::minimize("latency_ns"), worse_everywhere, 1.0, knobs);
        let report = bench.run("stoq").unwrap();
        assert_eq!(report.trials.len(), 2, "one step up, one down, both cut at the bounds");
        assert!(report.trials.iter().all(|trial| trial.outcome == Outcome::NotBetter && trial.gain < 0.0));
        assert_eq!((&report.kept, &report.unseen), (&report.start, &None));
        assert_eq!(report.measure_performance_improvement(), 0.0);
        assert_eq!(bench.last_taken(), [4], "the component has its value again");
        assert!(bench.taken.lock().unwrap().iter().all(|values| (3..=5).contains(&values[0])));
        let told: Vec<_> = bench.tuner.history("stoq").map(ToString::to_string).collect();
        assert!(
            told.iter().all(|line| line.starts_with("harmful 4 -> ") && line.contains(": rolled back, ")),
            "{told:?}"
        );
    }
}

/// Better on the load it is turned for, worse on any other.
#[test]
fn what_helps_only_the_load_it_was_found_on_is_rolled_back_whole() {
    let overfitted = |values: &[u64], load| {
        let by = values[0] as f64;
        if load == Load::Tuning { 100.0 - 5.0 * by } else { 100.0 + 5.0 * by }
    };
    let knobs = vec![(knob("memorised", 0..=5, Step::Add(1)), 0)];
    let mut bench = bench(1, "x", Metric::minimize("ns"), overfitted, 0.5, knobs);
    let report = bench.run("x").unwrap();
    assert_eq!(report.trials.iter().filter(|trial| trial.is_kept()).count(), 5);
    assert_eq!(report.unseen.as_ref().unwrap().outcome, Outcome::NotBetter);
    assert_eq!((report.kept == report.start, bench.last_taken()), (true, vec![0]));
    assert_eq!(bench.tuner.parameters("x"), Some(&report.start));
}

/// Noise alone moves next to nothing: of 200 runs on a flat figure, at most 5 in 100 keep a change.
#[test]
fn noise_is_no_improvement() {
    let flat = |_: &[u64], _| 100.0;
    let moved = (0..200).filter(|seed| {
        let mut bench = bench(*seed, "flat", Metric::maximize("per_s"), flat, 10.0, two_knobs());
        let report = bench.run("flat").unwrap();
        report.kept != report.start
    });
    let moved = moved.count();
    assert!(moved <= 10, "{moved} of 200 runs kept a change of nothing");
}

/// A machine that gets faster with every measurement makes nothing look better than it is.
#[test]
fn a_steady_drift_is_no_improvement() {
    struct Warming(f64);
    impl Tunable for Warming {
        fn update_parameters(&mut self, _: &Parameters) -> Result<(), String> {
            Ok(())
        }

        fn measure(&mut self, _: Load) -> BoxFuture<'_, Result<f64, String>> {
            self.0 += 1.0;
            Box::pin(std::future::ready(Ok(self.0)))
        }
    }
    for metric in [Metric::maximize("per_s"), Metric::minimize("ns")] {
        let world = SimExecutor::new(1);
        let limits = EngineLimits { gain_share_min: 0.0, ..EngineLimits::default() };
        let engine = OptimizationEngine::new(Arc::new(world.clone()), SeededRng::new(1), limits);
        let mut tuner = PerformanceAutoTuner::new(engine);
        tuner.register_component("x", Box::new(Warming(0.0)), metric, two_knobs()).unwrap();
        let report = world.block_on(tuner.optimize_performance("x")).unwrap().unwrap();
        assert!(report.trials.iter().all(|trial| trial.gain == 0.0 && !trial.is_kept()), "{:?}", report.trials);
    }
}

#[test]
fn a_refused_or_hanging_setting_is_rolled_back_and_the_search_goes_on() {
    let larger_is_better = |values: &[u64], _| values[0] as f64;
    for (bad, at) in [(REFUSED, 12), (HANGS, 16)] {
        let knobs = vec![(knob("k", 10..=20, Step::Add(1)), at)];
        let metric = Metric::maximize("per_s");
        let mut bench = bench(1, "x", metric, larger_is_better, 0.0, knobs);
        let report = bench.run("x").unwrap();
        let reason = match &report.trials[0].outcome {
            Outcome::Refused(reason) | Outcome::NotMeasured(reason) => reason.clone(),
            other => panic!("{bad} was {other:?}"),
        };
        assert!(["not this one", "nothing was measured within 10s"].contains(&reason.as_str()), "{reason}");
        assert_eq!(report.trials[0].to.get("k"), Some(bad));
        assert_eq!(report.kept, report.start, "smaller values are worse");
        assert_eq!(bench.last_taken(), [at]);
    }
}

#[test]
fn a_run_that_is_dropped_or_cannot_measure_leaves_the_setting_before() {
    let knobs = || vec![(knob("k", 15..=20, Step::Add(1)), 16)];
    let flat = |_: &[u64], _| 1.0;
    let mut dropped = bench(1, "x", Metric::minimize("ns"), flat, 0.0, knobs());
    // It waits for a measurement that never ends.
    assert!(dropped.tuner.optimize_performance("x").now_or_never().is_none());
    assert_eq!(dropped.last_taken(), [16]);

    let never = |_: &[u64], _| f64::NAN;
    let mut blind = bench(1, "x", Metric::minimize("ns"), never, 0.0, knobs());
    assert_eq!(blind.run("x"), Err(TuneError::NotMeasured { reason: "NaN is no measurement".into() }));
    assert_eq!(blind.last_taken(), [16]);
}

#[test]
fn a_run_repeats_from_its_seed() {
    let run = |seed| bench(seed, "x", Metric::minimize("ns"), bowl, 5.0, two_knobs()).run("x").unwrap();
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_person_may_set_values_too_within_the_bounds() {
    let mut bench = bench(1, "x", Metric::minimize("ns"), bowl, 0.0, two_knobs());
    bench.tuner.apply_parameters("x", &[("a_batch", 8)]).unwrap();
    assert_eq!(bench.last_taken(), [8, 9]);
    let far = bench.tuner.apply_parameters("x", &[("a_batch", 16), ("b_spins", 11)]);
    assert_eq!(far, Err(TuneError::OutOfBounds { knob: "b_spins".into(), value: 11, min: 0, max: 10 }));
    assert_eq!(bench.last_taken(), [8, 9], "all or none");
    assert!(matches!(bench.tuner.apply_parameters("x", &[("c", 1)]), Err(TuneError::UnknownKnob { .. })));
    assert!(matches!(bench.tuner.apply_parameters("y", &[]), Err(TuneError::UnknownComponent { .. })));
    assert!(matches!(Knob::new("still", 3..=3, Step::Add(1)), Err(TuneError::NoRoom { .. })));
    assert!(matches!(Knob::new("still", 1..=3, Step::Times(1)), Err(TuneError::NoRoom { .. })));
}

/// TRU-062: 35 ms, 40.0 Gbit/s, 2 ms, 5 s.
#[test]
fn exactly_the_figures_beyond_their_limits_start_the_tuner() {
    let limits = OptimizerLimits::default();
    let at = SystemFigures {
        trustchain_latency_ms: Some(35.0),
        stoq_throughput_gbps: Some(40.0),
        hypermesh_latency_ms: Some(2.0),
        end_to_end_latency_ms: Some(5_000.0),
    };
    assert_eq!(limits.breaches(&at), [], "a figure equal to its limit keeps it");
    assert_eq!(limits.breaches(&SystemFigures::default()), [], "what was not measured breaks nothing");
    let beyond = SystemFigures {
        trustchain_latency_ms: Some(35.1),
        stoq_throughput_gbps: Some(39.9),
        hypermesh_latency_ms: Some(2.1),
        end_to_end_latency_ms: Some(5_000.1),
    };
    let targets: Vec<_> = limits.breaches(&beyond).into_iter().map(|breach| breach.target).collect();
    assert_eq!(targets, [Target::Trustchain, Target::Stoq, Target::Hypermesh, Target::Integration]);
    let tight = OptimizerLimits { hypermesh_latency_ms_max: 1.0, ..limits };
    assert_eq!(tight.breaches(&at), [Breach { target: Target::Hypermesh, measured: 2.0, limit: 1.0 }]);
    let bad = OptimizerLimits { stoq_throughput_gbps_min: 0.0, ..limits };
    assert_eq!(bad.validate().len(), 1);
}

/// TRU-063.
#[test]
fn the_improvement_stated_is_the_one_that_was_recorded() {
    let mut knobs = two_knobs();
    knobs[0].0.expected_improvement = 0.25;
    let bench = bench(3, "hypermesh", Metric::minimize("latency_ms"), bowl, 2.0, knobs);
    let clock = SimulatedClock::starting_at(NanoTime::from_nanos(77));
    let mut optimizer = PerformanceOptimizer::new(OptimizerLimits::default(), bench.tuner, clock).unwrap();
    let figures = SystemFigures {
        hypermesh_latency_ms: Some(300.0),
        stoq_throughput_gbps: Some(1.0),
        trustchain_latency_ms: Some(1.0),
        end_to_end_latency_ms: None,
    };
    let result = bench.world.block_on(optimizer.optimize_system_performance(&figures)).unwrap();
    assert_eq!(result.timestamp, NanoTime::from_nanos(77));
    let [(breach, TuneError::UnknownComponent { .. })] = &result.unanswered[..] else { panic!("{result:?}") };
    assert_eq!(breach.target, Target::Stoq, "nothing is registered that could make the transport faster");

    let last = optimizer.tuner().history("hypermesh").last().unwrap().clone();
    let [stated] = &result.performance_improvement[..] else { panic!("{result:?}") };
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (before, after) = (median(last.measured.before.clone()), median(last.measured.after.clone()));
    assert_eq!(last.load, Load::Unseen);
    assert_eq!((stated.before, stated.after, stated.share), (before, after, (before - after) / before));
    let expected: Vec<_> =
        result.applied_optimizations.iter().map(|o| (o.knob.as_str(), o.expected_improvement)).collect();
    assert_eq!(expected, [("a_batch", 0.25), ("b_spins", 0.0)]);
    assert!(result.applied_optimizations.iter().all(|o| o.type_ == OptimizationType::LatencyReduction));
    assert!(serde_json::to_string(&result).unwrap().contains("\"hypermesh\""));
}

proptest! {
    /// Whatever the figures: no value outside its bounds is ever given, and at the end the component has what the report says.
    #[test]
    fn bounds_hold_and_the_end_is_as_reported(
        seed in any::<u64>(), min in 0..20u64, width in 1..40u64, at in 0..40u64, by in 1..9u64, times in any::<bool>()
    ) {
        let max = min + width;
        let step = if times { Step::Times(by + 1) } else { Step::Add(by) };
        let rough = |values: &[u64], _| ((values[0].wrapping_mul(2_654_435_761)) % 97) as f64;
        let at = (min + at).min(max);
        prop_assume!(at != REFUSED);
        let knobs = vec![(knob("k", min..=max, step), at)];
        let mut bench = bench(seed, "x", Metric::maximize("per_s"), rough, 1.0, knobs);
        match bench.run("x") {
            Ok(report) => {
                prop_assert_eq!(report.kept.get("k"), bench.last_taken().first().copied());
                prop_assert!(report.trials.len() <= EngineLimits::default().trials_max);
            }
            // The first setting may be one that hangs.
            Err(_) => prop_assert_eq!(bench.last_taken(), [at]),
        }
        prop_assert!(bench.taken.lock().unwrap().iter().all(|values| (min..=max).contains(&values[0])));
    }
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Tick(u32);

impl Message for Tick {
    const NAME: &'static str = "tune.tick";
    const VERSION: u16 = 1;
}

/// A reader of a real bus; its figure is how often it has to look to read what was published, which no clock decides.
struct Reader {
    bus: PhaseCoherenceBus,
    batch: usize,
}

impl Tunable for Reader {
    fn update_parameters(&mut self, parameters: &Parameters) -> Result<(), String> {
        let batch = parameters.get("batch_packets").ok_or("no batch")?;
        self.batch = usize::try_from(batch).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn measure(&mut self, load: Load) -> BoxFuture<'_, Result<f64, String>> {
        let packets = if load == Load::Tuning { 64u32 } else { 48 };
        let mut publisher = self.bus.publisher::<Tick>("ticks", "load", LaneKind::Source).unwrap();
        let mut subscriber = self.bus.subscriber::<Tick>("ticks", Interest::new()).unwrap();
        for tick in 0..packets {
            publisher.try_publish(Tick(tick), Attributes::default()).unwrap();
        }
        let (mut looks, mut read) = (0.0, 0);
        while read < packets {
            looks += 1.0;
            subscriber.poll_batch(self.batch, |_, tick| {
                assert_eq!(tick.0, read);
                read += 1;
            });
        }
        Box::pin(std::future::ready(Ok(looks)))
    }
}

#[test]
fn the_batch_of_a_bus_reader_is_tuned_on_the_real_bus() {
    let world = SimExecutor::new(1);
    let bus = PhaseCoherenceBus::new(BusConfig::new(SimulatedClock::starting_at(NanoTime::from_nanos(1))));
    bus.declare(TopicSpec::new::<Tick>("ticks").capacity(64)).unwrap();
    let timer: Arc<dyn Timer> = Arc::new(world.clone());
    let limits = EngineLimits { settle: Duration::from_millis(1), ..EngineLimits::default() };
    let mut tuner = PerformanceAutoTuner::new(OptimizationEngine::new(timer, SeededRng::new(1), limits));
    let knobs = vec![(knob("batch_packets", 1..=256, Step::Times(2)), 2)];
    tuner.register_component("reader", Box::new(Reader { bus, batch: 0 }), Metric::minimize("looks"), knobs).unwrap();
    let report = world.block_on(tuner.optimize_performance("reader")).unwrap().unwrap();
    assert_eq!(report.kept.get("batch_packets"), Some(64), "larger ones read no more at once: nothing is gained");
    // 48 packets: 24 looks of 2, one of 64.
    assert_eq!(report.measure_performance_improvement(), 23.0 / 24.0);
}
