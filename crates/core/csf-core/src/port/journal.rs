//! The journal port: one durable log per node, packets in blocks and events in streams, one commit for both.
//!
//! Positions are gap-free per node and agree with causal order; the writer assigns them. When [`Journal::append`] returns, its
//! content has the durability named in the receipt.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Header, Incarnation, LaneId, MessageId, Stamp};

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

/// A packet as the journal holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPacket {
    /// Gap-free number within the node's journal, from 1.
    pub position: u64,
    /// Identity, time, cause.
    pub header: Header,
    /// Postcard form of the payload.
    pub payload: Vec<u8>,
}

/// Who writes what on a lane; stored before the lane's first packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneInfo {
    /// The lane.
    pub id: LaneId,
    /// Topic name.
    pub topic: String,
    /// Name of the component or service that writes it.
    pub author: String,
    /// Message type, `name@version`.
    pub message: String,
    /// What the lane is for.
    pub kind: LaneKind,
}

/// What a lane carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LaneKind {
    /// Packets of a service: inputs of the node.
    Source,
    /// Effects of a component: reproduced by replay.
    Effect,
    /// A dispatcher's delivery log.
    Delivery,
}

/// Packets of one lane, in sequence, without a gap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaneBatch {
    /// Ascending in sequence and position. Shared, so that who writes them and who tells of them copies none.
    pub packets: Vec<Arc<StoredPacket>>,
}

impl LaneBatch {
    /// Of these packets.
    #[must_use]
    pub fn of(packets: impl IntoIterator<Item = StoredPacket>) -> Self {
        Self { packets: packets.into_iter().map(Arc::new).collect() }
    }

    /// Adds one more.
    pub fn push(&mut self, packet: StoredPacket) {
        self.packets.push(Arc::new(packet));
    }
}

/// What the writer of an event stream expects of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Nothing.
    Any,
    /// No event yet.
    NoStream,
    /// Exactly this many events.
    Exactly(u64),
}

/// An event to append to a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Stream name, such as `csf.run` or `source.flight`.
    pub stream: String,
    /// What the stream must look like.
    pub expected: ExpectedVersion,
    /// Event type.
    pub kind: String,
    /// When it happened.
    pub stamp: Stamp,
    /// JSON content.
    pub data: serde_json::Value,
}

/// An event as the journal holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Gap-free number in the journal, shared with packets.
    pub position: u64,
    /// Stream name.
    pub stream: String,
    /// 1 for the stream's first event.
    pub version: u64,
    /// Event type.
    pub kind: String,
    /// When it happened.
    pub stamp: Stamp,
    /// JSON content.
    pub data: serde_json::Value,
}

/// One atomic append. Positions of packets must continue the journal without gap; events follow them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Lanes seen for the first time.
    pub lanes: Vec<LaneInfo>,
    /// Packets by lane.
    pub packets: Vec<LaneBatch>,
    /// Events, in order.
    pub events: Vec<NewEvent>,
}

/// What an append achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The newest position that is covered.
    pub position: u64,
    /// How safe everything up to it is.
    pub durability: Durability,
}

/// A failed journal call. Nothing of the failed append is stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process holds the directory.
    #[error("journal {directory} is in use by another node; stop it or choose another directory with --journal", directory = directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// Written by a newer version of this software.
    #[error("journal {directory} has format {found}, this build reads up to {supported}; use a newer csf", directory = directory.display())]
    NewerFormat {
        /// The directory.
        directory: PathBuf,
        /// Format found.
        found: u32,
        /// Newest format known.
        supported: u32,
    },
    /// The disk or file system refused.
    #[error("journal {directory} cannot be {action}: {reason}", directory = directory.display())]
    Storage {
        /// The directory.
        directory: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// The system's words.
        reason: String,
        /// Whether the storage is full.
        full: bool,
    },
    /// Stored bytes that make no sense.
    #[error("journal {directory} is damaged at {place}: {reason}", directory = directory.display())]
    Damaged {
        /// The directory.
        directory: PathBuf,
        /// Block or event.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The stream is not as the writer expected.
    #[error("stream `{stream}` has {actual} events, expected {expected:?}")]
    WrongVersion {
        /// Stream name.
        stream: String,
        /// What the writer expected.
        expected: ExpectedVersion,
        /// Events in the stream.
        actual: u64,
    },
    /// Positions or sequences that do not continue what is stored: a bug of the writer.
    #[error("append does not continue the journal: expected {expected}, got {got} ({what})")]
    NotContiguous {
        /// `position` or the lane.
        what: String,
        /// Next number.
        expected: u64,
        /// Number given.
        got: u64,
    },
}

/// The writing side. One per node.
pub trait Journal: Send {
    /// Appends atomically and returns once the receipt's durability holds.
    ///
    /// # Errors
    /// [`JournalError`]; nothing of the batch is stored then.
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
}

/// Which packets a scan wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// First position wanted.
    pub from_position: u64,
    /// Largest number of packets returned; 0 means none.
    pub limit: usize,
    /// Lanes wanted; empty means all.
    pub lanes: Vec<LaneId>,
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

    /// Events of a stream from `from_version` (1 = first), ascending.
    ///
    /// # Errors
    /// [`JournalError`].
    fn events(&mut self, stream: &str, from_version: u64, limit: usize) -> Result<Vec<StoredEvent>, JournalError>;

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
