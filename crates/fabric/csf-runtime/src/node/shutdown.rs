//! The end of a node in seven phases, each limited, timed and told (FRM-080).
//!
//! Nothing that was accepted is lost: the gate closes before anything stops, requests under way are answered, and then subsystems stop
//! in reverse start order, each finishing what the ones before it have left. Invariant: every phase ends, whatever hangs.

use std::time::Duration;

use csf_core::port::{Timer, within};
use serde::{Deserialize, Serialize};

use super::boot::Phase;
use super::cleanup::{CleanupReport, ResourceCleanup};
use super::hub::CoordinationHub;
use super::initialization::{Conduct, LifeLimits, StopOutcome};
use super::interrupt::{Interrupt, Urgency};
use crate::BoxFuture;

/// Why a node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownReason {
    /// Its work, or the time it was given, is over.
    Finished,
    /// Somebody asked: a signal, or a program that holds the node.
    Requested,
    /// Its start failed or was interrupted.
    StartFailed,
}

/// What everybody who waits on a node hears when it begins to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownSignal {
    /// Why.
    pub reason: ShutdownReason,
}

/// Longest waits of a stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownLimits {
    /// Between refusing readiness and refusing work, so that a load balancer can look once more.
    pub announce: Duration,
    /// Of every subsystem.
    pub life: LifeLimits,
}

/// For what is under way, and for writing the last state.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
const PERSIST_LIMIT: Duration = Duration::from_secs(10);

/// A stop that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShutdownReport {
    /// Why.
    pub reason: ShutdownReason,
    /// The seven phases.
    pub phases: Vec<Phase>,
    /// Requests that were not waited for to their end.
    pub undrained: u64,
    /// Subsystems that failed to stop in order, with their words.
    pub failed: Vec<String>,
    /// Subsystems that did not stop within their limit.
    pub left_behind: Vec<String>,
    /// Why the last state could not be written, if it could not.
    pub persist_failure: Option<String>,
    /// What was taken away.
    pub cleanup: CleanupReport,
}

impl ShutdownReport {
    /// Whether everything ended as it should.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.undrained == 0
            && self.failed.is_empty()
            && self.left_behind.is_empty()
            && self.persist_failure.is_none()
            && self.cleanup.failures().next().is_none()
    }
}

/// What a coordinator brings down: a node is one.
pub trait Winddown: Send + Sync {
    /// Tells everybody; readiness is refused from here on.
    fn broadcast_shutdown_signal(&self, signal: ShutdownSignal);

    /// Lets no work in any more.
    fn stop_accepting_work(&self);

    /// Ends when what was let in has ended.
    fn drain_in_flight_operations(&self) -> BoxFuture<'_, ()>;

    /// Pieces of work under way.
    fn in_flight(&self) -> u64;

    /// What stops in reverse start order.
    fn hub(&self) -> &CoordinationHub;

    /// Writes the last state; says what it wrote.
    fn persist_final_state(&self) -> BoxFuture<'_, Result<String, String>>;

    /// Lets go of what is held; says what.
    fn release_resources(&self) -> String;

    /// What runs last.
    fn cleanup(&self) -> &ResourceCleanup;
}

/// Brings a [`Winddown`] down.
pub struct ShutdownCoordinator<'a> {
    timer: &'a dyn Timer,
    interrupt: &'a Interrupt,
    limits: ShutdownLimits,
    on_phase: Box<dyn FnMut(&Phase) + Send + 'a>,
    phases: Vec<Phase>,
    last: Duration,
}

impl<'a> ShutdownCoordinator<'a> {
    /// `interrupt` hastens it; `on_phase` is told after each phase.
    pub fn new(timer: &'a dyn Timer, interrupt: &'a Interrupt, on_phase: impl FnMut(&Phase) + Send + 'a) -> Self {
        let limits = ShutdownLimits::default();
        Self { timer, interrupt, limits, on_phase: Box::new(on_phase), phases: Vec::new(), last: timer.now() }
    }

