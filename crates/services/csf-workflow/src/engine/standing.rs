//! How runs stand: what an engine must know of them to go on, and no more. Pure.
//!
//! A [`Standing`] is folded from a run's entries, and one of later entries is put on one of earlier ones: so what is known of a log up to a position
//! and what follows that position give what is known of the whole log.

use std::collections::{BTreeMap, BTreeSet};

use csf_core::Stamp;
use csf_core::port::{EventId, StoredEvent};
use serde::{Deserialize, Serialize};

use super::task::signal_id;
use super::{of_stream, timers};
use crate::ParentClosePolicy;
use crate::history::{HistoryEvent, Parent};

/// A run, as far as something is to be done for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Standing {
    /// Steps that sleep, and until when. [`timers::DEADLINE`] is the run's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) timers: Vec<(u32, Stamp)>,
    /// Activities without an answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) activities: Vec<u32>,
    /// The part that other runs play. Most have none, and there may be a million.
    #[serde(skip_serializing_if = "Option::is_none")]
    kin: Option<Box<Kin>>,
    /// Whether it was begun by another and has not decided yet.
    #[serde(skip_serializing_if = "is_false")]
    pub(super) is_undecided: bool,
    /// Whether it has ended.
    #[serde(skip_serializing_if = "is_false")]
    pub(super) has_ended: bool,
    /// What its entries say of earlier ones.
    #[serde(skip)]
    before: Option<Box<Before>>,
}

/// What is to be changed in how a run stood before the first entry that was folded.
#[derive(Clone, Debug, Default, PartialEq)]
struct Before {
    /// Steps that have ended since.
    gone: BTreeSet<u32>,
    /// Whether another run has taken its place, so that nobody is told of its end.
    is_continued: bool,
    /// Whether it was reset, and another run is its parent's child.
    is_reset: bool,
    /// Entries still to come that a reset copied: the code has not been asked before they are there. They stand in one append, which no
    /// checkpoint divides.
    copied: u64,
}

/// Other runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Kin {
    /// Who waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<Parent>,
    /// Children without an answer: step, id, and what becomes of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<(u32, String, ParentClosePolicy)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_false(is: &bool) -> bool {
    !is
}

impl Standing {
    fn take(&mut self, event: &HistoryEvent) {
        if let Some(before) = self.before.as_mut().filter(|before| before.copied > 0) {
            before.copied -= 1;
        } else {
            let copied = event.begun_with() - 1;
            if copied > 0 {
                self.before.get_or_insert_default().copied = copied;
            }
            // A run that was started from outside has decided in the same append.
            self.is_undecided = !event.resets().is_empty()
                || matches!(event, HistoryEvent::Started { run, parent, .. } if *run > 0 || parent.is_some());
        }
        match event {
            HistoryEvent::Started { parent, deadline, .. } => {
                if parent.is_some() {
                    self.kin().parent.clone_from(parent);
                }
                deadline.iter().for_each(|at| self.sleeps(timers::DEADLINE, *at));
            }
            HistoryEvent::ActivityScheduled { seq, .. } => self.activities.push(*seq),
            HistoryEvent::TimerStarted { seq, fires_at } => self.sleeps(*seq, *fires_at),
            HistoryEvent::ChildStarted { seq, id, policy, .. } => {
                self.kin().children.push((*seq, id.clone(), *policy));
            }
            HistoryEvent::ActivityCompleted { seq, .. }
            | HistoryEvent::ActivityFailed { seq, .. }
            | HistoryEvent::ActivityCancelled { seq }
            | HistoryEvent::TimerFired { seq }
            | HistoryEvent::TimerCancelled { seq }
            | HistoryEvent::ChildCompleted { seq, .. } => {
                let open = self.steps();
                self.without(|step| step == *seq);
                if self.steps() == open {
                    self.before.get_or_insert_default().gone.insert(*seq);
                }
            }
            end if end.is_end() => self.end(matches!(end, HistoryEvent::ContinuedAsNew { .. })),
            _ => {}
        }
    }

    /// Most runs sleep once at a time.
    fn sleeps(&mut self, seq: u32, until: Stamp) {
        if self.timers.is_empty() {
            self.timers.reserve_exact(1);
        }
        self.timers.push((seq, until));
    }

    fn kin(&mut self) -> &mut Kin {
        self.kin.get_or_insert_default()
    }

    fn parent(&self) -> Option<&Parent> {
        self.kin.as_ref()?.parent.as_ref()
    }

    fn leave_parent(&mut self) {
        if let Some(kin) = &mut self.kin {
            kin.parent = None;
            self.kin.take_if(|kin| **kin == Kin::default());
        }
    }

