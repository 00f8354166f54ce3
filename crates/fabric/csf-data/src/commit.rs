//! A commit as bytes: the packed blocks, the events with their numbers, and the changes of streams.
//!
//! The writer has decided everything: reading it back needs no rules, only the order. Pure and total: any bytes give a commit or the
//! place where they are none. The bytes are described in `docs/formats/jetstream.md`.

use std::borrow::Cow;

use csf_core::Stamp;
use csf_core::port::{EventId, Json, NewEvent, Origin, StreamHead};

use crate::packed::block::Block;
use crate::packed::unpack::BlockReader;
use crate::packed::varint;
use crate::plan::{Planned, Step};

/// Positions, versions and sequences of the tables are SQLite's signed integers.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// First byte of a step.
mod step {
    pub(super) const KEEP: u8 = 0;
    pub(super) const KEEP_NAMED: u8 = 1;
    pub(super) const CHANGE: u8 = 2;
    pub(super) const CLOSE: u8 = 3;
}

/// What a commit stores.
#[derive(Debug)]
pub(crate) struct Commit<'b> {
    /// Position of the newest packet or event before it.
    pub(crate) after: u64,
    /// Position of its last packet; events follow.
    pub(crate) packets_end: u64,
    pub(crate) blocks: Cow<'b, [Block]>,
    pub(crate) steps: Cow<'b, [Step<'b>]>,
}

/// Bytes that are no commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} of the commit: {reason}")]
pub(crate) struct NoCommit {
    pub(crate) offset: usize,
    pub(crate) reason: &'static str,
}

