//! What a log says of its runs: which are under way when an engine is opened, and lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use csf_core::port::{Criteria, Filter, Read, StoredEvent};

use super::checkpoint::{self, Standings};
use super::input::Input;
use super::standing::{Sent, Standing};
use super::{RunStatus, RunSummary, Shared, of_stream, stream_of};
use crate::WorkflowError;
use crate::attributes::{self, Attributes};
use crate::history::{HistoryEntry, HistoryEvent, Parent, WORKFLOW_CATEGORY};

/// Entries read at a time.
const PAGE: usize = 4096;

/// Types of the entries that a list of runs is made of: those that begin and end them, and what they are found by.
const LISTED: [&str; 6] = ["started", "attributes_upserted", "completed", "failed", "continued_as_new", "terminated"];

/// Calls `visit` with the listed entries of every run, in the order of the log, or with why it cannot be read.
async fn each(
    shared: &Shared,
    mut visit: impl FnMut(&StoredEvent, Result<HistoryEntry, String>),
) -> Result<(), WorkflowError> {
    let kinds = LISTED.map(str::to_owned).into();
    let filter = Filter::from(Criteria { categories: vec![WORKFLOW_CATEGORY.into()], kinds, ..Criteria::default() });
    let mut from = 0;
    loop {
        let read = Read::log(filter.clone()).from(from).limit(PAGE);
        let events = shared.log.read(read).await?.events;
        let Some(last) = events.last() else { return Ok(()) };
        from = last.position + 1;
        for event in &events {
            visit(event, HistoryEntry::of(event).map_err(|e| e.to_string()));
        }
    }
}

/// Brings everything back that was under way.
pub(super) async fn recover(shared: &Arc<Shared>) -> Result<(), WorkflowError> {
    let mut standings = Standings::read(shared).await?;
    standings.pace(shared);
    while let Some(alone) = standings.next(shared).await? {
        alone.iter().try_for_each(|(stream, run)| bring_back(shared, stream, run))?;
    }
    let (relatives, unheard) = standings.rest();
    let open = relatives.0.iter().filter(|(_, run)| !run.has_ended);
    open.into_iter().try_for_each(|(stream, run)| bring_back(shared, stream, run))?;
    for (child, Parent { stream, seq }) in relatives.untold() {
        if let Some(outcome) = readable(shared.end_of(child).await)?.flatten().as_ref().and_then(outcome) {
            let event = HistoryEvent::ChildCompleted { seq: *seq, outcome };
            shared.deliver(stream, Input::Happened { event, id: None, done: None })?;
        }
    }
    for (child, policy) in relatives.orphans() {
        shared.deliver(child, Input::parent_ended(policy))?;
    }
    for Sent { id, to, event } in unheard {
        if let Some(stream) = readable(shared.open(&to).await)?.flatten() {
            shared.deliver(&stream, Input::Happened { event, id: Some(id), done: None })?;
        }
    }
    checkpoint::note(shared, 0);
    Ok(())
}

/// What was found; nothing where a history cannot be read, whose run is set aside.
fn readable<T>(found: Result<T, WorkflowError>) -> Result<Option<T>, WorkflowError> {
    match found {
        Err(WorkflowError::BadHistory { .. }) => Ok(None),
        other => other.map(Some),
    }
}

fn bring_back(shared: &Arc<Shared>, stream: &str, run: &Standing) -> Result<(), WorkflowError> {
    run.timers.iter().for_each(|(seq, at)| shared.timers.set(*at, stream, *seq));
    if run.activities.is_empty() && !run.is_undecided {
        return Ok(());
    }
    shared.deliver(stream, Input::Wake)
}

/// The outcome that an end means to others; a run that is continued has none yet.
pub(super) fn outcome(end: &HistoryEvent) -> Option<Result<csf_core::port::Json, crate::Failure>> {
    match end {
        HistoryEvent::Completed { result } => Some(Ok(result.clone())),
        HistoryEvent::Failed { failure } | HistoryEvent::Terminated { failure } => Some(Err(failure.clone())),
        _ => None,
    }
}

/// How a run is that has these entries, as far as they can be read.
pub(super) fn summary_of(stream: &str, events: &[StoredEvent]) -> Option<RunSummary> {
    let mut summary = None;
    for event in events {
        match HistoryEntry::of(event) {
            Ok(entry) => summarise(&mut summary, stream, &entry),
            Err(reason) => summarise_unreadable(&mut summary, stream, event, &reason.to_string()),
        }
    }
    summary
}

/// Takes an entry that cannot be read into the summary of its run.
fn summarise_unreadable(summary: &mut Option<RunSummary>, stream: &str, event: &StoredEvent, reason: &str) {
    let (id, run) = of_stream(stream);
    let error = WorkflowError::BadHistory { id: id.to_owned(), version: event.version, reason: reason.to_owned() };
    let summary = summary.get_or_insert_with(|| RunSummary {
        id: id.to_owned(),
        run,
        workflow: "unknown".into(),
        started_at: event.stamp,
        ended_at: None,
        attributes: Attributes::new(),
        status: RunStatus::Running,
    });
    summary.status = RunStatus::Blocked { reason: error.to_string() };
}

/// Takes an entry into the summary of its run.
fn summarise(summary: &mut Option<RunSummary>, stream: &str, entry: &HistoryEntry) {
    match (&entry.event, summary) {
        (HistoryEvent::Started { workflow, attributes, .. }, summary) => {
            let (id, run) = of_stream(stream);
            *summary = Some(RunSummary {
                id: id.to_owned(),
                run,
                workflow: workflow.clone(),
                started_at: entry.stamp,
                ended_at: None,
                attributes: attributes.clone(),
                status: RunStatus::Running,
            });
        }
        (HistoryEvent::AttributesUpserted { attributes }, Some(summary)) => {
            attributes::upsert(&mut summary.attributes, attributes);
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
        match entry {
            Ok(entry) => summarise(summary, &event.stream, &entry),
            Err(reason) => summarise_unreadable(summary, &event.stream, event, &reason),
        }
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
