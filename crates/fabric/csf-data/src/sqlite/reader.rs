//! The reading side: any number of connections, in this process or another, each call on one consistent view.

use std::fs;
use std::path::{Path, PathBuf};

use csf_core::port::{
    JournalError, JournalReader, JournalSize, LANE_STREAM, LaneInfo, Page, Read, Scan, StoredEvent, StoredPacket,
    StreamHead,
};
use csf_core::{Incarnation, LaneId, MessageId, Stamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::error::{Action, damaged, from_sqlite};
use super::find::{Finder, INDEX_FILES, Key};
use super::journal::{newest_position, signed};
use super::redo::{self, Place};
use super::scan;
use super::schema;
use super::{events, lookup};
use crate::packed::unpack::BlockReader;

/// Reads a journal, whether its node runs or not.
#[derive(Debug)]
pub struct SqliteReader {
    directory: PathBuf,
    connection: Connection,
    finder: Finder,
    /// Where writers of this process are found.
    place: Place,
}

/// A failed read, before it is told where.
pub(crate) enum ReadError {
    Sqlite(rusqlite::Error),
    Damaged { place: String, reason: String },
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// The error as its caller sees it.
pub(crate) fn in_directory(directory: &Path, action: Action, error: ReadError) -> JournalError {
    match error {
        ReadError::Sqlite(e) => from_sqlite(directory, action, &e),
        ReadError::Damaged { place, reason } => damaged(directory, place, reason),
    }
}

impl SqliteReader {
    /// Opens the journal in `directory` for reading, beside any writer.
    ///
    /// # Errors
    /// [`JournalError::Storage`] when there is no journal, [`JournalError::NewerFormat`], [`JournalError::Damaged`].
    pub fn open_read_only(directory: &Path) -> Result<Self, JournalError> {
        redo::recover_what_is_left(directory);
        Self::open(directory, Finder::alone(directory))
    }

    pub(super) fn open(directory: &Path, finder: Finder) -> Result<Self, JournalError> {
        let connection = schema::open_reader(directory)?;
        Ok(Self { directory: directory.to_owned(), connection, finder, place: Place::of(directory) })
    }

    /// Number of the newest start on this journal; 0 before the first.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn incarnation(&mut self) -> Result<Incarnation, JournalError> {
        let value = self.consistently(|connection, _| Ok(schema::meta(connection, "incarnation")?))?;
        Ok(value.and_then(|v| Incarnation::try_from(v).ok()).unwrap_or(0))
    }

    /// Position of the first packet of the first block that may hold packets stamped at or after `stamp`, or `None` when all
    /// blocks are older. A scan from there misses no such packet.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn position_at(&mut self, stamp: Stamp) -> Result<Option<u64>, JournalError> {
        let sql = "SELECT min(first_position) FROM block WHERE stamp_max >= ?1";
        let read = |connection: &Connection, _: &mut Finder| {
            Ok(connection.prepare_cached(sql)?.query_row([signed(stamp.as_nanos())], |row| {
                Ok(row.get::<_, Option<i64>>(0)?.map(i64::cast_unsigned))
            })?)
        };
        self.consistently(read)
    }

    /// Runs `read` on one view of the database: a writer's commit in between is not seen.
    fn consistently<T>(
        &mut self,
        read: impl FnOnce(&Connection, &mut Finder) -> Result<T, ReadError>,
    ) -> Result<T, JournalError> {
        let Self { directory, connection, finder, place } = self;
        if let Some(applied) = place.writer() {
            applied.settle()?;
        }
        let transaction = connection.transaction().map_err(ReadError::from);
        let result = transaction.and_then(|transaction| read(&transaction, finder));
        result.map_err(|e| in_directory(directory, Action::Read, e))
    }
}

impl JournalReader for SqliteReader {
    fn lanes(&mut self) -> Result<Vec<LaneInfo>, JournalError> {
        let events = self.events(LANE_STREAM, 1, usize::MAX)?;
        let parse = |event: StoredEvent| {
            event.parse().map_err(|e| damaged(&self.directory, format!("event {}", event.position), e))
        };
        events.into_iter().map(parse).collect()
    }

    fn scan(&mut self, scan: &Scan) -> Result<Vec<StoredPacket>, JournalError> {
        self.consistently(|connection, _| scan::scan(connection, scan))
    }

    fn lane(&mut self, lane: LaneId, from_seq: u64, limit: usize) -> Result<Vec<StoredPacket>, JournalError> {
        self.consistently(|connection, _| read_lane(connection, lane, from_seq, limit))
    }

    fn lane_tail(&mut self, lane: LaneId, limit: usize) -> Result<Vec<StoredPacket>, JournalError> {
        self.consistently(|connection, _| read_lane_tail(connection, lane, limit))
    }

