//! What stands at the node's address from before its start: the guard, and behind it either the routes or the word that it starts.

use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use csf_runtime::node::{NodeState, Phase};
use serde_json::json;
use tower_service::Service;

use crate::access::{Access, guard};
use crate::answer::Refusal;
use crate::grpc;

/// The newest finished phase of the start, and the routes once there are some. Clones are the same.
#[derive(Clone, Default)]
pub struct Front(Arc<RwLock<Stage>>);

#[derive(Default)]
struct Stage {
    phase: Option<(u8, String)>,
    routes: Option<Router>,
}

impl Front {
    /// Lets `/health/ready` and `/health/startup` tell how far the start is.
    pub fn tell(&self, phase: &Phase) {
        self.stage(|stage| stage.phase = Some((phase.number, phase.name.clone())));
    }

    /// From now on the routes answer.
    pub(crate) fn open(&self, routes: Router) {
        self.stage(|stage| stage.routes = Some(routes));
    }

    /// Lets go of the routes, and with them of the node.
    pub(crate) fn close(&self) {
        self.stage(|stage| stage.routes = None);
    }

    fn stage(&self, change: impl FnOnce(&mut Stage)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The service behind the address.
    pub(crate) fn router(&self, access: Access) -> Router {
        let behind = Router::new().fallback(answer).with_state(self.clone());
        behind.layer(axum::middleware::from_fn_with_state(access, guard))
    }

    fn starting(&self, path: &str) -> Response {
        let stage = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match path {
            // The process answers: that is all liveness means.
            "/health/live" => Json(json!({ "status": "ok" })).into_response(),
            "/health/startup" | "/health/ready" => {
                let phase = stage.phase.as_ref().map(|(number, name)| json!({ "number": number, "name": name }));
                let body = json!({ "status": "starting", "phase": phase });
                (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
            }
            _ => Refusal::not_accepting(NodeState::Starting).into_response(),
        }
    }
}

async fn answer(State(front): State<Front>, request: Request) -> Response {
    let is_grpc = grpc::is_grpc(&request);
    let routes = front.0.read().unwrap_or_else(PoisonError::into_inner).routes.clone();
    match routes {
        Some(_) if is_grpc && !grpc::is_known(request.uri().path()) => grpc::unknown(request.uri().path()),
        Some(mut routes) => routes.call(request).await.unwrap_or_else(|never| match never {}),
        None if is_grpc => grpc::status(&Refusal::not_accepting(NodeState::Starting)).into_http(),
        None => front.starting(request.uri().path()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::Gateway;

    /// Everything that one GET of this path answers, on a connection of its own.
    async fn get(address: std::net::SocketAddr, path: &str, token: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_node_that_starts_is_alive_not_ready_and_says_how_far_it_is() {
        let access = Access::new().unwrap();
        let bound = Gateway::bind("127.0.0.1:0".parse().unwrap(), access.clone()).unwrap();
        let address = bound.address();
        let phase = Phase { number: 4, name: "data".to_owned(), ms: 1.0, detail: String::new() };
        bound.front().tell(&phase);
        assert!(get(address, "/health/live", "").await.starts_with("HTTP/1.1 200"));
        for path in ["/health/ready", "/health/startup"] {
            let answer = get(address, path, "").await;
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            assert!(answer.ends_with(r#"{"phase":{"name":"data","number":4},"status":"starting"}"#), "{answer}");
        }
        let work = get(address, "/api/v1/node", access.token()).await;
        assert!(
            work.starts_with("HTTP/1.1 503") && work.contains("retry-after: 5") && work.contains("CSF-0310"),
            "{work}"
        );
        assert!(get(address, "/api/v1/node", "wrong").await.starts_with("HTTP/1.1 401"), "the guard stands already");
        drop(bound);
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}
