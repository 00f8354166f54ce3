//! `[resilience.NAME]`, and where guards are attached.

use std::collections::BTreeMap;

use csf_resilience::{Policy, Section};

use super::settings::Reader;
use super::{Item, Located, Location, Problem, plain};

/// `[resilience.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ResilienceSettings {
    /// Its name in the node.
    pub name: String,
    /// Where the section stands.
    pub at: Location,
    /// What it does.
    pub policy: Policy,
}

/// The guards around a service's outgoing calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceGuards {
    /// `resilience = "NAME"`: of every call.
    pub every_call: Option<Located<String>>,
    /// `resilience = { CALL = "NAME" }`: of the calls named.
    pub by_call: BTreeMap<String, Located<String>>,
}

impl ServiceGuards {
    /// The names of all guards, with their places.
    pub fn names(&self) -> impl Iterator<Item = &Located<String>> {
        self.every_call.iter().chain(self.by_call.values())
    }
}

impl Reader {
    /// Every problem of the section, each at its place: unknown keys, wrong kinds, values out of range.
    pub(super) fn resilience(&mut self, name: &str, item: &Item) -> ResilienceSettings {
        let section = plain::read::<Section>(item);
        self.problems.extend(section.problems);
        let mut policy = Policy::default();
        match section.value.map(|value| value.resolve()) {
            Some(Ok(resolved)) => policy = resolved,
            Some(Err(problems)) => self.problems.extend(problems.into_iter().map(|problem| {
                let place = place(&section.item, &problem.key);
                Problem::new("CSF-0104", format!("`{}`: {}", problem.key, problem.message)).at(place).help(problem.help)
            })),
            None => {}
        }
        ResilienceSettings { name: name.to_owned(), at: item.key.clone(), policy }
    }

    pub(super) fn service_guards(&mut self, item: &Item) -> ServiceGuards {
        let mut guards = ServiceGuards::default();
        let Some(section) = item.at(["resilience"]) else { return guards };
        let located = |item: &Item| item.text().map(|t| Located { value: t.to_owned(), at: item.location.clone() });
        guards.every_call = located(section);
        match section.table() {
            Some(entries) => {
                for (call, item) in entries {
                    match located(item) {
                        Some(name) => drop(guards.by_call.insert(call.clone(), name)),
                        None => self.wrong_kind(item, "the name of a guard"),
                    }
                }
            }
            None if guards.every_call.is_none() => {
                self.wrong_kind(section, "the name of a guard, or a table such as { fetch = \"NAME\" }");
            }
            None => {}
        }
        guards
    }
}

/// Where the key of a problem stands, such as `fallback[0].cache.ttl`; the nearest thing above it when it is not there.
fn place<'a>(item: &'a Item, key: &str) -> &'a Location {
    let path = key.replace('[', ".").replace(']', "");
    let (mut at, mut place) = (item, &item.key);
    for key in path.split('.') {
        // A time may stand under a key that names its unit, `half_open_max_calls` under the name of FRM-112.
        let units = ["", "_ms", "_seconds"].map(|unit| format!("{key}{unit}"));
        let short = key.strip_suffix("_calls");
        let Some(found) = units.iter().map(String::as_str).chain(short).find_map(|key| at.at([key])) else { break };
        (at, place) = (found, &found.location);
    }
    place
}