    fn read(&mut self, read: &Read) -> Result<Page, JournalError> {
        self.consistently(|connection, finder| events::read(connection, finder, read))
    }

    fn head(&mut self, stream: &str) -> Result<StreamHead, JournalError> {
        self.consistently(|connection, finder| {
            let newest = newest_position(connection)?;
            let look = finder.look(connection, newest, &[Key::stream(stream)])?;
            lookup::head(connection, &look, stream)
        })
    }

    fn size(&mut self) -> Result<JournalSize, JournalError> {
        let position = self.consistently(|connection, _| Ok(newest_position(connection)?))?;
        let bytes_of = |name: &str| fs::metadata(self.directory.join(name)).map_or(0, |meta| meta.len());
        let own = ["journal.db", "journal.db-wal", "journal.db-shm"];
        let bytes = own.into_iter().chain(redo::FILES).chain(INDEX_FILES).map(bytes_of).sum();
        Ok(JournalSize { position, bytes })
    }
}

/// A body from its row, checked; `place` names the row.
pub(crate) fn open_block(last_position: u64, body: Vec<u8>) -> Result<BlockReader<Vec<u8>>, ReadError> {
    BlockReader::new(body).map_err(|e| damaged_block(last_position, e))
}

pub(crate) fn damaged_block(last_position: u64, reason: impl ToString) -> ReadError {
    ReadError::Damaged { place: format!("block {last_position}"), reason: reason.to_string() }
}

/// A block of a lane, whose index entry must agree with its body.
fn open_lane_block(row: &rusqlite::Row<'_>, lane: LaneId) -> Result<(u64, BlockReader<Vec<u8>>), ReadError> {
    let last_position = row.get::<_, i64>(0)?.cast_unsigned();
    let block = open_block(last_position, row.get(2)?)?;
    if block.header().lane != lane || block.header().first_seq != row.get::<_, i64>(1)?.cast_unsigned() {
        return Err(damaged_block(last_position, "the index names another lane or sequence than the block"));
    }
    Ok((last_position, block))
}

fn read_lane(
    connection: &Connection,
    lane: LaneId,
    from_seq: u64,
    limit: usize,
) -> Result<Vec<StoredPacket>, ReadError> {
    let mut packets = Vec::new();
    let Ok(from) = i64::try_from(from_seq) else { return Ok(packets) };
    if limit == 0 {
        return Ok(packets);
    }
    let before = "SELECT first_seq FROM block WHERE node = ?1 AND incarnation = ?2 AND lane = ?3 AND first_seq <= ?4
                  ORDER BY first_seq DESC LIMIT 1";
    let start: Option<i64> = connection
        .prepare_cached(before)?
        .query_row(params![lane.node, lane.incarnation, lane.lane, from], |row| row.get(0))
        .optional()?;
    let onward = "SELECT last_position, first_seq, body FROM block
                  WHERE node = ?1 AND incarnation = ?2 AND lane = ?3 AND first_seq >= ?4 ORDER BY first_seq";
    let mut statement = connection.prepare_cached(onward)?;
    let mut rows = statement.query(params![lane.node, lane.incarnation, lane.lane, start.unwrap_or(from)])?;
    while let Some(row) = rows.next()? {
        let (place, mut block) = open_lane_block(row, lane)?;
        while let Some(packet) = block.find(|_, id| id.seq >= from_seq) {
            packets.push(packet.map_err(|e| damaged_block(place, e))?);
            if packets.len() == limit {
                return Ok(packets);
            }
        }
    }
    Ok(packets)
}

fn read_lane_tail(connection: &Connection, lane: LaneId, limit: usize) -> Result<Vec<StoredPacket>, ReadError> {
    let mut packets = Vec::new();
    if limit == 0 {
        return Ok(packets);
    }
    let backward = "SELECT last_position, first_seq, body FROM block
                    WHERE node = ?1 AND incarnation = ?2 AND lane = ?3 ORDER BY first_seq DESC";
    let mut statement = connection.prepare_cached(backward)?;
    let mut rows = statement.query(params![lane.node, lane.incarnation, lane.lane])?;
    while let Some(row) = rows.next()? {
        let (place, mut block) = open_lane_block(row, lane)?;
        // Only the wanted tail of the block is copied.
        let wanted = (limit - packets.len()) as u64;
        let end = block.header().first_seq.saturating_add(u64::from(block.header().count));
        let mut tail = Vec::new();
        while let Some(packet) = block.find(|_, id: MessageId| id.seq >= end.saturating_sub(wanted)) {
            tail.push(packet.map_err(|e| damaged_block(place, e))?);
        }
        packets.extend(tail.into_iter().rev());
        if packets.len() >= limit {
            break;
        }
    }
    Ok(packets)
}
