//! Random schedules that repeat from a number, and what to type to repeat one that failed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use csf_core::port::Rng;
use csf_sim::SeededRng;
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// Switches after which a run counts as one that never ends.
const STEPS_MAX: usize = 400_000;

/// Lets a thread run for a random number of switches, then another one, and now and then holds one up wherever it is for long. Were each
/// switch a toss of its own, all threads would get on equally fast: no lane would wrap around a reader in the middle of a packet, and no
/// producer would stop in the middle of a commit for long enough to be noticed.
struct Bursts {
    dice: SeededRng,
    /// Switches left of the burst.
    left: u64,
    held_up: Option<TaskId>,
    /// Bursts for which it still is.
    held_left: u64,
    is_over: bool,
}

impl Bursts {
    fn new(seed: u64) -> Self {
        Self { dice: SeededRng::new(seed), left: 0, held_up: None, held_left: 0, is_over: false }
    }

    /// Up to 2^9, each power of two as likely.
    fn length(&mut self) -> u64 {
        let longest = 1 << self.dice.below(10);
        self.dice.below(longest)
    }

    fn one_of(&mut self, tasks: &[TaskId]) -> Option<TaskId> {
        (!tasks.is_empty()).then(|| tasks[self.dice.below(tasks.len() as u64) as usize])
    }
}

impl Scheduler for Bursts {
    fn new_execution(&mut self) -> Option<Schedule> {
        let is_over = std::mem::replace(&mut self.is_over, true);
        (!is_over).then(|| Schedule::new(self.dice.seed()))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, is_yielding: bool) -> Option<TaskId> {
        let runnable: Vec<_> = runnable.iter().map(|task| task.id()).collect();
        let current = current.filter(|current| runnable.contains(current));
        if self.left > 0 && !is_yielding && current.is_some() {
            self.left -= 1;
            return current;
        }
        self.left = self.length();
        if self.held_left > 0 {
            self.held_left -= 1;
        } else if self.dice.below(16) == 0 {
            self.held_left = self.length();
            self.held_up = self.one_of(&runnable);
        } else {
            self.held_up = None;
        }
        // Who gives way waits for somebody else.
        let is_free = |task: &TaskId| Some(*task) != self.held_up && !(is_yielding && Some(*task) == current);
        let free: Vec<_> = runnable.iter().copied().filter(is_free).collect();
        self.one_of(&free).or_else(|| self.one_of(&runnable))
    }

    fn next_u64(&mut self) -> u64 {
        self.dice.next_u64()
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn run(seed: u64, scenario: impl Fn(u64) + Send + Sync + 'static) -> std::thread::Result<()> {
    let mut config = Config::new();
    config.silence_warnings = true;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    // The seed repeats the run; the list of its switches is long.
    config.failure_persistence = FailurePersistence::None;
    catch_unwind(AssertUnwindSafe(|| _ = Runner::new(Bursts::new(seed), config).run(move || scenario(seed))))
}

/// Runs the scenario under `runs` schedules, or as many as `CSF_SCHEDULES` says, from `CSF_SCHEDULE_SEED` on. `test` is its name.
pub(super) fn explore(test: &str, runs: u64, scenario: impl Fn(u64) + Clone + Send + Sync + 'static) {
    let first = setting("CSF_SCHEDULE_SEED").unwrap_or(1);
    for seed in first..first + setting("CSF_SCHEDULES").unwrap_or(runs) {
        if let Err(panic) = run(seed, scenario.clone()) {
            let repeat = format!("CSF_SCHEDULES=1 CSF_SCHEDULE_SEED={seed} cargo test --package csf-bus --lib {test}");
            eprintln!("under schedule {seed}; to repeat it:\n    {repeat}");
            resume_unwind(panic);
        }
    }
}

/// Some of `runs` schedules end with one of these complaints, and the first that does, does again.
pub(super) fn refuted(runs: u64, complaints: &[&str], scenario: impl Fn(u64) + Clone + Send + Sync + 'static) {
    let complaint = |seed| {
        let panic = run(seed, scenario.clone()).err()?;
        panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
    };
    let found = (1..=runs).find_map(|seed| Some((seed, complaint(seed)?)));
    let (seed, text) = found.unwrap_or_else(|| panic!("{runs} schedules find nothing"));
    assert!(complaints.iter().any(|complaint| text.contains(complaint)), "not one of {complaints:?}: {text}");
    assert_eq!(complaint(seed), Some(text), "schedule {seed} does not repeat");
}
