//! One suite per port. An adapter passes by calling it from a test; a failure panics with the claim that does not hold.

mod events;
mod execution;
mod hlc;
mod journal;
mod registry;
mod time_source;

pub use execution::execution;
pub use hlc::hlc;
pub use journal::{journal, journal_restart};
pub use registry::registry;
pub use time_source::time_source;
