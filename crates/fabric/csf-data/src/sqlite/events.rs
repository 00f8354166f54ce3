//! Events from their rows: one stream by versions, or the log by positions through a filter.
//!
//! A filter is walked criterion by criterion, each along the index that narrows it most: its first tag, its streams, its types, its
//! categories, or else all positions. What the index does not say is checked in the row before its content is touched.

use std::collections::BTreeMap;

use csf_core::Stamp;
use csf_core::port::{Criteria, Direction, EventId, Filter, Json, Origin, Page, Read, ReadOf, StoredEvent};
use rusqlite::{Connection, Row, params_from_iter, types::Value};

use super::journal::newest_position;
use super::reader::ReadError;
use crate::checksum::checksum;

const COLUMNS: &str = "e.position, e.id, e.stream, e.version, e.kind, e.stamp, e.tags, e.origin, e.data, e.checksum";
/// The category of a stream, as the index has it.
pub(super) const CATEGORY: &str = "substr(stream, 1, instr(stream || '-', '-') - 1)";

pub(super) fn read(connection: &Connection, read: &Read) -> Result<Page, ReadError> {
    let position = newest_position(connection)?;
    let events = match &read.of {
        _ if read.limit == 0 => Vec::new(),
        ReadOf::Stream(stream) => read_stream(connection, stream, read)?,
        ReadOf::Log(filter) => read_log(connection, filter, read)?,
        ReadOf::Named(id) => read_named(connection, *id)?,
    };
    Ok(Page { events, position })
}

fn read_stream(connection: &Connection, stream: &str, read: &Read) -> Result<Vec<StoredEvent>, ReadError> {
    let (compare, order) = match read.direction {
        Direction::Forward => (">=", "ASC"),
        Direction::Backward => ("<=", "DESC"),
    };
    let Some(from) = bound(read.from, read.direction) else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT {COLUMNS} FROM event e WHERE stream = ?1 AND version {compare} ?2 ORDER BY version {order} LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let limit = i64::try_from(read.limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(rusqlite::params![stream, from, limit])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(event(row)?);
    }
    Ok(events)
}

fn read_named(connection: &Connection, id: EventId) -> Result<Vec<StoredEvent>, ReadError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM event e WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_u128().to_be_bytes()])?;
    rows.next()?.map(event).into_iter().collect()
}

/// A number of the port as SQLite compares it; `None` when nothing can be there.
fn bound(from: u64, direction: Direction) -> Option<i64> {
    match (i64::try_from(from), direction) {
        (Ok(from), _) => Some(from),
        (Err(_), Direction::Backward) => Some(i64::MAX),
        (Err(_), Direction::Forward) => None,
    }
}

fn read_log(connection: &Connection, filter: &Filter, read: &Read) -> Result<Vec<StoredEvent>, ReadError> {
    let (first, last) = match read.direction {
        Direction::Forward => (read.from, u64::MAX),
        Direction::Backward => (0, read.from),
    };
    let mut found: BTreeMap<u64, StoredEvent> = BTreeMap::new();
    let mut nearest = None;
    walk(connection, Walk { filter, first, last, direction: read.direction }, &mut |row| {
        // One criterion's first events may push out another's last; each walk ends where no more of its own can count.
        let is_beyond = |limit: u64| match read.direction {
            Direction::Forward => row.position > limit,
            Direction::Backward => row.position < limit,
        };
        if nearest.is_some_and(is_beyond) {
            return Ok(false);
        }
        found.entry(row.position).or_insert(event(row.row)?);
        if found.len() > read.limit {
            match read.direction {
                Direction::Forward => found.pop_last(),
                Direction::Backward => found.pop_first(),
            };
        }
        if found.len() == read.limit {
            let end = match read.direction {
                Direction::Forward => found.last_key_value(),
                Direction::Backward => found.first_key_value(),
            };
            nearest = end.map(|(position, _)| *position);
        }
        Ok(nearest != Some(row.position))
    })?;
    let events = found.into_values();
    Ok(match read.direction {
        Direction::Forward => events.collect(),
        Direction::Backward => events.rev().collect(),
    })
}

/// Which part of the log is walked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk<'f> {
    pub(super) filter: &'f Filter,
    /// Smallest and greatest position.
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) direction: Direction,
}

/// An event on the way, not read yet.
pub(super) struct Found<'r> {
    pub(super) position: u64,
    pub(super) stream: &'r str,
    pub(super) version: u64,
    row: &'r Row<'r>,
}

