//! The reading side: any number of connections, from any process, each call on one view of the database.

use std::time::Duration;

use csf_core::port::{
    JournalError, JournalReader, JournalSize, LANE_STREAM, LaneInfo, Page, Read, Scan, StoredEvent, StoredPacket,
    StreamHead,
};
use csf_core::{Incarnation, LaneId, Stamp};

use super::error::{Action, Failure};
use super::options::PostgresOptions;
use super::schema::{self, HEAD, Head};
use super::session::Session;
use super::writer::Deadline;
use super::{events, lookup, packets};

/// A wake-up may be lost with its connection: that often the log is looked at anyway.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Reads a journal, whether its node runs or not.
#[derive(Debug)]
pub struct PostgresReader {
    options: PostgresOptions,
    session: Option<Session>,
    listens: bool,
}

impl PostgresReader {
    /// Opens the journal for reading, beside any writer.
    ///
    /// # Errors
    /// [`JournalError::Storage`] when there is no journal, [`JournalError::NewerFormat`], [`JournalError::Damaged`].
    pub fn open(options: &PostgresOptions) -> Result<Self, JournalError> {
        let open = || {
            let mut session = Session::open(options)?;
            schema::check(&mut session, options)?;
            Ok(session)
        };
        let session = open().map_err(|e: Failure| e.said(options, Action::Read))?;
        Ok(Self { options: options.clone(), session: Some(session), listens: false })
    }

    /// Number of the newest start on this journal.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn incarnation(&mut self) -> Result<Incarnation, JournalError> {
        self.consistently(|_, head| Ok(head.incarnation))
    }

    /// Position of the first packet of the first block that may hold packets stamped at or after `stamp`, or `None` when all
    /// blocks are older. A scan from there misses no such packet.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn position_at(&mut self, stamp: Stamp) -> Result<Option<u64>, JournalError> {
        self.consistently(|session, _| {
            let sql = "SELECT min(first_position) FROM block WHERE stamp_max >= $1";
            let first: Option<i64> = session.one(sql, &[&stamp.as_nanos().cast_signed()])?.try_get(0)?;
            Ok(first.map(i64::cast_unsigned))
        })
    }

    /// Waits until the log is beyond `position`, or `timeout` has passed; where it stands then. The writer's notification only wakes: what is
    /// true is read.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn beyond(&mut self, position: u64, timeout: Duration) -> Result<u64, JournalError> {
        let mut left = timeout;
        loop {
            // Heard from before the look on: what is committed after it wakes.
            let seen = self.listen();
            let newest = self.consistently(|_, head| Ok(head.position))?;
            if newest > position || left.is_zero() {
                return Ok(newest);
            }
            let step = left.min(LOOK_AGAIN);
            if let Some(session) = &self.session {
                session.notified(seen, step);
            }
            left -= step;
        }
    }

    /// Has this connection told; how often it was so far.
    fn listen(&mut self) -> u64 {
        let Some(session) = &mut self.session else { return 0 };
        if !self.listens {
            self.listens = session.batch(&format!("LISTEN {}", self.options.channel())).is_ok();
        }
        session.notified(0, Duration::ZERO)
    }

    /// Runs `read` on one view of the database; again on a new connection when the old one is lost.
    fn consistently<T>(&mut self, read: impl Fn(&mut Session, Head) -> Result<T, Failure>) -> Result<T, JournalError> {
        let mut deadline = Deadline::after(self.options.patience);
        loop {
            let failure = match self.once(&read) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let may_pass = failure.is_passing() || self.session.as_ref().is_none_or(Session::is_lost);
            if matches!(failure, Failure::Unfit(_) | Failure::Said(_)) || !may_pass || !deadline.pause() {
                return Err(failure.said(&self.options, Action::Read));
            }
        }
    }

    fn once<T>(&mut self, read: impl Fn(&mut Session, Head) -> Result<T, Failure>) -> Result<T, Failure> {
        if self.session.as_ref().is_none_or(Session::is_lost) {
            self.session = None;
            self.listens = false;
        }
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(Session::open(&self.options)?),
        };
        let answer = session.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", HEAD);
        let answer = answer.map_err(Failure::from).and_then(|rows| {
            let head = schema::head_of(rows.first().ok_or_else(schema::no_head)?)?;
            read(session, head)
        });
        session.send("COMMIT");
        answer
    }
}

impl JournalReader for PostgresReader {
    fn lanes(&mut self) -> Result<Vec<LaneInfo>, JournalError> {
        let place = self.options.place();
        let parse = |event: StoredEvent| {
            let damaged = |e: serde_json::Error| JournalError::Damaged {
                directory: place.clone(),
                place: format!("event {}", event.position),
                reason: e.to_string(),
            };
            event.parse().map_err(damaged)
        };
        self.events(LANE_STREAM, 1, usize::MAX)?.into_iter().map(parse).collect()
    }

    fn scan(&mut self, scan: &Scan) -> Result<Vec<StoredPacket>, JournalError> {
        self.consistently(|session, head| packets::scan(session, scan, head.position))
    }

    fn lane(&mut self, lane: LaneId, from_seq: u64, limit: usize) -> Result<Vec<StoredPacket>, JournalError> {
        self.consistently(|session, _| packets::lane(session, lane, from_seq, limit))
    }

    fn lane_tail(&mut self, lane: LaneId, limit: usize) -> Result<Vec<StoredPacket>, JournalError> {
        self.consistently(|session, _| packets::lane_tail(session, lane, limit))
    }

    fn read(&mut self, read: &Read) -> Result<Page, JournalError> {
        self.consistently(|session, head| {
            Ok(Page { events: events::read(session, read, head.position)?, position: head.position })
        })
    }

    fn head(&mut self, stream: &str) -> Result<StreamHead, JournalError> {
        self.consistently(|session, _| lookup::head(session, stream))
    }

    fn size(&mut self) -> Result<JournalSize, JournalError> {
        let schema = self.options.schema.clone();
        self.consistently(|session, head| {
            let sql = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
                       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                       WHERE n.nspname = $1 AND c.relkind = 'r'";
            let bytes: i64 = session.one(sql, &[&schema])?.try_get(0)?;
            Ok(JournalSize { position: head.position, bytes: bytes.cast_unsigned() })
        })
    }
}
