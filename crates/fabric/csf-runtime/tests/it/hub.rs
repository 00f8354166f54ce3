//! Subsystems and their common life, on virtual time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::port::{Spawn, Timer};
use csf_runtime::BoxFuture;
use csf_runtime::node::{
    Conduct, CoordinationError, CoordinationHub, HealthStatus, Interrupt, LifeLimits, StopOutcome, Subsystem,
    SubsystemError, Urgency,
};
use csf_sim::{SeededRng, SimExecutor};

type Log = Arc<Mutex<Vec<String>>>;

/// What becomes of a start or a stop.
#[derive(Clone, Copy, PartialEq)]
enum Deed {
    Takes(Duration),
    FailsAfter(Duration),
    PanicsAfter(Duration),
    Hangs,
}

const AT_ONCE: Deed = Deed::Takes(Duration::ZERO);
const SECOND: Duration = Duration::from_secs(1);

struct Part {
    id: String,
    needs: Vec<String>,
    start: Deed,
    stop: Deed,
    log: Log,
    world: SimExecutor,
}

impl Part {
    fn say(&self, what: &str) {
        self.log.lock().unwrap().push(format!("{what} {}", self.id));
    }

    async fn act(&self, deed: Deed, what: &str) -> Result<(), SubsystemError> {
        match deed {
            Deed::Takes(span) => self.world.sleep(span).await,
            Deed::FailsAfter(span) => {
                self.world.sleep(span).await;
                return Err(SubsystemError { code: "CSF-0209", message: "no".to_owned() });
            }
            Deed::PanicsAfter(span) => {
                self.world.sleep(span).await;
                panic!("{what} of {}", self.id);
            }
            Deed::Hangs => std::future::pending().await,
        }
        self.say(what);
        Ok(())
    }
}

impl Subsystem for Part {
    fn id(&self) -> &str {
        &self.id
    }

    fn dependencies(&self) -> Vec<String> {
        self.needs.clone()
    }

    fn initialize<'a>(&'a self, hub: &'a CoordinationHub) -> BoxFuture<'a, Result<(), SubsystemError>> {
        Box::pin(async move {
            self.say("begin");
            // Would deadlock if the hub held its lock across this call.
            assert!(hub.get(&self.id).is_some() && hub.health().contains_key(&self.id));
            Ok(())
        })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(self.act(self.start, "start"))
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(self.act(self.stop, "stop"))
    }

    fn health_check(&self) -> HealthStatus {
        HealthStatus::Healthy
    }
}

/// A hub in a world of its own.
struct Stage {
    world: SimExecutor,
    hub: CoordinationHub,
    log: Log,
    interrupt: Interrupt,
}

impl Stage {
    fn new(seed: u64) -> Self {
        let world = SimExecutor::new(seed);
        Self { world, hub: CoordinationHub::default(), log: Log::default(), interrupt: Interrupt::default() }
    }

    fn part(&self, id: &str, needs: &[&str], start: Deed, stop: Deed) {
        let needs = needs.iter().map(|n| (*n).to_owned()).collect();
        let part = Part { id: id.to_owned(), needs, start, stop, log: self.log.clone(), world: self.world.clone() };
        self.hub.register(Arc::new(part)).unwrap();
    }

    /// a, then b and c, then d; registered backwards.
    fn diamond(&self, deed: impl Fn(&str) -> (Deed, Deed)) {
        for (id, needs) in [("d", &["b", "c"][..]), ("c", &["a"]), ("b", &["a"]), ("a", &[])] {
            let (start, stop) = deed(id);
            self.part(id, needs, start, stop);
        }
    }

    fn conduct(&self) -> Conduct<'_> {
        Conduct { timer: &self.world, limits: LifeLimits::default(), interrupt: &self.interrupt }
    }

    fn start(&self) -> Result<(), CoordinationError> {
        self.world.block_on(self.hub.start_all(self.conduct(), |_| ())).unwrap()
    }

    fn stop(&self) -> Vec<(String, StopOutcome)> {
        let mut told = Vec::new();
        let tell = |id: &str, outcome: &StopOutcome| told.push((id.to_owned(), outcome.clone()));
        self.world.block_on(self.hub.stop_all(self.conduct(), tell)).unwrap();
        told
    }

    fn said(&self, what: &str) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.iter().filter_map(|line| line.strip_prefix(what)?.strip_prefix(' ')).map(str::to_owned).collect()
    }
}

