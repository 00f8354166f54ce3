//! The task that has a run in its hands: takes what happens, asks the code, appends both, carries out what was decided.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use csf_core::port::{EventId, ExpectedVersion, Json, LogError, Origin, Refused, Timer, within};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};

use super::draft::{Begun, Draft, Loaded};
use super::input::{Answer, Input};
use super::repeats::{answered, exists, known};
use super::{HISTORY_MAX, Shared, check_id, of_stream, perform, recover, stream_of, timers};
use crate::history::{HistoryEvent, Parent};
use crate::run::{Machine, Pendings};
use crate::{Failure, FailureKind, ParentClosePolicy, WorkflowError};

/// Inputs taken into one append.
const INPUTS_MAX: usize = 64;
/// How long a run sleeps in memory.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Appends of one set of inputs; others write into the run's stream only when two engines share a log.
const ATTEMPTS_MAX: u32 = 16;
/// Pause after a journal that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// The name of the signal that stands at this place of its sender's history.
pub(super) fn signal_id(stream: &str, version: u64) -> EventId {
    EventId::from_u128(1).derive(&format!("{stream}/{version}"))
}

struct Task {
    engine: Arc<Shared>,
    stream: Arc<str>,
    loaded: Option<Loaded>,
    /// Activities under way, with the means to tell them that nobody waits.
    performing: BTreeMap<u32, watch::Sender<bool>>,
    /// Who waits for the answer to an update, by its id.
    updates: BTreeMap<String, Vec<Answer<Json>>>,
}

/// What became of a set of inputs.
enum Done {
    GoOn,
    Ended,
}

pub(super) async fn run(engine: Arc<Shared>, stream: Arc<str>, mut inbox: mpsc::UnboundedReceiver<Box<Input>>) {
    let timer = engine.world.timer.clone();
    let mut task = Task { engine, stream, loaded: None, performing: BTreeMap::new(), updates: BTreeMap::new() };
    loop {
        let first = match inbox.try_recv() {
            Ok(first) => Some(first),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) if task.is_at_work() => inbox.recv().await,
            Err(TryRecvError::Empty) => match task.next(&*timer, &mut inbox).await {
                Next::Input(first) => first,
                Next::Left => return,
            },
        };
        let Some(first) = first else { return };
        let mut inputs = vec![*first];
        while inputs.len() < INPUTS_MAX
            && let Ok(input) = inbox.try_recv()
        {
            inputs.push(*input);
        }
        let asked = inputs.len();
        inputs.retain(|input| !matches!(input, Input::Leave));
        if inputs.is_empty() && asked > 0 {
            if !task.is_at_work() && task.leave(&inbox) {
                return;
            }
            continue;
        }
        if matches!(task.process(inputs).await, Done::Ended) {
            // What comes after the end finds it in the log.
            task.performing.clear();
            task.loaded = None;
        }
    }
}

/// What a run's task that has nothing to do comes to.
enum Next {
    /// An input; none when the engine is closed.
    Input(Option<Box<Input>>),
    /// It has left the memory.
    Left,
}

impl Task {
    /// Whether somebody waits for it, in the world or for an answer.
    fn is_at_work(&self) -> bool {
        !(self.performing.is_empty() && self.updates.is_empty())
    }

    /// Waits in memory for what comes next, for a time and while there is room.
    async fn next(&mut self, timer: &dyn Timer, inbox: &mut mpsc::UnboundedReceiver<Box<Input>>) -> Next {
        if let Some(loaded) = &self.loaded {
            let is_asleep = !loaded.pendings.timers.is_empty();
            let wait = self.engine.begin_waiting(&self.stream, is_asleep);
            let limit = if is_asleep { self.engine.options.idle.min(SLEEP_MAX) } else { self.engine.options.idle };
            let first = within(timer, limit, inbox.recv()).await;
            self.engine.end_waiting(wait);
            if let Some(first) = first {
                return Next::Input(first);
            }
        }
        if self.leave(inbox) { Next::Left } else { Next::Input(inbox.recv().await) }
    }

