//! The node's service registry, and the parts in it (INT-051).
//!
//! What offers something is registered while it is up, and taken out when it is not: stopped, given up, finished, removed by a reload.
//! The node renews the leases, with the health that its monitor found and the load that its statistics show; when it hangs, they end.
//! Invariant: who holds a lease here is in the configuration in force, with the capabilities it has there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use csf_core::port::{
    Lease, RegistryError, ServiceCapabilities, ServiceCondition, ServiceHealth, ServiceId, ServiceNeed, ServiceRecord,
    ServiceRegistry, Standing, within,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::handle::{Node, NodeState};
use super::health::Status;
use super::live::LiveComponent;
use super::monitor::{HealthChange, NotificationService};
use crate::exec::RunState;
use crate::topology::NOT_PROMISED;

/// How long a lease lasts: what became of a node that hangs is known after this.
const LEASE: Duration = Duration::from_secs(3);
/// Time between two renewals.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// A node's share in a registry.
pub(super) struct Registrations {
    registry: Arc<dyn ServiceRegistry>,
    book: tokio::sync::Mutex<Book>,
    /// Something changed that the registry should know before the next renewal.
    news: Arc<Notify>,
    is_kept: AtomicBool,
}

#[derive(Default)]
struct Book {
    held: BTreeMap<ServiceId, Held>,
    /// Refusals that were told, by part.
    refused: BTreeMap<ServiceId, String>,
}

struct Held {
    lease: Lease,
    capabilities: ServiceCapabilities,
}

/// What a part should be registered as.
struct Wanted {
    capabilities: ServiceCapabilities,
    condition: ServiceCondition,
}

/// A registered part as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its name.
    pub name: String,
    /// What others may ask of it.
    pub operations: Vec<String>,
    /// Time from request to answer that 99 of 100 requests keep, where it is promised.
    pub latency_ns: Option<u64>,
    /// Bound of its clock's distance from true time, where it is promised.
    pub clock_error_ns: Option<u64>,
    /// Requests it works on at once.
    pub capacity: u32,
    /// Requests in flight, those it was chosen for since its last report included.
    pub in_flight: u32,
    /// The worse of what it says of itself and what a health monitor saw.
    pub health: ServiceHealth,
    /// How it stands as a choice.
    pub standing: Standing,
    /// Token of its lease.
    pub token: u64,
    /// How much of its lease is left, milliseconds.
    pub lease_left_ms: u64,
}

