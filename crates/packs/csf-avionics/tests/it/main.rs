//! The pack against recorded flights, simulated flights and bad input.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "what is skipped is said aloud")]

mod bad_input;
mod recorded;
mod simulated;
