//! Everything that sleeps, in one ordered set and one task.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{Timer, within};
use tokio::sync::{Notify, watch};

use super::Shared;
use super::input::Input;
use super::names::{Name, Names};
use crate::history::HistoryEvent;
use crate::{Failure, TimeoutKind};

/// Longest wait between two looks at the clock: a clock that jumps is noticed within this time.
const LOOK: Duration = Duration::from_secs(1);
/// The step that stands for the end of the run itself.
pub(super) const DEADLINE: u32 = 0;

/// Timers by time.
pub(super) struct Timers {
    waiting: Mutex<Waiting>,
    news: Arc<Notify>,
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct Waiting {
    set: BTreeSet<Waits>,
    names: Names,
}

/// A timer. Its order is that of the fields: among those of one instant it is found by its hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Waits {
    at: Stamp,
    hash: u32,
    seq: u32,
    stream: Name,
}

impl Waiting {
    /// The timer of this step, if it is there.
    fn find(&self, at: Stamp, stream: &str, seq: u32) -> Option<Waits> {
        let hash = hash(stream, seq);
        let least = Waits { at, hash, seq, stream: Name::FIRST };
        let same = self.set.range(least..).take_while(|waits| (waits.at, waits.hash, waits.seq) == (at, hash, seq));
        same.copied().find(|waits| self.names.get(waits.stream) == stream)
    }
}

fn hash(stream: &str, seq: u32) -> u32 {
    // FNV-1a (Fowler, Noll, Vo), 32 bits.
    let bytes = stream.bytes().chain(seq.to_le_bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl Default for Timers {
    fn default() -> Self {
        Self { waiting: Mutex::default(), news: Arc::default(), closed: watch::Sender::new(false) }
    }
}

impl Timers {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watch(&self) -> (Arc<Notify>, watch::Receiver<bool>) {
        (self.news.clone(), self.closed.subscribe())
    }

    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }

    pub(super) fn set(&self, at: Stamp, stream: &str, seq: u32) {
        let is_first = {
            let mut waiting = self.lock();
            if waiting.find(at, stream, seq).is_none() {
                let name = waiting.names.keep(stream);
                waiting.set.insert(Waits { at, hash: hash(stream, seq), seq, stream: name });
            }
            waiting.set.first().is_some_and(|first| first.at == at)
        };
        if is_first {
            self.news.notify_one();
        }
    }

    pub(super) fn clear(&self, at: Stamp, stream: &str, seq: u32) {
        let mut waiting = self.lock();
        if let Some(waits) = waiting.find(at, stream, seq) {
            waiting.set.remove(&waits);
            waiting.names.forget(waits.stream);
        }
    }

    fn first(&self) -> Option<Stamp> {
        self.lock().set.first().map(|first| first.at)
    }

    /// Streams and steps whose time has come, by time, stream and step.
    fn due(&self, now: Stamp) -> Vec<(Stamp, Box<str>, u32)> {
        let mut waiting = self.lock();
        let mut due = Vec::new();
        while waiting.set.first().is_some_and(|first| first.at <= now)
            && let Some(Waits { at, seq, stream, .. }) = waiting.set.pop_first()
        {
            due.push((at, waiting.names.get(stream).into(), seq));
            waiting.names.forget(stream);
        }
        due.sort();
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
            for (_, stream, seq) in engine.timers.due(clock()) {
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
