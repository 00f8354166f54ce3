//! What is wrong with a policy: every finding with its key, so that whoever read the file can show the place.

use std::fmt;
use std::time::Duration;

use super::span;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `circuit_breaker.failure_rate`, relative to the section of the guard.
    pub key: String,
    /// What is wrong, with the value.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}; {}", self.key, self.message, self.help)
    }
}

/// A policy that cannot be used, with all its problems.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PolicyError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl PolicyError {
    /// `CSF-0708`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "CSF-0708"
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&list.join("\n"))
    }
}

/// Gathers findings.
#[derive(Default)]
pub(crate) struct Problems {
    prefix: String,
    pub(crate) found: Vec<Problem>,
}

impl Problems {
    pub(crate) fn add(&mut self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        let key = format!("{}{key}", self.prefix);
        self.found.push(Problem { key, message: message.into(), help: help.into() });
    }

    /// Findings of `inside` carry the table's name.
    pub(crate) fn within<T>(&mut self, table: &str, inside: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.prefix.len();
        self.prefix.push_str(table);
        self.prefix.push('.');
        let value = inside(self);
        self.prefix.truncate(outer);
        value
    }

    pub(crate) fn check(&mut self, key: &str, value: impl fmt::Display, is_fine: bool, expected: &str) {
        if !is_fine {
            self.add(key, format!("{value} is no {}", expected.trim_start_matches("a ")), format!("write {expected}"));
        }
    }

    pub(crate) fn range(&mut self, key: &str, value: u64, least: u64, most: u64) {
        if !(least..=most).contains(&value) {
            self.add(
                key,
                format!("{value} is outside {least}..={most}"),
                format!("write a number from {least} to {most}"),
            );
        }
    }

    pub(crate) fn span(&mut self, key: &str, value: Duration, least: Duration, most: Duration) {
        if !(least..=most).contains(&value) {
            let (value, least, most) = (span::text(value), span::text(least), span::text(most));
            self.add(
                key,
                format!("{value} is outside {least} to {most}"),
                format!("write a time from {least} to {most}"),
            );
        }
    }
}
