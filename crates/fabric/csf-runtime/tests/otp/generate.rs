//! Scenarios from a seed.
//!
//! Left out, because OTP's own outcome depends on a race or is a known fault of it; `docs/book/src/supervision.md` lists them:
//! - a `simple_one_for_one` child whose *restart* says `ignore` (OTP keeps a child called `undefined` and fails when it stops),
//! - counting after the end of a `simple_one_for_one` child that waits for its restart (OTP goes on counting it as restarting),
//! - a time-out of 0 ms for a worker that obeys (both ends of the race are right),
//! - killing a supervisor that has supervisors below it (those stop beside the restart, in no order).

use csf_runtime::supervise::{AutoShutdown, Restart, Strategy};
use csf_sim::SeededRng;

use crate::scenario::{Child, End, Manner, Path, Request, Scenario, StartResult, Step, Stop, Tree, What};

/// Longest a worker that ignores its supervisor is waited for, so that ten thousand scenarios take minutes.
const PATIENCE_MS: u64 = 10;
/// Long enough for one that answers.
const LONG_MS: u64 = 60_000;
const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

pub(crate) struct Generator {
    rng: SeededRng,
    names: usize,
    /// Every supervisor with the ids below it.
    supervisors: Vec<(Path, Tree)>,
}

/// Scenario `number` of `seed`.
pub(crate) fn scenario(seed: u64, number: u64, is_unmodified: bool) -> Scenario {
    let mut generator = Generator { rng: SeededRng::new(seed).stream(number), names: 0, supervisors: Vec::new() };
    let tree = generator.tree(0);
    generator.note(&[], &tree);
    let mut steps: Vec<Step> = (0..4 + generator.below(14)).map(|_| generator.step(is_unmodified)).collect();
    let end = generator.pick(&[End::Shutdown, End::Shutdown, End::ShutdownWith]);
    steps.push(Step::Stop(end));
    Scenario { number, is_unmodified, tree, steps }
}

impl Generator {
    fn below(&mut self, n: u64) -> u64 {
        self.rng.below(n)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    fn note(&mut self, path: &[&'static str], tree: &Tree) {
        self.supervisors.push((path.to_vec(), tree.clone()));
        for child in &tree.children {
            if let What::Supervisor(below) = &child.what {
                let path: Path = path.iter().copied().chain([child.id]).collect();
                self.note(&path, below);
            }
        }
    }

    fn name(&mut self) -> &'static str {
        self.names += 1;
        NAMES[(self.names - 1) % NAMES.len()]
    }

    fn tree(&mut self, depth: u32) -> Tree {
        let strategies = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne, Strategy::SimpleOneForOne];
        let strategy = if depth == 0 && self.one_in(4) { self.pick(&strategies[..3]) } else { self.pick(&strategies) };
        let auto =
            [AutoShutdown::Never, AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant];
        let mut tree = Tree {
            strategy,
            intensity: self.pick(&[0, 1, 1, 2, 3, 5]),
            period_s: self.pick(&[1, 2, 5, 10]),
            auto_shutdown: self.pick(&auto),
            children: Vec::new(),
        };
        if strategy == Strategy::SimpleOneForOne {
            let mut template = self.worker("dynamic", &tree);
            if let What::Worker { script, .. } = &mut template.what {
                script.retain(|result| !matches!(result, StartResult::Ignores));
            }
            tree.children.push(template);
            return tree;
        }
        for _ in 0..self.below(if depth == 0 { 6 } else { 4 }) {
            let id = self.name();
            if tree.children.iter().any(|c| c.id == id) {
                continue;
            }
            let child =
                if depth < 2 && self.one_in(4) { self.supervisor(id, &tree, depth) } else { self.worker(id, &tree) };
            tree.children.push(child);
        }
        tree
    }

    fn restart(&mut self) -> Restart {
        self.pick(&[Restart::Permanent, Restart::Permanent, Restart::Transient, Restart::Temporary])
    }

    /// Now and then one that its supervisor refuses.
    fn significant(&mut self, restart: Restart, tree: &Tree) -> bool {
        let is_allowed = restart != Restart::Permanent && tree.auto_shutdown != AutoShutdown::Never;
        if is_allowed { self.one_in(2) } else { self.one_in(60) }
    }

