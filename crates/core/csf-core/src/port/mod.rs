//! Ports: small object-safe traits through which the fabric meets the world. Each has a real and a simulated adapter and one
//! conformance suite (in `csf-sim`) that both pass.

mod event_bus;
mod event_log;
mod execution;
mod journal;
mod registry;
mod rng;
mod time_source;

pub use event_bus::*;
pub use event_log::*;
pub use execution::*;
pub use journal::*;
pub use registry::*;
pub use rng::*;
pub use time_source::*;
