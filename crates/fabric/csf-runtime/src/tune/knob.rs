//! What may be changed, how far, and by how much at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::TuneError;

/// How far one change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// By a difference.
    Add(u64),
    /// By a factor, and by 1 where that changes nothing.
    Times(u64),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(by) => write!(f, "±{by}"),
            Self::Times(by) => write!(f, "×{by}"),
        }
    }
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To larger values.
    Up,
    /// To smaller values.
    Down,
}

/// A whole number that may be changed within bounds, in the unit its name states (`nap_us`). A switch is a knob from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Knob {
    /// Unique in its component.
    pub name: String,
    /// Smallest value.
    pub min: u64,
    /// Largest value.
    pub max: u64,
    /// How far one change goes; the last one before a bound may be shorter.
    pub step: Step,
    /// Share by which whoever declared the knob expects it to help; 0 when nobody said. Reported beside what was measured, never used.
    pub expected_improvement: f64,
}

impl Knob {
    /// A knob within `bounds`.
    ///
    /// # Errors
    /// [`TuneError::NoRoom`] when it could never move.
    pub fn new(name: impl Into<String>, bounds: RangeInclusive<u64>, step: Step) -> Result<Self, TuneError> {
        let (name, min, max) = (name.into(), *bounds.start(), *bounds.end());
        let has_effect = match step {
            Step::Add(by) => by > 0,
            Step::Times(by) => by > 1,
        };
        if min >= max || !has_effect {
            return Err(TuneError::NoRoom { knob: name, min, max, step: step.to_string() });
        }
        Ok(Self { name, min, max, step, expected_improvement: 0.0 })
    }

    /// States what share of improvement is expected of it.
    #[must_use]
    pub const fn expecting(mut self, share: f64) -> Self {
        self.expected_improvement = share;
        self
    }

    /// One step from `value`, within the bounds; `None` at the bound.
    #[must_use]
    pub fn next(&self, value: u64, direction: Direction) -> Option<u64> {
        let next = match (self.step, direction) {
            (Step::Add(by), Direction::Up) => value.saturating_add(by),
            (Step::Add(by), Direction::Down) => value.saturating_sub(by),
            (Step::Times(by), Direction::Up) => value.saturating_mul(by).max(value.saturating_add(1)),
            (Step::Times(by), Direction::Down) => value / by,
        };
        let next = next.clamp(self.min, self.max);
        (next != value).then_some(next)
    }

    pub(super) fn check(&self, value: u64) -> Result<(), TuneError> {
        if (self.min..=self.max).contains(&value) {
            return Ok(());
        }
        Err(TuneError::OutOfBounds { knob: self.name.clone(), value, min: self.min, max: self.max })
    }
}

/// A value for every knob of one component, each within its bounds: only the tuner makes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Parameters(BTreeMap<String, u64>);

impl Parameters {
    pub(super) fn new(knobs: &[(Knob, u64)]) -> Result<Self, TuneError> {
        let mut values = BTreeMap::new();
        for (knob, value) in knobs {
            knob.check(*value)?;
            if values.insert(knob.name.clone(), *value).is_some() {
                return Err(TuneError::DoubleKnob { knob: knob.name.clone() });
            }
        }
        Ok(Self(values))
    }

    /// The value of a knob; `None` when there is no such knob.
    #[must_use]
    pub fn get(&self, knob: &str) -> Option<u64> {
        self.0.get(knob).copied()
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// The same with one value changed.
    pub(super) fn with(&self, knob: &Knob, value: u64) -> Result<Self, TuneError> {
        knob.check(value)?;
        let mut changed = self.clone();
        let slot = changed.0.get_mut(&knob.name).ok_or_else(|| TuneError::UnknownKnob { knob: knob.name.clone() })?;
        *slot = value;
        Ok(changed)
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name} = {value}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
