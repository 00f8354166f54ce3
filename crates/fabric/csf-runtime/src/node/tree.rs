//! The supervision tree as people see it: who supervises whom, how often each was restarted, and why.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::TimeSource;
use serde::{Deserialize, Serialize};

use super::groups::{Group, Groups, Member};
use super::handle::Node;
use super::live::{Live, LiveComponent};
use super::services::ROOT;
use crate::config::{RestartSettings, WhenSpent};
use crate::exec::{RunState, ServiceStats};
use crate::supervise::{Report, ReportKind, Strategy};

/// Reports kept per node.
const HISTORY: usize = 256;

/// A supervisor or what it supervises.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TreeNode {
    /// Its name.
    pub name: String,
    /// `supervisor`, `service` or `component`.
    pub kind: String,
    /// Where it is in its life.
    pub state: RunState,
    /// Times it was started again.
    pub restarts: u64,
    /// What the last failure said; empty when there was none.
    pub last_failure: String,
    /// Of a supervisor: which children a failure concerns.
    pub strategy: Option<Strategy>,
    /// Restarts allowed within a time.
    pub budget: Option<BudgetReport>,
    /// What it supervises, in start order.
    pub children: Vec<TreeNode>,
}

/// A restart budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetReport {
    /// Restarts allowed…
    pub at_most: u32,
    /// … within this many milliseconds.
    pub within_ms: u64,
    /// Whether the node stops when it is spent.
    pub stops_node: bool,
}

/// One line of the restart history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TreeEvent {
    /// Nanoseconds since the Unix epoch, as text.
    pub at: String,
    /// Path of the supervisor.
    pub supervisor: String,
    /// The child.
    pub child: String,
    /// `started`, `restored`, `fault`, `terminated`, `dead_letter`, `stuck`, `moved`, `start_failed`, `delayed`, `shutdown_failed` or `budget_spent`.
    pub what: String,
    /// In words.
    pub detail: String,
}

/// The tree and its newest events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TreeReport {
    /// The node.
    pub root: TreeNode,
    /// The newest 256 events, oldest first.
    pub history: Vec<TreeEvent>,
}

/// Listens to every supervisor of the node.
pub(crate) struct TreeWatch {
    clock: Arc<dyn TimeSource>,
    events: Mutex<VecDeque<TreeEvent>>,
    restarts: Mutex<BTreeMap<String, u64>>,
}

impl TreeWatch {
    pub(super) fn new(clock: Arc<dyn TimeSource>) -> Self {
        Self { clock, events: Mutex::default(), restarts: Mutex::default() }
    }

    pub(super) fn note(&self, report: &Report) {
        let (what, detail) = match &report.kind {
            ReportKind::Started => {
                let path = format!("{}/{}", report.supervisor, report.child);
                *self.restarts.lock().unwrap_or_else(PoisonError::into_inner).entry(path).or_default() += 1;
                ("started", String::new())
            }
            ReportKind::Terminated { reason } => ("terminated", reason.to_string()),
            ReportKind::StartFailed { reason } => ("start_failed", reason.to_string()),
            ReportKind::Delayed { pause } => ("delayed", format!("by {}", pause_text(*pause))),
            ReportKind::ShutdownFailed { reason } => ("shutdown_failed", reason.to_string()),
            ReportKind::BudgetSpent { restarts } => ("budget_spent", format!("restart {restarts} was one too many")),
        };
        self.push(&report.supervisor, &report.child, what, detail);
    }

    /// What a component's dispatcher tells of it.
    pub(crate) fn note_component(&self, name: &str, what: &str, detail: &str) {
        self.push("components", name, what, detail.to_owned());
    }

    fn push(&self, supervisor: &str, child: &str, what: &str, detail: String) {
        let event = TreeEvent {
            at: Stamp(self.clock.now_ns().map_or(0, |t| t.as_nanos())).to_string(),
            supervisor: supervisor.to_owned(),
            child: child.to_owned(),
            what: what.to_owned(),
            detail,
        };
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == HISTORY {
            events.pop_front();
        }
        events.push_back(event);
    }

