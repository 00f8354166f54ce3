//! Where the stream is and how long it is waited for.

use std::fmt;
use std::time::Duration;

use super::address;
use super::durability::ServerSync;
use crate::JournalOptions;

/// Options of [`crate::MirroredJournal::on_jetstream`].
#[derive(Clone)]
pub struct JetStreamOptions {
    /// Where NATS is, such as `nats://user:password@127.0.0.1:4222` or `nats://token@127.0.0.1`; of a cluster, several with commas between
    /// them. What is before an `@` is never printed.
    pub url: String,
    /// Name of the stream, at most 64 letters, digits, `-` and `_`: one journal each. It is made when it is not there.
    pub stream: String,
    /// Copies of the stream, when it is made.
    pub replicas: usize,
    /// What the operator says about the servers' files.
    pub sync: ServerSync,
    /// Longest a single answer is waited for; then it is asked again.
    pub answer_time_max: Duration,
    /// Longest a call waits altogether, over lost connections and restarts of the server, where nothing is spooled.
    pub call_time_max: Duration,
    /// What may wait in the directory, acknowledged, while the servers are away, bytes. 0: a call waits for them, and fails in the end.
    pub spool_bytes: u64,
    /// The index.
    pub index: JournalOptions,
}

impl JetStreamOptions {
    /// The stream of this name, with one copy and the times that suit a local network.
    #[must_use]
    pub fn new(url: impl Into<String>, stream: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            stream: stream.into(),
            replicas: 1,
            sync: ServerSync::default(),
            answer_time_max: Duration::from_secs(2),
            call_time_max: Duration::from_secs(30),
            spool_bytes: 0,
            index: JournalOptions::default(),
        }
    }

    /// URL and stream as they may be printed.
    pub(super) fn place(&self) -> String {
        format!("{}/{}", address::without_credentials(&self.url), self.stream)
    }

    /// The subject of the stream.
    pub(super) fn subject(&self) -> String {
        format!("csf.journal.{}", self.stream)
    }
}

impl fmt::Debug for JetStreamOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, stream: _, replicas, sync, answer_time_max, call_time_max, spool_bytes, index } = self;
        f.debug_struct("JetStreamOptions")
            .field("place", &self.place())
            .field("replicas", replicas)
            .field("sync", sync)
            .field("answer_time_max", answer_time_max)
            .field("call_time_max", call_time_max)
            .field("spool_bytes", spool_bytes)
            .field("index", index)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_never_printed() {
        let options = JetStreamOptions::new("nats://user:pass@host,token@other", "journal");
        let printed = format!("{options:?}");
        assert!(printed.contains("\"nats://host,other/journal\""), "{printed}");
        assert!(!printed.contains("pass") && !printed.contains("token"), "{printed}");
    }
}
