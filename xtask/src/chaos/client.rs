//! One HTTP client of a node: a connection that is kept, a time limit on everything, and answers told apart.

use std::time::Duration;

use serde_json::{Value, json};

use super::node::Target;

/// Where clients publish: a topic that nothing else writes.
pub(super) const TOPIC: &str = "client.land";

/// One client's connection.
pub(super) struct Client {
    agent: ureq::Agent,
    limit: Duration,
}

/// A packet that the node says is on the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Receipt {
    pub(super) id: String,
}

/// Why a request was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The node said no: its status and its code.
    Status(u16, String),
    /// Nothing, or nothing that makes sense, came back.
    Transport(String),
}

impl Refused {
    /// Status and code; what went wrong with the connection is `transport`.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Status(status, code) => format!("{status} {code}").trim_end().to_owned(),
            Self::Transport(_) => "transport".to_owned(),
        }
    }
}

impl Client {
    /// A client that waits no longer than `limit` for an answer.
    pub(super) fn new(limit: Duration) -> Self {
        Self { agent: agent(limit), limit }
    }

    /// Closes what is open; the next request connects anew.
    pub(super) fn reconnect(&mut self) {
        self.agent = agent(self.limit);
    }

    /// Publishes packet `number` durably.
    pub(super) fn publish(&self, target: &Target, number: u64) -> Result<Receipt, Refused> {
        let answer = self.post(target, &json!({ "payload": payload(number) }))?;
        match (answer["id"].as_str(), answer["durability"].as_str()) {
            (Some(id), Some("disk")) => Ok(Receipt { id: id.to_owned() }),
            _ => Err(Refused::Transport(format!("an answer without an id: {answer}"))),
        }
    }

    /// Publishes packet `number` without waiting until it is durable: nothing is acknowledged.
    pub(super) fn publish_fast(&self, target: &Target, number: u64) -> Result<(), Refused> {
        self.post(target, &json!({ "payload": payload(number), "durable": false })).map(|_| ())
    }

    fn post(&self, target: &Target, body: &Value) -> Result<Value, Refused> {
        let request = self.agent.post(format!("http://{}/api/v1/topics/{TOPIC}", target.address));
        let request = request.header("host", &target.host).header("authorization", format!("Bearer {}", target.token));
        read(request.send_json(body))
    }

    /// A JSON document.
    pub(super) fn get(&self, target: &Target, path: &str) -> Result<Value, Refused> {
        let request = self.agent.get(format!("http://{}{path}", target.address)).header("host", &target.host);
        read(request.header("authorization", format!("Bearer {}", target.token)).call())
    }
}

/// Odd, hence with an inverse modulo 2^64; the golden ratio's digits spread consecutive numbers over all of it.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// The payload of packet `number`: spread so widely that a digit changed on its way is no other packet's.
fn payload(number: u64) -> Value {
    json!({ "measured_at_ns": number.wrapping_mul(SPREAD), "is_landed": number % 2 == 1 })
}

/// The number of a payload; `None` when its two fields do not belong together.
pub(super) fn number_of(payload: &Value) -> Option<u64> {
    let number = payload["measured_at_ns"].as_u64()?.wrapping_mul(inverse(SPREAD));
    (payload["is_landed"] == json!(number % 2 == 1)).then_some(number)
}

/// Modulo 2^64: Newton's iteration doubles the right bits, and an odd number is its own inverse in the lowest three.
fn inverse(odd: u64) -> u64 {
    (0..5).fold(odd, |x, _| x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x))))
}

fn agent(limit: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(limit));
    config.max_idle_connections_per_host(1).build().into()
}

fn read(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, Refused> {
    let transport = |e: ureq::Error| Refused::Transport(e.to_string());
    let mut response = response.map_err(transport)?;
    let status = response.status();
    if !status.is_success() {
        // Hyper answers what is no HTTP without a body.
        let body: Value = response.body_mut().read_json().unwrap_or_default();
        return Err(Refused::Status(status.as_u16(), body["error"]["code"].as_str().unwrap_or_default().to_owned()));
    }
    response.body_mut().with_config().limit(64 << 20).read_json().map_err(transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_tells_its_number_and_no_changed_digit_tells_another_that_was_sent() {
        for number in [1, 2, 3, 1_000_000] {
            assert_eq!(number_of(&payload(number)), Some(number));
            let text = payload(number)["measured_at_ns"].to_string();
            for at in 0..text.len() {
                for digit in '0'..='9' {
                    let mut changed = text.clone();
                    changed.replace_range(at..=at, &digit.to_string());
                    let Ok(value) = changed.parse::<u64>() else { continue };
                    let read = number_of(&json!({ "measured_at_ns": value, "is_landed": number % 2 == 1 }));
                    assert!(changed == text || read.is_none_or(|n| n > 10_000_000), "{text} as {changed} is {read:?}");
                }
            }
        }
    }
}