    fn children(&self) -> &[(u32, String, ParentClosePolicy)] {
        self.kin.as_ref().map_or(&[], |kin| &kin.children)
    }

    fn steps(&self) -> usize {
        self.timers.len() + self.activities.len() + self.children().len()
    }

    fn without(&mut self, is_gone: impl Fn(u32) -> bool) {
        self.timers.retain(|(seq, _)| !is_gone(*seq));
        self.activities.retain(|seq| !is_gone(*seq));
        if let Some(kin) = &mut self.kin {
            kin.children.retain(|(seq, ..)| !is_gone(*seq));
            self.kin.take_if(|kin| **kin == Kin::default());
        }
    }

    fn end(&mut self, is_continued: bool) {
        self.has_ended = true;
        (self.timers, self.activities) = (Vec::new(), Vec::new());
        if is_continued {
            self.kin = None;
            self.before.get_or_insert_default().is_continued = true;
        }
    }

    /// The same run after later entries.
    fn after(mut self, later: Self) -> Self {
        let before = later.before.unwrap_or_default();
        if !before.gone.is_empty() {
            self.without(|step| before.gone.contains(&step));
        }
        self.timers.extend(later.timers);
        self.activities.extend(later.activities);
        if let Some(later) = later.kin {
            self.kin().children.extend(later.children);
        }
        self.is_undecided = later.is_undecided;
        if before.is_reset {
            self.leave_parent();
        }
        if later.has_ended {
            self.end(before.is_continued);
        }
        self
    }

    /// Whether other runs play a part: those are looked at together.
    pub(super) fn has_relatives(&self) -> bool {
        self.kin.is_some()
    }

    /// Whether there is nothing to be done for it by itself.
    pub(super) fn is_idle(&self) -> bool {
        self.has_ended || (self.steps() == 0 && !self.is_undecided)
    }
}

/// A signal that a run has sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sent {
    /// Its name.
    pub(super) id: EventId,
    /// Id of the run it is for.
    pub(super) to: String,
    /// The signal.
    pub(super) event: HistoryEvent,
}

/// What entries add up to.
#[derive(Debug, Default)]
pub(super) struct Fold {
    /// By stream.
    pub(super) runs: BTreeMap<Box<str>, Standing>,
    pub(super) sent: Vec<Sent>,
    received: BTreeSet<EventId>,
    /// How many there were.
    pub(super) entries: u64,
}

impl Fold {
    /// Takes the next entry of the log in.
    pub(super) fn take(&mut self, stored: &StoredEvent, event: &HistoryEvent) {
        self.entries += 1;
        if !self.runs.contains_key(&*stored.stream) {
            self.runs.insert(stored.stream.as_str().into(), Standing::default());
        }
        let run = self.runs.get_mut(&*stored.stream).expect("it was put there");
        let is_copy = run.before.as_ref().is_some_and(|before| before.copied > 0);
        run.take(event);
        if let Some(reset) = event.resets().last() {
            // Its parent waits for the end of this one now.
            let old = self.runs.entry(reset.stream.as_str().into()).or_default();
            old.leave_parent();
            old.before.get_or_insert_default().is_reset = true;
        }
        match event {
            HistoryEvent::SignalReceived { .. } => self.received.extend(stored.id),
            HistoryEvent::SignalSent { to, name, payload } if !is_copy => {
                let event = HistoryEvent::SignalReceived { name: name.clone(), payload: payload.clone() };
                self.sent.push(Sent { id: signal_id(&stored.stream, stored.version), to: to.clone(), event });
            }
            _ => {}
        }
    }

    /// A run that stood so before the first entry, as it stands after the last.
    pub(super) fn on(&mut self, stream: &str, earlier: Standing) -> Standing {
        match self.runs.remove(stream) {
            Some(later) => earlier.after(later),
            None => earlier,
        }
    }

    /// Signals that had been sent before the first entry, and those since, that have not been received.
    pub(super) fn unheard(&mut self, earlier: Vec<Sent>) -> Vec<Sent> {
        let all = earlier.into_iter().chain(std::mem::take(&mut self.sent));
        all.filter(|sent| !self.received.contains(&sent.id)).collect()
    }
}

/// Runs that play a part in each other, by stream.
#[derive(Debug, Default)]
pub(super) struct Relatives(pub(super) BTreeMap<Box<str>, Standing>);

impl Relatives {
    /// Forgets those that nobody has to be told of, and for which nothing is to be done.
    pub(super) fn settle(&mut self) {
        let told_of: BTreeSet<Box<str>> = self.untold().map(|(stream, _)| stream.into()).collect();
        let open = self.children();
        let has_orphans = |run: &Standing| orphans(run).any(|(id, _)| open.contains_key(id));
        let parents: BTreeSet<Box<str>> = self
            .0
            .iter()
            .filter(|(_, run)| run.has_ended && has_orphans(run))
            .map(|(stream, _)| stream.clone())
            .collect();
        self.0.retain(|stream, run| !run.has_ended || told_of.contains(stream) || parents.contains(stream));
    }