    /// Waits differently.
    #[must_use]
    pub fn limits(self, limits: ShutdownLimits) -> Self {
        Self { limits, ..self }
    }

    fn done(&mut self, name: &str, detail: String) {
        let now = self.timer.now();
        let ms = (now - self.last).as_secs_f64() * 1e3;
        self.last = now;
        let number = self.phases.len() as u8 + 1;
        let phase = Phase { number, name: name.to_owned(), ms, detail };
        tracing::info!(phase = number, name, ms, detail = phase.detail, "stop");
        (self.on_phase)(&phase);
        self.phases.push(phase);
    }

    /// Waits for `work`, but not longer than `limit`, and not at all once the stop hurries.
    async fn patiently<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = within(self.timer, limit, work) => done,
            () = self.interrupt.reached(Urgency::Hasty) => None,
        }
    }

    /// The seven phases.
    pub async fn shutdown(mut self, target: &dyn Winddown, reason: ShutdownReason) -> ShutdownReport {
        self.last = self.timer.now();
        target.broadcast_shutdown_signal(ShutdownSignal { reason });
        self.patiently(self.limits.announce, std::future::pending::<()>()).await;
        self.done("broadcast", "readiness is refused".to_owned());

        target.stop_accepting_work();
        let waiting = target.in_flight();
        self.done("stop accepting work", format!("new work is refused, {waiting} under way"));

        let drained = self.patiently(DRAIN_LIMIT, target.drain_in_flight_operations()).await;
        let undrained = if drained.is_some() { 0 } else { target.in_flight() };
        let left = if undrained > 0 { format!(", {undrained} not waited for") } else { String::new() };
        self.done("drain in flight", format!("{} finished{left}", waiting.saturating_sub(undrained)));

        let (mut stopped, mut failed, mut left_behind) = (0, Vec::new(), Vec::new());
        let conduct = Conduct { timer: self.timer, limits: self.limits.life, interrupt: self.interrupt };
        let tell = |id: &str, outcome: &StopOutcome| match outcome {
            StopOutcome::Stopped => stopped += 1,
            StopOutcome::Failed(error) => failed.push(format!("{id}: {error}")),
            StopOutcome::LeftBehind(_) => left_behind.push(id.to_owned()),
        };
        target.hub().stop_all(conduct, tell).await;
        let mut detail = format!("{stopped} in reverse start order");
        if !failed.is_empty() {
            detail += &format!("; failed: {}", failed.join(", "));
        }
        if !left_behind.is_empty() {
            detail += &format!("; left behind: {}", left_behind.join(", "));
        }
        self.done("stop subsystems", detail);

        // Not hastened: it is short, and what it keeps cannot be had again.
        let persisted = within(self.timer, PERSIST_LIMIT, target.persist_final_state()).await;
        let persisted = persisted.unwrap_or_else(|| Err(format!("not within {} s", PERSIST_LIMIT.as_secs())));
        if let Err(reason) = &persisted {
            tracing::error!(reason, "the last state could not be written");
        }
        let detail = persisted.as_ref().map_or_else(|reason| format!("failed: {reason}"), String::clone);
        self.done("persist final state", detail);

        let detail = target.release_resources();
        self.done("release resources", detail);

        let cleanup = target.cleanup().cleanup_all(self.timer).await;
        let names: Vec<&str> = cleanup.handlers.iter().map(|h| h.name.as_str()).collect();
        let failures: Vec<&str> = cleanup.failures().map(|h| h.name.as_str()).collect();
        let detail = match (names.is_empty(), failures.is_empty()) {
            (true, _) => "nothing to take away".to_owned(),
            (_, true) => names.join(", "),
            _ => format!("{}; failed: {}", names.join(", "), failures.join(", ")),
        };
        self.done("clean up", detail);
        let (phases, persist_failure) = (self.phases, persisted.err());
        ShutdownReport { reason, phases, undrained, failed, left_behind, persist_failure, cleanup }
    }
}
