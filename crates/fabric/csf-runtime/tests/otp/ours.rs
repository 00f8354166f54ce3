//! Runs a scenario on our supervisors in the simulated world and prints what happened, in the words of `oracle.erl`.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::port::{Sleep, Timer};
use csf_runtime::supervise::{
    ChildContext, ChildSpec, ChildState, Env, ExitReason, Flags, Pid, ProcessRef, Report, ReportKind, Shutdown, Start,
    StartError, Supervisor, SupervisorError, SupervisorRef, Work,
};
use csf_sim::{SeededRng, SimExecutor};
use tokio::sync::mpsc;

use crate::scenario::{Child, End, Manner, Path, Request, Scenario, StartResult, Step, Stop, Tree, What};

/// Virtual time after which nothing more happens: many times what the slowest stop takes.
const QUIET: Duration = Duration::from_secs(3_600);

/// The scripted clock of the budgets over the virtual one of the waits.
struct ScriptedTimer {
    seconds: Arc<AtomicU64>,
    world: SimExecutor,
}

impl Timer for ScriptedTimer {
    fn now(&self) -> Duration {
        Duration::from_secs(self.seconds.load(Ordering::Relaxed))
    }

    fn sleep(&self, span: Duration) -> Sleep {
        self.world.sleep(span)
    }
}

struct Instance {
    path: String,
    number: u64,
    pid: Pid,
    end: mpsc::UnboundedSender<ExitReason>,
    is_alive: Arc<()>,
}

/// What the processes of one scenario write down.
#[derive(Default)]
struct Notes {
    lines: Vec<String>,
    starts: BTreeMap<String, usize>,
    /// In the order they started.
    instances: Vec<Instance>,
}

type Shared = Arc<Mutex<Notes>>;

fn notes(shared: &Shared) -> MutexGuard<'_, Notes> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notes {
    fn label(&self, pid: Pid) -> Option<String> {
        self.instances.iter().find(|i| i.pid == pid).map(|i| format!("{}#{}", i.path, i.number))
    }

    fn living(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(|i| Arc::strong_count(&i.is_alive) > 1)
    }
}

fn label(path: &[&str]) -> String {
    if path.is_empty() { "root".to_owned() } else { path.join(".") }
}

fn reason(end: End) -> ExitReason {
    match end {
        End::Normal => ExitReason::Normal,
        End::Shutdown => ExitReason::Shutdown,
        End::ShutdownWith => ExitReason::ShutdownWith("done".into()),
        End::Boom => ExitReason::failed("boom"),
        End::Killed => ExitReason::Killed,
    }
}

/// A start that panics, in OTP's word for it.
fn words(reason: &str) -> String {
    reason.replace("panicked: crash", "crash")
}

/// The lines of one scenario, without its first.
pub(crate) fn run(scenario: &Scenario, seed: u64) -> Vec<String> {
    let world = SimExecutor::new(seed ^ scenario.number);
    let shared = Shared::default();
    let seconds = Arc::new(AtomicU64::new(0));
    let timer = Arc::new(ScriptedTimer { seconds: seconds.clone(), world: world.clone() });
    let heard = shared.clone();
    let env = Env::new(timer, Arc::new(world.clone()), SeededRng::new(seed))
        .observed_by(move |report| note_report(&heard, report));
    let runner = Runner { world: world.clone(), shared: shared.clone(), seconds };
    if let Err(stalled) = world.block_on(runner.run(scenario, env)) {
        notes(&shared).lines.push(format!("stalled: {stalled}"));
    }
    std::mem::take(&mut notes(&shared).lines)
}

fn note_report(shared: &Shared, report: &Report) {
    let mut notes = notes(shared);
    let path: Vec<&str> = report.supervisor.split('/').skip(1).chain([&*report.child]).collect();
    let name = label(&path);
    let instance = report.pid.filter(|_| &*report.child == "dynamic").and_then(|pid| notes.label(pid));
    let subject = instance.unwrap_or_else(|| name.clone());
    notes.lines.push(match &report.kind {
        ReportKind::Started | ReportKind::Delayed { .. } => return,
        ReportKind::StartFailed { reason } => format!("report start_failed {name} {}", start_error(reason)),
        ReportKind::Terminated { reason } => format!("report terminated {subject} {reason}"),
        ReportKind::ShutdownFailed { reason } => format!("report shutdown_failed {name} {reason}"),
        ReportKind::BudgetSpent { .. } => format!("report budget_spent {name}"),
    });
}

struct Runner {
    world: SimExecutor,
    shared: Shared,
    seconds: Arc<AtomicU64>,
}

