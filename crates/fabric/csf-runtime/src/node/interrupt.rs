//! A request to stop, and how much it hurries: made once, heard by everything that waits.
//!
//! Invariant: urgency only rises, and whoever asks later hears it all the same; no request is lost between two waits.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::watch;

/// How much a node is asked to hurry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nobody asked.
    #[default]
    None,
    /// Stop in order; what is under way is finished.
    Orderly,
    /// Stop in order, but do not wait for what is under way.
    Hasty,
}

/// Asks a node to stop, before, during and after its start. Clones ask the same node.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<watch::Sender<Urgency>>);

impl Default for Interrupt {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Urgency::None)))
    }
}

impl Interrupt {
    /// Asks; a lower urgency than the one before changes nothing.
    pub fn raise(&self, urgency: Urgency) {
        self.0.send_if_modified(|now| {
            let is_news = urgency > *now;
            *now = urgency.max(*now);
            is_news
        });
    }

    /// What has been asked so far.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        *self.0.borrow()
    }

    /// Waits until at least this was asked. Cancel safe.
    pub async fn reached(&self, urgency: Urgency) {
        let mut receiver = self.0.subscribe();
        if receiver.wait_for(|now| *now >= urgency).await.is_err() {
            pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use csf_core::port::{Spawn, Timer, within};
    use csf_sim::SimExecutor;

    use super::*;

    #[test]
    fn a_request_is_heard_whenever_one_listens_and_never_taken_back() {
        let world = SimExecutor::new(1);
        let second = std::time::Duration::from_secs(1);
        let interrupt = Interrupt::default();
        assert_eq!(world.block_on(within(&world, second, interrupt.reached(Urgency::Orderly))).unwrap(), None);
        let (asks, timer) = (interrupt.clone(), world.clone());
        world.spawn(Box::pin(async move {
            timer.sleep(second).await;
            asks.raise(Urgency::Hasty);
            asks.raise(Urgency::Orderly);
        }));
        world.block_on(interrupt.reached(Urgency::Orderly)).unwrap();
        assert_eq!(interrupt.urgency(), Urgency::Hasty);
        // Long after.
        assert_eq!(world.block_on(within(&world, second, interrupt.reached(Urgency::Hasty))).unwrap(), Some(()));
    }
}
