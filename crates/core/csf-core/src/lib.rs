//! The words every part of ChronoFabric shares: identities, times, packets, components, errors and ports.
//!
//! Invariant: nothing here does I/O, reads a clock, starts a thread or knows an async runtime.

mod clock_domain;
mod component;
mod error;
mod id;
mod message;
mod packet;
mod phase_packet;
pub mod port;
mod quantum;
pub mod span;
mod stamp;

pub use clock_domain::*;
pub use component::*;
pub use error::*;
pub use id::*;
pub use message::*;
pub use packet::*;
pub use phase_packet::*;
pub use quantum::*;
pub use stamp::*;

/// The common names in one import.
pub mod prelude {
    pub use crate::{
        BusError, BusResult, Component, ComponentId, Context, Event, Fault, Header, Message, MessageId, NanoTime,
        PacketId, Priority, Stamp, TaskId, TimeError, TimeResult, TimerId,
    };
}
