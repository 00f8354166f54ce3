//! The runtime as its users see it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod config;
mod failing;
mod groups;
mod health;
mod hub;
mod node;
mod otp_suite;
mod registry;
mod reload;
mod reload_cut;
mod resilience;
mod secrets;
mod services;
mod shutdown;
mod simulated;
mod stuck;
mod world;
