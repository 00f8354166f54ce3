//! The sections of a configuration as plain data: node, services, components, topics.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keys::{self, Key};
use super::supervision::{STOP_WITHIN, ServiceRestart, SupervisorSettings, place_of};
use super::{Item, Location, OfferSettings, Problem, ResilienceSettings, ServiceGuards, Tree};
use crate::requirement::PerformanceRequirements;

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: Location,
}

/// `[node]`.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSettings {
    /// Name shown to people.
    pub name: String,
    /// Address of the HTTP API; loopback only.
    pub listen: String,
    /// Journal directory, empty = chosen by the command.
    pub journal: String,
}

/// `[source.NAME]` or `[service.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSettings {
    /// Its name in the node.
    pub name: Located<String>,
    /// Its type, such as `avionics.ulog`.
    pub kind: Located<String>,
    /// Output port → topic.
    pub writes: BTreeMap<String, Located<String>>,
    /// Names that must run before it.
    pub after: Vec<Located<String>>,
    /// The `[supervisor.NAME]` it belongs to; one of its own when it names none.
    pub supervisor: Option<Located<String>>,
    /// When it is started again.
    pub restart: ServiceRestart,
    /// How long it may take to stop.
    pub stop_within: Duration,
    /// The guards around its outgoing calls.
    pub guards: ServiceGuards,
    /// What others may ask of it.
    pub offers: OfferSettings,
    /// Everything else, for the type's own configuration.
    pub options: Item,
}

/// How often a component may be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartSettings {
    /// Restarts allowed…
    pub at_most: u32,
    /// … within this time.
    pub within: Duration,
}

impl Default for RestartSettings {
    fn default() -> Self {
        Self { at_most: 5, within: Duration::from_secs(60) }
    }
}

/// `[component.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ComponentSettings {
    /// Its name in the node.
    pub name: Located<String>,
    /// Its type, such as `avionics.fusion`.
    pub kind: Located<String>,
    /// Topics it reads.
    pub reads: Vec<Located<String>>,
    /// Of those, the ones that close a cycle on purpose.
    pub feedback: Vec<Located<String>>,
    /// Output port → topic.
    pub writes: BTreeMap<String, Located<String>>,
    /// Names that must run before it.
    pub after: Vec<Located<String>>,
    /// The `[supervisor.NAME]` it belongs to; its dispatcher restarts it when it names none.
    pub supervisor: Option<Located<String>>,
    /// Restart budget. Of the supervisor, for components that name one.
    pub restart: RestartSettings,
    /// Where the budget is set, to refuse it for components that name a supervisor.
    pub budget_at: Option<Location>,
    /// How long a handler may take before it is given up; `None`: as long as it wants.
    pub stuck_after: Option<Duration>,
    /// What others may ask of it.
    pub offers: OfferSettings,
    /// Everything else, for the type's own configuration.
    pub options: Item,
}

impl ComponentSettings {
    /// Whether the other is the same state machine, wherever it is connected.
    #[must_use]
    pub fn is_same_machine(&self, other: &Self) -> bool {
        self.kind.value == other.kind.value && self.options.value() == other.options.value()
    }
}

impl ServiceSettings {
    /// Whether the other goes on where this one was: a source keeps its place under its name, also with other options.
    #[must_use]
    pub fn is_same_source(&self, other: &Self) -> bool {
        self.kind.value == other.kind.value
    }
}

/// `[topic."NAME"]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicSettings {
    /// Slots per lane.
    pub capacity: Option<usize>,
    /// Packets kept for late readers.
    pub history: Option<usize>,
    /// The guard around packets published from outside.
    pub guard: Option<Located<String>>,
    /// Where the section stands.
    pub at: Location,
}

/// A whole configuration, read but not yet checked against the packs.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `[node]`.
    pub node: NodeSettings,
    /// Sources and services, by name.
    pub services: Vec<ServiceSettings>,
    /// Components, by name.
    pub components: Vec<ComponentSettings>,
    /// Topic overrides, by name.
    pub topics: BTreeMap<String, TopicSettings>,
    /// Supervisors, by name.
    pub supervisors: Vec<SupervisorSettings>,
    /// All of it as TOML, for the journal: what reads it again comes to equal settings.
    pub text: String,
    /// Guards, by name.
    pub resilience: Vec<ResilienceSettings>,
    /// `[performance_requirements]`: what the bus must keep; nothing where there is no such section.
    pub performance: Option<PerformanceRequirements>,
}

