//! The reload storm: random changes of the configuration of a node under load, from a file, on a real journal.
//!
//! `cargo xtask reload-storm --changes N --seed S --rate N --json` runs it; alone it makes a few changes.
#![expect(clippy::print_stdout, reason = "a program of its own, without the test harness")]

mod load;
mod plan;
mod proof;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use csf_core::Stamp;
use csf_core::port::{Journal, JournalReader, Rng, TimeSource};
use csf_data::{JournalOptions, SqliteJournal, SqliteReader};
use csf_runtime::config::{Item, Problem, Settings, Source};
use csf_runtime::exec::RunState;
use csf_runtime::node::{BootOptions, ComponentReport, Interrupt, Node, ReloadError, boot};
use csf_runtime::replay::replay;
use csf_runtime::topology::Topology;
use csf_runtime::{Catalogue, Pack, World};
use csf_sim::SeededRng;
use csf_time::SystemClock;

use plan::Plan;

struct Options {
    changes: u64,
    seed: u64,
    rate_hz: u64,
    json: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options { changes: 25, seed: 1, rate_hz: 1_000, json: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next().ok_or(format!("{argument} needs a number"))?;
            text.parse::<u64>().map_err(|_| format!("{argument} needs a number, not `{text}`"))
        };
        match argument.as_str() {
            "--changes" => options.changes = number()?,
            "--seed" => options.seed = number()?,
            "--rate" => options.rate_hz = number()?,
            "--json" => options.json = true,
            // What `cargo test` passes to every test program.
            _ => {}
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let outcome = options().and_then(|options| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.map_err(|e| e.to_string())?.block_on(Storm::run(&options))
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(file: &Path, catalogue: &Catalogue) -> Result<Topology, Vec<Problem>> {
    let text = std::fs::read_to_string(file).map_err(|e| vec![Problem::new("CSF-0101", e.to_string())])?;
    let item = Item::parse(&Arc::new(Source { name: file.display().to_string(), text }))?;
    let (settings, mut problems) = Settings::read(&item);
    match Topology::check(settings, catalogue) {
        Ok(topology) if problems.is_empty() => Ok(topology),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
            Err(problems)
        }
    }
}

/// Counts of what must not happen, and times.
#[derive(Default)]
struct Tally {
    refused: u64,
    /// Invalid files that changed something.
    changed_by_invalid: u64,
    /// Parts that no plan named and that are another instance, or do not run.
    unrelated_touched: u64,
    pauses_ms: Vec<f64>,
    times_ms: Vec<f64>,
    told: Vec<String>,
}

struct Storm {
    folder: PathBuf,
    catalogue: Arc<Catalogue>,
    clock: Arc<SystemClock>,
}

impl Storm {
    fn file(&self) -> PathBuf {
        self.folder.join("csf.toml")
    }

    fn now(&self) -> Stamp {
        Stamp(self.clock.now_ns().map_or(0, |t| t.as_nanos()))
    }

    async fn start(&self) -> Result<Arc<Node>, String> {
        let journal = self.folder.join("journal");
        let (write, of) = (journal.clone(), journal.clone());
        let topology = read(&self.file(), &self.catalogue).map_err(|problems| format!("{problems:?}"))?;
        let node = boot(BootOptions {
            topology,
            catalogue: self.catalogue.clone(),
            clock: self.clock.clone(),
            clock_report: None,
            process_start: self.now(),
            journal: journal.display().to_string(),
            directory: journal,
            open_journal: Box::new(move || {
                Ok(Box::new(SqliteJournal::open(&write, &JournalOptions::default())?) as Box<dyn Journal>)
            }),
            open_reader: Arc::new(move || Ok(Box::new(SqliteReader::open_read_only(&of)?) as Box<dyn JournalReader>)),
            listen: None,
            build_id: "storm".to_owned(),
            spin_ns: 0,
            world: World::machine(),
            interrupt: Interrupt::default(),
            attachments: Vec::new(),
            on_phase: Box::new(|_| ()),
        })
        .await
        .map_err(|e| e.to_string())?;
        let (file, catalogue) = (self.file(), self.catalogue.clone());
        node.set_configuration_source(Arc::new(move || read(&file, &catalogue)));
        Ok(node)
    }

    async fn run(options: &Options) -> Result<bool, String> {
        let folder = std::env::temp_dir().join(format!("csf-storm-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let packs: Vec<Box<dyn Pack>> = vec![Box::new(load::Storm)];
        let catalogue = Arc::new(Catalogue::of(&packs));
        let clock = SystemClock::detect().map_err(|e| e.to_string())?;
        let storm = Self { folder, catalogue, clock };
        let outcome = storm.rage(options).await;
        std::fs::remove_dir_all(&storm.folder).map_err(|e| format!("{}: {e}", storm.folder.display()))?;
        outcome
    }

    async fn rage(&self, options: &Options) -> Result<bool, String> {
        let mut rng = SeededRng::new(options.seed);
        let mut plan = Plan::new(options.rate_hz);
        self.write(&plan.text())?;
        let node = self.start().await?;
        let mut tally = Tally::default();
        let began = self.now();
        for number in 1..=options.changes {
            if number % 5 == 0 {
                self.spoil(&node, &plan, &mut rng, &mut tally).await?;
            }
            self.change(&node, &mut plan, &mut rng, &mut tally).await?;
            if !options.json && number % 100 == 0 {
                eprintln!("{number} of {} changes", options.changes);
            }
        }
        let seconds = self.now().since(began) as f64 / 1e9;
        node.settle().await;
        node.shutdown().await;
        drop(node);
        let first = self.prove(None)?;
        // Another start goes on where the storm ended.
        let node = self.start().await?;
        let resumed = node.report().resumed;
        let some = node.feed().position() + 500;
        let mut commits = node.feed().subscribe();
        while node.feed().position() < some {
            // One that fell behind has missed commits, not the position.
            let _ = commits.recv().await;
        }
        node.settle().await;
        node.shutdown().await;
        drop(node);
        let second = self.prove(resumed.as_ref().map(|report| report.equal))?;
        Ok(report(options, &tally, seconds, &first, &second))
    }

    fn write(&self, text: &str) -> Result<(), String> {
        // As editors do: another file, then its name.
        let (file, new) = (self.file(), self.folder.join("csf.toml.new"));
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &file)).map_err(|e| e.to_string())
    }

    async fn change(
        &self,
        node: &Arc<Node>,
        plan: &mut Plan,
        rng: &mut dyn Rng,
        tally: &mut Tally,
    ) -> Result<(), String> {
        plan.change(rng);
        self.write(&plan.text())?;
        let before = instances(node);
        let done = match node.reload().await {
            Ok(done) => done,
            Err(error) => {
                return Err(format!("a valid change was refused: {error} {:?}\n{}", error.problems(), plan.text()));
            }
        };
        tally.times_ms.push(done.ms);
        tally.pauses_ms.push(done.pause_ms);
        let after = instances(node);
        for (name, instance) in &before {
            let is_named = done.plan.steps.iter().any(|step| step.name == *name);
            if !is_named && after.get(name) != Some(instance) {
                tally.unrelated_touched += 1;
                tally.told.push(format!("{name}: {instance:?} became {:?}\n{}", after.get(name), done.plan));
            }
        }
        if done.plan.steps.is_empty() {
            return Err("a change changed nothing".to_owned());
        }
        Ok(())
    }

    async fn spoil(&self, node: &Arc<Node>, plan: &Plan, rng: &mut dyn Rng, tally: &mut Tally) -> Result<(), String> {
        let before = (instances(node), node.configuration().generation, node.topology().settings.text.clone());
        self.write(&plan.spoilt(rng))?;
        match node.reload().await {
            Err(ReloadError::Invalid(_) | ReloadError::NeedsStart(_)) => tally.refused += 1,
            Err(error) => return Err(format!("refused for another reason: {error}")),
            Ok(done) => tally.told.push(format!("an invalid file was taken: {}", done.plan)),
        }
        let after = (instances(node), node.configuration().generation, node.topology().settings.text.clone());
        if before != after {
            tally.changed_by_invalid += 1;
            tally.told.push(format!("an invalid file changed {:?} to {:?}", before.0, after.0));
        }
        Ok(())
    }

    /// What the journal shows; `equal` outputs when it is replayed, or as a start found.
    fn prove(&self, resumed: Option<u64>) -> Result<Proof, String> {
        let mut reader = SqliteReader::open_read_only(&self.folder.join("journal")).map_err(|e| e.to_string())?;
        let findings = proof::look(&mut reader, &self.catalogue)?;
        let report =
            replay(&mut reader, &self.catalogue, None, &mut |_| ()).map_err(|e| format!("replay: {e}"))?.report;
        let is_equal = report.first_difference.is_none() && report.compared == report.equal;
        Ok(Proof { findings, is_equal, difference: report.first_difference.map(|d| format!("{d:?}")), resumed })
    }
}

struct Proof {
    findings: proof::Findings,
    is_equal: bool,
    difference: Option<String>,
    resumed: Option<u64>,
}

/// Every part's instance and whether it works.
fn instances(node: &Node) -> BTreeMap<String, (u64, bool)> {
    let of = |part: ComponentReport| {
        // A service that is being stopped for a restart is still the old one.
        (part.name, (part.incarnation, matches!(part.state, RunState::Running | RunState::Starting)))
    };
    node.components().into_iter().map(of).collect()
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0.0)
}

fn report(options: &Options, tally: &Tally, seconds: f64, first: &Proof, second: &Proof) -> bool {
    let (mut pauses, mut times) = (tally.pauses_ms.clone(), tally.times_ms.clone());
    pauses.retain(|pause| *pause > 0.0);
    pauses.sort_by(f64::total_cmp);
    times.sort_by(f64::total_cmp);
    let lost = first.findings.lost + second.findings.lost;
    let reordered = first.findings.reordered + second.findings.reordered;
    let is_equal = first.is_equal && second.is_equal && second.resumed.is_some();
    let holds =
        lost + reordered + tally.changed_by_invalid + tally.unrelated_touched == 0 && is_equal && tally.told.is_empty();
    let told: Vec<&String> = tally.told.iter().chain(&first.findings.told).chain(&second.findings.told).collect();
    let rate = first.findings.messages as f64 / seconds;
    if options.json {
        let row = serde_json::json!({
            "changes": options.changes, "seed": options.seed, "seconds": seconds,
            "messages": first.findings.messages, "messages_per_s": rate.round(),
            "lost": lost, "reordered": reordered, "unrelated_touched": tally.unrelated_touched,
            "invalid_refused": tally.refused, "changed_by_invalid": tally.changed_by_invalid,
            "replay_equal": is_equal, "continued": second.resumed.is_some(),
            "pause_ms": { "p50": percentile(&pauses, 0.5), "p99": percentile(&pauses, 0.99), "max": pauses.last() },
            "reload_ms": { "p50": percentile(&times, 0.5), "p99": percentile(&times, 0.99), "max": times.last() },
            "told": told, "holds": holds,
        });
        println!("{row}");
    } else {
        println!(
            "{} changes in {seconds:.1} s under {rate:.0} messages/s: {lost} lost, {reordered} reordered",
            options.changes
        );
        println!(
            "{} unrelated parts touched; {} invalid files refused, {} of them changed something",
            tally.unrelated_touched, tally.refused, tally.changed_by_invalid
        );
        println!(
            "touched components stood still for {:.1} ms (median), {:.1} ms (99 %)",
            percentile(&pauses, 0.5),
            percentile(&pauses, 0.99)
        );
        println!("replay {}", if is_equal { "equal bit for bit, also over another start" } else { "DIFFERS" });
        told.iter().for_each(|line| println!("  {line}"));
    }
    for difference in first.difference.iter().chain(&second.difference) {
        eprintln!("replay differs: {difference}");
    }
    if !holds {
        eprintln!("repeat it with: cargo xtask reload-storm --seed {} --changes {}", options.seed, options.changes);
    }
    holds
}
