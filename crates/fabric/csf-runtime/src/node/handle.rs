//! A running node as others see it: what it is made of, and how to reach its bus and journal.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use csf_bus::{EdgePublisher, PhaseCoherenceBus, TopicError};
use csf_core::port::{JournalError, JournalReader, TimeSource};
use csf_core::{MessageId, Stamp, TimeResult};
use csf_time::ClockReport;
use serde::{Deserialize, Serialize};

use super::boot::Phase;
use super::failing::Failures;
use super::hub::CoordinationHub;
use super::interrupt::{Interrupt, Urgency};
use super::live::{Desk, Live};
use super::monitor::HealthMonitor;
use super::registration::Registrations;
use super::reload::Reloads;
use super::report::Rates;
use super::services::ServiceSubsystem;
use super::state::Replayed;
use super::stop::Ending;
use super::tree::TreeWatch;
use super::wiring::Kit;
use crate::exec::{DispatcherHandle, DurableFeed, RecorderHandle, RunState, ServiceStats};
use crate::replay::ReplayReport;
use crate::topology::{Graph, Topology};
use crate::{Catalogue, World};

/// Opens another reader of the node's journal.
pub type ReaderFactory = Arc<dyn Fn() -> Result<Box<dyn JournalReader>, JournalError> + Send + Sync>;

/// What a clock says of itself.
pub type ClockReporter = Arc<dyn Fn() -> TimeResult<ClockReport> + Send + Sync>;

/// A node. Made by [`super::boot`]; shared by the API and the command line.
pub struct Node {
    pub(super) bus: PhaseCoherenceBus,
    pub(super) live: RwLock<Arc<Live>>,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) hub: CoordinationHub,
    pub(super) recorder: RecorderHandle,
    pub(super) clock_report: Option<ClockReporter>,
    pub(super) dispatchers: Mutex<Vec<Arc<DispatcherHandle>>>,
    pub(super) desks: Mutex<Vec<Desk>>,
    pub(super) failures: Arc<Failures>,
    pub(super) kit: Kit,
    pub(super) services: OnceLock<Arc<ServiceSubsystem>>,
    pub(super) reloads: Reloads,
    pub(super) tree: Arc<TreeWatch>,
    pub(super) open_reader: ReaderFactory,
    pub(super) place: String,
    pub(super) build_id: String,
    pub(super) started_at: Stamp,
    pub(super) phases: Mutex<Vec<Phase>>,
    pub(super) boot_ms: Mutex<f64>,
    pub(super) state: Mutex<NodeState>,
    pub(super) edges: Mutex<BTreeMap<String, Box<dyn EdgePublisher>>>,
    pub(super) resumed: Option<ReplayReport>,
    pub(super) rates: Mutex<Rates>,
    pub(super) interrupt: Interrupt,
    pub(super) given_up: Mutex<Option<String>>,
    pub(super) ending: Ending,
    pub(super) replayed: Replayed,
    pub(super) monitor: Arc<HealthMonitor>,
    pub(super) world: World,
    pub(super) guards: Arc<crate::resilience::NodeGuards>,
    pub(super) registrations: Registrations,
}

/// Where the node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Starting.
    Starting,
    /// Up.
    Running,
    /// Stopping.
    Stopping,
    /// Down.
    Stopped,
}

impl std::fmt::Display for NodeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        })
    }
}

impl Node {
    /// The bus.
    #[must_use]
    pub fn bus(&self) -> &PhaseCoherenceBus {
        &self.bus
    }

    /// What it runs now.
    #[must_use]
    pub fn topology(&self) -> Arc<Topology> {
        self.live().topology.clone()
    }

    pub(super) fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything the packs brought.
    #[must_use]
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// The laid-out component graph.
    #[must_use]
    pub fn graph(&self) -> Arc<Graph> {
        self.live().graph.clone()
    }

    /// Subsystems.
    #[must_use]
    pub fn hub(&self) -> &CoordinationHub {
        &self.hub
    }

    /// What is durable, and everything that may leave the node.
    #[must_use]
    pub fn feed(&self) -> &Arc<DurableFeed> {
        self.recorder.feed()
    }

    /// Writes events to the journal.
    #[must_use]
    pub fn recorder(&self) -> &RecorderHandle {
        &self.recorder
    }

