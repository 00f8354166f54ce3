//! The engine: runs of workflows on a log, each in the hands of one task while something happens to it, and on disk otherwise.

mod checkpoint;
mod draft;
mod input;
mod names;
mod perform;
mod recover;
mod repeats;
mod reset;
mod shared;
mod standing;
mod task;
mod timers;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{EventId, EventLog, Json, Origin, Read, Spawn, Timer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::attributes::{self, Attributes};
use crate::definition::{ActivityCode, Code};
use crate::history::{HistoryEntry, HistoryEvent, WORKFLOW_CATEGORY};
use crate::run::Machine;
use crate::{Activity, Failure, Workflow, WorkflowError};

use input::{Answer, Input};
use timers::Timers;

/// Longest id of a run, bytes.
const ID_BYTES_MAX: usize = 200;
/// Longest history: a run beyond it is ended. `continue_as_new` keeps histories short.
const HISTORY_MAX: u64 = 50_000;

/// What an engine runs in.
#[derive(Clone)]
pub struct World {
    /// Waiting.
    pub timer: Arc<dyn Timer>,
    /// Tasks.
    pub spawn: Arc<dyn Spawn>,
    /// Stamps what is appended; timers go by it.
    pub clock: Arc<dyn Fn() -> Stamp + Send + Sync>,
}

/// How much an engine does at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Activities that run at the same time.
    pub activities_max: usize,
    /// A run that nothing happens to leaves the memory after this time. One that sleeps leaves it after a second: who wakes it is a timer.
    pub idle: Duration,
    /// Runs that wait in memory for somebody, at some KiB each; with more, those leave it that nothing has happened to for longest. Of those
    /// that sleep there are a sixteenth as many.
    pub loaded_max: usize,
    /// Author of what the engine appends.
    pub author: String,
    /// Entries of histories after which the engine writes down again how all runs stand; half as many as runs stand, when that is more.
    /// An engine that is opened reads that, and about so many entries.
    pub checkpoint_every: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            activities_max: 256,
            idle: Duration::from_secs(60),
            loaded_max: 16_384,
            author: "workflow".into(),
            checkpoint_every: 250_000,
        }
    }
}

/// How a run is started.
#[derive(Clone, Debug, Default)]
pub struct StartOptions {
    /// The run is ended when it takes longer.
    pub timeout: Option<Duration>,
    /// The request's name: a start that is repeated under it is one.
    pub request: Option<EventId>,
    /// Where the request comes from.
    pub origin: Origin,
    /// What the run is found by, to begin with.
    pub attributes: Attributes,
}

/// How a run is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum RunStatus {
    /// It goes on.
    Running,
    /// It would go on, but its code does not fit its history.
    Blocked {
        /// Where they part.
        reason: String,
    },
    /// It has ended well.
    Completed {
        /// What came of it.
        result: Json,
    },
    /// It has ended badly, or was ended.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// A run as lists show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSummary {
    /// Its id.
    pub id: String,
    /// How often it was continued as new, or reset.
    pub run: u32,
    /// Name of its workflow.
    pub workflow: String,
    /// When it was started.
    pub started_at: Stamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Stamp>,
    /// What it is found by.
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// How it is.
    #[serde(flatten)]
    pub status: RunStatus,
}

/// Runs workflows. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    log: Arc<dyn EventLog>,
    world: World,
    options: EngineOptions,
    workflows: BTreeMap<String, Code>,
    activities: BTreeMap<String, ActivityCode>,
    slots: Arc<Semaphore>,
    timers: Timers,
    pace: checkpoint::Pace,
    runs: Mutex<Runs>,
}

#[derive(Default)]
struct Runs {
    /// Runs in the hands of a task, by stream. A channel takes the room of 32 messages: boxes are small.
    loaded: HashMap<Arc<str>, mpsc::UnboundedSender<Box<Input>>>,
    /// Those of them that wait for somebody, by the order in which they began to.
    idle: BTreeMap<u64, Arc<str>>,
    /// And those that sleep.
    asleep: BTreeMap<u64, Arc<str>>,
    /// How often a run began to wait.
    waits: u64,
    /// Who waits for the end of a run, by stream.
    waiting: HashMap<String, Vec<oneshot::Sender<HistoryEvent>>>,
    /// Why runs cannot go on, by stream.
    blocked: BTreeMap<String, String>,
    is_closed: bool,
}

