//! What a [`Node`] saves when its process ends in an emergency, without an async runtime to lean on.

use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use csf_core::port::{Sleep, Timer};

use super::handle::{Node, NodeState};
use super::health::{HealthCriticality, Status};
use super::interrupt::Urgency;
use super::monitor::{HealthChange, NotificationService};
use crate::emergency::{EmergencyProcedure, EmergencyReason, EmergencyShutdownHandler};

impl Node {
    /// Lets an emergency save what this node holds, and lets critical parts that fail again and again become one.
    pub fn entrust_to(self: &Arc<Self>, handler: &Arc<EmergencyShutdownHandler>) {
        let node = Arc::downgrade(self);
        handler.add_procedure(Arc::new(JournalWill(node.clone())));
        handler.add_procedure(Arc::new(FilesWill(node)));
        self.monitor.notify(Arc::new(CriticalErrors(handler.clone())));
    }
}

/// Takes no new work and writes what was published.
struct JournalWill(Weak<Node>);

impl EmergencyProcedure for JournalWill {
    fn name(&self) -> &str {
        "journal"
    }

    fn execute(&self, _reason: &EmergencyReason) -> Result<String, String> {
        let Some(node) = self.0.upgrade() else { return Ok("the node had ended".to_owned()) };
        let state = node.state();
        node.gate().close();
        node.set_state(NodeState::Stopping);
        node.interrupt.raise(Urgency::Hasty);
        block_on(node.recorder.stop());
        match node.feed().failure() {
            Some(reason) => Err(reason),
            None => Ok(format!("the node was {state}, its journal is durable to position {}", node.feed().position())),
        }
    }
}

/// Takes away the files by which others find the node.
struct FilesWill(Weak<Node>);

impl EmergencyProcedure for FilesWill {
    fn name(&self) -> &str {
        "clean-up"
    }

    fn execute(&self, _reason: &EmergencyReason) -> Result<String, String> {
        let Some(node) = self.0.upgrade() else { return Ok("the node had ended".to_owned()) };
        let report = block_on(node.cleanup().cleanup_all(&NoTimer));
        let failures: Vec<&str> = report.failures().map(|f| f.name.as_str()).collect();
        match failures.is_empty() {
            true => Ok(format!("{} handlers ran", report.handlers.len())),
            false => Err(failures.join(", ")),
        }
    }
}

/// Counts a critical part that stops working as a critical error. A full disk is none: publishers wait until there is room again.
struct CriticalErrors(Arc<EmergencyShutdownHandler>);

impl NotificationService for CriticalErrors {
    fn send_status_change_alert(&self, change: &HealthChange) -> Result<(), String> {
        let is_lost = change.to == Status::Unhealthy && change.criticality == HealthCriticality::Critical;
        if is_lost && !change.message.starts_with("[CSF-0205]") {
            self.0.critical_error(&format!("{}: {}", change.component, change.message));
        }
        Ok(())
    }
}

/// Never due: the emergency has a limit of its own.
struct NoTimer;

impl Timer for NoTimer {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _span: Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, parking while it waits.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}
