//! A commit becomes rows: one statement, which is a transaction by itself, as long as it is of ordinary size.

use std::collections::BTreeMap;

use csf_core::port::StreamHead;

use super::error::Failure;
use super::schema::Head;
use super::session::Session;
use crate::checksum::checksum;
use crate::commit::Commit;
use crate::packed::block::Block;
use crate::plan::{Planned, Step};

/// Bytes of content in a statement; the server takes a message of at most 1 GiB.
const STATEMENT_BYTES_MAX: usize = 64 << 20;

/// The fence and the rows behind it: nothing is stored unless the head is where this incarnation left it.
const KEEP: &str = "
WITH fence AS (
  UPDATE head SET position = $3 WHERE position = $1 AND incarnation = $2 RETURNING position
), events AS (
  INSERT INTO event
  SELECT e.position, e.id::uuid, e.stream, e.version, e.kind, e.stamp, e.tags::text[], e.origin, e.data, e.checksum
  FROM unnest($4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::bigint[], $10::text[], $11::text[],
              $12::text[], $13::bigint[])
       AS e(position, id, stream, version, kind, stamp, tags, origin, data, checksum), fence
), blocks AS (
  INSERT INTO block
  SELECT b.last_position, b.first_position, $14::bigint, b.node, b.incarnation, b.lane, b.first_seq, b.packets, b.stamp_min,
         b.stamp_max, b.body
  FROM unnest($15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[],
              $22::bigint[], $23::bigint[], $24::bytea[])
       AS b(last_position, first_position, node, incarnation, lane, first_seq, packets, stamp_min, stamp_max, body), fence
)
SELECT position, pg_notify($25, '') FROM fence";

/// Streams that were changed: what is stored of their events before the first one kept goes.
const CHANGE: &str = "
WITH fence AS (
  SELECT position FROM head WHERE position = $1 AND incarnation = $2 FOR UPDATE
), changed AS (
  SELECT c.* FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::boolean[]) AS c(stream, version, first, is_closed), fence
), gone AS (
  DELETE FROM event e USING changed c WHERE e.stream = c.stream AND e.version < c.first
), heads AS (
  INSERT INTO stream SELECT * FROM changed
  ON CONFLICT (stream) DO UPDATE
  SET version = excluded.version, first = excluded.first, is_closed = excluded.is_closed
)
SELECT position FROM fence";