impl Runner {
    fn line(&self, line: String) {
        notes(&self.shared).lines.push(line);
    }

    async fn run(&self, scenario: &Scenario, env: Env) {
        let (flags, children) = (flags(&scenario.tree), specs(&self.shared, &[], &scenario.tree));
        let mut root = match Supervisor::start("root", flags, children, env).await {
            Ok(root) => {
                self.line("init ok".to_owned());
                root
            }
            Err(error) => {
                self.line(format!("init {}", start_error(&error)));
                self.settle(None).await;
                return;
            }
        };
        self.settle(Some(root.reference())).await;
        for (i, step) in scenario.steps.iter().enumerate() {
            self.line(format!("step {}", i + 1));
            self.step(step, &root).await;
            self.settle(Some(root.reference())).await;
            if !root.process().is_alive() {
                let reason = root.ended().await;
                self.line(format!("end {reason}"));
                return;
            }
        }
    }

    async fn step(&self, step: &Step, root: &Supervisor) {
        match step {
            Step::Clock(seconds) => drop(self.seconds.fetch_add(*seconds, Ordering::Relaxed)),
            Step::Stop(End::Killed) => root.process().kill(),
            Step::Stop(end) => root.stop(reason(*end)),
            Step::Crash(path, _) => {
                let above = self.supervisor(root, path.split_last().map_or(&[], |(_, above)| above)).await;
                let processes = match above {
                    Some(above) => self.processes(&above).await,
                    None => BTreeMap::new(),
                };
                self.crash(step, &processes).await;
            }
            Step::CrashNth(..) => self.crash(step, &BTreeMap::new()).await,
            Step::Call(path, request) => {
                let answer = match self.supervisor(root, path).await {
                    Some(supervisor) => self.bind(&supervisor, path, request).await,
                    None => "nobody".to_owned(),
                };
                self.line(format!("reply 1 {answer}"));
            }
            Step::Burst(path, steps) => self.burst(path, steps, root).await,
        }
    }

    async fn burst(&self, path: &Path, steps: &[Step], root: &Supervisor) {
        let Some(supervisor) = self.supervisor(root, path).await else {
            self.line("nobody".to_owned());
            return;
        };
        let processes = self.processes(&supervisor).await;
        let Ok(suspension) = supervisor.suspend().await else { return };
        let mut answers: Vec<Pin<Box<dyn Future<Output = String> + Send>>> = Vec::new();
        for step in steps {
            match step {
                Step::Call(_, request) => {
                    let mut answer = self.bind(&supervisor, path, request);
                    // The first poll sends the request.
                    let early = std::future::poll_fn(|cx| std::task::Poll::Ready(answer.as_mut().poll(cx))).await;
                    answers.push(match early {
                        std::task::Poll::Ready(answer) => Box::pin(std::future::ready(answer)),
                        std::task::Poll::Pending => answer,
                    });
                }
                step => self.crash(step, &processes).await,
            }
        }
        drop(suspension);
        self.world.sleep(QUIET).await;
        for (i, answer) in answers.into_iter().enumerate() {
            let answer = answer.await;
            self.line(format!("reply {} {answer}", i + 1));
        }
    }

    /// The supervisors among the children, by label.
    async fn processes(&self, supervisor: &SupervisorRef) -> BTreeMap<String, ProcessRef> {
        let path: Vec<String> = supervisor.path().split('/').skip(1).map(str::to_owned).collect();
        let children = supervisor.which_children().await.unwrap_or_default();
        let supervisors = children.into_iter().filter(|c| c.work == Work::Supervisor);
        supervisors
            .filter_map(|c| {
                let path: Vec<&str> = path.iter().map(String::as_str).chain([&*c.id]).collect();
                Some((label(&path), c.process?))
            })
            .collect()
    }

    /// Ends a worker, or one of `processes`, and waits until its supervisor's inbox knows.
    async fn crash(&self, step: &Step, processes: &BTreeMap<String, ProcessRef>) {
        let (name, victim, end) = match step {
            Step::Crash(path, end) => (label(path), self.newest(&label(path)), *end),
            Step::CrashNth(path, n, end) => (String::new(), self.nth(path, *n).map(|(end, _)| end), *end),
            _ => return,
        };
        match (victim, processes.get(&name)) {
            (Some(victim), _) => drop(victim.send(reason(end))),
            (None, Some(process)) if end == End::Killed && process.is_alive() => process.kill(),
            _ => self.line("nobody".to_owned()),
        }
        self.turns().await;
    }

