//! The durable feed: everything that may leave the node, in journal order, after the journal made it durable.
//!
//! This is the output-commit rule in one place: links, gateways and acknowledgements read here and nowhere else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use csf_core::port::LaneInfo;
use csf_core::port::StoredPacket;
use csf_core::{LaneId, MessageId};
use tokio::sync::{Notify, broadcast, watch};

/// A durable packet with its lane's description.
#[derive(Clone, Debug)]
pub struct CommittedPacket {
    /// Who wrote it where.
    pub lane: Arc<LaneInfo>,
    /// The packet.
    pub packet: Arc<StoredPacket>,
}

/// What one commit made durable, ascending in position.
pub type Committed = Arc<Vec<CommittedPacket>>;

/// What is durable so far.
#[derive(Clone, Debug, Default)]
struct Durable {
    position: u64,
    next_seq: BTreeMap<LaneId, u64>,
}

/// Broadcasts commits and answers "is it durable yet?".
#[derive(Debug)]
pub struct DurableFeed {
    commits: broadcast::Sender<Committed>,
    durable: watch::Sender<Durable>,
    last: Mutex<BTreeMap<String, CommittedPacket>>,
    failure: watch::Sender<Option<String>>,
    /// Wakes who waits for a packet, in the order they came: a watch wakes in an order of its own, and a seed would not repeat.
    news: Notify,
}

/// Commits a reader may fall behind before it must continue from the journal.
const BACKLOG: usize = 256;

impl DurableFeed {
    pub(crate) fn new(position: u64) -> Self {
        Self {
            commits: broadcast::channel(BACKLOG).0,
            durable: watch::channel(Durable { position, next_seq: BTreeMap::new() }).0,
            last: Mutex::default(),
            failure: watch::channel(None).0,
            news: Notify::new(),
        }
    }

    /// Commits from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Committed> {
        self.commits.subscribe()
    }

    /// Newest durable position.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.durable.borrow().position
    }

    /// The newest durable packet of each topic.
    #[must_use]
    pub fn last_values(&self) -> BTreeMap<String, CommittedPacket> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Number of packets of a lane that are durable.
    #[must_use]
    pub fn durable_seq(&self, lane: LaneId) -> u64 {
        self.durable.borrow().next_seq.get(&lane).copied().unwrap_or(0)
    }

    /// Waits until a packet is durable. Cancel safe.
    ///
    /// # Errors
    /// The journal's words when it failed for good.
    pub async fn durable(&self, id: MessageId) -> Result<(), String> {
        loop {
            // Hears of everything from here on, also before it is awaited.
            let news = self.news.notified();
            if self.durable_seq(id.lane) > id.seq {
                return Ok(());
            }
            if let Some(reason) = self.failure() {
                return Err(reason);
            }
            news.await;
        }
    }

    /// Waits until something beyond this position is durable; the newest position. Cancel safe.
    pub async fn beyond(&self, position: u64) -> u64 {
        loop {
            // Hears of everything from here on, also before it is awaited.
            let news = self.news.notified();
            let newest = self.position();
            if newest > position {
                return newest;
            }
            news.await;
        }
    }

    /// Waits until commits are refused. Cancel safe.
    pub(crate) async fn failing(&self) {
        // The sender lives as long as this feed.
        let _ = self.failure.subscribe().wait_for(Option::is_some).await;
    }

    /// Waits until commits have been refused for this long without a pause; answers the last reason. Cancel safe.
    pub async fn given_up(&self, after: std::time::Duration) -> String {
        let mut failure = self.failure.subscribe();
        loop {
            // The sender lives as long as this feed.
            let _ = failure.wait_for(Option::is_some).await;
            let recovered = tokio::time::timeout(after, failure.wait_for(Option::is_none)).await;
            if recovered.is_err()
                && let Some(reason) = self.failure()
            {
                return reason;
            }
        }
    }

    /// The failure that stopped recording, while it lasts: `[CSF-nnnn] the journal's words`.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    pub(crate) fn fail(&self, reason: Option<String>) {
        let is_news = self.failure.send_if_modified(|failure| {
            let is_news = *failure != reason;
            *failure = reason;
            is_news
        });
        if is_news {
            self.news.notify_waiters();
        }
    }

    pub(crate) fn publish(&self, position: u64, commit: Vec<CommittedPacket>) {
        // The newest of each lane, newest first.
        let mut ends: Vec<&CommittedPacket> = Vec::new();
        for packet in commit.iter().rev() {
            if !ends.iter().any(|end| end.packet.header.id.lane == packet.packet.header.id.lane) {
                ends.push(packet);
            }
        }
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            for packet in ends.iter().rev() {
                match last.get_mut(&packet.lane.topic) {
                    Some(slot) => *slot = (*packet).clone(),
                    None => {
                        last.insert(packet.lane.topic.clone(), (*packet).clone());
                    }
                }
            }
        }
        self.durable.send_modify(|durable| {
            durable.position = position;
            durable.next_seq.extend(ends.iter().map(|end| (end.packet.header.id.lane, end.packet.header.id.seq + 1)));
        });
        self.news.notify_waiters();
        // Nobody listening is fine.
        let _ = self.commits.send(Arc::new(commit));
    }
}
