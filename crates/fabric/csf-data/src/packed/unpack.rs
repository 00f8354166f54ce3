//! Reading blocks back. Pure, and total: any bytes give packets or an error with its place, never a panic.

use std::ops::Range;

use csf_core::port::StoredPacket;
use csf_core::{ClockDomain, Header, LaneId, MeasuredAt, MessageId, Priority, Stamp};

use crate::packed::block::{BlockHeader, CHECKSUM_BYTES, FORM, HEADER_BYTES, TABLE_MAX, flag};
use crate::packed::varint;

/// Bytes that are no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {reason}")]
pub(crate) struct UnpackError {
    /// Where in the body.
    pub(crate) offset: usize,
    /// What is wrong there.
    pub(crate) reason: &'static str,
}

/// All packets of a body.
#[cfg(test)]
pub(crate) fn unpack(body: &[u8]) -> Result<Vec<StoredPacket>, UnpackError> {
    BlockReader::new(body)?.collect()
}

/// Reads the packets of one body in order; fused after an error.
#[derive(Debug)]
pub(crate) struct BlockReader<B> {
    body: B,
    header: BlockHeader,
    /// Packets not yet read.
    left: u32,
    at: usize,
    position: u64,
    stamp: u64,
    measured_ns: u64,
    clocks: Vec<ClockDomain>,
    causes: Vec<(LaneId, u64)>,
}

/// A packet whose payload is still in the body.
struct Packed {
    position: u64,
    header: Header,
    payload: Range<usize>,
}