    fn worker(&mut self, id: &'static str, tree: &Tree) -> Child {
        let restart = self.restart();
        let significant = self.significant(restart, tree);
        let answers = [End::Normal, End::Shutdown, End::ShutdownWith, End::Boom];
        let manner = match self.below(10) {
            0..=5 => Manner::Obeys,
            6 => Manner::Answers(self.pick(&answers)),
            7 | 8 => Manner::Untrapped,
            _ => Manner::Ignores,
        };
        let shutdown = match (manner, self.below(4)) {
            (_, 0) => Stop::BrutalKill,
            (Manner::Ignores, _) => Stop::Millis(PATIENCE_MS),
            (_, 1) => Stop::Infinity,
            _ => Stop::Millis(LONG_MS),
        };
        let results = [
            StartResult::Runs,
            StartResult::Runs,
            StartResult::Runs,
            StartResult::Runs,
            StartResult::Fails,
            StartResult::Fails,
            StartResult::Ignores,
            StartResult::Crashes,
        ];
        // Most first starts succeed, or there is nothing to see.
        let mut script: Vec<StartResult> = (0..self.below(5)).map(|_| self.pick(&results)).collect();
        if let Some(first) = script.first_mut()
            && !self.one_in(8)
        {
            *first = StartResult::Runs;
        }
        Child { id, restart, shutdown, significant, what: What::Worker { script, manner } }
    }

    fn supervisor(&mut self, id: &'static str, above: &Tree, depth: u32) -> Child {
        let restart = self.restart();
        let significant = self.significant(restart, above);
        let tree = self.tree(depth + 1);
        let is_leaf = tree.children.iter().all(|c| matches!(c.what, What::Worker { .. }));
        let shutdown = if is_leaf && self.one_in(6) { Stop::BrutalKill } else { Stop::Infinity };
        Child { id, restart, shutdown, significant, what: What::Supervisor(tree) }
    }

    fn step(&mut self, is_unmodified: bool) -> Step {
        if !is_unmodified && self.one_in(5) {
            return Step::Clock(1 + self.below(6));
        }
        if self.one_in(4) {
            let (path, tree) = self.any_supervisor();
            let steps = (0..1 + self.below(4)).map(|_| self.happening(&path, &tree)).collect();
            return Step::Burst(path, steps);
        }
        let (path, tree) = self.any_supervisor();
        self.happening(&path, &tree)
    }

    fn any_supervisor(&mut self) -> (Path, Tree) {
        let at = self.below(self.supervisors.len() as u64) as usize;
        self.supervisors[at].clone()
    }

    /// Something that happens to one supervisor's children.
    fn happening(&mut self, path: &Path, tree: &Tree) -> Step {
        let ends = [End::Boom, End::Boom, End::Boom, End::Normal, End::Shutdown, End::ShutdownWith, End::Killed];
        let end = self.pick(&ends);
        if tree.strategy == Strategy::SimpleOneForOne {
            let n = self.below(4) as usize;
            return match self.below(8) {
                0..=3 => Step::Call(path.clone(), Request::StartInstance),
                4 | 5 => Step::CrashNth(path.clone(), n, end),
                6 => Step::Call(path.clone(), Request::TerminateNth(n)),
                _ => self.call_by_name(path, "dynamic"),
            };
        }
        if tree.children.is_empty() || self.one_in(8) {
            return self.start(path, tree);
        }
        let child = self.pick(&tree.children);
        if self.one_in(3) {
            // Sometimes a name that was never there.
            let id = if self.one_in(12) { "nobody" } else { child.id };
            return self.call_by_name(path, id);
        }
        let below: Path = path.iter().copied().chain([child.id]).collect();
        match &child.what {
            What::Worker { .. } => Step::Crash(below, end),
            What::Supervisor(tree) if tree.children.iter().all(|c| matches!(c.what, What::Worker { .. })) => {
                Step::Crash(below, End::Killed)
            }
            What::Supervisor(_) => self.call_by_name(path, child.id),
        }
    }

    fn call_by_name(&mut self, path: &Path, id: &'static str) -> Step {
        let request = match self.below(4) {
            0 | 1 => Request::Terminate(id),
            2 => Request::Restart(id),
            _ => Request::Delete(id),
        };
        Step::Call(path.clone(), request)
    }

    /// A new child, or one whose name may be taken; never by a supervisor, which would be asked later on.
    fn start(&mut self, path: &Path, tree: &Tree) -> Step {
        let workers = tree.children.iter().filter(|c| matches!(c.what, What::Worker { .. })).map(|c| c.id);
        let names: Vec<&str> = workers.chain(["x", "y", "z"]).collect();
        let id = self.pick(&names);
        Step::Call(path.clone(), Request::Start(self.worker(id, tree)))
    }
}
