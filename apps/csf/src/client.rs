//! A client of the public HTTP API: what `csf pub`, `sub`, `tap`, `why`, `status` speak. It finds the node and its token by itself.

use std::io::{BufRead, BufReader};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::diagnostic::Failure;
use crate::paths;

/// What a running node writes about itself, mode 0600.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NodeFile {
    /// Host and port of the API.
    pub(crate) address: String,
    /// Bearer token.
    pub(crate) token: String,
    /// Journal directory.
    pub(crate) journal: String,
    /// Name of the node.
    pub(crate) name: String,
}

/// A connection to one node.
pub(crate) struct Client {
    node: NodeFile,
    agent: ureq::Agent,
}

impl Client {
    /// The node at `address`, or the newest one on this machine.
    pub(crate) fn connect(address: Option<&str>) -> Result<Self, Failure> {
        let nodes: Vec<NodeFile> = paths::live_node_files()
            .iter()
            .filter_map(|path| serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok())
            .collect();
        let node = match address {
            Some(address) => nodes.into_iter().find(|n| n.address == address),
            None => nodes.into_iter().next_back(),
        };
        let node = node.ok_or_else(|| {
            let whom = address.map_or_else(|| "no node runs".to_owned(), |a| format!("no node answers at {a}"));
            Failure::new("CSF-0308", format!("{whom} for this user on this machine; start one with `csf up --demo`"))
        })?;
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        Ok(Self { node, agent: config.into() })
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.node.address
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.node.address)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.node.token)
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        Failure::new("CSF-0308", format!("node {} at {} does not answer: {error}", self.node.name, self.node.address))
    }

    /// A JSON document.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        let response = self.agent.get(self.url(path)).header("authorization", self.bearer()).call();
        self.answer(response.map_err(|e| self.unreachable(&e))?)
    }

    /// Sends a JSON document.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let response = self.agent.post(self.url(path)).header("authorization", self.bearer()).send_json(body);
        self.answer(response.map_err(|e| self.unreachable(&e))?)
    }

    /// Sends a JSON document; the answer and its status, whatever that is.
    pub(crate) fn post_any(&self, path: &str, body: &Value) -> Result<(ureq::http::StatusCode, Value), Failure> {
        let response = self.agent.post(self.url(path)).header("authorization", self.bearer()).send_json(body);
        let mut response = response.map_err(|e| self.unreachable(&e))?;
        let value = response.body_mut().with_config().limit(256 << 20).read_json().map_err(|e| self.unreachable(&e))?;
        Ok((response.status(), value))
    }

    fn answer(&self, mut response: ureq::http::Response<ureq::Body>) -> Result<Value, Failure> {
        let is_error = !response.status().is_success();
        let status = response.status();
        let value: Value =
            response.body_mut().with_config().limit(256 << 20).read_json().map_err(|e| self.unreachable(&e))?;
        if !is_error {
            return Ok(value);
        }
        let text = value["error"]["message"].as_str().map_or_else(|| format!("status {status}"), str::to_owned);
        let code = value["error"]["code"].as_str().unwrap_or_default();
        let help =
            value["error"]["help"].as_str().filter(|h| !h.is_empty()).map_or(String::new(), |h| format!("; {h}"));
        Err(Failure::new(crate::commands::known_code(code), format!("{text}{help}")))
    }

    /// Server-sent events; `on_event` gets the event's name and data until it returns false.
    pub(crate) fn events(&self, path: &str, mut on_event: impl FnMut(&str, &str) -> bool) -> Result<(), Failure> {
        let call =
            self.agent.get(self.url(path)).header("authorization", self.bearer()).header("accept", "text/event-stream");
        let response = call.call().map_err(|e| self.unreachable(&e))?;
        if !response.status().is_success() {
            self.answer(response)?;
            return Ok(());
        }
        let (mut name, mut data) = (String::from("message"), String::new());
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            let line = line.map_err(|e| Failure::new("CSF-0308", format!("the stream broke off: {e}")))?;
            if let Some(value) = line.strip_prefix("event:") {
                value.trim().clone_into(&mut name);
            } else if let Some(value) = line.strip_prefix("data:") {
                if !data.is_empty() {
                    data.push('\n');
                }
                data.push_str(value.strip_prefix(' ').unwrap_or(value));
            } else if line.is_empty() && !data.is_empty() {
                if !on_event(&name, &data) {
                    return Ok(());
                }
                data.clear();
                name = String::from("message");
            }
        }
        Ok(())
    }
}

/// Percent-encodes a query or path value.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}
