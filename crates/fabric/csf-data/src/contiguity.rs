//! The rules an append must obey: positions and lane sequences without gap, packets of one lane together. Pure.

use std::collections::BTreeMap;

use csf_core::LaneId;
use csf_core::port::{JournalError, LaneBatch};

/// Where a lane stands: next sequence number and newest position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneEnd {
    pub(crate) next_seq: u64,
    pub(crate) position: u64,
}

/// Sequence numbers are stored as signed integers of SQLite.
const SEQ_MAX: u64 = i64::MAX as u64;

/// Checks that the positions of all packets are `position + 1 ..`, each once; returns how many there are.
pub(crate) fn check_positions(position: u64, batches: &[LaneBatch]) -> Result<u64, JournalError> {
    let count = batches.iter().map(|batch| batch.packets.len()).sum::<usize>();
    let mut seen = vec![false; count];
    for packet in batches.iter().flat_map(|batch| &batch.packets) {
        let index = packet.position.checked_sub(position + 1).and_then(|i| usize::try_from(i).ok());
        match index.and_then(|i| seen.get_mut(i)) {
            Some(slot) if !*slot => *slot = true,
            // Twice the same, too low or too high: the first number that is missing is what was expected.
            _ => {
                let all = batches.iter().flat_map(|batch| &batch.packets).map(|p| p.position);
                return Err(first_gap(position, all.collect()));
            }
        }
    }
    Ok(count as u64)
}

fn first_gap(position: u64, mut positions: Vec<u64>) -> JournalError {
    positions.sort_unstable();
    let (expected, got) =
        (position + 1..).zip(positions).find(|(expected, got)| expected != got).unwrap_or((position + 1, position));
    not_contiguous("position", expected, got)
}

/// Checks the lane batches against `known` lane ends (asked once per lane that has one) and returns the new ends.
pub(crate) fn check_lanes(
    batches: &[LaneBatch],
    mut known: impl FnMut(LaneId) -> Result<Option<LaneEnd>, JournalError>,
) -> Result<BTreeMap<LaneId, LaneEnd>, JournalError> {
    let mut ends: BTreeMap<LaneId, LaneEnd> = BTreeMap::new();
    for batch in batches {
        let Some(first) = batch.packets.first() else { continue };
        let lane = first.header.id.lane;
        let mut end = match ends.get(&lane) {
            Some(end) => *end,
            // A lane may begin with any number: a link resumes where its receiver stands.
            None => known(lane)?.unwrap_or(LaneEnd { next_seq: first.header.id.seq, position: 0 }),
        };
        for packet in &batch.packets {
            let id = packet.header.id;
            if id.lane != lane {
                let what = format!("packet of lane {} among those of lane {lane}", id.lane);
                return Err(not_contiguous(&what, u64::from(lane.lane), u64::from(id.lane.lane)));
            }
            if id.seq != end.next_seq || id.seq >= SEQ_MAX {
                return Err(not_contiguous(&format!("lane {lane}"), end.next_seq.min(SEQ_MAX - 1), id.seq));
            }
            if packet.position <= end.position {
                return Err(not_contiguous(&format!("position on lane {lane}"), end.position + 1, packet.position));
            }
            end = LaneEnd { next_seq: id.seq + 1, position: packet.position };
        }
        ends.insert(lane, end);
    }
    Ok(ends)
}

pub(crate) fn not_contiguous(what: &str, expected: u64, got: u64) -> JournalError {
    JournalError::NotContiguous { what: what.to_owned(), expected, got }
}
