//! The routes of version 1.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use csf_bus::EdgeError;
use csf_core::LaneId;
use csf_core::port::{EventCause, JournalError, JournalReader, LaneInfo, Scan, StoredPacket};
use csf_runtime::node::{Node, NodeState, PublishError, Readiness, SubmitError, Until};
use csf_runtime::provenance::{PacketView, Provenance};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Access;
use crate::answer::{Answer, Refusal, json_answer};
use crate::workflows::Workflows;
use crate::{configuration, console, events, grpc, subscribe, tasks, workflows};

/// Largest request body, bytes.
pub(crate) const MOST_BODY: usize = 1 << 20;
/// Most packets in one history answer.
const MOST_HISTORY: usize = 5000;
/// Deepest ancestry in one answer.
const DEEPEST: usize = 32;
/// Effects per packet in a trace.
const MOST_EFFECTS: usize = 32;

/// What handlers see.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) node: Arc<Node>,
    pub(crate) access: Access,
    /// Where the node runs any.
    pub(crate) workflows: Option<Workflows>,
    /// Turns true when the API stops: streams end then, since nothing else ends them.
    pub(crate) stop: tokio::sync::watch::Receiver<bool>,
}

impl Api {
    pub(crate) fn topic_names(&self) -> Vec<String> {
        self.node.bus().topics().iter().map(|t| t.spec().name.clone()).collect()
    }

    fn topic(&self, name: &str) -> Result<Arc<csf_bus::Topic>, Refusal> {
        self.node.bus().topic(name).map_err(|_| Refusal::unknown_topic(name, self.topic_names()))
    }

    /// Runs a question against the journal off the async threads.
    pub(crate) async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&Node, &mut dyn JournalReader) -> Result<R, JournalError> + Send + 'static,
    ) -> Result<R, Refusal> {
        let node = self.node.clone();
        blocking(move || {
            let mut reader = node.reader()?;
            question(&node, reader.as_mut())
        })
        .await
        .map_err(|e| Refusal::journal(&e))
    }
}

/// Runs blocking work; a panic in it becomes a storage error.
pub(crate) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, JournalError> + Send + 'static,
) -> Result<R, JournalError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        Err(JournalError::Damaged {
            directory: Default::default(),
            place: "reader".to_owned(),
            reason: panic.to_string(),
        })
    })
}

/// All routes of a node that is up; the guard stands before them ([`crate::front`]).
pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .route("/health/startup", get(startup))
        .route("/health/live", get(async || Json(json!({ "status": "ok" }))))
        .route("/health/ready", get(ready))
        .route("/login", get(login))
        .route("/api/v1/node", get(node))
        .route("/api/v1/health", get(health))
        .route("/api/v1/health/history", get(health_history))
        .route("/api/v1/topics", get(topics))
        .route("/api/v1/topics/{topic}", post(publish))
        .route("/api/v1/topics/{topic}/schema", get(schema))
        .route("/api/v1/topics/{topic}/last", get(last))
        .route("/api/v1/topics/{topic}/history", get(history))
        .route("/api/v1/subscribe", get(subscribe::subscribe))
        .route("/api/v1/components", get(components))
        .route("/api/v1/supervision", get(supervision))
        .route("/api/v1/configuration", get(configuration::show))
        .route("/api/v1/configuration/reload", post(configuration::reload))
        .route("/api/v1/resilience", get(resilience))
        .route("/api/v1/registry", get(registry))
        .route("/api/v1/events", get(events::list))
        .route("/api/v1/streams/{stream}", get(events::head).post(events::append))
        .route("/api/v1/dead-letters", get(events::dead_letters))
        .route("/api/v1/dead-letters/{group}/{position}/redrive", post(events::redrive))
        .merge(workflow_routes())
        .merge(grpc::routes(&api))
        .route("/api/v1/graph", get(graph))
        .route("/api/v1/latencies", get(latencies))
        .route("/api/v1/bus", get(bus))
        .route("/api/v1/packets/{id}", get(packet))
        .route("/api/v1/packets/{id}/why", get(why))
        .route("/api/v1/packets/{id}/trace", get(trace))
        .fallback(get(console::file))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .with_state(api)
}

