//! What a node does when a component's handler failed: it makes the component's state again beside the dispatcher, and keeps the dead
//! letters, newest last, each also an event of the stream `csf.dead-letters`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::NewEvent;

use super::handle::{Node, NodeState};
use crate::exec::{DeadEvent, Incident, Rebuild, Rebuilt, Runner};

/// Stream of the dead letters.
pub const DEAD_LETTER_STREAM: &str = "csf.dead-letters";
/// Dead letters kept in memory; older ones are in the journal.
const DEAD_EVENTS_MAX: usize = 256;
/// Between two tries while the journal refuses what a rebuild needs.
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// A node's dead letters, and its way to mend components.
#[derive(Default)]
pub(super) struct Failures {
    node: OnceLock<Weak<Node>>,
    dead: Mutex<VecDeque<DeadEvent>>,
    total: AtomicU64,
    /// Not journaled, because too many waited.
    untold: AtomicU64,
}

impl Failures {
    /// Set once, when the node is made.
    pub(super) fn belong_to(&self, node: &Arc<Node>) {
        let _ = self.node.set(Arc::downgrade(node));
    }

    /// Called on dispatchers: waits for nothing.
    pub(super) fn take(&self, incident: Incident) {
        let Some(node) = self.node.get().and_then(Weak::upgrade) else { return };
        match incident {
            Incident::Dead(dead) => self.bury(&node, dead),
            Incident::Rebuild(rebuild) => {
                let weak = Arc::downgrade(&node);
                node.world.spawn.spawn(Box::pin(async move {
                    if let Some(node) = weak.upgrade() {
                        node.mend(rebuild).await;
                    }
                }));
            }
        }
    }

    fn bury(&self, node: &Node, dead: DeadEvent) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let data = serde_json::json!(dead);
        let event = NewEvent::new(DEAD_LETTER_STREAM, dead.kind.clone(), Stamp(node.now_ns()), data);
        if !node.recorder.tell(event.into()) && self.untold.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("more dead letters than the journal takes; they are counted, and the newest kept in memory");
        }
        let mut letters = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        if letters.len() == DEAD_EVENTS_MAX {
            letters.pop_front();
        }
        letters.push_back(dead);
    }

    pub(super) fn newest(&self) -> Vec<DeadEvent> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

impl Node {
    /// Makes a component's state again as soon as the journal holds what it needs, and lets it go on.
    async fn mend(&self, rebuild: Rebuild) {
        while let Err(reason) = self.feed().durable(rebuild.until).await {
            if matches!(self.state(), NodeState::Stopping | NodeState::Stopped) {
                // The next start makes the state again, of what the journal has.
                tracing::warn!(component = rebuild.name, reason, "not restarted before the stop");
                return self.let_go(&rebuild.name).await;
            }
            self.world.timer.sleep(TRY_AGAIN).await;
        }
        let rebuilt = match self.reader() {
            Ok(mut reader) => rebuild.run(reader.as_mut(), &self.catalogue.messages),
            Err(error) => rebuild.anew(error.to_string()),
        };
        if rebuilt.is_anew {
            tracing::error!(component = rebuild.name, reason = rebuilt.detail, "[CSF-0213] its state is lost");
        }
        self.hand_back(&rebuild.name, Some(rebuilt)).await;
    }

    async fn let_go(&self, name: &str) {
        self.hand_back(name, None).await;
    }

    /// Looks for the component everywhere: its dispatcher may be another one by now.
    async fn hand_back(&self, name: &str, rebuilt: Option<Rebuilt>) {
        let rebuilt = Arc::new(Mutex::new(Some(rebuilt)));
        while self.state() != NodeState::Stopped {
            let dispatchers = self.dispatchers.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for dispatcher in dispatchers {
                let (name, rebuilt) = (name.to_owned(), rebuilt.clone());
                let job = move |runners: &mut Vec<Runner>| {
                    let Some(runner) = runners.iter_mut().find(|runner| runner.name == name) else { return false };
                    match rebuilt.lock().unwrap_or_else(PoisonError::into_inner).take() {
                        Some(Some(rebuilt)) => runner.go_on(rebuilt),
                        Some(None) => runner.let_go(),
                        None => {}
                    }
                    true
                };
                if dispatcher.between_rounds(job).await == Some(true) {
                    return;
                }
            }
            // A start is not over before the last dispatcher runs.
            self.world.timer.sleep(TRY_AGAIN).await;
        }
    }
}