impl From<ServiceRecord> for Registered {
    fn from(record: ServiceRecord) -> Self {
        let standing = record.standing();
        let promised =
            |span: Duration| (span != NOT_PROMISED).then(|| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        let capabilities = record.capabilities;
        Self {
            name: record.id.to_string(),
            operations: capabilities.operations.into_iter().collect(),
            latency_ns: promised(capabilities.latency),
            clock_error_ns: promised(capabilities.clock_error),
            capacity: capabilities.capacity.get(),
            in_flight: record.in_flight,
            health: record.health,
            standing,
            token: record.token,
            lease_left_ms: u64::try_from(record.lease_left.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Registrations {
    pub(super) fn new(registry: Arc<dyn ServiceRegistry>) -> Self {
        let (book, news, is_kept) = (tokio::sync::Mutex::default(), Arc::default(), AtomicBool::new(false));
        Self { registry, book, news, is_kept }
    }

    /// Rings when a part came up or went down.
    pub(super) fn news(&self) -> Arc<Notify> {
        self.news.clone()
    }
}

/// A change of health is worth a renewal.
struct Nudge(Arc<Notify>);

impl NotificationService for Nudge {
    fn send_status_change_alert(&self, _change: &HealthChange) -> Result<(), String> {
        self.0.notify_one();
        Ok(())
    }
}

impl Node {
    /// Who can do what, how well, and for how long that is known: where a workflow finds a service for a step.
    #[must_use]
    pub fn registry(&self) -> &Arc<dyn ServiceRegistry> {
        &self.registrations.registry
    }

    /// Who is registered, by name; with a capability those who offer it, the best choice first.
    ///
    /// # Errors
    /// As the registry's.
    pub async fn registered(&self, capability: Option<&str>) -> Result<Vec<Registered>, RegistryError> {
        let records = match capability {
            Some(operation) => {
                let need = ServiceNeed { operation_type: operation.to_owned(), ..ServiceNeed::default() };
                self.registry().discover(&need).await?
            }
            None => self.registry().watch().await?.services,
        };
        Ok(records.into_iter().map(Registered::from).collect())
    }

    /// Brings the registry to what is up now, and keeps it there from the first part on that offers something.
    pub(super) async fn register_parts(self: &Arc<Self>) {
        let live = self.live();
        let offers = live.services().any(|(service, _)| service.capabilities().is_some())
            || live.components().any(|(component, _)| component.capabilities().is_some());
        if offers && !self.registrations.is_kept.swap(true, Ordering::AcqRel) {
            self.monitor.notify(Arc::new(Nudge(self.registrations.news())));
            self.world.spawn.spawn(Box::pin(keep(Arc::downgrade(self))));
        }
        self.renew_registrations().await;
    }

    /// Who holds a lease that should not gives it back; everybody else's is renewed, or taken.
    pub(super) async fn renew_registrations(&self) {
        let mut book = self.registrations.book.lock().await;
        let wanted = self.wanted();
        let is_other =
            |id: &ServiceId, held: &Held| wanted.get(id).is_none_or(|wanted| wanted.capabilities != held.capabilities);
        let over: Vec<(ServiceId, Held)> = book.held.extract_if(.., |id, held| is_other(id, held)).collect();
        for (service, Held { lease, .. }) in over {
            match self.registry().deregister(&lease).await {
                Ok(()) | Err(RegistryError::LeaseOver { .. }) => tracing::debug!(%service, "deregistered"),
                Err(error) => tracing::warn!(%service, %error, "not deregistered; its lease ends by itself"),
            }
        }
        book.refused.retain(|id, _| wanted.contains_key(id));
        for (service, wanted) in wanted {
            match self.hold_lease(&mut book, &service, wanted).await {
                Ok(()) => drop(book.refused.remove(&service)),
                Err(error) => {
                    let reason = error.to_string();
                    if book.refused.insert(service.clone(), reason.clone()).as_ref() != Some(&reason) {
                        tracing::warn!(%service, reason, "not in the service registry; tried again every second");
                    }
                }
            }
        }
    }

    async fn hold_lease(&self, book: &mut Book, service: &ServiceId, wanted: Wanted) -> Result<(), RegistryError> {
        let Wanted { capabilities, condition } = wanted;
        if let Some(held) = book.held.get(service) {
            match self.registry().renew(&held.lease, condition).await {
                // The node stood still for longer than the lease.
                Err(RegistryError::LeaseOver { .. }) => drop(book.held.remove(service)),
                outcome => return outcome,
            }
        }
        let lease = self.registry().register(service.clone(), capabilities.clone(), LEASE).await?;
        tracing::debug!(%service, operations = ?capabilities.operations, "registered");
        book.held.insert(service.clone(), Held { lease: lease.clone(), capabilities });
        self.registry().renew(&lease, condition).await
    }

    /// Every part that offers something and is up.
    fn wanted(&self) -> BTreeMap<ServiceId, Wanted> {
        let mut wanted = BTreeMap::new();
        if matches!(self.state(), NodeState::Stopping | NodeState::Stopped) {
            return wanted;
        }
        let live = self.live();
        let report = self.monitor.last_report();
        let mut add = |name: &str, state, in_flight: u64, capabilities: Option<ServiceCapabilities>| {
            let (Some(capabilities), Some(own)) = (capabilities, health(state)) else { return };
            // The check of the configuration has seen to the name.
            let Ok(id) = ServiceId::new(name) else { return };
            let checks = report.iter().flat_map(|report| &report.components).filter(|part| part.name == name);
            let found = checks.map(|part| match part.status {
                Status::Healthy => ServiceHealth::Healthy,
                Status::Degraded => ServiceHealth::Degraded,
                Status::Unhealthy | Status::Unknown => ServiceHealth::Unhealthy,
            });
            let health = found.max().unwrap_or_default().max(own);
            let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
            let condition = ServiceCondition { health, in_flight, ..ServiceCondition::default() };
            wanted.insert(id, Wanted { capabilities, condition });
        };
        for (service, stats) in live.services() {
            let in_flight = u64::from(stats.in_flight.load(Ordering::Relaxed));
            add(&service.settings.name.value, stats.state(), in_flight, service.capabilities());
        }
        for (component, LiveComponent { stats, .. }) in live.components() {
            let waiting = stats.queue.load(Ordering::Relaxed);
            add(&component.settings.name.value, stats.state(), waiting, component.capabilities());
        }
        wanted
    }
}

/// How a part in this state is; `None` when it is not up.
fn health(state: RunState) -> Option<ServiceHealth> {
    match state {
        RunState::Starting | RunState::Running => Some(ServiceHealth::Healthy),
        RunState::Restarting => Some(ServiceHealth::Degraded),
        RunState::Finished | RunState::Failed | RunState::Stopped | RunState::Stuck => None,
    }
}

/// Renews until the node stops.
async fn keep(node: Weak<Node>) {
    loop {
        let Some((timer, news)) = node.upgrade().map(|node| (node.world.timer.clone(), node.registrations.news()))
        else {
            return;
        };
        within(&*timer, RENEW_EVERY, news.notified()).await;
        let Some(node) = node.upgrade() else { return };
        node.renew_registrations().await;
        if matches!(node.state(), NodeState::Stopping | NodeState::Stopped) {
            return;
        }
    }
}
