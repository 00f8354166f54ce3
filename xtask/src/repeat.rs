//! The unit tests again and again, each time under another schedule (FAB-132).
//!
//! Every repetition draws from its seed: the order of the tests, how many run at once, the one or two processors they run on, and busy
//! processes of some priority beside them. A failure prints the seed and the very command, so that it can be had again as nearly as a
//! machine's scheduler allows.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::Outcome;
use crate::exec::{self, command, output};

const TIMES_DEFAULT: u64 = 50;
/// A test binary that takes longer hangs. The longest takes some seconds on an idle machine.
const LIMIT: &str = "300";
/// Run one thread at a time on stacks of their own, under schedules of their own: the machine's has no say, and they take longest.
const WITHOUT: [&str; 4] = ["--skip", "::model::", "--skip", "::schedules::"];

/// A package's unit tests.
pub(crate) struct Suite {
    binary: PathBuf,
    folder: PathBuf,
}

/// Reads `[--times N] [--seed S]`.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let number = |name: &str| {
        let value = arguments.iter().position(|a| a == name).map(|at| arguments.get(at + 1));
        value.map(|text| text.and_then(|t| t.parse().ok()).ok_or_else(|| format!("{name} takes a number"))).transpose()
    };
    let times = number("--times")?.unwrap_or(TIMES_DEFAULT);
    let seed = number("--seed")?.unwrap_or_else(|| u64::from(std::process::id()) << 20);
    let suites = suites(&[])?;
    repeat(&suites, times, seed).map(|passed| println!("{passed} tests passed in {times} repetitions"))
}

/// The unit tests of these packages, or of all. All are built: with fewer, cargo would choose other features of what they share, and
/// build that once more.
pub(crate) fn suites(packages: &[&str]) -> Result<Vec<Suite>, String> {
    let build = ["test", "--workspace", "--lib", "--bins", "--no-run", "--quiet", "--message-format", "json"];
    let text = output(&mut command("cargo", &build))?;
    let suite = |line: &str| {
        let artifact: Value = serde_json::from_str(line).ok()?;
        let folder = Path::new(artifact["manifest_path"].as_str()?).parent()?.to_owned();
        let is_test = artifact["profile"]["test"].as_bool()?;
        is_test.then_some(Suite { binary: artifact["executable"].as_str()?.into(), folder })
    };
    let is_chosen =
        |suite: &Suite| packages.is_empty() || packages.iter().any(|package| suite.folder.ends_with(package));
    let suites: Vec<Suite> = text.lines().filter_map(suite).filter(is_chosen).collect();
    if suites.is_empty() { Err("cargo built no unit tests".to_owned()) } else { Ok(suites) }
}

/// Runs every suite so many times; returns how many tests passed.
pub(crate) fn repeat(suites: &[Suite], times: u64, seed: u64) -> Result<u64, String> {
    let processors = processors();
    let mut passed = 0;
    for seed in seed..seed.saturating_add(times) {
        let schedule = Schedule::draw(seed, &processors);
        #[expect(clippy::disallowed_methods, reason = "says how long a repetition took")]
        let start = Instant::now();
        let busy = schedule.busy()?;
        let mut of_this = 0;
        for suite in suites {
            let mut test = schedule.command(suite);
            let outcome = test.output().map_err(|e| format!("{test:?} cannot be run: {e}"))?;
            let text = String::from_utf8_lossy(&outcome.stdout);
            if !outcome.status.success() {
                let again = format!("cargo xtask repeat --times 1 --seed {seed}");
                let folder = suite.folder.display();
                return Err(format!(
                    "{text}{}seed {seed} ({schedule}), {}: `{again}`, or in {folder}:\n{test:?}",
                    String::from_utf8_lossy(&outcome.stderr),
                    outcome.status,
                ));
            }
            of_this += crate::test::passed(&text);
        }
        drop(busy);
        passed += of_this;
        println!("seed {seed}: {of_this} passed in {:.1} s, {schedule}", start.elapsed().as_secs_f64());
    }
    Ok(passed)
}

