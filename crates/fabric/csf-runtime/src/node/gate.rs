//! Whether the node takes work from outside, and how much of it is under way.
//!
//! Invariant: work that was let in before the gate closed is counted until it ends, so closing and then waiting for zero misses none.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, Default)]
struct State {
    is_open: bool,
    in_flight: u64,
}

/// Lets work in while it is open. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct WorkGate(Arc<watch::Sender<State>>);

impl Default for WorkGate {
    /// Closed: a node opens it at the end of its start.
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }
}

impl WorkGate {
    /// Lets work in from now on.
    pub fn open(&self) {
        self.0.send_modify(|state| state.is_open = true);
    }

    /// Lets nothing in any more; what is under way goes on.
    pub fn close(&self) {
        self.0.send_modify(|state| state.is_open = false);
    }

    /// Begins a piece of work, which ends when the answer is dropped; `None` while the gate is closed.
    #[must_use]
    pub fn enter(&self) -> Option<Work> {
        let is_let_in = self.0.send_if_modified(|state| {
            state.in_flight += u64::from(state.is_open);
            state.is_open
        });
        is_let_in.then(|| Work(self.clone()))
    }

    /// Pieces of work under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.0.borrow().in_flight
    }

    /// Waits until nothing is under way. Cancel safe.
    pub async fn idle(&self) {
        let mut state = self.0.subscribe();
        if state.wait_for(|state| state.in_flight == 0).await.is_err() {
            pending::<()>().await;
        }
    }
}

/// A piece of work under way.
#[derive(Debug)]
pub struct Work(WorkGate);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.in_flight -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use csf_core::port::{Spawn, Timer};
    use csf_sim::SimExecutor;

    use super::*;

    #[test]
    fn what_came_in_before_the_gate_closed_is_waited_for_and_nothing_comes_after() {
        let world = SimExecutor::new(1);
        let gate = WorkGate::default();
        assert!(gate.enter().is_none(), "a gate begins closed");
        gate.open();
        for seconds in [3, 1, 2] {
            let (work, timer) = (gate.enter().unwrap(), world.clone());
            world.spawn(Box::pin(async move {
                timer.sleep(Duration::from_secs(seconds)).await;
                drop(work);
            }));
        }
        gate.close();
        assert!(gate.enter().is_none());
        assert_eq!(gate.in_flight(), 3);
        world.block_on(gate.idle()).unwrap();
        assert_eq!((gate.in_flight(), world.now()), (0, Duration::from_secs(3)));
    }
}
