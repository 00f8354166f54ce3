//! Event-sourced aggregates: a thing that decides by what has happened to it, one stream each.
//!
//! A command reads the stream (from a snapshot on), decides, and appends what follows at exactly the version it has read; when another was
//! faster it reads again and decides anew. Snapshots only save reading: they are taken for what they are when their form fits, and left aside
//! otherwise.
//! Reference: Evans, "Domain-Driven Design" (2003), chapter 6; Young, "CQRS Documents" (2010).

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use csf_core::Stamp;
use csf_core::port::{
    Append, Appended, EventId, EventLog, ExpectedVersion, Json, LogError, NewEvent, Origin, Read, Refused, StoredEvent,
    StreamChange, category,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Events read at a time.
const PAGE: usize = 512;
/// Times a command is decided anew because others were faster.
const ATTEMPTS_MAX: u32 = 16;
/// Category of the streams that hold snapshots.
const SNAPSHOT_CATEGORY: &str = "csf.snapshot";

/// A thing that decides. `Default` is what it is before its first event; the state is what its events have made of it.
pub trait Aggregate: Default + Send + Serialize + DeserializeOwned {
    /// Category of its streams: the stream of id 7 is `CATEGORY-7`.
    const CATEGORY: &'static str;
    /// Form of its snapshots: another number leaves the old ones aside.
    const SNAPSHOT_FORM: u32 = 1;

    /// What it is asked.
    type Command: Clone + Send + Sync;
    /// What happens to it. The JSON form is `{"type": …}` with the type of the event, as serde's `tag = "type"` gives it.
    type Event: Serialize + DeserializeOwned + Send;
    /// Why it refuses.
    type Refusal: Send;

    /// What follows from the command, or why not. Decides by `self` and nothing else.
    ///
    /// # Errors
    /// Its refusal.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Refusal>;

    /// Takes an event in.
    fn apply(&mut self, event: Self::Event);
}

/// Why a command was not carried out.
#[derive(Debug)]
#[non_exhaustive]
pub enum CommandError<R> {
    /// The aggregate refuses.
    Refused(R),
    /// The log failed.
    Log(LogError),
    /// Others were faster each time.
    Contended {
        /// The stream.
        stream: String,
        /// Times it was tried.
        attempts: u32,
    },
    /// An event of the stream is none of the aggregate's.
    Event {
        /// Position of the event.
        position: u64,
        /// Why.
        reason: String,
    },
}

impl<R: fmt::Display> fmt::Display for CommandError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Log(error) => error.fmt(f),
            Self::Contended { stream, attempts } => {
                write!(f, "stream `{stream}` was changed by others in each of {attempts} attempts; try again")
            }
            Self::Event { position, reason } => write!(f, "event {position} does not fit its aggregate: {reason}"),
        }
    }
}

impl<R: fmt::Debug + fmt::Display> std::error::Error for CommandError<R> {}

impl<R> From<LogError> for CommandError<R> {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// An aggregate as of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded<A> {
    /// Its state.
    pub state: A,
    /// Events that made it.
    pub version: u64,
}

/// Who asks, why, and under which name.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// When.
    pub stamp: Stamp,
    /// Where the command comes from.
    pub origin: Origin,
    /// The command's name: a command that is repeated under it is carried out once.
    pub id: Option<EventId>,
}

/// The aggregates of one kind in a log.
pub struct Repository<A> {
    log: Arc<dyn EventLog>,
    snapshot_every: u64,
    kind: PhantomData<fn() -> A>,
}

