//! An agent in this process: takes tasks, does them, says how far it is.

use std::time::Duration;

use csf_core::port::{Json, within};

use super::{TaskDesk, TaskError, TaskLease};

/// How long an agent waits for a task before it asks again.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause after a log that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What an agent made of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskOutcome {
    /// It is done.
    Done(Json),
    /// It is not; another agent may try.
    Retry(String),
    /// It is not, and no other agent would do better.
    Failed(String),
    /// The agent cannot work any more, on whatever task: this one is released, and the agent ends.
    Unable(String),
}

/// A task in the hands of code in this process.
#[derive(Clone, Debug)]
pub struct TaskContext {
    /// The task.
    pub lease: TaskLease,
    desk: TaskDesk,
}

impl TaskContext {
    /// Says how far it is.
    ///
    /// # Errors
    /// [`TaskError::Stale`] when the work is in vain.
    pub fn progress(&self, progress: Json) -> Result<(), TaskError> {
        self.desk.heartbeat(&self.lease.id, &self.lease.token, Some(progress)).map(drop)
    }
}

impl TaskDesk {
    /// Serves as an agent, one task at a time, until the desk is closed or the agent is [`TaskOutcome::Unable`]. While `work` runs, the agent is heard of; when the task is no longer its
    /// own, `work` is dropped. Dropped itself, it leaves a task to its lease.
    ///
    /// # Errors
    /// [`TaskError::Bad`], [`TaskError::Unable`].
    pub async fn serve<F>(
        &self,
        agent: &str,
        kinds: &[String],
        mut work: impl FnMut(TaskContext) -> F,
    ) -> Result<(), TaskError>
    where
        F: Future<Output = TaskOutcome>,
    {
        loop {
            let taken = match self.poll(agent, kinds, 1, PATIENCE).await {
                Ok(taken) => taken,
                Err(error @ TaskError::Bad { .. }) => return Err(error),
                Err(error) => {
                    tracing::warn!(agent, %error, "an agent cannot ask for tasks");
                    self.timer().sleep(PAUSE).await;
                    continue;
                }
            };
            if taken.is_empty() && self.is_closed() {
                return Ok(());
            }
            for lease in taken {
                let context = TaskContext { lease: lease.clone(), desk: self.clone() };
                match self.serve_one(&lease, work(context)).await {
                    Ok(()) => {}
                    Err(error @ TaskError::Unable { .. }) => return Err(error),
                    Err(error) => {
                        tracing::warn!(agent, task = lease.id, %error, "what an agent has done does not count")
                    }
                }
            }
        }
    }

    async fn serve_one(&self, lease: &TaskLease, work: impl Future<Output = TaskOutcome>) -> Result<(), TaskError> {
        let TaskLease { id, token, lease_ms, .. } = lease;
        let beats = async {
            loop {
                self.timer().sleep(Duration::from_millis((lease_ms / 3).max(1))).await;
                if let Err(error) = self.heartbeat(id, token, None) {
                    return error;
                }
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = work => outcome,
            error = beats => return Err(error),
        };
        loop {
            let handed = match &outcome {
                TaskOutcome::Done(output) => self.complete(id, token, output.clone()).await,
                TaskOutcome::Retry(reason) => self.fail(id, token, reason, false).await,
                TaskOutcome::Failed(reason) => self.fail(id, token, reason, true).await,
                TaskOutcome::Unable(reason) => {
                    // Otherwise its lease ends.
                    _ = self.release(id, token).await;
                    return Err(TaskError::Unable { reason: reason.clone() });
                }
            };
            match handed {
                // The journal may mend while the lease lasts.
                Err(TaskError::Workflow(crate::WorkflowError::Log(csf_core::port::LogError::Journal(_)))) => {
                    _ = within(self.timer(), PAUSE, std::future::pending::<()>()).await;
                    _ = self.heartbeat(id, token, None)?;
                }
                other => return other,
            }
        }
    }
}
