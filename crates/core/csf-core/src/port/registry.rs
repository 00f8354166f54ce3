//! The service registry port: who can do what, how well, and for how long that is known (INT-051; decision D12: one port, an embedded
//! default, Consul later).
//!
//! A service registers under a lease and renews it with its health and load; a lease that is not renewed ends by itself, so that a dead
//! service leaves no entry behind. Selection is a pure rule of the records ([`ServiceRecord::precedes`]), the same for every adapter.
//! Invariant: a service whose lease is over is seen by no call; of two live leases, the later one has the greater token.
//! Reference: Gray and Cheriton, "Leases" (1989); for the token, Kleppmann, "How to do distributed locking" (2016).

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Stamp;

/// Longest name of a service, bytes.
pub const SERVICE_ID_BYTES_MAX: usize = 128;

/// An answer of the registry. See [`ServiceRegistry`] for what dropping it means.
pub type RegistryFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A service's name: 1 to [`SERVICE_ID_BYTES_MAX`] bytes without white space and control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceId(String);

impl ServiceId {
    /// A checked name.
    ///
    /// # Errors
    /// [`RegistryError::BadName`].
    pub fn new(name: impl Into<String>) -> Result<Self, RegistryError> {
        let name = name.into();
        let is_plain = !name.chars().any(|c| c.is_whitespace() || c.is_control());
        if is_plain && (1..=SERVICE_ID_BYTES_MAX).contains(&name.len()) {
            Ok(Self(name))
        } else {
            Err(RegistryError::BadName { name })
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServiceId {
    type Error = RegistryError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

impl From<ServiceId> for String {
    fn from(id: ServiceId) -> Self {
        id.0
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a step asks of a service's timing. What is absent is not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimingRequirements {
    /// Longest time from request to answer.
    pub latency_max: Option<Duration>,
    /// Largest distance of the service's clock from true time.
    pub clock_error_max: Option<Duration>,
}

/// What a service can do, and what it promises of its timing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCapabilities {
    /// Types of operation it executes.
    pub operations: BTreeSet<String>,
    /// Time from request to answer that 99 of 100 requests keep.
    pub latency: Duration,
    /// Bound of its clock's distance from true time.
    pub clock_error: Duration,
    /// Requests it works on at once; with that many in flight it is overloaded.
    pub capacity: NonZeroU32,
}

impl ServiceCapabilities {
    /// Whether it executes this type of operation.
    #[must_use]
    pub fn can_execute(&self, operation_type: &str) -> bool {
        self.operations.contains(operation_type)
    }

    /// Whether its promises keep what is asked; a promise equal to a limit keeps it.
    #[must_use]
    pub fn meets_temporal_requirements(&self, timing_requirements: &TimingRequirements) -> bool {
        timing_requirements.latency_max.is_none_or(|limit| self.latency <= limit)
            && timing_requirements.clock_error_max.is_none_or(|limit| self.clock_error <= limit)
    }
}

/// What a step needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceNeed {
    /// Type of operation.
    pub operation_type: String,
    /// Limits of the timing.
    pub timing_requirements: TimingRequirements,
    /// The greatest stamp among the step's causes; zero when it has none.
    pub after: Stamp,
}

/// How well a service works, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceHealth {
    /// Works.
    #[default]
    Healthy,
    /// Works with a restriction.
    Degraded,
    /// Does not work, or does not answer.
    Unhealthy,
}

/// What a service says of itself when it renews its lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCondition {
    /// How well it works.
    pub health: ServiceHealth,
    /// Requests it works on or has queued.
    pub in_flight: u32,
    /// It has seen everything up to this stamp.
    pub seen: Stamp,
}

/// How a service stands as a choice, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Healthy, with room.
    Fit,
    /// Works with a restriction, with room.
    Degraded,
    /// As many requests in flight as it has capacity for, or more.
    Overloaded,
    /// Does not work as far as anybody knows.
    Unhealthy,
}

