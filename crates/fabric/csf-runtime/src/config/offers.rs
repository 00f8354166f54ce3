//! `offers` and `promises`: what others may ask of a part, and how well it answers (INT-051).

use std::num::NonZeroU32;
use std::time::Duration;

use super::keys;
use super::settings::Reader;
use super::{Item, Located};

/// How well a part answers. What is absent is left to its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promises {
    /// Time from request to answer that 99 of 100 requests keep; without, none is promised.
    pub latency: Option<Duration>,
    /// Bound of its clock's distance from true time; without, none is promised.
    pub clock_error: Option<Duration>,
    /// Requests it works on at once, 16 when nobody says.
    pub capacity: Option<NonZeroU32>,
}

impl Promises {
    /// These, and where they are silent the others.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            latency: self.latency.or(others.latency),
            clock_error: self.clock_error.or(others.clock_error),
            capacity: self.capacity.or(others.capacity),
        }
    }
}

/// What a part offers beside what its type does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfferSettings {
    /// Operations.
    pub operations: Vec<Located<String>>,
    /// Before those of the type.
    pub promises: Promises,
    /// Where `promises` stands.
    pub promises_at: Option<super::Location>,
}

impl Reader {
    pub(super) fn offers(&mut self, item: &Item) -> OfferSettings {
        let operations = self.texts(item, "offers");
        let Some(section) = item.at(["promises"]) else { return OfferSettings { operations, ..Default::default() } };
        if section.table().is_none() {
            self.wrong_kind(section, "a table such as { latency = \"5ms\", capacity = 8 }");
            return OfferSettings { operations, ..Default::default() };
        }
        self.known_keys(section, keys::PROMISES, "key");
        let capacity = self.number(section, "capacity", keys::CAPACITY).and_then(|n| u32::try_from(n).ok());
        let promises = Promises {
            latency: self.duration(section, "latency"),
            clock_error: self.duration(section, "clock_error"),
            capacity: capacity.and_then(NonZeroU32::new),
        };
        OfferSettings { operations, promises, promises_at: Some(section.key.clone()) }
    }
}