    /// Leaves the memory, unless something has come meanwhile.
    fn leave(&self, inbox: &mpsc::UnboundedReceiver<Box<Input>>) -> bool {
        let mut runs = self.engine.runs();
        if !inbox.is_empty() {
            return false;
        }
        // Senders are made under this lock: none is left after this one.
        runs.loaded.remove(&self.stream);
        true
    }

    fn id(&self) -> &str {
        of_stream(&self.stream).0
    }

    async fn process(&mut self, mut inputs: Vec<Input>) -> Done {
        for attempt in 0..ATTEMPTS_MAX {
            if attempt == 0
                && self.loaded.is_none()
                && let [Input::Start { started: HistoryEvent::Started { workflow, .. }, .. }] = &inputs[..]
            {
                // Taken for a new one; the append knows better.
                match self.engine.code(workflow) {
                    Ok(code) => self.loaded = Some(Loaded::new(self.id(), code)),
                    Err(error) => return self.cannot(inputs, error).await,
                }
            }
            if let Err(error) = self.load(&mut inputs).await {
                return self.cannot(inputs, error).await;
            }
            let draft = match self.draft(&mut inputs, attempt == 0).await {
                Ok(draft) => draft,
                Err(error) => return self.cannot(inputs, error).await,
            };
            let Some(append) = draft.append(&self.stream, self.loaded.as_ref().map_or(0, |run| run.version)) else {
                self.answer(inputs, &[]);
                return Done::GoOn;
            };
            match self.engine.log.append(append).await {
                // It had been appended before, and more may have happened since.
                Ok(appended) if appended.is_repeat => self.loaded = None,
                Ok(_) => {
                    super::checkpoint::note(&self.engine, draft.entries.len() + draft.begun.len());
                    let has_ended = draft.entries.iter().any(|entry| entry.event.is_end());
                    self.carry_out(&draft);
                    let decided: Vec<&HistoryEvent> = draft.entries.iter().map(|entry| &entry.event).collect();
                    self.answer(inputs, &decided);
                    return if has_ended { Done::Ended } else { Done::GoOn };
                }
                // The code is ahead of its history: it is replayed.
                Err(LogError::Refused(Refused::WrongVersion { .. } | Refused::IdInUse { .. })) => self.loaded = None,
                Err(error) => {
                    self.loaded = None;
                    return self.cannot(inputs, error.into()).await;
                }
            }
        }
        let stream = self.stream.to_string();
        let contended = Refused::WrongVersion { stream, expected: ExpectedVersion::Any, actual: 0 };
        self.cannot(inputs, LogError::from(contended).into()).await
    }

    /// Nothing was done. Whoever waits is told; what nobody waits for is tried again when the journal may mend.
    async fn cannot(&mut self, inputs: Vec<Input>, error: WorkflowError) -> Done {
        let may_mend = matches!(&error, WorkflowError::Log(LogError::Journal(_)));
        let is_closed = matches!(&error, WorkflowError::Log(LogError::Closed));
        if !may_mend && !is_closed && !matches!(error, WorkflowError::UnknownRun { .. } | WorkflowError::Ended { .. }) {
            tracing::error!(run = self.id(), %error, "a workflow run cannot go on");
        }
        match &error {
            WorkflowError::Log(_) | WorkflowError::UnknownRun { .. } => {}
            // Ended by another than this task: nobody waits for its steps.
            WorkflowError::Ended { .. } => {
                self.performing.clear();
                for done in std::mem::take(&mut self.updates).into_values().flatten() {
                    // Who asked may have gone away.
                    let _ = done.send(Err(error.clone()));
                }
            }
            blocks => {
                self.engine.runs().blocked.insert(self.stream.to_string(), blocks.to_string());
                self.engine.tell_change(&self.stream);
            }
        }
        let mut again = Vec::new();
        for input in inputs {
            match input {
                Input::Happened { done: None, .. } | Input::Terminate { done: None, .. } | Input::Wake if may_mend => {
                    again.push(input);
                }
                other => other.refuse(&error),
            }
        }
        if !again.is_empty() {
            self.engine.world.timer.sleep(PAUSE).await;
            for input in again {
                // A closed engine asks again when it is opened.
                let _ = self.engine.deliver(&self.stream, input);
            }
        }
        Done::GoOn
    }

