//! The outbox: events that were committed with users' rows, until the log has them; and the inbox: which events have had their effect.
//!
//! A row of the outbox is one transaction, and becomes one append. Its events are named by the database and the row, so an append that is
//! repeated after a crash is done once. A row goes when the log has it, so nothing has to remember a place, and a transaction that
//! commits late is not passed over.

use std::collections::HashSet;

use csf_core::Stamp;
use csf_core::port::{Append, EventId, Json, NewEvent, Origin, Refused};
use serde::{Deserialize, Serialize};

use super::DataError;
use super::sql::{Sql, SqlValue};

pub(super) const SQLITE_TABLES: &str = "
CREATE TABLE IF NOT EXISTS csf_database (name TEXT PRIMARY KEY) STRICT;
INSERT INTO csf_database SELECT lower(hex(randomblob(16))) WHERE NOT EXISTS (SELECT 1 FROM csf_database);
CREATE TABLE IF NOT EXISTS csf_outbox (
  number  INTEGER PRIMARY KEY AUTOINCREMENT,
  events  TEXT NOT NULL,
  refused TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS csf_inbox (
  consumer TEXT NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (consumer, position)
) STRICT, WITHOUT ROWID;
";

pub(super) const POSTGRES_TABLES: &str = "
CREATE TABLE IF NOT EXISTS csf_database (name text PRIMARY KEY);
INSERT INTO csf_database SELECT replace(gen_random_uuid()::text, '-', '') WHERE NOT EXISTS (SELECT FROM csf_database);
CREATE TABLE IF NOT EXISTS csf_outbox (
  number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  events  text NOT NULL,
  refused text
);
CREATE TABLE IF NOT EXISTS csf_inbox (
  consumer text NOT NULL,
  position bigint NOT NULL,
  PRIMARY KEY (consumer, position)
);
";

/// Transactions that are read at a time.
const PAGE: i64 = 128;

/// An event in the outbox. Its content is a text in a text, so that no byte of it changes.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<EventId>,
    stream: String,
    kind: String,
    stamp: Stamp,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Origin::is_empty")]
    origin: Origin,
    data: String,
}

/// A transaction that the log does not have yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) number: i64,
    pub(super) events: Vec<NewEvent>,
}

impl Waiting {
    /// The words that its events touch.
    pub(super) fn touched(&self) -> Vec<String> {
        self.events.iter().flat_map(|event| crate::cache::touched(&event.stream, &event.tags)).collect()
    }
}

/// Puts events in, after a look whether the log would take them.
pub(super) fn put(sql: &mut dyn Sql, events: &[NewEvent]) -> Result<(), DataError> {
    if events.is_empty() {
        return Ok(());
    }
    let append = Append::events(events);
    append.check()?;
    let mut ids = HashSet::new();
    if let Some(id) = events.iter().filter_map(|event| event.id).find(|id| !ids.insert(*id)) {
        return Err(Refused::IdInUse { id, position: 0 }.into());
    }
    let kept = append.events.into_iter().map(|event| Kept {
        id: event.id,
        stream: event.stream,
        kind: event.kind,
        stamp: event.stamp,
        tags: event.tags,
        origin: event.origin,
        data: event.data.as_str().to_owned(),
    });
    let text = serde_json::to_string(&kept.collect::<Vec<_>>()).expect("texts have a JSON form");
    sql.execute("INSERT INTO csf_outbox (events) VALUES ($1)", &[text.into()]).map(drop)
}

/// The oldest transactions that wait.
pub(super) fn waiting(sql: &mut dyn Sql) -> Result<Vec<Waiting>, DataError> {
    let name = sql.query("SELECT name FROM csf_database", &[])?;
    let damaged = |reason: String| DataError::Damaged { reason };
    let name = name.first().and_then(|row| u128::from_str_radix(row.first()?.as_text()?, 16).ok());
    let database = EventId::from_u128(name.ok_or_else(|| damaged("table `csf_database` holds no name".into()))?);
    let rows = sql.query(
        "SELECT number, events FROM csf_outbox WHERE refused IS NULL ORDER BY number LIMIT $1",
        &[SqlValue::Integer(PAGE)],
    )?;
    let mut waiting = Vec::with_capacity(rows.len());
    for row in rows {
        let [SqlValue::Integer(number), SqlValue::Text(text)] = &row[..] else {
            return Err(damaged(format!("a row of `csf_outbox` is {row:?}")));
        };
        let wrong = |e: serde_json::Error| damaged(format!("row {number} of `csf_outbox`: {e}"));
        let kept: Vec<Kept> = serde_json::from_str(text).map_err(wrong)?;
        let mut events = Vec::with_capacity(kept.len());
        for (at, kept) in kept.into_iter().enumerate() {
            events.push(NewEvent {
                id: Some(kept.id.unwrap_or_else(|| database.derive(&format!("{number}/{at}")))),
                stream: kept.stream,
                kind: kept.kind,
                stamp: kept.stamp,
                tags: kept.tags,
                origin: kept.origin,
                data: Json::from_text(kept.data).map_err(wrong)?,
            });
        }
        waiting.push(Waiting { number: *number, events });
    }
    Ok(waiting)
}

/// The log has these.
pub(super) fn remove(sql: &mut dyn Sql, numbers: &[i64]) -> Result<(), DataError> {
    for number in numbers {
        sql.execute("DELETE FROM csf_outbox WHERE number = $1", &[SqlValue::Integer(*number)])?;
    }
    Ok(())
}

/// The log does not take this one: it stays, with the reason, and holds nobody up.
pub(super) fn set_aside(sql: &mut dyn Sql, number: i64, reason: &str) -> Result<(), DataError> {
    let sql_text = "UPDATE csf_outbox SET refused = $1 WHERE number = $2";
    sql.execute(sql_text, &[reason.into(), SqlValue::Integer(number)]).map(drop)
}

/// Those that were set aside, by number, with the reason.
pub(super) fn set_aside_ones(sql: &mut dyn Sql) -> Result<Vec<(i64, String)>, DataError> {
    let rows = sql.query("SELECT number, refused FROM csf_outbox WHERE refused IS NOT NULL ORDER BY number", &[])?;
    Ok(rows
        .into_iter()
        .filter_map(|row| match &row[..] {
            [SqlValue::Integer(number), SqlValue::Text(reason)] => Some((*number, reason.clone())),
            _ => None,
        })
        .collect())
}

/// Notes that a consumer applies the event at this position; false when it has before.
pub(super) fn note(sql: &mut dyn Sql, consumer: &str, position: u64) -> Result<bool, DataError> {
    let values = [consumer.into(), SqlValue::Integer(position.cast_signed())];
    Ok(sql.execute("INSERT INTO csf_inbox VALUES ($1, $2) ON CONFLICT DO NOTHING", &values)? == 1)
}

/// Forgets what a consumer has applied up to a position; how many.
pub(super) fn forget(sql: &mut dyn Sql, consumer: &str, up_to: u64) -> Result<u64, DataError> {
    let values = [consumer.into(), SqlValue::Integer(up_to.cast_signed())];
    sql.execute("DELETE FROM csf_inbox WHERE consumer = $1 AND position <= $2", &values)
}