#[test]
fn a_diamond_starts_in_levels_of_one_two_one_whose_members_start_together() {
    let stage = Stage::new(1);
    stage.diamond(|_| (Deed::Takes(3 * SECOND), Deed::Takes(SECOND)));
    assert_eq!(stage.hub.compute_parallel_levels().unwrap(), [vec!["a"], vec!["b", "c"], vec!["d"]]);
    assert_eq!(stage.hub.compute_initialization_order().unwrap(), ["a", "b", "c", "d"]);
    stage.start().unwrap();
    assert_eq!(stage.world.now(), 9 * SECOND, "three levels of three seconds each");
    stage.stop();
    assert_eq!(stage.world.now(), 12 * SECOND);
    let (started, stopped) = (stage.said("start"), stage.said("stop"));
    assert_eq!(
        (&started[0], &started[3], &stopped[0], &stopped[3]),
        (&"a".into(), &"d".into(), &"d".into(), &"a".into())
    );
}

#[test]
fn a_failing_last_subsystem_leaves_none_running() {
    let stage = Stage::new(1);
    stage.diamond(|id| (if id == "d" { Deed::FailsAfter(SECOND) } else { AT_ONCE }, AT_ONCE));
    let error = stage.start().unwrap_err();
    assert_eq!(error.to_string(), "subsystem `d` failed to start: [CSF-0209] no");
    let stopped = stage.said("stop");
    assert_eq!((stopped.len(), &stopped[0], &stopped[3]), (4, &"d".to_owned(), &"a".to_owned()));
}

#[test]
fn a_failure_ends_the_start_of_its_whole_level_at_once() {
    let stage = Stage::new(1);
    stage.diamond(|id| match id {
        "b" => (Deed::FailsAfter(SECOND), AT_ONCE),
        "c" => (Deed::Takes(9 * SECOND), AT_ONCE),
        _ => (AT_ONCE, AT_ONCE),
    });
    let error = stage.start().unwrap_err();
    assert!(matches!(&error, CoordinationError::InitializationFailed { component, .. } if component == "b"), "{error}");
    assert_eq!(stage.world.now(), SECOND);
    assert_eq!(stage.said("start"), ["a"], "c goes no further");
    assert_eq!(BTreeSet::from_iter(stage.said("stop")), BTreeSet::from_iter(["a", "b", "c"].map(str::to_owned)));
}

#[test]
fn one_that_hangs_costs_its_limit_and_one_that_panics_is_a_failure() {
    let stage = Stage::new(1);
    stage.diamond(|id| (if id == "c" { Deed::Hangs } else { AT_ONCE }, AT_ONCE));
    assert_eq!(stage.start().unwrap_err().to_string(), "subsystem `c` did not start within 10000 ms");
    assert_eq!((stage.world.now(), stage.said("stop").len()), (10 * SECOND, 3));

    let stage = Stage::new(1);
    stage.diamond(|id| (if id == "b" { Deed::PanicsAfter(SECOND) } else { AT_ONCE }, AT_ONCE));
    let error = stage.start().unwrap_err().to_string();
    assert_eq!(error, "subsystem `b` failed to start: [CSF-0299] it panicked: start of b");
    assert_eq!(stage.said("stop").len(), 3);
}

#[test]
fn an_interrupt_rolls_a_start_back_wherever_it_is() {
    for tenths in 0..30 {
        let stage = Stage::new(tenths);
        stage.diamond(|_| (Deed::Takes(SECOND), AT_ONCE));
        let (asks, timer) = (stage.interrupt.clone(), stage.world.clone());
        stage.world.spawn(Box::pin(async move {
            timer.sleep(Duration::from_millis(100 * tenths)).await;
            asks.raise(Urgency::Orderly);
        }));
        assert!(matches!(stage.start(), Err(CoordinationError::Interrupted)), "after {tenths} tenths of a second");
        assert_eq!(BTreeSet::from_iter(stage.said("begin")).len(), stage.said("begin").len());
        let (begun, stopped) = (BTreeSet::from_iter(stage.said("begin")), BTreeSet::from_iter(stage.said("stop")));
        assert!(begun.is_subset(&stopped), "{begun:?} was begun, {stopped:?} stopped");
    }
}

