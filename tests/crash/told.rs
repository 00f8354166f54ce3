//! What has come out of the killed processes, line by line: only that counts as acknowledged, and as done in the world outside.

use std::collections::{BTreeMap, BTreeSet};

/// Where an answer says that an append stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Position of its first event, when the answer says so.
    pub(crate) first: Option<u64>,
    /// Version of its last event.
    pub(crate) version: u64,
}

/// A line of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// It has opened everything, and begins to work.
    Open,
    /// An append was answered.
    Acknowledged { caller: u64, n: u64, place: Place },
    /// The group has handled the event at this position.
    Handled(u64),
    /// The start of an order was answered.
    Started(String),
    /// A step of an order has taken effect, under this key.
    Effect { order: String, step: String, key: String },
    /// A sale and its event were committed.
    Sold(u64),
    /// Everything is done, and the process ends.
    Finished,
}

impl Line {
    pub(crate) fn read(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse::<u64>().map_err(|e| format!("`{line}`: {e}"));
        Ok(match words[..] {
            ["open"] => Self::Open,
            ["acknowledged", caller, n, first, version] => Self::Acknowledged {
                caller: number(caller)?,
                n: number(n)?,
                place: Place {
                    first: if first == "-" { None } else { Some(number(first)?) },
                    version: number(version)?,
                },
            },
            ["handled", position] => Self::Handled(number(position)?),
            ["started", order] => Self::Started(order.to_owned()),
            ["effect", order, step, key] => {
                Self::Effect { order: order.to_owned(), step: step.to_owned(), key: key.to_owned() }
            }
            ["sold", n] => Self::Sold(number(n)?),
            ["finished"] => Self::Finished,
            _ => return Err(format!("a process said `{line}`")),
        })
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Acknowledged { caller, n, place: Place { first, version } } => {
                let first = first.map_or_else(|| "-".to_owned(), |first| first.to_string());
                write!(f, "acknowledged {caller} {n} {first} {version}")
            }
            Self::Handled(position) => write!(f, "handled {position}"),
            Self::Started(order) => write!(f, "started {order}"),
            Self::Effect { order, step, key } => write!(f, "effect {order} {step} {key}"),
            Self::Sold(n) => write!(f, "sold {n}"),
            Self::Finished => f.write_str("finished"),
        }
    }
}

/// Everything that was told, of all lives on one log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// By caller and number.
    pub(crate) acknowledged: BTreeMap<(u64, u64), Place>,
    /// How often each position was handled.
    pub(crate) handled: BTreeMap<u64, u64>,
    pub(crate) started: BTreeSet<String>,
    /// By order and step: how often under which key. A system that knows keys does it once per key.
    pub(crate) effects: BTreeMap<(String, String), BTreeMap<String, u64>>,
    pub(crate) sold: BTreeSet<u64>,
    /// Two answers to one append that differ.
    pub(crate) contradictions: Vec<String>,
}

impl Told {
    pub(crate) fn hear(&mut self, line: Line) {
        match line {
            Line::Open | Line::Finished => {}
            Line::Acknowledged { caller, n, place } => {
                if let Some(before) = self.acknowledged.insert((caller, n), place)
                    && before != place
                {
                    self.contradictions.push(format!("caller {caller}, append {n}: {before:?}, then {place:?}"));
                }
            }
            Line::Handled(position) => *self.handled.entry(position).or_default() += 1,
            Line::Started(order) => _ = self.started.insert(order),
            Line::Sold(n) => _ = self.sold.insert(n),
            Line::Effect { order, step, key } => {
                *self.effects.entry((order, step)).or_default().entry(key).or_default() += 1;
            }
        }
    }

    /// Number of the last append of each caller that was answered.
    pub(crate) fn last_answers(&self, callers: u64) -> Vec<u64> {
        let last = |caller| self.acknowledged.range((caller, 0)..=(caller, u64::MAX)).next_back();
        (0..callers).map(|caller| last(caller).map_or(0, |((_, n), _)| *n)).collect()
    }
}
