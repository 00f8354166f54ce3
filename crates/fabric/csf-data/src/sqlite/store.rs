//! A plan becomes rows: one transaction.

use csf_core::port::{Direction, EventId, Origin, StreamHead};
use rusqlite::{CachedStatement, Connection, Row, Transaction, TransactionBehavior, params};

use super::events::stream_rows;
use super::find::{Finder, Key, keys};
use super::journal::signed;
use super::reader::ReadError;
use super::redo::{BlockRow, EventRow, Record, Row as Stored};
use crate::packed::block::Block;
use crate::plan::{Plan, Planned, Step};

const INSERT_EVENT: &str = "INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const INSERT_BLOCK: &str = "INSERT INTO block VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

/// Keys that lost their event.
pub(super) type Gone = Vec<(Key, u64)>;

/// Carries out the plan, or nothing of it.
pub(super) fn store(connection: &mut Connection, finder: &mut Finder, plan: &Plan<'_>) -> Result<Gone, ReadError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut gone = Gone::new();
    insert(&transaction, finder, &plan.blocks, &plan.steps, plan.packets_end, &mut gone)?;
    transaction.commit()?;
    Ok(gone)
}

/// The rows of one commit whose packets end at `packets_end`.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    finder: &mut Finder,
    blocks: &[Block],
    steps: &[Step<'_>],
    packets_end: u64,
    gone: &mut Gone,
) -> Result<(), ReadError> {
    store_blocks(transaction, blocks, packets_end)?;
    if steps.is_empty() {
        return Ok(());
    }
    let mut event = transaction.prepare_cached(INSERT_EVENT)?;
    for step in steps {
        match step {
            Step::Keep(planned) => store_planned(&mut event, planned)?,
            Step::Change { stream, head } => change_stream(transaction, finder, stream, *head, gone)?,
        }
    }
    Ok(())
}

/// The rows of a record of the redo log.
pub(super) fn insert_record(transaction: &Transaction<'_>, record: &Record<'_>) -> Result<(), ReadError> {
    let mut event = transaction.prepare_cached(INSERT_EVENT)?;
    for row in record.rows() {
        match row {
            Some(Stored::Event(row)) => store_event(&mut event, &row)?,
            Some(Stored::Block(row)) => {
                store_block(&mut transaction.prepare_cached(INSERT_BLOCK)?, &row, record.packets_end)?;
            }
            None => {
                let place = format!("the redo log after position {}", record.before);
                return Err(ReadError::Damaged { place, reason: "a row makes no sense".to_owned() });
            }
        }
    }
    Ok(())
}

fn store_blocks(transaction: &Transaction<'_>, blocks: &[Block], packets_end: u64) -> rusqlite::Result<()> {
    if blocks.is_empty() {
        return Ok(());
    }
    let mut insert = transaction.prepare_cached(INSERT_BLOCK)?;
    blocks.iter().try_for_each(|block| store_block(&mut insert, &block.into(), packets_end))
}

fn store_block(insert: &mut CachedStatement<'_>, block: &BlockRow<'_>, packets_end: u64) -> rusqlite::Result<()> {
    let lane = block.header.lane;
    insert.execute(params![
        signed(block.last_position),
        signed(block.header.first_position),
        signed(packets_end),
        lane.node,
        lane.incarnation,
        lane.lane,
        signed(block.header.first_seq),
        block.header.count,
        signed(block.stamps.0),
        signed(block.stamps.1),
        block.body,
    ])?;
    Ok(())
}

fn store_planned(insert: &mut CachedStatement<'_>, planned: &Planned<'_>) -> rusqlite::Result<()> {
    let Planned { position, version, event } = planned;
    let tags = (!event.tags.is_empty()).then(|| json(&event.tags));
    let origin = (!event.origin.is_empty()).then(|| json::<Origin>(&event.origin));
    let row = EventRow {
        position: *position,
        id: event.id.map(|id| id.as_u128().to_be_bytes()),
        stream: &event.stream,
        version: *version,
        kind: &event.kind,
        stamp: event.stamp.as_nanos(),
        tags: tags.as_deref(),
        origin: origin.as_deref(),
        data: event.data.as_str(),
    };
    store_event(insert, &row)
}

fn store_event(insert: &mut CachedStatement<'_>, row: &EventRow<'_>) -> rusqlite::Result<()> {
    insert.execute(params![
        signed(row.position),
        row.id,
        row.stream,
        signed(row.version),
        row.kind,
        signed(row.stamp),
        row.tags,
        row.origin,
        row.data,
        row.checksum(),
    ])?;
    Ok(())
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("texts have a JSON form")
}

fn change_stream(
    transaction: &Transaction<'_>,
    finder: &mut Finder,
    stream: &str,
    head: StreamHead,
    gone: &mut Gone,
) -> Result<(), ReadError> {
    let look = finder.look(transaction, u64::MAX, &[Key::stream(stream)])?;
    let mut positions = Vec::new();
    stream_rows(transaction, &look, stream, (0, u64::MAX), Direction::Forward, &mut |row, version| {
        if version < head.first {
            let position = row.get::<_, i64>(0)?;
            positions.push(position);
            gone.extend(keys_of_row(row)?.into_iter().map(|key| (key, position.cast_unsigned())));
        }
        Ok(version < head.first)
    })?;
    let mut delete = transaction.prepare_cached("DELETE FROM event WHERE position = ?1")?;
    for position in positions {
        delete.execute([position])?;
    }
    let sql = "INSERT OR REPLACE INTO stream VALUES (?1, ?2, ?3, ?4)";
    transaction.prepare_cached(sql)?.execute(params![
        stream,
        signed(head.version),
        signed(head.first),
        head.is_closed
    ])?;
    Ok(())
}

fn keys_of_row(row: &Row<'_>) -> rusqlite::Result<Vec<Key>> {
    let id: Option<[u8; 16]> = row.get(1)?;
    let (stream, kind): (String, String) = (row.get(2)?, row.get(4)?);
    let tags: Option<String> = row.get(6)?;
    // Tags that cannot be read were not indexed either.
    let tags: Vec<String> = tags.and_then(|tags| serde_json::from_str(&tags).ok()).unwrap_or_default();
    let id = id.map(|bytes| EventId::from_u128(u128::from_be_bytes(bytes)));
    Ok(keys(&stream, &kind, id, &tags).collect())
}
