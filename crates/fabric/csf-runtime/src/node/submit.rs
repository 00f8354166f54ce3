//! Packets from outside: through the topic's guard onto the bus, and until they are durable.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use csf_bus::EdgeError;
use csf_core::{MessageId, Stamp};

use super::handle::{Node, PublishError};
use crate::resilience::{AttachedGuard, Call, GuardError, NodeGuards, Verdict};

/// How far a packet goes before [`Node::submit`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// It is on the bus; a crash may lose it.
    OnTheBus,
    /// It is in the journal, with its causes.
    Durable,
}

/// A packet from outside that was not taken as asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The node, the topic or the bus refused it.
    #[error(transparent)]
    Publish(std::sync::Arc<PublishError>),
    /// It is on the bus, but the journal does not take it.
    #[error("packet {id} is on the bus but not durable: {reason}")]
    NotDurable {
        /// The packet.
        id: MessageId,
        /// The journal's words.
        reason: String,
    },
    /// The topic's guard refused it or ended the wait: `CSF-0701` to `CSF-0705`.
    #[error("topic `{topic}`: {message}{}", placed.map_or_else(String::new, |id| format!("; packet {id} is on the bus, whether it is durable is not known")))]
    Guarded {
        /// The topic.
        topic: String,
        /// The page that explains it.
        code: &'static str,
        /// The guard's words, with the limit.
        message: String,
        /// When to come again, where that is known.
        retry_in: Option<Duration>,
        /// The packet, when it reached the bus before the guard ended the wait.
        placed: Option<MessageId>,
    },
}

impl Node {
    /// Publishes JSON on a topic as the author `api`, through the guard that `[topic."NAME"]` names. A packet that found no room is tried
    /// again where the guard has retries; one that is on the bus is never published twice. Cancel safe: what was dropped may be on the bus.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit(
        &self,
        topic: &str,
        payload: serde_json::Value,
        until: Until,
    ) -> Result<(MessageId, Stamp), SubmitError> {
        let placed: Mutex<Option<(MessageId, Stamp)>> = Mutex::default();
        let Some(guard) = self.guards.of_topic(topic) else {
            return self.place(topic, payload, until, &placed).await;
        };
        let call = Call::idempotent().classify(verdict);
        let answer = guard.call(call, || self.place(topic, payload.clone(), until, &placed)).await;
        answer.map(|answer| answer.value).map_err(|error| {
            let (code, message, retry_in) = (error.code(), error.to_string(), error.retry_in());
            let placed = placed.lock().unwrap_or_else(PoisonError::into_inner).map(|(id, _)| id);
            match error {
                GuardError::Failed { source, .. } => source,
                _ => SubmitError::Guarded { topic: topic.to_owned(), code, message, retry_in, placed },
            }
        })
    }

    /// One try; a later one goes on with the packet of an earlier one.
    async fn place(
        &self,
        topic: &str,
        payload: serde_json::Value,
        until: Until,
        placed: &Mutex<Option<(MessageId, Stamp)>>,
    ) -> Result<(MessageId, Stamp), SubmitError> {
        let earlier = *placed.lock().unwrap_or_else(PoisonError::into_inner);
        let (id, stamp) = match earlier {
            Some(packet) => packet,
            None => self.publish_json(topic, payload).map_err(|e| SubmitError::Publish(e.into()))?,
        };
        *placed.lock().unwrap_or_else(PoisonError::into_inner) = Some((id, stamp));
        if until == Until::Durable {
            self.feed().durable(id).await.map_err(|reason| SubmitError::NotDurable { id, reason })?;
        }
        Ok((id, stamp))
    }

    /// The guards.
    #[must_use]
    pub fn guards(&self) -> &NodeGuards {
        &self.guards
    }

    /// Every guard at a glance.
    #[must_use]
    pub fn resilience(&self) -> Vec<AttachedGuard> {
        self.guards.report()
    }
}

/// Who sends what does not fit, or to a node that stops, says nothing about the topic.
fn verdict(error: &SubmitError) -> Verdict {
    match error {
        SubmitError::Publish(error) => match &**error {
            PublishError::Edge(EdgeError::Codec(_)) | PublishError::NotAccepting { .. } | PublishError::Topic(_) => {
                Verdict::IGNORED
            }
            PublishError::Edge(_) => Verdict::TRANSIENT,
        },
        _ => Verdict::PERMANENT,
    }
}
