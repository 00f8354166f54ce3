//! Packets from their blocks: by position, by lane, and the newest of a lane. Blocks come in pages; a page of a scan ends where no block
//! that is not in it can have a packet before its end.

use csf_core::LaneId;
use csf_core::port::{Scan, StoredPacket};
use tokio_postgres::Row;

use super::error::Failure;
use super::session::Session;
use crate::packed::unpack::BlockReader;

/// Most blocks of a page: 4 MiB.
const PAGE_BLOCKS: usize = 64;

const COLUMNS: &str = "last_position, append_end, node, incarnation, lane, first_seq, body";

/// Blocks up to the end of the append of the page's last one: appends do not overlap.
const ALL: &str = "
SELECT last_position, append_end, node, incarnation, lane, first_seq, body FROM block
WHERE last_position BETWEEN $1 AND coalesce(
  (SELECT append_end FROM block WHERE last_position >= $1 ORDER BY last_position OFFSET $2 LIMIT 1), $3)
ORDER BY last_position";

/// The next blocks of each lane: those of one lane do not overlap.
const LANES: &str = "
SELECT b.* FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS l(node, incarnation, lane), LATERAL (
  SELECT last_position, append_end, node, incarnation, lane, first_seq, body FROM block
  WHERE node = l.node AND incarnation = l.incarnation AND lane = l.lane AND last_position >= $4
  ORDER BY last_position LIMIT $5) AS b";

struct Block {
    last_position: u64,
    append_end: u64,
    lane: LaneId,
    reader: BlockReader<Vec<u8>>,
}

impl Block {
    /// From its row, whose columns must agree with the body.
    fn open(row: &Row) -> Result<Self, Failure> {
        let number = |at| row.try_get::<_, i64>(at).map(i64::cast_unsigned);
        let (last_position, append_end, first_seq) = (number(0)?, number(1)?, number(5)?);
        let reader = BlockReader::new(row.try_get(6)?).map_err(|e| damaged(last_position, e))?;
        let lane = reader.header().lane;
        let named = [number(2)?, number(3)?, number(4)?];
        if named != [u64::from(lane.node), u64::from(lane.incarnation), u64::from(lane.lane)]
            || reader.header().first_seq != first_seq
        {
            return Err(damaged(last_position, "the row names another lane or sequence than the block"));
        }
        Ok(Self { last_position, append_end, lane, reader })
    }

    /// Its packets at these positions.
    fn between(&mut self, first: u64, last: u64, out: &mut Vec<StoredPacket>) -> Result<(), Failure> {
        while let Some(packet) = self.reader.find(|position, _| position >= first && position <= last) {
            let packet = packet.map_err(|e| damaged(self.last_position, e))?;
            if packet.position > self.last_position {
                return Err(damaged(self.last_position, "the row names another last position than the block"));
            }
            out.push(packet);
        }
        Ok(())
    }
}

fn damaged(last_position: u64, reason: impl ToString) -> Failure {
    Failure::damaged(format!("block {last_position}"), reason)
}

pub(super) fn scan(session: &mut Session, scan: &Scan, head: u64) -> Result<Vec<StoredPacket>, Failure> {
    let mut lanes = scan.lanes.clone();
    lanes.sort_unstable();
    lanes.dedup();
    let mut out = Vec::new();
    let mut from = scan.from_position;
    while out.len() < scan.limit && from <= head {
        let (mut blocks, end) = match lanes.is_empty() {
            true => page(session, from, scan.limit - out.len(), head)?,
            false => page_of_lanes(session, &lanes, from, scan.limit - out.len(), head)?,
        };
        let start = out.len();
        for block in &mut blocks {
            block.between(from, end, &mut out)?;
        }
        out[start..].sort_unstable_by_key(|packet| packet.position);
        from = end + 1;
    }
    out.truncate(scan.limit);
    Ok(out)
}

/// Blocks with packets from `from` on, and the position up to which these are all.
fn page(session: &mut Session, from: u64, wanted: usize, head: u64) -> Result<(Vec<Block>, u64), Failure> {
    let offset = wanted.min(PAGE_BLOCKS) as i64 - 1;
    let rows = session.query(ALL, &[&from.cast_signed(), &offset, &head.cast_signed()])?;
    let blocks = rows.iter().map(Block::open).collect::<Result<Vec<_>, _>>()?;
    let end = blocks.iter().map(|block| block.append_end).max();
    let end = end.filter(|_| rows.len() as i64 > offset).unwrap_or(head);
    if end < from {
        return Err(Failure::damaged(format!("block after {from}"), "its append ends before it"));
    }
    Ok((blocks, end))
}

