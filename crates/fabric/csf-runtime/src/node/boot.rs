//! The staged start of a node (FRM-060): phases 0–10, each timed and told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use csf_bus::TopicError;
use csf_core::Stamp;
use csf_core::port::{Journal, JournalError, TimeSource};
use serde::{Deserialize, Serialize};

use super::handle::{ClockReporter, Node, NodeState, ReaderFactory};
use super::hub::{CoordinationError, Subsystem};
use super::initialization::{Conduct, LifeLimits};
use super::interrupt::{Interrupt, Urgency};
use super::preflight::{PreFlightResult, run_preflight_checks, standard_checks};
use super::shutdown::ShutdownReason;
use super::wiring::{Assembly, announce_run, resume};
use crate::replay::ReplayError;
use crate::topology::Topology;
use crate::{Catalogue, World};

/// One phase of the start, as told to people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// 0–10.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// How long it took.
    pub ms: f64,
    /// What it did.
    pub detail: String,
}

/// A subsystem that needs the node, such as the API.
pub type Attachment = Box<dyn FnOnce(&Arc<Node>) -> Arc<dyn Subsystem> + Send>;

/// Everything a start needs.
pub struct BootOptions {
    /// What the node runs on.
    pub world: World,
    /// The checked configuration.
    pub topology: Topology,
    /// What the packs brought.
    pub catalogue: Arc<Catalogue>,
    /// Physical time.
    pub clock: Arc<dyn TimeSource>,
    /// What the clock says of itself, where it does.
    pub clock_report: Option<ClockReporter>,
    /// When the process started, to measure `boot_ms` from.
    pub process_start: Stamp,
    /// What the node keeps on this machine, for the checks.
    pub directory: PathBuf,
    /// Where the journal is, for people.
    pub journal: String,
    /// Opens the journal for writing.
    pub open_journal: Box<dyn FnOnce() -> Result<Box<dyn Journal>, JournalError> + Send>,
    /// Opens it for reading.
    pub open_reader: ReaderFactory,
    /// Address of the API, checked before anything starts.
    pub listen: Option<SocketAddr>,
    /// Names this build; replay holds for one of these.
    pub build_id: String,
    /// How long an idle dispatcher spins before it parks, nanoseconds; 0 on one core.
    pub spin_ns: u64,
    /// Rolls the start back, and later hurries the stop.
    pub interrupt: Interrupt,
    /// The API and whatever else belongs to the transport phase.
    pub attachments: Vec<Attachment>,
    /// Told after each phase.
    pub on_phase: Box<dyn FnMut(&Phase) + Send>,
}

/// A start that failed; nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// A pre-flight check said no.
    #[error("pre-flight check `{check}` failed: {reason}")]
    PreFlightCheckFailed {
        /// `CSF-nnnn`.
        code: &'static str,
        /// Which check.
        check: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal cannot be continued.
    #[error(transparent)]
    Resume(#[from] ReplayError),
    /// The journal was written by another build, or a component does not repeat itself.
    #[error(
        "the journal cannot be continued: replay differs at {id} on `{topic}` ({what}); start on another directory"
    )]
    Diverged {
        /// The packet.
        id: String,
        /// Its topic.
        topic: String,
        /// What differs.
        what: String,
    },
    /// A topic cannot be set up.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    /// A subsystem failed.
    #[error(transparent)]
    Coordination(CoordinationError),
    /// A part that the node cannot do without gave up meanwhile.
    #[error("the node stopped by itself: {reason}")]
    GaveUp {
        /// Which and why.
        reason: String,
    },
    /// Somebody asked for the stop meanwhile.
    #[error("the start was interrupted in its phase {phase}, {name}")]
    Interrupted {
        /// The phase that was under way, or had just ended.
        phase: u8,
        /// Its name.
        name: &'static str,
    },
}

impl From<CoordinationError> for BootError {
    fn from(error: CoordinationError) -> Self {
        match error {
            CoordinationError::Interrupted => Self::Interrupted { phase: 8, name: "supervision tree" },
            error => Self::Coordination(error),
        }
    }
}

impl BootError {
    /// The page that explains it; empty for an interrupt, which is no error of the node.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::PreFlightCheckFailed { code, .. } => code,
            Self::Journal(error) => journal_code(error),
            Self::Resume(_) | Self::Diverged { .. } => "CSF-0501",
            Self::Coordination(CoordinationError::InitializationFailed { error, .. }) => error.code,
            Self::Topic(_) | Self::Thread(_) | Self::Coordination(_) => "CSF-0209",
            Self::GaveUp { .. } => "CSF-0212",
            Self::Interrupted { .. } => "",
        }
    }
}

/// The page that explains a journal's error.
pub(crate) fn journal_code(error: &JournalError) -> &'static str {
    match error {
        JournalError::InUse { .. } => "CSF-0203",
        JournalError::NewerFormat { .. } => "CSF-0204",
        JournalError::Storage { full: true, .. } => "CSF-0205",
        JournalError::Storage { .. } => "CSF-0202",
        JournalError::Unsynced { .. } => "CSF-0215",
        JournalError::OlderFormat { .. } => "CSF-0216",
        JournalError::Fenced { .. } => "CSF-0217",
        _ => "CSF-0206",
    }
}

struct Plan {
    clock: Arc<dyn TimeSource>,
    on_phase: Box<dyn FnMut(&Phase) + Send>,
    phases: Vec<Phase>,
    last: u64,
    interrupt: Interrupt,
}