impl Commit<'_> {
    /// Position of its last packet or event.
    pub(crate) fn position(&self) -> u64 {
        self.packets_end + self.steps.iter().filter(|step| matches!(step, Step::Keep(_))).count() as u64
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        varint::put(&mut out, self.after);
        varint::put(&mut out, self.packets_end);
        varint::put(&mut out, self.blocks.len() as u64);
        for block in &*self.blocks {
            varint::put(&mut out, block.last_position);
            varint::put(&mut out, block.stamps.0);
            varint::put(&mut out, block.stamps.1);
            put_bytes(&mut out, &block.body);
        }
        varint::put(&mut out, self.steps.len() as u64);
        self.steps.iter().for_each(|step| put_step(&mut out, step));
        out
    }

    /// Reads a commit that takes all of `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Commit<'static>, NoCommit> {
        let mut cursor = Cursor { bytes, at: 0 };
        let after = cursor.number()?;
        let packets_end = cursor.number()?;
        if packets_end < after {
            return cursor.fail("the packets end before the commit begins");
        }
        // A count is not trusted with memory: what follows has to be there first.
        let mut blocks = Vec::new();
        for _ in 0..cursor.number()? {
            let block = cursor.block()?;
            if block.header.first_position <= after || block.last_position > packets_end {
                return cursor.fail("the block is outside of the commit");
            }
            blocks.push(block);
        }
        let mut steps = Vec::new();
        let mut position = packets_end;
        for _ in 0..cursor.number()? {
            steps.push(cursor.step(&mut position)?);
        }
        if cursor.at != bytes.len() {
            return cursor.fail("bytes are left over after the last step");
        }
        Ok(Commit { after, packets_end, blocks: Cow::Owned(blocks), steps: Cow::Owned(steps) })
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_step(out: &mut Vec<u8>, step: &Step<'_>) {
    match step {
        Step::Keep(Planned { version, event, .. }) => {
            match event.id {
                None => out.push(step::KEEP),
                Some(id) => {
                    out.push(step::KEEP_NAMED);
                    out.extend_from_slice(&id.as_u128().to_be_bytes());
                }
            }
            varint::put(out, *version);
            put_bytes(out, event.stream.as_bytes());
            put_bytes(out, event.kind.as_bytes());
            varint::put(out, event.stamp.as_nanos());
            varint::put(out, event.tags.len() as u64);
            event.tags.iter().for_each(|tag| put_bytes(out, tag.as_bytes()));
            let origin = (!event.origin.is_empty())
                .then(|| serde_json::to_vec(&event.origin).expect("texts and numbers have a JSON form"));
            put_bytes(out, &origin.unwrap_or_default());
            put_bytes(out, event.data.as_str().as_bytes());
        }
        Step::Change { stream, head } => {
            out.push(if head.is_closed { step::CLOSE } else { step::CHANGE });
            put_bytes(out, stream.as_bytes());
            varint::put(out, head.version);
            varint::put(out, head.first);
        }
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn fail<T>(&self, reason: &'static str) -> Result<T, NoCommit> {
        Err(NoCommit { offset: self.at, reason })
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], NoCommit> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..len) else { return self.fail("the commit is cut off") };
        self.at += len;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, NoCommit> {
        let Some((value, len)) = varint::get(&self.bytes[self.at..]) else {
            return self.fail("a number is cut off or too large");
        };
        self.at += len;
        Ok(value)
    }

    /// A position, version or count.
    fn number(&mut self) -> Result<u64, NoCommit> {
        match self.varint()? {
            value if value <= NUMBER_MAX => Ok(value),
            _ => self.fail("a number is greater than 2^63 - 1"),
        }
    }

    fn counted(&mut self) -> Result<&'a [u8], NoCommit> {
        match usize::try_from(self.varint()?) {
            Ok(len) => self.take(len),
            Err(_) => self.fail("the commit is cut off"),
        }
    }

    fn text(&mut self) -> Result<&'a str, NoCommit> {
        let bytes = self.counted()?;
        std::str::from_utf8(bytes).or_else(|_| self.fail("a text is no UTF-8"))
    }

    fn block(&mut self) -> Result<Block, NoCommit> {
        let last_position = self.number()?;
        let stamps = (self.varint()?, self.varint()?);
        let body = self.counted()?;
        let Ok(reader) = BlockReader::new(body) else { return self.fail("a block that cannot be read") };
        Ok(Block { header: *reader.header(), last_position, stamps, body: body.to_vec() })
    }

    fn step(&mut self, position: &mut u64) -> Result<Step<'static>, NoCommit> {
        let kind = self.take(1)?[0];
        let id = match kind {
            step::KEEP => None,
            step::KEEP_NAMED => {
                let bytes = self.take(16)?.try_into().expect("sixteen bytes were taken");
                Some(EventId::from_u128(u128::from_be_bytes(bytes)))
            }
            step::CHANGE | step::CLOSE => {
                let stream = self.text()?.to_owned();
                let (version, first) = (self.number()?, self.number()?);
                let head = StreamHead { version, first, is_closed: kind == step::CLOSE };
                return Ok(Step::Change { stream, head });
            }
            _ => return self.fail("a step of unknown kind"),
        };
        *position = position.saturating_add(1);
        if *position > NUMBER_MAX {
            return self.fail("a position is greater than 2^63 - 1");
        }
        let version = self.number()?;
        let event = self.event(id)?;
        Ok(Step::Keep(Planned { position: *position, version, event: Cow::Owned(event) }))
    }

    fn event(&mut self, id: Option<EventId>) -> Result<NewEvent, NoCommit> {
        let (stream, kind) = (self.text()?.to_owned(), self.text()?.to_owned());
        let stamp = Stamp(self.varint()?);
        let mut tags = Vec::new();
        for _ in 0..self.number()? {
            tags.push(self.text()?.to_owned());
        }
        let origin = match self.text()? {
            "" => Origin::default(),
            text => serde_json::from_str(text).or_else(|_| self.fail("an origin that cannot be read"))?,
        };
        let data = Json::from_text(self.text()?).or_else(|_| self.fail("a content that is no JSON"))?;
        Ok(NewEvent { id, stream, kind, stamp, tags, origin, data })
    }
}

#[cfg(test)]
#[path = "commit/tests.rs"]
mod tests;
