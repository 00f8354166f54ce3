//! The writing side: one per directory, one transaction per append.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use csf_core::port::{
    Batch, Durability, ExpectedVersion, Journal, JournalError, JournalReader, LaneInfo, NewEvent, Receipt,
};
use csf_core::{Incarnation, LaneId, Stamp};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::block::Block;
use crate::checkpointer::Checkpointer;
use crate::contiguity::{LaneEnd, check_lanes, check_positions, not_contiguous};
use crate::error::{Action, damaged, from_io, from_sqlite};
use crate::options::JournalOptions;
use crate::pack::pack;
use crate::reader::{SqliteReader, event_checksum};
use crate::schema;

/// Stream that holds the lanes, and the type of its events.
pub(crate) const LANE_STREAM: &str = "csf.lane";

/// Streams whose version is remembered; beyond that the database is asked again.
const STREAMS_MAX: usize = 10_000;
/// What a row costs in the write-ahead file besides its content: half a page.
const ROW_BYTES: usize = 4096;
/// What a commit costs there: the last page of the table and of each of its indexes.
const COMMIT_BYTES: u64 = 4 * 8192;

/// The journal of a node in a directory: `journal.db`, its write-ahead files and `journal.lock`.
#[derive(Debug)]
pub struct SqliteJournal {
    directory: PathBuf,
    connection: Connection,
    checkpointer: Checkpointer,
    checkpoint_bytes: u64,
    /// Bytes stored since the last checkpoint was asked for.
    unfolded_bytes: u64,
    incarnation: Incarnation,
    position: u64,
    /// Lanes this process has written or asked for.
    lane_ends: BTreeMap<LaneId, LaneEnd>,
    /// Events per stream this process has written or asked for.
    versions: BTreeMap<String, u64>,
    lanes: BTreeMap<LaneId, LaneInfo>,
    /// Held until the journal is dropped or the process dies.
    _lock: File,
}

impl SqliteJournal {
    /// Opens the journal in `directory` as the next incarnation, creating both when they are absent.
    ///
    /// # Errors
    /// [`JournalError::InUse`] while another writer has it, [`JournalError::NewerFormat`], [`JournalError::Damaged`], or
    /// [`JournalError::Storage`] when the directory cannot be used.
    pub fn open(directory: &Path, options: &JournalOptions) -> Result<Self, JournalError> {
        fs::create_dir_all(directory).map_err(|e| from_io(directory, Action::Write, &e))?;
        let lock = lock(directory)?;
        schema::create_if_absent(directory)?;
        let mut connection = schema::open_writer(directory, options)?;
        let sqlite = |e| from_sqlite(directory, Action::Write, &e);
        let position = newest_position(&connection).map_err(sqlite)?;
        let incarnation = next_incarnation(directory, &mut connection)?;
        let lanes = SqliteReader::open_read_only(directory)?.lanes()?.into_iter().map(|info| (info.id, info)).collect();
        Ok(Self {
            directory: directory.to_owned(),
            connection,
            checkpointer: Checkpointer::start(directory)?,
            checkpoint_bytes: options.checkpoint_bytes,
            unfolded_bytes: 0,
            incarnation,
            position,
            lane_ends: BTreeMap::new(),
            versions: BTreeMap::new(),
            lanes,
            _lock: lock,
        })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A reader of this journal, also usable after it is closed.
    ///
    /// # Errors
    /// As [`SqliteReader::open_read_only`].
    pub fn sqlite_reader(&self) -> Result<SqliteReader, JournalError> {
        SqliteReader::open_read_only(&self.directory)
    }

    /// What is to be stored, checked against what is.
    fn plan(&mut self, batch: &Batch) -> Result<Plan, JournalError> {
        let packets = check_positions(self.position, &batch.packets)?;
        let packets_end = self.position + packets;
        let ends =
            check_lanes(&batch.packets, |lane| lane_end(&self.directory, &self.connection, &mut self.lane_ends, lane))?;
        let mut lanes: BTreeMap<LaneId, LaneInfo> = BTreeMap::new();
        let mut events = Vec::new();
        for info in &batch.lanes {
            match self.lanes.get(&info.id).or_else(|| lanes.get(&info.id)) {
                Some(known) if known == info => {}
                Some(_) => return Err(not_contiguous(&format!("lane {} announced again, differently", info.id), 0, 1)),
                None => {
                    events.push(lane_event(&self.directory, info, batch)?);
                    lanes.insert(info.id, info.clone());
                }
            }
        }
        events.extend(batch.events.iter().cloned());
        let mut versions = BTreeMap::new();
        for event in &events {
            let actual = match versions.get(&event.stream) {
                Some(&version) => version,
                None => version(&self.directory, &self.connection, &self.versions, &event.stream)?,
            };
            check_version(event, actual)?;
            versions.insert(event.stream.clone(), actual + 1);
        }
        let mut blocks = Vec::new();
        for lane in &batch.packets {
            pack(&lane.packets, &mut blocks);
        }
        // In the order of the primary key, so that the table only ever grows at its end.
        blocks.sort_unstable_by_key(|block| block.last_position);
        Ok(Plan { blocks, events, packets_end, ends, lanes, versions })
    }

    fn store(&mut self, plan: &Plan) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        store_blocks(&transaction, plan)?;
        store_events(&transaction, plan, &self.versions)?;
        transaction.commit()
    }
}

