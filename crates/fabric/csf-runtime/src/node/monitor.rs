//! Watches the parts of a node: checks in parallel, each with its own limit, and one alert for every change (FRM-070, INT-072).
//!
//! Beside the checks it watches figures with limits. A check that hangs delays nobody and is not begun again before it has ended; one that panics is unhealthy with the panic's words.
//! Invariant: an alert goes out exactly when a part's status differs from what the look before found.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{Spawn, TimeSource, Timer, within};
use futures_util::FutureExt;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::health::{Finding, HealthCriticality, HealthResult, Status, SystemHealthReport, combine};
use super::threshold::{AlertThreshold, UnknownMetric, Watched};
use crate::BoxFuture;

/// Longest time one check may take.
const CHECK_LIMIT: Duration = Duration::from_secs(2);
/// Changes remembered.
const HISTORY: usize = 64;

/// A look at one part.
pub trait HealthCheck: Send + Sync {
    /// What is checked; unique.
    fn name(&self) -> &str;

    /// Whether the node can do its work without it.
    fn criticality(&self) -> HealthCriticality;

    /// Looks. Runs on a task of its own.
    fn check(&self) -> BoxFuture<'_, HealthResult>;
}

/// A check made of a closure.
pub struct FnCheck<F> {
    name: String,
    criticality: HealthCriticality,
    look: F,
}

impl<F: Fn() -> HealthResult + Send + Sync> FnCheck<F> {
    /// Looks by calling `look`.
    pub fn new(name: impl Into<String>, criticality: HealthCriticality, look: F) -> Self {
        Self { name: name.into(), criticality, look }
    }
}

impl<F: Fn() -> HealthResult + Send + Sync> HealthCheck for FnCheck<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn criticality(&self) -> HealthCriticality {
        self.criticality
    }

    fn check(&self) -> BoxFuture<'_, HealthResult> {
        Box::pin(async { (self.look)() })
    }
}

/// A part whose status changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthChange {
    /// When it was seen, nanoseconds since the Unix epoch, as text.
    pub at: String,
    /// Which part.
    pub component: String,
    /// Whether the node can do its work without it.
    pub criticality: HealthCriticality,
    /// What the look before found; `unknown` before the first.
    pub from: Status,
    /// What was found now.
    pub to: Status,
    /// In words; empty when healthy.
    pub message: String,
}

/// Hears of changes. Called on the monitor's task: it must not wait.
pub trait NotificationService: Send + Sync {
    /// One change.
    ///
    /// # Errors
    /// In its own words; the monitor logs them and goes on.
    fn send_status_change_alert(&self, change: &HealthChange) -> Result<(), String>;
}

/// Alerts as lines of the log.
pub struct LogAlerts;

impl NotificationService for LogAlerts {
    fn send_status_change_alert(&self, change: &HealthChange) -> Result<(), String> {
        let HealthChange { component, from, to, message, .. } = change;
        match to {
            Status::Healthy => tracing::info!(component, %from, "healthy again"),
            _ => tracing::warn!(component, %from, %to, message, "health changed"),
        }
        Ok(())
    }
}

struct Slot {
    check: Arc<dyn HealthCheck>,
    is_busy: AtomicBool,
}

#[derive(Default)]
struct Seen {
    statuses: BTreeMap<String, Status>,
    history: VecDeque<HealthChange>,
    last: Option<SystemHealthReport>,
}

/// The checks of a node and what they found.
pub struct HealthMonitor {
    timer: Arc<dyn Timer>,
    spawn: Arc<dyn Spawn>,
    clock: Arc<dyn TimeSource>,
    checks: Mutex<Vec<Arc<Slot>>>,
    metrics: Mutex<Vec<Watched>>,
    alerts: Mutex<Vec<Arc<dyn NotificationService>>>,
    seen: Mutex<Seen>,
    /// One look at a time, so that a check that is busy is one that hangs.
    looking: tokio::sync::Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HealthMonitor {
    /// A monitor without checks.
    #[must_use]
    pub fn new(timer: Arc<dyn Timer>, spawn: Arc<dyn Spawn>, clock: Arc<dyn TimeSource>) -> Self {
        let (checks, metrics) = (Mutex::default(), Mutex::default());
        let (alerts, seen) = (Mutex::default(), Mutex::default());
        Self { timer, spawn, clock, checks, metrics, alerts, seen, looking: tokio::sync::Mutex::default() }
    }

    /// Adds a check.
    pub fn register_health_check(&self, check: Arc<dyn HealthCheck>) {
        lock(&self.checks).push(Arc::new(Slot { check, is_busy: AtomicBool::new(false) }));
    }

    /// Removes the checks of this name; a look that is under way ends as it began.
    pub fn forget(&self, name: &str) {
        lock(&self.checks).retain(|slot| slot.check.name() != name);
    }

    /// Adds a figure, such as `journal.behind_packets`; one of this name that is there already gives way. Without limits it is not watched.
    pub fn register_metric(&self, name: impl Into<String>, read: impl Fn() -> Option<f64> + Send + Sync + 'static) {
        let (name, mut metrics) = (name.into(), lock(&self.metrics));
        let threshold = metrics.iter().find(|m| m.name == name).and_then(|m| m.threshold);
        metrics.retain(|m| m.name != name);
        metrics.push(Watched { name, read: Arc::new(read), threshold });
    }

    /// Sets a figure's limits: from the next look on it is a finding like a check's, with alerts for its changes.
    ///
    /// # Errors
    /// [`UnknownMetric`].
    pub fn set_alert_threshold(&self, metric: &str, threshold: AlertThreshold) -> Result<(), UnknownMetric> {
        let mut metrics = lock(&self.metrics);
        if let Some(watched) = metrics.iter_mut().find(|m| m.name == metric) {
            watched.threshold = Some(threshold);
            return Ok(());
        }
        let known = metrics.iter().map(|m| format!("`{}`", m.name)).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        Err(UnknownMetric { name: metric.to_owned(), known })
    }

    /// Every figure as it is now.
    #[must_use]
    pub fn metrics(&self) -> Vec<(String, Option<f64>)> {
        let figures = lock(&self.metrics).clone();
        figures.into_iter().map(|m| (m.name, (m.read)())).collect()
    }

    /// Adds somebody who hears of changes.
    pub fn notify(&self, alerts: Arc<dyn NotificationService>) {
        lock(&self.alerts).push(alerts);
    }

    /// The newest 64 changes, oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<HealthChange> {
        lock(&self.seen).history.iter().cloned().collect()
    }

