//! Actors: supervised processes with a private mailbox and typed messages.
//!
//! An actor is a [`ChildSpec`](crate::supervise::ChildSpec) whose process handles one message at a time. Its mailbox is made of the bus's lanes
//! ([`csf_bus::Mailbox`]), so that its packets have ids, stamps and causes like all others, and anybody may read along ([`Address::tap`]).
//! The address outlives the instance: what was accepted and not handled survives a restart, unlike in Erlang/OTP, where the mailbox dies
//! with the process. A message that fails again and again goes to the actor's dead letters, so that it cannot spend the restart budget for ever.
//! Invariant: every ask ends: with its answer, or with the reason why there is none ([`AskError`]).
//! Reference: FRM-016; Agha, "Actors" (1986), for mailbox and behaviour; ADR 5 for the mailbox.

mod address;
mod definition;
mod desk;
mod monitor;
mod reply;
mod run;
mod state;
#[cfg(test)]
mod tests;

pub use address::{Address, AskError, Envelope};
pub use definition::{ActorGroup, ActorSystem, Heartbeat, Limits, MailboxOnRestart, SupervisedActor};
pub use desk::{ActorStats, DEAD_LETTERS_KEPT, DeadMessage};
pub use monitor::{SupervisorActor, SupervisorMessage};
pub use state::{ActorContext, ActorState};
