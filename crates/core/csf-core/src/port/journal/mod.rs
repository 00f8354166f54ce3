//! The journal port: one durable log per node, packets in blocks and events in streams, one commit for both.
//!
//! Positions are gap-free per node and agree with causal order; the writer assigns them. When [`Journal::append`] returns, its
//! content has the durability named in the receipt.

mod error;
mod event;
mod outage;
mod packet;
mod read;

pub use error::*;
pub use event::*;
pub use outage::*;
pub use packet::*;
pub use read::*;

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Incarnation, LaneId, MessageId};

/// How safe something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// In this process: lost with it.
    Memory,
    /// With the operating system: lost with the machine.
    Os,
    /// On stable storage of this machine.
    Disk,
    /// On stable storage of a majority of machines.
    Quorum,
}

/// One commit: packets and what any number of callers append. Positions of packets must continue the journal without gap; events follow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Lanes seen for the first time.
    pub lanes: Vec<LaneInfo>,
    /// Packets by lane.
    pub packets: Vec<LaneBatch>,
    /// Events, in order. Each append is done or refused by itself; a later one sees what an earlier one did.
    pub appends: Vec<Append>,
}

/// What a commit achieved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The newest position that is covered.
    pub position: u64,
    /// How safe everything up to it is.
    pub durability: Durability,
    /// What became of the batch's appends, in their order.
    pub appends: Vec<Result<Appended, Refused>>,
}

/// The writing side. One per node.
pub trait Journal: Send {
    /// Commits atomically and returns once the receipt's durability holds. An append that is refused leaves the rest of the batch alone.
    ///
    /// # Errors
    /// [`JournalError`]; nothing of the batch is stored then. After [`JournalError::Unsynced`] every call fails until the journal is opened
    /// again: what the disk holds is not known.
    fn append(&mut self, batch: &Batch) -> Result<Receipt, JournalError>;

    /// Position of the newest packet or event; 0 when empty.
    fn position(&self) -> u64;

    /// This start's number: one more than the last one's.
    fn incarnation(&self) -> Incarnation;

    /// A reader that sees everything appended before each of its calls.
    ///
    /// # Errors
    /// [`JournalError`] when the store cannot be opened.
    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError>;

    /// Tells whether the store is away. A store that is part of this process never is.
    fn outage(&self) -> OutageWatch {
        Arc::new(|| None)
    }
}

/// The reading side. Any number, from any thread, one at a time each.
pub trait JournalReader: Send {
    /// Every lane ever written, in order of first appearance.
    ///
    /// # Errors
    /// [`JournalError`].
    fn lanes(&mut self) -> Result<Vec<LaneInfo>, JournalError>;

    /// Packets with `position >= from_position`, ascending in position.
    ///
    /// # Errors
    /// [`JournalError`].
    fn scan(&mut self, scan: &Scan) -> Result<Vec<StoredPacket>, JournalError>;

    /// Shows the packets that [`JournalReader::scan`] would give, one after the other, until `look` breaks off. An adapter that has them
    /// in memory copies none; `look` asks it for nothing meanwhile.
    ///
    /// # Errors
    /// [`JournalError`].
    fn visit(
        &mut self,
        scan: &Scan,
        look: &mut dyn FnMut(&StoredPacket) -> ControlFlow<()>,
    ) -> Result<(), JournalError> {
        // What it answers is where it stopped, which `look` knows.
        let _ = self.scan(scan)?.iter().try_for_each(look);
        Ok(())
    }

    /// Packets of one lane from `from_seq`, at most `limit`, ascending.
    ///
    /// # Errors
    /// [`JournalError`].
    fn lane(&mut self, lane: LaneId, from_seq: u64, limit: usize) -> Result<Vec<StoredPacket>, JournalError>;

    /// One packet, or `None` when it is not stored.
    ///
    /// # Errors
    /// [`JournalError`].
    fn packet(&mut self, id: MessageId) -> Result<Option<StoredPacket>, JournalError> {
        Ok(self.lane(id.lane, id.seq, 1)?.pop().filter(|p| p.header.id == id))
    }

    /// The newest packets of one lane, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`JournalError`].
    fn lane_tail(&mut self, lane: LaneId, limit: usize) -> Result<Vec<StoredPacket>, JournalError>;

    /// Events of a stream or of the log. What was truncated is not there.
    ///
    /// # Errors
    /// [`JournalError`].
    fn read(&mut self, read: &Read) -> Result<Page, JournalError>;

    /// What is known of a stream; all zero when it was never written.
    ///
    /// # Errors
    /// [`JournalError`].
    fn head(&mut self, stream: &str) -> Result<StreamHead, JournalError>;

    /// Events of a stream from `from_version` (1 = first), ascending.
    ///
    /// # Errors
    /// [`JournalError`].
    fn events(&mut self, stream: &str, from_version: u64, limit: usize) -> Result<Vec<StoredEvent>, JournalError> {
        Ok(self.read(&Read::stream(stream).from(from_version).limit(limit))?.events)
    }

    /// Newest position and stored bytes.
    ///
    /// # Errors
    /// [`JournalError`].
    fn size(&mut self) -> Result<JournalSize, JournalError>;
}

/// How much a journal holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalSize {
    /// Newest position.
    pub position: u64,
    /// Bytes on storage, including write-ahead files.
    pub bytes: u64,
}
