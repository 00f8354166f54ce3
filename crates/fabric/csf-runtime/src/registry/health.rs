//! What the node's health monitor sees, told to the registry.

use std::sync::Arc;

use csf_core::port::{RegistryError, ServiceHealth, ServiceId, ServiceRegistry, Spawn};
use tokio::sync::mpsc;

use crate::node::{HealthChange, NotificationService, Status};

/// Changes that may wait to be told; the monitor logs what comes beyond.
const WAITING_MAX: usize = 64;

/// Tells a registry of every change the health monitor sees, in order, for checks that are named like a service. Give it to
/// [`HealthMonitor::notify`](crate::node::HealthMonitor::notify).
///
/// A check that does not answer makes its service unhealthy. The monitor speaks of changes only: a service that registers anew is
/// taken for healthy until its check changes or it says otherwise itself.
pub struct HealthFeed(mpsc::Sender<(ServiceId, ServiceHealth)>);

impl HealthFeed {
    /// Feeds `registry` from one task on `spawn`, which ends with the feed.
    #[must_use]
    pub fn new(registry: Arc<dyn ServiceRegistry>, spawn: &dyn Spawn) -> Self {
        let (sender, mut changes) = mpsc::channel::<(ServiceId, ServiceHealth)>(WAITING_MAX);
        spawn.spawn(Box::pin(async move {
            while let Some((service, health)) = changes.recv().await {
                match registry.observe(&service, health).await {
                    // The monitor also checks parts that are no services.
                    Ok(()) | Err(RegistryError::Unknown { .. }) => {}
                    Err(error) => tracing::warn!(%service, %error, "the registry was not told of a health change"),
                }
            }
        }));
        Self(sender)
    }
}

impl NotificationService for HealthFeed {
    fn send_status_change_alert(&self, change: &HealthChange) -> Result<(), String> {
        let Ok(service) = ServiceId::new(change.component.clone()) else { return Ok(()) };
        let health = match change.to {
            Status::Healthy => ServiceHealth::Healthy,
            Status::Degraded => ServiceHealth::Degraded,
            Status::Unhealthy | Status::Unknown => ServiceHealth::Unhealthy,
        };
        self.0.try_send((service, health)).map_err(|error| format!("the registry is not told: {error}"))
    }
}
