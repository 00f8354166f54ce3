//! A whole node in a simulated world: virtual time, one seed, faults at random moments, and what must hold all the same.
//!
//! One run is a number of lives of one machine: the node boots on what its disk kept, clients publish over a bad network and count what
//! was acknowledged, and now and then the machine crashes between any two steps. After the last life everything is checked.
//! Invariant: equal seeds give equal traces.

mod client;
mod faults;
mod fragile;
mod invariants;
mod reload;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{Journal, Timer, within};
use csf_runtime::node::{BootOptions, Interrupt, Node, boot};
use csf_runtime::topology::Topology;
use csf_runtime::{Catalogue, Plant, World};
use csf_sim::{SeededRng, SimClock, SimDisk, SimExecutor};
use serde::Serialize;
use tokio::sync::oneshot;

use faults::Fault;
pub(crate) use faults::Faults;
use fragile::Doom;
use reload::{ConfigFile, Editor};

/// Virtual wall clock at the start of a run: 2026-01-01, so that stamps look like stamps.
const EPOCH_NS: u64 = 1_767_225_600_000_000_000;
/// Clients of the node.
const CLIENTS: u64 = 3;
/// Virtual time after which what must end by itself counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// Virtual time a stopped node has for its last tasks to end.
const REST: Duration = Duration::from_secs(3);

/// What is simulated, the same for every seed.
#[derive(Clone)]
pub(crate) struct Scenario {
    pub(crate) topology: Topology,
    pub(crate) catalogue: Arc<Catalogue>,
    /// Virtual time of a run.
    pub(crate) span: Duration,
    pub(crate) faults: Faults,
    pub(crate) plant: Option<Planted>,
    /// What sources measure when nothing goes wrong; empty when nobody knows.
    pub(crate) measurements: Arc<Measurements>,
}

/// Times of measurements by author and topic, nanoseconds.
pub(crate) type Measurements = BTreeMap<(String, String), Vec<u64>>;

impl Scenario {
    /// The same, knowing what its sources measure when nothing goes wrong: a run without faults says it.
    pub(crate) fn with_measurements(self) -> Self {
        let calm = Self { faults: Faults::default(), plant: None, ..self.clone() };
        let machine = Machine::new(&calm, 0);
        machine.live(&calm);
        Self { measurements: Arc::new(invariants::measurements(&machine.disk)), ..self }
    }
}

/// A bug put in on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Planted {
    /// The recorder writes effects before their causes.
    OpenCut,
    /// The disk acknowledges what it has not written.
    LyingDisk,
}

/// What a run came to.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    /// Virtual seconds.
    pub(crate) virtual_s: f64,
    /// Task polls: the steps of the run.
    pub(crate) steps: u64,
    pub(crate) packets: u64,
    pub(crate) acknowledged: u64,
    pub(crate) crashes: u64,
    /// Crashes in the middle of a write.
    pub(crate) torn: u64,
    pub(crate) service_restarts: u64,
    pub(crate) lost_messages: u64,
    /// Changes of the configuration that were carried out.
    pub(crate) reloads: u64,
    pub(crate) refused_reloads: u64,
    /// What did not hold; empty when all did.
    pub(crate) violations: Vec<String>,
    /// What happened, a line each.
    #[serde(skip)]
    pub(crate) trace: Vec<String>,
    /// Over the trace and every packet of the journal.
    pub(crate) digest: String,
}

/// What survives a crash of the machine: the clients' books and the run's own.
#[derive(Default)]
struct Books {
    run: Run,
    acknowledged: Vec<client::Acknowledged>,
    is_partitioned: bool,
    /// Restarts of services before they got another budget, in this life.
    renewed: BTreeMap<String, u64>,
    requests: u64,
}

#[derive(Clone)]
struct Notebook {
    world: SimExecutor,
    books: Arc<Mutex<Books>>,
    /// The step before which the machine crashes.
    crash_at: Arc<AtomicU64>,
}

