//! Events from their rows: one stream by versions, or the log by positions through a filter.

use std::borrow::Cow;

use csf_core::Stamp;
use csf_core::port::{Criteria, Direction, EventId, Filter, Json, Origin, Read, ReadOf, StoredEvent};
use tokio_postgres::Row;

use super::error::Failure;
use super::schema::CATEGORY;
use super::session::{Session, Value};
use super::store::json;
use crate::checksum::checksum;

const COLUMNS: &str = "position, id::text, stream, version, kind, stamp, tags, origin, data, checksum";

/// The events that are meant, none after `head`.
pub(super) fn read(session: &mut Session, read: &Read, head: u64) -> Result<Vec<StoredEvent>, Failure> {
    if read.limit == 0 {
        return Ok(Vec::new());
    }
    let limit = i64::try_from(read.limit).unwrap_or(i64::MAX);
    let head = head.cast_signed();
    let rows = match &read.of {
        ReadOf::Named(id) => {
            let sql = format!("SELECT {COLUMNS} FROM event WHERE id = $1::text::uuid AND position <= $2");
            session.query(&sql, &[&id.to_string(), &head])?
        }
        ReadOf::Stream(stream) if stream.contains('\0') => Vec::new(),
        ReadOf::Stream(stream) => {
            let (compare, order) = match read.direction {
                Direction::Forward => (">=", "ASC"),
                Direction::Backward => ("<=", "DESC"),
            };
            let Some(from) = bound(read.from, read.direction) else { return Ok(Vec::new()) };
            let sql = format!(
                "SELECT {COLUMNS} FROM event WHERE stream = $1 AND version {compare} $2 AND position <= $3
                 ORDER BY version {order} LIMIT $4"
            );
            session.query(&sql, &[stream, &from, &head, &limit])?
        }
        ReadOf::Log(filter) => {
            let from = bound(read.from, read.direction);
            let (first, last) = match (read.direction, from) {
                (_, None) => return Ok(Vec::new()),
                (Direction::Forward, Some(from)) => (from, head),
                (Direction::Backward, Some(from)) => (0, from.min(head)),
            };
            let question = Question::new(filter, (first, last), read.direction, limit, COLUMNS);
            let (sql, values) = question.sql_and_values();
            session.query(&sql, &values)?
        }
    };
    rows.iter().map(event).collect()
}

/// Every event after `after` and up to `end`.
pub(super) fn between(session: &mut Session, after: u64, end: u64) -> Result<Vec<StoredEvent>, Failure> {
    let sql = format!("SELECT {COLUMNS} FROM event WHERE position > $1 AND position <= $2 ORDER BY position");
    session.query(&sql, &[&after.cast_signed(), &end.cast_signed()])?.iter().map(event).collect()
}

/// A number of the port as the server compares it; `None` when nothing can be there.
fn bound(from: u64, direction: Direction) -> Option<i64> {
    match (i64::try_from(from), direction) {
        (Ok(from), _) => Some(from),
        (Err(_), Direction::Backward) => Some(i64::MAX),
        (Err(_), Direction::Forward) => None,
    }
}

/// The newest events that are meant, after `after` and before `before`, from new to old.
pub(super) fn newest(filter: &Filter, after: u64, before: Option<u64>, limit: i64) -> Question<'_> {
    let first = i64::try_from(after.saturating_add(1)).unwrap_or(i64::MAX);
    let last = before.map_or(i64::MAX, |before| before.cast_signed() - 1);
    Question::new(filter, (first, last), Direction::Backward, limit, "position, stream, version")
}

/// An event that was found, not read.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) position: u64,
    pub(super) stream: String,
    pub(super) version: u64,
}

impl Found {
    pub(super) fn from_row(row: &Row) -> Result<Self, Failure> {
        let (position, version): (i64, i64) = (row.try_get(0)?, row.try_get(2)?);
        Ok(Self { position: position.cast_unsigned(), stream: row.try_get(1)?, version: version.cast_unsigned() })
    }
}

/// A filter as a question: each criterion finds its own first events along an index of its own, and the first of all of them count.
pub(super) struct Question<'f> {
    first: i64,
    last: i64,
    limit: i64,
    criteria: Cow<'f, [Criteria]>,
    direction: Direction,
    columns: &'static str,
}

impl<'f> Question<'f> {
    fn new(
        filter: &'f Filter,
        (first, last): (i64, i64),
        direction: Direction,
        limit: i64,
        columns: &'static str,
    ) -> Self {
        Self { first, last, limit, criteria: askable(&filter.any_of), direction, columns }
    }

