//! A commit as bytes: a header, and its rows as the database has them.

use crate::checksum::checksum;
use crate::packed::block::{Block, BlockHeader};
use crate::plan::{Plan, Planned, Step};

/// `csfr`, then the length of the rest and its CRC-32.
const MAGIC: [u8; 4] = *b"csfr";
const CHECKED_FROM: usize = 12;
/// Magic, length, checksum, generation, incarnation, positions before and after, and of the last packet.
const HEADER_BYTES: usize = CHECKED_FROM + 8 + 4 + 3 * 8;

const BLOCK: u8 = 1;
const EVENT: u8 = 2;
/// Optional parts of an event.
const HAS_ID: u8 = 1;
const HAS_TAGS: u8 = 1 << 1;
const HAS_ORIGIN: u8 = 1 << 2;

/// A record in the making.
#[derive(Debug, Default)]
pub(in crate::sqlite) struct Draft {
    bytes: Vec<u8>,
    /// Position after it.
    last: u64,
}

impl Draft {
    /// The plan's rows; nothing when it changes streams, which is more than rows.
    pub(in crate::sqlite) fn of(plan: &Plan<'_>, incarnation: u32, before: u64) -> Option<Self> {
        let mut bytes = Vec::with_capacity(size_of_rows(plan)?);
        bytes.extend_from_slice(&MAGIC);
        bytes.resize(CHECKED_FROM + 8, 0);
        bytes.extend_from_slice(&incarnation.to_le_bytes());
        [before, plan.position, plan.packets_end].iter().for_each(|n| bytes.extend_from_slice(&n.to_le_bytes()));
        plan.blocks.iter().for_each(|block| write_block(&mut bytes, block));
        for step in &plan.steps {
            if let Step::Keep(planned) = step {
                write_event(&mut bytes, planned);
            }
        }
        Some(Self { bytes, last: plan.position })
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The record of this generation.
    pub(super) fn seal(&mut self, generation: u64) -> &[u8] {
        self.bytes[CHECKED_FROM..CHECKED_FROM + 8].copy_from_slice(&generation.to_le_bytes());
        let len = u32::try_from(self.bytes.len() - CHECKED_FROM).unwrap_or(u32::MAX);
        let sum = crc32fast::hash(&self.bytes[CHECKED_FROM..]);
        self.bytes[4..8].copy_from_slice(&len.to_le_bytes());
        self.bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        &self.bytes
    }

    /// As it is read again; sealed.
    pub(super) fn record(&self) -> Record<'_> {
        Record::of(&self.bytes[CHECKED_FROM..]).expect("a sealed record has a header")
    }
}

/// About how many bytes the plan takes; nothing when it changes streams.
fn size_of_rows(plan: &Plan<'_>) -> Option<usize> {
    let blocks: usize = plan.blocks.iter().map(|block| block.body.len() + 32).sum();
    let events = plan.steps.iter().map(|step| match step {
        Step::Keep(Planned { event, .. }) => Some(event.data.as_str().len() + 128),
        Step::Change { .. } => None,
    });
    Some(HEADER_BYTES + blocks + events.sum::<Option<usize>>()?)
}

fn write_block(out: &mut Vec<u8>, block: &Block) {
    out.push(BLOCK);
    [block.last_position, block.stamps.0, block.stamps.1].iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
    write_bytes(out, &block.body);
}

fn write_event(out: &mut Vec<u8>, Planned { position, version, event }: &Planned<'_>) {
    let has = |is: bool, flag| if is { flag } else { 0 };
    let (tags, origin) = (!event.tags.is_empty(), !event.origin.is_empty());
    out.push(EVENT);
    [*position, *version, event.stamp.as_nanos()].iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
    out.push(has(event.id.is_some(), HAS_ID) | has(tags, HAS_TAGS) | has(origin, HAS_ORIGIN));
    if let Some(id) = event.id {
        out.extend_from_slice(&id.as_u128().to_be_bytes());
    }
    write_bytes(out, event.stream.as_bytes());
    write_bytes(out, event.kind.as_bytes());
    if tags {
        write_json(out, &event.tags);
    }
    if origin {
        write_json(out, &event.origin);
    }
    write_bytes(out, event.data.as_str().as_bytes());
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn write_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    serde_json::to_writer(&mut *out, value).expect("texts have a JSON form");
    let len = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

/// A record that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sqlite) struct Record<'r> {
    pub(in crate::sqlite) generation: u64,
    pub(in crate::sqlite) incarnation: u32,
    /// Newest position before and after it.
    pub(in crate::sqlite) before: u64,
    pub(in crate::sqlite) last: u64,
    /// Position of its last packet.
    pub(in crate::sqlite) packets_end: u64,
    /// Bytes of all of it.
    pub(in crate::sqlite) len: usize,
    rows: &'r [u8],
}