    /// Lets everything that is ready run; no timer ends meanwhile.
    async fn turns(&self) {
        self.world.sleep(Duration::from_nanos(1)).await;
    }

    fn newest(&self, path: &str) -> Option<mpsc::UnboundedSender<ExitReason>> {
        notes(&self.shared).living().filter(|i| i.path == path).last().map(|i| i.end.clone())
    }

    fn nth(&self, path: &Path, n: usize) -> Option<(mpsc::UnboundedSender<ExitReason>, Pid)> {
        let path = label(&path.iter().copied().chain(["dynamic"]).collect::<Vec<_>>());
        let notes = notes(&self.shared);
        let living: Vec<&Instance> = notes.living().filter(|i| i.path == path).collect();
        if living.is_empty() {
            return None;
        }
        let chosen = living[n % living.len()];
        Some((chosen.end.clone(), chosen.pid))
    }

    async fn supervisor(&self, root: &Supervisor, path: &[&'static str]) -> Option<SupervisorRef> {
        let mut at = root.reference().clone();
        for id in path {
            let children = at.which_children().await.ok()?;
            at = children.into_iter().find(|c| *c.id == **id)?.supervisor?;
        }
        Some(at)
    }

    /// A request whose target is looked up now.
    fn bind(
        &self,
        supervisor: &SupervisorRef,
        path: &Path,
        request: &Request,
    ) -> Pin<Box<dyn Future<Output = String> + Send>> {
        let supervisor = supervisor.clone();
        let of_instance = |pid: Result<Option<Pid>, SupervisorError>| match pid {
            Ok(Some(_)) => "ok".to_owned(),
            Ok(None) => "ok ignored".to_owned(),
            Err(error) => answer(&error),
        };
        let of_unit = |done: Result<(), SupervisorError>| match done {
            Ok(()) => "ok".to_owned(),
            Err(error) => answer(&error),
        };
        match request.clone() {
            Request::Start(child) => {
                let spec = spec(&self.shared, path, &child);
                Box::pin(async move { of_instance(supervisor.start_child(spec).await) })
            }
            Request::StartInstance => Box::pin(async move { of_instance(supervisor.start_instance(()).await) }),
            Request::Terminate(id) => Box::pin(async move { of_unit(supervisor.terminate_child(id).await) }),
            Request::TerminateNth(n) => match self.nth(path, n) {
                Some((_, pid)) => Box::pin(async move { of_unit(supervisor.terminate_instance(pid).await) }),
                None => Box::pin(std::future::ready("nobody".to_owned())),
            },
            Request::Restart(id) => Box::pin(async move { of_instance(supervisor.restart_child(id).await) }),
            Request::Delete(id) => Box::pin(async move { of_unit(supervisor.delete_child(id).await) }),
        }
    }

    /// Waits until nothing more happens and notes what is then.
    async fn settle(&self, root: Option<&SupervisorRef>) {
        self.world.sleep(QUIET).await;
        let mut lines = Vec::new();
        if let Some(root) = root {
            self.states(root.clone(), &mut lines).await;
        }
        let mut notes = notes(&self.shared);
        let mut alive: Vec<String> = notes.living().map(|i| format!(" {}#{}", i.path, i.number)).collect();
        alive.sort();
        notes.lines.extend(lines);
        notes.lines.push(format!(" alive{}", alive.concat()));
    }

    fn states<'a>(
        &'a self,
        supervisor: SupervisorRef,
        lines: &'a mut Vec<String>,
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(async move {
            let Ok(children) = supervisor.which_children().await else { return };
            let Ok(count) = supervisor.count_children().await else { return };
            let path: Vec<&str> = supervisor.path().split('/').skip(1).collect();
            let mut line = format!(" state {}:", label(&path));
            let mut entries: Vec<String> = Vec::new();
            for child in &children {
                let id = &*child.id;
                entries.push(match child.state {
                    ChildState::Running(pid) if id == "dynamic" => notes(&self.shared).label(pid).unwrap_or_default(),
                    ChildState::Running(_) => format!("{id}=run"),
                    ChildState::Restarting => format!("{id}=restarting"),
                    ChildState::Stopped => format!("{id}=stopped"),
                });
            }
            // OTP tells the newest first, and alike children in no order.
            if children.iter().any(|c| &*c.id == "dynamic") {
                entries.sort()
            } else {
                entries.reverse()
            }
            line.extend(entries.iter().map(|entry| format!(" {entry}")));
            line += &format!(" {} {} {} {}", count.specs, count.active, count.supervisors, count.workers);
            lines.push(line);
            for child in children.into_iter().rev() {
                if let Some(supervisor) = child.supervisor {
                    self.states(supervisor, lines).await;
                }
            }
        })
    }
}

