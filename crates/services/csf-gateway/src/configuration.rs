//! The configuration of the node: what is in force, what a changed one would do, and the change itself.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use csf_runtime::config::Problem;
use csf_runtime::node::ReloadError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal, json_answer};
use crate::routes::Api;

/// `GET /api/v1/configuration`.
pub(crate) async fn show(State(api): State<Api>) -> Answer {
    json_answer(&api.node.configuration())
}

/// What `POST /api/v1/configuration/reload` asks.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    /// Only say what would change.
    #[serde(default)]
    dry_run: bool,
}

/// `POST /api/v1/configuration/reload`: the node reads its files again. A change that has begun goes on when the client leaves.
pub(crate) async fn reload(State(api): State<Api>, ask: Option<Json<Ask>>) -> Answer {
    let Json(ask) = ask.unwrap_or_default();
    if ask.dry_run {
        return match api.node.plan_reload() {
            Ok(plan) => json_answer(&json!({ "dry_run": true, "plan": plan, "text": plan.to_string() })),
            Err(error) => Ok(refusal(&error)),
        };
    }
    match api.node.reload().await {
        Ok(report) => {
            let text = report.plan.to_string();
            let mut answer = serde_json::to_value(report).map_err(|e| Refusal::unspeakable(&e))?;
            answer["text"] = json!(text);
            json_answer(&answer)
        }
        Err(error) => Ok(refusal(&error)),
    }
}

fn refusal(error: &ReloadError) -> Response {
    let status = match error {
        ReloadError::Invalid(_) | ReloadError::NeedsStart(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadError::NotRunning { .. } | ReloadError::NoSource => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let problems: Vec<Value> = error.problems().iter().map(problem).collect();
    let help = "`csf config reload --dry-run` says what is wrong; nothing was changed";
    let body = json!({ "error": {
        "code": error.code(), "message": error.to_string(), "help": help, "problems": problems,
    } });
    (status, Json(body)).into_response()
}

fn problem(problem: &Problem) -> Value {
    let place = problem.location.as_ref().map(|location| {
        let (line, column) = location.line_column();
        json!({ "source": location.source.name, "line": line, "column": column })
    });
    json!({
        "code": problem.code, "message": problem.message, "place": place, "label": problem.label, "help": problem.help,
    })
}
