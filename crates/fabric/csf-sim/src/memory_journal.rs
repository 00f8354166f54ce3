//! A journal in memory: the simulated twin of the SQLite journal, with a disk that can fill up and survive a crash.
//!
//! The [`MemoryStore`] is the disk; a [`MemoryJournal`] is the node's handle on it. Dropping the handle is a crash or a stop: the
//! store keeps what was appended, and the next [`MemoryStore::open`] is the next incarnation.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csf_core::Incarnation;
use csf_core::LaneId;
use csf_core::port::{
    Batch, Durability, Journal, JournalError, JournalReader, JournalSize, LaneInfo, Page, Read, Receipt, Scan,
    StoredPacket, StreamHead,
};

use crate::memory_state::{State, directory};

/// The simulated disk of one node. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

impl MemoryStore {
    /// Opens it for writing, as the next incarnation.
    ///
    /// # Errors
    /// [`JournalError::InUse`] while an earlier handle lives.
    pub fn open(&self) -> Result<MemoryJournal, JournalError> {
        let mut state = self.lock();
        if state.is_open {
            return Err(JournalError::InUse { directory: directory() });
        }
        state.is_open = true;
        state.incarnation += 1;
        Ok(MemoryJournal { store: self.clone(), incarnation: state.incarnation })
    }

    /// A reader, also while nobody writes.
    #[must_use]
    pub fn reader(&self) -> Box<dyn JournalReader> {
        Box::new(MemoryReader { store: self.clone() })
    }

    /// Shows every packet, in order of positions, without copying one.
    pub fn with_packets<R>(&self, look: impl FnOnce(&[Arc<StoredPacket>]) -> R) -> R {
        look(self.lock().packets())
    }

    /// Refuses appends beyond this many bytes as a full disk would; `None` lifts the limit.
    pub fn set_capacity_bytes(&self, capacity: Option<u64>) {
        self.lock().capacity_bytes = capacity;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing handle on a [`MemoryStore`].
#[derive(Debug)]
pub struct MemoryJournal {
    store: MemoryStore,
    incarnation: Incarnation,
}

impl MemoryJournal {
    /// An empty journal on a store of its own.
    #[must_use]
    pub fn new() -> Self {
        MemoryStore::default().open().expect("a new store is not open")
    }
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MemoryJournal {
    fn drop(&mut self) {
        self.store.lock().is_open = false;
    }
}

impl Journal for MemoryJournal {
    fn append(&mut self, batch: &Batch) -> Result<Receipt, JournalError> {
        let mut state = self.store.lock();
        let appends = state.append(batch)?;
        Ok(Receipt { position: state.position, durability: Durability::Memory, appends })
    }

    fn position(&self) -> u64 {
        self.store.lock().position
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        Ok(self.store.reader())
    }
}

struct MemoryReader {
    store: MemoryStore,
}

impl JournalReader for MemoryReader {
    fn lanes(&mut self) -> Result<Vec<LaneInfo>, JournalError> {
        Ok(self.store.lock().lanes())
    }

    fn scan(&mut self, scan: &Scan) -> Result<Vec<StoredPacket>, JournalError> {
        Ok(self.store.lock().scan(scan))
    }

    fn visit(
        &mut self,
        scan: &Scan,
        look: &mut dyn FnMut(&StoredPacket) -> ControlFlow<()>,
    ) -> Result<(), JournalError> {
        self.store.lock().visit(scan, look);
        Ok(())
    }

    fn lane(&mut self, lane: LaneId, from_seq: u64, limit: usize) -> Result<Vec<StoredPacket>, JournalError> {
        Ok(self.store.lock().lane(lane, from_seq, limit))
    }

    fn lane_tail(&mut self, lane: LaneId, limit: usize) -> Result<Vec<StoredPacket>, JournalError> {
        Ok(self.store.lock().lane_tail(lane, limit))
    }

    fn read(&mut self, read: &Read) -> Result<Page, JournalError> {
        Ok(self.store.lock().read(read))
    }

    fn head(&mut self, stream: &str) -> Result<StreamHead, JournalError> {
        Ok(self.store.lock().head(stream))
    }

    fn size(&mut self) -> Result<JournalSize, JournalError> {
        let state = self.store.lock();
        Ok(JournalSize { position: state.position, bytes: state.bytes })
    }
}
