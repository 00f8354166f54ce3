//! What a memory journal holds, and the rules an append must obey. Pure: no lock, no handle.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use csf_core::port::{
    Append, Appended, Batch, JournalError, LANE_STREAM, LaneInfo, NewEvent, Page, Read, Refused, Scan, StoredPacket,
    StreamHead,
};
use csf_core::{Incarnation, LaneId, Stamp};

use crate::memory_events::Events;

/// What a packet costs besides its payload, for the capacity.
const PACKET_BYTES: u64 = 64;

/// Everything a journal remembers.
#[derive(Debug, Default)]
pub(crate) struct State {
    packets: Vec<Arc<StoredPacket>>,
    /// Indices into `packets`, by lane.
    by_lane: BTreeMap<LaneId, Vec<usize>>,
    lanes: Vec<LaneInfo>,
    events: Events,
    pub(crate) position: u64,
    pub(crate) incarnation: Incarnation,
    pub(crate) is_open: bool,
    pub(crate) bytes: u64,
    pub(crate) capacity_bytes: Option<u64>,
}

pub(crate) fn directory() -> PathBuf {
    PathBuf::from("memory")
}

impl State {
    /// Commits everything or nothing; the answers are those of the batch's appends.
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<Vec<Result<Appended, Refused>>, JournalError> {
        let in_order = self.check_packets(batch)?;
        let lanes = self.new_lanes(batch)?;
        let bytes = cost_bytes(batch);
        if self.capacity_bytes.is_some_and(|capacity| self.bytes + bytes > capacity) {
            let reason = format!("{bytes} bytes do not fit into the simulated disk");
            return Err(JournalError::Storage { directory: directory(), action: "written", reason, full: true });
        }
        self.bytes += bytes;
        self.keep_packets(batch, &in_order);
        self.keep_lanes(batch, lanes);
        Ok(batch.appends.iter().map(|append| self.events.append(&mut self.position, append)).collect())
    }