    /// Ended children whose parents wait for them: stream and parent.
    pub(super) fn untold(&self) -> impl Iterator<Item = (&str, &Parent)> {
        self.0.iter().filter(|(_, run)| run.has_ended).filter_map(|(stream, run)| {
            let parent = run.parent()?;
            let waits = self.0.get(&*parent.stream).filter(|parent| !parent.has_ended)?;
            waits.children().iter().any(|(seq, ..)| *seq == parent.seq).then_some((&**stream, parent))
        })
    }

    /// Open children of ended parents that are to be told: stream and what becomes of them.
    pub(super) fn orphans(&self) -> impl Iterator<Item = (&str, ParentClosePolicy)> {
        let open = self.children();
        let left = self.0.values().filter(|run| run.has_ended).flat_map(orphans);
        left.filter_map(move |(id, policy)| Some((*open.get(id)?, policy)))
    }

    /// Streams of open children by their ids.
    fn children(&self) -> BTreeMap<&str, &str> {
        let open = self.0.iter().filter(|(_, run)| !run.has_ended && run.parent().is_some());
        open.map(|(stream, _)| (of_stream(stream).0, &**stream)).collect()
    }
}

/// Ids of the children that are not left to themselves.
fn orphans(run: &Standing) -> impl Iterator<Item = (&str, ParentClosePolicy)> {
    let children = run.children().iter().filter(|(_, _, policy)| *policy != ParentClosePolicy::Abandon);
    children.map(|(_, id, policy)| (id.as_str(), *policy))
}

#[cfg(test)]
mod tests {
    use csf_core::port::{Json, Origin, Rng};
    use csf_sim::SeededRng;

    use super::*;
    use crate::Failure;

    /// What a checkpoint holds: runs that stand alone, relatives, signals.
    type State = (BTreeMap<Box<str>, Standing>, BTreeMap<Box<str>, Standing>, Vec<Sent>);

    /// How runs stand that stood so before these entries.
    fn after(before: State, entries: &[StoredEvent]) -> State {
        let mut fold = Fold::default();
        entries.iter().for_each(|entry| fold.take(entry, &entry.parse().unwrap()));
        let earlier: Vec<_> = before.0.into_iter().chain(before.1).collect();
        let stored: Vec<(Box<str>, Standing)> = Json::of(&earlier).unwrap().parse().unwrap();
        let known: Vec<_> = stored.into_iter().map(|(stream, run)| (fold.on(&stream, run), stream)).collect();
        let rest = std::mem::take(&mut fold.runs).into_iter().map(|(stream, run)| (run, stream));
        let (mut alone, mut relatives) = (BTreeMap::new(), Relatives::default());
        for (run, stream) in known.into_iter().chain(rest) {
            if run.has_relatives() {
                relatives.0.insert(stream, run);
            } else if !run.is_idle() {
                alone.insert(stream, run);
            }
        }
        relatives.settle();
        (alone, relatives.0, fold.unheard(before.2))
    }

    /// A run that is under way.
    struct Open {
        stream: String,
        steps: Vec<(u32, char)>,
        seq: u32,
        parent: Option<Parent>,
    }

