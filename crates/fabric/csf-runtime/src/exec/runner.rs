//! A component with everything it needs to run.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use csf_bus::{EffectWriter, Subscription};
use csf_core::port::LaneInfo;
use csf_core::{AnyPayload, Component, Header, Stamp, TimerId};

use super::desk::Desk;
use super::failing::{Checkpoint, Failing, IncidentSink};
use super::paths::ComponentPaths;
use super::stats::{ComponentStats, RunState};
use super::tie::Tie;
use crate::Input;
use crate::config::RestartSettings;
use crate::pack::ComponentFactory;

/// Hears what happens to a component outside its work: its name, what (`fault`, `terminated`, `started`, `dead_letter`, `stuck`,
/// `budget_spent`), in words.
pub type ComponentObserver = Arc<dyn Fn(&str, &str, &str) + Send + Sync>;

/// Output ports and their lanes.
pub type Outputs = Vec<(String, Box<dyn EffectWriter>)>;

/// What a handler works on; it leaves the runner while a watched handler runs.
pub struct Machine {
    /// The state machine.
    pub component: Box<dyn Component>,
    /// Output ports of its type, connected or not.
    pub ports: Vec<&'static str>,
    /// Output port → lane.
    pub outputs: Outputs,
}

/// A component with everything it needs to run.
pub struct Runner {
    /// Its number in the delivery log.
    pub index: u16,
    /// Its name in the node.
    pub name: String,
    /// `None` while a watched handler has it, and for good when that never came back.
    pub machine: Option<Box<Machine>>,
    /// Makes its component anew.
    pub factory: ComponentFactory,
    /// What it reads.
    pub input: Subscription,
    /// Timers set and not yet due.
    pub timers: Timers,
    /// Restart budget.
    pub restart: RestartSettings,
    /// How long a handler may take; `None`: it is not watched.
    pub stuck_after: Option<Duration>,
    /// Where a watched handler's event lies; away while it does.
    pub desk: Option<Box<Desk>>,
    /// Counters.
    pub stats: Arc<ComponentStats>,
    /// End-to-end latency by (trigger topic, effect topic).
    pub paths: ComponentPaths,
    /// Recorded inputs of an earlier start that were not delivered then, delivered first.
    pub backlog: VecDeque<(LaneInfo, Header, AnyPayload)>,
    /// Stamps of recent restarts, for the budget.
    pub recent_restarts: Vec<Stamp>,
    /// Events that failed and are to be tried again.
    pub failing: Failing,
    /// From where its state can be made again; `None`: taken at its next turn.
    pub checkpoint: Option<Arc<Checkpoint>>,
    /// Whether its component panicked and has no state to go on with.
    pub is_broken: bool,
    /// What became of it between two deliveries and the delivery log does not say yet.
    pub untold: Option<Input>,
    /// Hears of faults and restarts.
    pub observer: ComponentObserver,
    /// Takes what its dispatcher cannot deal with by itself.
    pub incidents: IncidentSink,
    /// Whether it is given nothing for now.
    pub is_paused: bool,
    /// Below a supervisor: whether it is given nothing until that starts it again.
    pub is_held: bool,
    /// To its supervisor; `None`: its dispatcher restarts it by itself.
    pub tie: Option<Arc<Tie>>,
}

impl Runner {
    /// Whether it may be given something.
    pub(super) fn is_open(&self) -> bool {
        !self.is_paused && !self.is_held && !self.is_broken && self.stats.state() == RunState::Running
    }

    /// Gives it up. Nobody may have to wait for what it does not read any more.
    pub(super) fn give_up(&mut self, state: RunState) {
        self.stats.set_state(state);
        self.input.detach();
        self.backlog.clear();
        if let Some(tie) = &self.tie {
            tie.lose(&self.stats.last_fault());
        }
    }
}

/// A component's timers, by due time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timers {
    due: BTreeSet<(Stamp, TimerId)>,
}

impl Timers {
    /// Sets or moves a timer.
    pub fn set(&mut self, timer: TimerId, at: Stamp) {
        self.due.retain(|(_, t)| *t != timer);
        self.due.insert((at, timer));
    }

    /// The earliest timer.
    #[must_use]
    pub fn next(&self) -> Option<(Stamp, TimerId)> {
        self.due.first().copied()
    }

    /// Removes a timer.
    pub fn clear(&mut self, timer: TimerId) {
        self.due.retain(|(_, t)| *t != timer);
    }
}
