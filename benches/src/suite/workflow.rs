//! Durable workflows: steps, sleepers, replays.

use std::process::Command;

use crate::experiment::{Experiment, Side};
use crate::load::{Effort, Folder, Missing};
use crate::ours::workflow;
use crate::peer::{duroxide, process, restate};
use crate::row::{Bound, Goal, Spec};
use crate::stats::{Figures, Metric};

const OURS: &str = "csf-workflow/SQLite";
const DUROXIDE: &str = "duroxide/SQLite, synchronous=FULL, one connection";

/// Runs in flight, and the activities of each.
const IN_FLIGHT: usize = 64;
const STEPS: u32 = 25;
/// Runs of a full round; of a peer that is slower so many times fewer.
const RUNS: u64 = 4_000;
const SLOWER: u64 = 10;
/// Steps of a run that is alone.
const ALONE: u64 = 1_000;
/// Runs that sleep.
const SLEEPERS: u64 = 1_000_000;
/// Entries that are replayed.
const ENTRIES: u64 = 4_000_000;
/// The command of this program that runs the sleepers' load in a process of its own, so that memory is theirs.
pub const SLEEP: &str = "sleepers";

/// Steps of many runs, and of one.
pub fn steps() -> Experiment {
    let restate_key = restate::key();
    let alone = |key: &str| format!("{key}, alone");
    let (ours_alone, duroxide_alone, restate_alone) = (alone(OURS), alone(DUROXIDE), alone(&restate_key));
    let alone = |e: Effort| u32::try_from(e.of(ALONE)).unwrap_or(u32::MAX);
    let sides = vec![
        Side::new(OURS, |e| workflow::steps(e.of(RUNS), IN_FLIGHT, STEPS)),
        Side::new(DUROXIDE, |e| duroxide::steps(e.of(RUNS / SLOWER), IN_FLIGHT, STEPS)),
        Side::new(&restate_key, |e| restate::steps(e.of(RUNS), IN_FLIGHT, STEPS)),
        Side::new(&ours_alone, move |e| workflow::overhead(alone(e))),
        Side::new(&duroxide_alone, move |e| duroxide::steps(1, 1, alone(e))),
        Side::new(&restate_alone, move |e| restate::steps(1, 1, alone(e))),
    ];
    let many = [DUROXIDE, restate_key.as_str()];
    let one = [duroxide_alone.as_str(), restate_alone.as_str()];
    let specs = vec![
        Spec::new("steps", "durable workflow steps, 64 runs in flight", Metric::PerSecond, OURS)
            .peers(&many)
            .goal(Goal::ratio(Bound::AtLeast(3.0)))
            .note("a step is a trivial activity; its result and the next one's schedule are synced before that begins"),
        Spec::new("steps.p50", "activity to the next of its run, 64 runs in flight, p50", Metric::P50, OURS)
            .peers(&many),
        Spec::new("steps.p99", "activity to the next of its run, 64 runs in flight, p99", Metric::P99, OURS)
            .peers(&many),
        Spec::new("step.p50", "activity to the next, one run alone, p50", Metric::P50, &ours_alone).peers(&one),
        Spec::new("step.overhead", "activity to the next, one run, p50 over the disk's own", Metric::Cost, &ours_alone)
            .goal(Goal::value(Bound::AtMost(1e6))),
    ];
    Experiment::new("workflow steps", sides, specs)
}

/// Runs that sleep.
pub fn sleepers() -> Experiment {
    let specs = vec![
        Spec::new("sleepers.memory", "memory that 1 M sleeping runs add", Metric::Memory, OURS)
            .goal(Goal::value(Bound::AtMost(300.0))),
        Spec::new("sleepers.p50", "1 M runs asleep: from a timer's instant to its run's code, p50", Metric::P50, OURS),
        Spec::new("sleepers.p99", "1 M runs asleep: from a timer's instant to its run's code, p99", Metric::P99, OURS)
            .goal(Goal::value(Bound::AtMost(5e6))),
        Spec::new("sleepers.start", "durable starts of runs that fall asleep", Metric::PerSecond, OURS),
        Spec::new("sleepers.open", "an engine opened on a log with 1 M sleeping runs", Metric::Seconds, OURS),
    ];
    Experiment::new("sleepers", vec![Side::new(OURS, |e| asleep(e.of(SLEEPERS)))], specs)
}

fn asleep(count: u64) -> Result<Figures, Missing> {
    let folder = Folder::new("sleepers")?;
    let exe = std::env::current_exe().map_err(|e| Missing(e.to_string()))?;
    let run = |count: u64| -> Result<Vec<f64>, Missing> {
        let printed = process::output(Command::new(&exe).arg(SLEEP).arg(folder.path()).arg(count.to_string()))?;
        let figures: Result<Vec<f64>, _> = printed.split_whitespace().map(str::parse).collect();
        figures.map_err(|e| Missing(format!("{SLEEP} printed {printed:?}: {e}")))
    };
    let (fell, opened) = (run(count)?, run(0)?);
    let metrics = [Metric::Memory, Metric::PerSecond, Metric::P50, Metric::P99, Metric::Worst];
    let mut figures: Figures = metrics.into_iter().zip(fell).collect();
    figures.extend(opened.first().map(|seconds| (Metric::Seconds, *seconds)));
    Ok(figures)
}

/// The process of [`asleep`]: so many runs fall asleep, or, when there are none, the engine is opened again. Prints its figures.
pub fn sleep(folder: &std::path::Path, count: u64) -> Result<(), String> {
    let figures = if count == 0 { workflow::reopen(folder) } else { workflow::fall_asleep(folder, count) };
    let figures = figures.map_err(|Missing(reason)| reason)?;
    println!("{}", figures.iter().map(|(_, value)| value.to_string()).collect::<Vec<_>>().join(" "));
    Ok(())
}

/// Histories against their code.
pub fn replays() -> Experiment {
    let specs = vec![
        Spec::new("replay", "entries of histories replayed, 25 activities each", Metric::PerSecond, OURS)
            .goal(Goal::value(Bound::AtLeast(1e6))),
    ];
    Experiment::new("replays", vec![Side::new(OURS, |e| workflow::replay(e.of(ENTRIES), STEPS))], specs)
}
