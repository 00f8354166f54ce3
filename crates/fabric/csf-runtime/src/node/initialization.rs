//! Starting and stopping subsystems in the order of their dependencies (FRM-062).
//!
//! Members of a level start and stop in parallel, each within its own limit. Invariant: after a start that failed nothing of it
//! runs, except what did not stop in time, and that is named.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use csf_core::port::{Timer, within};
use futures_util::FutureExt;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::hub::{CoordinationError, CoordinationHub, Subsystem, SubsystemError};
use super::interrupt::{Interrupt, Urgency};

/// How long one subsystem may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifeLimits {
    /// To initialise and start.
    pub start: Duration,
    /// To stop.
    pub stop: Duration,
    /// To stop once the stop hurries.
    pub hasty_stop: Duration,
}

impl Default for LifeLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { start: seconds(10), stop: seconds(10), hasty_stop: seconds(1) }
    }
}

/// How a subsystem's stop ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopOutcome {
    /// In order.
    Stopped,
    /// With an error; it is not asked again.
    Failed(SubsystemError),
    /// Not within its limit: it is left behind, and the stop goes on.
    LeftBehind(Duration),
}

/// What is asked of every subsystem at once: the world they live in and how they may be hurried.
#[derive(Clone, Copy)]
pub struct Conduct<'a> {
    /// Where waits happen.
    pub timer: &'a dyn Timer,
    /// Longest waits.
    pub limits: LifeLimits,
    /// Rolls a start back; hurries a stop.
    pub interrupt: &'a Interrupt,
}

type Members = Vec<Arc<dyn Subsystem>>;

impl CoordinationHub {
    /// Start order in levels: every subsystem is in a later level than everything it depends on.
    ///
    /// # Errors
    /// [`CoordinationError::UnknownDependency`] or [`CoordinationError::Cycle`].
    pub fn compute_parallel_levels(&self) -> Result<Vec<Vec<String>>, CoordinationError> {
        self.levels()
    }

    /// Start order one by one.
    ///
    /// # Errors
    /// As [`Self::compute_parallel_levels`].
    pub fn compute_initialization_order(&self) -> Result<Vec<String>, CoordinationError> {
        Ok(self.levels()?.into_iter().flatten().collect())
    }

    fn members(&self) -> Result<Vec<Members>, CoordinationError> {
        let levels = self.levels()?;
        let subsystems = self.snapshot();
        Ok(levels.iter().map(|level| level.iter().map(|id| subsystems[id].clone()).collect()).collect())
    }

    /// Initialises and starts everything, level by level, the members of a level in parallel; `started` hears of each. When one fails,
    /// takes too long or panics, or an interrupt comes, everything begun is stopped again, levels in reverse order.
    ///
    /// # Errors
    /// [`CoordinationError`]. Nothing runs then but what the log names as left behind.
    pub async fn start_all(
        &self,
        conduct: Conduct<'_>,
        mut started: impl FnMut(&str) + Send,
    ) -> Result<(), CoordinationError> {
        let levels = self.members()?;
        let mut interrupted = pin!(conduct.interrupt.reached(Urgency::Orderly));
        for (index, level) in levels.iter().enumerate() {
            let outcome = self.start_level(&conduct, level, interrupted.as_mut(), &mut started).await;
            if let Err(failure) = outcome {
                rollback_initialization(&conduct, &levels[..=index]).await;
                return Err(failure);
            }
        }
        Ok(())
    }

    async fn start_level(
        &self,
        conduct: &Conduct<'_>,
        level: &Members,
        mut interrupted: Pin<&mut (impl Future<Output = ()> + Send)>,
        started: &mut (impl FnMut(&str) + Send),
    ) -> Result<(), CoordinationError> {
        // Dropped on the way out: a member that is still starting when another fails goes no further.
        let mut starting: FuturesUnordered<_> =
            level.iter().map(|member| self.initialize_component(conduct, member.as_ref())).collect();
        loop {
            tokio::select! {
                biased;
                () = interrupted.as_mut() => return Err(CoordinationError::Interrupted),
                next = starting.next() => match next {
                    Some(Ok(id)) => started(id),
                    Some(Err(failure)) => return Err(failure),
                    None => return Ok(()),
                },
            }
        }
    }

    async fn initialize_component<'a>(
        &'a self,
        conduct: &Conduct<'a>,
        subsystem: &'a dyn Subsystem,
    ) -> Result<&'a str, CoordinationError> {
        let begin = AssertUnwindSafe(async {
            subsystem.initialize(self).await?;
            subsystem.start().await
        });
        let component = || subsystem.id().to_owned();
        let error = match within(conduct.timer, conduct.limits.start, begin.catch_unwind()).await {
            Some(Ok(Ok(()))) => return Ok(subsystem.id()),
            Some(Ok(Err(error))) => error,
            Some(Err(panic)) => panicked(panic.as_ref()),
            None => {
                let limit_ms = conduct.limits.start.as_millis();
                return Err(CoordinationError::Timeout { component: component(), limit_ms });
            }
        };
        Err(CoordinationError::InitializationFailed { component: component(), error })
    }

    /// Stops everything, levels in reverse start order, the members of a level together. One that fails is passed over, one that hangs
    /// costs at most its limit and is left behind; `told` hears how each ended.
    pub async fn stop_all(&self, conduct: Conduct<'_>, mut told: impl FnMut(&str, &StopOutcome) + Send) {
        // What could not be ordered was never started.
        for level in self.members().unwrap_or_default().iter().rev() {
            stop_level(&conduct, level, &mut told).await;
        }
    }
}

async fn rollback_initialization(conduct: &Conduct<'_>, levels: &[Members]) {
    for level in levels.iter().rev() {
        stop_level(conduct, level, &mut |_, _| ()).await;
    }
}

async fn stop_level(conduct: &Conduct<'_>, level: &Members, told: &mut (impl FnMut(&str, &StopOutcome) + Send)) {
    let stops = level.iter().rev().map(async |member: &Arc<dyn Subsystem>| (member, stop_one(conduct, member).await));
    for (member, outcome) in join_all(stops).await {
        let id = member.id();
        match &outcome {
            StopOutcome::Stopped => tracing::debug!(subsystem = id, "stopped"),
            StopOutcome::Failed(error) => tracing::warn!(subsystem = id, %error, "did not stop cleanly"),
            StopOutcome::LeftBehind(limit) => {
                tracing::warn!(subsystem = id, limit_ms = limit.as_millis(), "did not stop in time; left behind");
            }
        }
        told(id, &outcome);
    }
}

async fn stop_one(conduct: &Conduct<'_>, subsystem: &Arc<dyn Subsystem>) -> StopOutcome {
    let Conduct { timer, limits, interrupt } = *conduct;
    let patience = async {
        tokio::select! {
            biased;
            () = timer.sleep(limits.stop) => limits.stop,
            () = async {
                interrupt.reached(Urgency::Hasty).await;
                timer.sleep(limits.hasty_stop).await;
            } => limits.hasty_stop,
        }
    };
    tokio::select! {
        biased;
        stopped = AssertUnwindSafe(subsystem.stop()).catch_unwind() => match stopped {
            Ok(Ok(())) => StopOutcome::Stopped,
            Ok(Err(error)) => StopOutcome::Failed(error),
            Err(panic) => StopOutcome::Failed(panicked(panic.as_ref())),
        },
        limit = patience => StopOutcome::LeftBehind(limit),
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> SubsystemError {
    SubsystemError { code: "CSF-0299", message: format!("it panicked: {}", crate::exec::panic_text(panic)) }
}