fn answer(error: &SupervisorError) -> String {
    match error {
        SupervisorError::NotFound => "not_found".to_owned(),
        SupervisorError::Running => "running".to_owned(),
        SupervisorError::Restarting => "restarting".to_owned(),
        SupervisorError::AlreadyStarted(_) => "already_started".to_owned(),
        SupervisorError::AlreadyPresent => "already_present".to_owned(),
        SupervisorError::SimpleOneForOne => "simple_one_for_one".to_owned(),
        SupervisorError::Spec(_) => "spec".to_owned(),
        SupervisorError::Start(error) => format!("start {}", start_error(error)),
        SupervisorError::Gone(_) => "gone".to_owned(),
        other => other.to_string(),
    }
}

fn start_error(error: &StartError) -> String {
    match error {
        StartError::Spec(_) => "spec".to_owned(),
        StartError::Child { id, reason } => format!("child `{id}` failed to start: {}", start_error(reason)),
        other => words(&other.to_string()),
    }
}

fn flags(tree: &Tree) -> Flags {
    Flags {
        strategy: tree.strategy,
        intensity: tree.intensity,
        period_s: tree.period_s,
        auto_shutdown: tree.auto_shutdown,
        backoff: None,
    }
}

fn specs(shared: &Shared, path: &[&'static str], tree: &Tree) -> Vec<ChildSpec> {
    tree.children.iter().map(|child| spec(shared, path, child)).collect()
}

fn spec(shared: &Shared, above: &[&'static str], child: &Child) -> ChildSpec {
    let path: Path = above.iter().copied().chain([child.id]).collect();
    let shared = shared.clone();
    let spec = match child.what.clone() {
        What::Supervisor(tree) => ChildSpec::supervisor(child.id, flags(&tree), move || specs(&shared, &path, &tree)),
        What::Worker { script, manner } => {
            let path = label(&path);
            ChildSpec::prepared(child.id, move |cx| {
                let (shared, path, script) = (shared.clone(), path.clone(), script.clone());
                async move { start_worker(&shared, path, &script, manner, cx) }
            })
        }
    };
    let shutdown = match child.shutdown {
        Stop::BrutalKill => Shutdown::BrutalKill,
        Stop::Millis(n) => Shutdown::Within(Duration::from_millis(n)),
        Stop::Infinity => Shutdown::Infinity,
    };
    let spec = spec.restart(child.restart).shutdown(shutdown);
    if child.significant { spec.significant() } else { spec }
}

fn start_worker(
    shared: &Shared,
    path: String,
    script: &[StartResult],
    manner: Manner,
    cx: ChildContext,
) -> Result<Start, StartError> {
    let mut all = notes(shared);
    let starts = all.starts.entry(path.clone()).or_default();
    *starts += 1;
    let result = script.get(*starts - 1).copied().unwrap_or(StartResult::Runs);
    match result {
        StartResult::Ignores => {
            all.lines.push(format!("start {path} ignore"));
            return Ok(Start::Ignore);
        }
        StartResult::Fails => {
            all.lines.push(format!("start {path} error"));
            return Err(StartError::failed("refused"));
        }
        StartResult::Crashes => {
            all.lines.push(format!("start {path} crash"));
            drop(all);
            std::panic::panic_any("crash");
        }
        StartResult::Runs => {}
    }
    let number = all.instances.iter().filter(|i| i.path == path).count() as u64 + 1;
    let name = format!("{path}#{number}");
    all.lines.push(format!("start {name}"));
    let (end, mut ends) = mpsc::unbounded_channel();
    let is_alive = Arc::new(());
    all.instances.push(Instance { path, number, pid: cx.pid(), end, is_alive: is_alive.clone() });
    if manner != Manner::Untrapped {
        cx.trap_shutdown();
    }
    let shared = shared.clone();
    Ok(Start::Run(Box::pin(async move {
        let _is_alive = is_alive;
        if manner == Manner::Untrapped {
            return ends.recv().await.unwrap_or(ExitReason::Normal);
        }
        tokio::select! {
            biased;
            Some(reason) = ends.recv() => return reason,
            () = cx.stopping() => {}
        }
        notes(&shared).lines.push(format!("asked {name}"));
        match manner {
            Manner::Answers(end) => reason(end),
            Manner::Ignores => std::future::pending().await,
            Manner::Obeys | Manner::Untrapped => ExitReason::Shutdown,
        }
    })))
}
