//! `csf up`: a node from a configuration, or the demo.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::TimeSource;
use csf_gateway::{Access, Gateway};
use csf_runtime::Catalogue;
use csf_runtime::config::{Item, Settings};
use csf_runtime::emergency::{EmergencyShutdownHandler, isolate_thread};
use csf_runtime::exec::RunState;
use csf_runtime::node::{Interrupt, Node, PathCleanup, Phase, ShutdownReason, ShutdownReport, StateProof, Urgency};
use csf_runtime::persist::{KeyRing, StatePersistence};
use csf_time::SystemClock;

use super::Outcome;
use crate::cli::{ConfigArgs, Speed, Up};
use crate::client::NodeFile;
use crate::diagnostic::Failure;
use crate::node::{self, Start};
use crate::store::Store;
use crate::summary::{Flown, Summary};
use crate::{demo, fault, interrupts, packs, paths, reload, workflows};

/// Runs of the flight that `speed_factor` is the median of.
const TIMED_RUNS: usize = 5;
/// Time between two progress lines.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// How long the journal may refuse commits at the end of a flight before the run counts as failed.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(2);
/// Clean-up priority of the files by which others find the node: early, since nobody should find it any more.
const FILES_PRIORITY: u32 = 10;
/// Length of the paced phase that latencies come from, seconds of flight.
const PACED_S: f64 = 3.0;

pub(crate) fn run(args: Up, process_start: Stamp) -> Outcome {
    // First of all, so that no signal is lost.
    let interrupt = interrupts::listen()?;
    let emergency = EmergencyShutdownHandler::install().map_err(|e| Failure::new("CSF-0209", e.to_string()))?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // Tokio keeps a panic to the task it is in.
    let runtime = builder.worker_threads(2).enable_all().on_thread_start(isolate_thread).build()?;
    let clock = fault::clock(args.fault).map_err(|e| Failure::new("CSF-0208", e.to_string()))?;
    let keys = match &args.state_keys[..] {
        [] => None,
        keys => {
            Some(KeyRing::load(keys.iter().map(String::as_str)).map_err(|e| Failure::new("CSF-0211", e.to_string()))?)
        }
    };
    let up = Session {
        keys,
        catalogue: packs::catalogue(),
        clock,
        process_start,
        interrupt,
        emergency: emergency.clone(),
        args,
    };
    let outcome = runtime.block_on(up.run());
    if emergency.has_begun() {
        emergency.hold();
    }
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome
}

struct Session {
    catalogue: Arc<Catalogue>,
    clock: Arc<SystemClock>,
    process_start: Stamp,
    interrupt: Interrupt,
    emergency: Arc<EmergencyShutdownHandler>,
    keys: Option<KeyRing>,
    args: Up,
}

/// A running node and what belongs to it.
struct Running {
    node: Arc<Node>,
    address: Option<SocketAddr>,
    login: String,
    /// Whether people are told how it stops.
    tells: bool,
    /// Ends before the node does.
    fault: Option<fault::Seeded>,
}

impl Running {
    async fn stop(self, reason: ShutdownReason) -> ShutdownReport {
        drop(self.fault);
        if self.tells {
            say(format_args!("stopping"));
        }
        let tell = |phase: &Phase| {
            if self.tells {
                print_phase(phase);
            }
        };
        self.node.stop(reason, tell).await
    }
}

impl Session {
    fn now(&self) -> Stamp {
        Stamp(self.clock.now_ns().map_or(0, |t| t.as_nanos()))
    }

    async fn run(&self) -> Outcome {
        if self.args.config.demo || self.args.flight.is_some() { self.demo().await } else { self.configured().await }
    }

    fn listen(&self, item: &Item) -> Result<SocketAddr, Failure> {
        let (settings, _) = Settings::read(item);
        let text = self.args.listen.clone().unwrap_or(settings.node.listen);
        text.parse().map_err(|_| Failure::new("CSF-0104", format!("`{text}` is no address; write 127.0.0.1:8080")))
    }