type Visit<'v> = &'v mut dyn FnMut(Found<'_>) -> Result<bool, ReadError>;

/// Shows `visit` what is meant, each way of finding it in order, an event found twice twice. A visit that says false ends that way.
pub(super) fn walk(connection: &Connection, walk: Walk<'_>, visit: Visit<'_>) -> Result<(), ReadError> {
    let Some(first) = bound(walk.first, Direction::Forward) else { return Ok(()) };
    let last = bound(walk.last, Direction::Backward).unwrap_or(i64::MAX);
    let everything = [Criteria::default()];
    let criteria = if walk.filter.any_of.is_empty() { &everything[..] } else { &walk.filter.any_of };
    for criteria in criteria {
        for (source, key) in ways(criteria) {
            along(connection, criteria, (source, key), (first, last), walk.direction, visit)?;
        }
    }
    Ok(())
}

/// The tables and conditions that find a criterion's events, with the key of each.
fn ways(criteria: &Criteria) -> Vec<(String, Option<&str>)> {
    if let Some(tag) = criteria.tags.first() {
        return vec![(
            "tag t JOIN event e ON e.position = t.position WHERE t.tag = ?3 AND t.position".into(),
            Some(tag),
        )];
    }
    let (source, keys) = if !criteria.streams.is_empty() {
        ("event e WHERE stream = ?3 AND e.position".to_owned(), &criteria.streams)
    } else if !criteria.kinds.is_empty() {
        ("event e WHERE kind = ?3 AND e.position".to_owned(), &criteria.kinds)
    } else if !criteria.categories.is_empty() {
        (format!("event e WHERE {CATEGORY} = ?3 AND e.position"), &criteria.categories)
    } else {
        return vec![("event e WHERE e.position".into(), None)];
    };
    keys.iter().map(|key| (source.clone(), Some(key.as_str()))).collect()
}

fn along(
    connection: &Connection,
    criteria: &Criteria,
    (source, key): (String, Option<&str>),
    (first, last): (i64, i64),
    direction: Direction,
    visit: Visit<'_>,
) -> Result<(), ReadError> {
    let order = match direction {
        Direction::Forward => "ASC",
        Direction::Backward => "DESC",
    };
    let by = if source.starts_with("tag") { "t.position" } else { "e.position" };
    let sql = format!("SELECT {COLUMNS} FROM {source} BETWEEN ?1 AND ?2 ORDER BY {by} {order}");
    let mut statement = connection.prepare_cached(&sql)?;
    let keys = [Value::Integer(first), Value::Integer(last)].into_iter();
    let mut rows = statement.query(params_from_iter(keys.chain(key.map(|key| Value::Text(key.to_owned())))))?;
    while let Some(row) = rows.next()? {
        let position = row.get::<_, i64>(0)?.cast_unsigned();
        let text =
            |at| row.get_ref(at).map_err(ReadError::from).and_then(|v| v.as_str().map_err(|e| bad(position, &e)));
        let (stream, kind) = (text(2)?, text(4)?);
        let tags = if criteria.tags.len() > 1 { tags(row, position)? } else { criteria.tags.clone() };
        if !criteria.fits(stream, kind, &tags) {
            continue;
        }
        let version = row.get::<_, i64>(3)?.cast_unsigned();
        if !visit(Found { position, stream, version, row })? {
            break;
        }
    }
    Ok(())
}

fn bad(position: u64, reason: &impl ToString) -> ReadError {
    ReadError::Damaged { place: format!("event {position}"), reason: reason.to_string() }
}

fn tags(row: &Row<'_>, position: u64) -> Result<Vec<String>, ReadError> {
    let text: Option<String> = row.get(6)?;
    text.map_or(Ok(Vec::new()), |text| serde_json::from_str(&text).map_err(|e| bad(position, &e)))
}

/// An event from its row, checked.
fn event(row: &Row<'_>) -> Result<StoredEvent, ReadError> {
    let position = row.get::<_, i64>(0)?.cast_unsigned();
    let id: Option<[u8; 16]> = row.get(1)?;
    let stream: String = row.get(2)?;
    let version = row.get::<_, i64>(3)?.cast_unsigned();
    let kind: String = row.get(4)?;
    let stamp = Stamp(row.get::<_, i64>(5)?.cast_unsigned());
    let (tags, origin): (Option<String>, Option<String>) = (row.get(6)?, row.get(7)?);
    let data: String = row.get(8)?;
    let texts =
        [&stream, &kind, tags.as_deref().unwrap_or_default(), origin.as_deref().unwrap_or_default(), data.as_str()];
    if checksum([position, version, stamp.as_nanos()], id.as_ref(), &texts) != row.get::<_, u32>(9)? {
        return Err(bad(position, &"the checksum does not fit the content"));
    }
    let tags = tags.map_or(Ok(Vec::new()), |text| serde_json::from_str(&text)).map_err(|e| bad(position, &e))?;
    let origin = origin.map_or(Ok(Origin::default()), |text| serde_json::from_str(&text));
    let origin = origin.map_err(|e| bad(position, &e))?;
    let data = Json::from_text(data).map_err(|e| bad(position, &e))?;
    let id = id.map(|bytes| EventId::from_u128(u128::from_be_bytes(bytes)));
    Ok(StoredEvent { position, id, stream, version, kind, stamp, tags, origin, data })
}
