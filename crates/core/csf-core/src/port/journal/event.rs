//! Events: facts in named streams, appended under a condition and numbered by the log.
//!
//! A stream's name up to its first `-` is its category: `order-17` is of category `order`. Versions of a stream count from 1 without a gap.
//! Reference: Young, "CQRS Documents" (2010), for expected versions; Pellegrini, "Dynamic Consistency Boundary" (dcb.events), for conditions.

use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Criteria, Durability, Filter};
use crate::{Header, MessageId, ParseIdError, Stamp};

/// Longest name of a stream, bytes.
pub const STREAM_BYTES_MAX: usize = 256;
/// Longest type of an event and longest tag, bytes.
pub const WORD_BYTES_MAX: usize = 128;
/// Most tags of an event.
pub const TAGS_MAX: usize = 32;
/// Largest content of an event, bytes of JSON.
pub const DATA_BYTES_MAX: usize = 16 << 20;
/// Most events of one append.
pub const APPEND_EVENTS_MAX: usize = 4096;

/// Most criteria of a condition.
pub const CRITERIA_MAX: usize = 64;
/// Most words of one criterion: streams, categories, types and tags together.
pub const CRITERIA_WORDS_MAX: usize = 256;

/// The category of a stream: its name up to the first `-`.
#[must_use]
pub fn category(stream: &str) -> &str {
    stream.split_once('-').map_or(stream, |(category, _)| category)
}

/// The name of an event beside its position, chosen by who appends it: an append of the same ids is done once (RFC 9562).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// A name that sorts by time (UUID version 7). `random` comes from the caller's source of randomness.
    #[must_use]
    pub fn new(stamp: Stamp, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(stamp.as_nanos() / 1_000_000, &random).into_uuid())
    }

    /// The name that `what` gives to what it makes of this event, the same each time (UUID version 5): so is a repeated reaction one.
    #[must_use]
    pub fn derive(self, what: &str) -> Self {
        Self(Uuid::new_v5(&self.0, what.as_bytes()))
    }

    /// The name with these bits.
    #[must_use]
    pub const fn from_u128(bits: u128) -> Self {
        Self(Uuid::from_u128(bits))
    }

    /// The bits.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0.as_u128()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no event id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no event id; write a UUID such as 01939d2b-6a4e-7c1f-b5f2-0e3a1c8d9b70")]
pub struct BadEventId {
    /// The text.
    pub text: String,
}

impl FromStr for EventId {
    type Err = BadEventId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self).map_err(|_| BadEventId { text: text.to_owned() })
    }
}

/// JSON, kept as the text it was written as.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Box<str>);

impl Json {
    /// The JSON form of `value`.
    ///
    /// # Errors
    /// What has no JSON form: a map whose keys are no text, or a type that refuses.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(text.into()))
    }

    /// Text that is checked to be JSON.
    ///
    /// # Errors
    /// Where it is none.
    pub fn from_text(text: impl Into<Box<str>>) -> Result<Self, serde_json::Error> {
        let text = text.into();
        serde_json::from_str::<serde::de::IgnoredAny>(&text)?;
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it says, as a `T`.
    ///
    /// # Errors
    /// Where it is no `T`.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// What it says, whatever it is.
    #[must_use]
    pub fn to_value(&self) -> serde_json::Value {
        self.parse().expect("the text was checked to be JSON")
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        Self(value.to_string().into())
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &serde_json::value::RawValue = self.parse().map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_json::Value::deserialize(deserializer).map(Self::from)
    }
}

/// What made an event happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventCause {
    /// A packet of the bus.
    Packet(MessageId),
    /// The event at this position of the same log.
    Event(u64),
}

impl From<MessageId> for EventCause {
    fn from(id: MessageId) -> Self {
        Self::Packet(id)
    }
}

/// A packet's id, or `@` and an event's position.
impl fmt::Display for EventCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(id) => id.fmt(f),
            Self::Event(position) => write!(f, "@{position}"),
        }
    }
}

impl FromStr for EventCause {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix('@').map(str::parse) {
            Some(Ok(position)) => Ok(Self::Event(position)),
            Some(Err(_)) | None => text.parse().map(Self::Packet),
        }
    }
}

/// Where an event comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What made it happen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EventCause>,
    /// Who says so: a component, a service, a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What all events of one undertaking share, such as a request's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
}

impl Origin {
    /// Whether nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cause.is_none() && self.author.is_none() && self.correlation.is_none()
    }
}

