//! Answers: JSON, and errors with a code, a message and a remedy.

use std::time::Duration;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use csf_core::port::JournalError;
use csf_runtime::node::NodeState;
use serde_json::json;

/// What a refused client waits, seconds: about a stop and a start.
const RETRY_AFTER_S: u32 = 5;

/// A refused request.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    help: &'static str,
    retry_after_s: Option<u32>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>, help: &'static str) -> Self {
        Self { status, code, message: message.into(), help, retry_after_s: None }
    }

    /// The node starts or stops: whoever stands behind it may try again soon.
    pub(crate) fn not_accepting(state: NodeState) -> Self {
        let message = format!("the node is {state} and takes no new work");
        let help = "try again after the time in `Retry-After`; what was acknowledged is durable";
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "CSF-0310", message, help);
        Self { retry_after_s: Some(RETRY_AFTER_S), ..refusal }
    }

    pub(crate) fn unauthorized() -> Self {
        let help = "send `Authorization: Bearer TOKEN` with the token from the journal directory's api.token, or open the printed address";
        Self::new(StatusCode::UNAUTHORIZED, "CSF-0301", "this needs the node's token", help)
    }

    pub(crate) fn unknown_topic(name: &str, known: impl IntoIterator<Item = String>) -> Self {
        let known: Vec<String> = known.into_iter().collect();
        let near = csf_runtime::config::closest(name, known.iter().map(String::as_str));
        let hint = near.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
        Self::new(
            StatusCode::NOT_FOUND,
            "CSF-0304",
            format!("no topic is called `{name}`{hint}"),
            "GET /api/v1/topics lists them",
        )
    }

    pub(crate) fn unknown_packet(id: &str) -> Self {
        let message = format!("packet {id} is not in the journal");
        Self::new(
            StatusCode::NOT_FOUND,
            "CSF-0306",
            message,
            "ids look like 1.1.3-42; a packet is found once it is durable",
        )
    }

    /// A field of a body that is not as it should be.
    pub(crate) fn body(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "CSF-0305",
            message,
            "docs/formats/http-api.md lists the fields and limits",
        )
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn help(&self) -> &'static str {
        self.help
    }

    pub(crate) fn query(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "CSF-0307", message, "docs/formats/http-api.md lists the parameters")
    }

    /// What the journal says, under the code that fits it: only a damaged one is called so.
    pub(crate) fn journal(error: &JournalError) -> Self {
        let (status, code, help) = match error {
            JournalError::Storage { full: true, .. } => {
                (StatusCode::INSUFFICIENT_STORAGE, "CSF-0205", "free space; nothing durable is lost")
            }
            JournalError::Storage { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "CSF-0202", "try again; see the node's log")
            }
            JournalError::Unsynced { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "CSF-0215", "check the disk and start the node again")
            }
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "CSF-0206", "see the node's log"),
        };
        Self::new(status, code, error.to_string(), help)
    }

    /// The bus has no room now.
    pub(crate) fn busy(error: &impl std::fmt::Display) -> Self {
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "CSF-0309", error.to_string(), "try again later");
        Self { retry_after_s: Some(RETRY_AFTER_S), ..refusal }
    }

    /// The topic's guard refused the packet, or ended the wait for it.
    pub(crate) fn guarded(code: &'static str, error: &impl std::fmt::Display, retry_in: Option<Duration>) -> Self {
        let (status, help) = match code {
            "CSF-0703" => (StatusCode::TOO_MANY_REQUESTS, "try again after the time in `Retry-After`"),
            "CSF-0704" | "CSF-0705" => {
                (StatusCode::GATEWAY_TIMEOUT, "ask for the packet by its id before sending it again")
            }
            _ => (StatusCode::SERVICE_UNAVAILABLE, "try again later; GET /api/v1/resilience shows the guard"),
        };
        let retry_after_s =
            retry_in.map(|wait| u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1));
        Self { retry_after_s, ..Self::new(status, code, error.to_string(), help) }
    }

    /// An answer that has no JSON form: a fault of ours.
    pub(crate) fn unspeakable(error: &serde_json::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "CSF-0299", error.to_string(), "report it")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message, "help": self.help } });
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// What handlers return.
pub(crate) type Answer = Result<Response, Refusal>;

/// A value as JSON.
pub(crate) fn json_answer(value: &impl serde::Serialize) -> Answer {
    Ok(Json(serde_json::to_value(value).map_err(|e| Refusal::unspeakable(&e))?).into_response())
}