impl Journal for SqliteJournal {
    fn append(&mut self, batch: &Batch) -> Result<Receipt, JournalError> {
        let plan = self.plan(batch)?;
        if !plan.is_empty() {
            self.store(&plan).map_err(|e| from_sqlite(&self.directory, Action::Write, &e))?;
        }
        self.unfolded_bytes += plan.bytes();
        if self.unfolded_bytes >= self.checkpoint_bytes {
            self.unfolded_bytes = 0;
            self.checkpointer.wake();
        }
        self.position = plan.packets_end + plan.events.len() as u64;
        self.lane_ends.extend(plan.ends);
        if self.versions.len() > STREAMS_MAX {
            self.versions.clear();
        }
        self.versions.extend(plan.versions);
        self.lanes.extend(plan.lanes);
        Ok(Receipt { position: self.position, durability: Durability::Disk })
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        Ok(Box::new(self.sqlite_reader()?))
    }
}

/// One append, ready to be stored.
struct Plan {
    blocks: Vec<Block>,
    events: Vec<NewEvent>,
    /// Position of the last packet; events follow.
    packets_end: u64,
    ends: BTreeMap<LaneId, LaneEnd>,
    lanes: BTreeMap<LaneId, LaneInfo>,
    versions: BTreeMap<String, u64>,
}

impl Plan {
    /// About what the append adds to the write-ahead file: whole pages, and those of the indexes.
    fn bytes(&self) -> u64 {
        let bodies: usize = self.blocks.iter().map(|block| block.body.len()).sum();
        let rows = self.blocks.len() + self.events.len();
        (bodies + rows * ROW_BYTES) as u64 + COMMIT_BYTES
    }

    fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.events.is_empty()
    }
}

fn store_blocks(transaction: &Transaction<'_>, plan: &Plan) -> rusqlite::Result<()> {
    let mut insert =
        transaction.prepare_cached("INSERT INTO block VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?;
    for block in &plan.blocks {
        let lane = block.header.lane;
        insert.execute(params![
            signed(block.last_position),
            signed(block.header.first_position),
            signed(plan.packets_end),
            lane.node,
            lane.incarnation,
            lane.lane,
            signed(block.header.first_seq),
            block.header.count,
            signed(block.stamps.0),
            signed(block.stamps.1),
            block.body,
        ])?;
    }
    Ok(())
}

fn store_events(transaction: &Transaction<'_>, plan: &Plan, stored: &BTreeMap<String, u64>) -> rusqlite::Result<()> {
    if plan.events.is_empty() {
        return Ok(());
    }
    let mut insert = transaction.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    let mut count = transaction.prepare_cached("SELECT coalesce(max(version), 0) FROM event WHERE stream = ?1")?;
    let mut versions: BTreeMap<&str, u64> = BTreeMap::new();
    for (event, position) in plan.events.iter().zip(plan.packets_end + 1..) {
        let version = match versions.get(event.stream.as_str()).or_else(|| stored.get(&event.stream)) {
            Some(&version) => version + 1,
            None => count.query_row([&event.stream], |row| row.get::<_, i64>(0))?.cast_unsigned() + 1,
        };
        versions.insert(&event.stream, version);
        let data = event.data.to_string();
        let checksum = event_checksum(position, &event.stream, version, &event.kind, event.stamp, &data);
        insert.execute(params![
            signed(position),
            event.stream,
            signed(version),
            event.kind,
            signed(event.stamp.as_nanos()),
            data,
            checksum
        ])?;
    }
    Ok(())
}

/// SQLite's integers are signed; the bits stay. Positions and sequence numbers never get that far, stamps not before 2262.
pub(crate) const fn signed(value: u64) -> i64 {
    value.cast_signed()
}

fn lock(directory: &Path) -> Result<File, JournalError> {
    let io = |e| from_io(directory, Action::Write, &e);
    let file =
        File::options().create(true).truncate(false).write(true).open(directory.join("journal.lock")).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(e)) => Err(io(e)),
    }
}

