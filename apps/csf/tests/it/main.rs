//! The binary as people and scripts meet it: every command, the API, and what happens when things go wrong.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "what is skipped is said aloud")]

mod api;
mod bench;
mod commands;
mod database;
mod demo;
mod doctor;
mod events;
mod faults;
mod http;
mod life;
mod load;
mod logging;
mod reload;
mod resilience;
mod schema;
mod scratch;
mod simulation;
mod stores;
mod tasks;
mod words;
mod world;
