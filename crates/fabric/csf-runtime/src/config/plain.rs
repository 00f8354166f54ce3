//! From a part of a configuration to plain data, with every problem at its place.
//!
//! Serde stops at the first problem. So what it complained of is taken out, and the rest is read again, until nothing is left to complain of.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Error, Path, Segment};

use super::secret::IN_CLEAR;
use super::{Item, Problem, Tree};

/// Most problems of one part.
const PROBLEMS_MAX: usize = 64;

/// What was read.
pub(crate) struct Plain<T> {
    /// The value, of what was left without problems; `None` when too little was.
    pub(crate) value: Option<T>,
    /// The part without what had problems: the places of `value`.
    pub(crate) item: Item,
    pub(crate) problems: Vec<Problem>,
}

/// Reads `item`.
pub(crate) fn read<T: DeserializeOwned>(item: &Item) -> Plain<T> {
    let mut plain = Plain { value: None, item: item.clone(), problems: Vec::new() };
    let mut taken_out: Vec<Vec<String>> = Vec::new();
    while plain.problems.len() < PROBLEMS_MAX {
        let error = match serde_path_to_error::deserialize::<_, T>(plain.item.value()) {
            Ok(value) => {
                plain.value = Some(value);
                break;
            }
            Err(error) => error,
        };
        let found = Finding::of(&plain.item, &error);
        // A field that is missing because its value was taken out has been told already.
        if taken_out.iter().any(|path| found.missing.as_ref() == Some(path)) {
            break;
        }
        plain.problems.push(found.problem);
        if !take_out(&mut plain.item, &found.path) {
            break;
        }
        taken_out.push(found.path);
    }
    plain
}

struct Finding {
    problem: Problem,
    /// What is to be taken out.
    path: Vec<String>,
    /// The field that is missing.
    missing: Option<Vec<String>>,
}

impl Finding {
    /// Finds the place of a serde error and turns its list of fields into a did-you-mean.
    fn of(item: &Item, error: &Error<toml::de::Error>) -> Self {
        let mut path = existing(item, keys(error.path()));
        let text = error.inner().message().to_owned();
        let mut quoted = text.split('`').skip(1).step_by(2);
        let named = quoted.next().unwrap_or_default();
        if text.starts_with("unknown field") || text.starts_with("unknown variant") {
            let is_field = text.starts_with("unknown field");
            // The path ends with the unknown key, or before it.
            let is_there = item.at(path.iter().map(String::as_str).chain([named])).is_some();
            if is_there && path.last().is_none_or(|last| last != named) {
                path.push(named.to_owned());
            }
            let place = item.at(path.iter().map(String::as_str)).unwrap_or(item);
            let (code, what, at) = match is_field {
                true => ("CSF-0103", "unknown key", &place.key),
                false => ("CSF-0104", "unknown choice", &place.location),
            };
            let problem = Problem::new(code, format!("{what} `{named}`")).at(at).did_you_mean(named, quoted);
            return Self { problem, path, missing: None };
        }
        let place = item.at(path.iter().map(String::as_str)).unwrap_or(item);
        if text.starts_with("missing field") {
            let missing = path.iter().cloned().chain([named.to_owned()]).collect();
            let problem = Problem::new("CSF-0113", text).at(&place.key);
            return Self { problem, path, missing: Some(missing) };
        }
        let problem = match text.strip_prefix(IN_CLEAR) {
            Some(what) => Problem::new("CSF-0119", what.trim_start())
                .help("keep it elsewhere and refer to it: \"file:PATH\" or \"env:NAME\"")
                .confidential(),
            None => Problem::new("CSF-0104", without_value(text, place)),
        };
        let at = if path.is_empty() { &place.key } else { &place.location };
        Self { problem: problem.at(at), path, missing: None }
    }
}

/// Serde shows the value that is of the wrong kind. The place shows it too, where it may be shown.
fn without_value(text: String, place: &Item) -> String {
    let expected = text.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected "));
    expected.map(|(_, expected)| format!("expected {expected}, found {}", place.kind())).unwrap_or(text)
}

fn keys(path: &Path) -> Vec<String> {
    let key = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    };
    path.iter().map_while(key).collect()
}

/// As much of a path as there is in the item: variants of an enumeration may be no key.
fn existing(item: &Item, mut path: Vec<String>) -> Vec<String> {
    while !path.is_empty() && item.at(path.iter().map(String::as_str)).is_none() {
        path.pop();
    }
    path
}

/// Takes a value out; false when it is the whole.
fn take_out(item: &mut Item, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let mut at = item;
    for key in parents {
        let child = match &mut at.tree {
            Tree::Table(entries) => entries.get_mut(key),
            Tree::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            Tree::Leaf(_) => None,
        };
        let Some(child) = child else { return false };
        at = child;
    }
    match &mut at.tree {
        Tree::Table(entries) => entries.remove(last).is_some(),
        Tree::Array(items) => match last.parse::<usize>() {
            Ok(index) if index < items.len() => {
                items.remove(index);
                true
            }
            _ => false,
        },
        Tree::Leaf(_) => false,
    }
}