impl<A: Aggregate> Repository<A> {
    /// Without snapshots.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log, snapshot_every: 0, kind: PhantomData }
    }

    /// With a snapshot after every so many events; 0 is none.
    #[must_use]
    pub fn snapshot_every(self, events: u64) -> Self {
        Self { snapshot_every: events, ..self }
    }

    /// The stream of an aggregate.
    #[must_use]
    pub fn stream(id: &str) -> String {
        format!("{}-{id}", A::CATEGORY)
    }

    /// The aggregate as it is now; the default one when nothing has happened to it.
    ///
    /// # Errors
    /// [`CommandError::Log`], [`CommandError::Event`].
    pub async fn load(&self, id: &str) -> Result<Loaded<A>, CommandError<A::Refusal>> {
        let stream = Self::stream(id);
        let mut loaded = self.snapshot(&stream).await?.unwrap_or(Loaded { state: A::default(), version: 0 });
        loop {
            let read = Read::stream(&stream).from(loaded.version + 1).limit(PAGE);
            let page = self.log.read(read).await?;
            let is_last = page.events.len() < PAGE;
            for event in page.events {
                loaded.version = event.version;
                loaded.state.apply(of_stored(&event)?);
            }
            if is_last {
                return Ok(loaded);
            }
        }
    }

    /// Decides a command and appends what follows.
    ///
    /// Cancel safety: a dropped call may still be carried out; under the same [`Request::id`] it can be repeated.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn execute(
        &self,
        id: &str,
        command: A::Command,
        request: &Request,
    ) -> Result<Executed<A>, CommandError<A::Refusal>> {
        self.execute_expecting(id, command, ExpectedVersion::Any, request).await
    }

    /// [`Repository::execute`] of an aggregate that is of the expected version; one that is not decides nothing.
    pub(crate) async fn execute_expecting(
        &self,
        id: &str,
        command: A::Command,
        expected: ExpectedVersion,
        request: &Request,
    ) -> Result<Executed<A>, CommandError<A::Refusal>> {
        let stream = Self::stream(id);
        for _ in 0..ATTEMPTS_MAX {
            let mut loaded = self.load(id).await?;
            // After the load: what is decided by has not taken the request in yet.
            if let Some(position) = self.repeated(&stream, request).await? {
                return self.carried_out(id, position).await;
            }
            if !expected.holds(loaded.version) {
                let refused = Refused::WrongVersion { stream, expected, actual: loaded.version };
                return Err(LogError::from(refused).into());
            }
            let events = loaded.state.decide(command.clone()).map_err(CommandError::Refused)?;
            if events.is_empty() {
                return Ok(Executed { loaded, position: self.log.position(), receipt: None });
            }
            let named = (0..).zip(&events).map(|(at, event)| named(&stream, event, at, request));
            let named = named.collect::<Result<Vec<_>, _>>()?;
            let append = Append::events(named).expecting(&stream, ExpectedVersion::Exactly(loaded.version));
            match self.log.append(append).await {
                // The same request, asked for elsewhere, was faster.
                Ok(appended) if appended.is_repeat => return self.carried_out(id, appended.last).await,
                Ok(appended) => {
                    let before = loaded.version;
                    loaded.version += events.len() as u64;
                    events.into_iter().for_each(|event| loaded.state.apply(event));
                    if self.snapshot_every > 0 && before / self.snapshot_every < loaded.version / self.snapshot_every {
                        self.keep_snapshot(&stream, &loaded, request.stamp).await?;
                    }
                    return Ok(Executed { loaded, position: appended.last, receipt: Some(appended) });
                }
                Err(LogError::Refused(Refused::WrongVersion { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CommandError::Contended { stream, attempts: ATTEMPTS_MAX })
    }

    /// A request that was carried out before, and the aggregate as it is now.
    async fn carried_out(&self, id: &str, position: u64) -> Result<Executed<A>, CommandError<A::Refusal>> {
        Ok(Executed { loaded: self.load(id).await?, position, receipt: None })
    }

    /// Position of the request's last event, when it was carried out before.
    async fn repeated(&self, stream: &str, request: &Request) -> Result<Option<u64>, LogError> {
        let Some(id) = request.id else { return Ok(None) };
        let mut last = None;
        for at in 0.. {
            let mut page = self.log.read(Read::named(event_id(id, stream, at))).await?;
            let Some(event) = page.events.pop() else { break };
            last = Some(event.position);
        }
        Ok(last)
    }

    async fn snapshot(&self, stream: &str) -> Result<Option<Loaded<A>>, LogError> {
        if self.snapshot_every == 0 {
            return Ok(None);
        }
        let newest = Read::stream(format!("{SNAPSHOT_CATEGORY}-{stream}")).backward().limit(1);
        let newest = self.log.read(newest).await?.events.pop();
        let snapshot = newest.and_then(|event| event.parse::<Snapshot<A>>().ok());
        let fits = snapshot.filter(|snapshot| snapshot.form == A::SNAPSHOT_FORM);
        Ok(fits.map(|snapshot| Loaded { state: snapshot.state, version: snapshot.version }))
    }

    /// The newest snapshot replaces the one before.
    async fn keep_snapshot(
        &self,
        stream: &str,
        loaded: &Loaded<A>,
        stamp: Stamp,
    ) -> Result<(), CommandError<A::Refusal>> {
        let own = format!("{SNAPSHOT_CATEGORY}-{stream}");
        let snapshot = SnapshotRef { form: A::SNAPSHOT_FORM, version: loaded.version, state: &loaded.state };
        let data = Json::of(&snapshot).map_err(|e| bad_event(0, &e))?;
        let before = self.log.head(&own).await?.version + 1;
        let append = Append::from(NewEvent::new(&own, "snapshot", stamp, data));
        let append = append.changing(stamp, StreamChange::Truncate { stream: own, before });
        self.log.append(append).await?;
        Ok(())
    }
}

/// A command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed<A> {
    /// The aggregate after it.
    pub loaded: Loaded<A>,
    /// A read model that has reached this position shows it.
    pub position: u64,
    /// What the log says; nothing when nothing was appended, now or by a repeat.
    pub receipt: Option<Appended>,
}

#[derive(serde::Deserialize)]
struct Snapshot<A> {
    form: u32,
    version: u64,
    state: A,
}

#[derive(Serialize)]
struct SnapshotRef<'a, A> {
    form: u32,
    version: u64,
    state: &'a A,
}

fn event_id(request: EventId, stream: &str, at: u64) -> EventId {
    request.derive(&format!("{stream}/{at}"))
}

fn named<E: Serialize, R>(stream: &str, event: &E, at: u64, request: &Request) -> Result<NewEvent, CommandError<R>> {
    let data = Json::of(event).map_err(|e| bad_event(0, &e))?;
    let kind = data.parse::<Kind>().map_or_else(|_| category(stream).to_owned(), |kind| kind.name);
    let id = request.id.map(|id| event_id(id, stream, at));
    Ok(NewEvent { id, ..NewEvent::new(stream, kind, request.stamp, data) }.with_origin(request.origin.clone()))
}

#[derive(serde::Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    name: String,
}

fn of_stored<E: DeserializeOwned, R>(event: &StoredEvent) -> Result<E, CommandError<R>> {
    event.parse().map_err(|e| bad_event(event.position, &e))
}

fn bad_event<R>(position: u64, error: &serde_json::Error) -> CommandError<R> {
    CommandError::Event { position, reason: error.to_string() }
}

impl<A> fmt::Debug for Repository<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("snapshot_every", &self.snapshot_every).finish_non_exhaustive()
    }
}
