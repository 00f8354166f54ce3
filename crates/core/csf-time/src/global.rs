//! The process-wide time source and hybrid logical clock (FAB-044), for code at the edges that was given none.
//!
//! Producers on the bus have a clock of their own; this one is behind a lock. Invariant: each global is set at most once.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use csf_core::port::{HlcClock, TimeSource};
use csf_core::{LogicalTime, NanoTime, NodeId, Stamp, TimeError, TimeResult};
use serde::{Deserialize, Serialize};

use crate::hlc::Hlc;
use crate::simulated_clock::SimulatedClock;

static GLOBALS: Globals = Globals { source: OnceLock::new(), hlc: OnceLock::new() };

/// State of the global hybrid logical clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HlcStatus {
    /// The node whose stamps it gives out.
    pub node_id: NodeId,
    /// The newest stamp, in three parts.
    pub last: LogicalTime,
    /// Nanoseconds by which that stamp is ahead of the physical clock now.
    pub drift_ns: u64,
    /// How far ahead a remote stamp may be, nanoseconds.
    pub max_offset_ns: u64,
    /// Whether a calibrated counter is behind it.
    pub has_hardware_timing: bool,
}

/// Sets the global clock up over `time_source`, which also becomes the global time source where there is none yet.
///
/// # Errors
/// [`TimeError::AlreadyInitialized`] the second time.
pub fn initialize_global_hlc(time_source: Arc<dyn TimeSource>, node_id: NodeId) -> TimeResult<()> {
    GLOBALS.initialize_hlc(time_source, node_id)
}

/// Whether [`initialize_global_hlc`] has been called.
#[must_use]
pub fn is_global_hlc_initialized() -> bool {
    GLOBALS.hlc.get().is_some()
}

/// State of the global clock.
///
/// # Errors
/// [`TimeError::NotInitialized`] before [`initialize_global_hlc`]; whatever the time source answers.
pub fn global_hlc_status() -> TimeResult<HlcStatus> {
    GLOBALS.with_hlc(|hlc| {
        let last = hlc.logical_time();
        let now = hlc.time_source().now_ns()?;
        Ok(HlcStatus {
            node_id: hlc.node_id(),
            last,
            drift_ns: hlc.last().as_nanos().saturating_sub(now.as_nanos()),
            max_offset_ns: hlc.max_offset_ns(),
            has_hardware_timing: hlc.time_source().has_hardware_timing(),
        })
    })
}

/// A stamp of the global clock.
///
/// # Errors
/// [`TimeError::NotInitialized`] before [`initialize_global_hlc`]; whatever the time source answers.
pub fn global_hlc_tick() -> TimeResult<Stamp> {
    GLOBALS.with_hlc(HlcClock::tick)
}

/// A stamp of the global clock after `seen`.
///
/// # Errors
/// [`TimeError::NotInitialized`] before [`initialize_global_hlc`]; [`TimeError::OffsetExceeded`], and the clock did not move.
pub fn global_hlc_merge(seen: Stamp) -> TimeResult<Stamp> {
    GLOBALS.with_hlc(|hlc| hlc.merge(seen))
}

/// The global time source.
///
/// # Errors
/// [`TimeError::NotInitialized`] before one is set.
pub fn global_time_source() -> TimeResult<Arc<dyn TimeSource>> {
    GLOBALS.source()
}

/// Makes `source` the global time source.
///
/// # Errors
/// [`TimeError::AlreadyInitialized`] the second time.
pub fn initialize_global_time_source(source: Arc<dyn TimeSource>) -> TimeResult<()> {
    GLOBALS.initialize_source(source)
}

/// Makes a simulated clock that stands at `start` the global time source, and returns it to be moved.
///
/// # Errors
/// [`TimeError::AlreadyInitialized`] when there is a global time source.
pub fn initialize_simulated_time_source(start: NanoTime) -> TimeResult<Arc<SimulatedClock>> {
    let clock = SimulatedClock::starting_at(start);
    GLOBALS.initialize_source(clock.clone())?;
    Ok(clock)
}

struct Globals {
    source: OnceLock<Arc<dyn TimeSource>>,
    hlc: OnceLock<Mutex<Hlc>>,
}

impl Globals {
    fn initialize_source(&self, source: Arc<dyn TimeSource>) -> TimeResult<()> {
        self.source.set(source).map_err(|_| TimeError::AlreadyInitialized { what: "time source" })
    }

    fn initialize_hlc(&self, source: Arc<dyn TimeSource>, node_id: NodeId) -> TimeResult<()> {
        let hlc = Mutex::new(Hlc::new(source.clone(), node_id));
        self.hlc.set(hlc).map_err(|_| TimeError::AlreadyInitialized { what: "hybrid logical clock" })?;
        self.source.get_or_init(|| source);
        Ok(())
    }

    fn source(&self) -> TimeResult<Arc<dyn TimeSource>> {
        let call = "csf_time::initialize_global_time_source";
        self.source.get().cloned().ok_or(TimeError::NotInitialized { what: "time source", call })
    }

    fn with_hlc<R>(&self, act: impl FnOnce(&mut Hlc) -> TimeResult<R>) -> TimeResult<R> {
        let call = "csf_time::initialize_global_hlc";
        let hlc = self.hlc.get().ok_or(TimeError::NotInitialized { what: "hybrid logical clock", call })?;
        // A clock has no state that a panic could leave half changed.
        act(&mut hlc.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