    /// A reader of the journal.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        (self.open_reader)()
    }

    /// Life.
    #[must_use]
    pub fn state(&self) -> NodeState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_state(&self, state: NodeState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The time on the node's clock, for what is appended from outside a component.
    #[must_use]
    pub fn now(&self) -> Stamp {
        Stamp(self.now_ns())
    }

    pub(super) fn now_ns(&self) -> u64 {
        let clock: &Arc<dyn TimeSource> = &self.bus.config().time_source;
        clock.now_ns().map_or(0, |t| t.as_nanos())
    }

    /// Publishes JSON on a topic as the author `api`, past the topic's guard; [`Node::submit`] goes through it.
    ///
    /// # Errors
    /// When the node starts or stops, the topic is unknown, the payload does not fit, or the bus is full.
    pub fn publish_json(&self, topic: &str, payload: serde_json::Value) -> Result<(MessageId, Stamp), PublishError> {
        let _work = self.ending.gate.enter().ok_or_else(|| PublishError::NotAccepting { state: self.state() })?;
        if !self.live().topology.topics.contains_key(topic) {
            return Err(TopicError::Unknown { name: topic.to_owned() }.into());
        }
        let mut edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        let edge = match edges.get_mut(topic) {
            Some(edge) => edge,
            None => {
                let spec = self.bus.topic(topic)?.spec().clone();
                let edge = (spec.edge)(&self.bus, topic, "api")?;
                edges.entry(topic.to_owned()).or_insert(edge)
            }
        };
        Ok(edge.try_publish_json(payload)?)
    }

    /// Why the node stopped by itself, where it did.
    #[must_use]
    pub fn given_up(&self) -> Option<String> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for an orderly stop, because the node cannot do its work any more.
    pub(super) fn give_up(&self, reason: &str) {
        tracing::error!(reason, "the node stops");
        *self.given_up.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        self.interrupt.raise(Urgency::Orderly);
    }

    /// A service's state and progress.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<Arc<ServiceStats>> {
        self.live().service(name).map(|(_, stats)| stats.clone())
    }

    /// Waits until everything published so far is handled, and everything that followed from it is durable. Streams that go on do
    /// not keep it waiting. Cancel safe.
    pub async fn settle(&self) {
        // Two idle rounds: the second began after the first saw that nothing was left. What a component failed on meanwhile is still to
        // be handled.
        let idle = || self.with_dispatchers(|d| d.iter().map(|d| d.idle_rounds()).collect::<Vec<u64>>());
        let (mut rounds, mut failures) = (idle(), None);
        loop {
            let is_done = self.with_dispatchers(|d| {
                d.iter().for_each(|d| d.nudge());
                d.iter().zip(&rounds).all(|(d, before)| d.idle_rounds() >= before + 2)
            });
            let now = self.failures_so_far();
            if is_done && now.is_some() && now == failures {
                break;
            }
            if now.is_none() || now != failures {
                (rounds, failures) = (idle(), now);
            }
            self.world.timer.sleep(std::time::Duration::from_micros(200)).await;
        }
        for topic in self.bus.topics().iter().filter(|t| t.spec().recorded) {
            for (lane, committed) in topic.committed() {
                // A journal that refuses commits is tried again, so this waits for it to recover.
                while committed > 0
                    && self.state() != NodeState::Stopped
                    && self.feed().durable(lane.message(committed - 1)).await.is_err()
                {
                    self.world.timer.sleep(std::time::Duration::from_millis(5)).await;
                }
            }
        }
    }

    /// Failures of handlers; `None` while a component waits for its state.
    fn failures_so_far(&self) -> Option<u64> {
        let live = self.live();
        let is_waiting = live.components.iter().any(|place| place.stats.state() == RunState::Restarting);
        let failures = live.components.iter().map(|place| place.stats.faults.load(Ordering::Relaxed)).sum();
        (!is_waiting).then_some(failures)
    }

    /// A dispatcher as it is now.
    pub(super) fn desk(&self, at: usize) -> Desk {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)[at].clone()
    }

    fn with_dispatchers<R>(&self, f: impl FnOnce(&[Arc<DispatcherHandle>]) -> R) -> R {
        f(&self.dispatchers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A packet refused at the edge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The node starts or stops.
    #[error("the node is {state}, so it takes no packets from outside")]
    NotAccepting {
        /// Where it is in its life.
        state: NodeState,
    },
    /// No such topic, or no lane left.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// Not of the topic's type, or no room.
    #[error(transparent)]
    Edge(#[from] csf_bus::EdgeError),
}