/// An event to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its name, when a repeated append is to be done once.
    pub id: Option<EventId>,
    /// Stream name, such as `csf.run` or `order-17`: at most [`STREAM_BYTES_MAX`] bytes without control characters.
    pub stream: String,
    /// Event type: at most [`WORD_BYTES_MAX`] bytes without control characters.
    pub kind: String,
    /// When it happened.
    pub stamp: Stamp,
    /// Words that conditions and filters find it by, such as `course:c1`: at most [`TAGS_MAX`], each as a type.
    pub tags: Vec<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// Content: at most [`DATA_BYTES_MAX`].
    pub data: Json,
}

impl NewEvent {
    /// An event without name, tags and origin.
    #[must_use]
    pub fn new(stream: impl Into<String>, kind: impl Into<String>, stamp: Stamp, data: impl Into<Json>) -> Self {
        Self {
            id: None,
            stream: stream.into(),
            kind: kind.into(),
            stamp,
            tags: Vec::new(),
            origin: Origin::default(),
            data: data.into(),
        }
    }

    /// With this name.
    #[must_use]
    pub fn with_id(self, id: EventId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// With this tag beside those it has.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// From here.
    #[must_use]
    pub fn with_origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// Because of a packet: the event names it and is stamped later than it.
    #[must_use]
    pub fn caused_by(mut self, packet: &Header) -> Self {
        self.origin.cause = Some(packet.id.into());
        self.stamp = self.stamp.max(packet.stamp.after(1));
        self
    }
}

/// An event as the journal holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Gap-free number in the journal, shared with packets.
    pub position: u64,
    /// Its name, when it was given one.
    pub id: Option<EventId>,
    /// Stream name.
    pub stream: String,
    /// 1 for the stream's first event.
    pub version: u64,
    /// Event type.
    pub kind: String,
    /// When it happened.
    pub stamp: Stamp,
    /// Words that it is found by.
    pub tags: Vec<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// Content.
    pub data: Json,
}

impl StoredEvent {
    /// The content as a `T`.
    ///
    /// # Errors
    /// When it is no `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.data.parse()
    }
}

/// What the writer of a stream expects of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedVersion {
    /// Nothing.
    Any,
    /// No event yet.
    NoStream,
    /// At least one event.
    Exists,
    /// Exactly this many events.
    Exactly(u64),
}

impl fmt::Display for ExpectedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any number"),
            Self::NoStream => f.write_str("none"),
            Self::Exists => f.write_str("at least one"),
            Self::Exactly(version) => write!(f, "exactly {version}"),
        }
    }
}

impl ExpectedVersion {
    /// Whether a stream of this many events is as expected.
    #[must_use]
    pub const fn holds(self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => version == 0,
            Self::Exists => version > 0,
            Self::Exactly(expected) => version == expected,
        }
    }
}

/// Refuses an append if something has happened meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What must not have happened.
    pub filter: Filter,
    /// Later than this position.
    pub after: u64,
}

/// Stream that holds the lanes, and the type of its events.
pub const LANE_STREAM: &str = "csf.lane";
/// Stream of all [`StreamChange`]s, and the type of its events.
pub const CHANGE_STREAM: &str = "csf.stream";

/// What happens to a stream as a whole. Written down as an event of stream [`CHANGE_STREAM`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum StreamChange {
    /// Events with smaller versions are forgotten. The version counts on.
    Truncate {
        /// Stream name.
        stream: String,
        /// The first version that is kept.
        before: u64,
    },
    /// All events are forgotten, and none is taken any more.
    Close {
        /// Stream name.
        stream: String,
    },
}

impl StreamChange {
    /// The stream it is about.
    #[must_use]
    pub fn stream(&self) -> &str {
        match self {
            Self::Truncate { stream, .. } | Self::Close { stream } => stream,
        }
    }
}

/// Events that are stored together or not at all, whatever the streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Append {
    /// What must hold of streams, written to or not.
    pub expects: Vec<(String, ExpectedVersion)>,
    /// What must not have happened.
    pub unless: Option<Condition>,
    /// In order; at most [`APPEND_EVENTS_MAX`].
    pub events: Vec<NewEvent>,
    /// After the events, in order. Each takes a position, as an event.
    pub changes: Vec<StreamChange>,
    /// When the changes happen.
    pub stamp: Stamp,
}

impl Append {
    /// These events, whatever there is.
    #[must_use]
    pub fn events(events: impl Into<Vec<NewEvent>>) -> Self {
        Self { events: events.into(), ..Self::default() }
    }

    /// If the stream is as expected.
    #[must_use]
    pub fn expecting(mut self, stream: impl Into<String>, version: ExpectedVersion) -> Self {
        self.expects.push((stream.into(), version));
        self
    }

