//! Live subscriptions as server-sent events: last values first, then every commit, never before it is durable.
//!
//! A client that falls behind goes on from the journal, so it loses nothing; one that asked for a rate gets the newest value instead.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use csf_core::port::Scan;
use csf_runtime::exec::{Committed, CommittedPacket};
use csf_runtime::node::{Node, NodeState};
use csf_runtime::provenance::PacketView;
use serde::Deserialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Interval;

use crate::answer::Refusal;
use crate::routes::{Api, blocking};
use crate::{Filter, Pattern};

/// Packets read from the journal at once while catching up.
const CHUNK: usize = 1024;

#[derive(Debug, Deserialize)]
pub(crate) struct Parameters {
    topics: Option<String>,
    #[serde(rename = "where")]
    filter: Option<String>,
    max_hz: Option<f64>,
}

/// `GET /api/v1/subscribe`.
pub(crate) async fn subscribe(
    State(api): State<Api>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if api.node.state() == NodeState::Stopping {
        return Err(Refusal::not_accepting(NodeState::Stopping));
    }
    let pattern = Pattern::new(parameters.topics.as_deref().unwrap_or(">"));
    for literal in pattern.literals() {
        if api.node.bus().topic(&literal).is_err() {
            return Err(Refusal::unknown_topic(&literal, api.topic_names()));
        }
    }
    let filter =
        parameters.filter.as_deref().map(Filter::parse).transpose().map_err(|e| Refusal::query(e.to_string()))?;
    let period = match parameters.max_hz {
        None => None,
        Some(rate) if rate.is_finite() && (0.01..=1000.0).contains(&rate) => Some(Duration::from_secs_f64(1.0 / rate)),
        Some(rate) => return Err(Refusal::query(format!("max_hz = {rate} is outside 0.01..=1000"))),
    };
    let resume = headers.get("last-event-id").and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let stream = Stream::new(api.node.clone(), pattern, filter, period, resume);
    let events = futures_util::stream::unfold((stream, api.stop), |(mut stream, mut stop)| async move {
        let event = tokio::select! {
            biased;
            event = stream.next() => event?,
            _ = stop.wait_for(|stop| *stop) => return None,
        };
        Some((Ok::<_, Infallible>(event), (stream, stop)))
    });
    let alive = KeepAlive::new().interval(Duration::from_secs(5)).text("alive");
    Ok(Sse::new(events).keep_alive(alive).into_response())
}

struct Stream {
    node: Arc<Node>,
    commits: broadcast::Receiver<Committed>,
    pattern: Pattern,
    filter: Option<Filter>,
    ready: VecDeque<PacketView>,
    /// Newest position looked at.
    position: u64,
    /// Positions up to here come from the journal.
    catch_up_to: u64,
    thinning: Option<(Interval, BTreeMap<String, PacketView>)>,
}

impl Stream {
    fn new(
        node: Arc<Node>,
        pattern: Pattern,
        filter: Option<Filter>,
        period: Option<Duration>,
        resume: Option<u64>,
    ) -> Self {
        let commits = node.feed().subscribe();
        let durable = node.feed().position();
        let mut stream = Self {
            thinning: period.map(|p| (tokio::time::interval(p), BTreeMap::new())),
            position: resume.unwrap_or(durable),
            catch_up_to: durable,
            ready: VecDeque::new(),
            node,
            commits,
            pattern,
            filter,
        };
        if resume.is_none() {
            let mut last: Vec<CommittedPacket> = stream.node.feed().last_values().into_values().collect();
            last.sort_by_key(|p| p.packet.position);
            for packet in last.iter().filter(|p| p.packet.position <= durable) {
                stream.ready.extend(stream.view(packet));
            }
        }
        stream
    }

    fn view(&self, packet: &CommittedPacket) -> Option<PacketView> {
        if !self.pattern.matches(&packet.lane.topic) || packet.lane.topic == csf_runtime::DELIVERY_TOPIC {
            return None;
        }
        let view = PacketView::of(&packet.lane, &packet.packet, self.node.catalogue());
        self.filter.as_ref().is_none_or(|f| f.accepts(&view.payload)).then_some(view)
    }

    /// The next event; `None` when the node stops. Cancel safe.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(view) = self.ready.pop_front() {
                return Some(event(&view));
            }
            if self.position < self.catch_up_to {
                self.catch_up().await?;
                continue;
            }
            let commit = match &mut self.thinning {
                None => self.commits.recv().await,
                Some((tick, newest)) => tokio::select! {
                    biased;
                    _ = tick.tick(), if !newest.is_empty() => {
                        let mut due: Vec<PacketView> = std::mem::take(newest).into_values().collect();
                        due.sort_by_key(|v| v.position);
                        self.ready.extend(due);
                        continue;
                    }
                    commit = self.commits.recv() => commit,
                },
            };
            match commit {
                Ok(commit) => self.take(&commit),
                Err(RecvError::Lagged(_)) => self.catch_up_to = self.node.feed().position(),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn take(&mut self, commit: &[CommittedPacket]) {
        let seen = self.position;
        for packet in commit.iter().filter(|p| p.packet.position > seen) {
            if let Some(view) = self.view(packet) {
                self.offer(view);
            }
        }
        self.position = commit.last().map_or(self.position, |p| p.packet.position.max(self.position));
    }

    fn offer(&mut self, view: PacketView) {
        match &mut self.thinning {
            Some((_, newest)) => drop(newest.insert(view.topic.clone(), view)),
            None => self.ready.push_back(view),
        }
    }

    /// Reads the next missed packets from the journal.
    async fn catch_up(&mut self) -> Option<()> {
        let (node, from_position) = (self.node.clone(), self.position + 1);
        let read = move || {
            let mut reader = node.reader()?;
            let lanes = reader.lanes()?;
            let packets = reader.scan(&Scan { from_position, limit: CHUNK, lanes: Vec::new() })?;
            Ok::<_, csf_core::port::JournalError>((lanes, packets))
        };
        let (lanes, packets) = blocking(read).await.ok()?;
        let Some(last) = packets.last().map(|p| p.position) else {
            self.position = self.catch_up_to;
            return Some(());
        };
        for packet in packets {
            let Some(lane) = lanes.iter().find(|l| l.id == packet.header.id.lane) else { continue };
            let committed = CommittedPacket { lane: Arc::new(lane.clone()), packet: Arc::new(packet) };
            if let Some(view) = self.view(&committed) {
                self.offer(view);
            }
        }
        self.position = last;
        Some(())
    }
}

fn event(view: &PacketView) -> Event {
    let data = serde_json::to_string(view).unwrap_or_default();
    let event = Event::default().event("packet");
    // The id goes first, so that whoever reads line by line knows it when the data comes.
    match view.position {
        Some(position) => event.id(position.to_string()).data(data),
        None => event.data(data),
    }
}
