//! The node's log over HTTP: reading events, appending to a stream, and what was set aside.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use csf_core::port::{
    Append, Criteria, Direction, EventId, ExpectedVersion, Filter, LogError, NewEvent, Origin, Read, Refused,
    StoredEvent,
};
use csf_data::group;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal, json_answer};
use crate::routes::Api;

/// Most events in one answer.
const MOST_EVENTS: usize = 1000;
/// Events in an answer that was asked for no number.
const EVENTS: usize = 100;
/// What is appended here without an author of its own.
const AUTHOR: &str = "api";

/// What to read, from the query: lists are repeated keys.
#[derive(Debug, Default)]
struct Wanted {
    criteria: Criteria,
    from: Option<u64>,
    limit: usize,
    direction: Direction,
}

impl Wanted {
    fn parse(query: Option<&str>) -> Result<Self, Refusal> {
        let mut wanted = Self { limit: EVENTS, ..Self::default() };
        let pairs: Vec<(String, String)> = match query {
            Some(query) => {
                let uri: axum::http::Uri = format!("/?{query}").parse().map_err(|e| Refusal::query(format!("{e}")))?;
                let pairs = axum::extract::Query::try_from_uri(&uri).map_err(|e| Refusal::query(e.body_text()))?;
                pairs.0
            }
            None => Vec::new(),
        };
        for (key, value) in pairs {
            let number =
                |what: &str| value.parse().map_err(|_| Refusal::query(format!("`{what}` is a number, not `{value}`")));
            match key.as_str() {
                "stream" => wanted.criteria.streams.push(value),
                "category" => wanted.criteria.categories.push(value),
                "kind" => wanted.criteria.kinds.push(value),
                "tag" => wanted.criteria.tags.push(value),
                "from" => wanted.from = Some(number("from")?),
                "limit" => wanted.limit = usize::try_from(number("limit")?).unwrap_or(usize::MAX).min(MOST_EVENTS),
                "direction" => {
                    wanted.direction = match value.as_str() {
                        "forward" => Direction::Forward,
                        "backward" => Direction::Backward,
                        other => {
                            let message = format!("`direction` is `forward` or `backward`, not `{other}`");
                            return Err(Refusal::query(message));
                        }
                    }
                }
                other => return Err(Refusal::query(format!("no parameter is called `{other}`"))),
            }
        }
        Ok(wanted)
    }

    /// One stream and nothing else is read by its versions, everything else by positions.
    fn read(self) -> Read {
        let Self { criteria, from, limit, direction } = self;
        let is_one_stream = criteria.streams.len() == 1
            && criteria.categories.is_empty()
            && criteria.kinds.is_empty()
            && criteria.tags.is_empty();
        let read = match criteria.streams.first() {
            Some(stream) if is_one_stream => Read::stream(stream),
            _ if criteria == Criteria::default() => Read::log(Filter::all()),
            _ => Read::log(criteria.into()),
        };
        let read = if direction == Direction::Backward { read.backward() } else { read };
        let read = read.limit(limit);
        match from {
            Some(from) => read.from(from),
            None => read,
        }
    }
}

/// An event as the API shows it: numbers that do not fit a double are text.
fn view(event: &StoredEvent) -> Value {
    json!({
        "position": event.position,
        "id": event.id,
        "stream": event.stream,
        "version": event.version,
        "kind": event.kind,
        "stamp": event.stamp.to_string(),
        "tags": event.tags,
        "origin": event.origin,
        "data": event.data,
    })
}

/// `GET /api/v1/events`
pub(crate) async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Answer {
    let read = Wanted::parse(query.as_deref())?.read();
    let page = api.ask(move |_, reader| reader.read(&read)).await?;
    let events: Vec<Value> = page.events.iter().map(view).collect();
    json_answer(&json!({ "events": events, "position": page.position }))
}

/// `GET /api/v1/streams/{stream}`
pub(crate) async fn head(State(api): State<Api>, Path(stream): Path<String>) -> Answer {
    let name = stream.clone();
    let head = api.ask(move |_, reader| reader.head(&name)).await?;
    json_answer(&json!({
        "stream": stream,
        "version": head.version,
        "first": head.first.max(1),
        "is_closed": head.is_closed,
    }))
}

/// What a client appends to a stream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Appending {
    events: Vec<Appended>,
    expected: Option<ExpectedVersion>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Appended {
    kind: String,
    data: csf_core::port::Json,
    #[serde(default)]
    id: Option<EventId>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    correlation: Option<String>,
}