/// Stores the commit, or nothing of it; false when the head is not at `from`.
pub(super) fn store(session: &mut Session, commit: &Commit<'_>, from: Head, channel: &str) -> Result<bool, Failure> {
    let changes = changes(commit);
    let chunks = chunks(commit, &changes);
    if let ([chunk], true) = (&chunks[..], changes.is_empty()) {
        return chunk.keep(session, commit, from, commit.position(), channel);
    }
    session.batch("BEGIN")?;
    let mut work = || -> Result<bool, Failure> {
        if !changes.is_empty() && !change(session, &changes, from)? {
            return Ok(false);
        }
        for (at, chunk) in chunks.iter().enumerate() {
            let to = if at + 1 == chunks.len() { commit.position() } else { from.position };
            if !chunk.keep(session, commit, from, to, channel)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let stored = work();
    session.batch(if matches!(stored, Ok(true)) { "COMMIT" } else { "ROLLBACK" })?;
    stored
}

/// What each changed stream is in the end.
fn changes<'p>(commit: &'p Commit<'_>) -> BTreeMap<&'p str, StreamHead> {
    let change = |step: &'p Step<'_>| match step {
        Step::Change { stream, head } => Some((stream.as_str(), *head)),
        Step::Keep(_) => None,
    };
    commit.steps.iter().filter_map(change).collect()
}

fn change(session: &mut Session, changes: &BTreeMap<&str, StreamHead>, from: Head) -> Result<bool, Failure> {
    let streams: Vec<&str> = changes.keys().copied().collect();
    let versions: Vec<i64> = changes.values().map(|head| head.version.cast_signed()).collect();
    let firsts: Vec<i64> = changes.values().map(|head| head.first.cast_signed()).collect();
    let closed: Vec<bool> = changes.values().map(|head| head.is_closed).collect();
    let (position, incarnation) = (from.position.cast_signed(), i64::from(from.incarnation));
    let rows = session.query(CHANGE, &[&position, &incarnation, &streams, &versions, &firsts, &closed])?;
    Ok(!rows.is_empty())
}

/// Rows of one statement, column by column.
#[derive(Default)]
struct Chunk<'p> {
    bytes: usize,
    positions: Vec<i64>,
    ids: Vec<Option<String>>,
    streams: Vec<&'p str>,
    versions: Vec<i64>,
    kinds: Vec<&'p str>,
    stamps: Vec<i64>,
    tags: Vec<Option<String>>,
    origins: Vec<Option<String>>,
    data: Vec<&'p str>,
    checksums: Vec<i64>,
    blocks: Vec<&'p Block>,
}

/// The commit's rows in statements; at least one, which moves the head. An event that is truncated in the same commit is not stored.
fn chunks<'p>(commit: &'p Commit<'_>, changes: &BTreeMap<&str, StreamHead>) -> Vec<Chunk<'p>> {
    let mut chunks = vec![Chunk::default()];
    for block in &*commit.blocks {
        chunk_for(&mut chunks, block.body.len()).blocks.push(block);
    }
    for step in &*commit.steps {
        let Step::Keep(planned) = step else { continue };
        let is_gone = changes.get(planned.event.stream.as_str()).is_some_and(|head| planned.version < head.first);
        if !is_gone {
            chunk_for(&mut chunks, planned.event.data.as_str().len()).push(planned);
        }
    }
    chunks
}

fn chunk_for<'c, 'p>(chunks: &'c mut Vec<Chunk<'p>>, bytes: usize) -> &'c mut Chunk<'p> {
    if chunks.last().is_some_and(|chunk| chunk.bytes > 0 && chunk.bytes + bytes > STATEMENT_BYTES_MAX) {
        chunks.push(Chunk::default());
    }
    let chunk = chunks.last_mut().expect("it begins with one");
    chunk.bytes += bytes;
    chunk
}

impl<'p> Chunk<'p> {
    fn push(&mut self, planned: &'p Planned<'_>) {
        let Planned { position, version, event } = planned;
        let tags = (!event.tags.is_empty()).then(|| json(&event.tags));
        let origin = (!event.origin.is_empty()).then(|| json(&event.origin));
        let texts = [
            event.stream.as_str(),
            event.kind.as_str(),
            tags.as_deref().unwrap_or_default(),
            origin.as_deref().unwrap_or_default(),
            event.data.as_str(),
        ];
        let id = event.id.map(|id| id.as_u128().to_be_bytes());
        let sum = checksum([*position, *version, event.stamp.as_nanos()], id.as_ref(), &texts);
        self.positions.push(position.cast_signed());
        self.ids.push(event.id.map(|id| id.to_string()));
        self.streams.push(&event.stream);
        self.versions.push(version.cast_signed());
        self.kinds.push(&event.kind);
        self.stamps.push(event.stamp.as_nanos().cast_signed());
        self.tags.push((!event.tags.is_empty()).then(|| array(&event.tags)));
        self.origins.push(origin);
        self.data.push(event.data.as_str());
        self.checksums.push(i64::from(sum));
    }

    fn keep(
        &self,
        session: &mut Session,
        commit: &Commit<'_>,
        from: Head,
        to: u64,
        channel: &str,
    ) -> Result<bool, Failure> {
        let number = |of: fn(&Block) -> u64| -> Vec<i64> { self.blocks.iter().map(|b| of(b).cast_signed()).collect() };
        let bodies: Vec<&[u8]> = self.blocks.iter().map(|block| &block.body[..]).collect();
        let rows = session.query(
            KEEP,
            &[
                &from.position.cast_signed(),
                &i64::from(from.incarnation),
                &to.cast_signed(),
                &self.positions,
                &self.ids,
                &self.streams,
                &self.versions,
                &self.kinds,
                &self.stamps,
                &self.tags,
                &self.origins,
                &self.data,
                &self.checksums,
                &commit.packets_end.cast_signed(),
                &number(|b| b.last_position),
                &number(|b| b.header.first_position),
                &number(|b| u64::from(b.header.lane.node)),
                &number(|b| u64::from(b.header.lane.incarnation)),
                &number(|b| u64::from(b.header.lane.lane)),
                &number(|b| b.header.first_seq),
                &number(|b| u64::from(b.header.count)),
                &number(|b| b.stamps.0),
                &number(|b| b.stamps.1),
                &bodies,
                &channel,
            ],
        )?;
        Ok(!rows.is_empty())
    }
}

pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("texts have a JSON form")
}

/// Words as the server reads an array: each in quotes, quotes and backslashes escaped (PostgreSQL 15, section 8.15.2).
fn array(words: &[String]) -> String {
    let quoted = words.iter().map(|word| format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")));
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}
