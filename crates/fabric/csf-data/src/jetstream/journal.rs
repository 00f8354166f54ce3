//! The writing side: a commit is planned against the index, published, and repeated in the index once it is acknowledged.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use csf_core::Incarnation;
use csf_core::port::{Batch, Durability, Journal, JournalError, JournalReader, Receipt};

use super::commit::Commit;
use super::durability::{ServerSync, can_sync, durability};
use super::link::Link;
use super::message::{Content, FRAME_BYTES, Message, checksum};
use super::options::JetStreamOptions;
use super::publish::{Publication, Published};
use super::rebuild::{catch_up, recognised, storage};
use super::replay::COMMIT_BYTES_MAX;
use crate::plan::{Plan, Planner};
use crate::sqlite::{Entry, Mark, SqliteIndex};

/// What the headers of a message take of the server's `max_payload`, at most.
const HEADERS_BYTES_MAX: usize = 512;
/// The smallest part of a commit worth a message.
const PART_BYTES_MIN: usize = 1024;
/// Starts that may lose against commits of a busy writer before it counts as one that cannot be displaced.
const START_TRIES_MAX: u32 = 200;
/// Longest name of a stream.
const NAME_BYTES_MAX: usize = 64;

/// The journal of a node in a stream of NATS JetStream, with an index in a directory.
pub struct JetStreamJournal {
    /// URL and stream, without credentials: the errors name it.
    place: PathBuf,
    index: SqliteIndex,
    link: Link,
    planner: Planner,
    /// Where the stream ends, as long as nobody else writes.
    mark: Mark,
    writer: u128,
    durability: Durability,
    stopped: Option<Stopped>,
}

/// Why nothing more is written until the journal is opened again.
#[derive(Clone, Debug)]
enum Stopped {
    Fenced {
        own: Incarnation,
        newest: Incarnation,
    },
    /// Whether the last commit is stored is not known here.
    Unknown {
        reason: String,
    },
}

impl JetStreamJournal {
    /// Opens the stream as its next incarnation and brings the index in `directory` up to date; both are made when they are absent. Every
    /// other writer of the stream is fenced.
    ///
    /// # Errors
    /// [`JournalError::InUse`] while another process has the directory or another writer does not let go of the stream;
    /// [`JournalError::Damaged`] when messages are missing or make no sense; [`JournalError::Storage`] when the server or the directory
    /// cannot be used.
    pub fn open(directory: &Path, options: &JetStreamOptions) -> Result<Self, JournalError> {
        let place = PathBuf::from(options.place());
        check_name(&options.stream).map_err(|reason| storage(&place, "opened", reason))?;
        let index = SqliteIndex::open(directory, &options.index)?;
        let link = Link::open(options).map_err(|reason| storage(&place, "opened", reason))?;
        let mut index = recognised(index, &link, &place)?;
        let writer = random().map_err(|e| storage(&place, "opened", e))?;
        for _ in 0..START_TRIES_MAX {
            let (replay, last) = catch_up(&mut index, &link, &place)?;
            let journal = match replay.journal {
                Some(journal) => journal,
                None => random().map_err(|e| storage(&place, "opened", e))?,
            };
            let incarnation = replay
                .incarnation
                .checked_add(1)
                .ok_or_else(|| storage(&place, "opened", "it was started 2^32 times".to_owned()))?;
            let content = Content::Start { writer, position: replay.position };
            let bytes = Message { journal, incarnation, content }.encode();
            let mark = Mark { source: journal, sequence: last + 1, checksum: checksum(&bytes), incarnation };
            let publication = Publication { after: last, writer, bytes };
            match link.run(|session| publication.publish(session)).map_err(|e| storage(&place, "written", e))? {
                Published::Stored => {
                    index.repeat(&[], &mark)?;
                    return Self::started(place, index, link, mark, writer);
                }
                // The other one wrote in between; now it is read too.
                Published::Overtaken { .. } | Published::Lost => {}
                Published::Refused { reason, full } => return Err(refused(&place, reason, full)),
                Published::Unknown { reason } => return Err(storage(&place, "written", reason)),
            }
        }
        Err(JournalError::InUse { directory: place })
    }

    fn started(place: PathBuf, index: SqliteIndex, link: Link, mark: Mark, writer: u128) -> Result<Self, JournalError> {
        let version = link.session.client.server_info().version;
        let sync = link.session.options.sync;
        let durability = durability(sync, &version, &link.session.stream.cached_info().config);
        if sync == ServerSync::Always && !can_sync(&version) {
            tracing::warn!(%version, "nats-server cannot sync before it acknowledges, 2.10 and later can; receipts say `os`");
        }
        let planner = Planner::new(index.position()?, index.lanes()?, durability);
        Ok(Self { place, index, link, planner, mark, writer, durability, stopped: None })
    }