impl Settings {
    /// Reads the sections and reports everything that does not fit.
    #[must_use]
    pub fn read(root: &Item) -> (Self, Vec<Problem>) {
        let mut reader = Reader { problems: Vec::new() };
        let settings = reader.settings(root);
        (settings, reader.problems)
    }
}

pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
}

impl Reader {
    fn settings(&mut self, root: &Item) -> Settings {
        self.known_keys(root, keys::ROOT, "section");
        let mut settings = Settings {
            node: self.node(root.at(["node"])),
            services: Vec::new(),
            components: Vec::new(),
            topics: BTreeMap::new(),
            supervisors: Vec::new(),
            text: toml::to_string(&root.value()).expect("what was read from TOML has a TOML form"),
            resilience: Vec::new(),
            performance: root.at(["performance_requirements"]).map(|item| self.performance(item)),
        };
        for (name, item) in self.entries(root.at(["resilience"])) {
            settings.resilience.push(self.resilience(&name, &item));
        }
        for (name, item) in self.entries(root.at(["supervisor"])) {
            settings.supervisors.push(self.supervisor(&name, &item));
        }
        for section in ["source", "service"] {
            for (name, item) in self.entries(root.at([section])) {
                if let Some(service) = self.service(&name, &item) {
                    settings.services.push(service);
                }
            }
        }
        for (name, item) in self.entries(root.at(["component"])) {
            if let Some(component) = self.component(&name, &item) {
                settings.components.push(component);
            }
        }
        for (name, item) in self.entries(root.at(["topic"])) {
            self.known_keys(&item, keys::TOPIC, "key");
            let topic = TopicSettings {
                capacity: self.number(&item, "capacity", keys::SLOTS),
                history: self.number(&item, "history", keys::HISTORY),
                guard: self.text(&item, "resilience"),
                at: item.key.clone(),
            };
            settings.topics.insert(name, topic);
        }
        settings
    }

    fn node(&mut self, item: Option<&Item>) -> NodeSettings {
        let mut node =
            NodeSettings { name: "csf".to_owned(), listen: "127.0.0.1:8080".to_owned(), journal: String::new() };
        let Some(item) = item else { return node };
        self.known_keys(item, keys::NODE, "key");
        for (key, slot) in [("name", &mut node.name), ("listen", &mut node.listen), ("journal", &mut node.journal)] {
            if let Some(text) = self.text(item, key) {
                *slot = text.value;
            }
        }
        node
    }

    /// A limit that is left out is one that everything keeps.
    fn performance(&mut self, item: &Item) -> PerformanceRequirements {
        if item.table().is_none() {
            self.wrong_kind(item, "a table such as { max_latency_us = 10 }");
        }
        self.known_keys(item, keys::PERFORMANCE, "key");
        let latency = self.number(item, "max_latency_us", keys::LATENCY_US);
        let rate = self.number(item, "min_throughput_msg_per_sec", keys::MSG_PER_SEC);
        PerformanceRequirements {
            max_latency_us: latency.map_or(u64::MAX, |us| us as u64),
            min_throughput_msg_per_sec: rate.map_or(0, |rate| rate as u64),
        }
    }

    fn service(&mut self, name: &str, item: &Item) -> Option<ServiceSettings> {
        Some(ServiceSettings {
            name: Located { value: name.to_owned(), at: item.key.clone() },
            kind: self.required_text(item, name, "type")?,
            writes: self.ports(item),
            after: self.texts(item, "after"),
            supervisor: self.text(item, "supervisor"),
            restart: self.service_restart(item),
            stop_within: self.duration(item, "stop_within").unwrap_or(STOP_WITHIN),
            guards: self.service_guards(item),
            offers: self.offers(item),
            options: rest(item, keys::SERVICE),
        })
    }

    fn component(&mut self, name: &str, item: &Item) -> Option<ComponentSettings> {
        Some(ComponentSettings {
            name: Located { value: name.to_owned(), at: item.key.clone() },
            kind: self.required_text(item, name, "type")?,
            reads: self.texts(item, "reads"),
            feedback: self.texts(item, "feedback"),
            writes: self.ports(item),
            after: self.texts(item, "after"),
            supervisor: self.text(item, "supervisor"),
            restart: self.restart(item),
            budget_at: item.at(["restart"]).and_then(|section| place_of(section, &["at_most", "within"])),
            stuck_after: self.stuck_after(item),
            offers: self.offers(item),
            options: rest(item, keys::COMPONENT),
        })
    }

