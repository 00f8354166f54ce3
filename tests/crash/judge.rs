//! The verdict, from outside: the log as it is read in the end, against what the killed processes had told before they died. Pure.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use csf_core::Stamp;
use csf_core::port::{EventId, Json, StoredEvent, category};
use csf_workflow::{HistoryEntry, HistoryEvent, WORKFLOW_CATEGORY};

use crate::shop::Books;
use crate::told::Told;
use crate::work::{self, CALLER, Kind, SALE, SHARED, STEPS, Said};

/// Problems that are told in words; all are counted.
const WORDS_MAX: usize = 20;

/// What is found in the end.
#[derive(Debug)]
pub(crate) struct Found {
    /// The log, by positions.
    pub(crate) events: Vec<StoredEvent>,
    /// The read model: events by stream, and the sum of their numbers.
    pub(crate) sums: BTreeMap<String, (u64, u64)>,
    /// The shop's own rows.
    pub(crate) books: Books,
}

/// How much was done, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Appends and starts of orders that were answered.
    pub(crate) acknowledged: u64,
    /// Answered, and not in the log as the answer says.
    pub(crate) lost: u64,
    /// Events that stand in the log again.
    pub(crate) duplicated: u64,
    /// Steps of orders that took effect under two keys, or stand in the history twice.
    pub(crate) steps_twice: u64,
    /// Everything else that is not as it must be: gaps, order, halves of appends, events nobody handled, sums that are wrong.
    pub(crate) astray: u64,
    /// Events of callers in the log.
    pub(crate) events: u64,
    /// Events that were handled again after a crash, which is allowed.
    pub(crate) redelivered: u64,
    /// Orders.
    pub(crate) orders: u64,
    /// Steps that were tried again under the same key, which is allowed.
    pub(crate) repeated: u64,
    /// Sales.
    pub(crate) sales: u64,
    /// The first problems.
    pub(crate) words: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        (self.lost, self.duplicated, self.steps_twice, self.astray) == (0, 0, 0, 0)
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.steps_twice += other.steps_twice;
        self.astray += other.astray;
        self.events += other.events;
        self.redelivered += other.redelivered;
        self.orders += other.orders;
        self.repeated += other.repeated;
        self.sales += other.sales;
        self.words.extend(other.words);
        self.words.truncate(WORDS_MAX);
    }

    fn say(&mut self, words: impl FnOnce() -> String) {
        if self.words.len() < WORDS_MAX {
            self.words.push(words());
        }
    }

    fn lost(&mut self, words: impl FnOnce() -> String) {
        self.lost += 1;
        self.say(words);
    }

    fn astray(&mut self, words: impl FnOnce() -> String) {
        self.astray += 1;
        self.say(words);
    }
}

/// Judges one log.
pub(crate) fn judge(told: &Told, found: &Found) -> Verdict {
    let mut verdict = Verdict::default();
    for contradiction in &told.contradictions {
        verdict.astray(|| contradiction.clone());
    }
    versions(&mut verdict, &found.events);
    appends(&mut verdict, told, &found.events);
    followers(&mut verdict, told, found);
    orders(&mut verdict, told, &found.events);
    sales(&mut verdict, told, found);
    verdict
}

/// Positions go up, and the versions of every stream that keeps its events have no gap.
fn versions(verdict: &mut Verdict, events: &[StoredEvent]) {
    let mut last = 0;
    let mut versions: BTreeMap<&str, u64> = BTreeMap::new();
    for event in events {
        if event.position <= last {
            verdict.astray(|| format!("position {} comes after {last}", event.position));
        }
        last = event.position;
        if is_ours(event) || category(&event.stream) == WORKFLOW_CATEGORY {
            let version = versions.entry(&event.stream).or_default();
            *version += 1;
            if event.version != *version {
                verdict.astray(|| format!("`{}` has version {} in place of {version}", event.stream, event.version));
                *version = event.version;
            }
        }
    }
}

