//! Workflow runs: what there is, what happened to them, and what they are told.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use csf_core::port::{EventId, LogError, Origin};
use csf_workflow::task::{TASK_WORKFLOW, TaskDesk};
use csf_workflow::{
    AttributeFilter, Attributes, Engine, HistoryEntry, RunStatus, RunSummary, StartOptions, WorkflowError,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::answer::{Answer, Refusal, json_answer};
use crate::events::refusal as log_refusal;
use crate::routes::Api;

/// Runs in one answer.
const RUNS: usize = 100;
const MOST_RUNS: usize = 10_000;
/// Longest wait for an answer, milliseconds.
pub(crate) const MOST_WAIT_MS: u64 = 60_000;
/// Author of what comes through the API.
pub(crate) const AUTHOR: &str = "api";

/// The engine of a node and its desk for tasks, once they are open. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Workflows(Arc<watch::Sender<Option<(Engine, TaskDesk)>>>);

impl Workflows {
    /// Name of the subsystem that opens them; the API starts after it and stops before it.
    pub const SUBSYSTEM: &'static str = "workflows";

    /// From now on there are these.
    pub fn open(&self, engine: Engine, desk: TaskDesk) {
        self.0.send_replace(Some((engine, desk)));
    }

    /// Lets go of them; what was open.
    #[must_use]
    pub fn close(&self) -> Option<(Engine, TaskDesk)> {
        self.0.send_replace(None)
    }

    /// The desk, as soon as it is open. Cancel safe.
    pub async fn desk(&self) -> TaskDesk {
        let mut open = self.0.subscribe();
        loop {
            if let Some((_, desk)) = &*open.borrow_and_update() {
                return desk.clone();
            }
            if open.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Api {
    fn open_workflows(&self) -> Result<(Engine, TaskDesk), Refusal> {
        let open = self.workflows.as_ref().and_then(|workflows| workflows.0.borrow().clone());
        open.ok_or_else(|| {
            let help = "ask a node that `csf up` started";
            Refusal::new(StatusCode::NOT_FOUND, "CSF-0313", "this node runs no workflows", help)
        })
    }

    pub(crate) fn engine(&self) -> Result<Engine, Refusal> {
        Ok(self.open_workflows()?.0)
    }

    pub(crate) fn desk(&self) -> Result<TaskDesk, Refusal> {
        Ok(self.open_workflows()?.1)
    }
}

/// The body of a request, or what is wrong with it.
pub(crate) fn body<T: DeserializeOwned>(
    body: Result<Json<T>, JsonRejection>,
    help: &'static str,
) -> Result<T, Refusal> {
    let Json(body) = body.map_err(|e| {
        let status = if e.status() == StatusCode::PAYLOAD_TOO_LARGE { e.status() } else { StatusCode::BAD_REQUEST };
        Refusal::new(status, "CSF-0305", e.body_text(), help)
    })?;
    Ok(body)
}

/// What an engine's error is to a client.
pub(crate) fn refusal(error: &WorkflowError) -> Refusal {
    let conflict = |help| Refusal::new(StatusCode::CONFLICT, "CSF-0314", error.to_string(), help);
    match error {
        WorkflowError::Log(LogError::Refused(_)) => conflict("something else happened to the run meanwhile; try again"),
        WorkflowError::Log(error) => log_refusal(error),
        WorkflowError::UnknownRun { .. } => {
            let help = "GET /api/v1/workflows (`csf workflow ls`) lists the runs";
            Refusal::new(StatusCode::NOT_FOUND, "CSF-0313", error.to_string(), help)
        }
        WorkflowError::UnknownWorkflow { .. } => {
            let help = "a workflow is part of the binary that runs the node";
            Refusal::new(StatusCode::NOT_FOUND, "CSF-0313", error.to_string(), help)
        }
        WorkflowError::BadId { .. } => {
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "CSF-0305", error.to_string(), "choose another id")
        }
        WorkflowError::BadAttributes { .. } => {
            let help = "search attributes are true, false, numbers, words and lists of words";
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "CSF-0305", error.to_string(), help)
        }
        WorkflowError::Exists { .. } => conflict("a start that may be repeated has the same `request` each time"),
        WorkflowError::Ended { .. } => conflict("`csf workflow reset` lets it go on from an earlier entry"),
        WorkflowError::Refused(_) => conflict("the run's own code says so; `csf workflow show ID` tells how it stands"),
        WorkflowError::Closed => Refusal::busy(error),
        _ => conflict("`csf workflow history ID` and `csf workflow diff ID` show where it stands"),
    }
}

/// As [`refusal`]; a run that is not there is looked for among those that are.
async fn refusal_of(engine: &Engine, error: WorkflowError) -> Refusal {
    let WorkflowError::UnknownRun { id } = &error else { return refusal(&error) };
    let runs = engine.list().await.unwrap_or_default();
    let near = csf_runtime::config::closest(id, runs.iter().map(|run| run.id.as_str()));
    let hint = match (near, runs.last()) {
        (Some(near), _) => format!(", did you mean `{near}`?"),
        (None, Some(last)) => format!("; there are {}, the newest is `{}`", runs.len(), last.id),
        (None, None) => "; there is none at all".to_owned(),
    };
    let help = "GET /api/v1/workflows (`csf workflow ls`) lists the runs";
    Refusal::new(StatusCode::NOT_FOUND, "CSF-0313", format!("{error}{hint}"), help)
}

/// A value of the engine as the API shows it: stamps are text.
pub(crate) fn plain(value: &impl serde::Serialize) -> Result<Value, Refusal> {
    let mut value = serde_json::to_value(value).map_err(|e| Refusal::unspeakable(&e))?;
    if let Value::Object(fields) = &mut value {
        for key in ["stamp", "started_at", "ended_at", "submitted_at", "deadline", "fires_at", "next_at"] {
            if let Some(stamp @ Value::Number(_)) = fields.get_mut(key) {
                *stamp = json!(stamp.to_string());
            }
        }
    }
    Ok(value)
}

/// What `GET /api/v1/workflows` is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    status: Option<String>,
    workflow: Option<String>,
    limit: Option<usize>,
    /// Conditions on search attributes, one per line.
    #[serde(rename = "where", default)]
    conditions: String,
}

const STATUSES: [&str; 4] = ["running", "blocked", "completed", "failed"];

fn status_of(run: &RunSummary) -> &'static str {
    match run.status {
        RunStatus::Running => STATUSES[0],
        RunStatus::Blocked { .. } => STATUSES[1],
        RunStatus::Completed { .. } => STATUSES[2],
        RunStatus::Failed { .. } => STATUSES[3],
    }
}

