//! Clients that publish without a pause, each packet with a number of its own, and retry each until it is acknowledged.
//!
//! Invariant: every id that a node said is durable is in the ledger, with the number that was sent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{Client, Refused};
use super::node::Target;
use super::{now, pause};

/// How long a client waits for one answer.
const ANSWER: Duration = Duration::from_millis(400);
/// Pause before a retry.
const AGAIN: Duration = Duration::from_millis(10);

/// Running clients; stopped when dropped.
pub(super) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    target: RwLock<Target>,
    stop: AtomicBool,
    reconnects: AtomicBool,
    next: AtomicU64,
    ledger: Mutex<Ledger>,
    acknowledged: Condvar,
}

/// What clients have seen.
#[derive(Default)]
pub(super) struct Ledger {
    /// Acknowledged ids with the number that was sent.
    pub(super) acknowledged: BTreeMap<String, u64>,
    /// Other answers, by [`Refused::kind`](super::client::Refused::kind).
    pub(super) refused: BTreeMap<String, u64>,
    /// Acknowledged requests' times, µs.
    latencies_us: Vec<u64>,
    mark: Option<Instant>,
    /// When each client was first acknowledged after the mark.
    since_mark: Vec<Option<Instant>>,
}

impl Ledger {
    /// Median and 99th percentile of acknowledged requests, milliseconds.
    pub(super) fn latency_ms(&mut self) -> (f64, f64) {
        self.latencies_us.sort_unstable();
        let at = |share: usize| {
            let index = self.latencies_us.len() * share / 100;
            self.latencies_us.get(index).map_or(0.0, |us| *us as f64 / 1e3)
        };
        (at(50), at(99))
    }
}

impl Load {
    /// Starts `clients` clients, which number their packets from `from`; each calls `enter` first, from its own thread.
    pub(super) fn start(
        clients: usize,
        target: Target,
        from: u64,
        enter: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let ledger = Ledger { since_mark: vec![None; clients], ..Ledger::default() };
        let shared = Arc::new(Shared {
            target: RwLock::new(target),
            stop: AtomicBool::new(false),
            reconnects: AtomicBool::new(false),
            next: AtomicU64::new(from),
            ledger: Mutex::new(ledger),
            acknowledged: Condvar::new(),
        });
        let enter = Arc::new(enter);
        let threads = (0..clients)
            .map(|number| {
                let (shared, enter) = (shared.clone(), enter.clone());
                std::thread::spawn(move || match enter() {
                    Ok(()) => shared.publish(number),
                    // Seen by everyone: such a client is never served.
                    Err(reason) => eprintln!("client {number}: {reason}"),
                })
            })
            .collect();
        Self { shared, threads }
    }

    /// A number for a packet that somebody else sends.
    pub(super) fn number(&self) -> u64 {
        self.shared.next.fetch_add(1, Ordering::Relaxed)
    }

    /// From now on clients go there.
    pub(super) fn retarget(&self, target: Target) {
        *self.shared.target.write().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Whether each request opens a connection of its own.
    pub(super) fn reconnect_each_time(&self, is_on: bool) {
        self.shared.reconnects.store(is_on, Ordering::Relaxed);
    }

    /// Acknowledged so far.
    pub(super) fn acknowledged(&self) -> usize {
        self.shared.ledger().acknowledged.len()
    }

    /// Answers of this kind so far.
    pub(super) fn refused(&self, kind: &str) -> u64 {
        self.shared.ledger().refused.get(kind).copied().unwrap_or(0)
    }

    /// From `since` until each client was acknowledged; `None` when that did not happen in time.
    pub(super) fn all_served(&self, since: Instant, limit: Duration) -> Option<Duration> {
        let mut ledger = self.shared.ledger();
        ledger.mark = Some(since);
        ledger.since_mark.fill(None);
        let waits = |ledger: &mut Ledger| ledger.since_mark.contains(&None);
        let (ledger, timeout) =
            self.shared.acknowledged.wait_timeout_while(ledger, limit, waits).unwrap_or_else(PoisonError::into_inner);
        let last = ledger.since_mark.iter().flatten().max();
        if timeout.timed_out() { None } else { Some(last?.saturating_duration_since(since)) }
    }

    /// From `since` until any client was acknowledged.
    pub(super) fn any_served(&self, since: Instant, limit: Duration) -> Option<Duration> {
        let mut ledger = self.shared.ledger();
        ledger.mark = Some(since);
        ledger.since_mark.fill(None);
        let waits = |ledger: &mut Ledger| ledger.since_mark.iter().all(Option::is_none);
        let (ledger, _) =
            self.shared.acknowledged.wait_timeout_while(ledger, limit, waits).unwrap_or_else(PoisonError::into_inner);
        ledger.since_mark.iter().flatten().min().map(|first| first.saturating_duration_since(since))
    }

    /// Ends all clients after their current request and returns what they saw, and the first number that was not sent.
    pub(super) fn end(mut self) -> (Ledger, u64) {
        self.join();
        let ledger = std::mem::take(&mut *self.shared.ledger());
        (ledger, self.shared.next.load(Ordering::Relaxed))
    }

    fn join(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Its panic is printed already, and what it saw is in the ledger.
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.join();
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, client: usize) {
        let mut connection = Client::new(ANSWER);
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            while !self.stop.load(Ordering::Relaxed) {
                let target = self.target.read().unwrap_or_else(PoisonError::into_inner).clone();
                let start = now();
                let answer = connection.publish(&target, number);
                // An answer, whatever it says, leaves the connection good.
                let is_broken = matches!(answer, Err(Refused::Transport(_)));
                if is_broken || self.reconnects.load(Ordering::Relaxed) {
                    connection.reconnect();
                }
                match answer {
                    Ok(receipt) => {
                        self.note(client, receipt.id, number, start);
                        break;
                    }
                    Err(refused) => *self.ledger().refused.entry(refused.kind()).or_default() += 1,
                }
                pause(AGAIN);
            }
        }
    }

    fn note(&self, client: usize, id: String, number: u64, start: Instant) {
        let end = now();
        let mut ledger = self.ledger();
        ledger.acknowledged.insert(id, number);
        ledger.latencies_us.push(u64::try_from((end - start).as_micros()).unwrap_or(u64::MAX));
        // Only what was sent after the mark shows that the node serves again.
        let counts = ledger.mark.is_some_and(|mark| end >= mark);
        if counts && ledger.since_mark[client].is_none() {
            ledger.since_mark[client] = Some(end);
            self.acknowledged.notify_all();
        }
    }
}
