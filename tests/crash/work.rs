//! What the killed processes do, told so that whoever judges can say it again: the same append for the same number, in every life.

use csf_core::Stamp;
use csf_core::port::{Append, EventId, ExpectedVersion, NewEvent};
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// Callers of a life, one after the other of each kind.
pub(crate) const CALLERS: u64 = 12;
/// Category of the callers' own streams.
pub(crate) const CALLER: &str = "caller";
/// Where the callers that write to two streams meet.
pub(crate) const SHARED: &str = "shared-ledger";
/// The steps of an order, each once.
pub(crate) const STEPS: [&str; 3] = ["reserve", "charge", "ship"];
/// Category of the streams of sales, one each.
pub(crate) const SALE: &str = "sale";
/// The group that books sales.
pub(crate) const BOOKING: &str = "booking";
/// The consumer group.
pub(crate) const GROUP: &str = "counting";
/// The read model.
pub(crate) const MODEL: &str = "sums";
/// Events between two checkpoints of the group.
pub(crate) const CHECKPOINT_EVERY: usize = 32;

/// How a caller finds its way back after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It reads its stream and appends at the version it has read.
    ByVersion,
    /// It reads nothing: it asks again under the same name for what it has no answer to.
    ByName,
    /// Three events in two streams, together.
    Whole,
}

impl Kind {
    pub(crate) const fn of(caller: u64) -> Self {
        match caller % 3 {
            0 => Self::ByVersion,
            1 => Self::ByName,
            _ => Self::Whole,
        }
    }

    /// Events of an append that stand in the caller's own stream.
    pub(crate) const fn own_events(self) -> u64 {
        if matches!(self, Self::Whole) { 2 } else { 1 }
    }

    /// Events of an append.
    pub(crate) const fn events(self) -> u64 {
        if matches!(self, Self::Whole) { 3 } else { 1 }
    }
}

/// Content of a caller's event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) caller: u64,
    /// Number of the append, from 1.
    pub(crate) n: u64,
    /// Number of the event in it.
    pub(crate) part: u64,
    text: String,
}

impl Said {
    pub(crate) fn new(caller: u64, n: u64, part: u64) -> Self {
        let mut chance = Random::new(caller << 48 | n << 2 | part);
        // Mostly small; now and then larger than a page, and than a message.
        let len = match chance.below(400) {
            0 => 300_000,
            1..=40 => 4_000 + chance.below(12_000),
            _ => chance.below(600),
        };
        let letter = char::from(b'a' + (chance.below(26) as u8));
        Self { caller, n, part, text: String::from(letter).repeat(len as usize) }
    }
}

pub(crate) fn stream(caller: u64) -> String {
    format!("{CALLER}-{caller}")
}

/// The n-th append of a caller, from 1.
pub(crate) fn append(caller: u64, n: u64, stamp: Stamp) -> Append {
    let kind = Kind::of(caller);
    let name = EventId::from_u128(u128::from(caller + 1) << 64 | u128::from(n));
    let event = |part: u64, stream: &str| {
        let data = serde_json::json!(Said::new(caller, n, part));
        let event = NewEvent::new(stream, "said", stamp, data).with_tag(format!("caller:{caller}"));
        if kind == Kind::ByVersion { event } else { event.with_id(name.derive(&part.to_string())) }
    };
    let own = stream(caller);
    match kind {
        Kind::ByVersion => Append::from(event(0, &own)).expecting(&own, ExpectedVersion::Exactly(n - 1)),
        Kind::ByName => Append::from(event(0, &own)),
        Kind::Whole => Append::events([event(0, &own), event(1, SHARED), event(2, &own)])
            .expecting(&own, ExpectedVersion::Exactly(2 * (n - 1))),
    }
}
