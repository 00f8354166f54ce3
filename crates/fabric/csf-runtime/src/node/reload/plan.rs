//! What a changed configuration means for a running node: a plan to be read before it is carried out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::turnover::{ServiceTurnover, Turnover};
use crate::config::Problem;
use crate::topology::Topology;

/// What is done with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanAction {
    /// It is new.
    Add,
    /// It goes on otherwise.
    Change,
    /// It goes.
    Remove,
}

/// A key that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChange {
    /// Below the part's section, dotted.
    pub key: String,
    /// As TOML; `None` where it was left to its default.
    pub from: Option<String>,
    /// As TOML; `None` where it is left to its default.
    pub to: Option<String>,
}

/// One part's share of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// What is done.
    pub action: PlanAction,
    /// `component`, `service`, `topic`, `supervisor`, or the section's name.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What changed of it.
    pub keys: Vec<KeyChange>,
    /// What that means, in words.
    pub effect: String,
}

/// What a reload will do, or did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadPlan {
    /// Part by part; empty when nothing changed.
    pub steps: Vec<PlanStep>,
    /// Components and services that are not touched.
    pub untouched: Vec<String>,
}

impl std::fmt::Display for ReloadPlan {
    /// One line per part, its changed keys below.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for step in &self.steps {
            let sign = match step.action {
                PlanAction::Add => '+',
                PlanAction::Change => '~',
                PlanAction::Remove => '-',
            };
            writeln!(f, "{sign} {} {}: {}", step.kind, step.name, step.effect)?;
            for KeyChange { key, from, to } in &step.keys {
                let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "(default)".to_owned());
                writeln!(f, "    {key}: {} -> {}", text(from), text(to))?;
            }
        }
        match self.untouched.len() {
            0 => Ok(()),
            1 => writeln!(f, "= {} is not touched", self.untouched[0]),
            count if self.steps.is_empty() => writeln!(f, "nothing changed; {count} parts go on"),
            count => writeln!(f, "= {count} others are not touched"),
        }
    }
}

/// A section's leaves, dotted path to TOML.
type Leaves = BTreeMap<String, String>;

/// Every section of a configuration by kind and name.
fn sections(text: &str) -> BTreeMap<(String, String), Leaves> {
    let mut sections = BTreeMap::new();
    let table: toml::Table = toml::from_str(text).unwrap_or_default();
    for (section, value) in table {
        let kind = if section == "source" { "service".to_owned() } else { section };
        let toml::Value::Table(entries) = value else { continue };
        if kind == "node" || kind == "performance_requirements" {
            sections.insert((kind, String::new()), leaves_of(&entries));
            continue;
        }
        for (name, entry) in entries {
            let leaves = entry.as_table().map(leaves_of).unwrap_or_default();
            sections.insert((kind.clone(), name), leaves);
        }
    }
    sections
}

fn leaves_of(table: &toml::Table) -> Leaves {
    let mut leaves = Leaves::new();
    collect(table, "", &mut leaves);
    leaves
}

fn collect(table: &toml::Table, path: &str, leaves: &mut Leaves) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            toml::Value::Table(inner) => collect(inner, &path, leaves),
            value => drop(leaves.insert(path, value.to_string())),
        }
    }
}

/// What differs between two sections; an absent one has no keys.
fn keys(from: Option<&Leaves>, to: Option<&Leaves>) -> Vec<KeyChange> {
    let none = Leaves::new();
    let (from, to) = (from.unwrap_or(&none), to.unwrap_or(&none));
    let all: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let changed = all.into_iter().filter(|key| from.get(*key) != to.get(*key));
    changed.map(|key| KeyChange { key: key.clone(), from: from.get(key).cloned(), to: to.get(key).cloned() }).collect()
}

impl ReloadPlan {
    /// The plan from one configuration to another, or what of it a running node cannot do.
    pub(super) fn between(
        from: &Topology,
        to: &Topology,
        turnover: &Turnover,
        services: &ServiceTurnover,
    ) -> Result<Self, Vec<Problem>> {
        let (old, new) = (sections(&from.settings.text), sections(&to.settings.text));
        let mut planner = Planner { plan: Self::default(), problems: Vec::new() };
        let all: BTreeSet<&(String, String)> = old.keys().chain(new.keys()).collect();
        for section in all {
            let (was, is) = (old.get(section), new.get(section));
            let changed = keys(was, is);
            let action = match (was, is) {
                (None, _) => PlanAction::Add,
                (_, None) => PlanAction::Remove,
                _ => PlanAction::Change,
            };
            let (kind, name) = (section.0.as_str(), section.1.as_str());
            match kind {
                "component" => planner.component(name, action, changed, turnover, services),
                "service" => planner.service(name, action, changed, services),
                "topic" if !changed.is_empty() => planner.topic_section(from, to, name, action, changed),
                "supervisor" if !changed.is_empty() => {
                    planner.step(action, kind, name, changed, "its members are started again below it");
                }
                "resilience" if !changed.is_empty() => {
                    planner.step(action, kind, name, changed, "its limits hold from the next call on");
                }
                "performance_requirements" if !changed.is_empty() => {
                    planner.step(action, kind, "bus", changed, "judged so from now on");
                }
                "topic" | "supervisor" | "resilience" | "performance_requirements" => {}
                _ => planner.fixed(kind, name, &changed),
            }
        }
        for name in to.topics.keys().filter(|name| !from.topics.contains_key(*name)) {
            planner.step(PlanAction::Add, "topic", name, Vec::new(), "declared and recorded");
        }
        for name in from.topics.keys().filter(|name| !to.topics.contains_key(*name)) {
            planner.step(PlanAction::Remove, "topic", name, Vec::new(), "nobody writes it any more; its record stays");
        }
        if planner.problems.is_empty() { Ok(planner.plan) } else { Err(planner.problems) }
    }
}

