//! Everything that sleeps, in one ordered set and one task.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{Timer, within};
use tokio::sync::{Notify, watch};

use super::Shared;
use super::task::Input;
use crate::history::HistoryEvent;
use crate::{Failure, TimeoutKind};

/// Longest wait between two looks at the clock: a clock that jumps is noticed within this time.
const LOOK: Duration = Duration::from_secs(1);
/// The step that stands for the end of the run itself.
pub(super) const DEADLINE: u32 = 0;

/// Timers by time, stream and step.
pub(super) struct Timers {
    set: Mutex<BTreeSet<(Stamp, Arc<str>, u32)>>,
    news: Arc<Notify>,
    closed: watch::Sender<bool>,
}

impl Default for Timers {
    fn default() -> Self {
        Self { set: Mutex::default(), news: Arc::default(), closed: watch::Sender::new(false) }
    }
}

impl Timers {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<(Stamp, Arc<str>, u32)>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watch(&self) -> (Arc<Notify>, watch::Receiver<bool>) {
        (self.news.clone(), self.closed.subscribe())
    }

    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }

    pub(super) fn set(&self, at: Stamp, stream: &Arc<str>, seq: u32) {
        let is_first = {
            let mut set = self.lock();
            set.insert((at, stream.clone(), seq));
            set.first().is_some_and(|first| first.0 == at)
        };
        if is_first {
            self.news.notify_one();
        }
    }

    pub(super) fn clear(&self, at: Stamp, stream: &Arc<str>, seq: u32) {
        self.lock().remove(&(at, stream.clone(), seq));
    }

    fn first(&self) -> Option<Stamp> {
        self.lock().first().map(|first| first.0)
    }

    fn due(&self, now: Stamp) -> Vec<(Arc<str>, u32)> {
        let mut set = self.lock();
        let mut due = Vec::new();
        while set.first().is_some_and(|first| first.0 <= now) {
            due.extend(set.pop_first().map(|(_, stream, seq)| (stream, seq)));
        }
        due
    }
}

/// Fires timers until the engine is gone.
pub(super) async fn run(
    engine: Weak<Shared>,
    timer: Arc<dyn Timer>,
    clock: Arc<dyn Fn() -> Stamp + Send + Sync>,
    news: Arc<Notify>,
    mut closed: watch::Receiver<bool>,
) {
    loop {
        let wait = {
            let Some(engine) = engine.upgrade() else { return };
            for (stream, seq) in engine.timers.due(clock()) {
                let input = if seq == DEADLINE {
                    let failure = Failure::timed_out(TimeoutKind::Run, "the run took too long");
                    Input::Terminate { failure, done: None }
                } else {
                    Input::Happened { event: HistoryEvent::TimerFired { seq }, id: None, done: None }
                };
                if engine.deliver(&stream, input).is_err() {
                    return;
                }
            }
            let first = engine.timers.first();
            first.map(|at| Duration::from_nanos(at.since(clock())).min(LOOK))
        };
        let changed = async {
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => true,
                () = news.notified() => false,
            }
        };
        let is_closed = match wait {
            Some(wait) => within(&*timer, wait, changed).await.unwrap_or(false),
            None => changed.await,
        };
        if is_closed {
            return;
        }
    }
}
