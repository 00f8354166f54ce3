//! The layers of a configuration, later wins: defaults, `csf.toml`, `csf.{environment}.toml`, `CSF_*` variables, flags.

use std::sync::Arc;

use super::{Item, Location, Problem, Source, Tree};

/// Deepest nesting of a key from the environment or a flag; in files TOML itself draws the line at 80.
const KEYS_MAX: usize = 64;

/// Layers being laid over each other.
#[derive(Debug)]
pub struct Layers {
    merged: Item,
    problems: Vec<Problem>,
}

impl Layers {
    /// Starts with the built-in defaults.
    #[must_use]
    pub fn new(defaults: &str) -> Self {
        let source = Arc::new(Source { name: "defaults".to_owned(), text: defaults.to_owned() });
        let mut layers = Self { merged: Item::empty(&source), problems: Vec::new() };
        layers.add(&source);
        layers
    }

    /// Lays a TOML text over what is there.
    pub fn add(&mut self, source: &Arc<Source>) {
        match Item::parse(source) {
            Ok(item) => self.merged.overlay(item),
            Err(mut problems) => self.problems.append(&mut problems),
        }
    }

    /// Lays `key.path = value` pairs over what is there; `value` is TOML, or a string when it is not.
    pub fn add_pairs(&mut self, name: &str, pairs: &[(Vec<String>, String)]) {
        for (path, value) in pairs {
            if path.len() > KEYS_MAX {
                let message = format!("a key from {name} has {} parts, expected at most {KEYS_MAX}", path.len());
                self.problems.push(Problem::new("CSF-0102", message));
                continue;
            }
            let text = format!("{} = {}", path.join("."), value);
            let start = text.len() - value.len();
            let source = Arc::new(Source { name: name.to_owned(), text });
            let location = Location::new(&source, start..source.text.len());
            let tree = toml::from_str::<toml::Table>(&format!("v = {value}"))
                .ok()
                .and_then(|mut table| table.remove("v"))
                .unwrap_or_else(|| toml::Value::String(value.clone()));
            let leaf = Item {
                tree: plain(tree, &location),
                key: Location::new(&source, 0..start.saturating_sub(3)),
                location,
            };
            self.merged.insert(path, leaf);
        }
    }

    /// The merged configuration and what could not be parsed.
    #[must_use]
    pub fn finish(self) -> (Item, Vec<Problem>) {
        (self.merged, self.problems)
    }
}

fn plain(value: toml::Value, location: &Location) -> Tree {
    let item = |value| Item { tree: plain(value, location), key: location.clone(), location: location.clone() };
    match value {
        toml::Value::Array(values) => Tree::Array(values.into_iter().map(item).collect()),
        toml::Value::Table(entries) => Tree::Table(entries.into_iter().map(|(k, v)| (k, item(v))).collect()),
        leaf => Tree::Leaf(leaf),
    }
}

/// The pairs that `CSF_*` variables stand for: `CSF_NODE__NAME=x` is `node.name = "x"` (two underscores between keys).
/// Variables without two underscores are the binary's own (such as `CSF_LOG`) and are left out.
pub fn environment_layer(variables: impl IntoIterator<Item = (String, String)>) -> Vec<(Vec<String>, String)> {
    let mut pairs: Vec<_> = variables
        .into_iter()
        .filter_map(|(name, value)| {
            let rest = name.strip_prefix("CSF_").or_else(|| name.strip_prefix("MS_FRAMEWORK_"))?;
            rest.contains("__").then(|| (rest.split("__").map(str::to_ascii_lowercase).collect(), value))
        })
        .collect();
    pairs.sort();
    pairs
}
