//! The entries and their rules, without locks and clocks: every call is told the time.
//!
//! Invariant: after [`Book::expire`] at `now`, every entry ends after `now`.

use std::collections::BTreeMap;
use std::time::Duration;

use csf_core::port::{
    Lease, OrchestrationError, RegistryError, ServiceCapabilities, ServiceChange, ServiceCondition, ServiceHealth,
    ServiceId, ServiceNeed, ServiceRecord,
};

use super::RegistryLimits;

struct Entry {
    capabilities: ServiceCapabilities,
    condition: ServiceCondition,
    /// What a health monitor saw from outside.
    observed: ServiceHealth,
    /// Requests it was chosen for since its last report.
    chosen: u32,
    lease: Lease,
    ends: Duration,
}

impl Entry {
    fn record(&self, now: Duration) -> ServiceRecord {
        ServiceRecord {
            id: self.lease.service.clone(),
            capabilities: self.capabilities.clone(),
            health: self.health(),
            in_flight: self.condition.in_flight.saturating_add(self.chosen),
            seen: self.condition.seen,
            token: self.lease.token,
            lease_left: self.ends.saturating_sub(now),
        }
    }

    fn health(&self) -> ServiceHealth {
        self.condition.health.max(self.observed)
    }
}

/// The registered services.
pub(super) struct Book {
    limits: RegistryLimits,
    entries: BTreeMap<ServiceId, Entry>,
    newest_token: u64,
}

impl Book {
    pub(super) const fn new(limits: RegistryLimits) -> Self {
        Self { limits, entries: BTreeMap::new(), newest_token: 0 }
    }

    /// Takes away what is over; in the order in which it ended.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<ServiceChange> {
        let over = |entry: &Entry| entry.ends <= now;
        let mut ended: Vec<_> = self.entries.extract_if(.., |_, entry| over(entry)).collect();
        ended.sort_by_key(|(_, entry)| entry.ends);
        ended.into_iter().map(|(id, _)| ServiceChange::Expired(id)).collect()
    }

    /// When the next lease ends.
    pub(super) fn next_end(&self) -> Option<Duration> {
        self.entries.values().map(|entry| entry.ends).min()
    }

    pub(super) fn register(
        &mut self,
        now: Duration,
        service: ServiceId,
        capabilities: ServiceCapabilities,
        span: Duration,
    ) -> Result<(Lease, ServiceChange), RegistryError> {
        let RegistryLimits { services_max, lease_min, lease_max, .. } = self.limits;
        if !(lease_min..=lease_max).contains(&span) {
            return Err(RegistryError::LeaseSpan { span, min: lease_min, max: lease_max });
        }
        if let Some(holder) = self.entries.get(&service) {
            return Err(RegistryError::Taken { service, left: holder.ends.saturating_sub(now) });
        }
        if self.entries.len() >= services_max {
            return Err(RegistryError::Full { limit: services_max });
        }
        self.newest_token += 1;
        let lease = Lease { service: service.clone(), token: self.newest_token, span };
        let entry = Entry {
            capabilities,
            condition: ServiceCondition::default(),
            observed: ServiceHealth::Healthy,
            chosen: 0,
            lease: lease.clone(),
            ends: now + span,
        };
        let change = ServiceChange::Registered(entry.record(now));
        self.entries.insert(service, entry);
        Ok((lease, change))
    }

    pub(super) fn renew(
        &mut self,
        now: Duration,
        lease: &Lease,
        condition: ServiceCondition,
    ) -> Result<Option<ServiceChange>, RegistryError> {
        let entry = self.held(lease)?;
        let before = entry.health();
        // The span is the one that was granted, whatever the caller's copy of the lease says.
        entry.ends = now + entry.lease.span;
        entry.condition = condition;
        entry.chosen = 0;
        Ok((entry.health() != before).then(|| ServiceChange::Health(entry.record(now))))
    }

    pub(super) fn deregister(&mut self, lease: &Lease) -> Result<ServiceChange, RegistryError> {
        self.held(lease)?;
        self.entries.remove(&lease.service);
        Ok(ServiceChange::Left(lease.service.clone()))
    }

    pub(super) fn observe(
        &mut self,
        now: Duration,
        service: &ServiceId,
        health: ServiceHealth,
    ) -> Result<Option<ServiceChange>, RegistryError> {
        let unknown = || RegistryError::Unknown { service: service.clone() };
        let entry = self.entries.get_mut(service).ok_or_else(unknown)?;
        let before = entry.health();
        entry.observed = health;
        Ok((entry.health() != before).then(|| ServiceChange::Health(entry.record(now))))
    }

    pub(super) fn discover(&self, now: Duration, need: &ServiceNeed) -> Vec<ServiceRecord> {
        let records = self.entries.values().map(|entry| entry.record(now));
        let mut capable: Vec<_> = records.filter(|record| record.is_capable(need)).collect();
        capable.sort_by(|a, b| a.precedes(b, need.after));
        capable
    }

    pub(super) fn select(
        &mut self,
        now: Duration,
        step: &str,
        need: &ServiceNeed,
    ) -> Result<ServiceRecord, OrchestrationError> {
        let records = self.entries.values().map(|entry| entry.record(now));
        let capable = records.filter(|record| record.is_capable(need));
        let best = capable.min_by(|a, b| a.precedes(b, need.after));
        let best = best.ok_or_else(|| OrchestrationError::NoCapableService(step.to_owned()))?;
        if let Some(entry) = self.entries.get_mut(&best.id) {
            entry.chosen = entry.chosen.saturating_add(1);
        }
        Ok(best)
    }

    pub(super) fn all(&self, now: Duration) -> Vec<ServiceRecord> {
        self.entries.values().map(|entry| entry.record(now)).collect()
    }

    fn held(&mut self, lease: &Lease) -> Result<&mut Entry, RegistryError> {
        let over = || RegistryError::LeaseOver { service: lease.service.clone(), token: lease.token };
        self.entries.get_mut(&lease.service).filter(|entry| entry.lease.token == lease.token).ok_or_else(over)
    }
}
