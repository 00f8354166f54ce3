//! The desk: who waits for what, and which leases are over.
//!
//! What it holds is what the histories say, and when agents were last heard of. After a restart every agent has its whole lease to be heard again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use csf_core::port::{EventId, Json, Origin, Timer, within};
use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::{Notify, oneshot, watch};

use super::assignment::{MOVE, Move, SEEN, Seen, Then};
use super::book::{Book, Held};
use super::{TASK_WORKFLOW, Task, TaskError, TaskRequest, TaskState, check_word};
use crate::{Engine, Failure, RunStatus, StartOptions, WorkflowError, World};

/// Most tasks taken at once.
const TAKEN_MAX: usize = 100;
/// Pause after a log that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// A task in the hands of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskLease {
    /// The task.
    pub id: String,
    /// What kind it is.
    pub kind: String,
    /// For the agent.
    pub input: Json,
    /// Says that it is this lease, in whatever the agent says about the task.
    pub token: String,
    /// Which agent this is, from 1.
    pub attempt: u32,
    /// The lease ends when the agent is not heard of for this long.
    pub lease_ms: u64,
}

/// Gives tasks to agents. Clones are the same desk.
#[derive(Clone)]
pub struct TaskDesk(Arc<Desk>);

struct Desk {
    engine: Engine,
    world: World,
    seed: EventId,
    drawn: AtomicU64,
    book: Mutex<Book>,
    /// A lease was given that ends before all others.
    leased: Notify,
    closed: watch::Sender<bool>,
}