impl Plan {
    /// Tells the end of a phase; the start goes no further when somebody asked for the stop.
    fn done(&mut self, number: u8, name: &'static str, detail: impl Into<String>) -> Result<(), BootError> {
        let now = now_ns(self.clock.as_ref());
        let ms = now.saturating_sub(self.last) as f64 / 1e6;
        self.last = now;
        let phase = Phase { number, name: name.to_owned(), ms, detail: detail.into() };
        tracing::info!(phase = number, name, ms, detail = phase.detail, "start");
        (self.on_phase)(&phase);
        self.phases.push(phase);
        match self.interrupt.urgency() {
            Urgency::None => Ok(()),
            _ => Err(BootError::Interrupted { phase: number, name }),
        }
    }
}

pub(super) fn now_ns(clock: &dyn TimeSource) -> u64 {
    clock.now_ns().map_or(0, |t| t.as_nanos())
}

/// Starts a node, phase by phase. On failure, and when it is interrupted, everything started is stopped again.
///
/// # Errors
/// [`BootError`].
pub async fn boot(options: BootOptions) -> Result<Arc<Node>, BootError> {
    let BootOptions { topology, catalogue, clock, interrupt, world, .. } = options;
    let mut plan = Plan {
        last: now_ns(clock.as_ref()),
        clock: clock.clone(),
        on_phase: options.on_phase,
        phases: Vec::new(),
        interrupt: interrupt.clone(),
    };
    // A simulated world has no ports and no disk to look at.
    let checks = if world.is_simulated() {
        Vec::new()
    } else {
        run_preflight_checks(&standard_checks(options.listen, &options.directory, clock.as_ref()))
    };
    for (check, result) in &checks {
        match result {
            PreFlightResult::Fail { code, reason } => {
                return Err(BootError::PreFlightCheckFailed { code, check, reason: reason.clone() });
            }
            PreFlightResult::Warning(text) => tracing::warn!(check, text, "pre-flight"),
            PreFlightResult::Pass(text) => tracing::debug!(check, text, "pre-flight"),
        }
    }
    plan.done(0, "pre-flight", format!("{} checks passed", checks.len()))?;
    plan.done(1, "runtime", world.describe())?;
    let counts = (topology.services.len(), topology.components.len(), topology.topics.len());
    plan.done(2, "configuration", format!("{} services, {} components, {} topics", counts.0, counts.1, counts.2))?;
    plan.done(3, "logging and metrics", "log lines to their sink, latencies per path")?;

    let mut journal = (options.open_journal)()?;
    let resumption = resume(journal.as_mut(), &topology, &catalogue, &interrupt)?;
    let detail = if resumption.report.packets > 0 {
        format!("continued after {} packets, {} outputs equal", resumption.report.packets, resumption.report.equal)
    } else {
        format!("new journal in {}", options.journal)
    };
    announce_run(journal.as_mut(), &options.build_id, &topology, clock.as_ref())?;
    plan.done(4, "data", detail)?;
    plan.done(5, "security", "API on loopback with a token; audit and policy are not in this build")?;

    let assembly = Assembly {
        topology,
        catalogue,
        clock,
        clock_report: options.clock_report,
        place: options.journal,
        open_reader: options.open_reader,
        build_id: options.build_id,
        spin_ns: options.spin_ns,
        interrupt,
        world,
    };
    let (node, subsystems) = assembly.build(journal, resumption)?;
    match launch(&node, subsystems, options.attachments, plan, options.process_start).await {
        Ok(()) => Ok(node),
        Err(error) => {
            // The recorder works since the assembly; what the hub has rolled back already has nothing left to stop.
            node.stop(ShutdownReason::StartFailed, |_| ()).await;
            Err(node.given_up().map_or(error, |reason| BootError::GaveUp { reason }))
        }
    }
}

/// Phases 6–10.
async fn launch(
    node: &Arc<Node>,
    subsystems: Vec<Arc<dyn Subsystem>>,
    attachments: Vec<Attachment>,
    mut plan: Plan,
    process_start: Stamp,
) -> Result<(), BootError> {
    for subsystem in subsystems {
        node.hub.register(subsystem)?;
    }
    plan.done(6, "core components", format!("{} topics recorded", recorded_count(node)))?;
    let attached = attachments.len();
    for attach in attachments {
        node.hub.register(attach(node))?;
    }
    node.register_checks();
    node.register_metrics();
    plan.done(7, "transport", if attached > 0 { "HTTP API and console" } else { "none" })?;
    let conduct = Conduct { timer: &*node.world.timer, limits: LifeLimits::default(), interrupt: &node.interrupt };
    node.hub.start_all(conduct, |id| tracing::debug!(subsystem = id, "started")).await?;
    plan.done(8, "supervision tree", format!("{} components on their dispatchers", node.live().components.len()))?;
    plan.done(9, "application services", format!("{} services", node.live().services.len()))?;
    node.register_parts().await;
    let health = node.health().await;
    let detail = format!("{} checks, {:?}", health.components.len(), health.overall_status).to_lowercase();
    plan.done(10, "health verification", detail)?;
    *node.boot_ms.lock().unwrap_or_else(PoisonError::into_inner) =
        now_ns(plan.clock.as_ref()).saturating_sub(process_start.0) as f64 / 1e6;
    *node.phases.lock().unwrap_or_else(PoisonError::into_inner) = plan.phases;
    node.set_state(NodeState::Running);
    node.gate().open();
    node.watch_health();
    Ok(())
}

fn recorded_count(node: &Node) -> usize {
    node.bus.topics().iter().filter(|t| t.spec().recorded).count()
}
