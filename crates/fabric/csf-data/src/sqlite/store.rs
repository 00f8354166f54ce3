//! A plan becomes rows: one transaction.

use csf_core::port::{Origin, StreamHead};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::events::checksum;
use super::journal::signed;
use crate::plan::{Plan, Planned, Step};

/// Carries out the plan, or nothing of it.
pub(super) fn store(connection: &mut Connection, plan: &Plan<'_>) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    store_blocks(&transaction, plan)?;
    for step in &plan.steps {
        match step {
            Step::Keep(planned) => store_event(&transaction, planned)?,
            Step::Change { stream, head } => change_stream(&transaction, stream, *head)?,
        }
    }
    transaction.commit()
}

fn store_blocks(transaction: &Transaction<'_>, plan: &Plan<'_>) -> rusqlite::Result<()> {
    if plan.blocks.is_empty() {
        return Ok(());
    }
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

fn store_event(transaction: &Transaction<'_>, planned: &Planned<'_>) -> rusqlite::Result<()> {
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
    let sql = "INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    transaction.prepare_cached(sql)?.execute(params![
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
    for tag in &event.tags {
        let sql = "INSERT OR IGNORE INTO tag VALUES (?1, ?2)";
        transaction.prepare_cached(sql)?.execute(params![tag, signed(*position)])?;
    }
    Ok(())
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("texts have a JSON form")
}

fn change_stream(transaction: &Transaction<'_>, stream: &str, head: StreamHead) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM tag WHERE (tag, position) IN (SELECT value, position FROM event, json_each(event.tags)
             WHERE stream = ?1 AND version < ?2 AND tags IS NOT NULL)",
        "DELETE FROM event WHERE stream = ?1 AND version < ?2",
    ] {
        transaction.prepare_cached(sql)?.execute(params![stream, signed(head.first)])?;
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