    /// What the newest look found; `None` before the first.
    #[must_use]
    pub fn last_report(&self) -> Option<SystemHealthReport> {
        lock(&self.seen).last.clone()
    }

    /// Runs every check in parallel, alerts about what changed, and reports. Takes as long as the slowest check, two seconds at most.
    pub async fn check_system_health(&self) -> SystemHealthReport {
        let _alone = self.looking.lock().await;
        let begun = self.timer.now();
        let slots = lock(&self.checks).clone();
        let mut findings = join_all(slots.iter().map(|slot| self.look(slot))).await;
        let figures = lock(&self.metrics).clone();
        findings.extend(figures.iter().filter_map(Watched::look));
        let at = Stamp(self.clock.now_ns().map_or(0, |t| t.as_nanos())).to_string();
        let report = combine(&findings, at, self.timer.now() - begun);
        for change in self.note(&report) {
            self.alert(&change);
        }
        report
    }

    /// Looks now and then every `interval` until `stop` ends.
    pub fn start_monitoring(self: &Arc<Self>, interval: Duration, stop: impl Future<Output = ()> + Send + 'static) {
        let monitor = self.clone();
        self.spawn.spawn(Box::pin(async move {
            let rounds = async {
                loop {
                    monitor.check_system_health().await;
                    monitor.timer.sleep(interval).await;
                }
            };
            tokio::select! {
                biased;
                () = stop => {}
                () = rounds => {}
            }
        }));
    }

    async fn look(&self, slot: &Arc<Slot>) -> Finding {
        let begun = self.timer.now();
        let result = self.result(slot).await;
        let (name, criticality) = (slot.check.name().to_owned(), slot.check.criticality());
        Finding { name, criticality, result, took: self.timer.now() - begun }
    }

    async fn result(&self, slot: &Arc<Slot>) -> HealthResult {
        if slot.is_busy.swap(true, Ordering::AcqRel) {
            return HealthResult::Timeout;
        }
        let (answer, result) = oneshot::channel();
        let own = slot.clone();
        self.spawn.spawn(Box::pin(async move {
            let looked = AssertUnwindSafe(async { own.check.check().await }).catch_unwind().await;
            let result = looked.unwrap_or_else(|panic| {
                HealthResult::Unhealthy(format!("the check panicked: {}", crate::exec::panic_text(panic.as_ref())))
            });
            own.is_busy.store(false, Ordering::Release);
            // Nobody waits any more when it took too long.
            let _ = answer.send(result);
        }));
        match within(self.timer.as_ref(), CHECK_LIMIT, result).await {
            Some(Ok(result)) => result,
            Some(Err(_)) => HealthResult::Unhealthy("the check was dropped before it ended".to_owned()),
            None => HealthResult::Timeout,
        }
    }

    /// Remembers a report; returns what changed. A part that is healthy at the first look is no change.
    fn note(&self, report: &SystemHealthReport) -> Vec<HealthChange> {
        let mut seen = lock(&self.seen);
        let mut changes = Vec::new();
        for part in &report.components {
            let before = seen.statuses.insert(part.name.clone(), part.status);
            if before.unwrap_or(Status::Healthy) == part.status {
                continue;
            }
            changes.push(HealthChange {
                at: report.timestamp.clone(),
                component: part.name.clone(),
                criticality: part.criticality,
                from: before.unwrap_or(Status::Unknown),
                to: part.status,
                message: part.message.clone(),
            });
        }
        seen.history.extend(changes.iter().cloned());
        let surplus = seen.history.len().saturating_sub(HISTORY);
        seen.history.drain(..surplus);
        seen.last = Some(report.clone());
        changes
    }

    fn alert(&self, change: &HealthChange) {
        let alerts = lock(&self.alerts).clone();
        for alert in alerts {
            let sent = catch_unwind(AssertUnwindSafe(|| alert.send_status_change_alert(change)));
            let reason = match sent {
                Ok(Ok(())) => continue,
                Ok(Err(reason)) => reason,
                Err(panic) => crate::exec::panic_text(panic.as_ref()),
            };
            tracing::warn!(component = change.component, reason, "an alert could not be sent");
        }
    }
}
