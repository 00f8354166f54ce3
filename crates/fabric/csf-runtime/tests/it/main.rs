//! The runtime as its users see it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod config;
mod failing;
mod health;
mod hub;
mod node;
mod services;
mod shutdown;
mod simulated;
mod stuck;
mod world;