#[test]
fn a_stop_passes_over_what_fails_and_leaves_behind_what_hangs() {
    let stage = Stage::new(1);
    stage.diamond(|id| {
        let stop = match id {
            "d" => Deed::PanicsAfter(SECOND),
            "c" => Deed::Hangs,
            "b" => Deed::FailsAfter(SECOND),
            _ => AT_ONCE,
        };
        (AT_ONCE, stop)
    });
    stage.start().unwrap();
    let told = stage.stop();
    let outcome = |id: &str| told.iter().find(|(i, _)| i == id).unwrap().1.clone();
    assert!(matches!(outcome("d"), StopOutcome::Failed(e) if e.message == "it panicked: stop of d"));
    assert_eq!(outcome("c"), StopOutcome::LeftBehind(10 * SECOND));
    assert!(matches!(outcome("b"), StopOutcome::Failed(_)));
    assert_eq!(outcome("a"), StopOutcome::Stopped);
    assert_eq!(stage.world.now(), 11 * SECOND, "one second for d, ten for b and c together");
}

#[test]
fn haste_shortens_the_wait_for_what_hangs() {
    let stage = Stage::new(1);
    stage.part("a", &[], AT_ONCE, Deed::Hangs);
    stage.start().unwrap();
    let (asks, timer) = (stage.interrupt.clone(), stage.world.clone());
    stage.world.spawn(Box::pin(async move {
        timer.sleep(3 * SECOND).await;
        asks.raise(Urgency::Hasty);
    }));
    assert_eq!(stage.stop(), [("a".to_owned(), StopOutcome::LeftBehind(SECOND))]);
    assert_eq!(stage.world.now(), 4 * SECOND);
}

#[test]
fn a_cycle_is_refused_and_leaves_no_trace() {
    let stage = Stage::new(1);
    stage.part("a", &["b"], AT_ONCE, AT_ONCE);
    let part = |id: &str, needs: &[&str]| Part {
        id: id.to_owned(),
        needs: needs.iter().map(|n| (*n).to_owned()).collect(),
        start: AT_ONCE,
        stop: AT_ONCE,
        log: stage.log.clone(),
        world: stage.world.clone(),
    };
    let error = stage.hub.register(Arc::new(part("b", &["a"]))).unwrap_err();
    assert!(error.to_string().contains("a → b → a"), "{error}");
    assert!(stage.hub.get("b").is_none());
    assert!(matches!(stage.hub.compute_parallel_levels(), Err(CoordinationError::UnknownDependency { .. })));
    assert!(matches!(stage.hub.register(Arc::new(part("a", &["b"]))), Err(CoordinationError::Duplicate { .. })));
}

/// Random graphs, deeds and interleavings: whatever happens, everything starts after what it needs, and what a failed start began is
/// stopped before what it needs.
#[test]
fn no_graph_and_no_failure_breaks_the_order() {
    let mut failures = 0;
    for seed in 0..400 {
        let mut rng = SeededRng::new(seed);
        let stage = Stage::new(seed);
        let count = 2 + rng.below(9);
        let mut needs_of = Vec::new();
        for index in 0..count {
            let needs: Vec<String> = (0..index).filter(|_| rng.below(3) == 0).map(|n| format!("p{n}")).collect();
            let mut deed = || {
                let span = Duration::from_millis(rng.below(2_000));
                match rng.below(12) {
                    0 => Deed::FailsAfter(span),
                    1 => Deed::Hangs,
                    _ => Deed::Takes(span),
                }
            };
            let refs: Vec<&str> = needs.iter().map(String::as_str).collect();
            stage.part(&format!("p{index}"), &refs, deed(), AT_ONCE);
            needs_of.push((format!("p{index}"), needs));
        }
        let outcome = stage.start();
        let place = |list: &[String], id: &str| list.iter().position(|l| l == id);
        let (begun, started) = (stage.said("begin"), stage.said("start"));
        if outcome.is_ok() {
            assert_eq!(started.len() as u64, count, "seed {seed}");
            stage.stop();
        } else {
            failures += 1;
        }
        let stopped = stage.said("stop");
        for (id, needs) in &needs_of {
            let Some(began) = place(&begun, id) else { continue };
            assert_eq!(stopped.iter().filter(|s| *s == id).count(), 1, "seed {seed}: {id} began at {began}");
            for need in needs {
                assert!(place(&started, need).is_some(), "seed {seed}: {id} began before {need} ran");
                assert!(place(&stopped, id) < place(&stopped, need), "seed {seed}: {need} stopped before {id}");
            }
        }
    }
    assert!((50..350).contains(&failures), "{failures} of 400 starts failed: the seeds show too little");
}
