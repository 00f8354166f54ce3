//! The supervisors below the root, made of a configuration: one per `[supervisor.NAME]` that supervises something, and one per service that
//! names none.

use std::collections::BTreeMap;

use super::services::ROOT;
use crate::config::{RestartSettings, SupervisorSettings, WhenSpent};
use crate::supervise::{Backoff, Flags, Strategy};
use crate::topology::Topology;

/// One supervisor below the root.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) strategy: Strategy,
    pub(super) budget: RestartSettings,
    pub(super) backoff: Option<Backoff>,
    pub(super) when_spent: WhenSpent,
    /// The supervisor above it, where that is not the root.
    pub(super) above: Option<String>,
    /// Its children, in start order.
    pub(super) members: Vec<Member>,
}

/// What a supervisor starts.
#[derive(Clone, PartialEq)]
pub(super) enum Member {
    Service(String),
    Component(String),
    Group(String),
}

impl Member {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Service(name) | Self::Component(name) | Self::Group(name) => name,
        }
    }
}

impl Group {
    fn shared(settings: &SupervisorSettings) -> Self {
        Self {
            name: settings.name.clone(),
            strategy: settings.strategy,
            budget: settings.budget,
            backoff: settings.backoff,
            when_spent: settings.when_spent,
            above: settings.above.as_ref().map(|above| above.value.clone()),
            members: Vec::new(),
        }
    }

    /// Whether the other deals with failures alike.
    pub(super) fn has_same_rules(&self, other: &Self) -> bool {
        let rules = |group: &Self| {
            let Self { strategy, budget, backoff, when_spent, .. } = group;
            (*strategy, *budget, *backoff, *when_spent)
        };
        rules(self) == rules(other) && self.name == other.name
    }

    pub(super) fn flags(&self) -> Flags {
        Flags {
            strategy: self.strategy,
            intensity: self.budget.at_most,
            // Budgets are counted in whole seconds.
            period_s: self.budget.within.as_secs_f64().ceil().max(1.0) as u64,
            backoff: self.backoff,
            ..Flags::default()
        }
    }
}

/// All supervisors below the root.
pub(super) struct Groups(Vec<Group>);

impl Groups {
    /// Children stand in start order, supervisors where their first services or components do.
    pub(super) fn of(topology: &Topology) -> Self {
        let mut groups = Self(Vec::new());
        for name in topology.levels.iter().flatten() {
            if let Some(service) = topology.service(name) {
                let supervisor = service.settings.supervisor.as_ref();
                let shared = supervisor.and_then(|s| groups.find_or_add(topology, &s.value));
                let group = shared.unwrap_or_else(|| {
                    groups.0.push(Group {
                        name: name.clone(),
                        strategy: Strategy::OneForOne,
                        budget: service.settings.restart.budget,
                        backoff: service.settings.restart.backoff,
                        when_spent: WhenSpent::GiveUp,
                        above: None,
                        members: Vec::new(),
                    });
                    groups.0.len() - 1
                });
                groups.0[group].members.push(Member::Service(name.clone()));
            } else if let Some(supervisor) = topology.component(name).and_then(|c| c.settings.supervisor.as_ref())
                && let Some(group) = groups.find_or_add(topology, &supervisor.value)
            {
                groups.0[group].members.push(Member::Component(name.clone()));
            }
        }
        groups
    }

    /// The place of a supervisor, which those above it have been told of. A checked configuration has no circle.
    fn find_or_add(&mut self, topology: &Topology, name: &str) -> Option<usize> {
        if let Some(at) = self.0.iter().position(|group| group.name == name) {
            return Some(at);
        }
        let group = Group::shared(topology.settings.supervisors.iter().find(|s| s.name == name)?);
        if let Some(above) = group.above.clone() {
            let above = self.find_or_add(topology, &above)?;
            self.0[above].members.push(Member::Group(name.to_owned()));
        }
        self.0.push(group);
        Some(self.0.len() - 1)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Group> {
        self.0.iter().find(|group| group.name == name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.0.iter()
    }

    /// Those right below the root, in start order.
    pub(super) fn outermost(&self) -> impl Iterator<Item = &Group> {
        self.0.iter().filter(|group| group.above.is_none())
    }

    /// A supervisor and all below it, each before its children.
    pub(super) fn tree<'a>(&'a self, group: &'a Group) -> Vec<&'a Group> {
        let below = group.members.iter().filter_map(|member| match member {
            Member::Group(name) => self.get(name),
            _ => None,
        });
        std::iter::once(group).chain(below.flat_map(|below| self.tree(below))).collect()
    }

    /// The services and components of a supervisor and of all below it.
    pub(super) fn parts<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = &'a Member> {
        let members = self.tree(group).into_iter().flat_map(|group| &group.members);
        members.filter(|member| !matches!(member, Member::Group(_)))
    }

    /// The outermost supervisor above each service and component.
    pub(super) fn outermost_of(&self) -> BTreeMap<&str, &str> {
        let parts = |group| self.parts(group).map(move |part: &Member| (part.name(), group.name.as_str()));
        self.outermost().flat_map(parts).collect()
    }

    /// Where a supervisor is, from the root.
    pub(super) fn path(&self, group: &Group) -> String {
        let above = group.above.as_ref().and_then(|above| self.get(above));
        format!("{}/{}", above.map_or(ROOT.to_owned(), |above| self.path(above)), group.name)
    }
}