/// A registered service as the registry sees it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its name.
    pub id: ServiceId,
    /// What it can do.
    pub capabilities: ServiceCapabilities,
    /// The worse of what it says of itself and what a health monitor saw.
    pub health: ServiceHealth,
    /// Requests in flight by its last report, and those it was chosen for since.
    pub in_flight: u32,
    /// It has seen everything up to this stamp.
    pub seen: Stamp,
    /// Token of its lease.
    pub token: u64,
    /// How much of its lease is left.
    pub lease_left: Duration,
}

impl ServiceRecord {
    /// Whether the service can execute the operation within the timing.
    #[must_use]
    pub fn is_capable(&self, need: &ServiceNeed) -> bool {
        self.capabilities.can_execute(&need.operation_type)
            && self.capabilities.meets_temporal_requirements(&need.timing_requirements)
    }

    /// How it stands as a choice.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.health {
            ServiceHealth::Unhealthy => Standing::Unhealthy,
            _ if self.in_flight >= self.capabilities.capacity.get() => Standing::Overloaded,
            ServiceHealth::Degraded => Standing::Degraded,
            ServiceHealth::Healthy => Standing::Fit,
        }
    }

    /// The rule of choice, a total order: the better [`Standing`]; then who has seen the step's causes (`after`) and need not wait for
    /// them; then the smaller share of its capacity in flight; then the shorter promised latency; then the name.
    #[must_use]
    pub fn precedes(&self, other: &Self, after: Stamp) -> Ordering {
        let (ours, theirs) = (&self.capabilities, &other.capabilities);
        // a/b against c/d without division: both products fit.
        let load = |record: &Self, capacity: NonZeroU32| u64::from(record.in_flight) * u64::from(capacity.get());
        let lacks_causes = |record: &Self| record.seen < after;
        (self.standing().cmp(&other.standing()))
            .then_with(|| lacks_causes(self).cmp(&lacks_causes(other)))
            .then_with(|| load(self, theirs.capacity).cmp(&load(other, ours.capacity)))
            .then_with(|| ours.latency.cmp(&theirs.latency))
            .then_with(|| self.id.cmp(&other.id))
    }
}

/// The right to be registered, until it runs out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Whose.
    pub service: ServiceId,
    /// Fencing token: greater than that of every lease given before. Whoever meets a smaller one than it has seen refuses it.
    pub token: u64,
    /// How long it lasts after each renewal.
    pub span: Duration,
}

/// What changed. Renewals and loads are not told: they come all the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceChange {
    /// A service came.
    Registered(ServiceRecord),
    /// Its health is another.
    Health(ServiceRecord),
    /// It left by itself.
    Left(ServiceId),
    /// Its lease was not renewed.
    Expired(ServiceId),
}

/// Why the registry refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Not a name for a service.
    #[error("`{name}` cannot name a service: use 1 to {SERVICE_ID_BYTES_MAX} bytes without white space")]
    BadName {
        /// What was given.
        name: String,
    },
    /// Somebody holds a live lease of that name.
    #[error("service `{service}` is registered already, for another {left:?}; deregister it or wait")]
    Taken {
        /// The name.
        service: ServiceId,
        /// What is left of the other's lease.
        left: Duration,
    },
    /// The lease ran out, was given back, or is not the newest: register again.
    #[error("lease {token} of service `{service}` is over; register again")]
    LeaseOver {
        /// Whose lease.
        service: ServiceId,
        /// Its token.
        token: u64,
    },
    /// Nobody of that name is registered.
    #[error("service `{service}` is not registered")]
    Unknown {
        /// The name.
        service: ServiceId,
    },
    /// A lease shorter or longer than the registry gives.
    #[error("a lease of {span:?} is not between {min:?} and {max:?}")]
    LeaseSpan {
        /// What was asked for.
        span: Duration,
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// As many services as the registry takes.
    #[error("{limit} services are registered, which is all the registry takes; raise its limit")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// The watcher was so slow that changes were let go: watch again, which begins with all services.
    #[error("{missed} changes were missed; watch again")]
    Lagged {
        /// How many.
        missed: u64,
    },
    /// An outside registry does not answer.
    #[error("the registry cannot be reached: {reason}")]
    Unreachable {
        /// In the words of its client.
        reason: String,
    },
}