impl Notebook {
    /// Lets the machine crash after so many more steps, unless it does before or has crashed often enough.
    fn crash_within(&self, steps: u64) {
        if self.books().run.crashes < faults::MOST_CRASHES {
            self.crash_at.fetch_min(self.world.polls() + steps, Ordering::Relaxed);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: impl std::fmt::Display) {
        let line = format!("{:>14.6} {text}", self.world.now().as_secs_f64());
        self.books().run.trace.push(line);
    }
}

/// One machine: what a life needs beside the scenario.
struct Machine {
    world: SimExecutor,
    disk: SimDisk,
    clock: Arc<SimClock>,
    notebook: Notebook,
    rng: SeededRng,
    file: Arc<Mutex<ConfigFile>>,
    doom: Option<Doom>,
}

impl Machine {
    fn new(scenario: &Scenario, seed: u64) -> Self {
        let world = SimExecutor::new(seed);
        let rng = SeededRng::new(seed).stream(1);
        let notebook = Notebook { world: world.clone(), books: Arc::default(), crash_at: Arc::default() };
        let clock = SimClock::new(&world, EPOCH_NS, scenario.faults.drift_ppb(&rng));
        let file = Arc::new(Mutex::new(ConfigFile::new(&scenario.topology)));
        let doom = scenario.faults.has(Fault::ServiceCrash).then(|| Doom::new(&notebook, seed));
        let machine = Machine { world, disk: SimDisk::new(), clock, notebook, rng, file, doom };
        machine.disk.set_lying(scenario.plant == Some(Planted::LyingDisk));
        machine
    }
}

/// Runs `scenario` from `seed`.
pub(crate) fn run(scenario: &Scenario, seed: u64) -> Run {
    let machine = Machine::new(scenario, seed);
    machine.live(scenario);
    let Machine { world, disk, notebook, .. } = &machine;
    let acknowledged = std::mem::take(&mut notebook.books().acknowledged);
    let mut found = invariants::journal(scenario, disk, &acknowledged);
    let mut run = std::mem::take(&mut notebook.books().run);
    run.violations.append(&mut found.violations);
    run.seed = seed;
    run.virtual_s = world.now().as_secs_f64();
    run.steps = world.polls();
    run.acknowledged = acknowledged.len() as u64;
    run.packets = found.packets;
    run.digest = invariants::Digest::over(found.digest, &run.trace);
    run
}

impl Machine {
    /// Life after life until the span is over.
    fn live(&self, scenario: &Scenario) {
        let mut crashes = scenario.faults.crashes(&self.rng);
        for number in 1u64.. {
            let crash_at = crashes.next().map_or(u64::MAX, |steps| self.world.polls() + steps);
            self.notebook.crash_at.store(crash_at, Ordering::Relaxed);
            let life = self.life(scenario, number);
            let is_due = || {
                let torn = self.disk.take_crash();
                if torn {
                    self.notebook.books().run.torn += 1;
                }
                torn || self.world.polls() >= self.notebook.crash_at.load(Ordering::Relaxed)
            };
            match self.world.block_on_until(life, is_due) {
                Ok(Some(Ok(()))) => return,
                Ok(Some(Err(reason))) => return self.violated(format!("life {number} does not begin: {reason}")),
                Err(stalled) => return self.violated(format!("life {number} stalls: {stalled}")),
                Ok(None) => self.crash(scenario),
            }
        }
    }

    fn violated(&self, what: String) {
        self.notebook.line(&what);
        self.notebook.books().run.violations.push(what);
    }

    /// Everything in memory is gone; what was written stays.
    fn crash(&self, scenario: &Scenario) {
        self.notebook.line("crash");
        self.notebook.books().run.crashes += 1;
        self.world.drop_tasks();
        self.disk.set_next(csf_sim::NextWrite::Works);
        self.disk.set_commit_time(Duration::ZERO);
        let down = scenario.faults.downtime(&self.rng, self.notebook.books().run.crashes);
        // Nothing else runs while the machine is down.
        let _ = self.world.block_on(self.world.sleep(down));
    }

