//! The clocks of a node: the calibrated processor counter, the operating system's clock, a simulated one, and the hybrid
//! logical clock over any of them.
//!
//! This is the only crate that reads a clock; everything else receives a [`csf_core::port::TimeSource`]. Physical time is
//! nanoseconds since the Unix epoch: the wall clock is read once, when a source is made, and advanced by a monotonic counter
//! from then on, so a step of the wall clock never moves a node's time.
//! Invariant: no source goes backwards, and no [`Hlc`] gives out a stamp twice.
#![expect(
    unsafe_code,
    reason = "the processor's counter and the clocks std does not offer are read by intrinsic and by libc"
)]

mod agreement;
mod calibration;
mod discipline;
mod global;
mod hlc;
mod os_clock;
mod report;
mod simulated_clock;
mod system_clock;
mod timeline;
mod tsc;
mod tsc_clock;
mod wire;

pub use agreement::CounterAgreement;
pub use calibration::{HardwareTimestamp, TscCalibration, hardware_timestamp};
pub use global::{
    HlcStatus, global_hlc_merge, global_hlc_status, global_hlc_tick, global_time_source, initialize_global_hlc,
    initialize_global_time_source, initialize_simulated_time_source, is_global_hlc_initialized,
};
pub use hlc::{Hlc, HlcClockImpl, MAX_OFFSET_NS_DEFAULT};
pub use os_clock::{OsClock, Reference};
pub use report::{ClockReport, ClockSource};
pub use simulated_clock::SimulatedClock;
pub use system_clock::{SystemClock, TimeSourceImpl};
pub use tsc_clock::TscClock;
pub use wire::WireStamp;
