//! Watches handlers: one that does not return within its component's `stuck_after` is given up, and its dispatcher with it.
//!
//! A running handler cannot be killed. Its thread is left behind and ends when the handler returns; the other components go on, on a fresh
//! thread with a delivery log of its own, where they stopped. The old log is durable before the new one begins, so that a replay finds
//! each component's deliveries in order. No clock is asked: a look is counted, so a machine that slept gives nobody up.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use csf_core::port::LaneKind;

use super::handle::{Node, NodeState};
use crate::exec::{Abandoned, DispatcherHandle, Look};
use crate::{DELIVERY_TOPIC, Delivery};

/// Looks within a component's limit.
const LOOKS: u32 = 4;
/// Bounds of the time between two looks.
const LOOK_AT_MOST: Duration = Duration::from_secs(1);
const LOOK_AT_LEAST: Duration = Duration::from_millis(1);
/// Between two tries while the journal refuses the old delivery log.
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// The handler that a dispatcher was seen in, and for how long.
#[derive(Clone, Copy)]
struct Seen {
    number: u64,
    for_long: Duration,
}

impl Node {
    /// Watches until the components have stopped. Tasks of a simulated world are not watched: their handlers take no time.
    pub(super) fn watch_handlers(self: &Arc<Self>) {
        if self.world.is_simulated() {
            return;
        }
        let (node, timer) = (Arc::downgrade(self), self.world.timer.clone());
        self.world.spawn.spawn(Box::pin(async move {
            let mut seen = BTreeMap::new();
            while let Some(pause) = Self::pause_between_looks(&node) {
                timer.sleep(pause).await;
                let Some(node) = node.upgrade() else { return };
                node.look_at_handlers(&mut seen, pause).await;
            }
        }));
    }

    /// `None` when there is nothing to look at any more.
    fn pause_between_looks(node: &Weak<Self>) -> Option<Duration> {
        let node = node.upgrade().filter(|node| node.state() != NodeState::Stopped)?;
        let live = node.live();
        let shortest = live.components().filter_map(|(component, _)| component.settings.stuck_after).min();
        Some(shortest.map_or(LOOK_AT_MOST, |limit| (limit / LOOKS).clamp(LOOK_AT_LEAST, LOOK_AT_MOST)))
    }

    async fn look_at_handlers(&self, seen: &mut BTreeMap<usize, Seen>, pause: Duration) {
        let dispatchers = self.dispatchers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (at, dispatcher) in dispatchers.iter().enumerate() {
            let Look::Handling(number, limit) = dispatcher.look() else {
                seen.remove(&at);
                continue;
            };
            let before = seen.get(&at).filter(|before| before.number == number);
            let for_long = before.map_or(Duration::ZERO, |before| before.for_long + pause);
            seen.insert(at, Seen { number, for_long });
            if for_long >= limit
                && let Some(abandoned) = dispatcher.abandon(number, limit)
            {
                self.replace(at, dispatcher, abandoned).await;
            }
        }
    }

    /// Moves the other components to a fresh thread.
    async fn replace(&self, at: usize, dispatcher: &DispatcherHandle, abandoned: Abandoned) {
        let component = abandoned.component.clone();
        match self.try_replace(at, dispatcher, abandoned).await {
            Ok(moved) => {
                tracing::warn!(stuck = component, moved = moved.len(), "[CSF-0214] its dispatcher was replaced");
                for name in moved {
                    (self.kit.observer)(&name, "moved", &format!("to a fresh dispatcher: `{component}` is stuck"));
                }
            }
            Err(reason) => {
                self.give_up(&format!("`{component}` is stuck, and no dispatcher can take its place: {reason}"))
            }
        }
    }

    async fn try_replace(
        &self,
        at: usize,
        dispatcher: &DispatcherHandle,
        abandoned: Abandoned,
    ) -> Result<Vec<String>, String> {
        let live = self.live();
        let own = live.components().filter(|(_, place)| place.dispatcher == at);
        let own: Vec<String> = own.map(|(component, _)| component.settings.name.value.clone()).collect();
        self.make_log_durable(at).await?;
        let generation = self.desk(at).generation + 1;
        let name = format!("csf-dispatch-{at}.{generation}");
        let log = self.bus.publisher::<Delivery>(DELIVERY_TOPIC, &name, LaneKind::Delivery);
        let log = log.map_err(|error| error.to_string())?;
        let lane = log.info().id;
        self.recorder.record(Vec::new(), own.iter().map(|name| (name.clone(), lane)).collect()).await?;
        {
            let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
            desks[at].log = lane;
            desks[at].generation = generation;
        }
        let moved = own.into_iter().filter(|name| *name != abandoned.component).collect();
        dispatcher.take_up(abandoned, Box::new(log), self.bus.hlc()).map_err(|error| error.to_string())?;
        Ok(moved)
    }

    async fn make_log_durable(&self, at: usize) -> Result<(), String> {
        let log = self.desk(at).log;
        let topic = self.bus.topic(DELIVERY_TOPIC).map_err(|error| error.to_string())?;
        let count = topic.committed().into_iter().find(|(lane, _)| *lane == log).map_or(0, |(_, count)| count);
        while count > 0 && self.feed().durable(log.message(count - 1)).await.is_err() {
            if self.state() == NodeState::Stopped {
                return Err("the node has stopped".to_owned());
            }
            self.world.timer.sleep(TRY_AGAIN).await;
        }
        Ok(())
    }
}
