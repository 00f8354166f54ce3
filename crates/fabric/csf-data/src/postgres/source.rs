//! The database as the log of a mirrored journal: what it has is read once, and only what is appended is written.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use csf_core::Incarnation;
use csf_core::port::{Durability, JournalError, NewEvent, StoredEvent, StreamHead};

use super::error::{Action, Failure};
use super::events;
use super::options::PostgresOptions;
use super::schema::{self, Head};
use super::session::Session;
use super::writer::{Deadline, Outcome, Writer};
use crate::commit::Commit;
use crate::mirror::{NotStored, Opened, Source, Spool, Stopped, arrived, is_explained};
use crate::packed::block::Block;
use crate::packed::unpack::{BlockReader, UnpackError};
use crate::plan::{Planned, Step};
use crate::sqlite::{Entry, Mark, SqliteIndex};
use crate::{JournalOptions, MirroredJournal};

/// Blocks and events that are read and repeated at once.
const BLOCKS_AT_ONCE: i64 = 64;
const EVENTS_AT_ONCE: i64 = 4096;

/// Where a page that begins after `$1` ends: with an append's packets, or with an event.
const PAGE_END: &str = "
SELECT least(
  coalesce((SELECT append_end FROM block WHERE last_position > $1 ORDER BY last_position OFFSET $2::bigint - 1 LIMIT 1), $4::bigint),
  coalesce((SELECT position FROM event WHERE position > $1 ORDER BY position OFFSET $3::bigint - 1 LIMIT 1), $4), $4)";
const BLOCKS: &str = "
SELECT last_position, append_end, stamp_min, stamp_max, body FROM block WHERE last_position > $1 AND last_position <= $2
ORDER BY last_position";
const STREAMS: &str = "SELECT stream, version, first, is_closed FROM stream ORDER BY stream";

/// The database, and its writer.
struct DatabaseSource {
    writer: Writer,
    mark: Mark,
}

impl MirroredJournal {
    /// Opens the journal in the database as its next incarnation and brings the repeat in `directory` up to date; both are made when they
    /// are absent. While the server is away, up to `spool_bytes` of commits wait in the directory.
    ///
    /// # Errors
    /// As [`crate::PostgresJournal::open`]; [`JournalError::InUse`] also while another process has the directory, [`JournalError::Damaged`]
    /// also when the log went on without commits that wait here.
    pub fn on_postgres(directory: &Path, options: &PostgresOptions, spool_bytes: u64) -> Result<Self, JournalError> {
        let index = SqliteIndex::open(directory, &JournalOptions::default())?;
        let mut spool = Spool::open_if_any(directory, spool_bytes)?;
        let (writer, head) = Writer::open(options.clone())?;
        let opened = DatabaseSource::open(writer, head, index, spool.as_mut())?;
        Self::begin(opened, spool, spool_bytes > 0, options.patience)
    }
}

impl DatabaseSource {
    fn open(
        mut writer: Writer,
        head: Head,
        index: SqliteIndex,
        spool: Option<&mut Spool>,
    ) -> Result<Opened, JournalError> {
        let options = writer.options.clone();
        let said = |failure: Failure| failure.said(&options, Action::Read);
        let mut deadline = Deadline::after(options.patience);
        let session = writer.session(head.position, &mut deadline)?;
        let journal = u128::from(schema::journal(session).map_err(said)?);
        let mut index = match index.mark()? {
            Some(known)
                if known.source != journal
                    || known.position > head.position
                    || !is_explained(&index, known.position, spool.as_deref())? =>
            {
                tracing::warn!(journal = %options.place().display(), "the repeat on this machine is built anew");
                index.emptied()?
            }
            _ => index,
        };
        let known = index.mark()?.map_or(0, |mark| mark.position);
        if let Some(spool) = spool {
            // At most the first of them was under way.
            let first = spool.first()?.filter(|commit| commit.after >= known && commit.position() <= head.position);
            if let Some(first) = first {
                let found = read(session, first.after, first.position()).map_err(said)?;
                arrived(spool, &found.sent_as(&first))?;
            }
        }
        let mark = |position| Mark {
            source: journal,
            sequence: position,
            checksum: 0,
            incarnation: head.incarnation,
            position,
        };
        let mut from = known.max(index.position()?.min(head.position));
        let is_behind = from < head.position;
        while from < head.position {
            let end = page_end(session, from, head.position).map_err(said)?;
            read(session, from, end).map_err(said)?.repeat(&mut index, &mark(end))?;
            from = end;
        }
        if is_behind {
            let changes = streams(session).map_err(said)?;
            index.repeat(&[Entry { blocks: &[], steps: &changes, packets_end: head.position }], Some(&mark(from)))?;
        }
        let mark = mark(head.position);
        index.repeat(&[], Some(&mark))?;
        Ok(Opened { source: Box::new(Self { writer, mark }), index, mark })
    }
}

/// A part of the log as the database has it.
struct Part {
    /// With the end of the packets of its append.
    blocks: Vec<(u64, Block)>,
    events: Vec<Step<'static>>,
}

fn page_end(session: &mut Session, from: u64, head: u64) -> Result<u64, Failure> {
    let values: [i64; 4] = [from.cast_signed(), BLOCKS_AT_ONCE, EVENTS_AT_ONCE, head.cast_signed()];
    let [from_, blocks, events, head] = &values;
    let end: i64 = session.one(PAGE_END, &[from_, blocks, events, head])?.try_get(0)?;
    match end.cast_unsigned() {
        end if end > from => Ok(end),
        _ => Err(Failure::damaged(format!("block after {from}"), "its append ends before it")),
    }
}