/// What a change of [`is_offer`] keys does.
const OFFERED: &str = "goes on, registered anew with what it offers now";

fn is_offer(change: &KeyChange) -> bool {
    change.key == "offers" || change.key.split('.').next() == Some("promises")
}

struct Planner {
    plan: ReloadPlan,
    problems: Vec<Problem>,
}

impl Planner {
    fn step(&mut self, action: PlanAction, kind: &str, name: &str, keys: Vec<KeyChange>, effect: impl Into<String>) {
        let (kind, name, effect) = (kind.to_owned(), name.to_owned(), effect.into());
        self.plan.steps.push(PlanStep { action, kind, name, keys, effect });
    }

    fn component(
        &mut self,
        name: &str,
        action: PlanAction,
        keys: Vec<KeyChange>,
        turnover: &Turnover,
        services: &ServiceTurnover,
    ) {
        let effect = match action {
            PlanAction::Add => "started".to_owned(),
            PlanAction::Remove => "stopped; its state goes with it".to_owned(),
            PlanAction::Change if keys.is_empty() && services.restarts(name) => {
                "started again with its supervisor, with its state".to_owned()
            }
            PlanAction::Change if keys.is_empty() => {
                self.plan.untouched.push(name.to_owned());
                return;
            }
            PlanAction::Change if keys.iter().all(|change| change.key == "supervisor") => {
                "goes on with its state below another supervisor".to_owned()
            }
            PlanAction::Change => match turnover.altered(name) {
                Some(altered) if !altered.is_same_machine => {
                    "a new instance, which takes the state over where its type can, else starts anew".to_owned()
                }
                Some(altered) if altered.is_connected_otherwise => "goes on with its state, connected anew".to_owned(),
                Some(_) => "goes on under the new rules".to_owned(),
                None if keys.iter().any(is_offer) => OFFERED.to_owned(),
                None => "from the next start on".to_owned(),
            },
        };
        self.step(action, "component", name, keys, effect);
    }

    fn service(&mut self, name: &str, action: PlanAction, keys: Vec<KeyChange>, services: &ServiceTurnover) {
        let restarts = services.restarts(name);
        let effect = match action {
            PlanAction::Add => "started",
            PlanAction::Remove => "stopped",
            PlanAction::Change if restarts && keys.is_empty() => "stopped and started again with its supervisor",
            PlanAction::Change if restarts => "stopped and started again; a source goes on where it was",
            PlanAction::Change if keys.is_empty() => {
                self.plan.untouched.push(name.to_owned());
                return;
            }
            PlanAction::Change if keys.iter().any(|change| change.key.starts_with("resilience")) => {
                "guarded otherwise from its next call on"
            }
            PlanAction::Change if keys.iter().any(is_offer) => OFFERED,
            PlanAction::Change => "from the next start on",
        };
        self.step(action, "service", name, keys, effect);
    }

    /// The lanes of a topic are there, with their slots.
    fn topic_section(&mut self, from: &Topology, to: &Topology, name: &str, action: PlanAction, keys: Vec<KeyChange>) {
        if let (Some(was), Some(is)) = (from.topics.get(name), to.topics.get(name))
            && (was.capacity, was.history) != (is.capacity, is.history)
        {
            let fixed: Vec<KeyChange> = keys.into_iter().filter(|change| change.key != "resilience").collect();
            self.fixed("topic", name, &fixed);
        } else {
            self.step(action, "topic", name, keys, "guarded so from the next packet on");
        }
    }

    /// What cannot change while the node runs.
    fn fixed(&mut self, kind: &str, name: &str, keys: &[KeyChange]) {
        for key in keys {
            let section = if name.is_empty() { kind.to_owned() } else { format!("{kind}.\"{name}\"") };
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "its default".to_owned());
            let (from, to) = (text(&key.from), text(&key.to));
            let message = format!("`{section}.{}` cannot change from {from} to {to} while the node runs", key.key);
            self.problems
                .push(Problem::new("CSF-0117", message).help("start the node again, or take this change back"));
        }
    }
}
