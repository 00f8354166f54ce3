//! What Erlang/OTP's `supervisor_SUITE` claims, case by case, on our supervisors and on virtual time.
//!
//! The name of a test begins with the name of its case; the book's chapter "OTP's own test suite" is the map, with the cases that mean
//! nothing here and why. Behaviours only: the suite is written in Erlang and none of it is here.
//! Reference: Erlang/OTP 25, `lib/stdlib/test/supervisor_SUITE.erl`.

mod by_hand;
mod counting;
mod restart_loops;
mod restart_rules;
mod significant;
mod starting;
mod stopping;
mod strategies;
mod trees;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::port::Timer;
use csf_runtime::supervise::{
    ChildContext, ChildSpec, ChildState, Env, ExitReason, Flags, Pid, ProcessRef, Report, ReportKind, Restart,
    Shutdown, Start, StartError, Strategy, Supervisor, SupervisorRef,
};
use csf_sim::{SeededRng, SimExecutor};
use tokio::sync::mpsc;

const SECOND: Duration = Duration::from_secs(1);
/// Longer than anything a test waits for.
const FOR_EVER: Duration = Duration::from_secs(200_000);

/// What a child's start leads to instead of a process.
#[derive(Clone)]
enum Answer {
    Ignore,
    Refuse { reason: &'static str, after: Duration },
    Panic(&'static str),
}

/// How a puppet ends when it is asked to.
#[derive(Clone)]
struct Manner {
    takes: Duration,
    says: ExitReason,
}

impl Default for Manner {
    fn default() -> Self {
        Self { takes: Duration::ZERO, says: ExitReason::Shutdown }
    }
}

impl Manner {
    fn taking(takes: Duration) -> Self {
        Self { takes, ..Self::default() }
    }

    fn saying(says: ExitReason) -> Self {
        Self { says, ..Self::default() }
    }
}

struct Puppet {
    pid: Pid,
    end: mpsc::UnboundedSender<ExitReason>,
    process: ProcessRef,
}

/// What the children of one test share.
#[derive(Default)]
struct Stage {
    /// By child; without one it starts.
    answers: HashMap<Arc<str>, Answer>,
    puppets: Vec<Puppet>,
    /// `start NAME` and `end NAME`, as it happened.
    log: Vec<String>,
    ends: Vec<(Pid, ExitReason)>,
}

/// Notes the end of a process, whatever it is.
struct Life {
    stage: Arc<Mutex<Stage>>,
    pid: Pid,
    id: Arc<str>,
    reason: ExitReason,
}

impl Life {
    fn ends_with(mut self, reason: &ExitReason) {
        self.reason = reason.clone();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        stage.log.push(format!("end {}", self.id));
        stage.ends.push((self.pid, self.reason.clone()));
    }
}

/// A virtual world whose children are puppets: they run until the test says how they end, or their supervisor asks them to.
struct World {
    sim: SimExecutor,
    env: Env,
    reports: Arc<Mutex<Vec<Report>>>,
    stage: Arc<Mutex<Stage>>,
}

impl World {
    fn new() -> Self {
        let sim = SimExecutor::new(1);
        let reports = Arc::<Mutex<Vec<Report>>>::default();
        let heard = reports.clone();
        let env = Env::new(Arc::new(sim.clone()), Arc::new(sim.clone()), SeededRng::new(1))
            .observed_by(move |report| heard.lock().unwrap().push(report.clone()));
        Self { sim, env, reports, stage: Arc::default() }
    }

    fn run<T>(&self, main: impl Future<Output = T>) -> T {
        self.sim.block_on(main).unwrap()
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap()
    }

    /// A permanent puppet that has a second to stop and stops at once.
    fn child(&self, id: &'static str) -> ChildSpec {
        self.child_with(id, Manner::default())
    }

    /// As [`World::child`], ending in its own manner; a dynamic child's arguments may be a manner too.
    fn child_with(&self, id: &'static str, manner: Manner) -> ChildSpec {
        let stage = self.stage.clone();
        let spec = ChildSpec::prepared(id, move |cx| start(stage.clone(), manner.clone(), cx));
        spec.shutdown(Shutdown::Within(SECOND))
    }

    async fn root(&self, flags: Flags, children: Vec<ChildSpec>) -> Supervisor {
        Supervisor::start("root", flags, children, self.env.clone()).await.unwrap()
    }

    /// Lets everything happen that is ready.
    async fn turn(&self) {
        self.sim.sleep(Duration::from_nanos(1)).await;
    }

    fn answer(&self, id: &str, answer: Answer) {
        self.stage().answers.insert(id.into(), answer);
    }

    /// From now on the child's starts fail, each after two seconds: a supervisor that tries again for ever lets virtual time pass.
    fn refuse(&self, id: &str) {
        self.answer(id, Answer::Refuse { reason: "not now", after: 2 * SECOND });
    }

    fn allow(&self, id: &str) {
        self.stage().answers.remove(id);
    }

    /// A puppet ends by itself.
    async fn end(&self, pid: Pid, reason: ExitReason) {
        self.stage().puppets.iter().find(|p| p.pid == pid).unwrap().end.send(reason).unwrap();
        self.turn().await;
    }

    async fn kill(&self, pid: Pid) {
        let process = self.stage().puppets.iter().find(|p| p.pid == pid).unwrap().process.clone();
        process.kill();
        self.turn().await;
    }

    /// How a process ended; `None` while it runs.
    fn end_of(&self, pid: Pid) -> Option<ExitReason> {
        self.stage().ends.iter().find(|(p, _)| *p == pid).map(|(_, reason)| reason.clone())
    }

    /// What happened since the last call.
    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.stage().log)
    }