/// `GET /api/v1/workflows`: the newest first.
pub(crate) async fn list(State(api): State<Api>, Query(wanted): Query<Wanted>) -> Answer {
    if let Some(status) = wanted.status.as_deref().filter(|status| !STATUSES.contains(status)) {
        return Err(Refusal::query(format!("no run has the status `{status}`; there are {}", STATUSES.join(", "))));
    }
    let limit = wanted.limit.unwrap_or(RUNS);
    if limit == 0 || limit > MOST_RUNS {
        return Err(Refusal::query(format!("limit = {limit} is outside 1..={MOST_RUNS}")));
    }
    let conditions = wanted.conditions.lines().filter(|line| !line.trim().is_empty());
    let filter = AttributeFilter::parse(conditions).map_err(|error| Refusal::query(error.to_string()))?;
    let engine = api.engine()?;
    let runs = engine.list().await.map_err(|error| refusal(&error))?;
    let fits = |run: &&RunSummary| {
        wanted.status.as_deref().is_none_or(|status| status == status_of(run))
            && wanted.workflow.as_ref().is_none_or(|workflow| *workflow == run.workflow)
            && filter.fits(&run.attributes)
    };
    let fitting: Vec<&RunSummary> = runs.iter().filter(fits).collect();
    let shown: Vec<Value> = fitting.iter().rev().take(limit).map(plain).collect::<Result<_, _>>()?;
    json_answer(&json!({ "runs": shown, "total": fitting.len(), "workflows": engine.workflows() }))
}

/// What a run is started from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Starting {
    workflow: String,
    id: String,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    timeout_ms: Option<u64>,
    #[serde(default)]
    request: Option<EventId>,
    #[serde(default)]
    attributes: Attributes,
}

