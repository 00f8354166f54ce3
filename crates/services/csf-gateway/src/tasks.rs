//! Tasks for agents: submitted, looked at, and done by workers that ask for them.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use csf_core::port::{Json as Payload, Origin};
use csf_workflow::task::{TaskError, TaskLease, TaskRequest, TaskState};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal, json_answer};
use crate::routes::Api;
use crate::workflows::{AUTHOR, MOST_WAIT_MS, body, plain, refusal as workflow_refusal};

/// Tasks in one answer.
const TASKS: usize = 100;
const MOST_TASKS: usize = 1000;

pub(crate) fn refusal(error: &TaskError) -> Refusal {
    match error {
        TaskError::Bad { .. } => {
            let help = "docs/formats/http-api.md lists the fields and limits";
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "CSF-0305", error.to_string(), help)
        }
        TaskError::Unknown { .. } => {
            let help = "GET /api/v1/tasks (`csf task ls`) lists them";
            Refusal::new(StatusCode::NOT_FOUND, "CSF-0315", error.to_string(), help)
        }
        TaskError::Stale { .. } => {
            let help = "drop what was done and poll for another task; a longer lease or more heartbeats keep it";
            Refusal::new(StatusCode::CONFLICT, "CSF-0316", error.to_string(), help)
        }
        TaskError::Workflow(error) => workflow_refusal(error),
        error => Refusal::busy(error),
    }
}

/// What is submitted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Submission {
    #[serde(default)]
    id: Option<String>,
    kind: String,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    lease_ms: Option<u64>,
    #[serde(default)]
    attempts: Option<u32>,
    #[serde(default)]
    timeout_ms: Option<u64>,
    #[serde(default)]
    priority: Option<u8>,
    #[serde(default)]
    fairness_key: String,
    #[serde(default)]
    fairness_weight: Option<f64>,
}

/// `POST /api/v1/tasks`
pub(crate) async fn submit(State(api): State<Api>, asked: Result<Json<Submission>, JsonRejection>) -> Answer {
    let asked = body(asked, "send {\"kind\": …, \"input\": …} as application/json, 1 MiB at most")?;
    let _work = api.node.gate().enter().ok_or_else(|| Refusal::not_accepting(api.node.state()))?;
    let default = TaskRequest::new(asked.kind, asked.input);
    let request = TaskRequest {
        lease_ms: asked.lease_ms.unwrap_or(default.lease_ms),
        attempts: asked.attempts.unwrap_or(default.attempts),
        priority: asked.priority.unwrap_or(default.priority),
        fairness_key: asked.fairness_key,
        fairness_weight: asked.fairness_weight.unwrap_or(default.fairness_weight),
        ..default
    };
    let origin = Origin { author: Some(AUTHOR.to_owned()), ..Origin::default() };
    let timeout = asked.timeout_ms.map(Duration::from_millis);
    let submitted = api.desk()?.submit(asked.id.as_deref(), &request, timeout, origin).await;
    let id = submitted.map_err(|error| refusal(&error))?;
    let location = [(header::LOCATION, format!("/api/v1/tasks/{id}"))];
    Ok((StatusCode::CREATED, location, Json(json!({ "id": id }))).into_response())
}

