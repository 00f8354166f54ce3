//! Changing the configuration of a running node: a plan, then the parts it touches, while the others go on (FRM-064).
//!
//! Components that the plan touches are paused; when all they were given is durable, the change is journaled; then they go on as new.
//! What is published meanwhile waits in its lane, so nothing is lost and nothing changes its order. A replay finds the change at the same
//! place ([`crate::runs`]). Services that the plan touches are stopped before and started after.
//! Invariant: a change that cannot be journaled has not happened.

mod apply;
mod plan;
mod turnover;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csf_bus::TopicError;
use csf_core::Stamp;
use csf_core::port::NewEvent;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use plan::{KeyChange, PlanAction, PlanStep, ReloadPlan};
pub(super) use turnover::ServiceTurnover;
use turnover::Turnover;

use super::handle::{Node, NodeState};
use super::probes::Watched;
use crate::config::Problem;
use crate::runs::RUN_STREAM;
use crate::topology::Topology;

/// Kind of the event of a change that was refused.
const REFUSED: &str = "reload_refused";

/// Reads the configuration again, checked.
pub type ConfigurationSource = Arc<dyn Fn() -> Result<Topology, Vec<Problem>> + Send + Sync>;

/// What a node remembers of its reloads.
#[derive(Default)]
pub(super) struct Reloads {
    /// Held by the one that is under way.
    turn: Arc<tokio::sync::Mutex<()>>,
    source: Mutex<Option<ConfigurationSource>>,
    last: Mutex<Option<ReloadOutcome>>,
    /// Parts that the health monitor has a check for.
    watched: Mutex<Vec<Watched>>,
}

impl Reloads {
    pub(super) fn watched(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reload that was carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Changes since the start of the node, this one included.
    pub generation: u64,
    /// What was done.
    pub plan: ReloadPlan,
    /// How long it took, milliseconds.
    pub ms: f64,
    /// How long the touched components stood still, milliseconds.
    pub pause_ms: f64,
}

/// How the last reload ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReloadOutcome {
    /// Nanoseconds since the Unix epoch, as text.
    pub at: String,
    /// What was done.
    pub report: Option<ReloadReport>,
    /// Why nothing was.
    pub refused: Option<String>,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigurationReport {
    /// Changes since the start of the node.
    pub generation: u64,
    /// How the last attempt to change it ended.
    pub last: Option<ReloadOutcome>,
    /// All of it, as TOML. Secrets are in it by reference.
    pub text: String,
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A reload that did not happen: the old configuration stays in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The node starts or stops.
    #[error("the node is {state}; its configuration can be changed while it runs")]
    NotRunning {
        /// Where it is in its life.
        state: NodeState,
    },
    /// Nobody said where the configuration comes from.
    #[error("this node's configuration comes from no file that could be read again")]
    NoSource,
    /// It is not a configuration this node can run.
    #[error("the configuration has {}; the old one stays in force", count(.0.len(), "problem"))]
    Invalid(Vec<Problem>),
    /// It is one, but not for a running node.
    #[error("{} that only a new start of the node can take; the old configuration stays in force", count(.0.len(), "change"))]
    NeedsStart(Vec<Problem>),
    /// The change cannot be made durable.
    #[error("the journal did not take the change: {reason}; the old configuration stays in force")]
    Journal {
        /// Its words.
        reason: String,
    },
    /// A lane cannot be opened.
    #[error("{0}; the old configuration stays in force")]
    Topic(#[from] TopicError),
    /// A dispatcher is gone.
    #[error("a dispatcher has ended; the node has to be started again")]
    DispatcherGone,
    /// The change panicked, or its runtime ended.
    #[error("the change broke off; the node has to be started again")]
    BrokenOff,
}

impl ReloadError {
    /// The page that explains it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NeedsStart(_) => "CSF-0117",
            _ => "CSF-0118",
        }
    }

    /// Every problem with its place, where there are any.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) | Self::NeedsStart(problems) => problems,
            _ => &[],
        }
    }
}

