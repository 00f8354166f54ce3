//! The stream as the log of a mirrored journal: one message per commit, or several for a large one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use csf_core::Incarnation;
use csf_core::port::{Durability, JournalError};

use super::durability::{ServerSync, can_sync, durability};
use super::link::Link;
use super::message::{Content, FRAME_BYTES, Message, checksum};
use super::options::JetStreamOptions;
use super::publish::{Publication, Published};
use super::rebuild::{catch_up, recognised, storage};
use super::replay::COMMIT_BYTES_MAX;
use crate::MirroredJournal;
use crate::commit::Commit;
use crate::mirror::{NotStored, Opened, Source, Spool, Stopped};
use crate::sqlite::{Mark, SqliteIndex};

/// What the headers of a message take of the server's `max_payload`, at most.
const HEADERS_BYTES_MAX: usize = 512;
/// The smallest part of a commit worth a message.
const PART_BYTES_MIN: usize = 1024;
/// Starts that may lose against commits of a busy writer before it counts as one that cannot be displaced.
const START_TRIES_MAX: u32 = 200;
/// Longest name of a stream.
const NAME_BYTES_MAX: usize = 64;

/// The stream, and where its one writer believes it to end.
pub(super) struct StreamSource {
    /// URL and stream, without credentials: the errors name it.
    place: PathBuf,
    link: Link,
    /// Where the stream ends, as long as nobody else writes.
    mark: Mark,
    writer: u128,
    durability: Durability,
    sending: Option<Sending>,
}

/// A commit of which not every part is stored yet.
struct Sending {
    /// Of the whole commit.
    checksum: u32,
    part_bytes: usize,
    /// Parts that are stored.
    parts: usize,
}

impl MirroredJournal {
    /// Opens the stream as its next incarnation and brings the repeat in `directory` up to date; both are made when they are absent. Every
    /// other writer of the stream is fenced.
    ///
    /// # Errors
    /// [`JournalError::InUse`] while another process has the directory or another writer does not let go of the stream;
    /// [`JournalError::Damaged`] when messages are missing or make no sense, or when the stream went on without commits that wait here;
    /// [`JournalError::Storage`] when the server or the directory cannot be used.
    pub fn on_jetstream(directory: &Path, options: &JetStreamOptions) -> Result<Self, JournalError> {
        let place = PathBuf::from(options.place());
        check_name(&options.stream).map_err(|reason| storage(&place, "opened", reason))?;
        let index = SqliteIndex::open(directory, &options.index)?;
        let mut spool = Spool::open_if_any(directory, options.spool_bytes)?;
        let link = Link::open(options).map_err(|reason| storage(&place, "opened", reason))?;
        let opened = StreamSource::open(place, index, link, spool.as_mut())?;
        Self::begin(opened, spool, options.spool_bytes > 0, options.call_time_max)
    }
}

impl StreamSource {
    fn open(
        place: PathBuf,
        index: SqliteIndex,
        link: Link,
        mut spool: Option<&mut Spool>,
    ) -> Result<Opened, JournalError> {
        let mut index = recognised(index, &link, &place, spool.as_deref())?;
        let writer = random().map_err(|e| storage(&place, "opened", e))?;
        for _ in 0..START_TRIES_MAX {
            let (replay, last) = catch_up(&mut index, &link, &place, spool.as_deref_mut())?;
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
            let (sequence, checksum) = (last + 1, checksum(&bytes));
            let mark = Mark { source: journal, sequence, checksum, incarnation, position: replay.position };
            let publication = Publication { after: last, writer, bytes };
            let limit = link.session.options.call_time_max;
            match link.run(|session| publication.publish(session, limit)).map_err(|e| storage(&place, "written", e))? {
                Published::Stored => {
                    index.repeat(&[], Some(&mark))?;
                    let source = Box::new(Self::started(place, link, mark, writer));
                    return Ok(Opened { source, index, mark });
                }
                // The other one wrote in between; now it is read too.
                Published::Overtaken { .. } | Published::Lost => {}
                Published::Refused { reason, full } => return Err(refused(&place, reason, full)),
                Published::NotReached { reason } | Published::Unknown { reason } => {
                    return Err(storage(&place, "written", reason));
                }
            }
        }
        Err(JournalError::InUse { directory: place })
    }

    fn started(place: PathBuf, link: Link, mark: Mark, writer: u128) -> Self {
        let version = link.session.client.server_info().version;
        let sync = link.session.options.sync;
        let durability = durability(sync, &version, &link.session.stream.cached_info().config);
        if sync == ServerSync::Always && !can_sync(&version) {
            tracing::warn!(%version, "nats-server cannot sync before it acknowledges, 2.10 and later can; receipts say `os`");
        }
        Self { place, link, mark, writer, durability, sending: None }
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

    /// Puts a message at the end of the stream, which then is the end.
    fn publish(&mut self, content: Content<'_>, patience: Duration) -> Result<(), NotStored> {
        let Mark { source: journal, sequence: after, incarnation, .. } = self.mark;
        let bytes = Message { journal, incarnation, content }.encode();
        let sum = checksum(&bytes);
        let publication = Publication { after, writer: self.writer, bytes };
        let published = self.link.run(|session| publication.publish(session, patience));
        match published.unwrap_or_else(|reason| Published::Unknown { reason }) {
            Published::Stored => {
                (self.mark.sequence, self.mark.checksum) = (after + 1, sum);
                Ok(())
            }
            Published::Overtaken { by } => Err(NotStored::Over(Stopped::Fenced { own: incarnation, newest: by })),
            Published::Refused { reason, full } => Err(NotStored::Refused(refused(&self.place, reason, full))),
            Published::NotReached { reason } => Err(NotStored::Away { reason, in_doubt: false }),
            Published::Lost => {
                let reason =
                    format!("the stream ends before message {after}: the server lost what it had acknowledged");
                Err(NotStored::Over(Stopped::Unknown { reason }))
            }
            Published::Unknown { reason } => Err(NotStored::Away { reason, in_doubt: true }),
        }
    }
}

impl Source for StreamSource {
    fn place(&self) -> PathBuf {
        self.place.clone()
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    fn incarnation(&self) -> Incarnation {
        self.mark.incarnation
    }

    /// The client connects by itself.
    fn store(&mut self, commit: &Commit<'_>, patience: Duration, _connects: bool) -> Result<Mark, NotStored> {
        let bytes = commit.encode();
        if bytes.len() > COMMIT_BYTES_MAX {
            let reason = format!("a commit of {} bytes, at most {COMMIT_BYTES_MAX}; append less at once", bytes.len());
            return Err(NotStored::Refused(storage(&self.place, "written", reason)));
        }
        let sum = checksum(&bytes);
        let mut sending = match self.sending.take().filter(|sending| sending.checksum == sum) {
            Some(sending) => sending,
            None => Sending { checksum: sum, part_bytes: self.part_bytes_max().map_err(NotStored::Refused)?, parts: 0 },
        };
        let parts = bytes.chunks(sending.part_bytes);
        let count = parts.len();
        for (number, part) in (0u32..).zip(parts).skip(sending.parts) {
            let is_last = number as usize + 1 == count;
            match self.publish(Content::Part { number, is_last, bytes: part }, patience) {
                Ok(()) => sending.parts += 1,
                Err(error) => {
                    self.sending = matches!(error, NotStored::Away { .. }).then_some(sending);
                    return Err(error);
                }
            }
        }
        self.mark.position = commit.position();
        Ok(self.mark)
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