    /// Reads and replays the run, unless it is here. A start of a run that exists is refused.
    async fn load(&mut self, inputs: &mut Vec<Input>) -> Result<(), WorkflowError> {
        if self.loaded.is_some() {
            return Ok(());
        }
        let engine = self.engine.clone();
        let history = engine.history(&self.stream).await?;
        if history.is_empty() {
            let Some(at) = inputs.iter().position(|input| matches!(input, Input::Start { .. })) else {
                return Err(WorkflowError::UnknownRun { id: self.id().to_owned() });
            };
            // It begins with its start, whatever came before.
            let start = inputs.remove(at);
            inputs.insert(0, start);
            let Input::Start { started: HistoryEvent::Started { workflow, .. }, .. } = &inputs[0] else {
                unreachable!("a start starts")
            };
            self.loaded = Some(Loaded::new(self.id(), engine.code(workflow)?));
            return Ok(());
        }
        let mut pendings = Pendings::default();
        history.iter().for_each(|entry| pendings.take(&entry.event, entry.stamp));
        let last = history.last().expect("a history that is not empty has a last entry");
        if pendings.has_ended {
            let starts = inputs.extract_if(.., |input| matches!(input, Input::Start { .. })).collect();
            exists(&engine, &self.stream, starts).await?;
            return Err(WorkflowError::Ended { id: self.id().to_owned(), how: last.event.identity() });
        }
        let code = engine.code_of(self.id(), &history)?;
        let (machine, undecided) = Machine::replay(self.id(), code, &history)
            .map_err(|reason| WorkflowError::NonDeterminism { id: self.id().to_owned(), reason })?;
        engine.runs().blocked.remove(&*self.stream);
        let parent = match &history[0].event {
            HistoryEvent::Started { parent, .. } => parent.clone(),
            _ => None,
        };
        let (version, stamp) = (last.version, last.stamp);
        for (seq, step) in &pendings.activities {
            self.perform(*seq, step.clone());
        }
        self.loaded = Some(Loaded { machine, pendings, version, stamp, parent, undecided });
        Ok(())
    }

