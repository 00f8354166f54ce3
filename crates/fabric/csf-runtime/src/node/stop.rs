//! The end of a [`Node`].

use std::sync::{Arc, Mutex, PoisonError};

use super::Phase;
use super::cleanup::ResourceCleanup;
use super::gate::WorkGate;
use super::handle::{Node, NodeState};
use super::hub::CoordinationHub;
use super::shutdown::{ShutdownCoordinator, ShutdownReason, ShutdownReport, ShutdownSignal, Winddown};
use crate::BoxFuture;
use crate::persist::StatePersistence;
use tokio::sync::watch;

/// What a node's end needs.
#[derive(Default)]
pub(super) struct Ending {
    pub(super) gate: WorkGate,
    pub(super) cleanup: ResourceCleanup,
    /// Where the last state goes, if it is kept.
    pub(super) persistence: Mutex<Option<Arc<StatePersistence>>>,
    signal: watch::Sender<Option<ShutdownSignal>>,
    /// Held while a stop is under way; filled when it is over.
    report: tokio::sync::Mutex<Option<ShutdownReport>>,
}

impl Node {
    /// Lets work from outside in while the node is up.
    #[must_use]
    pub fn gate(&self) -> &WorkGate {
        &self.ending.gate
    }

    /// What is taken away at the end; register what lives as long as the node.
    #[must_use]
    pub fn cleanup(&self) -> &ResourceCleanup {
        &self.ending.cleanup
    }

    /// Hears when the node begins to stop.
    #[must_use]
    pub fn shutdown_signal(&self) -> watch::Receiver<Option<ShutdownSignal>> {
        self.ending.signal.subscribe()
    }

    /// Stops everything in reverse start order; what was accepted before is handled and durable afterwards.
    pub async fn shutdown(&self) -> ShutdownReport {
        self.stop(ShutdownReason::Requested, |_| ()).await
    }

    /// As [`Self::shutdown`], telling each phase. A second call waits for the first and answers the same.
    pub async fn stop(&self, reason: ShutdownReason, on_phase: impl FnMut(&Phase) + Send) -> ShutdownReport {
        let mut over = self.ending.report.lock().await;
        if let Some(report) = over.as_ref() {
            return report.clone();
        }
        let coordinator = ShutdownCoordinator::new(&*self.world.timer, &self.interrupt, on_phase);
        let report = coordinator.shutdown(self, reason).await;
        self.set_state(NodeState::Stopped);
        *over = Some(report.clone());
        report
    }
}

impl Winddown for Node {
    fn broadcast_shutdown_signal(&self, signal: ShutdownSignal) {
        self.set_state(NodeState::Stopping);
        self.ending.signal.send_replace(Some(signal));
    }

    fn stop_accepting_work(&self) {
        self.ending.gate.close();
    }

    fn drain_in_flight_operations(&self) -> BoxFuture<'_, ()> {
        // Packets on lanes need no wait here: dispatchers and the recorder finish them when they stop, in that order.
        Box::pin(async {
            // Whom nobody sends work any more has less to drain.
            self.renew_registrations().await;
            self.registrations.news().notify_one();
            self.ending.gate.idle().await;
        })
    }

    fn in_flight(&self) -> u64 {
        self.ending.gate.in_flight()
    }

    fn hub(&self) -> &CoordinationHub {
        &self.hub
    }

    fn persist_final_state(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async {
            match self.feed().failure() {
                Some(reason) => Err(format!("the journal refused the last packets: {reason}")),
                None => {
                    let journal = format!("the journal is durable to position {}", self.feed().position());
                    let state = self.persist_state().map_err(|e| format!("{journal}; [CSF-0211] {e}"))?;
                    Ok(state.map_or(journal.clone(), |state| format!("{journal}; {state}")))
                }
            }
        })
    }

    fn release_resources(&self) -> String {
        let edges = std::mem::take(&mut *self.edges.lock().unwrap_or_else(PoisonError::into_inner)).len();
        self.dispatchers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        format!("{edges} lanes of the API, the journal")
    }

    fn cleanup(&self) -> &ResourceCleanup {
        &self.ending.cleanup
    }
}
