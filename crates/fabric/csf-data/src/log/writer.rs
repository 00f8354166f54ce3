//! The thread that commits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use csf_core::port::{Append, Appended, Batch, Journal, LogError};
use tokio::sync::{oneshot, watch};

/// Bytes of events in a commit: more wait for the next one.
const COMMIT_BYTES_MAX: usize = 4 << 20;
/// Appends in a commit.
const COMMIT_APPENDS_MAX: usize = 4096;

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

    /// Those that wait, at least one; nothing when the queue is closed and empty.
    fn take(&self) -> Vec<Request> {
        let mut waiting = self.lock();
        while waiting.requests.is_empty() && !waiting.is_closed {
            waiting = self.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
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

/// Commits until the queue is closed and empty.
pub(super) fn run(mut journal: Box<dyn Journal>, queue: &Arc<Queue>, position: &watch::Sender<u64>) {
    loop {
        let requests = queue.take();
        if requests.is_empty() {
            return;
        }
        let (appends, answers): (Vec<_>, Vec<_>) = requests.into_iter().map(|r| (r.append, r.answer)).unzip();
        let batch = Batch { appends, ..Batch::default() };
        match journal.append(&batch) {
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