fn page_of_lanes(
    session: &mut Session,
    lanes: &[LaneId],
    from: u64,
    wanted: usize,
    head: u64,
) -> Result<(Vec<Block>, u64), Failure> {
    let each = (PAGE_BLOCKS / lanes.len()).clamp(1, wanted);
    let number = |of: fn(&LaneId) -> i64| lanes.iter().map(of).collect::<Vec<i64>>();
    let nodes = number(|lane| i64::from(lane.node));
    let incarnations = number(|lane| i64::from(lane.incarnation));
    let numbers = number(|lane| i64::from(lane.lane));
    let rows = session.query(LANES, &[&nodes, &incarnations, &numbers, &from.cast_signed(), &(each as i64)])?;
    let blocks = rows.iter().map(Block::open).collect::<Result<Vec<_>, _>>()?;
    // A lane that filled its share may have more after its last block.
    let last_of_full = |lane: &LaneId| {
        let own: Vec<u64> =
            blocks.iter().filter(|block| block.lane == *lane).map(|block| block.last_position).collect();
        (own.len() == each).then(|| own.into_iter().max()).flatten()
    };
    let end = lanes.iter().filter_map(last_of_full).min().unwrap_or(head);
    Ok((blocks, end))
}

/// Packets of a lane from `from_seq` on.
pub(super) fn lane(
    session: &mut Session,
    lane: LaneId,
    from_seq: u64,
    limit: usize,
) -> Result<Vec<StoredPacket>, Failure> {
    let mut out = Vec::new();
    let Ok(mut from) = i64::try_from(from_seq) else { return Ok(out) };
    let (node, incarnation, number) = key(lane);
    // The block that `from_seq` is in may begin before it.
    let sql = "SELECT max(first_seq) FROM block WHERE node = $1 AND incarnation = $2 AND lane = $3 AND first_seq <= $4";
    let start: Option<i64> = session.one(sql, &[&node, &incarnation, &number, &from])?.try_get(0)?;
    from = start.unwrap_or(from);
    let sql = format!(
        "SELECT {COLUMNS} FROM block WHERE node = $1 AND incarnation = $2 AND lane = $3 AND first_seq >= $4
         ORDER BY first_seq LIMIT $5"
    );
    while out.len() < limit {
        let blocks = (limit - out.len()).min(PAGE_BLOCKS);
        let rows = session.query(&sql, &[&node, &incarnation, &number, &from, &(blocks as i64)])?;
        for row in &rows {
            let mut block = Block::open(row)?;
            while let Some(packet) = block.reader.find(|_, id| id.seq >= from_seq) {
                out.push(packet.map_err(|e| damaged(block.last_position, e))?);
            }
            let header = block.reader.header();
            from = header.first_seq.saturating_add(u64::from(header.count)).cast_signed();
        }
        if rows.len() < blocks {
            break;
        }
    }
    out.truncate(limit);
    Ok(out)
}

/// The newest packets of a lane, newest first.
pub(super) fn lane_tail(session: &mut Session, lane: LaneId, limit: usize) -> Result<Vec<StoredPacket>, Failure> {
    let mut out = Vec::new();
    let sql = format!(
        "SELECT {COLUMNS} FROM block WHERE node = $1 AND incarnation = $2 AND lane = $3 AND first_seq < $4
         ORDER BY first_seq DESC LIMIT $5"
    );
    let (node, incarnation, number) = key(lane);
    let mut before = i64::MAX;
    // One block first: often it is enough.
    let mut blocks = 1;
    while out.len() < limit {
        let rows = session.query(&sql, &[&node, &incarnation, &number, &before, &(blocks as i64)])?;
        for row in &rows {
            let mut block = Block::open(row)?;
            let header = *block.reader.header();
            before = header.first_seq.cast_signed();
            // Only the wanted tail of the block is copied.
            let end = header.first_seq.saturating_add(u64::from(header.count));
            let wanted = end.saturating_sub(limit.saturating_sub(out.len()) as u64);
            let mut tail = Vec::new();
            while let Some(packet) = block.reader.find(|_, id| id.seq >= wanted) {
                tail.push(packet.map_err(|e| damaged(block.last_position, e))?);
            }
            out.extend(tail.into_iter().rev());
            if out.len() >= limit {
                break;
            }
        }
        if rows.len() < blocks {
            break;
        }
        blocks = PAGE_BLOCKS;
    }
    Ok(out)
}

fn key(lane: LaneId) -> (i64, i64, i64) {
    (i64::from(lane.node), i64::from(lane.incarnation), i64::from(lane.lane))
}