/// `POST /api/v1/workflows`
pub(crate) async fn start(State(api): State<Api>, asked: Result<Json<Starting>, JsonRejection>) -> Answer {
    let asked = body(asked, "send {\"workflow\": …, \"id\": …, \"input\": …} as application/json, 1 MiB at most")?;
    let _work = api.node.gate().enter().ok_or_else(|| Refusal::not_accepting(api.node.state()))?;
    let options = StartOptions {
        timeout: asked.timeout_ms.map(Duration::from_millis),
        request: asked.request,
        origin: Origin { author: Some(AUTHOR.to_owned()), ..Origin::default() },
        attributes: asked.attributes,
    };
    let started = api.engine()?.start(&asked.workflow, &asked.id, &asked.input, options).await;
    started.map_err(|error| refusal(&error))?;
    if asked.workflow == TASK_WORKFLOW {
        notice(&api, &asked.id).await;
    }
    let location = [(header::LOCATION, format!("/api/v1/workflows/{}", asked.id))];
    Ok((StatusCode::CREATED, location, Json(json!({ "id": asked.id }))).into_response())
}

/// Tells the desk; what it does not hear now, it reads when it is opened again.
async fn notice(api: &Api, id: &str) {
    if let Ok(desk) = api.desk()
        && let Err(error) = desk.notice(id).await
    {
        tracing::warn!(run = id, %error, "the desk could not look at a run");
    }
}

/// `GET /api/v1/workflows/{id}`
pub(crate) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let engine = api.engine()?;
    match engine.describe(&id).await {
        Ok(run) => json_answer(&plain(&run)?),
        Err(error) => Err(refusal_of(&engine, error).await),
    }
}

/// `GET /api/v1/workflows/{id}/history`
pub(crate) async fn history(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let engine = api.engine()?;
    let entry = |entry: &HistoryEntry| plain(entry);
    match engine.history(&id).await {
        Ok(history) => {
            let entries: Vec<Value> = history.iter().map(entry).collect::<Result<_, _>>()?;
            json_answer(&json!({ "id": id, "entries": entries }))
        }
        Err(error) => Err(refusal_of(&engine, error).await),
    }
}

/// `GET /api/v1/workflows/{id}/diff`
pub(crate) async fn diff(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let engine = api.engine()?;
    match engine.diff(&id).await {
        Ok(()) => json_answer(&json!({ "id": id, "fits": true })),
        Err(WorkflowError::NonDeterminism { reason, .. }) => {
            let (event, expected, got) = (reason.event, &reason.expected, &reason.got);
            json_answer(&json!({ "id": id, "fits": false, "entry": event, "expected": expected, "got": got }))
        }
        Err(error) => Err(refusal_of(&engine, error).await),
    }
}

/// What a run is told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signal {
    name: String,
    #[serde(default)]
    payload: Value,
    #[serde(default)]
    request: Option<EventId>,
}

/// `POST /api/v1/workflows/{id}/signal`
pub(crate) async fn signal(
    State(api): State<Api>,
    Path(id): Path<String>,
    asked: Result<Json<Signal>, JsonRejection>,
) -> Answer {
    let asked = body(asked, "send {\"name\": …, \"payload\": …}")?;
    done(&api, &id, async |engine| engine.signal(&id, &asked.name, &asked.payload, asked.request).await).await
}

/// What a run is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    name: String,
    #[serde(default)]
    input: Value,
}

/// `POST /api/v1/workflows/{id}/query`
pub(crate) async fn query(
    State(api): State<Api>,
    Path(id): Path<String>,
    asked: Result<Json<Question>, JsonRejection>,
) -> Answer {
    let asked = body(asked, "send {\"name\": …, \"input\": …}")?;
    let engine = api.engine()?;
    match engine.query::<_, Value>(&id, &asked.name, &asked.input).await {
        Ok(answer) => json_answer(&json!({ "answer": answer })),
        Err(error) => Err(refusal_of(&engine, error).await),
    }
}

/// What a run is to change.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    name: String,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    request: Option<EventId>,
    #[serde(default = "patience")]
    wait_ms: u64,
}

