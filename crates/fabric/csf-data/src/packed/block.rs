//! A block: up to 64 KiB of packed packets of one lane, with the facts the database indexes it by.
//!
//! The body repeats those facts in its header, under its checksum, so that a damaged row cannot pass for another.

use csf_core::LaneId;

/// A block is closed before it would exceed this many bytes; a single larger packet has a block of its own.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;
/// First byte of a body in the form this file describes.
pub(crate) const FORM: u8 = 1;
/// Fixed part in front of the packets.
pub(crate) const HEADER_BYTES: usize = 37;
/// CRC-32 (IEEE 802.3) of everything before it.
pub(crate) const CHECKSUM_BYTES: usize = 4;

/// Which optional parts a packed packet has; bits 4 and 5 are the priority, 6 and 7 are zero.
pub(crate) mod flag {
    pub(crate) const MEASURED_AT: u8 = 1;
    pub(crate) const CAUSE: u8 = 1 << 1;
    pub(crate) const DEADLINE: u8 = 1 << 2;
    pub(crate) const TARGETS: u8 = 1 << 3;
    pub(crate) const PRIORITY_SHIFT: u32 = 4;
    pub(crate) const RESERVED: u8 = 0b1100_0000;
}

/// Clock names and cause lanes of a block are numbered as they appear, up to this many; later ones are written out each time.
pub(crate) const TABLE_MAX: usize = 64;

/// The fixed part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub(crate) lane: LaneId,
    /// Packets in the block, at least 1.
    pub(crate) count: u32,
    pub(crate) first_seq: u64,
    pub(crate) first_position: u64,
    /// Stamp of the first packet.
    pub(crate) first_stamp: u64,
}

impl BlockHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0] = FORM;
        out[1..3].copy_from_slice(&self.lane.node.to_le_bytes());
        out[3..7].copy_from_slice(&self.lane.incarnation.to_le_bytes());
        out[7..9].copy_from_slice(&self.lane.lane.to_le_bytes());
        out[9..13].copy_from_slice(&self.count.to_le_bytes());
        out[13..21].copy_from_slice(&self.first_seq.to_le_bytes());
        out[21..29].copy_from_slice(&self.first_position.to_le_bytes());
        out[29..37].copy_from_slice(&self.first_stamp.to_le_bytes());
        out
    }

    /// From the front of `body`; `None` when it is too short. The form byte is the caller's to check.
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let header = body.first_chunk::<HEADER_BYTES>()?;
        Some(Self {
            lane: LaneId {
                node: u16::from_le_bytes(part(header, 1)),
                incarnation: u32::from_le_bytes(part(header, 3)),
                lane: u16::from_le_bytes(part(header, 7)),
            },
            count: u32::from_le_bytes(part(header, 9)),
            first_seq: u64::from_le_bytes(part(header, 13)),
            first_position: u64::from_le_bytes(part(header, 21)),
            first_stamp: u64::from_le_bytes(part(header, 29)),
        })
    }
}

fn part<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

/// A block ready for its row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Block {
    pub(crate) header: BlockHeader,
    pub(crate) last_position: u64,
    /// Smallest and largest stamp.
    pub(crate) stamps: (u64, u64),
    pub(crate) body: Vec<u8>,
}
