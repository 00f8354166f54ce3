//! A configuration value that remembers where it was written.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::{Location, Problem, Source};

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The value.
    pub tree: Tree,
    /// Where the value stands.
    pub location: Location,
    /// Where its key stands; the value's place for array elements.
    pub key: Location,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// String, number, boolean or date.
    Leaf(toml::Value),
    /// Elements in order.
    Array(Vec<Item>),
    /// Entries by key.
    Table(BTreeMap<String, Item>),
}

impl Item {
    /// Parses a TOML document.
    ///
    /// # Errors
    /// One problem per syntax error.
    pub fn parse(source: &Arc<Source>) -> Result<Self, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        if !errors.is_empty() {
            return Err(errors.iter().map(|e| syntax_problem(source, e)).collect());
        }
        let span = table.span();
        let location = Location::new(source, span);
        Ok(Self { tree: from_table(source, table.get_ref()), key: location.clone(), location })
    }

    /// An empty table of `source`.
    #[must_use]
    pub fn empty(source: &Arc<Source>) -> Self {
        let location = Location::new(source, 0..0);
        Self { tree: Tree::Table(BTreeMap::new()), key: location.clone(), location }
    }

    /// The entries, when this is a table.
    #[must_use]
    pub fn table(&self) -> Option<&BTreeMap<String, Item>> {
        match &self.tree {
            Tree::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The text, when this is a string.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.tree {
            Tree::Leaf(toml::Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// What kind of value this is, for error texts.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.tree {
            Tree::Leaf(value) => match value.type_str() {
                "integer" => "an integer",
                "string" => "a string",
                "boolean" => "a boolean",
                "float" => "a float",
                "datetime" => "a date",
                other => other,
            },
            Tree::Array(_) => "an array",
            Tree::Table(_) => "a table",
        }
    }

    /// The plain value.
    #[must_use]
    pub fn value(&self) -> toml::Value {
        match &self.tree {
            Tree::Leaf(value) => value.clone(),
            Tree::Array(items) => toml::Value::Array(items.iter().map(Self::value).collect()),
            Tree::Table(entries) => toml::Value::Table(entries.iter().map(|(k, v)| (k.clone(), v.value())).collect()),
        }
    }

    /// Lays `other` over this: tables merge, everything else is replaced.
    pub fn overlay(&mut self, other: Self) {
        match (&mut self.tree, other.tree) {
            (Tree::Table(mine), Tree::Table(theirs)) => {
                for (key, item) in theirs {
                    match mine.get_mut(&key) {
                        Some(existing) => existing.overlay(item),
                        None => {
                            mine.insert(key, item);
                        }
                    }
                }
            }
            (_, tree) => *self = Self { tree, location: other.location, key: other.key },
        }
    }

    /// The item at a path of keys.
    #[must_use]
    pub fn at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Self> {
        path.into_iter().try_fold(self, |item, key| match &item.tree {
            Tree::Table(entries) => entries.get(key),
            Tree::Array(items) => items.get(key.parse::<usize>().ok()?),
            Tree::Leaf(_) => None,
        })
    }

    /// Inserts a value at a path of keys, making tables on the way.
    pub fn insert(&mut self, path: &[String], leaf: Self) {
        let Some((first, rest)) = path.split_first() else {
            *self = leaf;
            return;
        };
        if !matches!(self.tree, Tree::Table(_)) {
            self.tree = Tree::Table(BTreeMap::new());
        }
        if let Tree::Table(entries) = &mut self.tree {
            let child = entries.entry(first.clone()).or_insert_with(|| Self::empty(&leaf.location.source));
            child.location = leaf.location.clone();
            child.key = leaf.key.clone();
            child.insert(rest, leaf);
        }
    }

    /// Every leaf with its dotted path, in order.
    #[must_use]
    pub fn leaves(&self) -> Vec<(String, &Self)> {
        let mut out = Vec::new();
        self.collect_leaves("", &mut out);
        out
    }

    fn collect_leaves<'a>(&'a self, path: &str, out: &mut Vec<(String, &'a Self)>) {
        match &self.tree {
            Tree::Table(entries) if !entries.is_empty() => {
                for (key, item) in entries {
                    let key = if key.contains('.') { format!("\"{key}\"") } else { key.clone() };
                    let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                    item.collect_leaves(&path, out);
                }
            }
            _ => out.push((path.to_owned(), self)),
        }
    }
}

fn syntax_problem(source: &Arc<Source>, error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or(0..0);
    Problem::new("CSF-0102", format!("not valid TOML: {}", error.message()))
        .at(&Location::new(source, span))
        .help("run `csf explain CSF-0102` for the usual causes")
}

fn from_table(source: &Arc<Source>, table: &DeTable<'_>) -> Tree {
    let entries = table.iter().map(|(key, value)| {
        let item = Item {
            tree: from_value(source, value.get_ref()),
            location: Location::new(source, value.span()),
            key: Location::new(source, key.span()),
        };
        (key.get_ref().to_string(), item)
    });
    Tree::Table(entries.collect())
}

fn from_value(source: &Arc<Source>, value: &DeValue<'_>) -> Tree {
    match value {
        DeValue::Array(items) => Tree::Array(
            items
                .iter()
                .map(|item| {
                    let location = Location::new(source, item.span());
                    Item { tree: from_value(source, item.get_ref()), key: location.clone(), location }
                })
                .collect(),
        ),
        DeValue::Table(table) => from_table(source, table),
        DeValue::String(text) => Tree::Leaf(toml::Value::String(text.to_string())),
        DeValue::Boolean(flag) => Tree::Leaf(toml::Value::Boolean(*flag)),
        DeValue::Datetime(when) => Tree::Leaf(toml::Value::Datetime(*when)),
        DeValue::Integer(number) => Tree::Leaf(
            i64::from_str_radix(&number.as_str().replace('_', ""), number.radix())
                .map_or_else(|_| toml::Value::String(number.to_string()), toml::Value::Integer),
        ),
        DeValue::Float(number) => Tree::Leaf(
            number
                .as_str()
                .replace('_', "")
                .parse()
                .map_or_else(|_| toml::Value::String(number.to_string()), toml::Value::Float),
        ),
    }
}
