//! The delivery log: what each dispatcher handed to which component, in which order, at which stamp.
//!
//! With the recorded inputs it determines every output, which is what replay proves.

use csf_core::{LaneId, Message, MessageId, TimerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One delivery; its packet's stamp is `delivered_at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// Index of the component in the topology.
    pub component: u16,
    /// What was delivered.
    #[schemars(with = "String")]
    pub input: Input,
    /// How the handler ended.
    pub outcome: Outcome,
}

/// What a component was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A packet.
    Packet {
        /// Its lane.
        lane: LaneId,
        /// Its sequence.
        seq: u64,
    },
    /// A timer that was due.
    Timer(TimerId),
    /// Nothing: the component was made anew, without timers, because the state it had before a failure could not be made again.
    Reset,
    /// Nothing: it was restarted with its group, and a fresh instance took its state over.
    Renewal,
}

impl Input {
    /// The packet delivered, unless it was a timer.
    #[must_use]
    pub fn packet(self) -> Option<MessageId> {
        match self {
            Self::Packet { lane, seq } => Some(lane.message(seq)),
            Self::Timer(_) | Self::Reset | Self::Renewal => None,
        }
    }
}

/// How a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Effects committed.
    Done,
    /// Returned an error; no effects.
    Fault,
    /// Panicked; no effects, the component was made anew and the event was dropped. Builds that give a component its state back do not
    /// write this any more.
    Panic,
    /// Panicked; no effects, and the component has the state of before. The event is tried again.
    Failed,
    /// The same for the last time, or the handler did not return: the event went to the dead letters.
    Skipped,
}

impl Message for Delivery {
    const NAME: &'static str = "csf.delivery";
    const VERSION: u16 = 1;
}

/// Topic of the delivery log; internal, so it has no entry in any configuration.
pub const DELIVERY_TOPIC: &str = "csf.delivery";
