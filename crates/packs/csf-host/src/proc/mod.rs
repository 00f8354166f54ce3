//! Parsers of the kernel's text files: `&str` in, a sample out.
//!
//! Each accepts what every kernel since 3.14 (2014) writes, ignores columns and lines added later, and never panics on any text.
//! An error names file, line and field. Reference: proc(5) and Documentation/filesystems/proc.rst.

pub mod diskstats;
pub mod loadavg;
pub mod meminfo;
pub mod mountinfo;
pub mod net_dev;
pub mod pressure;
pub mod process;
pub mod stat;
pub mod vmstat;

use std::str::{FromStr, SplitAsciiWhitespace};

/// Longest piece of a bad field that an error repeats, characters.
const FOUND_MAX: usize = 40;

/// A text that is not what the kernel documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProcError {
    /// A field is missing or no number.
    #[error("`{file}` line {line}: field `{field}` should be {expected}, found `{found}`")]
    Field {
        /// File below the root of proc.
        file: &'static str,
        /// Line, from 1.
        line: usize,
        /// The field's name in proc(5).
        field: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What stands there; empty at the end of the line.
        found: String,
    },
    /// A line is missing.
    #[error("`{file}` has no line `{field}` in its {lines} lines")]
    Absent {
        /// File below the root of proc.
        file: &'static str,
        /// How the line begins.
        field: &'static str,
        /// Number of lines read.
        lines: usize,
    },
}

/// The words of one line, taken one by one.
pub(crate) struct Line<'a> {
    file: &'static str,
    number: usize,
    words: SplitAsciiWhitespace<'a>,
}

impl<'a> Line<'a> {
    pub(crate) fn new(file: &'static str, number: usize, text: &'a str) -> Self {
        Self { file, number, words: text.split_ascii_whitespace() }
    }

    pub(crate) fn word(&mut self, field: &'static str) -> Result<&'a str, ProcError> {
        self.words.next().ok_or_else(|| self.error(field, "present", ""))
    }

    pub(crate) fn number<T: FromStr>(&mut self, field: &'static str) -> Result<T, ProcError> {
        let word = self.words.next().unwrap_or_default();
        word.parse().map_err(|_| self.error(field, "a number", word))
    }

    /// A number that older kernels leave out.
    pub(crate) fn optional(&mut self, field: &'static str) -> Result<u64, ProcError> {
        let Some(word) = self.words.next() else { return Ok(0) };
        word.parse().map_err(|_| self.error(field, "a number", word))
    }

    /// A finite number of at least zero, as in `0.49`.
    pub(crate) fn decimal(&mut self, field: &'static str) -> Result<f64, ProcError> {
        let word = self.words.next().unwrap_or_default();
        self.decimal_in(field, word)
    }

    pub(crate) fn decimal_in(&self, field: &'static str, word: &str) -> Result<f64, ProcError> {
        let value = word.parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0);
        value.ok_or_else(|| self.error(field, "a decimal number", word))
    }

    pub(crate) fn skip(&mut self, words: usize) {
        if words > 0 {
            self.words.nth(words - 1);
        }
    }

    pub(crate) fn error(&self, field: &'static str, expected: &'static str, found: &str) -> ProcError {
        let found = found.chars().take(FOUND_MAX).collect();
        ProcError::Field { file: self.file, line: self.number, field, expected, found }
    }
}

/// Lines of a text with their numbers from 1, empty ones left out.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty())
}

/// The values of `keys` in a file of lines `Key: value [kB]` or `key value`; the first line of a key counts.
pub(crate) fn lookup<const N: usize>(
    file: &'static str,
    text: &str,
    keys: [&'static str; N],
) -> Result<[Option<u64>; N], ProcError> {
    let mut values = [None; N];
    for (number, line) in lines(text) {
        let mut line = Line::new(file, number, line);
        let key = line.word("key")?;
        let key = key.strip_suffix(':').unwrap_or(key);
        if let Some(i) = keys.iter().position(|k| *k == key)
            && values[i].is_none()
        {
            values[i] = Some(line.number(keys[i])?);
        }
    }
    Ok(values)
}

/// The value of a key that every kernel has.
pub(crate) fn required(
    file: &'static str,
    text: &str,
    field: &'static str,
    value: Option<u64>,
) -> Result<u64, ProcError> {
    value.ok_or_else(|| ProcError::Absent { file, field, lines: text.lines().count() })
}

#[cfg(test)]
pub(crate) mod recorded;
#[cfg(test)]
mod tests;
