//! The disk of one simulated machine: a [`MemoryStore`] that fills up, tears the write a crash falls into, and may be told to lie.
//!
//! Without faults it is the memory journal, and passes the same conformance suite.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::Incarnation;
use csf_core::port::{Batch, Durability, Journal, JournalError, JournalReader, Receipt, StoredPacket};

use crate::memory_state::directory;
use crate::{MemoryJournal, MemoryStore};

/// What the next append meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NextWrite {
    /// It is written.
    #[default]
    Works,
    /// It is refused, as by a full disk.
    Full,
    /// The machine crashes in the middle of it. A commit is atomic: afterwards it is there or it is not.
    Torn {
        /// Whether it reached the disk.
        is_kept: bool,
    },
}

#[derive(Debug, Default)]
struct Plan {
    next: NextWrite,
    is_lying: bool,
    appends: u64,
    commit_time: Duration,
}

/// A disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    store: MemoryStore,
    plan: Arc<Mutex<Plan>>,
    has_crashed: Arc<AtomicBool>,
}

impl SimDisk {
    /// An empty disk without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What appends meet from now on; [`NextWrite::Torn`] is over after one.
    pub fn set_next(&self, next: NextWrite) {
        self.plan().next = next;
    }

    /// A disk that says "written" before it is: what it acknowledged last is lost in a crash. Planted, to be found.
    pub fn set_lying(&self, is_lying: bool) {
        self.plan().is_lying = is_lying;
    }

    /// How long a commit takes from now on. The disk only remembers it: who writes waits.
    pub fn set_commit_time(&self, takes: Duration) {
        self.plan().commit_time = takes;
    }

    /// How long a commit takes.
    #[must_use]
    pub fn commit_time(&self) -> Duration {
        self.plan().commit_time
    }

    /// Whether the machine has crashed in a write since this was asked last.
    #[must_use]
    pub fn take_crash(&self) -> bool {
        // Asked between any two steps: a look is cheaper than a swap.
        self.has_crashed.load(Ordering::Relaxed) && self.has_crashed.swap(false, Ordering::Relaxed)
    }

    /// Appends so far, refused ones too.
    #[must_use]
    pub fn appends(&self) -> u64 {
        self.plan().appends
    }

    /// Opens the journal for writing, as the next incarnation.
    ///
    /// # Errors
    /// [`JournalError::InUse`] while an earlier handle lives.
    pub fn open(&self) -> Result<SimJournal, JournalError> {
        Ok(SimJournal { disk: self.clone(), inner: self.store.open()?, unwritten: None })
    }

    /// Shows every packet that is written, in order of positions, without copying one.
    pub fn with_packets<R>(&self, look: impl FnOnce(&[Arc<StoredPacket>]) -> R) -> R {
        self.store.with_packets(look)
    }

    /// A reader, also while nobody writes.
    #[must_use]
    pub fn reader(&self) -> Box<dyn JournalReader> {
        self.store.reader()
    }
}

/// The writing handle on a [`SimDisk`]. Dropping it is a crash: what a lying disk has not written is lost.
#[derive(Debug)]
pub struct SimJournal {
    disk: SimDisk,
    inner: MemoryJournal,
    /// What a lying disk acknowledged last.
    unwritten: Option<Batch>,
}

fn packets(batch: &Batch) -> u64 {
    batch.packets.iter().map(|lane| lane.packets.len() as u64).sum()
}

impl Journal for SimJournal {
    fn append(&mut self, batch: &Batch) -> Result<Receipt, JournalError> {
        let (next, is_lying) = {
            let mut plan = self.disk.plan();
            plan.appends += 1;
            (plan.next, plan.is_lying)
        };
        let refused = |full: bool, reason: &str| {
            let reason = reason.to_owned();
            Err(JournalError::Storage { directory: directory(), action: "written", reason, full })
        };
        match next {
            NextWrite::Works => {}
            NextWrite::Full => return refused(true, "the simulated disk is full"),
            NextWrite::Torn { is_kept } => {
                if is_kept {
                    self.inner.append(batch)?;
                }
                self.disk.plan().next = NextWrite::Works;
                self.disk.has_crashed.store(true, Ordering::Relaxed);
                return refused(false, "the simulated machine crashed in this write");
            }
        }
        if let Some(before) = self.unwritten.take() {
            self.inner.append(&before)?;
        }
        // It lies about packets. What events become is only known when they are written.
        if !is_lying || !batch.lanes.is_empty() || !batch.appends.is_empty() {
            return self.inner.append(batch);
        }
        let position = self.inner.position() + packets(batch);
        self.unwritten = Some(batch.clone());
        Ok(Receipt { position, durability: Durability::Memory, appends: Vec::new() })
    }

    fn position(&self) -> u64 {
        self.inner.position() + self.unwritten.as_ref().map_or(0, packets)
    }

    fn incarnation(&self) -> Incarnation {
        self.inner.incarnation()
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        self.inner.reader()
    }
}
