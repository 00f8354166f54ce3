//! Events from their rows: one stream by versions, or the log by positions through a filter.
//!
//! A filter is walked criterion by criterion, each along the keys that narrow it most: its first tag, its streams, its types, its
//! categories, or else all positions. What the key does not say is checked in the row before its content is touched.

use std::collections::BTreeMap;

use csf_core::Stamp;
use csf_core::port::{Criteria, Direction, EventId, Filter, Json, Origin, Page, Read, ReadOf, StoredEvent, category};
use rusqlite::{Connection, Row, params};

use super::find::{Candidates, Finder, Key, Look};
use super::journal::{newest_position, signed};
use super::reader::ReadError;
use crate::checksum::checksum;

const COLUMNS: &str = "position, id, stream, version, kind, stamp, tags, origin, data, checksum";

pub(super) fn read(connection: &Connection, finder: &mut Finder, read: &Read) -> Result<Page, ReadError> {
    let position = newest_position(connection)?;
    let events = match &read.of {
        _ if read.limit == 0 => Vec::new(),
        ReadOf::Stream(stream) => {
            let look = finder.look(connection, position, &[Key::stream(stream)])?;
            read_stream(connection, &look, stream, read)?
        }
        ReadOf::Log(filter) => {
            let look = finder.look(connection, position, &keys_of(filter))?;
            read_log(connection, &look, filter, read)?
        }
        ReadOf::Named(id) => {
            let look = finder.look(connection, position, &[Key::id(*id)])?;
            let mut named = Vec::new();
            named_row(connection, &look, *id, &mut |row| {
                named.push(event(row)?);
                Ok(())
            })?;
            named
        }
    };
    Ok(Page { events, position })
}