    pub(super) fn sql_and_values<'v>(&'v self) -> (String, Vec<Value<'v>>) {
        let mut values: Vec<Value<'v>> = vec![&self.first, &self.last, &self.limit];
        let order = match self.direction {
            Direction::Forward => "ASC",
            Direction::Backward => "DESC",
        };
        let tail = format!("ORDER BY position {order} LIMIT $3");
        let mut part = |columns: &str, criteria: Option<&'v Criteria>| {
            let more = criteria.map(|criteria| conditions(criteria, &mut values)).unwrap_or_default();
            format!("SELECT {columns} FROM event WHERE position BETWEEN $1 AND $2{more} {tail}")
        };
        let sql = match &*self.criteria {
            [] => part(self.columns, None),
            [one] => part(self.columns, Some(one)),
            many => {
                let parts: Vec<String> = many.iter().map(|one| format!("({})", part("position", Some(one)))).collect();
                let (columns, parts) = (self.columns, parts.join(" UNION "));
                format!(
                    "SELECT {columns} FROM event WHERE position IN (SELECT position FROM ({parts}) AS found {tail}) {tail}"
                )
            }
        };
        (sql, values)
    }
}

/// The criteria in words that the server takes: one with U+0000, which no event has, is left out. What cannot be met stays so.
fn askable(criteria: &[Criteria]) -> Cow<'_, [Criteria]> {
    let is_strange = |word: &String| word.contains('\0');
    let lists = |c: &Criteria| [c.streams.clone(), c.categories.clone(), c.kinds.clone()];
    let any_strange =
        |c: &Criteria| [&c.streams, &c.categories, &c.kinds, &c.tags].into_iter().flatten().any(is_strange);
    if !criteria.iter().any(any_strange) {
        return Cow::Borrowed(criteria);
    }
    let plain = |c: &Criteria| {
        let lists = lists(c).map(|list| {
            let was_empty = list.is_empty();
            let list: Vec<String> = list.into_iter().filter(|word| !is_strange(word)).collect();
            (was_empty || !list.is_empty()).then_some(list)
        });
        let [Some(streams), Some(categories), Some(kinds)] = lists else { return None };
        let tags = c.tags.clone();
        (!tags.iter().any(is_strange)).then_some(Criteria { streams, categories, kinds, tags })
    };
    let mut askable: Vec<Criteria> = criteria.iter().filter_map(plain).collect();
    if askable.is_empty() {
        // No stream has an empty name.
        askable.push(Criteria { streams: vec![String::new()], ..Criteria::default() });
    }
    Cow::Owned(askable)
}

/// What a criterion asks of a row. One word is compared by itself, so that its index gives the order too.
fn conditions<'f>(criteria: &'f Criteria, values: &mut Vec<Value<'f>>) -> String {
    let mut sql = String::new();
    for (what, list) in [("stream", &criteria.streams), (CATEGORY, &criteria.categories), ("kind", &criteria.kinds)] {
        match &list[..] {
            [] => continue,
            [one] => values.push(one),
            _ => values.push(list),
        }
        let at = values.len();
        sql += &if list.len() == 1 { format!(" AND {what} = ${at}") } else { format!(" AND {what} = ANY(${at})") };
    }
    if !criteria.tags.is_empty() {
        values.push(&criteria.tags);
        sql += &format!(" AND tags @> ${}", values.len());
    }
    sql
}

/// An event from its row, checked.
fn event(row: &Row) -> Result<StoredEvent, Failure> {
    let position = row.try_get::<_, i64>(0)?.cast_unsigned();
    let bad = |reason: &dyn ToString| Failure::damaged(format!("event {position}"), reason.to_string());
    let id: Option<String> = row.try_get(1)?;
    let id = id.map(|id| id.parse::<EventId>()).transpose().map_err(|e| bad(&e))?;
    let (stream, kind): (String, String) = (row.try_get(2)?, row.try_get(4)?);
    let version = row.try_get::<_, i64>(3)?.cast_unsigned();
    let stamp = Stamp(row.try_get::<_, i64>(5)?.cast_unsigned());
    let tags: Option<Vec<String>> = row.try_get(6)?;
    let origin: Option<String> = row.try_get(7)?;
    let data: String = row.try_get(8)?;
    let written = tags.as_ref().map(json).unwrap_or_default();
    let texts = [&stream, &kind, &written, origin.as_deref().unwrap_or_default(), data.as_str()];
    let bits = id.map(|id| id.as_u128().to_be_bytes());
    let sum = checksum([position, version, stamp.as_nanos()], bits.as_ref(), &texts);
    if i64::from(sum) != row.try_get::<_, i64>(9)? {
        return Err(bad(&"the checksum does not fit the content"));
    }
    let origin = origin.map_or(Ok(Origin::default()), |text| serde_json::from_str(&text)).map_err(|e| bad(&e))?;
    let data = Json::from_text(data).map_err(|e| bad(&e))?;
    Ok(StoredEvent { position, id, stream, version, kind, stamp, tags: tags.unwrap_or_default(), origin, data })
}