/// How one repetition runs.
struct Schedule {
    shuffle: u64,
    threads: u64,
    /// As taskset(1) takes them; empty where they cannot be chosen.
    processors: String,
    /// The niceness of each busy process.
    busy: Vec<u64>,
}

impl Schedule {
    fn draw(seed: u64, processors: &[u64]) -> Self {
        let mut dice = Dice(seed);
        let (shuffle, threads) = (dice.next() >> 32, 1 + dice.below(8));
        let mut chosen = Vec::new();
        for _ in 0..1 + dice.below(2) {
            chosen.extend(processors.get(dice.below(processors.len() as u64) as usize));
        }
        chosen.dedup();
        let processors = chosen.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let busy = (0..dice.below(3)).map(|_| dice.below(20)).collect();
        Self { shuffle, threads, processors, busy }
    }

    /// A program on the chosen processors.
    fn on_processors(&self, program: &[&str]) -> Command {
        let placed = ["taskset", "--cpu-list", &self.processors];
        let mut words = if self.processors.is_empty() { [].iter() } else { placed.iter() }.chain(program);
        let mut command = Command::new(words.next().copied().unwrap_or_default());
        command.args(words).stdin(Stdio::null());
        command
    }

    fn command(&self, suite: &Suite) -> Command {
        let (binary, threads, shuffle) =
            (suite.binary.display().to_string(), self.threads.to_string(), self.shuffle.to_string());
        let mut words = vec!["timeout", LIMIT, &binary, "--quiet", "--test-threads", &threads];
        // Shuffling is unstable, and behind the gate of nightly toolchains (rustc book, "Tests").
        words.extend(["-Z", "unstable-options", "--shuffle-seed", &shuffle]);
        words.extend(WITHOUT);
        let mut command = self.on_processors(&words);
        command.current_dir(&suite.folder).env("RUSTC_BOOTSTRAP", "1");
        command
    }

    /// Starts what competes for the processors.
    fn busy(&self) -> Result<Vec<Busy>, String> {
        // It ends by itself when we are killed.
        let work = "p=$PPID; while kill -0 $p 2>/dev/null; do i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; done";
        let start = |nice: &u64| {
            let mut command = self.on_processors(&["nice", "-n", &nice.to_string(), "sh", "-c", work]);
            command.spawn().map(Busy).map_err(|e| format!("{command:?} cannot be run: {e}"))
        };
        self.busy.iter().map(start).collect()
    }
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at once", self.threads)?;
        if !self.processors.is_empty() {
            write!(f, " on CPU {}", self.processors)?;
        }
        match &self.busy[..] {
            [] => Ok(()),
            nice => write!(f, " beside busy processes of niceness {nice:?}"),
        }
    }
}

/// A process that only computes, until it is dropped.
struct Busy(Child);

impl Drop for Busy {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The processors we may run on; none where tests cannot be put on some of them.
fn processors() -> Vec<u64> {
    if !exec::has("taskset") {
        println!("without taskset (util-linux) tests run on every processor");
        return Vec::new();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `bound`, or 0 when that is 0; for dice of a few sides the bias is below 2^-60.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_schedule_and_others_draw_every_kind() {
        let processors = [0, 1, 5];
        let draw = |seed| Schedule::draw(seed, &processors).to_string();
        assert_eq!(draw(7), draw(7));
        let drawn: Vec<String> = (0..200).map(draw).collect();
        let kinds = ["1 at once", "8 at once", "on CPU 5", "on CPU 0,1", "niceness [", ", "];
        assert!(kinds.iter().all(|kind| drawn.iter().any(|schedule| schedule.contains(kind))), "{drawn:?}");
        assert!(drawn.iter().any(|schedule| !schedule.contains("beside")), "sometimes nobody competes");
    }

    /// What fails is told with what repeats it, and so is what hangs or dies.
    #[test]
    fn a_failure_names_its_seed_and_its_command() {
        let suite = Suite { binary: "/bin/false".into(), folder: exec::root() };
        let told = repeat(&[suite], 3, 41).unwrap_err();
        assert!(told.contains("cargo xtask repeat --times 1 --seed 41"), "{told}");
        assert!(told.contains("/bin/false") && told.contains("--shuffle-seed"), "{told}");
    }
}
