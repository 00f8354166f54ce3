//! A client on another machine: publishes what it has seen before over a bad network, tries again until it is acknowledged, and keeps
//! account of what was.

use std::sync::Arc;
use std::time::Duration;

use csf_core::MessageId;
use csf_core::port::{Spawn, Timer, within};
use csf_runtime::node::{Node, Until};
use csf_sim::SeededRng;
use tokio::sync::oneshot;

use super::faults::Faults;
use super::{Machine, Notebook, Scenario};

/// Longest wait for an answer before the next try.
const PATIENCE: Duration = Duration::from_secs(1);

/// A packet that a client was told is durable.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Acknowledged {
    pub(super) id: MessageId,
    pub(super) topic: String,
    pub(super) payload: serde_json::Value,
}

pub(super) struct Client {
    node: Arc<Node>,
    notebook: Notebook,
    faults: Faults,
    rng: SeededRng,
    /// Virtual time after which no request begins.
    end: Duration,
}

impl Client {
    pub(super) fn new(machine: &Machine, node: &Arc<Node>, scenario: &Scenario, n: u64, end: Duration) -> Self {
        let lives = machine.notebook.books().run.crashes;
        Self {
            node: node.clone(),
            notebook: machine.notebook.clone(),
            faults: scenario.faults.clone(),
            rng: machine.rng.stream(1_000_000 + lives * 100 + n),
            end,
        }
    }

    pub(super) async fn run(mut self) {
        let world = self.notebook.world.clone();
        while world.now() < self.end {
            world.sleep(Duration::from_millis(5 + self.rng.below(200))).await;
            if let Some((topic, payload)) = self.choose() {
                self.publish(topic, payload).await;
            }
        }
    }

    /// A durable packet of a random topic, to be published once more.
    fn choose(&mut self) -> Option<(String, serde_json::Value)> {
        let values = self.node.feed().last_values();
        let topics: Vec<&String> = values.keys().filter(|t| *t != csf_runtime::DELIVERY_TOPIC).collect();
        if topics.is_empty() {
            return None;
        }
        let topic = topics[self.rng.below(topics.len() as u64) as usize];
        let last = &values[topic];
        let message = self.node.catalogue().messages.get(&last.lane.message)?;
        let payload = (message.decode)(&last.packet.payload).ok()?;
        Some((topic.clone(), (message.to_json)(payload.as_ref()).ok()?))
    }

    /// One request until it is acknowledged or the time is over. A try whose answer was lost is a packet all the same.
    async fn publish(&mut self, topic: String, payload: serde_json::Value) {
        let world = self.notebook.world.clone();
        let number = {
            let mut books = self.notebook.books();
            books.requests += 1;
            books.requests
        };
        while world.now() < self.end {
            let answer = self.send(topic.clone(), payload.clone());
            if let Some(Ok(id)) = within(&world, PATIENCE, answer).await {
                self.notebook.line(format_args!("request {number} on {topic} is durable as {id}"));
                self.notebook.books().acknowledged.push(Acknowledged { id, topic, payload });
                return;
            }
        }
    }

    /// Sends a request on its way. The server works on it whether or not the client still waits.
    fn send(&mut self, topic: String, payload: serde_json::Value) -> oneshot::Receiver<MessageId> {
        let (answer, answered) = oneshot::channel();
        let (there, back) = (self.faults.latency(&mut self.rng), self.faults.latency(&mut self.rng));
        let (is_lost, is_answer_lost) = (self.faults.loses(&mut self.rng), self.faults.loses(&mut self.rng));
        let (node, notebook) = (self.node.clone(), self.notebook.clone());
        notebook.world.clone().spawn(Box::pin(async move {
            notebook.world.sleep(there).await;
            if is_lost || notebook.books().is_partitioned {
                notebook.books().run.lost_messages += 1;
                return;
            }
            let Ok((id, _)) = node.submit(&topic, payload, Until::Durable).await else { return };
            notebook.world.sleep(back).await;
            if is_answer_lost || notebook.books().is_partitioned {
                notebook.books().run.lost_messages += 1;
                return;
            }
            // The client may have stopped waiting.
            let _ = answer.send(id);
        }));
        answered
    }
}
