//! The node's own subsystems: recorder and dispatchers. Each lives through the hub only.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use csf_core::port::Away;

use super::handle::Node;
use super::hub::{CoordinationHub, HealthStatus, Subsystem, SubsystemError};
use crate::exec::{Dispatcher, DispatcherHandle, Runner};
use crate::service::BoxFuture;

/// Looks at the components before a stop at most.
const DRAINS: u32 = 1_000;
/// A commit that takes longer is told.
const COMMIT_AGE_MAX: Duration = Duration::from_secs(1);
/// Time between two questions whether dispatchers are idle.
const LOOK_EVERY: Duration = Duration::from_micros(200);

pub(super) fn gone() -> SubsystemError {
    SubsystemError { code: "CSF-0299", message: "the node is gone".to_owned() }
}

/// Runs the recorder: it is started by boot, because lanes need it from the first packet on.
pub(super) struct RecorderSubsystem {
    pub(super) node: Weak<Node>,
}

impl Subsystem for RecorderSubsystem {
    fn id(&self) -> &str {
        "recorder"
    }

    fn dependencies(&self) -> Vec<String> {
        Vec::new()
    }

    fn initialize<'a>(&'a self, _hub: &'a CoordinationHub) -> BoxFuture<'a, Result<(), SubsystemError>> {
        Box::pin(async { Ok(()) })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async { Ok(()) })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            let node = self.node.upgrade().ok_or_else(gone)?;
            node.recorder.stop().await;
            Ok(())
        })
    }

    fn health_check(&self) -> HealthStatus {
        let Some(node) = self.node.upgrade() else { return HealthStatus::Healthy };
        if let Some(reason) = node.feed().failure() {
            return HealthStatus::Unhealthy(reason);
        }
        if let Some(Away { reason, spooled_bytes, spool_limit }) = node.recorder.away() {
            let waits = format!("{spooled_bytes} of at most {spool_limit} bytes wait on this machine");
            return HealthStatus::Degraded(format!("the journal's store is away: {reason}; {waits}"));
        }
        match node.recorder.commit_age().filter(|age| *age > COMMIT_AGE_MAX) {
            Some(age) => {
                HealthStatus::Degraded(format!("a commit of the journal has taken {} ms so far", age.as_millis()))
            }
            None => HealthStatus::Healthy,
        }
    }
}

/// What a dispatcher thread starts from.
pub(super) struct DispatcherPlan {
    pub(super) name: String,
    pub(super) runners: Vec<Runner>,
    pub(super) log: Box<dyn csf_bus::EffectWriter>,
    pub(super) bell: Arc<csf_bus::Doorbell>,
}

/// Runs the components.
pub(super) struct DispatcherSubsystem {
    pub(super) node: Weak<Node>,
    pub(super) plans: Mutex<Vec<DispatcherPlan>>,
    pub(super) spin_ns: u64,
}

impl Subsystem for DispatcherSubsystem {
    fn id(&self) -> &str {
        "components"
    }

    fn dependencies(&self) -> Vec<String> {
        vec!["recorder".to_owned()]
    }

    fn initialize<'a>(&'a self, _hub: &'a CoordinationHub) -> BoxFuture<'a, Result<(), SubsystemError>> {
        Box::pin(async { Ok(()) })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            let node = self.node.upgrade().ok_or_else(gone)?;
            let plans = std::mem::take(&mut *self.plans.lock().unwrap_or_else(PoisonError::into_inner));
            for plan in plans {
                let clock = node.bus.config().time_source.clone();
                let handle = Dispatcher::start(
                    &plan.name,
                    plan.runners,
                    plan.log,
                    node.bus.hlc(),
                    clock,
                    plan.bell,
                    self.spin_ns,
                    &node.world,
                )
                .map_err(|e| SubsystemError { code: "CSF-0209", message: format!("no thread for components: {e}") })?;
                node.dispatchers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(handle));
            }
            node.watch_handlers();
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            let node = self.node.upgrade().ok_or_else(gone)?;
            // They stay where they are: a component that gets its state back meanwhile gets it there.
            let dispatchers = node.dispatchers.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // What waits for room is handled too, unless the journal keeps the room; then the next start goes on with it.
            tokio::select! {
                biased;
                () = drain(&node, &dispatchers) => {}
                () = node.feed().failing() => {}
            }
            for dispatcher in &dispatchers {
                dispatcher.stop().await;
            }
            Ok(())
        })
    }

    fn health_check(&self) -> HealthStatus {
        HealthStatus::Healthy
    }
}

/// Waits until no component has anything left to handle, though others hand it more: a whole look at all of them finds nothing handled and
/// nothing waiting. Components that keep themselves busy with timers are not waited for longer than [`DRAINS`] looks.
async fn drain(node: &Node, dispatchers: &[Arc<DispatcherHandle>]) {
    let live = node.live();
    let handled = || live.components.iter().map(|c| c.stats.handled.load(Ordering::Relaxed)).sum::<u64>();
    for _ in 0..DRAINS {
        let before = handled();
        let rounds: Vec<u64> = dispatchers.iter().map(|d| d.idle_rounds()).collect();
        // Two idle rounds: the second began after the first saw that nothing was left.
        let is_idle = |(d, before): (&Arc<DispatcherHandle>, &u64)| d.is_over() || d.idle_rounds() >= before + 2;
        while !dispatchers.iter().zip(&rounds).all(is_idle) {
            dispatchers.iter().for_each(|d| d.nudge());
            node.world.timer.sleep(LOOK_EVERY).await;
        }
        if handled() == before {
            return;
        }
    }
}
