//! Supervision to the exact rules of Erlang/OTP's `supervisor`.
//!
//! A supervisor is a process that starts children in order, restarts them by strategy within a budget, and stops them in reverse. It
//! handles one message at a time and waits for starts and stops, as OTP's does: what arrives meanwhile is set aside and handled in the
//! order it came. Everything reaches the world through [`Env`]: the timer, the executor, randomness; so a tree runs alike on a machine
//! and in simulation. Rules beyond OTP's are opt-in: [`Backoff`], and giving up on a killed child that never ends ([`Env::kill_grace`]).
//!
//! Reference: Erlang/OTP 25 `supervisor(3)` and its Design Principles, chapter 5. `cargo xtask otp` compares traces with the real one.

mod backoff;
mod budget;
mod children;
mod dynamic;
mod engine;
mod env;
mod inbox;
mod process;
mod reason;
mod report;
mod spec;
mod supervisor;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use env::{Env, Observer};
pub use process::{Body, ChildContext, Pid, ProcessRef, Start, Starting};
pub use reason::ExitReason;
pub use report::{Report, ReportKind};
pub use spec::{AutoShutdown, ChildSpec, Flags, Restart, Shutdown, SpecError, StartChild, Strategy, Work, check};
pub use supervisor::{
    ChildCount, ChildEntry, ChildState, Gone, StartError, StartedChild, Supervisor, SupervisorError, SupervisorRef,
    Suspension,
};
