//! Chaos against the real binary: a hypothesis, faults, what was counted, how long recovery took.
//!
//! Every process is one this program started, in a folder of its own, and is ended by its id, however an experiment ends.

mod cascade;
mod client;
mod config;
mod exhaustion;
mod journal;
mod load;
mod namespace;
mod node;
mod partition;
mod proxy;
mod random;
mod verdict;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::exec;
use verdict::Verdict;

type Experiment = fn(&Plan) -> Result<Verdict, String>;

const EXPERIMENTS: [(&str, Experiment); 3] = [
    ("network_partition_recovery", partition::run_network_partition_experiment),
    ("failure_cascade_containment", cascade::run_failure_cascade_experiment),
    ("resource_exhaustion_handling", exhaustion::run_resource_exhaustion_experiment),
];

/// How hard and by which chance.
pub(crate) struct Plan {
    seed: u64,
    rounds: u32,
}

/// What the step of `cargo xtask test` counts.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) passed: u64,
    pub(crate) skipped: u64,
}

/// Reads `--only NAME --seed S --rounds N --json`; any claim that does not hold, known or not, is a failure.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    if let [first, listen, node] = arguments
        && first == "--relay"
    {
        return namespace::serve(listen, node);
    }
    let value = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str, default: u64| match value(name) {
        Some(text) => text.parse().map_err(|e| format!("{name} {text}: {e}")),
        None => Ok(default),
    };
    let rounds = u32::try_from(number("--rounds", 3)?.clamp(1, 1000)).unwrap_or(1000);
    let plan = Plan { seed: number("--seed", 1)?, rounds };
    let only = value("--only");
    if let Some(name) = &only
        && !EXPERIMENTS.iter().any(|(known, _)| known == name)
    {
        let names: Vec<&str> = EXPERIMENTS.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no experiment `{name}`; there are {}", names.join(", ")));
    }
    exec::build_csf()?;
    let mut broken = Vec::new();
    for (name, experiment) in EXPERIMENTS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        let verdict = experiment(&plan).map_err(|e| format!("{name}: {e}\n{}", plan.again(name)))?;
        if arguments.iter().any(|a| a == "--json") {
            println!("{}", verdict.json());
        } else {
            verdict.print();
        }
        if !verdict.is_held() {
            broken.push(plan.again(name));
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(format!("a hypothesis does not hold\n{}", broken.join("\n"))) }
}

/// One round of everything; fails for what is not a known finding.
pub(crate) fn bounded() -> Result<Told, String> {
    let plan = Plan { seed: 1, rounds: 1 };
    let mut told = Told::default();
    let mut surprises = Vec::new();
    for (name, experiment) in EXPERIMENTS {
        let verdict = experiment(&plan).map_err(|e| format!("{name}: {e}\n{}", plan.again(name)))?;
        verdict.print();
        for outdated in verdict.outdated() {
            println!("  `{outdated}` is listed as a known finding and held this time");
        }
        told.skipped += verdict.skipped();
        told.passed += 1;
        surprises.extend(verdict.surprises().into_iter().map(|said| format!("{name}: {said}\n{}", plan.again(name))));
    }
    if surprises.is_empty() { Ok(told) } else { Err(surprises.join("\n")) }
}

impl Plan {
    /// The line that repeats an experiment.
    fn again(&self, name: &str) -> String {
        format!("again: cargo xtask chaos --only {name} --seed {} --rounds {}", self.seed, self.rounds)
    }
}

/// A folder that goes when the experiment ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("csf-chaos-{}-{name}", std::process::id()));
        // Left over from an experiment of a process with this number, or not there.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, String> {
        let path = self.0.join(name);
        std::fs::write(&path, content).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is only disk space.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "faults last in the real time of real processes")]
    std::thread::sleep(time);
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "recovery of real processes is measured")]
    Instant::now()
}
