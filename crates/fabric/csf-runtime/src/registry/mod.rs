//! Who can do what on this node: the embedded [`ServiceRegistry`](csf_core::port::ServiceRegistry) (INT-051).
//!
//! Leases run on the [`Timer`](csf_core::port::Timer) port and end by themselves, without a task of the registry's own: whoever looks
//! first takes away what is over, and a watcher wakes when the next lease ends.
//! Invariant: the services of a watch and its changes together are always what the registry holds.

mod book;
mod embedded;
mod health;
#[cfg(test)]
mod tests;

pub use embedded::{EmbeddedRegistry, RegistryLimits};
pub use health::HealthFeed;