    /// Starts after the first.
    fn restarts(&self, path: &str) -> u64 {
        let starts = self.restarts.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied();
        starts.unwrap_or(0).saturating_sub(1)
    }
}

fn pause_text(pause: Duration) -> String {
    format!("{} ms", pause.as_millis())
}

/// The worst of what is below.
fn state_of(children: &[TreeNode]) -> RunState {
    let worst = [
        RunState::Stuck,
        RunState::Failed,
        RunState::Restarting,
        RunState::Running,
        RunState::Starting,
        RunState::Stopped,
    ];
    let has = |state: &RunState| children.iter().any(|c| c.state == *state);
    worst.into_iter().find(has).unwrap_or(RunState::Finished)
}

impl Node {
    /// The supervision tree.
    #[must_use]
    pub fn supervision(&self) -> TreeReport {
        let live = self.live();
        let groups = Groups::of(&live.topology);
        let services: Vec<TreeNode> = groups.outermost().map(|group| self.group(&live, &groups, group)).collect();
        let alone = live.components().filter(|(component, _)| component.settings.supervisor.is_none());
        let components: Vec<TreeNode> = alone
            .map(|(component, place)| TreeNode {
                budget: Some(budget(component.settings.restart, false)),
                ..component_node(&component.settings.name.value, place)
            })
            .collect();
        let children = vec![
            supervisor("components", Strategy::OneForOne, components),
            supervisor(ROOT, Strategy::OneForOne, services),
        ];
        let root = supervisor(&live.topology.settings.node.name, Strategy::OneForOne, children);
        let history = self.tree.events.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        TreeReport { root, history }
    }

    /// A service that has a supervisor of its own is shown as one line with that supervisor's budget.
    fn group(&self, live: &Live, groups: &Groups, group: &Group) -> TreeNode {
        let budget = budget(group.budget, group.when_spent == WhenSpent::StopNode);
        if let [Member::Service(name)] = &group.members[..]
            && *name == group.name
            && let Some((_, stats)) = live.service(name)
        {
            return TreeNode { budget: Some(budget), ..service_node(name, stats) };
        }
        let child = |member: &Member| match member {
            Member::Service(name) => live.service(name).map(|(_, stats)| service_node(name, stats)),
            Member::Component(name) => live.component(name).map(|(_, place)| component_node(name, place)),
            Member::Group(name) => groups.get(name).map(|below| self.group(live, groups, below)),
        };
        let mut node = supervisor(&group.name, group.strategy, group.members.iter().filter_map(child).collect());
        node.restarts = self.tree.restarts(&groups.path(group));
        node.budget = Some(budget);
        node
    }
}

fn budget(of: RestartSettings, stops_node: bool) -> BudgetReport {
    let within_ms = u64::try_from(of.within.as_millis()).unwrap_or(u64::MAX);
    BudgetReport { at_most: of.at_most, within_ms, stops_node }
}

fn service_node(name: &str, stats: &ServiceStats) -> TreeNode {
    TreeNode {
        name: name.to_owned(),
        kind: "service".to_owned(),
        state: stats.state(),
        restarts: stats.restarts.load(Ordering::Relaxed),
        last_failure: stats.last_error(),
        strategy: None,
        budget: None,
        children: Vec::new(),
    }
}

fn component_node(name: &str, LiveComponent { stats, .. }: &LiveComponent) -> TreeNode {
    TreeNode {
        name: name.to_owned(),
        kind: "component".to_owned(),
        state: stats.state(),
        restarts: stats.restarts.load(Ordering::Relaxed),
        last_failure: stats.last_fault(),
        strategy: None,
        budget: None,
        children: Vec::new(),
    }
}

fn supervisor(name: &str, strategy: Strategy, children: Vec<TreeNode>) -> TreeNode {
    TreeNode {
        name: name.to_owned(),
        kind: "supervisor".to_owned(),
        state: state_of(&children),
        restarts: 0,
        last_failure: String::new(),
        strategy: Some(strategy),
        budget: None,
        children,
    }
}
