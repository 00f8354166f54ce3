//! What a log says of its runs: which are under way when an engine is opened, and lists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use csf_core::port::{EventId, Filter, Read, StoredEvent};

use super::task::{Input, signal_id};
use super::{RunStatus, RunSummary, Shared, of_stream, stream_of, timers};
use crate::history::{HistoryEntry, HistoryEvent, Parent, WORKFLOW_CATEGORY};
use crate::run::Pendings;
use crate::{ParentClosePolicy, WorkflowError};

/// Entries read at a time.
const PAGE: usize = 4096;

/// What is known of a run from its entries.
#[derive(Default)]
struct Known {
    pendings: Pendings,
    parent: Option<Parent>,
    outcome: Option<HistoryEvent>,
    deadline: Option<csf_core::Stamp>,
    entries: u64,
    /// With this many the code has not been asked yet.
    begun_with: u64,
    /// Entries that are copies of another run's: what they sent was sent by that.
    copied: u64,
}

/// A signal that a run has sent: its name, to whom, and what.
type Sent = (EventId, String, HistoryEvent);

/// Calls `visit` with every entry of every run, in the order of the log.
async fn each(shared: &Shared, mut visit: impl FnMut(&StoredEvent, HistoryEntry)) -> Result<(), WorkflowError> {
    let mut from = 0;
    loop {
        let read = Read::log(Filter::category(WORKFLOW_CATEGORY)).from(from).limit(PAGE);
        let events = shared.log.read(read).await?.events;
        let Some(last) = events.last() else { return Ok(()) };
        from = last.position + 1;
        for event in &events {
            let entry = HistoryEntry::of(event).map_err(|e| WorkflowError::BadHistory {
                id: of_stream(&event.stream).0.to_owned(),
                version: event.version,
                reason: e.to_string(),
            })?;
            visit(event, entry);
        }
    }
}

/// Brings everything back that was under way.
pub(super) async fn recover(shared: &Arc<Shared>) -> Result<(), WorkflowError> {
    let mut runs: BTreeMap<String, Known> = BTreeMap::new();
    let mut sent: Vec<Sent> = Vec::new();
    let mut received: BTreeSet<EventId> = BTreeSet::new();
    each(shared, |event, entry| {
        let known = runs.entry(event.stream.clone()).or_default();
        known.pendings.take(&entry.event, entry.stamp);
        known.entries += 1;
        match entry.event {
            started @ HistoryEvent::Started { .. } => {
                known.begun_with = started.begun_with();
                known.copied = started.resets().last().map_or(0, |reset| reset.to);
                if let HistoryEvent::Started { parent, deadline, .. } = started {
                    (known.parent, known.deadline) = (parent, deadline);
                }
            }
            HistoryEvent::SignalReceived { .. } => received.extend(event.id),
            HistoryEvent::SignalSent { to, name, payload } if event.version > known.copied => {
                let signal = HistoryEvent::SignalReceived { name, payload };
                sent.push((signal_id(&event.stream, event.version), to, signal));
            }
            end if end.is_end() => known.outcome = Some(end),
            _ => {}
        }
    })
    .await?;
    for (stream, known) in &runs {
        let name: Arc<str> = stream.as_str().into();
        if known.outcome.is_none() {
            known.pendings.timers.iter().for_each(|(seq, at)| shared.timers.set(*at, &name, *seq));
            known.deadline.into_iter().for_each(|at| shared.timers.set(at, &name, timers::DEADLINE));
            // Something is to be done, or the run was begun by another, or reset, and has not decided yet.
            if !known.pendings.activities.is_empty() || known.entries == known.begun_with {
                shared.deliver(stream, Input::Wake)?;
            }
            for (seq, (id, _)) in &known.pendings.children {
                if let Some(outcome) = outcome_of(&runs, id) {
                    let event = HistoryEvent::ChildCompleted { seq: *seq, outcome };
                    shared.deliver(stream, Input::Happened { event, id: None, done: None })?;
                }
            }
        } else if !matches!(known.outcome, Some(HistoryEvent::ContinuedAsNew { .. })) {
            // Children that outlived it and were not told.
            for (id, policy) in known.pendings.children.values() {
                let is_open = outcome_of(&runs, id).is_none();
                let child = newest_of(&runs, id).filter(|(_, child)| is_open && child.parent.is_some());
                if let (Some((child, _)), false) = (child, *policy == ParentClosePolicy::Abandon) {
                    shared.deliver(child, Input::parent_ended(*policy))?;
                }
            }
        }
    }
    for (id, to, event) in sent.into_iter().filter(|(id, ..)| !received.contains(id)) {
        if let Some((stream, Known { outcome: None, .. })) = newest_of(&runs, &to) {
            shared.deliver(stream, Input::Happened { event, id: Some(id), done: None })?;
        }
    }
    Ok(())
}

fn newest_of<'r>(runs: &'r BTreeMap<String, Known>, id: &str) -> Option<(&'r String, &'r Known)> {
    (0..).map_while(|run| runs.get_key_value(&stream_of(id, run))).last()
}

fn outcome_of(runs: &BTreeMap<String, Known>, id: &str) -> Option<Result<csf_core::port::Json, crate::Failure>> {
    newest_of(runs, id)?.1.outcome.as_ref().and_then(outcome)
}

/// The outcome that an end means to others; a run that is continued has none yet.
pub(super) fn outcome(end: &HistoryEvent) -> Option<Result<csf_core::port::Json, crate::Failure>> {
    match end {
        HistoryEvent::Completed { result } => Some(Ok(result.clone())),
        HistoryEvent::Failed { failure } | HistoryEvent::Terminated { failure } => Some(Err(failure.clone())),
        _ => None,
    }
}

/// Takes an entry into the summary of its run.
pub(super) fn summarise(summary: &mut Option<RunSummary>, stream: &str, entry: &HistoryEntry) {
    match (&entry.event, summary) {
        (HistoryEvent::Started { workflow, .. }, summary) => {
            let (id, run) = of_stream(stream);
            *summary = Some(RunSummary {
                id: id.to_owned(),
                run,
                workflow: workflow.clone(),
                started_at: entry.stamp,
                ended_at: None,
                status: RunStatus::Running,
            });
        }
        (end, Some(summary)) if end.is_end() => {
            summary.ended_at = Some(entry.stamp);
            summary.status = match outcome(end) {
                Some(Ok(result)) => RunStatus::Completed { result },
                Some(Err(failure)) => RunStatus::Failed { failure },
                None => RunStatus::Running,
            };
        }
        _ => {}
    }
}

/// The newest run of each id, in the order in which the ids were first started.
pub(super) async fn list(shared: &Shared) -> Result<Vec<RunSummary>, WorkflowError> {
    let mut order: Vec<String> = Vec::new();
    let mut runs: BTreeMap<String, Option<RunSummary>> = BTreeMap::new();
    each(shared, |event, entry| {
        let id = of_stream(&event.stream).0.to_owned();
        let summary = runs.entry(id.clone()).or_insert_with(|| {
            order.push(id);
            None
        });
        summarise(summary, &event.stream, &entry);
    })
    .await?;
    let blocked = shared.runs().blocked.clone();
    let mut listed = Vec::new();
    for id in order {
        let Some(Some(mut summary)) = runs.remove(&id) else { continue };
        if let (RunStatus::Running, Some(reason)) = (&summary.status, blocked.get(&stream_of(&id, summary.run))) {
            summary.status = RunStatus::Blocked { reason: reason.clone() };
        }
        listed.push(summary);
    }
    Ok(listed)
}
