//! A step in the making: what happened, what the code decides then, and the one append that both become.

use csf_core::Stamp;
use csf_core::port::{Append, EventId, ExpectedVersion, Json, NewEvent, Origin, Read};

use super::{Shared, of_stream, stream_of};
use crate::WorkflowError;
use crate::attributes::Attributes;
use crate::definition::Code;
use crate::history::{HistoryEvent, Parent};
use crate::run::{Machine, Pendings};

/// A run in memory.
pub(super) struct Loaded {
    pub(super) machine: Machine,
    pub(super) pendings: Pendings,
    pub(super) version: u64,
    pub(super) stamp: Stamp,
    pub(super) parent: Option<Parent>,
    /// What follows from a start that another run has appended.
    pub(super) undecided: Vec<HistoryEvent>,
}

impl Loaded {
    /// A run without a history.
    pub(super) fn new(id: &str, code: Code) -> Self {
        let (machine, pendings) = (Machine::new(id, code), Pendings::default());
        Self { machine, pendings, version: 0, stamp: Stamp::ZERO, parent: None, undecided: Vec::new() }
    }
}

/// An entry that is to be appended.
pub(super) struct Entry {
    pub(super) event: HistoryEvent,
    id: Option<EventId>,
    origin: Origin,
}

/// A run that begins in the same append.
pub(super) struct Begun {
    pub(super) stream: String,
    pub(super) started: HistoryEvent,
}

/// What is to be appended at once.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) now: Stamp,
    pub(super) author: String,
    pub(super) entries: Vec<Entry>,
    /// Children that were decided and not looked at yet: step, id and start.
    pub(super) unchecked: Vec<(u32, String, HistoryEvent)>,
    pub(super) begun: Vec<Begun>,
    /// Timers nobody waits for any more.
    pub(super) cleared: Vec<(Stamp, u32)>,
}

impl Draft {
    pub(super) fn has_ended(&self) -> bool {
        self.entries.last().is_some_and(|entry| entry.event.is_end())
    }

    pub(super) fn begins(&self, stream: &str) -> bool {
        self.begun.iter().any(|begun| begun.stream == stream)
    }

    /// Something happened, and what the code decides then.
    pub(super) fn happened(&mut self, run: &mut Loaded, event: HistoryEvent, id: Option<EventId>, origin: Origin) {
        let is_input = event.role() == crate::history::Role::Input;
        let decisions = if is_input { run.machine.input(&event, self.now) } else { Vec::new() };
        let own = Origin { author: Some(self.author.clone()), ..Origin::default() };
        let origin = if origin.is_empty() { own } else { origin };
        self.push(run, Entry { event, id, origin });
        self.decided(run, decisions);
    }

    pub(super) fn decided(&mut self, run: &mut Loaded, decisions: Vec<HistoryEvent>) {
        for event in decisions {
            let origin = Origin { author: Some(self.author.clone()), ..Origin::default() };
            self.push(run, Entry { event, id: None, origin });
        }
    }

    fn push(&mut self, run: &mut Loaded, entry: Entry) {
        match &entry.event {
            HistoryEvent::TimerCancelled { seq } | HistoryEvent::TimerFired { seq } => {
                self.cleared.extend(run.pendings.timers.get(seq).map(|at| (*at, *seq)));
            }
            HistoryEvent::ChildStarted { seq, id, workflow, input, .. } => {
                let (workflow, input) = (workflow.clone(), input.clone());
                let (parent, resets, attributes) = (None, Vec::new(), Attributes::new());
                let started =
                    HistoryEvent::Started { workflow, input, run: 0, parent, deadline: None, resets, attributes };
                self.unchecked.push((*seq, id.clone(), started));
            }
            _ => {}
        }
        run.pendings.take(&entry.event, self.now);
        self.entries.push(entry);
    }

    /// The run goes on as the next one of its id.
    pub(super) async fn go_on(
        &mut self,
        engine: &Shared,
        stream: &str,
        parent: Option<Parent>,
        input: Json,
        attributes: Attributes,
    ) -> Result<(), WorkflowError> {
        let (id, run) = of_stream(stream);
        let first = engine.log.read(Read::stream(stream).limit(1)).await?.events;
        let workflow = match first.first().map(|event| event.parse()) {
            Some(Ok(HistoryEvent::Started { workflow, .. })) => workflow,
            _ => match self.entries.first().map(|entry| &entry.event) {
                Some(HistoryEvent::Started { workflow, .. }) => workflow.clone(),
                _ => return Err(WorkflowError::UnknownRun { id: id.to_owned() }),
            },
        };
        let resets = Vec::new();
        let started =
            HistoryEvent::Started { workflow, input, run: run + 1, parent, deadline: None, resets, attributes };
        self.begun.push(Begun { stream: stream_of(id, run + 1), started });
        Ok(())
    }

    /// Everything in one append; `None` when there is nothing.
    pub(super) fn append(&self, stream: &str, version: u64) -> Option<Append> {
        if self.entries.is_empty() {
            return None;
        }
        let event = |stream: &str, event: &HistoryEvent| {
            let data = Json::of(event).expect("an entry has a JSON form");
            NewEvent::new(stream, event.kind(), self.now, data)
        };
        let own = self.entries.iter().map(|entry| {
            let new = event(stream, &entry.event).with_origin(entry.origin.clone());
            NewEvent { id: entry.id, ..new }
        });
        let begun = self.begun.iter().map(|begun| event(&begun.stream, &begun.started));
        let append = Append::events(own.chain(begun).collect::<Vec<_>>());
        let append = append.expecting(stream, ExpectedVersion::Exactly(version));
        Some(self.begun.iter().fold(append, |append, begun| append.expecting(&begun.stream, ExpectedVersion::NoStream)))
    }
}