fn is_ours(event: &StoredEvent) -> bool {
    category(&event.stream) == CALLER || event.stream == SHARED
}

/// Every append is there once, whole, in the order of its caller, and where its answer says.
fn appends(verdict: &mut Verdict, told: &Told, events: &[StoredEvent]) {
    let mut there: BTreeMap<(u64, u64), Vec<(&StoredEvent, u64)>> = BTreeMap::new();
    for event in events.iter().filter(|event| is_ours(event)) {
        verdict.events += 1;
        let Ok(said) = event.parse::<Said>() else {
            verdict.astray(|| format!("the event at position {} is nobody's", event.position));
            continue;
        };
        if !is_as_it_was(event, &said) {
            verdict.astray(|| format!("the event at position {} has changed", event.position));
        }
        there.entry((said.caller, said.n)).or_default().push((event, said.part));
    }
    let mut before = (u64::MAX, 0, 0);
    for ((caller, n), places) in &there {
        let kind = Kind::of(*caller);
        let parts: Vec<u64> = places.iter().map(|(_, part)| *part).collect();
        let whole: Vec<u64> = (0..kind.events()).collect();
        let more = parts.len().saturating_sub(whole.len()) as u64;
        verdict.duplicated += more;
        if more > 0 {
            verdict.say(|| format!("append {n} of caller {caller} is there again: parts {parts:?}"));
        } else if parts != whole || !places.windows(2).all(|pair| pair[0].0.position + 1 == pair[1].0.position) {
            verdict.astray(|| format!("append {n} of caller {caller} is not whole: parts {parts:?}"));
        }
        let first = places[0].0.position;
        let expected = if before.0 == *caller { before.1 + 1 } else { 1 };
        if *n != expected {
            verdict.astray(|| format!("caller {caller} has append {n} in place of {expected}"));
        } else if before.0 == *caller && first < before.2 {
            verdict.astray(|| format!("append {n} of caller {caller} stands before the one before it"));
        }
        before = (*caller, *n, first);
    }
    for ((caller, n), place) in &told.acknowledged {
        verdict.acknowledged += 1;
        let stands = there.get(&(*caller, *n)).map(|places| (places[0].0.position, places[places.len() - 1].0.version));
        let is_there = stands
            .is_some_and(|(first, version)| place.version == version && place.first.is_none_or(|told| told == first));
        if !is_there {
            verdict.lost(|| format!("append {n} of caller {caller} was answered with {place:?}, and is at {stands:?}"));
        }
    }
}

/// Every byte that was appended, and the name.
fn is_as_it_was(event: &StoredEvent, said: &Said) -> bool {
    if said.n == 0 || said.part >= Kind::of(said.caller).events() {
        return false;
    }
    let append = work::append(said.caller, said.n, Stamp::ZERO);
    let wanted = &append.events[said.part as usize];
    let is_named = |id: Option<EventId>| id == wanted.id;
    event.stream == wanted.stream && is_named(event.id) && event.tags == wanted.tags && same(&event.data, &wanted.data)
}

fn same(one: &Json, other: &Json) -> bool {
    one.as_str() == other.as_str()
}

/// Every event was handled at least once, and the read model adds up to the log.
fn followers(verdict: &mut Verdict, told: &Told, found: &Found) {
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for event in found.events.iter().filter(|event| category(&event.stream) == CALLER) {
        match told.handled.get(&event.position) {
            Some(times) => verdict.redelivered += times - 1,
            None => verdict.astray(|| format!("nobody handled the event at position {}", event.position)),
        }
        let sum = sums.entry(event.stream.clone()).or_default();
        sum.0 += 1;
        sum.1 += event.parse::<Said>().map_or(0, |said| said.n);
    }
    if sums != found.sums {
        verdict.astray(|| format!("the log adds up to {sums:?}, the read model says {:?}", found.sums));
    }
}

