//! Agents under a supervisor, and failures put into them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csf_runtime::node::Status;
use csf_runtime::supervise::{
    Backoff, ChildSpec, ChildState, Env, ExitReason, Flags, Report, ReportKind, Restart, StartError, Supervisor,
};
use tokio::sync::{mpsc, watch};

use crate::TestError;

/// How an agent is kept alive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AgentConfig {
    /// When it is started again.
    pub restart: Restart,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self { restart: Restart::Permanent }
    }
}

/// What can be put into an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureType {
    /// It ends with an error.
    Crash,
    /// It panics.
    Panic,
}

/// How an agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentHealth {
    /// Healthy while it runs, degraded while it waits for its restart, unhealthy when it stays down.
    pub status: Status,
    /// Times it was started again.
    pub restart_count: u64,
}

/// A supervisor to be: its agents and its budget, five restarts in a minute with pauses, as a node's services have them.
#[derive(Debug, Clone)]
pub struct TestSupervisor {
    flags: Flags,
    agents: Vec<(&'static str, AgentConfig)>,
}

impl Default for TestSupervisor {
    fn default() -> Self {
        let flags = Flags { intensity: 5, period_s: 60, backoff: Some(Backoff::default()), ..Flags::default() };
        Self { flags, agents: Vec::new() }
    }
}

impl TestSupervisor {
    /// With one more agent.
    #[must_use]
    pub fn add_agent_config(mut self, name: &'static str, config: AgentConfig) -> Self {
        self.agents.push((name, config));
        self
    }
}

#[derive(Default)]
struct Board {
    starts: BTreeMap<Arc<str>, u64>,
    /// To the newest instance of each agent.
    agents: BTreeMap<&'static str, mpsc::UnboundedSender<FailureType>>,
}

/// A supervisor with its agents, running.
pub struct TestSupervisionTree {
    supervisor: Supervisor,
    board: Arc<Mutex<Board>>,
    changed: watch::Receiver<()>,
}

impl TestSupervisionTree {
    /// Starts it in this world; it hears the reports of `env` instead of whoever did.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(env: Env, supervisor: TestSupervisor) -> Result<Self, StartError> {
        let (tell, changed) = watch::channel(());
        let board = Arc::<Mutex<Board>>::default();
        let heard = board.clone();
        let env = env.observed_by(move |report: &Report| {
            if report.kind == ReportKind::Started {
                let mut board = heard.lock().unwrap_or_else(PoisonError::into_inner);
                *board.starts.entry(report.child.clone()).or_default() += 1;
            }
            tell.send_replace(());
        });
        let agents = supervisor.agents.iter().map(|(name, config)| agent(name, config, &board)).collect();
        let supervisor = Supervisor::start("test", supervisor.flags, agents, env).await?;
        Ok(Self { supervisor, board, changed })
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An agent, by name.
    #[must_use]
    pub fn agent(&self, name: &'static str) -> TestWorkerAgent<'_> {
        TestWorkerAgent { tree: self, name }
    }

    /// The worst of its agents.
    ///
    /// # Errors
    /// [`TestError::Supervisor`]: the supervisor has ended.
    pub async fn health_check(&self) -> Result<Status, TestError> {
        let children = self.children().await?;
        let statuses: Vec<Status> = children.into_iter().map(|(_, state)| status_of(state)).collect();
        let worst = [Status::Unhealthy, Status::Degraded].into_iter().find(|status| statuses.contains(status));
        Ok(worst.unwrap_or(Status::Healthy))
    }

    async fn children(&self) -> Result<Vec<(Arc<str>, ChildState)>, TestError> {
        let gone = |gone| TestError::Supervisor(csf_runtime::supervise::SupervisorError::Gone(gone));
        let children = self.supervisor.reference().which_children().await.map_err(gone)?;
        Ok(children.into_iter().map(|c| (c.id, c.state)).collect())
    }

    /// Stops the agents and the supervisor, and says how it ended.
    pub async fn stop(mut self) -> ExitReason {
        self.supervisor.stop(ExitReason::Shutdown);
        self.supervisor.ended().await
    }
}

const fn status_of(state: ChildState) -> Status {
    match state {
        ChildState::Running(_) => Status::Healthy,
        ChildState::Restarting => Status::Degraded,
        ChildState::Stopped => Status::Unhealthy,
    }
}

/// An agent of a tree.
pub struct TestWorkerAgent<'a> {
    tree: &'a TestSupervisionTree,
    name: &'static str,
}

impl TestWorkerAgent<'_> {
    /// Puts a failure into it.
    ///
    /// # Errors
    /// [`TestError::NoComponent`]: no such agent runs.
    pub fn inject_failure(&self, failure: FailureType) -> Result<(), TestError> {
        let sent = self.tree.board().agents.get(self.name).map(|agent| agent.send(failure));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(TestError::NoComponent { name: self.name.to_owned() }),
        }
    }

    /// How it is.
    ///
    /// # Errors
    /// [`TestError::NoComponent`], [`TestError::Supervisor`].
    pub async fn health(&self) -> Result<AgentHealth, TestError> {
        let children = self.tree.children().await?;
        let state = children.into_iter().find(|(id, _)| **id == *self.name).map(|(_, state)| state);
        let state = state.ok_or_else(|| TestError::NoComponent { name: self.name.to_owned() })?;
        Ok(AgentHealth { status: status_of(state), restart_count: self.restart_count() })
    }

    fn restart_count(&self) -> u64 {
        self.tree.board().starts.get(self.name).map_or(0, |starts| starts - 1)
    }

    /// Waits until it was started again so often. Cancel safe.
    pub async fn until_restarted(&self, count: u64) {
        let mut changed = self.tree.changed.clone();
        loop {
            changed.mark_unchanged();
            // Without the supervisor nothing changes any more.
            if self.restart_count() >= count || changed.changed().await.is_err() {
                return;
            }
        }
    }
}

fn agent(name: &'static str, config: &AgentConfig, board: &Arc<Mutex<Board>>) -> ChildSpec {
    let board = board.clone();
    let spec = ChildSpec::task(name, move |cx| {
        let (sender, mut failures) = mpsc::unbounded_channel();
        board.lock().unwrap_or_else(PoisonError::into_inner).agents.insert(name, sender);
        async move {
            tokio::select! {
                biased;
                () = cx.stopping() => ExitReason::Shutdown,
                failure = failures.recv() => match failure {
                    Some(FailureType::Panic) => panic!("put in by a test"),
                    Some(FailureType::Crash) => ExitReason::failed("put in by a test"),
                    None => ExitReason::Normal,
                },
            }
        }
    });
    spec.restart(config.restart)
}