impl TaskDesk {
    /// A desk for the tasks of this engine, which runs [`task_workflow`](super::task_workflow). `seed` makes its tokens: draw it at random for each.
    ///
    /// # Errors
    /// [`TaskError::Workflow`].
    pub async fn open(engine: Engine, world: World, seed: EventId) -> Result<Self, TaskError> {
        let desk = Arc::new(Desk {
            engine,
            world,
            seed,
            drawn: AtomicU64::new(0),
            book: Mutex::default(),
            leased: Notify::new(),
            closed: watch::Sender::new(false),
        });
        for run in desk.engine.list().await? {
            if run.workflow == TASK_WORKFLOW && run.status == RunStatus::Running {
                match desk.refresh(&run.id).await {
                    Ok(()) => {}
                    Err(TaskError::Workflow(error @ WorkflowError::BadHistory { .. })) => {
                        tracing::error!(task = run.id, %error, "a task is set aside");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let watched = watch_leases(Arc::downgrade(&desk), desk.world.clone(), desk.closed.subscribe());
        desk.world.spawn.spawn(Box::pin(watched));
        Ok(Self(desk))
    }

    /// Agents that wait are told that there is nothing; leases are not watched any more.
    pub fn close(&self) {
        self.0.closed.send_replace(true);
        self.0.book().wake_all();
    }

    /// Submits a task. Back when it is as durable as the log makes it. Under the same id it is submitted once; without one it gets a new id.
    ///
    /// # Errors
    /// [`TaskError::Bad`]; [`TaskError::Workflow`] when another run has this id, or the log fails.
    pub async fn submit(
        &self,
        id: Option<&str>,
        request: &TaskRequest,
        timeout: Option<Duration>,
        origin: Origin,
    ) -> Result<String, TaskError> {
        request.check()?;
        let id = id.map_or_else(|| self.0.draw("task").to_string(), str::to_owned);
        let request_id = Some(EventId::from_u128(2).derive(&id));
        let options = StartOptions { timeout, request: request_id, origin, ..StartOptions::default() };
        if self.0.engine.begin(TASK_WORKFLOW, &id, request, options).await? {
            self.0.book().enqueue(&id, &request.kind, &request.precedence());
        } else {
            self.0.refresh(&id).await?;
        }
        Ok(id)
    }

    /// Tells the desk that something else has been done to a run: it was started, reset or ended past the desk.
    ///
    /// # Errors
    /// [`TaskError::Workflow`].
    pub async fn notice(&self, id: &str) -> Result<(), TaskError> {
        self.0.book().drop_lease(id);
        self.0.refresh(id).await
    }

    /// Tasks for an agent, of these kinds and at most `most` (100) of them: by priority, by shares of their fairness keys, and those that have waited longest first. Waits up to `wait` for one; empty when
    /// there is none. What it gets is durably its own. Dropped, it may have taken tasks; their leases end.
    ///
    /// # Errors
    /// [`TaskError::Bad`], [`TaskError::Workflow`].
    pub async fn poll(
        &self,
        agent: &str,
        kinds: &[String],
        most: usize,
        wait: Duration,
    ) -> Result<Vec<TaskLease>, TaskError> {
        check_word("agent", agent)?;
        kinds.iter().try_for_each(|kind| check_word("kinds", kind))?;
        if kinds.is_empty() || !(1..=TAKEN_MAX).contains(&most) {
            let reason = format!("an agent names at least one kind, and takes 1 to {TAKEN_MAX} tasks at once");
            return Err(TaskError::Bad { reason });
        }
        let until = self.0.world.timer.now() + wait;
        loop {
            let (ids, waits) = self.0.look(kinds, most);
            let is_some = !ids.is_empty();
            let taken = join_all(ids.into_iter().map(|id| self.0.take(id, agent))).await;
            let taken: Vec<TaskLease> = taken.into_iter().flatten().collect();
            if !taken.is_empty() || self.is_closed() {
                return Ok(taken);
            }
            if is_some {
                continue;
            }
            let (Some(waits), left) = (waits, until.saturating_sub(self.0.world.timer.now())) else { continue };
            if left.is_zero() || !waits.woken(&*self.0.world.timer, left).await {
                return Ok(taken);
            }
        }
    }

    /// Says that the agent is at work, and how far it is; how long its lease lasts from now, milliseconds. Not kept over a restart.
    ///
    /// # Errors
    /// [`TaskError::Stale`].
    pub fn heartbeat(&self, id: &str, token: &str, progress: Option<Json>) -> Result<u64, TaskError> {
        let now = self.0.world.timer.now();
        let mut book = self.0.book();
        let held = book.lease(id).ok_or_else(|| stale(id, "nobody has it"))?;
        if held.token != token {
            return Err(stale(id, format!("agent `{}` has it now", held.agent)));
        }
        let until = now + held.lease;
        let held = book.prolong(id, token, until).ok_or_else(|| stale(id, "nobody has it"))?;
        if progress.is_some() {
            held.progress = progress;
        }
        Ok(u64::try_from(held.lease.as_millis()).unwrap_or(u64::MAX))
    }

    /// Hands in what came of a task. Back when that is durable; may be repeated.
    ///
    /// # Errors
    /// [`TaskError::Stale`], [`TaskError::Unknown`], [`TaskError::Workflow`].
    pub async fn complete(&self, id: &str, token: &str, output: Json) -> Result<(), TaskError> {
        self.0.hand_in(id, token, Move::Complete { token: token.to_owned(), output }).await
    }

    /// Gives a task back that the agent has not done: another one may try, or with `is_final` none.
    ///
    /// # Errors
    /// As [`TaskDesk::complete`].
    pub async fn fail(&self, id: &str, token: &str, reason: &str, is_final: bool) -> Result<(), TaskError> {
        let then = if is_final { Then::Fail } else { Then::Retry };
        let change = Move::GiveBack { token: token.to_owned(), reason: reason.to_owned(), then };
        self.0.hand_in(id, token, change).await
    }

    /// Gives a task back as if the agent had never had it: it stops, or cannot do it now.
    ///
    /// # Errors
    /// As [`TaskDesk::complete`].
    pub async fn release(&self, id: &str, token: &str) -> Result<(), TaskError> {
        let reason = "its agent stopped".to_owned();
        let change = Move::GiveBack { token: token.to_owned(), reason, then: Then::Forget };
        self.0.hand_in(id, token, change).await
    }

    /// Asks a task to end. What its agent hands in later is refused.
    ///
    /// # Errors
    /// [`TaskError::Unknown`], [`TaskError::Workflow`] when it has ended.
    pub async fn cancel(&self, id: &str, reason: &str) -> Result<(), TaskError> {
        self.show(id).await?;
        self.0.engine.cancel(id, reason).await?;
        self.0.refresh(id).await
    }

    /// A task as it is.
    ///
    /// # Errors
    /// [`TaskError::Unknown`], [`TaskError::Workflow`].
    pub async fn show(&self, id: &str) -> Result<Task, TaskError> {
        let unknown = || TaskError::Unknown { id: id.to_owned() };
        let mut task = self.0.read(id).await?.ok_or_else(unknown)?;
        task.progress = self.0.book().lease(id).and_then(|held| held.progress.clone());
        Ok(task)
    }

    /// The newest tasks that are in one of these states (any, when none is named) and of this kind, at most `most`.
    ///
    /// # Errors
    /// [`TaskError::Workflow`].
    pub async fn list(&self, states: &[TaskState], kind: Option<&str>, most: usize) -> Result<Vec<Task>, TaskError> {
        let mut listed = Vec::new();
        for run in self.0.engine.list().await?.iter().rev().filter(|run| run.workflow == TASK_WORKFLOW) {
            if listed.len() >= most {
                break;
            }
            if !states.is_empty() && !states.iter().any(|state| may_be(*state, &run.status)) {
                continue;
            }
            let task = match self.show(&run.id).await {
                Ok(task) => task,
                // Its input is none of a task's: the run says so itself.
                Err(TaskError::Unknown { .. }) => continue,
                Err(error) => return Err(error),
            };
            let is_wanted = states.is_empty() || states.contains(&task.state);
            if is_wanted && kind.is_none_or(|kind| task.request.kind == kind) {
                listed.push(task);
            }
        }
        Ok(listed)
    }
}

impl TaskDesk {
    pub(super) fn timer(&self) -> &dyn Timer {
        &*self.0.world.timer
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.0.closed.borrow()
    }
}

impl std::fmt::Debug for TaskDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskDesk").field("leases", &self.0.book().leases()).finish_non_exhaustive()
    }
}

/// Whether a task of such a run can be in this state.
fn may_be(state: TaskState, status: &RunStatus) -> bool {
    match state {
        TaskState::Queued | TaskState::Running => matches!(status, RunStatus::Running | RunStatus::Blocked { .. }),
        TaskState::Completed => matches!(status, RunStatus::Completed { .. }),
        TaskState::Failed | TaskState::Cancelled => matches!(status, RunStatus::Failed { .. }),
    }
}

fn stale(id: &str, reason: impl Into<String>) -> TaskError {
    TaskError::Stale { id: id.to_owned(), reason: reason.into() }
}

/// An agent that waits. Dropped, it does not any more, and passes on what it was told of and has not looked for.
struct Waits<'a> {
    desk: &'a Desk,
    kinds: &'a [String],
    number: u64,
    woken: oneshot::Receiver<()>,
    has_looked: bool,
}

impl Waits<'_> {
    /// Whether there may be something before the time is over.
    async fn woken(mut self, timer: &dyn Timer, limit: Duration) -> bool {
        // An error says that the desk is closed.
        let is_woken = within(timer, limit, &mut self.woken).await.is_some();
        // Who is told looks; who is not looks no more.
        self.has_looked = is_woken;
        is_woken
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.desk.book().leave(self.number, self.kinds, self.has_looked);
    }
}