/// Position of the newest packet or event.
pub(crate) fn newest_position(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT max(coalesce((SELECT max(last_position) FROM block), 0), coalesce((SELECT max(position) FROM event), 0))";
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

fn next_incarnation(directory: &Path, connection: &mut Connection) -> Result<Incarnation, JournalError> {
    let raise = || -> rusqlite::Result<Option<i64>> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("UPDATE meta SET value = value + 1 WHERE name = 'incarnation'", [])?;
        let raised = schema::meta(&transaction, "incarnation")?;
        transaction.commit()?;
        Ok(raised)
    };
    let mut raise = raise;
    let raised = raise().map_err(|e| from_sqlite(directory, Action::Write, &e))?;
    raised
        .and_then(|value| Incarnation::try_from(value).ok())
        .ok_or_else(|| damaged(directory, "meta", format!("incarnation {raised:?} is no 32-bit number")))
}

fn lane_end(
    directory: &Path,
    connection: &Connection,
    ends: &mut BTreeMap<LaneId, LaneEnd>,
    lane: LaneId,
) -> Result<Option<LaneEnd>, JournalError> {
    if let Some(end) = ends.get(&lane) {
        return Ok(Some(*end));
    }
    let sql = "SELECT first_seq + packets, last_position FROM block WHERE node = ?1 AND incarnation = ?2 AND lane = ?3
               ORDER BY first_seq DESC LIMIT 1";
    let read = || {
        connection
            .prepare_cached(sql)?
            .query_row(params![lane.node, lane.incarnation, lane.lane], |row| {
                Ok(LaneEnd {
                    next_seq: row.get::<_, i64>(0)?.cast_unsigned(),
                    position: row.get::<_, i64>(1)?.cast_unsigned(),
                })
            })
            .optional()
    };
    let end = read().map_err(|e| from_sqlite(directory, Action::Read, &e))?;
    if let Some(end) = end {
        ends.insert(lane, end);
    }
    Ok(end)
}

fn version(
    directory: &Path,
    connection: &Connection,
    known: &BTreeMap<String, u64>,
    stream: &str,
) -> Result<u64, JournalError> {
    if let Some(&version) = known.get(stream) {
        return Ok(version);
    }
    let read = || -> rusqlite::Result<i64> {
        let mut count = connection.prepare_cached("SELECT coalesce(max(version), 0) FROM event WHERE stream = ?1")?;
        count.query_row([stream], |row| row.get(0))
    };
    read().map(i64::cast_unsigned).map_err(|e| from_sqlite(directory, Action::Read, &e))
}

fn check_version(event: &NewEvent, actual: u64) -> Result<(), JournalError> {
    let holds = match event.expected {
        ExpectedVersion::Any => true,
        ExpectedVersion::NoStream => actual == 0,
        ExpectedVersion::Exactly(expected) => actual == expected,
    };
    if holds {
        return Ok(());
    }
    Err(JournalError::WrongVersion { stream: event.stream.clone(), expected: event.expected, actual })
}

/// A lane is stored as an event, stamped as its first packet in this append.
fn lane_event(directory: &Path, info: &LaneInfo, batch: &Batch) -> Result<NewEvent, JournalError> {
    let first = batch.packets.iter().filter_map(|lane| lane.packets.first()).find(|p| p.header.id.lane == info.id);
    Ok(NewEvent {
        stream: LANE_STREAM.to_owned(),
        expected: ExpectedVersion::Any,
        kind: LANE_STREAM.to_owned(),
        stamp: first.map_or(Stamp::ZERO, |p| p.header.stamp),
        data: serde_json::to_value(info).map_err(|e| damaged(directory, format!("lane {}", info.id), e))?,
    })
}
