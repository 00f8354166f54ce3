//! Packets of many lanes in order of position: a merge of blocks that opens only those it needs.
//!
//! Blocks of one lane do not overlap, blocks of different lanes do, but only within one append: every row says where its append
//! ends. A scan of all lanes therefore merges append by append; a scan of some lanes merges one cursor per lane.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use csf_core::LaneId;
use csf_core::port::{Scan, StoredPacket};
use rusqlite::{Connection, OptionalExtension, params};

use super::journal::signed;
use super::reader::{ReadError, damaged_block, open_block};
use crate::packed::unpack::BlockReader;

pub(crate) fn scan(connection: &Connection, scan: &Scan) -> Result<Vec<StoredPacket>, ReadError> {
    if scan.limit == 0 || i64::try_from(scan.from_position).is_err() {
        return Ok(Vec::new());
    }
    let (heads, slots, out) = (BinaryHeap::new(), Vec::new(), Vec::new());
    let mut merge = Merge { from: scan.from_position, limit: scan.limit, heads, slots, out };
    if scan.lanes.is_empty() {
        scan_all(connection, &mut merge)?;
    } else {
        let mut lanes = scan.lanes.clone();
        lanes.sort_unstable();
        lanes.dedup();
        scan_lanes(connection, &lanes, &mut merge)?;
    }
    Ok(merge.out)
}

/// The blocks being merged.
struct Merge {
    from: u64,
    limit: usize,
    /// Position of each open block's next packet, and the block's slot; smallest first.
    heads: BinaryHeap<Reverse<(u64, usize)>>,
    /// `None` once the block has ended.
    slots: Vec<Option<Slot>>,
    out: Vec<StoredPacket>,
}

/// An open block and its next packet.
struct Slot {
    next: StoredPacket,
    last_position: u64,
    block: BlockReader<Vec<u8>>,
}

impl Merge {
    fn is_full(&self) -> bool {
        self.out.len() >= self.limit
    }

    /// Position of the next packet to be given out.
    fn next(&self) -> Option<u64> {
        self.heads.peek().map(|&Reverse((position, _))| position)
    }

    fn open(&mut self, last_position: u64, body: Vec<u8>) -> Result<(), ReadError> {
        let mut block = open_block(last_position, body)?;
        let next = find(&mut block, last_position, self.from)?
            .ok_or_else(|| damaged_block(last_position, "the block ends before its last position"))?;
        self.heads.push(Reverse((next.position, self.slots.len())));
        self.slots.push(Some(Slot { next, last_position, block }));
        Ok(())
    }

    /// Gives out the smallest packet. When that was its block's last one, returns lane and last position of the block.
    fn pop(&mut self) -> Result<Option<(LaneId, u64)>, ReadError> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        let place = &mut self.slots[head.0.1];
        let Some(slot) = place else { return Ok(None) };
        if let Some(next) = find(&mut slot.block, slot.last_position, self.from)? {
            // The heap is put in order again when `head` goes out of scope.
            head.0.0 = next.position;
            self.out.push(std::mem::replace(&mut slot.next, next));
            return Ok(None);
        }
        PeekMut::pop(head);
        let Some(Slot { next, last_position, .. }) = place.take() else { return Ok(None) };
        let lane = next.header.id.lane;
        self.out.push(next);
        Ok(Some((lane, last_position)))
    }
}

/// The block's next packet at or after `from`.
fn find(block: &mut BlockReader<Vec<u8>>, last_position: u64, from: u64) -> Result<Option<StoredPacket>, ReadError> {
    let Some(packet) = block.find(|position, _| position >= from) else { return Ok(None) };
    let packet = packet.map_err(|e| damaged_block(last_position, e))?;
    if packet.position > last_position {
        return Err(damaged_block(last_position, "the index names another last position than the block"));
    }
    Ok(Some(packet))
}

fn scan_all(connection: &Connection, merge: &mut Merge) -> Result<(), ReadError> {
    let end_of_append = "SELECT append_end FROM block WHERE last_position >= ?1 ORDER BY last_position LIMIT 1";
    let mut end_of_append = connection.prepare_cached(end_of_append)?;
    let mut from = merge.from;
    while !merge.is_full() {
        let end = end_of_append.query_row([signed(from)], |row| row.get::<_, i64>(0)).optional()?;
        let Some(end) = end.map(i64::cast_unsigned) else { break };
        if end < from {
            return Err(ReadError::Damaged {
                place: format!("block after {from}"),
                reason: "its append ends before it".into(),
            });
        }
        merge_append(connection, merge, from, end)?;
        from = end + 1;
    }
    Ok(())
}

/// Merges the blocks of one append, opening each when the first position of its packets comes up.
fn merge_append(connection: &Connection, merge: &mut Merge, from: u64, end: u64) -> Result<(), ReadError> {
    let blocks = "SELECT last_position, first_position FROM block WHERE last_position BETWEEN ?1 AND ?2";
    let mut blocks: Vec<(u64, u64)> = connection
        .prepare_cached(blocks)?
        .query_map(params![signed(from), signed(end)], |row| {
            Ok((row.get::<_, i64>(1)?.cast_unsigned(), row.get::<_, i64>(0)?.cast_unsigned()))
        })?
        .collect::<rusqlite::Result<_>>()?;
    blocks.sort_unstable();
    let mut blocks = blocks.into_iter().peekable();
    let mut body = connection.prepare_cached("SELECT body FROM block WHERE last_position = ?1")?;
    while !merge.is_full() {
        while let Some((_, last)) =
            blocks.next_if(|&(first, _)| merge.next().is_none_or(|next| first <= next.max(from)))
        {
            merge.open(last, body.query_row([signed(last)], |row| row.get(0))?)?;
        }
        if merge.next().is_none() {
            break;
        }
        merge.pop()?;
    }
    Ok(())
}

fn scan_lanes(connection: &Connection, lanes: &[LaneId], merge: &mut Merge) -> Result<(), ReadError> {
    let next = "SELECT last_position, body FROM block
                WHERE node = ?1 AND incarnation = ?2 AND lane = ?3 AND last_position >= ?4 ORDER BY last_position LIMIT 1";
    let mut next = connection.prepare_cached(next)?;
    let mut open = |merge: &mut Merge, lane: LaneId, from: u64| -> Result<(), ReadError> {
        let row = next
            .query_row(params![lane.node, lane.incarnation, lane.lane, signed(from)], |row| {
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, Vec<u8>>(1)?))
            })
            .optional()?;
        row.map_or(Ok(()), |(last_position, body)| merge.open(last_position, body))
    };
    for &lane in lanes {
        open(merge, lane, merge.from)?;
    }
    while !merge.is_full() && merge.next().is_some() {
        if let Some((lane, last_position)) = merge.pop()? {
            open(merge, lane, last_position + 1)?;
        }
    }
    Ok(())
}
