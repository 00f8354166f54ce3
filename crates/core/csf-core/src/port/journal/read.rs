//! What a reader of events asks for, and what it gets.

use serde::{Deserialize, Serialize};

use super::{EventId, StoredEvent, category};

/// Which events are meant: those that fit any of the criteria; without criteria, all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Filter {
    /// The criteria.
    pub any_of: Vec<Criteria>,
}

/// What an event must have. An empty list asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Criteria {
    /// It is in one of these streams.
    pub streams: Vec<String>,
    /// Its stream is of one of these categories.
    pub categories: Vec<String>,
    /// It is of one of these types.
    pub kinds: Vec<String>,
    /// It has all of these tags.
    pub tags: Vec<String>,
}

impl Filter {
    /// Every event, those of the fabric itself included.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Events of streams of this category.
    #[must_use]
    pub fn category(category: impl Into<String>) -> Self {
        Criteria { categories: vec![category.into()], ..Criteria::default() }.into()
    }

    /// Events of these types.
    #[must_use]
    pub fn kinds(kinds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Criteria { kinds: kinds.into_iter().map(Into::into).collect(), ..Criteria::default() }.into()
    }

    /// Events with all of these tags.
    #[must_use]
    pub fn tags(tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Criteria { tags: tags.into_iter().map(Into::into).collect(), ..Criteria::default() }.into()
    }

    /// Those of the other filter too.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        // A filter without criteria lets everything through.
        if self.any_of.is_empty() || other.any_of.is_empty() {
            return Self::all();
        }
        self.any_of.extend(other.any_of);
        self
    }

    /// Whether an event of this stream, type and tags is meant.
    #[must_use]
    pub fn fits(&self, stream: &str, kind: &str, tags: &[String]) -> bool {
        self.any_of.is_empty() || self.any_of.iter().any(|criteria| criteria.fits(stream, kind, tags))
    }
}

impl Criteria {
    /// Whether an event of this stream, type and tags has all of it.
    #[must_use]
    pub fn fits(&self, stream: &str, kind: &str, tags: &[String]) -> bool {
        let is_in = |list: &[String], what: &str| list.is_empty() || list.iter().any(|known| known == what);
        is_in(&self.streams, stream)
            && is_in(&self.categories, category(stream))
            && is_in(&self.kinds, kind)
            && self.tags.iter().all(|tag| tags.contains(tag))
    }
}

impl From<Criteria> for Filter {
    fn from(criteria: Criteria) -> Self {
        Self { any_of: vec![criteria] }
    }
}

/// Which way a read goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From old to new.
    #[default]
    Forward,
    /// From new to old.
    Backward,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOf {
    /// One stream by its versions.
    Stream(String),
    /// The log by its positions.
    Log(Filter),
    /// The one event of this name, wherever it is.
    Named(EventId),
}

/// A question for events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// What is read.
    pub of: ReadOf,
    /// The first version or position that is wanted: the smallest forward, the greatest backward.
    pub from: u64,
    /// Which way.
    pub direction: Direction,
    /// Most events; 0 means none.
    pub limit: usize,
}

impl Read {
    /// A stream from its first event on.
    #[must_use]
    pub fn stream(stream: impl Into<String>) -> Self {
        Self { of: ReadOf::Stream(stream.into()), from: 0, direction: Direction::Forward, limit: usize::MAX }
    }

    /// The log from its first event on.
    #[must_use]
    pub fn log(filter: Filter) -> Self {
        Self { of: ReadOf::Log(filter), from: 0, direction: Direction::Forward, limit: usize::MAX }
    }

    /// The event of this name.
    #[must_use]
    pub fn named(id: EventId) -> Self {
        Self { of: ReadOf::Named(id), from: 0, direction: Direction::Forward, limit: 1 }
    }

    /// From this version or position on.
    #[must_use]
    pub fn from(self, from: u64) -> Self {
        Self { from, ..self }
    }

    /// From the newest, or from the place given after this, to the oldest.
    #[must_use]
    pub fn backward(self) -> Self {
        Self { from: u64::MAX, direction: Direction::Backward, ..self }
    }

    /// At most this many.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }
}

/// The answer to a [`Read`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order that was asked for.
    pub events: Vec<StoredEvent>,
    /// The log's newest position when it was read: when fewer came than were asked for, there were no more up to here.
    pub position: u64,
}

/// What is known of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamHead {
    /// Events it has taken, truncated ones too: the version of the newest.
    pub version: u64,
    /// The first version that is kept; 0 and 1 mean all are.
    pub first: u64,
    /// Whether it takes no events any more.
    pub is_closed: bool,
}