/// `POST /api/v1/streams/{stream}`
pub(crate) async fn append(
    State(api): State<Api>,
    Path(stream): Path<String>,
    body: Result<Json<Appending>, JsonRejection>,
) -> Answer {
    let Json(body) = body.map_err(|e| {
        let status = if e.status() == StatusCode::PAYLOAD_TOO_LARGE { e.status() } else { StatusCode::BAD_REQUEST };
        let help = "send {\"events\": [{\"kind\": …, \"data\": …}]} as application/json, 1 MiB at most";
        Refusal::new(status, "CSF-0305", e.body_text(), help)
    })?;
    // Held until the answer is made: a stop waits for it.
    let _work = api.node.gate().enter().ok_or_else(|| Refusal::not_accepting(api.node.state()))?;
    if stream.split_once('-').is_some_and(|(category, _)| category == csf_workflow::WORKFLOW_CATEGORY) {
        let message = format!("stream `{stream}` is the history of a workflow run");
        let help = "POST /api/v1/workflows/{id}/signal (`csf workflow signal`) tells a run something";
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "CSF-0305", message, help));
    }
    let stamp = api.node.now();
    let event = |new: Appended| {
        let author = Some(new.author.unwrap_or_else(|| AUTHOR.to_owned()));
        let origin = Origin { cause: None, author, correlation: new.correlation };
        let tags = new.tags;
        NewEvent { id: new.id, tags, ..NewEvent::new(&stream, new.kind, stamp, new.data) }.with_origin(origin)
    };
    let append = Append::events(body.events.into_iter().map(event).collect::<Vec<_>>());
    let append = append.expecting(&stream, body.expected.unwrap_or(ExpectedVersion::Any));
    let appended = api.node.recorder().append(append).await.map_err(|error| refusal(&error))?;
    let receipt = json!({
        "first": appended.first,
        "last": appended.last,
        "version": appended.version,
        "is_repeat": appended.is_repeat,
        "durability": appended.durability,
        "stamp": stamp.to_string(),
    });
    let status = if appended.is_repeat { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(receipt)).into_response())
}

pub(crate) fn refusal(error: &LogError) -> Refusal {
    match error {
        LogError::Journal(error) => Refusal::journal(error),
        LogError::Refused(Refused::BadName { .. } | Refused::TooLarge { .. } | Refused::Reserved { .. }) => {
            let help = "docs/formats/http-api.md lists names and limits";
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "CSF-0305", error.to_string(), help)
        }
        LogError::Refused(_) => {
            let help = "GET /api/v1/streams/{stream} tells its version";
            Refusal::new(StatusCode::CONFLICT, "CSF-0311", error.to_string(), help)
        }
        _ => Refusal::busy(error),
    }
}

/// `GET /api/v1/dead-letters`
pub(crate) async fn dead_letters(State(api): State<Api>) -> Answer {
    let parked = group::parked(&*api.node.log(), None).await.map_err(|error| refusal(&error))?;
    let parked: Vec<Value> = parked
        .iter()
        .map(|parked| {
            let reason = &parked.reason;
            json!({
                "group": parked.group,
                "position": reason.position,
                "stream": reason.stream,
                "kind": reason.kind,
                "reason": reason.reason,
                "tries": reason.tries,
                "stamp": parked.stamp.to_string(),
            })
        })
        .collect();
    json_answer(&json!({ "parked": parked, "dead_events": api.node.bus_report().dead_events }))
}

/// `POST /api/v1/dead-letters/{group}/{position}/redrive`
pub(crate) async fn redrive(State(api): State<Api>, Path((group, position)): Path<(String, u64)>) -> Answer {
    let _work = api.node.gate().enter().ok_or_else(|| Refusal::not_accepting(api.node.state()))?;
    let stamp = api.node.now();
    let redriven = group::redrive(&*api.node.log(), &group, position, stamp, AUTHOR).await;
    if redriven.map_err(|error| refusal(&error))? {
        return json_answer(&json!({ "group": group, "position": position }));
    }
    let message = format!("group `{group}` has no event of position {position} set aside");
    Err(Refusal::new(StatusCode::NOT_FOUND, "CSF-0312", message, "GET /api/v1/dead-letters lists them"))
}

#[cfg(test)]
mod tests {
    use csf_core::port::ReadOf;

    use super::*;

    #[test]
    fn queries_say_what_to_read() {
        let read = |query| Wanted::parse(Some(query)).map(Wanted::read);
        let one = read("stream=order-1&from=3&limit=7").expect("a stream");
        assert_eq!(one, Read::stream("order-1").from(3).limit(7));
        let log = read("category=order&kind=placed&kind=paid&tag=a%3A1&direction=backward").expect("a filter");
        assert_eq!((log.direction, log.from, log.limit), (Direction::Backward, u64::MAX, EVENTS));
        let ReadOf::Log(filter) = log.of else { panic!("the log is read") };
        assert_eq!(filter.any_of[0].kinds, ["placed", "paid"]);
        assert_eq!(filter.any_of[0].tags, ["a:1"]);
        assert_eq!(read("limit=99999999").expect("a limit").limit, MOST_EVENTS);
        for bad in ["from=x", "limit=-1", "direction=up", "streams=a"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