impl Node {
    /// Where [`Node::reload`] reads the configuration.
    pub fn set_configuration_source(&self, source: ConfigurationSource) {
        *self.reloads.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    fn read_configuration(&self) -> Result<Topology, ReloadError> {
        let source = self.reloads.source.lock().unwrap_or_else(PoisonError::into_inner).clone();
        source.ok_or(ReloadError::NoSource)?().map_err(ReloadError::Invalid)
    }

    /// Reads the configuration again and says what would change; nothing does.
    ///
    /// # Errors
    /// [`ReloadError`].
    pub fn plan_reload(&self) -> Result<ReloadPlan, ReloadError> {
        self.plan(&self.read_configuration()?)
    }

    /// What would change with another configuration.
    ///
    /// # Errors
    /// [`ReloadError::NeedsStart`].
    pub fn plan(&self, to: &Topology) -> Result<ReloadPlan, ReloadError> {
        let live = self.live();
        let services = ServiceTurnover::between(&live, to);
        ReloadPlan::between(&live.topology, to, &Turnover::between(&live, to, &services), &services)
            .map_err(ReloadError::NeedsStart)
    }

    /// Reads the configuration again and brings the node to it. A refusal is journaled. Once it has its
    /// turn, the change is a task of the node: it goes on to its end when this future is dropped.
    ///
    /// # Errors
    /// [`ReloadError`]; the old configuration stays in force.
    pub async fn reload(self: &Arc<Self>) -> Result<ReloadReport, ReloadError> {
        let node = self.clone();
        self.in_turn(async move {
            // Read in turn: what was read before another change would take that back.
            let topology = match node.read_configuration() {
                Ok(topology) => topology,
                Err(error) => {
                    node.tell_refusal(&error).await;
                    return Err(error);
                }
            };
            node.change(topology).await
        })
        .await
    }

    /// [`Node::reload`] to this configuration.
    ///
    /// # Errors
    /// As [`Node::reload`].
    pub async fn reconfigure(self: &Arc<Self>, to: Topology) -> Result<ReloadReport, ReloadError> {
        let node = self.clone();
        self.in_turn(async move { node.change(to).await }).await
    }

    /// Waits for the turn, in the order of the calls, then runs the change as a task of the node's world, so that it does not depend on
    /// who waits for it.
    async fn in_turn(
        &self,
        change: impl Future<Output = Result<ReloadReport, ReloadError>> + Send + 'static,
    ) -> Result<ReloadReport, ReloadError> {
        let turn = self.reloads.turn.clone().lock_owned().await;
        let (answer, outcome) = oneshot::channel();
        self.world.spawn.spawn(Box::pin(async move {
            // Nobody may be waiting any more.
            let _ = answer.send(change.await);
            drop(turn);
        }));
        outcome.await.unwrap_or(Err(ReloadError::BrokenOff))
    }

    /// For who has the turn.
    async fn change(self: &Arc<Self>, to: Topology) -> Result<ReloadReport, ReloadError> {
        match self.state() {
            NodeState::Running => {}
            state => return Err(ReloadError::NotRunning { state }),
        }
        let outcome = self.apply(to).await;
        match &outcome {
            Ok(report) => {
                tracing::info!(
                    generation = report.generation,
                    steps = report.plan.steps.len(),
                    "configuration changed"
                );
                self.remember(Some(report.clone()), None);
            }
            Err(error) => self.tell_refusal(error).await,
        }
        outcome
    }

    /// The configuration in force, and how the last attempt to change it ended.
    #[must_use]
    pub fn configuration(&self) -> ConfigurationReport {
        let live = self.live();
        let last = self.reloads.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ConfigurationReport { generation: live.generation, last, text: live.topology.settings.text.clone() }
    }

    fn remember(&self, report: Option<ReloadReport>, refused: Option<String>) {
        let at = Stamp(self.now_ns()).to_string();
        *self.reloads.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(ReloadOutcome { at, report, refused });
    }

    /// The event of a refusal (FRM-064). Best effort: a journal that refuses writes is told of by itself.
    async fn tell_refusal(&self, error: &ReloadError) {
        tracing::info!(code = error.code(), %error, "configuration not changed");
        self.remember(None, Some(format!("[{}] {error}", error.code())));
        let problems: Vec<_> = error.problems().iter().map(|p| serde_json::json!([p.code, p.message])).collect();
        let data = serde_json::json!({ "code": error.code(), "reason": error.to_string(), "problems": problems });
        let event = NewEvent::new(RUN_STREAM, REFUSED, Stamp(self.now_ns()), data);
        // A journal that refuses this too has said so elsewhere.
        let _ = self.recorder.append(event.into()).await;
    }
}