    async fn life(&self, scenario: &Scenario, number: u64) -> Result<(), String> {
        let node = boot(self.options(scenario, number)).await.map_err(|e| e.to_string())?;
        self.notebook.line(format_args!("life {number} runs"));
        self.notebook.books().renewed.clear();
        let left = scenario.span.saturating_sub(self.world.now());
        let end = self.world.now() + left;
        for n in 0..CLIENTS {
            let client = client::Client::new(self, &node, scenario, n, end);
            csf_core::port::Spawn::spawn(&self.world, Box::pin(client.run()));
        }
        let edited = scenario.faults.has(Fault::Reload).then(|| {
            let editor = Editor::new(self, &node, scenario, number, end);
            let (done, edited) = oneshot::channel();
            csf_core::port::Spawn::spawn(
                &self.world,
                Box::pin(async move {
                    editor.run().await;
                    // Nobody waits any more after a crash.
                    let _ = done.send(());
                }),
            );
            edited
        });
        let weather = faults::weather(self, scenario, number);
        within(&self.world, left, weather).await;
        self.disk.set_next(csf_sim::NextWrite::Works);
        self.disk.set_commit_time(Duration::ZERO);
        self.notebook.books().is_partitioned = false;
        // A change that has begun comes to its end, one way or the other.
        if let Some(edited) = edited
            && within(&self.world, PATIENCE, edited).await.is_none()
        {
            self.violated(format!("a reload takes longer than {PATIENCE:?}"));
        }
        self.world.sleep(REST).await;
        self.stop(&node).await;
        Ok(())
    }

    /// An orderly end: nothing is left behind.
    async fn stop(&self, node: &Arc<Node>) {
        if within(&self.world, PATIENCE, node.settle()).await.is_none() {
            self.violated(format!("the node does not come to rest within {PATIENCE:?}"));
        }
        node.shutdown().await;
        self.world.sleep(REST).await;
        let tree = node.supervision();
        let mut books = self.notebook.books();
        books.run.service_restarts += invariants::restarts(&tree.root);
        let overdrawn = invariants::budgets(&tree.root, self.world.now(), &books.renewed);
        books.run.violations.extend(overdrawn);
        let orphans = self.world.tasks();
        if orphans > 0 {
            books.run.violations.push(format!("{orphans} tasks outlive the node"));
        }
        drop(books);
        self.notebook.line("stopped in order");
    }

    fn options(&self, scenario: &Scenario, number: u64) -> BootOptions {
        let (seed, disk, reader) = (self.rng.seed(), self.disk.clone(), self.disk.clone());
        let rng = move || Box::new(SeededRng::new(seed).stream(1_000 + number)) as Box<dyn csf_core::port::Rng>;
        let mut world = World::simulated(self.world.clone(), rng);
        let commits = self.disk.clone();
        world.commit_time = Some(Arc::new(move || commits.commit_time()));
        world.plant = (scenario.plant == Some(Planted::OpenCut)).then_some(Plant::OpenCut);
        let mut topology = self.file.lock().unwrap_or_else(PoisonError::into_inner).topology().clone();
        self.doom.iter().for_each(|doom| doom.befall(&mut topology));
        BootOptions {
            world,
            topology,
            catalogue: scenario.catalogue.clone(),
            clock_report: None,
            clock: self.clock.clone(),
            process_start: Stamp(EPOCH_NS),
            directory: "simulated".into(),
            journal: "simulated".to_owned(),
            open_journal: Box::new(move || Ok(Box::new(disk.open()?) as Box<dyn Journal>)),
            open_reader: Arc::new(move || Ok(reader.reader())),
            listen: None,
            build_id: "simulated".to_owned(),
            spin_ns: 0,
            interrupt: Interrupt::default(),
            attachments: Vec::new(),
            on_phase: Box::new(|_| ()),
        }
    }
}