    /// Random lives of runs; each inner list is one append.
    fn lives(rng: &mut SeededRng) -> Vec<Vec<StoredEvent>> {
        let mut appends: Vec<Vec<(String, HistoryEvent)>> = Vec::new();
        let (mut open, mut next): (Vec<Open>, u32) = (Vec::new(), 0);
        let null = || Json::from(serde_json::Value::Null);
        let started = |run, parent: Option<Parent>, deadline| HistoryEvent::Started {
            workflow: "w".into(),
            input: null(),
            run,
            parent,
            deadline,
            resets: Vec::new(),
            attributes: Default::default(),
        };
        for _ in 0..60 {
            if open.is_empty() || rng.below(8) == 0 {
                let stream = format!("workflow-{next}");
                next += 1;
                let deadline = (rng.below(3) == 0).then_some(Stamp(rng.next_u64() >> 2));
                appends.push(vec![(stream.clone(), started(0, None, deadline))]);
                open.push(Open { stream, steps: Vec::new(), seq: 0, parent: None });
                continue;
            }
            let at = usize::try_from(rng.below(open.len() as u64)).unwrap();
            let run = &mut open[at];
            let (stream, seq) = (run.stream.clone(), run.seq + 1);
            let mut append = Vec::new();
            match rng.below(9) {
                0 => {
                    run.seq = seq;
                    run.steps.push((seq, 'a'));
                    let options = crate::ActivityOptions::default();
                    let event = HistoryEvent::ActivityScheduled { seq, activity: "a".into(), input: null(), options };
                    append.push((stream, event));
                }
                1 => {
                    run.seq = seq;
                    run.steps.push((seq, 't'));
                    append.push((stream, HistoryEvent::TimerStarted { seq, fires_at: Stamp(rng.next_u64() >> 2) }));
                }
                2 => {
                    run.seq = seq;
                    run.steps.push((seq, 'c'));
                    let policy = [ParentClosePolicy::Cancel, ParentClosePolicy::Abandon][rng.below(2) as usize];
                    let (id, child) = (next.to_string(), format!("workflow-{next}"));
                    next += 1;
                    let event = HistoryEvent::ChildStarted { seq, id, workflow: "w".into(), input: null(), policy };
                    let parent = Some(Parent { stream: stream.clone(), seq });
                    append.extend([(stream, event), (child.clone(), started(0, parent.clone(), None))]);
                    open.push(Open { stream: child, steps: Vec::new(), seq: 0, parent });
                }
                3..6 if !run.steps.is_empty() => {
                    let at = usize::try_from(rng.below(run.steps.len() as u64)).unwrap();
                    let (seq, kind) = run.steps.swap_remove(at);
                    append.push((
                        stream,
                        match kind {
                            'a' => HistoryEvent::ActivityCompleted { seq, result: null() },
                            't' => HistoryEvent::TimerFired { seq },
                            _ => HistoryEvent::ChildCompleted { seq, outcome: Ok(null()) },
                        },
                    ));
                }
                6 => {
                    let event = HistoryEvent::SignalSent { to: "0".into(), name: "s".into(), payload: null() };
                    append.push((stream, event));
                }
                7 => {
                    open.swap_remove(at);
                    append.push((stream, HistoryEvent::Terminated { failure: Failure::new("e", "ended") }));
                }
                8 => {
                    let ended = open.swap_remove(at);
                    let (id, number) = of_stream(&stream);
                    let continued = format!("workflow-{id}~{}", number + 1);
                    let first = started(number + 1, ended.parent.clone(), None);
                    append
                        .extend([(stream, HistoryEvent::ContinuedAsNew { input: null() }), (continued.clone(), first)]);
                    open.push(Open { stream: continued, steps: Vec::new(), seq: 0, parent: ended.parent });
                }
                _ => {
                    append.push((stream, HistoryEvent::SignalReceived { name: "s".into(), payload: null() }));
                }
            }
            appends.push(append);
        }
        stored(appends, rng)
    }

    /// The events as a log has them. A signal that is received is one that was sent, every other time.
    fn stored(appends: Vec<Vec<(String, HistoryEvent)>>, rng: &mut SeededRng) -> Vec<Vec<StoredEvent>> {
        let (mut position, mut versions) = (0, BTreeMap::new());
        let mut sent: Vec<EventId> = Vec::new();
        let mut store = |(stream, event): (String, HistoryEvent)| {
            position += 1;
            let version = versions.entry(stream.clone()).or_insert(0);
            *version += 1;
            let mut id = None;
            match event {
                HistoryEvent::SignalSent { .. } => sent.push(signal_id(&stream, *version)),
                HistoryEvent::SignalReceived { .. } if rng.below(2) == 0 => id = sent.pop(),
                _ => {}
            }
            StoredEvent {
                position,
                id,
                version: *version,
                kind: event.kind().into(),
                stamp: Stamp(position),
                tags: Vec::new(),
                origin: Origin::default(),
                data: Json::of(&event).unwrap(),
                stream,
            }
        };
        appends.into_iter().map(|append| append.into_iter().map(&mut store).collect()).collect()
    }

    #[test]
    fn what_is_known_up_to_any_append_and_what_follows_are_what_is_known_of_all() {
        let mut seen = [0; 3];
        for seed in 0..80 {
            let appends = lives(&mut SeededRng::new(seed));
            let whole = after(State::default(), &appends.concat());
            for split in 0..=appends.len() {
                let (earlier, later) = appends.split_at(split);
                let before = after(State::default(), &earlier.concat());
                assert_eq!(after(before, &later.concat()), whole, "seed {seed}, split at {split}");
            }
            let relatives = Relatives(whole.1.clone());
            let found = [relatives.untold().count(), relatives.orphans().count(), whole.2.len()];
            seen = std::array::from_fn(|at| seen[at] + found[at]);
        }
        assert!(seen.iter().all(|count| *count > 10), "untold ends, orphans, unheard signals: {seen:?}");
    }
}