/// Calls `take` with the row of the event of this name, if there is one.
pub(super) fn named_row(
    connection: &Connection,
    look: &Look<'_>,
    id: EventId,
    take: &mut dyn FnMut(&Row<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let key = Key::id(id);
    rows(connection, look.candidates(key, 0, u64::MAX, Direction::Forward), Direction::Forward, &mut |row| {
        let bytes: Option<[u8; 16]> = row.get(1)?;
        let actual = bytes.map(|bytes| EventId::from_u128(u128::from_be_bytes(bytes)));
        if actual == Some(id) {
            take(row)?;
            return Ok(false);
        }
        must_have(row, key, actual.map(Key::id))?;
        Ok(true)
    })
}

fn read_stream(
    connection: &Connection,
    look: &Look<'_>,
    stream: &str,
    read: &Read,
) -> Result<Vec<StoredEvent>, ReadError> {
    let mut events = Vec::new();
    let (first, last) = match read.direction {
        Direction::Forward => (read.from, u64::MAX),
        Direction::Backward => (0, read.from),
    };
    let start = start(connection, look, stream, read)?;
    let (low, high) = match read.direction {
        Direction::Forward => (start, u64::MAX),
        Direction::Backward => (0, start),
    };
    stream_rows(connection, look, stream, (low, high), read.direction, &mut |row, version| {
        if (first..=last).contains(&version) {
            events.push(event(row)?);
        }
        Ok(events.len() < read.limit)
    })?;
    Ok(events)
}

/// The position at which a read of a stream begins. Versions have no gap, so those behind the wanted one are counted from the newest.
fn start(connection: &Connection, look: &Look<'_>, stream: &str, read: &Read) -> Result<u64, ReadError> {
    let anywhere = match read.direction {
        Direction::Forward => 0,
        Direction::Backward => u64::MAX,
    };
    if (read.direction == Direction::Forward && read.from <= 1) || read.from >= i64::MAX.cast_unsigned() {
        return Ok(anywhere);
    }
    let Some(newest) = newest_version(connection, look, stream)? else { return Ok(anywhere) };
    let Some(mut behind) = newest.checked_sub(read.from).and_then(|behind| usize::try_from(behind).ok()) else {
        return Ok(u64::MAX);
    };
    let mut candidates = look.candidates(Key::stream(stream), 0, u64::MAX, Direction::Backward);
    loop {
        let chunk = candidates.next()?;
        if chunk.is_empty() {
            return Ok(anywhere);
        }
        if let Some(position) = chunk.get(behind) {
            // Another stream of the same key would have been counted with it.
            let mut statement = connection.prepare_cached("SELECT stream, version FROM event WHERE position = ?1")?;
            let mut rows = statement.query([signed(*position)])?;
            let Some(row) = rows.next()? else { return Ok(anywhere) };
            let is_it = text(row, 0, *position)? == stream && row.get::<_, i64>(1)?.cast_unsigned() == read.from;
            return Ok(if is_it { *position } else { anywhere });
        }
        behind -= chunk.len();
    }
}

/// The version of the newest event of the stream.
pub(super) fn newest_version(connection: &Connection, look: &Look<'_>, stream: &str) -> Result<Option<u64>, ReadError> {
    let mut newest = None;
    stream_rows(connection, look, stream, (0, u64::MAX), Direction::Backward, &mut |_, version| {
        newest = Some(version);
        Ok(false)
    })?;
    Ok(newest)
}

/// Calls `take` with the rows of a stream and their versions, in order, until it says false.
pub(super) fn stream_rows(
    connection: &Connection,
    look: &Look<'_>,
    stream: &str,
    (low, high): (u64, u64),
    direction: Direction,
    take: &mut dyn FnMut(&Row<'_>, u64) -> Result<bool, ReadError>,
) -> Result<(), ReadError> {
    let key = Key::stream(stream);
    rows(connection, look.candidates(key, low, high, direction), direction, &mut |row| {
        let position = row.get::<_, i64>(0)?.cast_unsigned();
        let actual = text(row, 2, position)?;
        if actual == stream {
            return take(row, row.get::<_, i64>(3)?.cast_unsigned());
        }
        must_have(row, key, Some(Key::stream(actual)))?;
        Ok(true)
    })
}

fn read_log(
    connection: &Connection,
    look: &Look<'_>,
    filter: &Filter,
    read: &Read,
) -> Result<Vec<StoredEvent>, ReadError> {
    let (first, last) = match read.direction {
        Direction::Forward => (read.from, u64::MAX),
        Direction::Backward => (0, read.from),
    };
    let mut found: BTreeMap<u64, StoredEvent> = BTreeMap::new();
    let mut nearest = None;
    walk(connection, look, Walk { filter, first, last, direction: read.direction }, &mut |row| {
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
pub(super) fn walk(
    connection: &Connection,
    look: &Look<'_>,
    walk: Walk<'_>,
    visit: Visit<'_>,
) -> Result<(), ReadError> {
    let everything = [Criteria::default()];
    let criteria = if walk.filter.any_of.is_empty() { &everything[..] } else { &walk.filter.any_of };
    for criteria in criteria {
        let ways = ways(criteria);
        if ways.is_empty() {
            let bounds = (walk.first, walk.last);
            range(connection, bounds, walk.direction, &mut |row| show(row, criteria, None, visit))?;
        }
        for way in ways {
            let candidates = look.candidates(way, walk.first, walk.last, walk.direction);
            rows(connection, candidates, walk.direction, &mut |row| show(row, criteria, Some(way), visit))?;
        }
    }
    Ok(())
}

/// All keys by which the filter's events are found.
pub(super) fn keys_of(filter: &Filter) -> Vec<Key> {
    filter.any_of.iter().flat_map(ways).collect()
}

/// The keys that find a criterion's events; none when every event may be one.
fn ways(criteria: &Criteria) -> Vec<Key> {
    if let Some(tag) = criteria.tags.first() {
        vec![Key::tag(tag)]
    } else if !criteria.streams.is_empty() {
        criteria.streams.iter().map(|stream| Key::stream(stream)).collect()
    } else if !criteria.kinds.is_empty() {
        criteria.kinds.iter().map(|kind| Key::kind(kind)).collect()
    } else {
        criteria.categories.iter().map(|category| Key::category(category)).collect()
    }
}

fn show(row: &Row<'_>, criteria: &Criteria, way: Option<Key>, visit: Visit<'_>) -> Result<bool, ReadError> {
    let position = row.get::<_, i64>(0)?.cast_unsigned();
    let (stream, kind) = (text(row, 2, position)?, text(row, 4, position)?);
    let tags = if criteria.tags.is_empty() { Vec::new() } else { tags(row, position)? };
    if criteria.fits(stream, kind, &tags) {
        let version = row.get::<_, i64>(3)?.cast_unsigned();
        return visit(Found { position, stream, version, row });
    }
    if let Some(way) = way {
        let names = [Key::stream(stream), Key::kind(kind), Key::category(category(stream))].into_iter();
        must_have(row, way, names.chain(tags.iter().map(|tag| Key::tag(tag))))?;
    }
    Ok(true)
}

/// An event that is none of what its key says must at least share the key; otherwise the row is not the one that was indexed.
fn must_have(row: &Row<'_>, key: Key, actual: impl IntoIterator<Item = Key>) -> Result<(), ReadError> {
    if actual.into_iter().any(|known| known == key) {
        return Ok(());
    }
    let position = row.get::<_, i64>(0)?.cast_unsigned();
    Err(bad(position, &"the index has it under another name than the event says"))
}

/// Shows the events at these positions, those that are still there, until `take` says false.
fn rows(
    connection: &Connection,
    mut candidates: Candidates<'_>,
    direction: Direction,
    take: &mut dyn FnMut(&Row<'_>) -> Result<bool, ReadError>,
) -> Result<(), ReadError> {
    loop {
        let chunk = candidates.next()?;
        let (Some(&a), Some(&b)) = (chunk.first(), chunk.last()) else { return Ok(()) };
        let (low, high) = (a.min(b), a.max(b));
        // Positions that lie close are cheaper in one go, with those between.
        if high - low < 2 * chunk.len() as u64 {
            let mut wanted = chunk.iter().peekable();
            let mut is_done = false;
            range(connection, (low, high), direction, &mut |row| {
                let position = row.get::<_, i64>(0)?.cast_unsigned();
                let is_before = |wanted: u64| match direction {
                    Direction::Forward => wanted < position,
                    Direction::Backward => wanted > position,
                };
                while wanted.next_if(|wanted| is_before(**wanted)).is_some() {}
                if wanted.next_if_eq(&&position).is_some() {
                    is_done = !take(row)?;
                }
                Ok(!is_done)
            })?;
            if is_done {
                return Ok(());
            }
            continue;
        }
        let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM event WHERE position = ?1"))?;
        for position in chunk {
            let mut rows = statement.query([signed(position)])?;
            if let Some(row) = rows.next()?
                && !take(row)?
            {
                return Ok(());
            }
        }
    }
}

/// Shows the events from one position to another, until `take` says false.
fn range(
    connection: &Connection,
    (first, last): (u64, u64),
    direction: Direction,
    take: &mut dyn FnMut(&Row<'_>) -> Result<bool, ReadError>,
) -> Result<(), ReadError> {
    let Ok(first) = i64::try_from(first) else { return Ok(()) };
    let last = i64::try_from(last).unwrap_or(i64::MAX);
    let order = match direction {
        Direction::Forward => "ASC",
        Direction::Backward => "DESC",
    };
    let sql = format!("SELECT {COLUMNS} FROM event WHERE position BETWEEN ?1 AND ?2 ORDER BY position {order}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![first, last])?;
    while let Some(row) = rows.next()? {
        if !take(row)? {
            break;
        }
    }
    Ok(())
}

fn bad(position: u64, reason: &impl ToString) -> ReadError {
    ReadError::Damaged { place: format!("event {position}"), reason: reason.to_string() }
}

fn text<'r>(row: &'r Row<'_>, at: usize, position: u64) -> Result<&'r str, ReadError> {
    row.get_ref(at)?.as_str().map_err(|e| bad(position, &e))
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