/// Every order that was accepted has ended well, each step once in effect.
fn orders(verdict: &mut Verdict, told: &Told, events: &[StoredEvent]) {
    let mut histories: BTreeMap<&str, Vec<HistoryEvent>> = BTreeMap::new();
    for event in events.iter().filter(|event| category(&event.stream) == WORKFLOW_CATEGORY) {
        let order = &event.stream[WORKFLOW_CATEGORY.len() + 1..];
        match HistoryEntry::of(event) {
            Ok(entry) => histories.entry(order).or_default().push(entry.event),
            Err(error) => verdict.astray(|| format!("the entry at position {}: {error}", event.position)),
        }
    }
    for order in &told.started {
        verdict.acknowledged += 1;
        if !histories.contains_key(order.as_str()) {
            verdict.lost(|| format!("the start of `{order}` was answered, and is not there"));
        }
    }
    for (order, history) in &histories {
        verdict.orders += 1;
        let count = |what: &dyn Fn(&HistoryEvent) -> bool| history.iter().filter(|entry| what(entry)).count();
        let started = count(&|entry| matches!(entry, HistoryEvent::Started { .. }));
        let completed = count(&|entry| matches!(entry, HistoryEvent::Completed { .. }));
        if (started, completed) != (1, 1) {
            verdict.astray(|| format!("`{order}` has started {started} times and ended well {completed} times"));
        }
        for step in STEPS {
            let seqs: Vec<u32> = history.iter().filter_map(|entry| scheduled(entry, step)).collect();
            let done =
                count(&|entry| matches!(entry, HistoryEvent::ActivityCompleted { seq, .. } if seqs.contains(seq)));
            let keys = told.effects.get(&((*order).to_owned(), step.to_owned()));
            verdict.repeated += keys.map_or(0, |keys| keys.values().map(|times| times - 1).sum());
            let effects = keys.map_or(0, BTreeMap::len);
            if seqs.len() > 1 || done > 1 || effects > 1 {
                verdict.steps_twice += 1;
                verdict.say(|| {
                    format!("`{step}` of `{order}`: decided {} times, done {done} times, {effects} effects", seqs.len())
                });
            } else if (seqs.len(), done, effects) != (1, 1, 1) {
                verdict.astray(|| format!("`{step}` of `{order}` was not done"));
            }
        }
    }
}

/// Every sale that was committed has its event once, and took effect once.
fn sales(verdict: &mut Verdict, told: &Told, found: &Found) {
    let Books { sold, booked } = &found.books;
    let mut published: BTreeMap<u64, u64> = BTreeMap::new();
    for event in found.events.iter().filter(|event| category(&event.stream) == SALE) {
        *published.entry(event.data.to_value()["n"].as_u64().unwrap_or(0)).or_default() += 1;
    }
    verdict.sales += sold.len() as u64;
    for n in &told.sold {
        verdict.acknowledged += 1;
        if sold.binary_search(n).is_err() {
            verdict.lost(|| format!("sale {n} was answered, and its row is not there"));
        }
    }
    for n in sold {
        match published.remove(n).unwrap_or(0) {
            0 => verdict.lost(|| format!("sale {n} was committed, and its event is not there")),
            1 => {}
            times => {
                verdict.duplicated += times - 1;
                verdict.say(|| format!("the event of sale {n} is there {times} times"));
            }
        }
    }
    for n in published.keys() {
        verdict.astray(|| format!("there is an event of sale {n}, which was not committed"));
    }
    for n in sold {
        let times = booked.get(n).copied().unwrap_or(0);
        if times != 1 {
            verdict.astray(|| format!("sale {n} was booked {times} times"));
        }
    }
}

fn scheduled(entry: &HistoryEvent, step: &str) -> Option<u32> {
    match entry {
        HistoryEvent::ActivityScheduled { seq, activity, .. } if activity == step => Some(*seq),
        _ => None,
    }
}