    /// Largest part of a commit that fits a message.
    fn part_bytes_max(&self) -> Result<usize, JournalError> {
        let session = &self.link.session;
        let of_stream = usize::try_from(session.stream.cached_info().config.max_message_size).unwrap_or(usize::MAX);
        let limit = session.client.max_payload().min(if of_stream == 0 { usize::MAX } else { of_stream });
        match limit.checked_sub(HEADERS_BYTES_MAX + FRAME_BYTES) {
            Some(part) if part >= PART_BYTES_MIN => Ok(part),
            _ => {
                let least = HEADERS_BYTES_MAX + FRAME_BYTES + PART_BYTES_MIN;
                let reason =
                    format!("the server takes messages of {limit} bytes; set `max_payload` to at least {least}");
                Err(storage(&self.place, "written", reason))
            }
        }
    }

    /// Publishes the plan and repeats it in the index.
    fn commit(&mut self, plan: &Plan<'_>) -> Result<(), JournalError> {
        let commit = Commit {
            after: self.planner.position(),
            packets_end: plan.packets_end,
            blocks: Cow::Borrowed(&plan.blocks),
            steps: Cow::Borrowed(&plan.steps),
        };
        let bytes = commit.encode();
        if bytes.len() > COMMIT_BYTES_MAX {
            let reason = format!("a commit of {} bytes, at most {COMMIT_BYTES_MAX}; append less at once", bytes.len());
            return Err(storage(&self.place, "written", reason));
        }
        let parts = bytes.chunks(self.part_bytes_max()?);
        let count = parts.len();
        for (number, part) in (0u32..).zip(parts) {
            let is_last = number as usize + 1 == count;
            self.publish(Content::Part { number, is_last, bytes: part })?;
        }
        let entry = Entry { blocks: &plan.blocks, steps: &plan.steps, packets_end: plan.packets_end };
        self.index.repeat(&[entry], &self.mark).map_err(|e| {
            self.stop(Stopped::Unknown { reason: format!("the commit is stored, but the index failed: {e}") })
        })
    }

    /// Puts a message at the end of the stream, which then is the end.
    fn publish(&mut self, content: Content<'_>) -> Result<(), JournalError> {
        let Mark { source: journal, sequence: after, incarnation, .. } = self.mark;
        let bytes = Message { journal, incarnation, content }.encode();
        let sum = checksum(&bytes);
        let publication = Publication { after, writer: self.writer, bytes };
        let published = self.link.run(|session| publication.publish(session));
        match published.unwrap_or_else(|reason| Published::Unknown { reason }) {
            Published::Stored => {
                (self.mark.sequence, self.mark.checksum) = (after + 1, sum);
                Ok(())
            }
            Published::Overtaken { by } => Err(self.stop(Stopped::Fenced { own: incarnation, newest: by })),
            Published::Refused { reason, full } => Err(refused(&self.place, reason, full)),
            Published::Lost => {
                let reason =
                    format!("the stream ends before message {after}: the server lost what it had acknowledged");
                Err(self.stop(Stopped::Unknown { reason }))
            }
            Published::Unknown { reason } => {
                let reason =
                    format!("{reason}; whether the commit is stored is known when the journal is opened again");
                Err(self.stop(Stopped::Unknown { reason }))
            }
        }
    }

    fn stop(&mut self, stopped: Stopped) -> JournalError {
        let error = stopped.error(&self.place);
        self.stopped = Some(stopped);
        error
    }
}

impl Stopped {
    fn error(&self, place: &Path) -> JournalError {
        let directory = place.to_owned();
        match self {
            Self::Fenced { own, newest } => JournalError::Fenced { directory, own: *own, newest: *newest },
            Self::Unknown { reason } => JournalError::Unsynced { directory, reason: reason.clone() },
        }
    }
}

impl Journal for JetStreamJournal {
    fn append(&mut self, batch: &Batch) -> Result<Receipt, JournalError> {
        if let Some(stopped) = &self.stopped {
            return Err(stopped.error(&self.place));
        }
        let plan = self.planner.plan(&mut self.index.lookup(), batch)?;
        if !plan.is_empty() {
            self.commit(&plan)?;
        }
        let appends = self.planner.done(plan);
        Ok(Receipt { position: self.planner.position(), durability: self.durability, appends })
    }

    fn position(&self) -> u64 {
        self.planner.position()
    }

    fn incarnation(&self) -> Incarnation {
        self.mark.incarnation
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        Ok(Box::new(self.index.reader()?))
    }
}

impl fmt::Debug for JetStreamJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, mark, durability, stopped, .. } = self;
        f.debug_struct("JetStreamJournal")
            .field("place", place)
            .field("mark", mark)
            .field("durability", durability)
            .field("stopped", stopped)
            .finish_non_exhaustive()
    }
}

fn refused(place: &Path, reason: String, full: bool) -> JournalError {
    JournalError::Storage { directory: place.to_owned(), action: "written", reason, full }
}

fn check_name(name: &str) -> Result<(), String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_word) {
        return Err(format!("`{name}` is no name of a stream: 1 to {NAME_BYTES_MAX} letters, digits, `-` and `_`"));
    }
    Ok(())
}

fn random() -> Result<u128, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| e.to_string())?;
    Ok(u128::from_ne_bytes(bytes))
}