    fn restart(&mut self, item: &Item) -> RestartSettings {
        let Some(section) = item.at(["restart"]) else {
            return RestartSettings::default();
        };
        self.known_keys(section, keys::RESTART, "key");
        self.budget(section)
    }

    fn entries(&mut self, section: Option<&Item>) -> Vec<(String, Item)> {
        let Some(section) = section else {
            return Vec::new();
        };
        let Some(entries) = section.table() else {
            self.wrong_kind(section, "a table");
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (name, item) in entries {
            if item.table().is_some() {
                tables.push((name.clone(), item.clone()));
            } else {
                self.wrong_kind(item, "a table");
            }
        }
        tables
    }

    fn ports(&mut self, item: &Item) -> BTreeMap<String, Located<String>> {
        let Some(section) = item.at(["writes"]) else {
            return BTreeMap::new();
        };
        let Some(entries) = section.table() else {
            self.wrong_kind(section, "a table such as { state = \"nav.state\" }");
            return BTreeMap::new();
        };
        let mut ports = BTreeMap::new();
        for (port, topic) in entries {
            match topic.text() {
                Some(text) => {
                    ports.insert(port.clone(), Located { value: text.to_owned(), at: topic.location.clone() });
                }
                None => self.wrong_kind(topic, "a topic name"),
            }
        }
        ports
    }

    pub(super) fn texts(&mut self, item: &Item, key: &str) -> Vec<Located<String>> {
        let Some(list) = item.at([key]) else {
            return Vec::new();
        };
        let Tree::Array(items) = &list.tree else {
            self.wrong_kind(list, "a list of names");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match item.text() {
                Some(text) => texts.push(Located { value: text.to_owned(), at: item.location.clone() }),
                None => self.wrong_kind(item, "a name"),
            }
        }
        texts
    }

    pub(super) fn text(&mut self, item: &Item, key: &str) -> Option<Located<String>> {
        let found = item.at([key])?;
        let Some(text) = found.text() else {
            self.wrong_kind(found, "a string");
            return None;
        };
        Some(Located { value: text.to_owned(), at: found.location.clone() })
    }

    fn required_text(&mut self, item: &Item, name: &str, key: &str) -> Option<Located<String>> {
        if item.at([key]).is_none() {
            self.problems.push(
                Problem::new("CSF-0113", format!("`{name}` has no `{key}`"))
                    .at(&item.key)
                    .help(format!("add `{key} = \"…\"`; `csf graph` of the demo shows an example")),
            );
        }
        self.text(item, key)
    }

    pub(super) fn number(&mut self, item: &Item, key: &str, (least, most): keys::Limits) -> Option<usize> {
        let found = item.at([key])?;
        let Tree::Leaf(toml::Value::Integer(number)) = &found.tree else {
            self.wrong_kind(found, "a whole number");
            return None;
        };
        match usize::try_from(*number) {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                let message = format!("`{key}` = {number} is outside {least}..={most}");
                self.problems.push(Problem::new("CSF-0104", message).at(&found.location));
                None
            }
        }
    }

    pub(super) fn known_keys(&mut self, item: &Item, known: &[Key], what: &str) {
        for (key, entry) in item.table().into_iter().flatten() {
            if !known.iter().any(|k| k.name == key) {
                let problem = Problem::new("CSF-0103", format!("unknown {what} `{key}`"))
                    .at(&entry.key)
                    .did_you_mean(key, known.iter().map(|k| k.name));
                self.problems.push(problem);
            }
        }
    }

    pub(super) fn wrong_kind(&mut self, item: &Item, expected: &str) {
        let message = format!("expected {expected}, found {}", item.kind());
        self.problems.push(Problem::new("CSF-0104", message).at(&item.location));
    }
}

/// The entries of a table that are not in `taken`.
fn rest(item: &Item, taken: &[Key]) -> Item {
    let mut rest = item.clone();
    if let Tree::Table(entries) = &mut rest.tree {
        entries.retain(|key, _| !taken.iter().any(|k| k.name == key));
    }
    rest
}
