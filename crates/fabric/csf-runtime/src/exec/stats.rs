//! What components and services report while they run.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::latency::Latency;

/// Life of a component or service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum RunState {
    /// Not yet running.
    Starting,
    /// Handles events.
    Running,
    /// Its work is done.
    Finished,
    /// Between a failure and the next attempt.
    Restarting,
    /// Given up.
    Failed,
    /// Stopped with the node.
    Stopped,
    /// Given up, because a handler did not return.
    Stuck,
}

#[derive(Debug)]
struct StateCell(AtomicU8);

impl StateCell {
    fn get(&self) -> RunState {
        match self.0.load(Ordering::Acquire) {
            0 => RunState::Starting,
            1 => RunState::Running,
            2 => RunState::Finished,
            3 => RunState::Restarting,
            4 => RunState::Failed,
            6 => RunState::Stuck,
            _ => RunState::Stopped,
        }
    }

    fn set(&self, state: RunState) {
        self.0.store(state as u8, Ordering::Release);
    }
}

/// Adds to a word that only this thread writes.
#[inline]
pub(super) fn bump(word: &AtomicU64, by: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// A component's counters. Its dispatcher alone writes them, by plain stores.
#[derive(Debug)]
pub struct ComponentStats {
    state: StateCell,
    /// Deliveries handled, timers included.
    pub handled: AtomicU64,
    /// Packets published.
    pub published: AtomicU64,
    /// Deliveries that ended in a fault or panic.
    pub faults: AtomicU64,
    /// Times it was restarted after a failure.
    pub restarts: AtomicU64,
    /// Events given up.
    pub dead_letters: AtomicU64,
    /// Instances made, by the start, by restarts and by changes of its configuration.
    pub instances: AtomicU64,
    /// Packets waiting.
    pub queue: AtomicU64,
    /// Packets that came after their deadline.
    pub late: AtomicU64,
    /// From the trigger's stamp to the commit of its effects.
    pub latency: Latency,
    last_fault: Mutex<String>,
    last_snapshot: Mutex<Option<Vec<u8>>>,
}

impl Default for ComponentStats {
    fn default() -> Self {
        Self {
            state: StateCell(AtomicU8::new(RunState::Starting as u8)),
            handled: AtomicU64::new(0),
            published: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            instances: AtomicU64::new(1),
            queue: AtomicU64::new(0),
            late: AtomicU64::new(0),
            latency: Latency::default(),
            last_fault: Mutex::default(),
            last_snapshot: Mutex::default(),
        }
    }
}

impl ComponentStats {
    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> RunState {
        self.state.get()
    }

    pub(crate) fn set_state(&self, state: RunState) {
        self.state.set(state);
    }

    /// For its dispatcher.
    pub(crate) fn add_instance(&self) {
        bump(&self.instances, 1);
    }

    /// Touches the word only when it changes, so that an idle dispatcher leaves its readers alone.
    pub(super) fn set_queue(&self, packets: u64) {
        if self.queue.load(Ordering::Relaxed) != packets {
            self.queue.store(packets, Ordering::Relaxed);
        }
    }

    /// As [`ComponentStats::set_queue`].
    pub(super) fn set_late(&self, packets: u64) {
        if self.late.load(Ordering::Relaxed) != packets {
            self.late.store(packets, Ordering::Relaxed);
        }
    }

    pub(crate) fn set_last_fault(&self, text: String) {
        *self.last_fault.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    pub(super) fn set_last_snapshot(&self, snapshot: Vec<u8>) {
        *self.last_snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    /// Its state when its dispatcher stopped; `None` before that.
    #[must_use]
    pub fn last_snapshot(&self) -> Option<Vec<u8>> {
        self.last_snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the last fault said; empty when there was none.
    #[must_use]
    pub fn last_fault(&self) -> String {
        self.last_fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A service's state and progress.
#[derive(Debug)]
pub struct ServiceStats {
    state: StateCell,
    progress_millionths: AtomicU64,
    /// Instances started.
    pub starts: AtomicU64,
    /// Times it was started again after a failure.
    pub restarts: AtomicU64,
    /// Requests it works on or has queued, where it says so.
    pub in_flight: AtomicU32,
    /// Whether its next start is asked for by a change of the configuration.
    pub(crate) is_replaced: AtomicBool,
    last_error: Mutex<String>,
}

impl Default for ServiceStats {
    fn default() -> Self {
        Self {
            state: StateCell(AtomicU8::new(RunState::Starting as u8)),
            progress_millionths: AtomicU64::new(0),
            starts: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            is_replaced: AtomicBool::new(false),
            last_error: Mutex::default(),
        }
    }
}

impl ServiceStats {
    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> RunState {
        self.state.get()
    }

    pub(crate) fn set_state(&self, state: RunState) {
        self.state.set(state);
    }

    /// Share of the work done, 0..1; 0 when the service does not say.
    #[must_use]
    pub fn progress(&self) -> f64 {
        self.progress_millionths.load(Ordering::Relaxed) as f64 / 1e6
    }

    pub(crate) fn set_progress(&self, share: f64) {
        self.progress_millionths.store((share.clamp(0.0, 1.0) * 1e6) as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_last_error(&self, text: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// What the last failure said; empty when there was none.
    #[must_use]
    pub fn last_error(&self) -> String {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