fn workflow_routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/workflows", get(workflows::list).post(workflows::start))
        .route("/api/v1/workflows/{id}", get(workflows::show))
        .route("/api/v1/workflows/{id}/history", get(workflows::history))
        .route("/api/v1/workflows/{id}/diff", get(workflows::diff))
        .route("/api/v1/workflows/{id}/signal", post(workflows::signal))
        .route("/api/v1/workflows/{id}/query", post(workflows::query))
        .route("/api/v1/workflows/{id}/update", post(workflows::update))
        .route("/api/v1/workflows/{id}/cancel", post(workflows::cancel))
        .route("/api/v1/workflows/{id}/terminate", post(workflows::terminate))
        .route("/api/v1/workflows/{id}/reset", post(workflows::reset))
        .route("/api/v1/tasks", get(tasks::list).post(tasks::submit))
        .route("/api/v1/tasks/poll", post(tasks::poll))
        .route("/api/v1/tasks/{id}", get(tasks::show))
        .route("/api/v1/tasks/{id}/cancel", post(tasks::cancel))
        .route("/api/v1/tasks/{id}/heartbeat", post(tasks::heartbeat))
        .route("/api/v1/tasks/{id}/complete", post(tasks::complete))
        .route("/api/v1/tasks/{id}/fail", post(tasks::fail))
        .route("/api/v1/tasks/{id}/release", post(tasks::release))
}

/// Turns good once and stays so.
async fn startup(State(api): State<Api>) -> Response {
    let readiness = if api.node.state() == NodeState::Starting { Readiness::Starting } else { Readiness::Ok };
    probe(&readiness)
}

/// Good only while work is accepted.
async fn ready(State(api): State<Api>) -> Response {
    probe(&api.node.readiness())
}

fn probe(readiness: &Readiness) -> Response {
    let status = if *readiness == Readiness::Ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

#[derive(Deserialize)]
struct Login {
    #[serde(default)]
    code: String,
}

async fn login(State(api): State<Api>, Query(login): Query<Login>) -> Response {
    api.access.login(&login.code)
}

async fn node(State(api): State<Api>) -> Answer {
    let node = api.node.clone();
    let report = blocking(move || Ok(node.report())).await.map_err(|e| Refusal::journal(&e))?;
    let mut value = serde_json::to_value(report).map_err(|e| Refusal::unspeakable(&e))?;
    value["version"] = json!(env!("CARGO_PKG_VERSION"));
    value["simulated"] = json!(false);
    value["process"] = process_memory();
    value["machine"] = machine();
    value["journal"]["head_position"] = value["journal"]["durable_position"].clone();
    value["journal"]["sync"] = json!("full");
    json_answer(&value)
}

fn process_memory() -> Value {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key));
        line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
    };
    json!({ "resident_bytes": bytes("VmRSS:"), "peak_resident_bytes": bytes("VmHWM:") })
}

fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model =
        cpuinfo.lines().find_map(|l| l.strip_prefix("model name")).and_then(|l| l.split(':').nth(1)).unwrap_or("?");
    let meminfo = read("/proc/meminfo");
    let memory = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let memory = memory.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024;
    json!({
        "cpu": model.trim(),
        "cores": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "memory_bytes": memory,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

async fn health(State(api): State<Api>) -> Answer {
    json_answer(&api.node.health().await)
}

async fn health_history(State(api): State<Api>) -> Answer {
    json_answer(&json!({ "changes": api.node.monitor().history() }))
}

async fn topics(State(api): State<Api>) -> Answer {
    json_answer(&api.node.topics())
}

async fn supervision(State(api): State<Api>) -> Answer {
    json_answer(&api.node.supervision())
}

async fn components(State(api): State<Api>) -> Answer {
    json_answer(&api.node.components())
}

async fn resilience(State(api): State<Api>) -> Answer {
    json_answer(&json!({ "guards": api.node.resilience() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    capability: Option<String>,
}

async fn registry(State(api): State<Api>, Query(wanted): Query<Wanted>) -> Answer {
    let services = api.node.registered(wanted.capability.as_deref()).await;
    json_answer(&json!({ "services": services.map_err(|error| Refusal::busy(&error))? }))
}

async fn graph(State(api): State<Api>) -> Answer {
    json_answer(&*api.node.graph())
}

async fn latencies(State(api): State<Api>) -> Answer {
    json_answer(&api.node.latencies())
}

async fn bus(State(api): State<Api>) -> Answer {
    json_answer(&api.node.bus_report())
}

async fn schema(State(api): State<Api>, Path(topic): Path<String>) -> Answer {
    json_answer(&(api.topic(&topic)?.spec().message.schema)())
}

async fn last(State(api): State<Api>, Path(topic): Path<String>) -> Answer {
    api.topic(&topic)?;
    let Some(last) = api.node.feed().last_values().remove(&topic) else {
        let message = format!("`{topic}` has had no packet yet");
        return Err(Refusal::new(StatusCode::NOT_FOUND, "CSF-0304", message, "subscribe to get the first one"));
    };
    json_answer(&PacketView::of(&last.lane, &last.packet, api.node.catalogue()))
}

#[derive(Deserialize)]
struct History {
    from: Option<u64>,
    limit: Option<usize>,
}

async fn history(State(api): State<Api>, Path(topic): Path<String>, Query(query): Query<History>) -> Answer {
    api.topic(&topic)?;
    let limit = query.limit.unwrap_or(1000);
    if limit == 0 || limit > MOST_HISTORY {
        return Err(Refusal::query(format!("limit = {limit} is outside 1..={MOST_HISTORY}")));
    }
    let read = move |node: &Node, reader: &mut dyn JournalReader| {
        let lanes: Vec<LaneInfo> = reader.lanes()?.into_iter().filter(|l| l.topic == topic).collect();
        let packets = read_history(reader, &lanes, query.from, limit)?;
        let next = packets.last().map_or(query.from.unwrap_or(1), |p| p.position + 1);
        let views: Vec<PacketView> = packets
            .iter()
            .filter_map(|p| Some(PacketView::of(lanes.iter().find(|l| l.id == p.header.id.lane)?, p, node.catalogue())))
            .collect();
        Ok(json!({ "packets": views, "next": next }))
    };
    json_answer(&api.ask(read).await?)
}

/// From a position on, or the newest when none is given; ascending either way.
fn read_history(
    reader: &mut dyn JournalReader,
    lanes: &[LaneInfo],
    from: Option<u64>,
    limit: usize,
) -> Result<Vec<StoredPacket>, JournalError> {
    let ids: Vec<LaneId> = lanes.iter().map(|l| l.id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(from_position) = from {
        return reader.scan(&Scan { from_position, limit, lanes: ids });
    }
    let mut newest = Vec::new();
    for id in ids {
        newest.extend(reader.lane_tail(id, limit)?);
    }
    newest.sort_by_key(|p| p.position);
    Ok(newest.split_off(newest.len().saturating_sub(limit)))
}

#[derive(Deserialize)]
struct Publication {
    payload: Value,
    #[serde(default = "yes")]
    durable: bool,
    #[serde(default)]
    dry_run: bool,
}

fn yes() -> bool {
    true
}

async fn publish(
    State(api): State<Api>,
    Path(topic): Path<String>,
    body: Result<Json<Publication>, axum::extract::rejection::JsonRejection>,
) -> Answer {
    let spec = api.topic(&topic)?.spec().clone();
    let Json(body) = body.map_err(|e| {
        let status = if e.status() == StatusCode::PAYLOAD_TOO_LARGE { e.status() } else { StatusCode::BAD_REQUEST };
        let help = "send {\"payload\": {…}} as application/json, 1 MiB at most";
        Refusal::new(status, "CSF-0305", e.body_text(), help)
    })?;
    let misfit = |e: &dyn std::fmt::Display| {
        Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "CSF-0305",
            e.to_string(),
            "GET /api/v1/topics/{topic}/schema tells the form",
        )
    };
    if body.dry_run {
        (spec.message.from_json)(body.payload).map_err(|e| misfit(&e))?;
        return json_answer(&json!({ "dry_run": true }));
    }
    // Held until the answer is made: a stop waits for it.
    let _work = api.node.gate().enter().ok_or_else(|| Refusal::not_accepting(api.node.state()))?;
    let until = if body.durable { Until::Durable } else { Until::OnTheBus };
    let (id, stamp) = api.node.submit(&topic, body.payload, until).await.map_err(|error| match &error {
        SubmitError::Publish(cause) => match &**cause {
            PublishError::Edge(EdgeError::Codec(error)) => misfit(error),
            PublishError::NotAccepting { state } => Refusal::not_accepting(*state),
            error => Refusal::busy(error),
        },
        SubmitError::Guarded { code, retry_in, .. } => Refusal::guarded(code, &error, *retry_in),
        error => {
            let help = "free space or stop the node; nothing durable is lost";
            Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "CSF-0205", error.to_string(), help)
        }
    })?;
    if !body.durable {
        return json_answer(&json!({ "id": id.to_string(), "stamp": stamp.to_string(), "durability": "memory" }));
    }
    // The packet is durable, whatever a look at its place says: without one the receipt has no position, and is a receipt all the same.
    let position = api.ask(move |_, reader| Ok(reader.packet(id)?.map(|p| p.position))).await.ok().flatten();
    json_answer(
        &json!({ "id": id.to_string(), "stamp": stamp.to_string(), "durability": "disk", "position": position }),
    )
}

#[derive(Deserialize)]
struct Depth {
    depth: Option<usize>,
}

impl Depth {
    fn get(&self) -> Result<usize, Refusal> {
        match self.depth.unwrap_or(6) {
            depth if depth <= DEEPEST => Ok(depth),
            depth => Err(Refusal::query(format!("depth = {depth} is outside 0..={DEEPEST}"))),
        }
    }
}

fn parse_id<T: FromStr<Err = csf_core::ParseIdError>>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|e: csf_core::ParseIdError| Refusal::query(e.to_string()))
}

async fn packet(State(api): State<Api>, Path(text): Path<String>) -> Answer {
    let id = parse_id(&text)?;
    let found = api.ask(move |node, reader| Provenance::new(reader, node.catalogue())?.packet(id)).await?;
    json_answer(&found.ok_or_else(|| Refusal::unknown_packet(&text))?)
}

async fn why(State(api): State<Api>, Path(text): Path<String>, Query(depth): Query<Depth>) -> Answer {
    let (id, depth) = (parse_id::<EventCause>(&text)?, depth.get()?);
    let found = api.ask(move |node, reader| Provenance::new(reader, node.catalogue())?.why(id, depth)).await?;
    json_answer(&found.ok_or_else(|| Refusal::unknown_packet(&text))?)
}

async fn trace(State(api): State<Api>, Path(text): Path<String>, Query(depth): Query<Depth>) -> Answer {
    let (id, depth) = (parse_id::<EventCause>(&text)?, depth.get()?);
    let found = api
        .ask(move |node, reader| {
            let mut provenance = Provenance::new(reader, node.catalogue())?;
            let Some(why) = provenance.why(id, depth)? else { return Ok(None) };
            let effects = provenance.effects(id, depth.min(4), MOST_EFFECTS)?;
            Ok(Some(json!({ "why": why, "effects": effects })))
        })
        .await?;
    json_answer(&found.ok_or_else(|| Refusal::unknown_packet(&text))?)
}
