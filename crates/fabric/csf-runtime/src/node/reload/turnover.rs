//! The parts that a change of the configuration concerns, and how.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::ComponentSettings;
use crate::node::groups::{Group, Groups};
use crate::node::live::Live;
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
    pub(super) fn between(live: &Live, to: &Topology, services: &ServiceTurnover) -> Self {
        let mut turnover = Self::default();
        for (node, place) in live.components() {
            let name = &node.settings.name.value;
            let Some(next) = to.component(name) else {
                turnover.removed.push(name.clone());
                continue;
            };
            let (was, is) = (reads(&node.settings), reads(&next.settings));
            let is_same_machine = node.settings.is_same_machine(&next.settings);
            let is_connected_otherwise = was != is || writes(node) != writes(next);
            // One that was given up comes back with its supervisor.
            let comes_back = place.is_down() && services.restarts(name);
            if !is_other_component(&live.topology, to, name) && !comes_back {
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

/// What becomes of the services and of what stands for components: whole outermost supervisors, and single members of ones that stay.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct ServiceTurnover {
    /// Supervisors that end, with all below them.
    pub(in crate::node) groups_stopped: Vec<String>,
    /// Supervisors that begin, with all below them.
    pub(in crate::node) groups_started: Vec<String>,
    /// Supervisor and member.
    pub(in crate::node) stopped: Vec<(String, String)>,
    /// Supervisor and member.
    pub(in crate::node) started: Vec<(String, String)>,
    /// Services and components that were there before and are started again.
    restarted: BTreeSet<String>,
    /// Services that stop, for good or to start again.
    pub(in crate::node) ending: BTreeSet<String>,
}

impl ServiceTurnover {
    pub(super) fn between(live: &Live, to: &Topology) -> Self {
        let mut turnover = Self::default();
        let from = &live.topology;
        let (old, new) = (Groups::of(from), Groups::of(to));
        for group in old.outermost() {
            let next = new.get(&group.name).filter(|next| next.above.is_none());
            turnover.group(live, to, (&old, group), next.map(|next| (&new, next)));
        }
        let is_new = |group: &&Group| old.get(&group.name).is_none_or(|was| was.above.is_some());
        turnover.groups_started.extend(new.outermost().filter(is_new).map(|group| group.name.clone()));
        let was_there = |name: &String| from.service(name).is_some() || from.component(name).is_some();
        let started = turnover.started.iter().map(|(_, name)| name.clone());
        let with_groups = new.outermost().filter(|group| turnover.groups_started.contains(&group.name));
        let parts = with_groups.flat_map(|group| names(&new, group));
        turnover.restarted = started.chain(parts).filter(was_there).collect();
        turnover
    }

    fn group(&mut self, live: &Live, to: &Topology, (old, group): (&Groups, &Group), next: Option<(&Groups, &Group)>) {
        let from = &live.topology;
        let was = names(old, group);
        let Some((new, next)) = next else {
            self.groups_stopped.push(group.name.clone());
            self.ending.extend(was);
            return;
        };
        let is = names(new, next);
        // One that was given up begins again when anything of it changes.
        let is_down = was.iter().filter_map(|name| live.component(name)).any(|(_, place)| place.is_down());
        let is_other = |name: &&String| is_other(from, to, name) || is_down && is_other_component(from, to, name);
        let changed: Vec<String> = was.iter().filter(|name| is.contains(*name)).filter(is_other).cloned().collect();
        let (gone, begun): (Vec<_>, Vec<_>) = (
            was.iter().filter(|name| !is.contains(*name)).cloned().collect(),
            is.iter().filter(|name| !was.contains(*name)).cloned().collect(),
        );
        let (trees, next_trees) = (old.tree(group), new.tree(next));
        let has_same_rules = trees.len() == next_trees.len()
            && trees
                .iter()
                .zip(&next_trees)
                .all(|(was, is)| was.has_same_rules(is) && (trees.len() == 1 || was.members == is.members));
        let is_touched = !(changed.is_empty() && gone.is_empty() && begun.is_empty());
        // Members of the other strategies live and die together, in their order; so do those of nested supervisors.
        let is_one = group.strategy == Strategy::OneForOne && trees.len() == 1 && !is_down;
        if is_touched && !is_one || !has_same_rules {
            self.groups_stopped.push(group.name.clone());
            self.groups_started.push(group.name.clone());
            self.ending.extend(was);
            return;
        }
        let below = |name: &String| (group.name.clone(), name.clone());
        self.stopped.extend(gone.iter().chain(&changed).map(below));
        self.started.extend(changed.iter().chain(&begun).map(below));
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

fn names(groups: &Groups, group: &Group) -> Vec<String> {
    groups.parts(group).map(|part| part.name().to_owned()).collect()
}

/// Whether a component has to be touched to be as it is told.
fn is_other_component(from: &Topology, to: &Topology, name: &str) -> bool {
    let (Some(was), Some(is)) = (from.component(name), to.component(name)) else { return false };
    let rules = |node: &ComponentNode| {
        let settings = &node.settings;
        (settings.restart, settings.stuck_after, settings.supervisor.as_ref().map(|s| s.value.clone()))
    };
    !was.settings.is_same_machine(&is.settings)
        || reads(&was.settings) != reads(&is.settings)
        || writes(was) != writes(is)
        || rules(was) != rules(is)
}

/// Whether a service has to be started again to be as it is told. A component goes on by itself.
fn is_other(from: &Topology, to: &Topology, name: &str) -> bool {
    if from.component(name).is_some() && to.component(name).is_some() {
        return false;
    }
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
