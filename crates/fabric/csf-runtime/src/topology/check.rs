//! Checks a configuration against what the packs registered; every problem is reported at once.

use std::collections::{BTreeMap, BTreeSet};

use csf_bus::TopicSpec;
use csf_core::MessageType;

use super::order::find_cycle;
use super::start_levels;
use crate::config::{ComponentSettings, Located, Problem, ServiceSettings, Settings};
use crate::pack::{Catalogue, ComponentFactory, ComponentType, OutputPort, ServiceFactory, ServiceType};

/// A component ready to be made.
#[derive(Clone)]
pub struct ComponentNode {
    /// As configured.
    pub settings: ComponentSettings,
    /// Its type.
    pub kind: ComponentType,
    /// Makes fresh instances.
    pub factory: ComponentFactory,
}

/// A service ready to be made.
#[derive(Clone)]
pub struct ServiceNode {
    /// As configured.
    pub settings: ServiceSettings,
    /// Its type.
    pub kind: ServiceType,
    /// Makes fresh instances.
    pub factory: ServiceFactory,
}

/// A configuration that passed every check.
#[derive(Clone)]
pub struct Topology {
    /// Node-wide settings.
    pub settings: Settings,
    /// Components; the index is their number in the delivery log.
    pub components: Vec<ComponentNode>,
    /// Services.
    pub services: Vec<ServiceNode>,
    /// Topics by name.
    pub topics: BTreeMap<String, TopicSpec>,
    /// Names in start order, parallel inside a level.
    pub levels: Vec<Vec<String>>,
}

impl Topology {
    /// Checks settings against the catalogue.
    ///
    /// # Errors
    /// All problems found.
    pub fn check(settings: Settings, catalogue: &Catalogue) -> Result<Self, Vec<Problem>> {
        let mut checker =
            Checker { catalogue, problems: Vec::new(), topics: BTreeMap::new(), writers: BTreeMap::new() };
        let topology = checker.run(settings);
        match topology {
            Some(topology) if checker.problems.is_empty() => Ok(topology),
            _ => Err(checker.problems),
        }
    }

    /// The same topology with every service replaced by its twin in a simulated world.
    ///
    /// # Errors
    /// The services that have none, each with its place.
    pub fn simulated(mut self) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        for service in &mut self.services {
            let (name, kind) = (&service.settings.name, &service.kind);
            match kind.simulated.as_ref().map(|make| make(&service.settings.options)) {
                Some(Ok(factory)) => service.factory = factory,
                Some(Err(mut more)) => problems.append(&mut more),
                None => {
                    let message = format!("`{}` of type `{}` cannot be simulated", name.value, kind.name);
                    let help = "its type has no twin for a simulated world; leave the service out of the configuration";
                    problems.push(Problem::new("CSF-0116", message).at(&name.at).help(help));
                }
            }
        }
        if problems.is_empty() { Ok(self) } else { Err(problems) }
    }

    /// Components in order.
    pub fn component_names(&self) -> impl Iterator<Item = String> {
        self.components.iter().map(|c| c.settings.name.value.clone())
    }

    /// A component by name.
    #[must_use]
    pub fn component(&self, name: &str) -> Option<&ComponentNode> {
        self.components.iter().find(|c| c.settings.name.value == name)
    }

    /// A service by name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceNode> {
        self.services.iter().find(|s| s.settings.name.value == name)
    }

    /// Who writes a topic.
    pub fn writers<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a str> {
        let services = self.services.iter().map(|s| (&s.settings.name.value, &s.settings.writes));
        let components = self.components.iter().map(|c| (&c.settings.name.value, &c.settings.writes));
        services
            .chain(components)
            .filter(move |(_, writes)| writes.values().any(|t| t.value == topic))
            .map(|(name, _)| name.as_str())
    }

    /// Which components read a topic.
    pub fn readers<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a str> {
        self.components
            .iter()
            .filter(move |c| c.settings.reads.iter().any(|t| t.value == topic))
            .map(|c| c.settings.name.value.as_str())
    }
}

struct Checker<'a> {
    catalogue: &'a Catalogue,
    problems: Vec<Problem>,
    topics: BTreeMap<String, TopicSpec>,
    writers: BTreeMap<String, BTreeSet<String>>,
}

