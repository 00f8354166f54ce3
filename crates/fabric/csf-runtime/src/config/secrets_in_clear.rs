//! Where a configuration holds a secret that should be a reference, so that whoever shows it can leave that out.

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::secret::MARK;
use super::{Item, Location, Problem, Secret, Tree};
use crate::pack::Catalogue;

/// Deepest way through a schema.
const DEPTH_MAX: usize = 64;

/// The places of all values that stand where the options of their type declare a secret and that are no reference. It knows them by the
/// types: of an unknown type it finds none.
#[must_use]
pub fn secrets_in_clear(root: &Item, catalogue: &Catalogue) -> Vec<Location> {
    let mut found = Vec::new();
    for section in ["source", "service", "component"] {
        for item in root.at([section]).and_then(Item::table).into_iter().flat_map(|entries| entries.values()) {
            let Some(kind) = item.at(["type"]).and_then(Item::text) else { continue };
            let services = catalogue.services.get(kind).map(|kind| kind.schema);
            let components = catalogue.components.get(kind).map(|kind| kind.schema);
            for schema in services.into_iter().chain(components) {
                let mut generator = SchemaSettings::draft07().into_generator();
                let schema = schema(&mut generator).to_value();
                let definitions = generator.take_definitions(false);
                walk(item, &schema, &definitions, DEPTH_MAX, &mut found);
            }
        }
    }
    found
}

fn walk(item: &Item, schema: &Value, definitions: &Map<String, Value>, depth: usize, found: &mut Vec<Location>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    if schema[MARK] == true {
        if !is_reference(item) {
            found.push(item.location.clone());
        }
        return;
    }
    let name = schema["$ref"].as_str().and_then(|target| target.rsplit('/').next());
    if let Some(target) = name.and_then(|name| definitions.get(name)) {
        walk(item, target, definitions, depth, found);
    }
    for choice in ["allOf", "anyOf", "oneOf"].iter().filter_map(|key| schema[key].as_array()).flatten() {
        walk(item, choice, definitions, depth, found);
    }
    match &item.tree {
        // Where a list or a table with a secret in it belongs, a single value may be that secret.
        Tree::Leaf(_) if holds_secret(schema, definitions, &mut BTreeSet::new()) => found.push(item.location.clone()),
        Tree::Leaf(_) => {}
        Tree::Array(items) => {
            for item in items {
                walk(item, &schema["items"], definitions, depth, found);
            }
        }
        Tree::Table(entries) => {
            for (key, item) in entries {
                let property = schema["properties"].get(key).unwrap_or(&schema["additionalProperties"]);
                walk(item, property, definitions, depth, found);
            }
        }
    }
}

/// Whether a schema of an array or an object has a secret somewhere inside. Each definition is looked into once.
fn holds_secret<'a>(schema: &'a Value, definitions: &'a Map<String, Value>, seen: &mut BTreeSet<&'a str>) -> bool {
    let inside = ["items", "additionalProperties"].iter().filter_map(|key| schema.get(*key));
    let named = schema["properties"].as_object().into_iter().flat_map(|properties| properties.values());
    inside.chain(named).any(|inner| is_secret(inner, definitions, seen))
}

fn is_secret<'a>(schema: &'a Value, definitions: &'a Map<String, Value>, seen: &mut BTreeSet<&'a str>) -> bool {
    let name = schema["$ref"].as_str().and_then(|target| target.rsplit('/').next());
    let target = name.filter(|name| seen.insert(name)).and_then(|name| definitions.get(name));
    let choices = ["allOf", "anyOf", "oneOf"].iter().filter_map(|key| schema[key].as_array()).flatten();
    schema[MARK] == true
        || choices.chain(target).any(|inner| is_secret(inner, definitions, seen))
        || holds_secret(schema, definitions, seen)
}

fn is_reference(item: &Item) -> bool {
    let text = match item.table() {
        Some(entries) if entries.len() == 1 => item.at(["from"]).and_then(Item::text),
        Some(_) => None,
        None => item.text(),
    };
    text.is_some_and(|text| Secret::parse(text).is_some())
}

/// Marks the problems that stand on a line with one of these places, so that the line is not shown.
pub fn conceal(problems: &mut [Problem], places: &[Location]) {
    for problem in problems {
        let Some(location) = &problem.location else { continue };
        let (line, _) = location.line_column();
        let is_beside = |place: &&Location| {
            let (first, _) = place.line_column();
            let height = place.source.text.get(place.span.clone()).map_or(0, |text| text.matches('\n').count());
            *place.source == *location.source && (first..=first + height).contains(&line)
        };
        if places.iter().any(|place| is_beside(&place)) {
            problem.is_confidential = true;
        }
    }
}
