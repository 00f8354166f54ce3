//! What is wrong with a configuration, where, and what to do. The binary renders it; this is its data.

use std::ops::Range;
use std::sync::Arc;

/// A text that configuration came from.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// File name, or `environment`, `flags`, `defaults`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A place in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Which text.
    pub source: Arc<Source>,
    /// Bytes of the text.
    pub span: Range<usize>,
}

impl Location {
    /// A place in a text.
    #[must_use]
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        Self { source: source.clone(), span }
    }

    /// Line and column, both from 1; the column counts characters.
    #[must_use]
    pub fn line_column(&self) -> (usize, usize) {
        let before = self.source.text.get(..self.span.start).unwrap_or(&self.source.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        (line, column)
    }
}

/// One finding, with a code that `csf explain` knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `CSF-nnnn`.
    pub code: &'static str,
    /// What is wrong, with the value.
    pub message: String,
    /// Where, when it has a place.
    pub location: Option<Location>,
    /// Said beside the caret, such as a did-you-mean.
    pub label: String,
    /// What to do.
    pub help: String,
    /// The line it stands on holds a secret and is not to be shown.
    pub is_confidential: bool,
}

impl Problem {
    /// A finding without a place.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        let (message, label, help) = (message.into(), String::new(), String::new());
        Self { code, message, location: None, label, help, is_confidential: false }
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, location: &Location) -> Self {
        self.location = Some(location.clone());
        self
    }

    /// Adds the text beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds the remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// The line it stands on is not to be shown.
    #[must_use]
    pub fn confidential(mut self) -> Self {
        self.is_confidential = true;
        self
    }

    /// Adds `did you mean …?` beside the caret when one of `known` is close to `given`, otherwise lists what is known.
    #[must_use]
    pub fn did_you_mean<'a>(self, given: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        match closest(given, known.iter().copied()) {
            Some(near) => self.label(format!("did you mean `{near}`?")),
            None if known.is_empty() => self,
            None => {
                let list = known.join("`, `");
                self.help(format!("known are `{list}`"))
            }
        }
    }
}

/// The candidate closest to `given`, if it is close enough to be a slip of the finger.
#[must_use]
pub fn closest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