/// The stream of a run.
fn stream_of(id: &str, run: u32) -> String {
    if run == 0 { format!("{WORKFLOW_CATEGORY}-{id}") } else { format!("{WORKFLOW_CATEGORY}-{id}~{run}") }
}

/// The id and the number of a run, of its stream.
fn of_stream(stream: &str) -> (&str, u32) {
    let name = stream.strip_prefix(WORKFLOW_CATEGORY).and_then(|name| name.strip_prefix('-')).unwrap_or(stream);
    match name.rsplit_once('~') {
        Some((id, run)) => (id, run.parse().unwrap_or(0)),
        None => (name, 0),
    }
}

fn check_id(id: &str) -> Result<(), WorkflowError> {
    if id.is_empty() || id.len() > ID_BYTES_MAX || id.chars().any(|c| c.is_control() || c == '~') {
        return Err(WorkflowError::BadId { id: id.chars().take(ID_BYTES_MAX).collect(), limit: ID_BYTES_MAX });
    }
    Ok(())
}

impl Engine {
    /// An engine for the runs of this log. Runs that were under way go on. One whose history cannot be read is set aside, as blocked, until an engine
    /// is opened that can read it.
    ///
    /// # Errors
    /// [`WorkflowError::Log`]; [`WorkflowError::BadHistory`] of a checkpoint.
    pub async fn open(
        log: Arc<dyn EventLog>,
        world: World,
        workflows: impl IntoIterator<Item = Workflow>,
        activities: impl IntoIterator<Item = Activity>,
        options: EngineOptions,
    ) -> Result<Self, WorkflowError> {
        let shared = Arc::new(Shared {
            log,
            workflows: workflows.into_iter().map(|workflow| (workflow.name, workflow.code)).collect(),
            activities: activities.into_iter().map(|activity| (activity.name, activity.code)).collect(),
            slots: Arc::new(Semaphore::new(options.activities_max.clamp(1, Semaphore::MAX_PERMITS))),
            timers: Timers::default(),
            pace: checkpoint::Pace::default(),
            runs: Mutex::default(),
            world,
            options,
        });
        let own = Arc::downgrade(&shared);
        let (timer, clock) = (shared.world.timer.clone(), shared.world.clock.clone());
        let (news, is_closed) = shared.timers.watch();
        shared.world.spawn.spawn(Box::pin(timers::run(own, timer, clock, news, is_closed)));
        recover::recover(&shared).await?;
        Ok(Self { shared })
    }

    /// Starts a run. It is back when the start is as durable as the log makes it.
    ///
    /// # Errors
    /// [`WorkflowError::UnknownWorkflow`], [`WorkflowError::Exists`], [`WorkflowError::BadId`], [`WorkflowError::BadAttributes`], [`WorkflowError::Log`].
    pub async fn start<I: Serialize + ?Sized>(
        &self,
        workflow: &str,
        id: &str,
        input: &I,
        options: StartOptions,
    ) -> Result<(), WorkflowError> {
        self.begin(workflow, id, input, options).await.map(drop)
    }

