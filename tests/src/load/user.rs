//! A user of a node's HTTP API: publishes, reads, hands in tasks.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::User;

/// Where users publish: a topic of `avionics.land` that nothing else writes.
pub const TOPIC: &str = "client.land";
/// A user gives up after this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a node is found and what is shown to it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where to connect: the node, or a proxy before it.
    pub address: SocketAddr,
    /// The node's own host and port, which it insists on.
    pub host: String,
    /// Its token.
    pub token: String,
}

/// One user with one connection. Of ten requests five publish a packet and wait until it is durable, four read, one hands in a task.
pub struct NodeUser {
    agent: ureq::Agent,
    target: Target,
    number: usize,
}

impl NodeUser {
    /// A user that has not connected yet.
    #[must_use]
    pub fn new(target: Target, number: usize) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        let agent = config.max_idle_connections(1).max_idle_connections_per_host(1).build().into();
        Self { agent, target, number }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1{path}", self.target.address)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let request = self.agent.post(self.url(path)).header("host", &self.target.host);
        read(request.header("authorization", format!("Bearer {}", self.target.token)).send_json(body))
    }

    /// What the node answers.
    pub(super) fn get(&self, path: &str) -> Result<Value, String> {
        let request = self.agent.get(self.url(path)).header("host", &self.target.host);
        read(request.header("authorization", format!("Bearer {}", self.target.token)).call())
    }

    fn publish(&self, n: u64) -> Result<(), String> {
        let payload = json!({ "measured_at_ns": n, "is_landed": self.number % 2 == 1 });
        let answer = self.post(&format!("/topics/{TOPIC}"), &json!({ "payload": payload }))?;
        if answer["durability"] == "disk" { Ok(()) } else { Err("answered without a receipt".to_owned()) }
    }
}

impl User for NodeUser {
    fn request(&mut self, n: u64) -> Result<(), String> {
        match (n + self.number as u64) % 10 {
            0 | 2 | 4 | 6 | 8 => self.publish(n),
            1 => self.get("/topics").map(|_| ()),
            3 => self.get("/components").map(|_| ()),
            5 => self.get("/tasks?limit=10").map(|_| ()),
            7 => self.get("/events?limit=10").map(|_| ()),
            _ => {
                let answer =
                    self.post("/tasks", &json!({ "kind": "load", "input": { "user": self.number, "n": n } }))?;
                if answer["id"].is_string() { Ok(()) } else { Err("a task without an id".to_owned()) }
            }
        }
    }
}

/// The answer, or in few words why there is none: status and code, or what failed of the connection.
fn read(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, String> {
    let connection = |error: ureq::Error| match error {
        ureq::Error::Io(error) => format!("connection: {:?}", error.kind()),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        error => format!("connection: {error}"),
    };
    let mut response = response.map_err(connection)?;
    let status = response.status();
    let body: Value = response.body_mut().read_json().unwrap_or_default();
    if status.is_success() {
        return Ok(body);
    }
    Err(format!("{} {}", status.as_u16(), body["error"]["code"].as_str().unwrap_or_default()).trim_end().to_owned())
}