    /// What the inputs lead to. Inputs that are answered without it, or mean nothing any more, are taken out. With `is_new` their names are taken
    /// for new ones: the append knows better.
    async fn draft(&mut self, inputs: &mut Vec<Input>, is_new: bool) -> Result<Draft, WorkflowError> {
        let engine = self.engine.clone();
        let run = self.loaded.as_mut().expect("a run is loaded before it is asked");
        let now = (engine.world.clock)().max(run.stamp.after(1));
        let mut draft = Draft { now, author: engine.options.author.clone(), ..Draft::default() };
        let undecided = std::mem::take(&mut run.undecided);
        draft.decided(run, undecided);
        self.children(&mut draft).await?;
        let mut kept = Vec::new();
        for input in std::mem::take(inputs) {
            if draft.has_ended() {
                // A query may still look, an answer is given by the log.
                kept.push(input);
                continue;
            }
            let run = self.loaded.as_mut().expect("a run is loaded before it is asked");
            let (event, id, origin) = match &input {
                Input::Wake | Input::Leave | Input::Query { .. } => {
                    kept.push(input);
                    continue;
                }
                Input::Start { started, id, origin, .. } if run.version == 0 && draft.entries.is_empty() => {
                    (started.clone(), *id, origin.clone())
                }
                Input::Start { .. } => {
                    exists(&engine, &self.stream, vec![input]).await?;
                    continue;
                }
                Input::Happened { event, id, .. } => {
                    if !run.pendings.awaits(event) || (!is_new && known(&engine, *id).await?) {
                        if let Input::Happened { done: Some(done), .. } = input {
                            let _ = done.send(Ok(()));
                        }
                        continue;
                    }
                    (event.clone(), *id, Origin::default())
                }
                Input::Update { id, name, payload, .. } => {
                    let refused = run.machine.validate(name, payload).err();
                    // One that was accepted before is not refused now.
                    if (!is_new || refused.is_some())
                        && let Some(answer) = answered(&engine, &self.stream, *id).await?
                    {
                        if let Input::Update { id, done, .. } = input {
                            match answer {
                                Some(outcome) => _ = done.send(outcome.map_err(WorkflowError::from)),
                                None => self.updates.entry(id.to_string()).or_default().push(done),
                            }
                        }
                        continue;
                    }
                    if let Some(failure) = refused {
                        input.refuse(&failure.into());
                        continue;
                    }
                    let update = id.to_string();
                    let event =
                        HistoryEvent::UpdateAccepted { id: update, name: name.clone(), payload: payload.clone() };
                    (event, Some(*id), Origin::default())
                }
                Input::Terminate { failure, .. } => {
                    (HistoryEvent::Terminated { failure: failure.clone() }, None, Origin::default())
                }
            };
            if let HistoryEvent::Started { parent, .. } = &event {
                run.parent.clone_from(parent);
            }
            draft.happened(run, event, id, origin);
            self.children(&mut draft).await?;
            let run = self.loaded.as_mut().expect("a run is loaded before it is asked");
            if run.version + draft.entries.len() as u64 > HISTORY_MAX && !draft.has_ended() {
                let message = format!("its history is longer than {HISTORY_MAX} entries; continue it as new before");
                let failure = Failure::of(FailureKind::Application("history".into()), message);
                draft.happened(run, HistoryEvent::Terminated { failure }, None, Origin::default());
            }
            kept.push(input);
        }
        if let Some(HistoryEvent::ContinuedAsNew { input }) = draft.entries.last().map(|entry| &entry.event) {
            let run = self.loaded.as_ref().expect("a run is loaded before it is asked");
            let (input, parent, attributes) = (input.clone(), run.parent.clone(), run.pendings.attributes.clone());
            draft.go_on(&engine, &self.stream, parent, input, attributes).await?;
        }
        *inputs = kept;
        Ok(draft)
    }

    /// Begins the children that were decided. One that cannot begin has ended before.
    async fn children(&mut self, draft: &mut Draft) -> Result<(), WorkflowError> {
        let run = self.loaded.as_mut().expect("a run is loaded before it is asked");
        while !draft.unchecked.is_empty() {
            let (seq, id, started) = draft.unchecked.remove(0);
            let stream = stream_of(&id, 0);
            let HistoryEvent::Started { workflow, .. } = &started else { continue };
            let refused = if let Err(refused) = check_id(&id) {
                Some((FailureKind::BadPayload, refused.to_string()))
            } else if let Err(unknown) = self.engine.code(workflow) {
                Some((FailureKind::Unknown, unknown.to_string()))
            } else if draft.begins(&stream) || self.engine.log.head(&stream).await?.version > 0 {
                Some((FailureKind::Application("exists".into()), WorkflowError::Exists { id }.to_string()))
            } else {
                None
            };
            match refused {
                None => draft.begun.push(Begun { stream, started: started.of_parent(&self.stream, seq) }),
                Some((kind, message)) => {
                    let event = HistoryEvent::ChildCompleted { seq, outcome: Err(Failure::of(kind, message)) };
                    draft.happened(run, event, None, Origin::default());
                }
            }
        }
        Ok(())
    }

    /// Answers everybody whose input was appended, or asked for nothing to be appended.
    fn answer(&mut self, inputs: Vec<Input>, decided: &[&HistoryEvent]) {
        let has_ended = decided.iter().any(|event| event.is_end());
        for input in inputs {
            // Who asked may have gone away, each time.
            match input {
                Input::Start { done, .. } => _ = done.send(Ok(true)),
                Input::Happened { done, .. } | Input::Terminate { done, .. } => {
                    done.into_iter().for_each(|done| _ = done.send(Ok(())));
                }
                Input::Update { id, done, .. } => self.updates.entry(id.to_string()).or_default().push(done),
                Input::Query { name, input, done } => {
                    let answer = match &self.loaded {
                        Some(run) => run.machine.query(&name, &input).map_err(WorkflowError::from),
                        None => Err(WorkflowError::UnknownRun { id: self.id().to_owned() }),
                    };
                    let _ = done.send(answer);
                }
                Input::Wake | Input::Leave => {}
            }
        }
        for event in decided {
            if let HistoryEvent::UpdateCompleted { id, outcome } = event
                && let Some(waiting) = self.updates.remove(id)
            {
                for done in waiting {
                    let _ = done.send(outcome.clone().map_err(WorkflowError::from));
                }
            }
        }
        if has_ended {
            let id = self.id().to_owned();
            for done in std::mem::take(&mut self.updates).into_values().flatten() {
                let _ = done.send(Err(WorkflowError::Ended { id: id.clone(), how: "before it answered".into() }));
            }
        }
    }

