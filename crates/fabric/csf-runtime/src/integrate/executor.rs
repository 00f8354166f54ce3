//! Tasks by name under supervisors by name (FRM-012): a thin face over [`crate::supervise`].

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::Fault;
use tokio::sync::Mutex as AsyncMutex;

use crate::supervise::{
    ChildSpec, Env, ExitReason, Flags, Report, ReportKind, Restart, StartError, Supervisor, SupervisorError,
};

/// A task of one executor.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    supervisor: Arc<str>,
    name: Arc<str>,
}

/// A task as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisedTask {
    /// Which.
    pub id: TaskId,
    /// When it is started again.
    pub restart_policy: Restart,
    /// Times it ended although it should run.
    pub failure_count: u64,
    /// Why it ended last.
    pub last_failure: Option<ExitReason>,
    /// Pauses before its restarts so far, oldest first; the newest 16.
    pub pauses: Vec<Duration>,
}

/// What an executor has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExecutionMetrics {
    /// Tasks that were spawned.
    pub spawned: u64,
    /// Instances of them that were started.
    pub starts: u64,
    /// Ends that were failures.
    pub failures: u64,
    /// Supervisors whose budget was spent.
    pub budgets_spent: u64,
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// No such supervisor.
    #[error("no supervisor is called `{0}`")]
    UnknownSupervisor(Arc<str>),
    /// The name is taken.
    #[error("a supervisor is called `{0}` already")]
    SupervisorExists(Arc<str>),
    /// A supervisor could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A supervisor refused.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
}

const PAUSES_KEPT: usize = 16;

#[derive(Default)]
struct Board {
    metrics: ExecutionMetrics,
    tasks: BTreeMap<TaskId, SupervisedTask>,
}

impl Board {
    fn hear(&mut self, report: &Report) {
        let id = TaskId { supervisor: report.supervisor.clone(), name: report.child.clone() };
        let task = self.tasks.get_mut(&id);
        match &report.kind {
            ReportKind::Started => self.metrics.starts += 1,
            ReportKind::Terminated { reason } => {
                self.metrics.failures += 1;
                if let Some(task) = task {
                    task.failure_count += 1;
                    task.last_failure = Some(reason.clone());
                }
            }
            ReportKind::Delayed { pause } => {
                if let Some(task) = task {
                    if task.pauses.len() == PAUSES_KEPT {
                        task.pauses.remove(0);
                    }
                    task.pauses.push(*pause);
                }
            }
            ReportKind::BudgetSpent { .. } => self.metrics.budgets_spent += 1,
            ReportKind::StartFailed { .. } | ReportKind::ShutdownFailed { .. } => {}
        }
    }
}

/// Runs tasks under supervisors. Dropping it stops them, in the background.
pub struct SupervisedExecutor {
    env: Env,
    board: Arc<Mutex<Board>>,
    supervisors: AsyncMutex<BTreeMap<Arc<str>, Supervisor>>,
}

impl SupervisedExecutor {
    /// Without supervisors; it hears the reports of `env` instead of whoever did.
    #[must_use]
    pub fn new(env: Env) -> Self {
        let board = Arc::<Mutex<Board>>::default();
        let heard = board.clone();
        let env = env.observed_by(move |report| heard.lock().unwrap_or_else(PoisonError::into_inner).hear(report));
        Self { env, board, supervisors: AsyncMutex::default() }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a supervisor: strategy, budget and back-off of the tasks below it.
    ///
    /// # Errors
    /// [`ExecutorError::SupervisorExists`], [`ExecutorError::Start`].
    pub async fn add_supervisor(&self, id: impl Into<Arc<str>>, flags: Flags) -> Result<(), ExecutorError> {
        let (id, mut supervisors) = (id.into(), self.supervisors.lock().await);
        if supervisors.contains_key(&id) {
            return Err(ExecutorError::SupervisorExists(id));
        }
        let supervisor = Supervisor::start(id.clone(), flags, Vec::new(), self.env.clone()).await?;
        supervisors.insert(id, supervisor);
        Ok(())
    }

    /// Spawns a task that `task_fn` makes anew for each start. Its error, and its panic, is a failure.
    ///
    /// # Errors
    /// [`ExecutorError::UnknownSupervisor`], [`ExecutorError::Supervisor`]: a name that is taken.
    pub async fn spawn_supervised<F, W>(
        &self,
        name: impl Into<Arc<str>>,
        supervisor_id: &str,
        restart_policy: Restart,
        task_fn: F,
    ) -> Result<TaskId, ExecutorError>
    where
        F: Fn() -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        let name = name.into();
        let reference = {
            let supervisors = self.supervisors.lock().await;
            let found = supervisors.get(supervisor_id);
            found.ok_or_else(|| ExecutorError::UnknownSupervisor(supervisor_id.into()))?.reference().clone()
        };
        let id = TaskId { supervisor: reference.path().clone(), name: name.clone() };
        let spec = ChildSpec::task(name, move |_| {
            let work = task_fn();
            async move { work.await.map_or_else(ExitReason::failed, |()| ExitReason::Normal) }
        });
        // Before the start: the task may fail at once.
        let task =
            SupervisedTask { id: id.clone(), restart_policy, failure_count: 0, last_failure: None, pauses: Vec::new() };
        let before = self.board().tasks.insert(id.clone(), task);
        if let Err(error) = reference.start_child(spec.restart(restart_policy)).await {
            let mut board = self.board();
            match before {
                Some(before) => board.tasks.insert(id, before),
                None => board.tasks.remove(&id),
            };
            return Err(error.into());
        }
        self.board().metrics.spawned += 1;
        Ok(id)
    }

    /// A task as it stands.
    #[must_use]
    pub fn task(&self, id: &TaskId) -> Option<SupervisedTask> {
        self.board().tasks.get(id).cloned()
    }

    /// What was done so far.
    #[must_use]
    pub fn metrics(&self) -> ExecutionMetrics {
        self.board().metrics
    }
}
