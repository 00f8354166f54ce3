//! The journal in NATS JetStream: one stream of one subject, one message per commit, one writer.
//!
//! Everything is read from an index, a database beside the writer, which repeats the stream and may be deleted at any time.
//! Invariant: the stream is the truth. The server takes a message only where its writer believes the stream to end, so two writers never
//! both write, a message sent twice is stored once, and the index can only be behind.
//! Reference: NATS documentation, "JetStream Headers" (`Nats-Expected-Last-Sequence`, `Nats-Msg-Id`); ADR 9 of this project for the log.

mod address;
mod durability;
mod link;
mod message;
mod options;
mod publish;
mod rebuild;
mod replay;
mod source;

pub use durability::ServerSync;
pub use options::JetStreamOptions;

/// See [`crate::fuzzing`].
pub(crate) fn fuzzing(bytes: &[u8]) -> Result<(), String> {
    let read = |bytes: &[u8]| crate::commit::Commit::decode(bytes).map_err(|e| e.to_string());
    let message = message::Message::decode(bytes).map_err(|e| e.to_string())?;
    assert_eq!(message.encode(), bytes, "a message has one form");
    let message::Content::Part { bytes, number: 0, is_last: true } = message.content else { return Ok(()) };
    let written = read(bytes)?.encode();
    let again = read(&written).expect("what was written is read");
    assert_eq!(again.encode(), written, "a commit that was read is written alike");
    Ok(())
}