    /// As [`Engine::start`]; whether the run began with this call, and not with an earlier one of the same request.
    pub(crate) async fn begin<I: Serialize + ?Sized>(
        &self,
        workflow: &str,
        id: &str,
        input: &I,
        options: StartOptions,
    ) -> Result<bool, WorkflowError> {
        check_id(id)?;
        self.shared.code(workflow)?;
        let input = Json::of(input).map_err(|e| Failure::bad_payload("input", &e))?;
        let now = (self.shared.world.clock)();
        let deadline = options.timeout.map(|span| now.after(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)));
        let attributes = options.attributes;
        attributes::check(attributes.iter().map(|(name, value)| (name, Some(value))))
            .map_err(|reason| WorkflowError::BadAttributes { reason })?;
        let (workflow, resets) = (workflow.to_owned(), Vec::new());
        let started = HistoryEvent::Started { workflow, input, run: 0, parent: None, deadline, resets, attributes };
        let stream = stream_of(id, 0);
        let (done, answer) = oneshot::channel();
        let id_of_event = options.request.map(|request| request.derive(&stream));
        let input = Input::Start { started, id: id_of_event, origin: options.origin, done };
        self.shared.deliver(&stream, input)?;
        answer.await.map_err(|_| WorkflowError::Closed)?
    }

    /// Tells a run something. Back when that is durable. The same `request` is told once.
    ///
    /// # Errors
    /// [`WorkflowError::UnknownRun`], [`WorkflowError::Ended`], [`WorkflowError::Log`].
    pub async fn signal<T: Serialize + ?Sized>(
        &self,
        id: &str,
        name: &str,
        payload: &T,
        request: Option<EventId>,
    ) -> Result<(), WorkflowError> {
        let payload = Json::of(payload).map_err(|e| Failure::bad_payload("signal", &e))?;
        self.tell(id, HistoryEvent::SignalReceived { name: name.to_owned(), payload }, request).await
    }

    /// Asks a run to end. It decides how.
    ///
    /// # Errors
    /// As [`Engine::signal`].
    pub async fn cancel(&self, id: &str, reason: &str) -> Result<(), WorkflowError> {
        self.tell(id, HistoryEvent::CancelRequested { reason: reason.to_owned() }, None).await
    }

    async fn tell(&self, id: &str, event: HistoryEvent, name: Option<EventId>) -> Result<(), WorkflowError> {
        self.ask(id, |done| Input::Happened { event: event.clone(), id: name, done: Some(done) }).await
    }

    /// Gives the newest run of this id an input; its answer.
    async fn ask<T>(&self, id: &str, input: impl Fn(Answer<T>) -> Input) -> Result<T, WorkflowError> {
        let is_loaded = self.shared.runs().loaded.contains_key(&*stream_of(id, 0));
        self.ask_first(id, is_loaded, input).await
    }

    /// The same. One run of an id goes on at a time: where the first one is likely to, it is asked before the log is searched for others.
    async fn ask_first<T>(
        &self,
        id: &str,
        is_likely: bool,
        input: impl Fn(Answer<T>) -> Input,
    ) -> Result<T, WorkflowError> {
        check_id(id)?;
        if is_likely {
            let first = stream_of(id, 0);
            match self.shared.ask(&first, &input).await {
                Err(WorkflowError::Ended { .. } | WorkflowError::UnknownRun { .. }) => {}
                other => return other,
            }
        }
        self.shared.ask(&self.newest(id).await?, &input).await
    }

    /// Ends a run where it stands. Its code does not notice.
    ///
    /// # Errors
    /// As [`Engine::signal`].
    pub async fn terminate(&self, id: &str, reason: &str) -> Result<(), WorkflowError> {
        let failure = Failure::of(crate::FailureKind::Terminated, reason);
        self.ask(id, |done| Input::Terminate { failure: failure.clone(), done: Some(done) }).await
    }

    /// Asks a run to change something; its answer. Refused updates leave no trace. The same `request` is carried out once.
    ///
    /// # Errors
    /// [`WorkflowError::Refused`] with the run's own failure, and as [`Engine::signal`].
    pub async fn update<I: Serialize + ?Sized, O: DeserializeOwned>(
        &self,
        id: &str,
        name: &str,
        input: &I,
        request: EventId,
    ) -> Result<O, WorkflowError> {
        let is_loaded = self.shared.runs().loaded.contains_key(&*stream_of(id, 0));
        self.update_first(id, is_loaded, name, input, request).await
    }

    /// As [`Engine::update`], for ids whose first run is likely to go on.
    pub(crate) async fn update_first<I: Serialize + ?Sized, O: DeserializeOwned>(
        &self,
        id: &str,
        is_likely: bool,
        name: &str,
        input: &I,
        request: EventId,
    ) -> Result<O, WorkflowError> {
        let payload = Json::of(input).map_err(|e| Failure::bad_payload("update", &e))?;
        let update = |done| Input::Update { id: request, name: name.to_owned(), payload: payload.clone(), done };
        let answer = self.ask_first(id, is_likely, update).await?;
        Ok(answer.parse().map_err(|e| Failure::bad_payload("answer", &e))?)
    }

    /// Looks at a run.
    ///
    /// # Errors
    /// [`WorkflowError::Refused`] with the run's own failure, and as [`Engine::signal`].
    pub async fn query<I: Serialize + ?Sized, O: DeserializeOwned>(
        &self,
        id: &str,
        name: &str,
        input: &I,
    ) -> Result<O, WorkflowError> {
        let input = Json::of(input).map_err(|e| Failure::bad_payload("query", &e))?;
        let query = |done| Input::Query { name: name.to_owned(), input: input.clone(), done };
        let answer = self.ask(id, query).await?;
        Ok(answer.parse().map_err(|e| Failure::bad_payload("answer", &e))?)
    }

    /// Waits for the end of a run and of those that continue it; what came of it.
    ///
    /// # Errors
    /// [`WorkflowError::Refused`] with its failure, [`WorkflowError::Blocked`] when it cannot end as things are, [`WorkflowError::UnknownRun`],
    /// [`WorkflowError::Log`].
    pub async fn result<O: DeserializeOwned>(&self, id: &str) -> Result<O, WorkflowError> {
        check_id(id)?;
        // A first run that goes on is the newest: it is looked at before the log is searched for others.
        let mut stream = stream_of(id, 0);
        let mut is_newest = false;
        loop {
            let (end, was_open) = self.shared.ended(&stream).await?;
            match end {
                Some(HistoryEvent::Completed { result }) if was_open || is_newest => {
                    return Ok(result.parse().map_err(|e| Failure::bad_payload("output", &e))?);
                }
                // A run that is continued otherwise, as by a reset, ends so too: the newest is asked again.
                Some(HistoryEvent::Failed { failure } | HistoryEvent::Terminated { failure })
                    if is_newest && !was_open =>
                {
                    return Err(failure.into());
                }
                _ => (stream, is_newest) = (self.newest(id).await?, true),
            }
        }
    }

    /// The whole history of the newest run of this id.
    ///
    /// # Errors
    /// [`WorkflowError::UnknownRun`], [`WorkflowError::BadHistory`], [`WorkflowError::Log`].
    pub async fn history(&self, id: &str) -> Result<Vec<HistoryEntry>, WorkflowError> {
        self.shared.history(&self.newest(id).await?).await
    }

    /// How the newest run of this id is.
    ///
    /// # Errors
    /// As [`Engine::history`].
    pub async fn describe(&self, id: &str) -> Result<RunSummary, WorkflowError> {
        let stream = self.newest(id).await?;
        let events = self.shared.log.read(Read::stream(&stream)).await?.events;
        let mut summary =
            recover::summary_of(&stream, &events).ok_or_else(|| WorkflowError::UnknownRun { id: id.to_owned() })?;
        if let (RunStatus::Running, Some(reason)) = (&summary.status, self.shared.runs().blocked.get(&stream)) {
            summary.status = RunStatus::Blocked { reason: reason.clone() };
        }
        Ok(summary)
    }

    /// Names of the workflows that are registered.
    #[must_use]
    pub fn workflows(&self) -> Vec<&str> {
        self.shared.workflows.keys().map(String::as_str).collect()
    }

    /// All runs, oldest first.
    ///
    /// # Errors
    /// [`WorkflowError::Log`].
    pub async fn list(&self) -> Result<Vec<RunSummary>, WorkflowError> {
        recover::list(&self.shared).await
    }

    /// Replays the recorded history of a run against the code that is registered now.
    ///
    /// # Errors
    /// [`WorkflowError::NonDeterminism`] where they part, and as [`Engine::history`].
    pub async fn diff(&self, id: &str) -> Result<(), WorkflowError> {
        let history = self.history(id).await?;
        let code = self.shared.code_of(id, &history)?;
        let machine = Machine::replay(id, code, &history);
        machine.map(drop).map_err(|reason| WorkflowError::NonDeterminism { id: id.to_owned(), reason })
    }

    /// Ends the engine. Runs stay where they are; activities that are under way are told nobody waits for them.
    pub fn close(&self) {
        let mut runs = self.shared.runs();
        runs.is_closed = true;
        runs.loaded.clear();
        runs.idle.clear();
        runs.asleep.clear();
        runs.waiting.clear();
        drop(runs);
        self.shared.timers.close();
    }

    /// The stream of the newest run of this id.
    async fn newest(&self, id: &str) -> Result<String, WorkflowError> {
        check_id(id)?;
        self.shared.newest(id).await?.ok_or_else(|| WorkflowError::UnknownRun { id: id.to_owned() })
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.shared.options).finish_non_exhaustive()
    }
}