/// A row of the database.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sqlite) enum Row<'r> {
    Block(BlockRow<'r>),
    Event(EventRow<'r>),
}

/// A row of the table `block`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sqlite) struct BlockRow<'r> {
    pub(in crate::sqlite) last_position: u64,
    pub(in crate::sqlite) header: BlockHeader,
    pub(in crate::sqlite) stamps: (u64, u64),
    pub(in crate::sqlite) body: &'r [u8],
}

impl<'b> From<&'b Block> for BlockRow<'b> {
    fn from(block: &'b Block) -> Self {
        Self { last_position: block.last_position, header: block.header, stamps: block.stamps, body: &block.body }
    }
}

/// A row of the table `event`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sqlite) struct EventRow<'r> {
    pub(in crate::sqlite) position: u64,
    pub(in crate::sqlite) id: Option<[u8; 16]>,
    pub(in crate::sqlite) stream: &'r str,
    pub(in crate::sqlite) version: u64,
    pub(in crate::sqlite) kind: &'r str,
    pub(in crate::sqlite) stamp: u64,
    pub(in crate::sqlite) tags: Option<&'r str>,
    pub(in crate::sqlite) origin: Option<&'r str>,
    pub(in crate::sqlite) data: &'r str,
}

impl EventRow<'_> {
    pub(in crate::sqlite) fn checksum(&self) -> u32 {
        let (tags, origin) = (self.tags.unwrap_or_default(), self.origin.unwrap_or_default());
        let texts = [self.stream, self.kind, tags, origin, self.data];
        checksum([self.position, self.version, self.stamp], self.id.as_ref(), &texts)
    }
}

impl<'r> Record<'r> {
    /// The record at the front of `bytes`; nothing when there is none that is whole.
    pub(in crate::sqlite) fn read(bytes: &'r [u8]) -> Option<Self> {
        let mut front = Bytes(bytes);
        if front.take(4)? != MAGIC {
            return None;
        }
        let (len, sum) = (front.u32()? as usize, front.u32()?);
        let checked = front.0.get(..len)?;
        if len < HEADER_BYTES - CHECKED_FROM || crc32fast::hash(checked) != sum {
            return None;
        }
        Self::of(checked)
    }

    /// From what its checksum covers.
    fn of(checked: &'r [u8]) -> Option<Self> {
        let mut rest = Bytes(checked);
        let (generation, incarnation) = (rest.u64()?, rest.u32()?);
        let (before, last, packets_end) = (rest.u64()?, rest.u64()?, rest.u64()?);
        Some(Self {
            generation,
            incarnation,
            before,
            last,
            packets_end,
            len: CHECKED_FROM + checked.len(),
            rows: rest.0,
        })
    }

    /// Its rows, in order; nothing in the place of one that makes no sense, which is the last then.
    pub(in crate::sqlite) fn rows(&self) -> impl Iterator<Item = Option<Row<'r>>> + use<'r> {
        let mut rest = Bytes(self.rows);
        std::iter::from_fn(move || {
            if rest.0.is_empty() {
                return None;
            }
            let row = rest.row();
            if row.is_none() {
                rest = Bytes(&[]);
            }
            Some(row)
        })
    }

    /// How many rows it has; nothing when one of them makes no sense.
    pub(in crate::sqlite) fn count(&self) -> Option<usize> {
        self.rows().try_fold(0, |count, row| row.map(|_| count + 1))
    }
}

/// What is left to be read.
struct Bytes<'r>(&'r [u8]);

impl<'r> Bytes<'r> {
    fn take(&mut self, count: usize) -> Option<&'r [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn sized(&mut self) -> Option<&'r [u8]> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn text(&mut self) -> Option<&'r str> {
        std::str::from_utf8(self.sized()?).ok()
    }

    fn row(&mut self) -> Option<Row<'r>> {
        match self.take(1)?[0] {
            BLOCK => self.block().map(Row::Block),
            EVENT => self.event().map(Row::Event),
            _ => None,
        }
    }

    fn block(&mut self) -> Option<BlockRow<'r>> {
        let (last_position, stamps, body) = (self.u64()?, (self.u64()?, self.u64()?), self.sized()?);
        Some(BlockRow { last_position, header: BlockHeader::decode(body)?, stamps, body })
    }

    fn event(&mut self) -> Option<EventRow<'r>> {
        let (position, version, stamp) = (self.u64()?, self.u64()?, self.u64()?);
        let flags = self.take(1)?[0];
        let has = |flag| flags & flag != 0;
        let id = if has(HAS_ID) { Some(self.array()?) } else { None };
        let (stream, kind) = (self.text()?, self.text()?);
        let tags = if has(HAS_TAGS) { Some(self.text()?) } else { None };
        let origin = if has(HAS_ORIGIN) { Some(self.text()?) } else { None };
        Some(EventRow { position, id, stream, version, kind, stamp, tags, origin, data: self.text()? })
    }
}
