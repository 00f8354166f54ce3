//! Packing packets of one lane into blocks. The inverse is [`crate::packed::unpack`].

use std::borrow::Borrow;

use csf_core::port::StoredPacket;
use csf_core::{ClockDomain, LaneId, MeasuredAt, MessageId, Priority};

use crate::packed::block::{BODY_BYTES_MAX, Block, BlockHeader, CHECKSUM_BYTES, HEADER_BYTES, TABLE_MAX, flag};
use crate::packed::varint;

/// Packs packets of one lane, ascending without gap in sequence and ascending in position, into as few blocks as fit.
pub(crate) fn pack<P: Borrow<StoredPacket>>(packets: &[P], blocks: &mut Vec<Block>) {
    let mut open: Option<Packer> = None;
    for packet in packets.iter().map(Borrow::borrow) {
        let refused = match &mut open {
            Some(packer) => !packer.push(packet),
            None => true,
        };
        if refused {
            blocks.extend(open.take().map(Packer::close));
            let mut packer = Packer::new(packet);
            packer.push(packet);
            open = Some(packer);
        }
    }
    blocks.extend(open.map(Packer::close));
}

/// One block being filled.
struct Packer {
    header: BlockHeader,
    last_position: u64,
    last_stamp: u64,
    stamps: (u64, u64),
    measured_ns: u64,
    clocks: Vec<ClockDomain>,
    /// Lanes of causes, and the last sequence number named on each.
    causes: Vec<(LaneId, u64)>,
    body: Vec<u8>,
}

impl Packer {
    fn new(first: &StoredPacket) -> Self {
        let stamp = first.header.stamp.as_nanos();
        let header = BlockHeader {
            lane: first.header.id.lane,
            count: 0,
            first_seq: first.header.id.seq,
            first_position: first.position,
            first_stamp: stamp,
        };
        let mut body = Vec::with_capacity(4096);
        body.extend_from_slice(&header.encode());
        Self {
            header,
            last_position: first.position,
            last_stamp: stamp,
            stamps: (stamp, stamp),
            measured_ns: 0,
            clocks: Vec::new(),
            causes: Vec::new(),
            body,
        }
    }

    /// Adds a packet unless the block would grow too large; the first always fits. After `false` only [`Packer::close`] may follow.
    fn push(&mut self, packet: &StoredPacket) -> bool {
        let mark = self.body.len();
        self.encode(packet);
        if self.header.count > 0 && self.body.len() + CHECKSUM_BYTES > BODY_BYTES_MAX {
            self.body.truncate(mark);
            return false;
        }
        let stamp = packet.header.stamp.as_nanos();
        self.header.count += 1;
        self.last_position = packet.position;
        self.last_stamp = stamp;
        self.stamps = (self.stamps.0.min(stamp), self.stamps.1.max(stamp));
        true
    }

    fn encode(&mut self, packet: &StoredPacket) {
        let header = &packet.header;
        let stamp = header.stamp.as_nanos();
        self.body.push(flags(packet));
        varint::put(&mut self.body, packet.position - self.last_position);
        varint::put_difference(&mut self.body, self.last_stamp, stamp);
        if let Some(measured) = &header.measured_at {
            self.encode_measured(measured);
        }
        if let Some(cause) = header.cause {
            self.encode_cause(cause);
        }
        if let Some(deadline) = header.deadline {
            varint::put_difference(&mut self.body, stamp, deadline.as_nanos());
        }
        if header.targets != u64::MAX {
            self.body.extend_from_slice(&header.targets.to_le_bytes());
        }
        varint::put(&mut self.body, packet.payload.len() as u64);
        self.body.extend_from_slice(&packet.payload);
    }

    fn encode_measured(&mut self, measured: &MeasuredAt) {
        match self.clocks.iter().position(|clock| *clock == measured.clock) {
            Some(known) => varint::put(&mut self.body, known as u64 + 1),
            None => {
                let name = measured.clock.name();
                varint::put(&mut self.body, 0);
                varint::put(&mut self.body, name.len() as u64);
                self.body.extend_from_slice(name.as_bytes());
                if self.clocks.len() < TABLE_MAX {
                    self.clocks.push(measured.clock);
                }
            }
        }
        varint::put_difference(&mut self.body, self.measured_ns, measured.ns);
        self.measured_ns = measured.ns;
    }

    fn encode_cause(&mut self, cause: MessageId) {
        let body = &mut self.body;
        if let Some(known) = self.causes.iter().position(|(lane, _)| *lane == cause.lane) {
            varint::put(body, known as u64 + 1);
            varint::put_difference(body, self.causes[known].1, cause.seq);
            self.causes[known].1 = cause.seq;
            return;
        }
        varint::put(body, 0);
        varint::put(body, u64::from(cause.lane.node));
        varint::put(body, u64::from(cause.lane.incarnation));
        varint::put(body, u64::from(cause.lane.lane));
        varint::put_difference(body, 0, cause.seq);
        if self.causes.len() < TABLE_MAX {
            self.causes.push((cause.lane, cause.seq));
        }
    }

    fn close(mut self) -> Block {
        self.body[..HEADER_BYTES].copy_from_slice(&self.header.encode());
        let checksum = crc32fast::hash(&self.body);
        self.body.extend_from_slice(&checksum.to_le_bytes());
        Block { header: self.header, last_position: self.last_position, stamps: self.stamps, body: self.body }
    }
}

fn flags(packet: &StoredPacket) -> u8 {
    let header = &packet.header;
    let priority = match header.priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
        Priority::Critical => 3,
    };
    let mut flags = priority << flag::PRIORITY_SHIFT;
    for (is_present, bit) in [
        (header.measured_at.is_some(), flag::MEASURED_AT),
        (header.cause.is_some(), flag::CAUSE),
        (header.deadline.is_some(), flag::DEADLINE),
        (header.targets != u64::MAX, flag::TARGETS),
    ] {
        if is_present {
            flags |= bit;
        }
    }
    flags
}

#[cfg(test)]
#[path = "pack/tests.rs"]
mod tests;