impl Desk {
    /// Tasks for an agent, or its place among those that wait for some.
    fn look<'a>(&'a self, kinds: &'a [String], most: usize) -> (Vec<String>, Option<Waits<'a>>) {
        let mut book = self.book();
        let ids = book.dequeue(kinds, most);
        if !ids.is_empty() || *self.closed.borrow() {
            return (ids, None);
        }
        let (number, woken) = book.wait(kinds);
        (ids, Some(Waits { desk: self, kinds, number, woken, has_looked: false }))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name nobody else has.
    fn draw(&self, what: &str) -> EventId {
        self.seed.derive(&format!("{what}/{}", self.drawn.fetch_add(1, Ordering::Relaxed)))
    }

    /// Has a task change hands. Its histories are short, and few are ever reset.
    async fn change(&self, id: &str, change: &Move) -> Result<(), WorkflowError> {
        self.engine.update_first(id, true, MOVE, change, self.draw("move")).await
    }

    async fn read(&self, id: &str) -> Result<Option<Task>, TaskError> {
        match self.engine.history(id).await {
            Ok(history) => Ok(Task::of(id, &history)),
            Err(WorkflowError::UnknownRun { .. } | WorkflowError::BadId { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a task where its history says it is. A lease that the desk knows already is left to its own end, since it may be younger than the look.
    async fn refresh(&self, id: &str) -> Result<(), TaskError> {
        let task = self.read(id).await?;
        let now = self.world.timer.now();
        let mut book = self.book();
        match task {
            Some(task) if task.state.is_end() => book.drop_lease(id),
            None => book.drop_lease(id),
            Some(_) if book.lease(id).is_some() => {}
            Some(Task { assigned_agent: Some(agent), token: Some(token), request, .. }) => {
                let lease = Duration::from_millis(request.lease_ms);
                if book.hold(id, Held { agent, token, lease, until: now + lease, progress: None }) {
                    self.leased.notify_one();
                }
            }
            Some(Task { request, .. }) => book.enqueue(id, &request.kind, &request.precedence()),
        }
        Ok(())
    }

    fn forget(&self, id: &str, token: &str) {
        let mut book = self.book();
        if book.lease(id).is_some_and(|held| held.token == token) {
            book.drop_lease(id);
        }
    }

    /// Gives a task to an agent; `None` when it is not to be had. Dropped in the middle, the task comes back when its lease is over.
    async fn take(&self, id: String, agent: &str) -> Option<TaskLease> {
        let (agent, token) = (agent.to_owned(), self.draw("lease").to_string());
        let held = Held {
            agent: agent.clone(),
            token: token.clone(),
            lease: PAUSE,
            until: self.world.timer.now() + PAUSE,
            progress: None,
        };
        if self.book().hold(&id, held) {
            self.leased.notify_one();
        }
        let change = Move::Take { agent, token: token.clone() };
        let moved = self.change(&id, &change).await;
        match moved {
            Ok(()) => {}
            Err(error) => {
                tracing::debug!(task = id, %error, "a task is not to be had");
                let is_plain = |e: &WorkflowError| {
                    matches!(
                        e,
                        WorkflowError::Refused(_) | WorkflowError::Ended { .. } | WorkflowError::UnknownRun { .. }
                    )
                };
                if is_plain(&error) {
                    self.forget(&id, &token);
                    // What cannot be read now is looked at when it is asked for again.
                    _ = self.refresh(&id).await;
                }
                // Otherwise whether it was taken is found out when the lease is over.
                return None;
            }
        }
        let seen = self.engine.query::<_, Seen>(&id, SEEN, &()).await.ok();
        let Seen { request, attempt, .. } = seen.filter(|seen| seen.token.as_ref() == Some(&token))?;
        let lease = Duration::from_millis(request.lease_ms);
        let until = self.world.timer.now() + lease;
        if let Some(held) = self.book().prolong(&id, &token, until) {
            held.lease = lease;
        }
        let TaskRequest { kind, input, lease_ms, .. } = request;
        Some(TaskLease { id, kind, input, token, attempt, lease_ms })
    }

    /// What the holder of a lease says about the end of it.
    async fn hand_in(&self, id: &str, token: &str, change: Move) -> Result<(), TaskError> {
        let moved = self.change(id, &change).await;
        let is_complete = matches!(change, Move::Complete { .. });
        let moved = match moved {
            Err(WorkflowError::UnknownRun { .. } | WorkflowError::BadId { .. }) => {
                return Err(TaskError::Unknown { id: id.to_owned() });
            }
            Err(WorkflowError::Refused(Failure { message, .. })) => Err(stale(id, message)),
            Err(WorkflowError::Ended { .. }) => {
                let task = self.read(id).await?.ok_or_else(|| TaskError::Unknown { id: id.to_owned() })?;
                let is_own = task.token.as_deref() == Some(token);
                match (change, task.state) {
                    (Move::Complete { .. }, TaskState::Completed) | (Move::GiveBack { .. }, TaskState::Failed)
                        if is_own =>
                    {
                        Ok(())
                    }
                    _ => Err(stale(id, "the task has ended")),
                }
            }
            other => other.map_err(TaskError::from),
        };
        if matches!(moved, Err(TaskError::Workflow(_))) {
            return moved;
        }
        self.forget(id, token);
        // A task that is done is nobody's; any other may wait for an agent now.
        if !is_complete || moved.is_err() {
            self.refresh(id).await?;
        }
        moved
    }

    /// Nobody has heard of the agent.
    async fn expire(&self, id: String, token: String, agent: String) {
        let reason = format!("agent `{agent}` was not heard of within its lease");
        let change = Move::GiveBack { token: token.clone(), reason, then: Then::Retry };
        match self.hand_in(&id, &token, change).await {
            Ok(()) | Err(TaskError::Stale { .. }) => {}
            Err(TaskError::Workflow(WorkflowError::Log(error))) => {
                tracing::warn!(task = id, %error, "a lease cannot be ended yet");
                let until = self.world.timer.now() + PAUSE;
                self.book().prolong(&id, &token, until);
            }
            Err(error) => {
                tracing::error!(task = id, %error, "a task cannot go on");
                self.forget(&id, &token);
            }
        }
    }
}

/// Ends leases until the desk is closed.
async fn watch_leases(desk: Weak<Desk>, world: World, mut closed: watch::Receiver<bool>) {
    loop {
        let Some(open) = desk.upgrade() else { return };
        if *closed.borrow() {
            return;
        }
        let now = world.timer.now();
        let (over, next) = open.book().over(now);
        if !over.is_empty() {
            join_all(over.into_iter().map(|(id, token, agent)| open.expire(id, token, agent))).await;
            continue;
        }
        let span = next.map_or(Duration::from_secs(3600), |until| until - now);
        let told = async {
            tokio::select! {
                biased;
                // An error says that the desk is gone.
                _ = closed.wait_for(|is| *is) => {}
                () = open.leased.notified() => {}
            }
        };
        _ = within(&*world.timer, span, told).await;
    }
}