impl<B: AsRef<[u8]>> BlockReader<B> {
    /// Checks the form, the checksum and the header.
    pub(crate) fn new(body: B) -> Result<Self, UnpackError> {
        let bytes = body.as_ref();
        let fail = |offset, reason| Err(UnpackError { offset, reason });
        if bytes.len() < HEADER_BYTES + CHECKSUM_BYTES {
            return fail(bytes.len(), "the block is cut off");
        }
        if bytes[0] != FORM {
            return fail(0, "unknown form of block");
        }
        let Some((content, checksum)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
            return fail(bytes.len(), "the block is cut off");
        };
        if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            return fail(content.len(), "the checksum does not fit the content");
        }
        let Some(header) = BlockHeader::decode(content) else { return fail(0, "the header is cut off") };
        if header.count == 0 {
            return fail(9, "a block holds at least one packet");
        }
        Ok(Self {
            header,
            left: header.count,
            at: HEADER_BYTES,
            position: header.first_position,
            stamp: header.first_stamp,
            measured_ns: 0,
            clocks: Vec::new(),
            causes: Vec::new(),
            body,
        })
    }

    /// The fixed part of the body.
    pub(crate) fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// The next packet that satisfies `is_wanted` (position, id), skipping others without copying their payload.
    pub(crate) fn find(
        &mut self,
        is_wanted: impl Fn(u64, MessageId) -> bool,
    ) -> Option<Result<StoredPacket, UnpackError>> {
        while self.left > 0 {
            match self.step() {
                Ok(packed) if is_wanted(packed.position, packed.header.id) => {
                    let payload = self.body.as_ref()[packed.payload].to_vec();
                    return Some(Ok(StoredPacket { position: packed.position, header: packed.header, payload }));
                }
                Ok(_) => {}
                Err(e) => {
                    self.left = 0;
                    return Some(Err(e));
                }
            }
        }
        None
    }

    fn step(&mut self) -> Result<Packed, UnpackError> {
        let index = u64::from(self.header.count - self.left);
        let flags = self.bytes(1)?[0];
        if flags & flag::RESERVED != 0 {
            return Err(self.error("reserved flags are set"));
        }
        self.step_position(index)?;
        let seq =
            self.header.first_seq.checked_add(index).ok_or_else(|| self.error("the sequence number overflows"))?;
        self.stamp = varint::apply_difference(self.stamp, self.varint()?);
        let mut header = Header::new(self.header.lane.message(seq), Stamp(self.stamp));
        header.priority = priority(flags);
        if flags & flag::MEASURED_AT != 0 {
            header.measured_at = Some(self.measured_at()?);
        }
        if flags & flag::CAUSE != 0 {
            header.cause = Some(self.cause()?);
        }
        if flags & flag::DEADLINE != 0 {
            header.deadline = Some(Stamp(varint::apply_difference(self.stamp, self.varint()?)));
        }
        if flags & flag::TARGETS != 0 {
            let mut targets = [0; 8];
            targets.copy_from_slice(self.bytes(8)?);
            header.targets = u64::from_le_bytes(targets);
        }
        let len = self.varint()?;
        let len = usize::try_from(len).map_err(|_| self.error("the payload is longer than memory"))?;
        self.bytes(len)?;
        let payload = self.at - len..self.at;
        self.left -= 1;
        if self.left == 0 && self.at != self.content_len() {
            return Err(self.error("bytes are left over after the last packet"));
        }
        Ok(Packed { position: self.position, header, payload })
    }

    fn step_position(&mut self, index: u64) -> Result<(), UnpackError> {
        let step = self.varint()?;
        if (step == 0) != (index == 0) {
            return Err(self.error("positions do not ascend"));
        }
        self.position = self.position.checked_add(step).ok_or_else(|| self.error("the position overflows"))?;
        Ok(())
    }

    fn measured_at(&mut self) -> Result<MeasuredAt, UnpackError> {
        let number = self.varint()?;
        let clock = if number == 0 {
            let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
            let name = std::str::from_utf8(self.bytes(len)?).map(ClockDomain::intern);
            let clock = name
                .map_err(|_| self.error("a clock name is not UTF-8"))?
                .map_err(|_| self.error("a clock name is too long, or one too many"))?;
            if self.clocks.len() < TABLE_MAX {
                self.clocks.push(clock);
            }
            clock
        } else {
            let known = usize::try_from(number - 1).ok().and_then(|i| self.clocks.get(i));
            known.copied().ok_or_else(|| self.error("no clock has this number"))?
        };
        self.measured_ns = varint::apply_difference(self.measured_ns, self.varint()?);
        Ok(MeasuredAt { clock, ns: self.measured_ns })
    }

    fn cause(&mut self) -> Result<MessageId, UnpackError> {
        let number = self.varint()?;
        if number == 0 {
            let lane = LaneId { node: self.narrow()?, incarnation: self.narrow()?, lane: self.narrow()? };
            let seq = varint::apply_difference(0, self.varint()?);
            if self.causes.len() < TABLE_MAX {
                self.causes.push((lane, seq));
            }
            return Ok(lane.message(seq));
        }
        let difference = self.varint()?;
        let known = usize::try_from(number - 1).ok().and_then(|i| self.causes.get_mut(i));
        let Some((lane, seq)) = known else { return Err(self.error("no lane of a cause has this number")) };
        *seq = varint::apply_difference(*seq, difference);
        Ok(lane.message(*seq))
    }

    /// Where the checksum begins.
    fn content_len(&self) -> usize {
        self.body.as_ref().len() - CHECKSUM_BYTES
    }

    fn bytes(&mut self, len: usize) -> Result<&[u8], UnpackError> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.content_len());
        let Some(end) = end else { return Err(self.error("the block ends within a packet")) };
        let start = std::mem::replace(&mut self.at, end);
        Ok(&self.body.as_ref()[start..end])
    }

    fn varint(&mut self) -> Result<u64, UnpackError> {
        let rest = &self.body.as_ref()[self.at..self.content_len()];
        let (value, len) = varint::get(rest).ok_or_else(|| self.error("a number is cut off or too large"))?;
        self.at += len;
        Ok(value)
    }

    fn narrow<T: TryFrom<u64>>(&mut self) -> Result<T, UnpackError> {
        T::try_from(self.varint()?).map_err(|_| self.error("a part of a packet id is too large"))
    }

    fn error(&self, reason: &'static str) -> UnpackError {
        UnpackError { offset: self.at, reason }
    }
}

impl<B: AsRef<[u8]>> Iterator for BlockReader<B> {
    type Item = Result<StoredPacket, UnpackError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.find(|_, _| true)
    }
}

fn priority(flags: u8) -> Priority {
    match flags >> flag::PRIORITY_SHIFT & 3 {
        0 => Priority::Low,
        1 => Priority::Normal,
        2 => Priority::High,
        _ => Priority::Critical,
    }
}
