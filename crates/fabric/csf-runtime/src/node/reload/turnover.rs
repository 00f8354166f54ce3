//! The parts that a change of the configuration concerns, and how.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::ComponentSettings;
use crate::node::live::Live;
use crate::node::services::{Group, groups};
use crate::supervise::Strategy;
use crate::topology::{ComponentNode, Topology};

/// What becomes of the components.
#[derive(Default)]
pub(super) struct Turnover {
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
    pub(super) altered: Vec<Altered>,
}

/// A component that goes on otherwise.
pub(super) struct Altered {
    pub(super) name: String,
    /// Same type and options: the instance stays.
    pub(super) is_same_machine: bool,
    /// Other topics, read or written.
    pub(super) is_connected_otherwise: bool,
    /// Topics it reads from now on.
    pub(super) reads_newly: Vec<String>,
    /// Topics it reads no longer.
    pub(super) leaves: Vec<String>,
}

impl Turnover {
    pub(super) fn between(live: &Live, to: &Topology) -> Self {
        let mut turnover = Self::default();
        for (node, _) in live.components() {
            let name = &node.settings.name.value;
            let Some(next) = to.component(name) else {
                turnover.removed.push(name.clone());
                continue;
            };
            let (was, is) = (reads(&node.settings), reads(&next.settings));
            let is_same_machine = node.settings.is_same_machine(&next.settings);
            let is_connected_otherwise = was != is || writes(node) != writes(next);
            let has_same_limits = node.settings.restart == next.settings.restart
                && node.settings.stuck_after == next.settings.stuck_after;
            if is_same_machine && !is_connected_otherwise && has_same_limits {
                continue;
            }
            turnover.altered.push(Altered {
                name: name.clone(),
                is_same_machine,
                is_connected_otherwise,
                reads_newly: is.difference(&was).map(|t| (*t).to_owned()).collect(),
                leaves: was.difference(&is).map(|t| (*t).to_owned()).collect(),
            });
        }
        let is_new = |name: &String| live.component(name).is_none();
        turnover.added = to.component_names().filter(is_new).collect();
        turnover
    }

    pub(super) fn altered(&self, name: &str) -> Option<&Altered> {
        self.altered.iter().find(|altered| altered.name == name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.altered.is_empty()
    }
}

fn reads(settings: &ComponentSettings) -> BTreeSet<&str> {
    settings.reads.iter().map(|topic| topic.value.as_str()).collect()
}

fn writes(node: &ComponentNode) -> BTreeMap<&str, &str> {
    node.settings.writes.iter().map(|(port, topic)| (port.as_str(), topic.value.as_str())).collect()
}

/// What becomes of the services: whole supervisors, and single services below ones that stay.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct ServiceTurnover {
    /// Supervisors that end, with all below them.
    pub(in crate::node) groups_stopped: Vec<String>,
    /// Supervisors that begin, with all below them.
    pub(in crate::node) groups_started: Vec<String>,
    /// Supervisor and service.
    pub(in crate::node) stopped: Vec<(String, String)>,
    /// Supervisor and service.
    pub(in crate::node) started: Vec<(String, String)>,
    /// Services that were there before and are started again.
    restarted: BTreeSet<String>,
    /// Services that stop, for good or to start again.
    pub(in crate::node) ending: BTreeSet<String>,
}

impl ServiceTurnover {
    pub(super) fn between(from: &Topology, to: &Topology) -> Self {
        let mut turnover = Self::default();
        let (old, new) = (groups(from), groups(to));
        for group in &old {
            let next = new.iter().find(|next| next.name == group.name);
            turnover.group(from, to, group, next);
        }
        for group in new.iter().filter(|group| !old.iter().any(|old| old.name == group.name)) {
            turnover.groups_started.push(group.name.clone());
        }
        let was_there = |name: &String| from.service(name).is_some();
        let started = turnover.started.iter().map(|(_, name)| name.clone());
        let with_groups = new.iter().filter(|group| turnover.groups_started.contains(&group.name));
        let members = with_groups.flat_map(|group| names(to, group));
        turnover.restarted = started.chain(members).filter(was_there).collect();
        turnover
    }

    fn group(&mut self, from: &Topology, to: &Topology, group: &Group, next: Option<&Group>) {
        let Some(next) = next else {
            self.groups_stopped.push(group.name.clone());
            self.ending.extend(names(from, group));
            return;
        };
        let (was, is) = (names(from, group), names(to, next));
        let changed: Vec<String> =
            was.iter().filter(|name| is.contains(*name) && is_other(from, to, name)).cloned().collect();
        let (gone, new): (Vec<_>, Vec<_>) = (
            was.iter().filter(|name| !is.contains(*name)).cloned().collect(),
            is.iter().filter(|name| !was.contains(*name)).cloned().collect(),
        );
        let is_touched = !(changed.is_empty() && gone.is_empty() && new.is_empty());
        // Members of the other strategies live and die together, in their order.
        let is_one = group.has_same_rules(next) && group.strategy == Strategy::OneForOne;
        if is_touched && !is_one || !group.has_same_rules(next) {
            self.groups_stopped.push(group.name.clone());
            self.groups_started.push(group.name.clone());
            self.ending.extend(was);
            return;
        }
        let below = |name: &String| (group.name.clone(), name.clone());
        self.stopped.extend(gone.iter().chain(&changed).map(below));
        self.started.extend(changed.iter().chain(&new).map(below));
        self.ending.extend(gone.into_iter().chain(changed));
    }

    /// Services of another type than before: their places mean nothing to them.
    pub(in crate::node) fn replaced(&self, from: &Topology, to: &Topology) -> Vec<String> {
        let is_other = |name: &&String| match (from.service(name), to.service(name)) {
            (Some(was), Some(is)) => !was.settings.is_same_source(&is.settings),
            _ => false,
        };
        self.restarted.iter().filter(is_other).cloned().collect()
    }

    pub(super) fn restarts(&self, name: &str) -> bool {
        self.restarted.contains(name)
    }

    pub(in crate::node) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn names(topology: &Topology, group: &Group) -> Vec<String> {
    group.services.iter().map(|index| topology.services[*index].settings.name.value.clone()).collect()
}

/// Whether a service has to be started again to be as it is told.
fn is_other(from: &Topology, to: &Topology, name: &str) -> bool {
    let (Some(was), Some(is)) = (from.service(name), to.service(name)) else { return true };
    let (was, is) = (&was.settings, &is.settings);
    let plain = |writes: &BTreeMap<String, crate::config::Located<String>>| -> Vec<(String, String)> {
        writes.iter().map(|(port, topic)| (port.clone(), topic.value.clone())).collect()
    };
    was.kind.value != is.kind.value
        || was.options.value() != is.options.value()
        || plain(&was.writes) != plain(&is.writes)
        || was.restart.policy != is.restart.policy
        || was.stop_within != is.stop_within
}
