//! The thread that commits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use csf_core::port::{Append, Appended, Batch, Journal, LogError};
use tokio::sync::{oneshot, watch};

/// Bytes of events in a commit: more wait for the next one.
const COMMIT_BYTES_MAX: usize = 4 << 20;
/// Appends in a commit.
const COMMIT_APPENDS_MAX: usize = 4096;

/// Longest wait for company.
const PATIENCE_MAX: Duration = Duration::from_millis(2);

/// What somebody wants appended.
#[derive(Debug)]
pub(super) struct Request {
    append: Append,
    answer: oneshot::Sender<Result<Appended, LogError>>,
}

impl Request {
    pub(super) fn new(append: Append) -> (Self, oneshot::Receiver<Result<Appended, LogError>>) {
        let (answer, receiver) = oneshot::channel();
        (Self { append, answer }, receiver)
    }

    fn bytes(&self) -> usize {
        self.append.events.iter().map(|event| event.data.as_str().len()).sum()
    }
}

/// Who waits for a commit.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: Vec<Request>,
    is_closed: bool,
}

impl Queue {
    pub(super) fn push(&self, request: Request) -> Result<(), LogError> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return Err(LogError::Closed);
        }
        waiting.requests.push(request);
        drop(waiting);
        self.news.notify_one();
        Ok(())
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.news.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that wait, at least one; nothing when the queue is closed and empty. Waits up to `patience` for as many as `company`.
    fn take(&self, company: usize, patience: Duration) -> Vec<Request> {
        let mut waiting = self.lock();
        while waiting.requests.is_empty() && !waiting.is_closed {
            waiting = self.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.requests.len() < company && !waiting.is_closed {
            let wants = |waiting: &mut Waiting| waiting.requests.len() < company && !waiting.is_closed;
            let gathered = self.news.wait_timeout_while(waiting, patience, wants);
            (waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0;
        let fits = |request: &&Request| {
            bytes += request.bytes();
            bytes <= COMMIT_BYTES_MAX
        };
        let fitting = waiting.requests.iter().take(COMMIT_APPENDS_MAX).take_while(fits).count();
        let rest = waiting.requests.len().min(fitting.max(1));
        let rest = waiting.requests.split_off(rest);
        std::mem::replace(&mut waiting.requests, rest)
    }
}

/// How long the next commit waits for company. Those who were answered together ask again together: a commit that begins with the first of
/// them leaves the others waiting for a whole one more.
#[derive(Debug, Default)]
struct Pace {
    company: usize,
    patience: Duration,
}

impl Pace {
    /// A commit of so many appends took so long.
    fn note(&mut self, appends: usize, took: Duration) {
        // Most of them; one that does not come back costs a part of a commit once.
        self.company = appends - appends / 8;
        self.patience = if appends > 1 { (took / 4).min(PATIENCE_MAX) } else { Duration::ZERO };
    }
}

/// Commits until the queue is closed and empty.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own, which paces itself by how long the disk takes; nothing is decided by it"
)]
pub(super) fn run(mut journal: Box<dyn Journal>, queue: &Arc<Queue>, position: &watch::Sender<u64>) {
    let mut pace = Pace::default();
    loop {
        let requests = queue.take(pace.company, pace.patience);
        if requests.is_empty() {
            return;
        }
        let (appends, answers): (Vec<_>, Vec<_>) = requests.into_iter().map(|r| (r.append, r.answer)).unzip();
        let batch = Batch { appends, ..Batch::default() };
        let began = Instant::now();
        let committed = journal.append(&batch);
        pace.note(batch.appends.len(), began.elapsed());
        match committed {
            Ok(receipt) => {
                position.send_replace(receipt.position);
                for (answer, outcome) in answers.into_iter().zip(receipt.appends) {
                    // Who asked may have gone away.
                    let _ = answer.send(outcome.map_err(LogError::from));
                }
            }
            Err(error) => {
                let error = LogError::from(error);
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }
}