    fn reports_of(&self, wanted: impl Fn(&ReportKind) -> bool) -> Vec<(String, ReportKind)> {
        let reports = self.reports.lock().unwrap();
        reports.iter().filter(|r| wanted(&r.kind)).map(|r| (r.child.to_string(), r.kind.clone())).collect()
    }
}

async fn start(stage: Arc<Mutex<Stage>>, manner: Manner, cx: ChildContext) -> Result<Start, StartError> {
    let answer = stage.lock().unwrap().answers.get(cx.id()).cloned();
    match answer {
        Some(Answer::Ignore) => return Ok(Start::Ignore),
        Some(Answer::Panic(words)) => panic!("{words}"),
        Some(Answer::Refuse { reason, after }) => {
            cx.env().timer().sleep(after).await;
            return Err(StartError::failed(reason));
        }
        None => {}
    }
    let manner = cx.args::<Manner>().cloned().unwrap_or(manner);
    let (end, mut told) = mpsc::unbounded_channel();
    {
        let mut stage = stage.lock().unwrap();
        stage.log.push(format!("start {}", cx.id()));
        stage.puppets.push(Puppet { pid: cx.pid(), end, process: cx.process() });
    }
    cx.trap_shutdown();
    let life = Life { stage, pid: cx.pid(), id: cx.id().clone(), reason: ExitReason::Killed };
    Ok(Start::Run(Box::pin(async move {
        let asked = async {
            cx.stopping().await;
            cx.env().timer().sleep(manner.takes).await;
        };
        let reason = tokio::select! {
            biased;
            reason = told.recv() => reason.unwrap_or(ExitReason::Killed),
            () = asked => manner.says,
        };
        life.ends_with(&reason);
        reason
    })))
}

fn flags(strategy: Strategy, intensity: u32, period_s: u64) -> Flags {
    Flags { strategy, intensity, period_s, ..Flags::default() }
}

/// What most cases of the suite use: two restarts in an hour.
fn two_in_an_hour(strategy: Strategy) -> Flags {
    flags(strategy, 2, 3_600)
}

fn boom() -> ExitReason {
    ExitReason::failed("boom")
}

/// Specifications, running processes, supervisors, workers.
async fn counts(supervisor: &SupervisorRef) -> [usize; 4] {
    let count = supervisor.count_children().await.unwrap();
    [count.specs, count.active, count.supervisors, count.workers]
}

async fn states(supervisor: &SupervisorRef) -> Vec<(String, ChildState)> {
    let children = supervisor.which_children().await.unwrap();
    children.into_iter().map(|c| (c.id.to_string(), c.state)).collect()
}

/// The running processes, in start order; dynamic ones by process.
async fn pids(supervisor: &SupervisorRef) -> Vec<Pid> {
    let running = |(_, state)| if let ChildState::Running(pid) = state { Some(pid) } else { None };
    states(supervisor).await.into_iter().filter_map(running).collect()
}

async fn pid_of(supervisor: &SupervisorRef, id: &str) -> Pid {
    match states(supervisor).await.into_iter().find(|(name, _)| name == id) {
        Some((_, ChildState::Running(pid))) => pid,
        other => panic!("{id} does not run: {other:?}"),
    }
}

async fn is_gone(supervisor: &SupervisorRef) -> bool {
    supervisor.count_children().await.is_err()
}

/// Children of one restart rule.
fn all_rules() -> [Restart; 3] {
    [Restart::Permanent, Restart::Transient, Restart::Temporary]
}
