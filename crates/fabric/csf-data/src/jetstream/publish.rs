//! One message, stored exactly where its writer believes the stream to end, or not at all.
//!
//! The same bytes are sent until it is known what became of them. That is safe: the place after the expected message is taken once. When
//! it is taken already, the message that lies there says by whom.

use std::time::Duration;

use async_nats::header::{
    NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID,
};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{HeaderMap, Request, RequestErrorKind};
use csf_core::Incarnation;
use tokio::time::{sleep, timeout};

use super::link::{LinkError, RETRY_PAUSE, Session};
use super::message::Message;

/// A message and its place.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    /// Sequence of the message before it.
    pub(super) after: u64,
    /// Its writer, which makes its id one that no other writer chooses.
    pub(super) writer: u128,
    pub(super) bytes: Vec<u8>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// It is where it should be.
    Stored,
    /// A message of another writer is there, of this start.
    Overtaken { by: Incarnation },
    /// It is not there and will not be.
    Refused { reason: String, full: bool },
    /// Nothing is where the writer's own last message was: the server has lost its newest messages.
    Lost,
    /// The time is over, and it did not get there.
    NotReached { reason: String },
    /// The time is over, and it may be there or come there.
    Unknown { reason: String },
}

/// The server's answer to one try.
enum Answer {
    Stored(u64),
    /// The stream does not end where it was expected to.
    WrongSequence,
    /// Not this message.
    Refused {
        reason: String,
        full: bool,
    },
    /// It did not get there.
    NotReached(String),
    /// It may have got there.
    Silence(String),
}

impl Publication {
    /// Sends it until it is known what became of it, at most for so long.
    pub(super) async fn publish(self, session: Session, limit: Duration) -> Published {
        // What stands in the way, and whether a try may have arrived; one that the end of the time interrupts may.
        let (mut newest, mut in_doubt) = ("not connected".to_owned(), false);
        let trying = async {
            loop {
                session.connected().await;
                let was_in_doubt = std::mem::replace(&mut in_doubt, true);
                let answer = self.send(&session).await;
                in_doubt = was_in_doubt || matches!(answer, Answer::Silence(_));
                match answer {
                    Answer::Stored(sequence) if sequence == self.after + 1 => return Published::Stored,
                    Answer::Stored(sequence) => {
                        let reason = format!("the server stored it as message {sequence}, not {}", self.after + 1);
                        return Published::Unknown { reason };
                    }
                    Answer::WrongSequence => match self.look(&session).await {
                        Ok(what) => return what,
                        Err(reason) => newest = reason,
                    },
                    Answer::Refused { reason, full } if !in_doubt => return Published::Refused { reason, full },
                    Answer::Refused { reason, .. } | Answer::NotReached(reason) | Answer::Silence(reason) => {
                        newest = reason
                    }
                }
                sleep(RETRY_PAUSE).await;
            }
        };
        match timeout(limit, trying).await {
            Ok(what) => what,
            Err(_) => {
                let reason = format!("no answer within {limit:?}: {newest}");
                if in_doubt { Published::Unknown { reason } } else { Published::NotReached { reason } }
            }
        }
    }

    async fn send(&self, session: &Session) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_STREAM, session.options.stream.as_str());
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, self.after.to_string());
        if self.after == 0 {
            // Servers before 2.10 take an expected sequence of 0 for none; that of the only subject says the same.
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        }
        headers.insert(NATS_MESSAGE_ID, format!("{:032x}-{}", self.writer, self.after));
        let request = Request::new().headers(headers).payload(self.bytes.clone().into());
        match session.client.send_request(session.options.subject(), request).await {
            Ok(message) => match serde_json::from_slice(&message.payload) {
                Ok(Response::<PublishAck>::Ok(ack)) => Answer::Stored(ack.sequence),
                Ok(Response::Err { error }) if is_wrong_sequence(error.error_code()) => Answer::WrongSequence,
                Ok(Response::Err { error }) => {
                    Answer::Refused { reason: error.to_string(), full: is_full(error.error_code()) }
                }
                Err(e) => Answer::Silence(format!("an acknowledgement that cannot be read: {e}")),
            },
            Err(e) => match e.kind() {
                // Nobody listens on the subject: a server that is starting, or a stream without a leader.
                RequestErrorKind::NoResponders => Answer::NotReached("no stream listens".to_owned()),
                RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                    Answer::Refused { reason: e.to_string(), full: false }
                }
                _ => Answer::Silence(e.kind().to_string()),
            },
        }
    }

    /// What lies where this message belongs.
    async fn look(&self, session: &Session) -> Result<Published, String> {
        match session.fetch(self.after + 1).await {
            Ok(bytes) if bytes == self.bytes => Ok(Published::Stored),
            Ok(bytes) => Ok(Published::Overtaken { by: Message::decode(&bytes).map_or(0, |m| m.incarnation) }),
            Err(LinkError::NoMessage(_)) => Ok(Published::Lost),
            Err(LinkError::Failed(reason)) => Err(reason),
        }
    }
}

fn is_wrong_sequence(code: ErrorCode) -> bool {
    [ErrorCode::STREAM_WRONG_LAST_SEQUENCE, ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT].contains(&code)
}

fn is_full(code: ErrorCode) -> bool {
    [
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::STREAM_STORE_FAILED,
    ]
    .contains(&code)
}