    /// What was decided is in the history now, and is done.
    fn carry_out(&mut self, draft: &Draft) {
        let Some(run) = &mut self.loaded else { return };
        let first = run.version + 1;
        run.version += draft.entries.len() as u64;
        run.stamp = draft.now;
        let engine = self.engine.clone();
        for (version, entry) in (first..).zip(&draft.entries) {
            match &entry.event {
                HistoryEvent::Started { deadline: Some(at), .. } => {
                    engine.timers.set(*at, &self.stream, timers::DEADLINE);
                }
                HistoryEvent::ActivityScheduled { seq, .. } => {
                    let step = self.loaded.as_ref().and_then(|run| run.pendings.activities.get(seq).cloned());
                    step.into_iter().for_each(|step| self.perform(*seq, step));
                }
                HistoryEvent::ActivityCompleted { seq, .. } | HistoryEvent::ActivityFailed { seq, .. } => {
                    self.performing.remove(seq);
                }
                HistoryEvent::ActivityCancelled { seq } => {
                    self.performing.remove(seq).into_iter().for_each(|step| _ = step.send_replace(true));
                }
                HistoryEvent::TimerStarted { seq, fires_at } => engine.timers.set(*fires_at, &self.stream, *seq),
                HistoryEvent::SignalSent { to, name, payload } => {
                    let (id, to) = (signal_id(&self.stream, version), to.clone());
                    let event = HistoryEvent::SignalReceived { name: name.clone(), payload: payload.clone() };
                    let engine = engine.clone();
                    self.engine.world.spawn.spawn(Box::pin(async move {
                        // Told again when the engine is opened, if this fails.
                        if let Ok(Some(stream)) = engine.newest(&to).await {
                            let _ = engine.deliver(&stream, Input::Happened { event, id: Some(id), done: None });
                        }
                    }));
                }
                end if end.is_end() => {
                    let outcome = recover::outcome(end);
                    let Some(run) = &self.loaded else { continue };
                    if let (Some(outcome), Some(Parent { stream, seq })) = (outcome.clone(), &run.parent) {
                        let event = HistoryEvent::ChildCompleted { seq: *seq, outcome };
                        // A closed engine finds it when it is opened.
                        let _ = engine.deliver(stream, Input::Happened { event, id: None, done: None });
                    }
                    if outcome.is_some() {
                        let open = run.pendings.children.values();
                        for (id, policy) in open.filter(|(_, policy)| *policy != ParentClosePolicy::Abandon) {
                            let _ = engine.deliver(&stream_of(id, 0), Input::parent_ended(*policy));
                        }
                    }
                    engine.tell_end(&self.stream, end);
                }
                _ => {}
            }
        }
        for (at, seq) in &draft.cleared {
            engine.timers.clear(*at, &self.stream, *seq);
        }
        for begun in &draft.begun {
            // The run is in the log: its task reads it there, and carries out what it has decided.
            let _ = engine.deliver(&begun.stream, Input::Wake);
        }
    }

    fn perform(&mut self, seq: u32, step: crate::run::PendingActivity) {
        if self.performing.contains_key(&seq) {
            return;
        }
        let (cancel, cancelled) = watch::channel(false);
        self.performing.insert(seq, cancel);
        let work = perform::perform(self.engine.clone(), self.stream.clone(), seq, step, cancelled);
        self.engine.world.spawn.spawn(Box::pin(work));
    }
}