    /// The batch's packets in the order of their positions, when those continue the journal and each lane.
    fn check_packets<'b>(&self, batch: &'b Batch) -> Result<Vec<&'b Arc<StoredPacket>>, JournalError> {
        let count = batch.packets.iter().map(|lane| lane.packets.len()).sum();
        let mut in_order: Vec<Option<&Arc<StoredPacket>>> = vec![None; count];
        let mut next: BTreeMap<LaneId, (u64, u64)> = BTreeMap::new();
        for lane in &batch.packets {
            let Some(first) = lane.packets.first() else { continue };
            let id = first.header.id.lane;
            let known = next.get(&id).copied().or_else(|| self.next_of(id));
            let (mut expected, mut after) = known.unwrap_or((first.header.id.seq, 0));
            for packet in &lane.packets {
                if packet.header.id.lane != id {
                    let what = format!("packet of lane {} among those of lane {id}", packet.header.id.lane);
                    return Err(not_contiguous(&what, u64::from(id.lane), u64::from(packet.header.id.lane.lane)));
                }
                let seq = packet.header.id.seq;
                if seq != expected {
                    return Err(not_contiguous(&format!("lane {id}"), expected, seq));
                }
                if packet.position <= after {
                    return Err(not_contiguous(&format!("position on lane {id}"), after + 1, packet.position));
                }
                (expected, after) = (seq + 1, packet.position);
                let place = packet.position.checked_sub(self.position + 1).and_then(|at| usize::try_from(at).ok());
                match place.and_then(|at| in_order.get_mut(at)) {
                    Some(place @ None) => *place = Some(packet),
                    _ => return Err(self.position_gap(batch)),
                }
            }
            next.insert(id, (expected, after));
        }
        // As many packets as places, and no place taken twice.
        Ok(in_order.into_iter().flatten().collect())
    }

    /// The first position that does not follow the one before it.
    fn position_gap(&self, batch: &Batch) -> JournalError {
        let mut positions: Vec<u64> = batch.packets.iter().flat_map(|lane| &lane.packets).map(|p| p.position).collect();
        positions.sort_unstable();
        let numbered = (self.position + 1..).zip(positions);
        let (expected, got) = numbered.into_iter().find(|(expected, got)| expected != got).unwrap_or_default();
        not_contiguous("position", expected, got)
    }

    /// The lane's next sequence number and its newest position.
    fn next_of(&self, lane: LaneId) -> Option<(u64, u64)> {
        let newest = &self.packets[*self.by_lane.get(&lane)?.last()?];
        Some((newest.header.id.seq + 1, newest.position))
    }

    /// The batch's lanes without those known already; a lane cannot change what it is.
    fn new_lanes(&self, batch: &Batch) -> Result<Vec<LaneInfo>, JournalError> {
        let mut new: Vec<LaneInfo> = Vec::new();
        for info in &batch.lanes {
            match self.lanes.iter().chain(&new).find(|known| known.id == info.id) {
                None => new.push(info.clone()),
                Some(known) if known == info => {}
                Some(_) => return Err(not_contiguous(&format!("lane {} announced again, differently", info.id), 0, 1)),
            }
        }
        Ok(new)
    }

    fn keep_packets(&mut self, batch: &Batch, in_order: &[&Arc<StoredPacket>]) {
        let (first, index) = (self.position + 1, self.packets.len());
        for lane in batch.packets.iter().filter(|lane| !lane.packets.is_empty()) {
            let indices = self.by_lane.entry(lane.packets[0].header.id.lane).or_default();
            indices.extend(lane.packets.iter().map(|packet| index + (packet.position - first) as usize));
        }
        self.packets.extend(in_order.iter().map(|packet| Arc::clone(packet)));
        self.position += in_order.len() as u64;
    }

    fn keep_lanes(&mut self, batch: &Batch, lanes: Vec<LaneInfo>) {
        for info in lanes {
            let first = batch.packets.iter().filter_map(|l| l.packets.first()).find(|p| p.header.id.lane == info.id);
            let stamp = first.map_or(Stamp::ZERO, |p| p.header.stamp);
            let data = serde_json::to_value(&info).expect("a lane has a JSON form");
            self.events.keep(&mut self.position, &NewEvent::new(LANE_STREAM, LANE_STREAM, stamp, data));
            self.lanes.push(info);
        }
    }

    pub(crate) fn packets(&self) -> &[Arc<StoredPacket>] {
        &self.packets
    }

    pub(crate) fn lanes(&self) -> Vec<LaneInfo> {
        self.lanes.clone()
    }

    pub(crate) fn scan(&self, scan: &Scan) -> Vec<StoredPacket> {
        self.wanted(scan).cloned().collect()
    }

    pub(crate) fn visit(&self, scan: &Scan, look: &mut dyn FnMut(&StoredPacket) -> ControlFlow<()>) {
        // Where it stopped is known to `look`.
        let _ = self.wanted(scan).try_for_each(look);
    }

    fn wanted(&self, scan: &Scan) -> impl Iterator<Item = &StoredPacket> {
        let start = self.packets.partition_point(|p| p.position < scan.from_position);
        let is_wanted = |p: &&StoredPacket| scan.lanes.is_empty() || scan.lanes.contains(&p.header.id.lane);
        self.packets[start..].iter().map(AsRef::as_ref).filter(is_wanted).take(scan.limit)
    }

    pub(crate) fn lane(&self, lane: LaneId, from_seq: u64, limit: usize) -> Vec<StoredPacket> {
        let indices = self.by_lane.get(&lane).map_or(&[][..], Vec::as_slice);
        let start = indices.partition_point(|&i| self.packets[i].header.id.seq < from_seq);
        indices[start..].iter().take(limit).map(|&i| (*self.packets[i]).clone()).collect()
    }

    pub(crate) fn lane_tail(&self, lane: LaneId, limit: usize) -> Vec<StoredPacket> {
        let indices = self.by_lane.get(&lane).map_or(&[][..], Vec::as_slice);
        indices.iter().rev().take(limit).map(|&i| (*self.packets[i]).clone()).collect()
    }

    pub(crate) fn read(&self, read: &Read) -> Page {
        Page { events: self.events.read(read), position: self.position }
    }

    pub(crate) fn head(&self, stream: &str) -> StreamHead {
        self.events.head(stream)
    }
}

fn cost_bytes(batch: &Batch) -> u64 {
    let packets = batch.packets.iter().flat_map(|lane| &lane.packets).map(|p| PACKET_BYTES + p.payload.len() as u64);
    let events = |append: &Append| -> u64 {
        append.events.iter().map(|event| PACKET_BYTES + event.data.as_str().len() as u64).sum()
    };
    packets.chain(batch.appends.iter().map(events)).sum()
}

fn not_contiguous(what: &str, expected: u64, got: u64) -> JournalError {
    JournalError::NotContiguous { what: what.to_owned(), expected, got }
}