const fn patience() -> u64 {
    20_000
}

/// `POST /api/v1/workflows/{id}/update`: the run's answer, or after the wait the name under which it can be asked for again.
pub(crate) async fn update(
    State(api): State<Api>,
    Path(id): Path<String>,
    asked: Result<Json<Change>, JsonRejection>,
) -> Answer {
    let asked = body(asked, "send {\"name\": …, \"input\": …, \"request\": UUID, \"wait_ms\": 20000}")?;
    if asked.wait_ms > MOST_WAIT_MS {
        return Err(Refusal::query(format!("wait_ms = {} is outside 0..={MOST_WAIT_MS}", asked.wait_ms)));
    }
    let request = match asked.request {
        Some(request) => request,
        None => drawn().map_err(|e| Refusal::busy(&e))?,
    };
    // Entered for the question only: an answer may take as long as the run does.
    let entered = api.node.gate().enter().ok_or_else(|| Refusal::not_accepting(api.node.state()))?;
    let engine = api.engine()?;
    let mut stopping = api.node.shutdown_signal();
    drop(entered);
    let answered = tokio::select! {
        biased;
        answered = engine.update::<_, Value>(&id, &asked.name, &asked.input, request) => Some(answered),
        _ = stopping.wait_for(Option::is_some) => return Err(Refusal::not_accepting(api.node.state())),
        () = tokio::time::sleep(Duration::from_millis(asked.wait_ms)) => None,
    };
    match answered {
        Some(Ok(answer)) => {
            if let Ok(run) = engine.describe(&id).await
                && run.workflow == TASK_WORKFLOW
            {
                notice(&api, &id).await;
            }
            json_answer(&json!({ "answer": answer, "request": request }))
        }
        Some(Err(error)) => Err(refusal_of(&engine, error).await),
        None => Ok((StatusCode::ACCEPTED, Json(json!({ "request": request }))).into_response()),
    }
}

fn drawn() -> Result<EventId, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(EventId::from_u128(u128::from_le_bytes(bytes)))
}

/// Why something is to be done to a run.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    reason: String,
}

/// `POST /api/v1/workflows/{id}/cancel`
pub(crate) async fn cancel(
    State(api): State<Api>,
    Path(id): Path<String>,
    asked: Result<Json<Reason>, JsonRejection>,
) -> Answer {
    let asked = body(asked, "send {\"reason\": …}")?;
    done(&api, &id, async |engine| engine.cancel(&id, &asked.reason).await).await
}

/// `POST /api/v1/workflows/{id}/terminate`
pub(crate) async fn terminate(
    State(api): State<Api>,
    Path(id): Path<String>,
    asked: Result<Json<Reason>, JsonRejection>,
) -> Answer {
    let asked = body(asked, "send {\"reason\": …}")?;
    done(&api, &id, async |engine| engine.terminate(&id, &asked.reason).await).await
}

/// From where a run is to go on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resetting {
    to: u64,
    reason: String,
}

/// `POST /api/v1/workflows/{id}/reset`
pub(crate) async fn reset(
    State(api): State<Api>,
    Path(id): Path<String>,
    asked: Result<Json<Resetting>, JsonRejection>,
) -> Answer {
    let asked = body(asked, "send {\"to\": ENTRY, \"reason\": …}")?;
    done(&api, &id, async |engine| engine.reset(&id, asked.to, &asked.reason).await.map(drop)).await
}

/// Does something to a run while the node takes work; the answer is how the run is then.
async fn done(
    api: &Api,
    id: &str,
    act: impl AsyncFnOnce(&Engine) -> Result<(), WorkflowError>,
) -> Result<Response, Refusal> {
    let _work = api.node.gate().enter().ok_or_else(|| Refusal::not_accepting(api.node.state()))?;
    let engine = api.engine()?;
    if let Err(error) = act(&engine).await {
        return Err(refusal_of(&engine, error).await);
    }
    let run = engine.describe(id).await.map_err(|error| refusal(&error))?;
    if run.workflow == TASK_WORKFLOW {
        notice(api, id).await;
    }
    json_answer(&plain(&run)?)
}
