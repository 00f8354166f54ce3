//! A [`Node`]'s own checks, and what it says to those who ask whether it is up (FRM-071).
//!
//! Liveness depends on nothing but this process: a restart would not help against a slow disk or an absent peer.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::handle::{Node, NodeState};
use super::health::{HealthCriticality, HealthResult, Status, SystemHealthReport};
use super::hub::HealthStatus;
use super::live::LiveComponent;
use super::monitor::{FnCheck, HealthCheck, HealthMonitor, LogAlerts};
use super::tree::TreeNode;
use crate::exec::RunState;
use crate::requirement::{BUS_CHECK, BusRequirementCheck};

/// Time between two looks at a node's parts.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads a figure of a node.
type Figure = fn(&Node) -> u64;

/// A part that has a check. A name may go from a service to a component: then it is another part.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Watched {
    name: String,
    is_service: bool,
}

/// Whether a node takes work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum Readiness {
    /// It does.
    Ok,
    /// Not yet.
    Starting,
    /// Not any more.
    Stopping,
    /// A part without which it cannot work does not.
    Unhealthy {
        /// Which, each with what is wrong.
        reasons: Vec<String>,
    },
}

impl Node {
    /// The node's health from its subsystems, components and services, looked at now.
    pub async fn health(&self) -> SystemHealthReport {
        self.monitor.check_system_health().await
    }

    /// What watches its parts: the newest report and the changes.
    #[must_use]
    pub fn monitor(&self) -> &Arc<HealthMonitor> {
        &self.monitor
    }

    /// Whether it takes work, without a new look: good for a probe every second. A critical part that gives no answer counts as one that
    /// does not work.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        match self.state() {
            NodeState::Starting => return Readiness::Starting,
            NodeState::Stopping | NodeState::Stopped => return Readiness::Stopping,
            NodeState::Running => {}
        }
        let mut reasons: Vec<String> = self.feed().failure().map(|f| format!("recorder: {f}")).into_iter().collect();
        let report = self.monitor.last_report();
        let parts = report.iter().flat_map(|r| &r.components).filter(|part| {
            let is_lost = matches!(part.status, Status::Unhealthy | Status::Unknown);
            // The recorder's own words are newer.
            is_lost && part.criticality == HealthCriticality::Critical && part.name != "recorder"
        });
        reasons.extend(parts.map(|part| format!("{}: {}", part.name, part.message)));
        if reasons.is_empty() { Readiness::Ok } else { Readiness::Unhealthy { reasons } }
    }

    /// Registers a check for every part; the hub is complete by now.
    pub(super) fn register_checks(self: &Arc<Self>) {
        self.monitor.notify(Arc::new(LogAlerts));
        for id in self.hub.snapshot().into_keys() {
            let node = Arc::downgrade(self);
            let name = id.clone();
            let look = move || {
                let part = node.upgrade().and_then(|node| node.hub.get(&id));
                match part.map(|part| part.health_check()) {
                    Some(HealthStatus::Healthy) => HealthResult::Healthy,
                    Some(HealthStatus::Degraded(text)) => HealthResult::Degraded(text),
                    Some(HealthStatus::Unhealthy(text)) => HealthResult::Unhealthy(text),
                    None => HealthResult::Unhealthy("it is gone".to_owned()),
                }
            };
            self.monitor.register_health_check(Arc::new(FnCheck::new(name, HealthCriticality::Critical, look)));
        }
        self.watch_parts();
        self.watch_requirements();
    }

    /// Judges the bus by `[performance_requirements]`, where there are any, from now on.
    pub(super) fn watch_requirements(&self) {
        self.monitor.forget(BUS_CHECK);
        if let Some(requirements) = self.live().topology.settings.performance {
            let check = BusRequirementCheck::new(self.bus.clone(), requirements);
            self.monitor.register_health_check(Arc::new(check));
        }
    }

    /// One check for every component and service that there is now, and for no other.
    pub(super) fn watch_parts(&self) {
        let result = |state, failure: &dyn Fn() -> String| match state {
            RunState::Failed | RunState::Stuck => HealthResult::Unhealthy(failure()),
            RunState::Restarting => HealthResult::Degraded(failure()),
            _ => HealthResult::Healthy,
        };
        let live = self.live();
        let mut checks: Vec<(Watched, Arc<dyn HealthCheck>)> = Vec::new();
        for (service, stats) in live.services() {
            let stats = stats.clone();
            let look = move || result(stats.state(), &|| stats.last_error());
            let name = service.settings.name.value.clone();
            let part = Watched { name: name.clone(), is_service: true };
            checks.push((part, Arc::new(FnCheck::new(name, HealthCriticality::NonCritical, look))));
        }
        for (component, LiveComponent { stats, .. }) in live.components() {
            let stats = stats.clone();
            let look = move || result(stats.state(), &|| stats.last_fault());
            let name = component.settings.name.value.clone();
            let part = Watched { name: name.clone(), is_service: false };
            checks.push((part, Arc::new(FnCheck::new(name, HealthCriticality::NonCritical, look))));
        }
        let mut watched = self.reloads.watched();
        let parts: Vec<Watched> = checks.iter().map(|(part, _)| part.clone()).collect();
        watched.iter().filter(|part| !parts.contains(part)).for_each(|part| self.monitor.forget(&part.name));
        for (_, check) in checks.into_iter().filter(|(part, _)| !watched.contains(part)) {
            self.monitor.register_health_check(check);
        }
        *watched = parts;
    }

    /// Figures of the node, for which limits can be set on [`Node::monitor`].
    pub(super) fn register_metrics(self: &Arc<Self>) {
        let figures: [(&str, Figure); 2] = [
            ("journal.bytes", |node| node.report().journal.bytes),
            ("supervision.restarts", |node| restarts(&node.supervision().root)),
        ];
        for (name, read) in figures {
            let node = Arc::downgrade(self);
            self.monitor.register_metric(name, move || node.upgrade().map(|node| read(&node) as f64));
        }
    }

    /// Looks every second until the node begins to stop.
    pub(super) fn watch_health(&self) {
        let mut signal = self.shutdown_signal();
        let stop = async move {
            // An error means that the node is gone.
            let _ = signal.wait_for(Option::is_some).await;
        };
        self.monitor.start_monitoring(LOOK_EVERY, stop);
    }
}

fn restarts(node: &TreeNode) -> u64 {
    node.restarts + node.children.iter().map(restarts).sum::<u64>()
}
