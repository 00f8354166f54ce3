//! Errors of the public interfaces (FAB-006).

use crate::port::JournalError;

/// A failed call on the bus. Display texts are part of the interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// No subscription has this number.
    #[error("Subscription not found: {subscription_id}")]
    SubscriptionNotFound {
        /// The number as given.
        subscription_id: u64,
    },
    /// The packet could not be handed over.
    #[error("Message delivery failed: {details}")]
    DeliveryFailed {
        /// What stood in the way.
        details: String,
    },
    /// A packet would have been delivered before its cause.
    #[error("Temporal violation: {details}")]
    TemporalViolation {
        /// Both ids.
        details: String,
    },
    /// A limit was reached.
    #[error("Resource exhausted: {resource} - {details}")]
    ResourceExhausted {
        /// The limited thing.
        resource: String,
        /// Limit and remedy.
        details: String,
    },
    /// A payload has no byte form.
    #[error("Serialization failed: {details}")]
    SerializationFailed {
        /// The codec's words.
        details: String,
    },
    /// A part of the bus did not start.
    #[error("Initialization failed: {component} - {reason}")]
    InitializationFailed {
        /// Which part.
        component: String,
        /// Why.
        reason: String,
    },
    /// A bug.
    #[error("Internal error: {details}")]
    Internal {
        /// What was found.
        details: String,
    },
}

/// A failed call on a clock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// A global was used before it was set up.
    #[error("the global {what} is not initialised; call `{call}` first")]
    NotInitialized {
        /// Which global.
        what: &'static str,
        /// The call that sets it up.
        call: &'static str,
    },
    /// A global was set up twice.
    #[error("the global {what} is initialised already")]
    AlreadyInitialized {
        /// Which global.
        what: &'static str,
    },
    /// A remote stamp is too far ahead to be believed; the local clock did not move.
    #[error(
        "stamp {remote_ns} is {ahead_ns} ns ahead of this node, more than the allowed {max_offset_ns} ns; check the sender's clock"
    )]
    OffsetExceeded {
        /// The stamp received.
        remote_ns: u64,
        /// By how much it leads.
        ahead_ns: u64,
        /// The limit.
        max_offset_ns: u64,
    },
    /// The machine has no usable clock of this kind.
    #[error("clock source unavailable: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// Result of a bus call.
pub type BusResult<T> = Result<T, BusError>;
/// Result of a clock call.
pub type TimeResult<T> = Result<T, TimeError>;

/// Any error of the core's interfaces.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// From the bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// From a clock.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// From the journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// From a payload.
    #[error(transparent)]
    Codec(#[from] crate::CodecError),
    /// From a component.
    #[error(transparent)]
    Fault(#[from] crate::Fault),
}
