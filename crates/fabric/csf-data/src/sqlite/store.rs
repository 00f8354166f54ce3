//! A plan becomes rows: one transaction.

use csf_core::port::{Direction, EventId, Origin, StreamHead};
use rusqlite::{CachedStatement, Connection, Row, Transaction, TransactionBehavior, params};

use super::events::stream_rows;
use super::find::{Finder, Key, keys};
use super::journal::signed;
use super::reader::ReadError;
use crate::checksum::checksum;
use crate::packed::block::Block;
use crate::plan::{Plan, Planned, Step};

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
    let mut event = transaction.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
    for step in steps {
        match step {
            Step::Keep(planned) => store_event(&mut event, planned)?,
            Step::Change { stream, head } => change_stream(transaction, finder, stream, *head, gone)?,
        }
    }
    Ok(())
}

fn store_blocks(transaction: &Transaction<'_>, blocks: &[Block], packets_end: u64) -> rusqlite::Result<()> {
    if blocks.is_empty() {
        return Ok(());
    }
    let mut insert =
        transaction.prepare_cached("INSERT INTO block VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?;
    for block in blocks {
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
    }
    Ok(())
}

fn store_event(insert: &mut CachedStatement<'_>, planned: &Planned<'_>) -> rusqlite::Result<()> {
    let Planned { position, version, event } = planned;
    let id = event.id.map(|id| id.as_u128().to_be_bytes());
    let tags = (!event.tags.is_empty()).then(|| json(&event.tags));
    let origin = (!event.origin.is_empty()).then(|| json::<Origin>(&event.origin));
    let texts = [
        &event.stream,
        &event.kind,
        tags.as_deref().unwrap_or_default(),
        origin.as_deref().unwrap_or_default(),
        event.data.as_str(),
    ];
    let sum = checksum([*position, *version, event.stamp.as_nanos()], id.as_ref(), &texts);
    insert.execute(params![
        signed(*position),
        id,
        event.stream,
        signed(*version),
        event.kind,
        signed(event.stamp.as_nanos()),
        tags,
        origin,
        event.data.as_str(),
        sum,
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