fn read(session: &mut Session, after: u64, end: u64) -> Result<Part, Failure> {
    let mut blocks = Vec::new();
    for row in session.query(BLOCKS, &[&after.cast_signed(), &end.cast_signed()])? {
        let number = |at| row.try_get::<_, i64>(at).map(i64::cast_unsigned);
        let (last_position, append_end, stamps) = (number(0)?, number(1)?, (number(2)?, number(3)?));
        let body: Vec<u8> = row.try_get(4)?;
        let bad = |e: UnpackError| Failure::damaged(format!("block {last_position}"), e);
        let header = *BlockReader::new(&body[..]).map_err(bad)?.header();
        blocks.push((append_end, Block { header, last_position, stamps, body }));
    }
    let events = events::between(session, after, end)?.into_iter().map(step).collect();
    Ok(Part { blocks, events })
}

fn step(stored: StoredEvent) -> Step<'static> {
    let StoredEvent { position, id, stream, version, kind, stamp, tags, origin, data } = stored;
    let event = NewEvent { id, stream, kind, stamp, tags, origin, data };
    Step::Keep(Planned { position, version, event: Cow::Owned(event) })
}

/// The streams that were cut short or closed.
fn streams(session: &mut Session) -> Result<Vec<Step<'static>>, Failure> {
    let change = |row: &tokio_postgres::Row| -> Result<Step<'static>, Failure> {
        let number = |at| row.try_get::<_, i64>(at).map(i64::cast_unsigned);
        let head = StreamHead { version: number(1)?, first: number(2)?, is_closed: row.try_get(3)? };
        Ok(Step::Change { stream: row.try_get(0)?, head })
    };
    session.query(STREAMS, &[])?.iter().map(change).collect()
}

impl Part {
    fn repeat(self, index: &mut SqliteIndex, mark: &Mark) -> Result<(), JournalError> {
        let mut appends: Vec<(u64, Vec<Block>)> = Vec::new();
        for (append_end, block) in self.blocks {
            match appends.last_mut().filter(|(end, _)| *end == append_end) {
                Some((_, blocks)) => blocks.push(block),
                None => appends.push((append_end, vec![block])),
            }
        }
        let blocks = appends.iter().map(|(end, blocks)| Entry { blocks, steps: &[], packets_end: *end });
        let events = Entry { blocks: &[], steps: &self.events, packets_end: mark.position };
        index.repeat(&blocks.chain([events]).collect::<Vec<_>>(), Some(mark))
    }

    /// As the commit that was sent would be, if this is it: its changes of streams left no row of their own, and took events along.
    fn sent_as(self, sent: &Commit<'static>) -> Commit<'static> {
        let mut found = self.events.into_iter().peekable();
        let steps = sent.steps.iter().filter_map(|step| match step {
            Step::Change { .. } => Some(step.clone()),
            Step::Keep(planned) => {
                let is_there = |found: &Step<'_>| matches!(found, Step::Keep(f) if f.position == planned.position);
                let is_cut = sent.steps.iter().any(|other| {
                    matches!(other, Step::Change { stream, head } if *stream == planned.event.stream && planned.version < head.first)
                });
                found.next_if(is_there).or_else(|| is_cut.then(|| step.clone()))
            }
        });
        let steps: Vec<Step<'static>> = steps.collect();
        let blocks: Vec<Block> = self.blocks.into_iter().map(|(_, block)| block).collect();
        let Commit { after, packets_end, .. } = *sent;
        Commit { after, packets_end, blocks: Cow::Owned(blocks), steps: Cow::Owned(steps) }
    }
}

impl Source for DatabaseSource {
    fn place(&self) -> PathBuf {
        self.writer.options.place()
    }

    fn durability(&self) -> Durability {
        self.writer.durability
    }

    fn incarnation(&self) -> Incarnation {
        self.writer.incarnation
    }

    fn store(&mut self, commit: &Commit<'_>, patience: Duration, connects: bool) -> Result<Mark, NotStored> {
        let mut deadline = Deadline::after(patience);
        self.writer.answers_until(Some(&deadline));
        let outcome = self.writer.commit(commit, &mut deadline, connects);
        self.writer.answers_until(None);
        let place = self.place();
        let away = |error: JournalError, in_doubt| match error {
            JournalError::Fenced { own, newest, .. } => NotStored::Over(Stopped::Fenced { own, newest }),
            JournalError::Damaged { reason, .. } => NotStored::Over(Stopped::Unknown { reason }),
            JournalError::Storage { reason, full: false, .. } => NotStored::Away { reason, in_doubt },
            JournalError::InUse { .. } => {
                let reason = format!("the server has not ended the old connection of {}", place.display());
                NotStored::Away { reason, in_doubt }
            }
            error if in_doubt => NotStored::Away { reason: error.to_string(), in_doubt },
            error => NotStored::Refused(error),
        };
        match outcome {
            Outcome::Done => {
                (self.mark.sequence, self.mark.position) = (commit.position(), commit.position());
                Ok(self.mark)
            }
            Outcome::Failed(error) => Err(away(error, false)),
            Outcome::Unknown(error) => Err(away(error, true)),
        }
    }
}