impl Checker<'_> {
    fn run(&mut self, settings: Settings) -> Option<Topology> {
        self.unique_names(&settings);
        self.supervisors(&settings);
        self.problems.extend(super::guards::check(&settings, self.catalogue));
        let services: Vec<_> = settings.services.iter().filter_map(|s| self.service(s)).collect();
        let components: Vec<_> = settings.components.iter().filter_map(|c| self.component(c)).collect();
        for component in &components {
            self.reads(component);
        }
        self.topic_overrides(&settings);
        self.data_cycles(&components);
        let levels = self.start_order(&settings)?;
        Some(Topology { settings, components, services, topics: std::mem::take(&mut self.topics), levels })
    }

    fn unique_names(&mut self, settings: &Settings) {
        let mut seen = BTreeSet::new();
        let names = settings.services.iter().map(|s| &s.name).chain(settings.components.iter().map(|c| &c.name));
        for name in names {
            if !seen.insert(name.value.clone()) {
                let problem = Problem::new("CSF-0109", format!("`{}` is the name of two things", name.value))
                    .at(&name.at)
                    .help("names of sources, services and components share one space; rename one");
                self.problems.push(problem);
            }
        }
    }

    /// Every named supervisor exists, supervises something, and who names it leaves budget and pauses to it.
    fn supervisors(&mut self, settings: &Settings) {
        let names: Vec<&str> = settings.supervisors.iter().map(|s| s.name.as_str()).collect();
        let services = settings.services.iter().map(|s| (&s.name, &s.supervisor, &s.restart.budget_at));
        let components = settings.components.iter().map(|c| (&c.name, &c.supervisor, &c.budget_at));
        let members: Vec<_> = services.chain(components).collect();
        let above = settings.supervisors.iter().filter_map(|s| s.above.as_ref());
        let named: Vec<&Located<String>> = members.iter().filter_map(|m| m.1.as_ref()).chain(above).collect();
        for named in named.iter().filter(|named| !names.contains(&named.value.as_str())) {
            let problem = Problem::new("CSF-0114", format!("no supervisor is called `{}`", named.value))
                .at(&named.at)
                .did_you_mean(&named.value, names.iter().copied())
                .help(format!("add a section [supervisor.{}]", named.value));
            self.problems.push(problem);
        }
        for (name, supervisor, budget_at) in &members {
            let (Some(supervisor), Some(at)) = (supervisor, budget_at) else { continue };
            let message = format!("`{}` has a restart budget of its own", name.value);
            let help = format!(
                "the children of one supervisor share its budget: move this to [supervisor.{}]",
                supervisor.value
            );
            self.problems.push(Problem::new("CSF-0115", message).at(at).help(help));
        }
        for supervisor in &settings.supervisors {
            let name = &supervisor.name;
            if !named.iter().any(|named| named.value == *name) {
                let problem = Problem::new("CSF-0114", format!("supervisor `{name}` supervises nothing"))
                    .at(&supervisor.at)
                    .help(format!("give a service or component `supervisor = \"{name}\"`, or remove the section"));
                self.problems.push(problem);
            }
            if let Some((clash, ..)) = members.iter().find(|(member, ..)| member.value == *name) {
                let problem = Problem::new("CSF-0109", format!("`{name}` is the name of two things"))
                    .at(&clash.at)
                    .help("services, components and supervisors are shown in one tree by name; rename one of the two");
                self.problems.push(problem);
            }
            if let (Some(above), Some(at)) = (&supervisor.above, &supervisor.when_spent_at) {
                let problem =
                    Problem::new("CSF-0115", format!("`{name}` is below `{}` and has a `when_spent`", above.value))
                        .at(at)
                        .help("its spent budget is a failure of the one above; say `when_spent` at the outermost");
                self.problems.push(problem);
            }
        }
        self.supervisor_cycles(settings);
    }

    /// Supervisors that are above themselves, each circle once.
    fn supervisor_cycles(&mut self, settings: &Settings) {
        let above = |name: &str| settings.supervisors.iter().find(|s| s.name == name)?.above.as_ref();
        let mut told: BTreeSet<&str> = BTreeSet::new();
        for supervisor in &settings.supervisors {
            let mut way = vec![supervisor.name.as_str()];
            while let Some(next) = above(way[way.len() - 1]).filter(|next| !way.contains(&next.value.as_str())) {
                way.push(&next.value);
            }
            let closing = above(way[way.len() - 1]).filter(|next| next.value == supervisor.name);
            if let Some(closing) = closing
                && !told.contains(supervisor.name.as_str())
            {
                told.extend(&way);
                let circle = way.iter().chain([&supervisor.name.as_str()]).copied().collect::<Vec<_>>().join(" → ");
                let problem = Problem::new("CSF-0114", format!("supervisors are above themselves: {circle}"))
                    .at(&closing.at)
                    .help("remove one of these `supervisor` keys: the outermost has none");
                self.problems.push(problem);
            }
        }
    }

    fn service(&mut self, settings: &ServiceSettings) -> Option<ServiceNode> {
        let Some(kind) = self.catalogue.services.get(&settings.kind.value) else {
            self.unknown_type("service", &settings.kind, self.catalogue.services.keys());
            return None;
        };
        self.outputs(&settings.name.value, &settings.writes, &kind.writes);
        super::offers::check(&settings.name, &kind.offers, &settings.offers, &mut self.problems);
        match (kind.make)(&settings.options) {
            Ok(factory) => Some(ServiceNode { settings: settings.clone(), kind: kind.clone(), factory }),
            Err(mut problems) => {
                self.problems.append(&mut problems);
                None
            }
        }
    }

    fn component(&mut self, settings: &ComponentSettings) -> Option<ComponentNode> {
        let Some(kind) = self.catalogue.components.get(&settings.kind.value) else {
            self.unknown_type("component", &settings.kind, self.catalogue.components.keys());
            return None;
        };
        self.outputs(&settings.name.value, &settings.writes, &kind.writes);
        super::offers::check(&settings.name, &kind.offers, &settings.offers, &mut self.problems);
        match (kind.make)(&settings.options) {
            Ok(factory) => Some(ComponentNode { settings: settings.clone(), kind: kind.clone(), factory }),
            Err(mut problems) => {
                self.problems.append(&mut problems);
                None
            }
        }
    }

    fn unknown_type<'k>(&mut self, what: &str, kind: &Located<String>, known: impl Iterator<Item = &'k String>) {
        let problem = Problem::new("CSF-0105", format!("no pack brings the {what} type `{}`", kind.value))
            .at(&kind.at)
            .did_you_mean(&kind.value, known.map(String::as_str));
        self.problems.push(problem);
    }

    fn outputs(&mut self, owner: &str, writes: &BTreeMap<String, Located<String>>, ports: &[OutputPort]) {
        for (port, topic) in writes {
            let Some(output) = ports.iter().find(|p| p.port == port) else {
                let problem = Problem::new("CSF-0112", format!("`{owner}` has no output `{port}`"))
                    .at(&topic.at)
                    .did_you_mean(port, ports.iter().map(|p| p.port));
                self.problems.push(problem);
                continue;
            };
            self.writers.entry(topic.value.clone()).or_default().insert(owner.to_owned());
            self.topic(topic, output);
        }
    }

    fn topic(&mut self, topic: &Located<String>, output: &OutputPort) {
        let spec = (output.spec)(&topic.value);
        let first = self.topics.entry(topic.value.clone()).or_insert_with(|| spec.clone());
        if first.message != spec.message {
            let (one, two) = (first.message.full_name(), spec.message.full_name());
            let message = format!("topic `{}` would carry both {one} and {two}", topic.value);
            self.problems
                .push(Problem::new("CSF-0108", message).at(&topic.at).help("a topic has one type; use two topics"));
        }
    }

    fn reads(&mut self, component: &ComponentNode) {
        for topic in &component.settings.reads {
            let Some(spec) = self.topics.get(&topic.value) else {
                let message = format!("topic `{}` is read, but nothing writes it", topic.value);
                let problem = Problem::new("CSF-0107", message)
                    .at(&topic.at)
                    .did_you_mean(&topic.value, self.topics.keys().map(String::as_str));
                self.problems.push(problem);
                continue;
            };
            let understands = &component.kind.reads;
            if !understands.is_empty() && !understands.contains(&spec.message) {
                let names: Vec<String> = understands.iter().map(MessageType::full_name).collect();
                let message = format!(
                    "`{}` does not understand {} on `{}`",
                    component.settings.name.value,
                    spec.message.full_name(),
                    topic.value
                );
                let help = format!("{} reads {}", component.kind.name, names.join(", "));
                self.problems.push(Problem::new("CSF-0108", message).at(&topic.at).help(help));
            }
        }
        for edge in &component.settings.feedback {
            if !component.settings.reads.iter().any(|t| t.value == edge.value) {
                let message = format!("feedback edge `{}` is not among `reads`", edge.value);
                let known = component.settings.reads.iter().map(|t| t.value.as_str());
                self.problems.push(Problem::new("CSF-0107", message).at(&edge.at).did_you_mean(&edge.value, known));
            }
        }
    }

    fn topic_overrides(&mut self, settings: &Settings) {
        for (name, section) in &settings.topics {
            let Some(spec) = self.topics.get_mut(name) else {
                let problem = Problem::new("CSF-0107", format!("topic `{name}` is configured, but nothing writes it"))
                    .at(&section.at)
                    .did_you_mean(name, self.topics.keys().map(String::as_str));
                self.problems.push(problem);
                continue;
            };
            spec.capacity = section.capacity.or(spec.capacity).map(|slots| slots.max(2 * csf_bus::CREDIT));
            spec.history = section.history.unwrap_or(spec.history);
        }
    }

    /// Components that reach themselves over topics, feedback edges left out.
    fn data_cycles(&mut self, components: &[ComponentNode]) {
        let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for component in components {
            let settings = &component.settings;
            let plain = settings.reads.iter().filter(|t| !settings.feedback.iter().any(|f| f.value == t.value));
            let sources: BTreeSet<&str> = plain
                .filter_map(|t| self.writers.get(&t.value))
                .flatten()
                .map(String::as_str)
                .filter(|writer| components.iter().any(|c| c.settings.name.value == **writer))
                .collect();
            edges.insert(&settings.name.value, sources);
        }
        // Remove what no cycle can contain, from the sources on.
        loop {
            let free: Vec<&str> = edges.iter().filter(|(_, from)| from.is_empty()).map(|(name, _)| *name).collect();
            if free.is_empty() {
                break;
            }
            for name in free {
                edges.remove(name);
                for from in edges.values_mut() {
                    from.remove(name);
                }
            }
        }
        if edges.is_empty() {
            return;
        }
        let members = find_cycle(&edges);
        let last = components.iter().find(|c| members.last().is_some_and(|m| *m == c.settings.name.value));
        let message =
            format!("data flows in a cycle: {}", members.iter().rev().cloned().collect::<Vec<_>>().join(" → "));
        let mut problem = Problem::new("CSF-0111", message)
            .help("name the topic that closes the cycle in that component's `feedback = [\"…\"]`");
        if let Some(component) = last {
            problem = problem.at(&component.settings.name.at);
        }
        self.problems.push(problem);
    }

    fn start_order(&mut self, settings: &Settings) -> Option<Vec<Vec<String>>> {
        let mut after: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let services = settings.services.iter().map(|s| (&s.name, &s.after));
        let components = settings.components.iter().map(|c| (&c.name, &c.after));
        let all: Vec<_> = services.chain(components).collect();
        for (name, needs) in &all {
            after.insert(name.value.clone(), needs.iter().map(|n| n.value.clone()).collect());
            for need in *needs {
                if !all.iter().any(|(n, _)| n.value == need.value) {
                    let problem = Problem::new("CSF-0106", format!("nothing is called `{}`", need.value))
                        .at(&need.at)
                        .did_you_mean(&need.value, all.iter().map(|(n, _)| n.value.as_str()));
                    self.problems.push(problem);
                }
            }
        }
        match start_levels(&after) {
            Ok(levels) => Some(levels),
            Err(cycle) => {
                let place = cycle.members.first().and_then(|m| all.iter().find(|(n, _)| n.value == *m));
                let mut problem =
                    Problem::new("CSF-0110", cycle.to_string()).help("remove one of these `after` entries");
                if let Some((name, _)) = place {
                    problem = problem.at(&name.at);
                }
                self.problems.push(problem);
                None
            }
        }
    }
}