/// What `GET /api/v1/tasks` is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    state: Option<TaskState>,
    kind: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/v1/tasks`: the newest first.
pub(crate) async fn list(State(api): State<Api>, Query(wanted): Query<Wanted>) -> Answer {
    let limit = wanted.limit.unwrap_or(TASKS);
    if limit == 0 || limit > MOST_TASKS {
        return Err(Refusal::query(format!("limit = {limit} is outside 1..={MOST_TASKS}")));
    }
    let states: Vec<TaskState> = wanted.state.into_iter().collect();
    let tasks = api.desk()?.list(&states, wanted.kind.as_deref(), limit).await.map_err(|error| refusal(&error))?;
    let tasks: Vec<Value> = tasks.iter().map(plain).collect::<Result<_, _>>()?;
    json_answer(&json!({ "tasks": tasks }))
}

/// `GET /api/v1/tasks/{id}`
pub(crate) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let task = api.desk()?.show(&id).await.map_err(|error| refusal(&error))?;
    json_answer(&plain(&task)?)
}

/// Why a task is not wanted any more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancelling {
    reason: String,
}

/// `POST /api/v1/tasks/{id}/cancel`
pub(crate) async fn cancel(
    State(api): State<Api>,
    Path(id): Path<String>,
    asked: Result<Json<Cancelling>, JsonRejection>,
) -> Answer {
    let asked = body(asked, "send {\"reason\": …}")?;
    let _work = api.node.gate().enter().ok_or_else(|| Refusal::not_accepting(api.node.state()))?;
    api.desk()?.cancel(&id, &asked.reason).await.map_err(|error| refusal(&error))?;
    json_answer(&json!({ "id": id }))
}

/// What an agent asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Polling {
    agent: String,
    kinds: Vec<String>,
    #[serde(default = "one")]
    max: usize,
    #[serde(default)]
    wait_ms: u64,
}

const fn one() -> usize {
    1
}

/// `POST /api/v1/tasks/poll`: the answer comes with the first task, or empty when the wait or the node's life is over.
pub(crate) async fn poll(State(api): State<Api>, asked: Result<Json<Polling>, JsonRejection>) -> Answer {
    let asked = body(asked, "send {\"agent\": …, \"kinds\": [\"…\"], \"max\": 1, \"wait_ms\": 20000}")?;
    let taken = take(&api, &asked.agent, &asked.kinds, asked.max, asked.wait_ms).await?;
    json_answer(&json!({ "tasks": taken }))
}

/// Tasks for an agent, waited for at most so many milliseconds.
pub(crate) async fn take(
    api: &Api,
    agent: &str,
    kinds: &[String],
    most: usize,
    wait_ms: u64,
) -> Result<Vec<TaskLease>, Refusal> {
    if wait_ms > MOST_WAIT_MS {
        return Err(Refusal::query(format!("wait_ms = {wait_ms} is outside 0..={MOST_WAIT_MS}")));
    }
    let mut stopping = api.node.shutdown_signal();
    let desk = api.desk()?;
    // Whoever waits for nothing keeps no stop waiting.
    let taken = tokio::select! {
        biased;
        _ = stopping.wait_for(Option::is_some) => return Err(Refusal::not_accepting(api.node.state())),
        taken = desk.poll(agent, kinds, most, Duration::from_millis(wait_ms)) => taken,
    };
    taken.map_err(|error| refusal(&error))
}

/// A sign of life.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Beat {
    token: String,
    #[serde(default)]
    progress: Option<Payload>,
}

/// `POST /api/v1/tasks/{id}/heartbeat`
pub(crate) async fn heartbeat(
    State(api): State<Api>,
    Path(id): Path<String>,
    asked: Result<Json<Beat>, JsonRejection>,
) -> Answer {
    let asked = body(asked, "send {\"token\": …, \"progress\": …}")?;
    let lease_ms = api.desk()?.heartbeat(&id, &asked.token, asked.progress).map_err(|error| refusal(&error))?;
    json_answer(&json!({ "id": id, "lease_ms": lease_ms }))
}

/// What an agent hands in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Completion {
    token: String,
    #[serde(default)]
    output: Value,
}

/// `POST /api/v1/tasks/{id}/complete`
pub(crate) async fn complete(
    State(api): State<Api>,
    Path(id): Path<String>,
    asked: Result<Json<Completion>, JsonRejection>,
) -> Answer {
    let asked = body(asked, "send {\"token\": …, \"output\": …}")?;
    let _work = api.node.gate().enter().ok_or_else(|| Refusal::not_accepting(api.node.state()))?;
    let done = api.desk()?.complete(&id, &asked.token, asked.output.into()).await;
    done.map_err(|error| refusal(&error))?;
    json_answer(&json!({ "id": id, "durability": "disk" }))
}

/// Why an agent has not done a task.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Giving {
    token: String,
    reason: String,
    #[serde(default)]
    is_final: bool,
}

/// `POST /api/v1/tasks/{id}/fail`
pub(crate) async fn fail(
    State(api): State<Api>,
    Path(id): Path<String>,
    asked: Result<Json<Giving>, JsonRejection>,
) -> Answer {
    let asked = body(asked, "send {\"token\": …, \"reason\": …, \"is_final\": false}")?;
    let _work = api.node.gate().enter().ok_or_else(|| Refusal::not_accepting(api.node.state()))?;
    let given = api.desk()?.fail(&id, &asked.token, &asked.reason, asked.is_final).await;
    given.map_err(|error| refusal(&error))?;
    json_answer(&json!({ "id": id }))
}

/// What an agent gives back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Releasing {
    token: String,
}

/// `POST /api/v1/tasks/{id}/release`
pub(crate) async fn release(
    State(api): State<Api>,
    Path(id): Path<String>,
    asked: Result<Json<Releasing>, JsonRejection>,
) -> Answer {
    let asked = body(asked, "send {\"token\": …}")?;
    let _work = api.node.gate().enter().ok_or_else(|| Refusal::not_accepting(api.node.state()))?;
    api.desk()?.release(&id, &asked.token).await.map_err(|error| refusal(&error))?;
    json_answer(&json!({ "id": id }))
}