    async fn configured(&self) -> Outcome {
        let item = node::load(&self.args.config)?;
        let (settings, _) = Settings::read(&item);
        let configured = (!settings.node.journal.is_empty()).then(|| PathBuf::from(&settings.node.journal));
        let journal = self
            .args
            .journal
            .clone()
            .or(configured)
            .unwrap_or_else(|| paths::state_directory().join("journal").join(&settings.node.name));
        let running =
            self.boot(&item, node::store(&journal)?, Some(self.listen(&item)?), true, self.process_start).await?;
        running.node.set_configuration_source(reload::source(&self.args.config, &self.catalogue));
        reload::attend(&running.node, &self.args.config, self.args.watch, running.tells)?;
        self.announce(&running);
        self.until_told(Duration::ZERO).await;
        let node = running.node.clone();
        let stopped = running.stop(self.reason()).await;
        if self.args.config.json {
            let mut report =
                serde_json::to_value(node.report()).map_err(|e| Failure::new("CSF-0210", e.to_string()))?;
            report["shutdown"] = serde_json::json!(stopped);
            super::print_json(&report)?;
        }
        match node.given_up() {
            Some(reason) => Err(Failure::new("CSF-0212", format!("the node stopped by itself: {reason}"))),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    fn reason(&self) -> ShutdownReason {
        match self.interrupt.urgency() {
            Urgency::None => ShutdownReason::Finished,
            _ => ShutdownReason::Requested,
        }
    }

    /// Waits for Ctrl-C or the end of `--for`, of which `spent` is over already.
    async fn until_told(&self, spent: Duration) {
        match self.args.limit {
            Some(limit) => tokio::select! {
                () = tokio::time::sleep(limit.saturating_sub(spent)) => {}
                () = self.interrupt.reached(Urgency::Orderly) => {}
            },
            None => self.interrupt.reached(Urgency::Orderly).await,
        }
    }

    async fn boot(
        &self,
        item: &Item,
        store: Store,
        listen: Option<SocketAddr>,
        tells: bool,
        process_start: Stamp,
    ) -> Result<Running, Failure> {
        let (directory, journal) = (store.directory().to_owned(), store.to_string());
        std::fs::create_dir_all(&directory).map_err(|e| {
            let message = format!("{} cannot be made: {e}; choose another with --journal", directory.display());
            Failure::new("CSF-0202", message)
        })?;
        let access =
            Access::new().map_err(|e| Failure::new("CSF-0210", format!("no randomness for the token: {e}")))?;
        let mut attachments: Vec<csf_runtime::node::Attachment> = Vec::new();
        let (mut address, mut front) = (None, None);
        // The address is checked by the pre-flight first, so that its refusal comes before anything is touched.
        if let Some(listen) = listen {
            check_address(listen)?;
            let bound = Gateway::bind(listen, access.clone()).map_err(|e| Failure::new("CSF-0201", e.to_string()))?;
            let bound = bound.with_workflows(workflows::open_ones());
            attachments.push(Box::new(workflows::attach));
            address = Some(bound.address());
            front = Some(bound.front());
            attachments.push(Box::new(move |node| bound.attach(node)));
        }
        let quiet = self.args.config.json || !tells;
        let start = Start {
            store,
            clock: self.clock.clone(),
            process_start,
            listen: None,
            interrupt: self.interrupt.clone(),
            attachments,
            on_phase: Box::new(move |phase| {
                if let Some(front) = &front {
                    front.tell(phase);
                }
                if !quiet {
                    print_phase(phase);
                }
            }),
        };
        let node = node::start(item, &self.catalogue, start).await?;
        node.entrust_to(&self.emergency);
        if address.is_some() {
            self.keep_state(&node, &directory, !quiet);
        }
        let mut running = Running { node, address, login: String::new(), tells: !quiet, fault: None };
        if let Some(address) = address {
            let code = access.one_time_code().map_err(|e| Failure::new("CSF-0210", e.to_string()))?;
            running.login = format!("http://{address}/login?code={code}");
            if let Err(failure) = write_node_files(&running.node, address, access.token(), &directory, journal) {
                running.stop(ShutdownReason::StartFailed).await;
                return Err(failure);
            }
        }
        if let Some(fault) = self.args.fault {
            running.fault = Some(fault::seed(fault, &running.node, &self.emergency)?);
        }
        Ok(running)
    }

    /// Persists the components' state at the stop, where there is a key, and tells what the newest set says of this start.
    fn keep_state(&self, node: &Node, directory: &Path, tells: bool) {
        let Some(keys) = self.keys.clone() else { return };
        match node.keep_state(Arc::new(StatePersistence::new(directory.join("state"), keys))) {
            Ok(Some(proof)) if !proof.different.is_empty() => {
                let (time, names) = (proof.time, proof.different.join(", "));
                let message = format!(
                    "the state persisted at {time} differs from what the journal leads to: {names}; the node goes on with the journal's"
                );
                Failure::new("CSF-0211", message).print();
            }
            Ok(Some(StateProof { time, is_current: true, compared, .. })) if tells => {
                say(format_args!("state of {time}: {compared} of {compared} components equal"));
            }
            Ok(_) => {}
            // The journal is the truth, and the next stop writes a set that can be read.
            Err(error) => Failure::new("CSF-0211", error.to_string()).print(),
        }
    }

    fn announce(&self, running: &Running) {
        let report = running.node.report();
        if self.args.config.json {
            return;
        }
        eprintln!("ready in {:.0} ms; journal in {}", report.boot_ms, report.journal.place);
        if running.address.is_some() {
            println!("console  {}", running.login);
        }
        if let Some(resumed) = &report.resumed {
            eprintln!(
                "continued: {} packets read, {} of {} outputs equal",
                resumed.packets, resumed.equal, resumed.compared
            );
        }
        eprintln!("Ctrl-C stops it; `csf status`, `csf tap 'nav.>'` and `csf why ID` look into it");
    }

    async fn demo(&self) -> Outcome {
        let recording = demo::recording(self.args.flight.as_deref())?;
        if self.args.seeds > 1 && recording.extension().is_some_and(|e| e == "ulg") {
            let message =
                "`--seeds` varies the noise of fixes made from RTK; a PX4 log has fixes of its own, leave it out";
            return Err(Failure::new("CSF-0104", message));
        }
        let started = self.now();
        let is_headless = self.args.config.json || self.args.limit.is_some();
        let store = match &self.args.journal {
            Some(journal) => node::store(journal)?,
            None => Store::embedded(paths::new_demo_run(started)?),
        };
        let item = self.demo_item(&recording, self.args.speed, 1, 0.0)?;
        let listen = self.listen(&item)?;
        let running = self.boot(&item, store, Some(listen), true, self.process_start).await?;
        self.announce(&running);
        let flown = self.fly(&running, is_headless.then_some(self.args.limit).flatten()).await;
        let mut summary = Summary::new(&running.node, &flown);
        if self.args.speed == Speed::Max && flown.is_complete {
            self.measure_more(&recording, &mut summary).await?;
        }
        if self.args.seeds > 1 {
            summary.add_seeds(&recording, self.args.fix_sigma, self.args.seeds)?;
        }
        let goes_on = flown.failure.is_none() && !flown.is_interrupted;
        if is_headless && self.args.limit.is_some() && goes_on {
            self.until_told(Duration::from_nanos(self.now().since(started))).await;
        }
        let is_printed = !is_headless && flown.is_complete;
        if is_printed {
            summary.finish(&running.node);
            summary.print();
        }
        if !is_headless && goes_on {
            eprintln!("the flight is over; this machine's own streams go on until Ctrl-C");
            self.until_told(Duration::ZERO).await;
        }
        let node = running.node.clone();
        let stopped = running.stop(self.reason()).await;
        summary.finish(&node);
        summary.add_shutdown(&stopped);
        if self.args.config.json {
            super::print_json(&summary.json())?;
        } else if !is_printed {
            summary.print();
        }
        if let Some(failure) = flown.failure {
            return Err(Failure::new(super::known_code(failure_code(&failure)), failure));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn demo_item(&self, recording: &Path, speed: Speed, seed: u64, duration_s: f64) -> Result<Item, Failure> {
        let mut set = demo::flight_pairs(recording, speed, self.args.fix_sigma, seed, duration_s);
        set.extend(self.args.config.set.iter().cloned());
        node::load(&ConfigArgs { demo: true, set, ..self.args.config.clone() })
    }

    /// Waits for the flight's end (or the limit, or Ctrl-C), then until all of it is handled and durable, or the journal has given up.
    async fn fly(&self, running: &Running, limit: Option<Duration>) -> Flown {
        let node = &running.node;
        let landed = async {
            while let Some(stats) = node.service("flight") {
                match stats.state() {
                    RunState::Finished => return (true, false, None),
                    RunState::Failed => return (false, false, Some(stats.last_error())),
                    _ => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
            (false, false, Some("there is no source called `flight`".to_owned()))
        };
        let (is_complete, mut is_interrupted, mut failure) = tokio::select! {
            ended = landed => ended,
            () = self.tell_progress(node) => (false, false, None),
            () = async { match limit { Some(limit) => tokio::time::sleep(limit).await, None => std::future::pending().await } } => (false, false, None),
            () = self.interrupt.reached(Urgency::Orderly) => (false, true, None),
        };
        tokio::select! {
            () = node.settle() => {}
            () = self.interrupt.reached(Urgency::Hasty) => is_interrupted = true,
            reason = node.feed().given_up(JOURNAL_PATIENCE) => failure = failure.or(Some(reason)),
        }
        Flown { is_complete, is_interrupted, failure, settled_at: self.now() }
    }

    /// Keeps a line about the flight on a terminal up to date; never ends, and leaves no line behind.
    async fn tell_progress(&self, node: &Node) {
        if self.args.config.json || !std::io::stderr().is_terminal() {
            return std::future::pending().await;
        }
        let _line = ClearedLine;
        loop {
            tokio::time::sleep(PROGRESS_EVERY).await;
            let share = node.service("flight").map_or(0.0, |s| s.progress());
            let states = node.topics().iter().find(|t| t.name == "nav.state").map_or(0, |t| t.packets);
            let error = crate::summary::last_payload(node, "nav.score")
                .and_then(|s| s["position_error_rms_m"].as_f64())
                .map_or(String::new(), |e| format!(", position error {e:.2} m rms"));
            eprint!("\r\x1b[Kflying {:>3.0} %  {states} states{error}", 100.0 * share);
        }
    }

    /// Four more saturated runs for the median, and a paced one for the latency, each on a journal of its own.
    async fn measure_more(&self, recording: &Path, summary: &mut Summary) -> Result<(), Failure> {
        let scratch = paths::state_directory().join("scratch").join(std::process::id().to_string());
        for number in 1..=TIMED_RUNS {
            if self.interrupt.urgency() > Urgency::None {
                break;
            }
            let paced = number == TIMED_RUNS;
            let (speed, duration_s) = if paced { (Speed::Times(1.0), PACED_S) } else { (Speed::Max, 0.0) };
            let item = self.demo_item(recording, speed, 1, duration_s)?;
            let directory = scratch.join(number.to_string());
            let running = self.boot(&item, Store::embedded(directory), None, false, self.now()).await?;
            let flown = self.fly(&running, None).await;
            if paced {
                summary.add_paced(&running.node);
            } else {
                summary.add_timed(&running.node, &flown);
            }
            running.stop(ShutdownReason::Finished).await;
        }
        // Scratch that stays behind is only disk space.
        let _ = std::fs::remove_dir_all(&scratch);
        Ok(())
    }
}

/// Takes the progress line away, however the waiting ends.
struct ClearedLine;

impl Drop for ClearedLine {
    fn drop(&mut self) {
        eprint!("\r\x1b[K");
    }
}

fn failure_code(text: &str) -> &str {
    text.strip_prefix('[').and_then(|t| t.split(']').next()).unwrap_or("")
}

fn check_address(address: SocketAddr) -> Result<(), Failure> {
    if !address.ip().is_loopback() {
        let message = format!(
            "{address} is not a loopback address; the API serves this machine only, use 127.0.0.1:{}",
            address.port()
        );
        return Err(Failure::new("CSF-0207", message));
    }
    Ok(())
}

/// A line on stderr. Whoever read it may be gone: that must not keep a node from stopping in order.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn print_phase(phase: &Phase) {
    say(format_args!("  {:>2}  {:<22} {:>8.1} ms  {}", phase.number, phase.name, phase.ms, phase.detail));
}

/// Writes the token and the node's address where `csf pub` and friends find them, readable by this user only.
fn write_node_files(
    node: &Node,
    address: SocketAddr,
    token: &str,
    directory: &Path,
    journal: String,
) -> Result<(), Failure> {
    let file = NodeFile {
        address: address.to_string(),
        token: token.to_owned(),
        journal,
        name: node.topology().settings.node.name.clone(),
    };
    let nodes = paths::nodes_directory();
    std::fs::create_dir_all(&nodes)?;
    let own = nodes.join(format!("{}.json", std::process::id()));
    let text = serde_json::to_string(&file).map_err(|e| Failure::new("CSF-0210", e.to_string()))?;
    let token_file = directory.join("api.token");
    // First, so that a failure between the two leaves none.
    let paths = vec![own.clone(), token_file.clone()];
    node.cleanup().register(Arc::new(PathCleanup::new("node and token files", FILES_PRIORITY, paths)));
    for (path, content) in [(&own, text.as_str()), (&token_file, token)] {
        let _ = std::fs::remove_file(path);
        let mut open = std::fs::OpenOptions::new();
        let mut file = open.write(true).create_new(true).mode(0o600).open(path)?;
        std::io::Write::write_all(&mut file, content.as_bytes())?;
    }
    Ok(())
}
