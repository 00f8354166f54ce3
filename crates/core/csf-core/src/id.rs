//! Identities: nodes, lanes, messages, components and tasks.
//!
//! A message is named by where it was produced: node, incarnation of that node, lane (one producer's FIFO) and sequence number
//! in the lane. The name is derived from the slot, so no generator is shared between producers.
//! Invariant: `MessageId` prints as `node.incarnation.lane-sequence` and parses back to itself.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Identifies a node; the CA assigns it at join, a lone node is 1.
pub type NodeId = u16;
/// Counts the starts of one node on one journal directory.
pub type Incarnation = u32;

/// One producer's FIFO on one topic, unique within a node's incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct LaneId {
    /// Node on which the producer runs.
    pub node: NodeId,
    /// Incarnation of that node.
    pub incarnation: Incarnation,
    /// Number of the lane within the incarnation, in order of creation.
    pub lane: u16,
}

impl LaneId {
    /// The message at `seq` (0-based) of this lane.
    #[must_use]
    pub const fn message(self, seq: u64) -> MessageId {
        MessageId { lane: self, seq }
    }
}

/// The identity of a message, derived from its slot. Ordered by lane, then sequence; that order says nothing about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct MessageId {
    /// The lane that carried it first.
    pub lane: LaneId,
    /// Position in the lane, counted from 0.
    pub seq: u64,
}

/// The packet-level name of [`MessageId`].
pub type PacketId = MessageId;

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.node, self.incarnation, self.lane)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.lane, self.seq)
    }
}

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no packet id; expected node.incarnation.lane-sequence, such as 1.1.3-42")]
pub struct ParseIdError {
    /// The text as given.
    pub text: String,
}

impl FromStr for MessageId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_id(text).ok_or_else(|| ParseIdError { text: text.chars().take(64).collect() })
    }
}

fn parse_id(text: &str) -> Option<MessageId> {
    let (lane, seq) = text.split_once('-')?;
    let mut parts = lane.split('.');
    let id = LaneId {
        node: digits(parts.next()?)?.try_into().ok()?,
        incarnation: digits(parts.next()?)?.try_into().ok()?,
        lane: digits(parts.next()?)?.try_into().ok()?,
    };
    if parts.next().is_some() {
        return None;
    }
    Some(id.message(digits(seq)?))
}

/// Decimal digits without sign, blank or leading zero, so that each id has exactly one text.
fn digits(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

/// A component of the node, also the bit it answers to in a target mask (`number % 64`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ComponentId(u16);

impl ComponentId {
    /// The recorder, which writes the journal.
    #[allow(non_upper_case_globals, reason = "the specification names it so (FAB-005)")]
    pub const EventStore: Self = Self(0);

    /// A component of the application; `n` counts from 1 in order of declaration.
    #[must_use]
    pub const fn custom(n: u16) -> Self {
        Self(n)
    }

    /// The number given to [`ComponentId::custom`].
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The bit of a target mask that addresses this component.
    #[must_use]
    pub const fn mask(self) -> u64 {
        1 << (self.0 % 64)
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "component-{}", self.0)
    }
}

/// A schedulable unit inside a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_survives_its_text(node: u16, incarnation: u32, lane: u16, seq: u64) {
            let id = LaneId { node, incarnation, lane }.message(seq);
            prop_assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
        }

        #[test]
        fn any_text_is_an_id_or_a_clear_refusal(text in "\\PC{0,40}") {
            match text.parse::<MessageId>() {
                Ok(id) => prop_assert_eq!(id.to_string(), text),
                Err(refusal) => prop_assert!(refusal.to_string().contains("1.1.3-42")),
            }
        }
    }
}