    /// If nothing has happened that the filter lets through, since `after`.
    #[must_use]
    pub fn unless(self, filter: Filter, after: u64) -> Self {
        Self { unless: Some(Condition { filter, after }), ..self }
    }

    /// With a change of a stream after the events.
    #[must_use]
    pub fn changing(mut self, stamp: Stamp, change: StreamChange) -> Self {
        self.stamp = stamp;
        self.changes.push(change);
        self
    }

    /// Checks names and sizes.
    ///
    /// # Errors
    /// [`Refused::BadName`], [`Refused::TooLarge`].
    pub fn check(&self) -> Result<(), Refused> {
        at_most("events of an append", self.events.len() + self.changes.len(), APPEND_EVENTS_MAX)?;
        for event in &self.events {
            stream(&event.stream)?;
            name("event type", &event.kind, WORD_BYTES_MAX)?;
            at_most("tags of an event", event.tags.len(), TAGS_MAX)?;
            event.tags.iter().try_for_each(|tag| name("tag", tag, WORD_BYTES_MAX))?;
            at_most("bytes of an event", event.data.as_str().len(), DATA_BYTES_MAX)?;
        }
        for criteria in self.unless.iter().flat_map(|condition| &condition.filter.any_of) {
            let Criteria { streams, categories, kinds, tags } = criteria;
            let words = [streams, categories, kinds, tags].map(Vec::len).iter().sum();
            at_most("words of one criterion", words, CRITERIA_WORDS_MAX)?;
        }
        let criteria = self.unless.as_ref().map_or(0, |condition| condition.filter.any_of.len());
        at_most("criteria of a condition", criteria, CRITERIA_MAX)?;
        self.changes.iter().try_for_each(|change| stream(change.stream()))
    }
}

impl From<NewEvent> for Append {
    fn from(event: NewEvent) -> Self {
        Self::events([event])
    }
}

fn stream(stream: &str) -> Result<(), Refused> {
    if [LANE_STREAM, CHANGE_STREAM].contains(&stream) {
        return Err(Refused::Reserved { stream: stream.to_owned() });
    }
    name("stream", stream, STREAM_BYTES_MAX)
}

fn name(what: &'static str, name: &str, limit: usize) -> Result<(), Refused> {
    if name.is_empty() || name.len() > limit || name.chars().any(char::is_control) {
        let name = name.chars().take(limit).collect();
        return Err(Refused::BadName { what, name, limit });
    }
    Ok(())
}

fn at_most(what: &'static str, actual: usize, limit: usize) -> Result<(), Refused> {
    if actual > limit { Err(Refused::TooLarge { what, actual, limit }) } else { Ok(()) }
}

/// Where an append stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position of its first event; that of the newest before it when it has none.
    pub first: u64,
    /// Position of its last event; as `first` when it has none.
    pub last: u64,
    /// Version of its last event; 0 when it has none.
    pub version: u64,
    /// Whether an append of the same ids was there already: these are its places.
    pub is_repeat: bool,
    /// How safe it is.
    pub durability: Durability,
}

/// Why an append was not done. Nothing of it is stored; the log goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The stream is not as expected.
    #[error("stream `{stream}` has {actual} events, expected {expected}; read it again and decide anew")]
    WrongVersion {
        /// Stream name.
        stream: String,
        /// What was expected.
        expected: ExpectedVersion,
        /// Events in the stream.
        actual: u64,
    },
    /// Something has happened meanwhile.
    #[error(
        "the event at position {position} is one that must not have happened after position {after}; read again and decide anew"
    )]
    Happened {
        /// Position of the newest such event.
        position: u64,
        /// The position of the condition.
        after: u64,
    },
    /// The stream takes no events any more.
    #[error("stream `{stream}` is closed; choose another name")]
    Closed {
        /// Stream name.
        stream: String,
    },
    /// The stream is written by the journal itself.
    #[error("stream `{stream}` is the journal's own; choose another name")]
    Reserved {
        /// Stream name.
        stream: String,
    },
    /// Some of the ids are stored, but not as this append.
    #[error("event id {id} is in use at position {position} by another append; give new events new ids")]
    IdInUse {
        /// The id.
        id: EventId,
        /// Where it is.
        position: u64,
    },
    /// A name that cannot be one.
    #[error("`{name}` is no {what}: 1 to {limit} bytes without control characters")]
    BadName {
        /// What was to be named.
        what: &'static str,
        /// The name, cut at the limit.
        name: String,
        /// Longest name, bytes.
        limit: usize,
    },
    /// More than is taken at once.
    #[error("{actual} {what}, at most {limit}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many.
        actual: usize,
        /// How many are taken.
        limit: usize,
    },
}