/// Why a step has no service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrchestrationError {
    /// No registered service executes the step's operation within its timing. Holds the step's id.
    #[error("no registered service can execute step `{0}` within its timing")]
    NoCapableService(String),
    /// The registry refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// All services at one moment, and every change after it.
pub struct ServiceWatch {
    /// The services when the watch began, by name.
    pub services: Vec<ServiceRecord>,
    /// What changed since, in order, without gap.
    pub changes: Box<dyn ServiceChanges>,
}

/// Changes as they come.
pub trait ServiceChanges: Send {
    /// Waits for the next change. Cancel safe: what was not handed out comes with the next call.
    ///
    /// # Errors
    /// [`RegistryError::Lagged`], [`RegistryError::Unreachable`].
    fn next(&mut self) -> RegistryFuture<'_, Result<ServiceChange, RegistryError>>;
}

/// Who can do what. Any number of callers.
///
/// Dropping a future of this trait leaves open whether the call had its effect; a registration that did ends with its lease. Reads have
/// no effect but [`ServiceRegistry::select_optimal_service`], which counts one request more until the service's next report.
pub trait ServiceRegistry: Send + Sync {
    /// Registers a service as healthy and idle for `lease`, to be renewed within it.
    ///
    /// # Errors
    /// [`RegistryError::Taken`], [`RegistryError::LeaseSpan`], [`RegistryError::Full`], [`RegistryError::Unreachable`].
    fn register(
        &self,
        service: ServiceId,
        capabilities: ServiceCapabilities,
        lease: Duration,
    ) -> RegistryFuture<'_, Result<Lease, RegistryError>>;

    /// Begins the lease's span anew and says how the service is.
    ///
    /// # Errors
    /// [`RegistryError::LeaseOver`], [`RegistryError::Unreachable`].
    fn renew(&self, lease: &Lease, condition: ServiceCondition) -> RegistryFuture<'_, Result<(), RegistryError>>;

    /// Takes the service out.
    ///
    /// # Errors
    /// [`RegistryError::LeaseOver`], [`RegistryError::Unreachable`].
    fn deregister(&self, lease: &Lease) -> RegistryFuture<'_, Result<(), RegistryError>>;

    /// What a health monitor saw from outside. It holds until the next such word; the worse of it and the service's own counts.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], [`RegistryError::Unreachable`].
    fn observe(&self, service: &ServiceId, health: ServiceHealth) -> RegistryFuture<'_, Result<(), RegistryError>>;

    /// Every capable service, the best choice first ([`ServiceRecord::precedes`]).
    ///
    /// # Errors
    /// [`RegistryError::Unreachable`].
    fn discover(&self, need: &ServiceNeed) -> RegistryFuture<'_, Result<Vec<ServiceRecord>, RegistryError>>;

    /// The best choice for the step, which then counts as one request more in flight until the service's next report: what many callers
    /// know of a load would otherwise send them all to one (Mitzenmacher, "How Useful Is Old Information?", 2000). Where no capable service
    /// is fit, the least bad one is given; [`ServiceRecord::standing`] says so.
    ///
    /// # Errors
    /// [`OrchestrationError::NoCapableService`], [`OrchestrationError::Registry`].
    fn select_optimal_service(
        &self,
        step: &str,
        need: &ServiceNeed,
    ) -> RegistryFuture<'_, Result<ServiceRecord, OrchestrationError>>;

    /// All services now and every change after.
    ///
    /// # Errors
    /// [`RegistryError::Unreachable`].
    fn watch(&self) -> RegistryFuture<'_, Result<ServiceWatch, RegistryError>>;
}
