//! The simulated shared log: a task that commits after a while that the seed draws, for all who wait.
//!
//! A commit is slow before it is written or after it, so that a crash finds it undone, or done and told to nobody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::port::{
    Append, Appended, Batch, EventLog, Journal, JournalReader, LogError, LogFuture, Page, Read, Rng, Spawn, StreamHead,
    Timer,
};
use tokio::sync::{Notify, oneshot, watch};

use crate::{SeededRng, SimExecutor};

/// Longest time a commit takes.
const COMMIT_US_MAX: u64 = 5_000;

type Answer = oneshot::Sender<Result<Appended, LogError>>;

/// A journal in a simulated world, shared. Its committer lives as long as the world's tasks do.
pub struct SimLog {
    queue: Arc<Queue>,
    reader: Mutex<Box<dyn JournalReader>>,
    position: watch::Receiver<u64>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Vec<(Append, Answer)>>,
    news: Notify,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Vec<(Append, Answer)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SimLog {
    /// Takes the journal over. How long its commits take is drawn from `seed`.
    ///
    /// # Panics
    /// When the journal cannot be read.
    #[must_use]
    pub fn start(world: &SimExecutor, mut journal: Box<dyn Journal>, seed: u64) -> Arc<Self> {
        let reader = Mutex::new(journal.reader().expect("a simulated journal is read"));
        let (told, position) = watch::channel(journal.position());
        let queue = Arc::new(Queue::default());
        let (own, timer) = (queue.clone(), world.clone());
        let mut rng = SeededRng::new(seed);
        world.spawn(Box::pin(async move {
            loop {
                own.news.notified().await;
                let (before, after) = (rng.below(COMMIT_US_MAX), rng.next_u64() % COMMIT_US_MAX);
                timer.sleep(Duration::from_micros(before)).await;
                let waiting = std::mem::take(&mut *own.lock());
                let (appends, answers): (Vec<Append>, Vec<Answer>) = waiting.into_iter().unzip();
                let committed = journal.append(&Batch { appends, ..Batch::default() });
                timer.sleep(Duration::from_micros(after)).await;
                match committed {
                    Ok(receipt) => {
                        told.send_replace(receipt.position);
                        answers.into_iter().zip(receipt.appends).for_each(|(answer, outcome)| {
                            // Who asked may have gone away.
                            let _ = answer.send(outcome.map_err(LogError::from));
                        });
                    }
                    Err(error) => {
                        let error = LogError::from(error);
                        answers.into_iter().for_each(|answer| _ = answer.send(Err(error.clone())));
                    }
                }
            }
        }));
        Arc::new(Self { queue, reader, position })
    }

    fn reader(&self) -> MutexGuard<'_, Box<dyn JournalReader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventLog for SimLog {
    fn append(&self, append: Append) -> LogFuture<'_, Appended> {
        let (answer, receiver) = oneshot::channel();
        Box::pin(async move {
            self.queue.lock().push((append, answer));
            self.queue.news.notify_one();
            receiver.await.map_err(|_| LogError::Closed)?
        })
    }

    fn read(&self, read: Read) -> LogFuture<'_, Page> {
        Box::pin(async move { Ok(self.reader().read(&read)?) })
    }

    fn head(&self, stream: &str) -> LogFuture<'_, StreamHead> {
        let stream = stream.to_owned();
        Box::pin(async move { Ok(self.reader().head(&stream)?) })
    }

    fn position(&self) -> u64 {
        *self.position.borrow()
    }

    fn beyond(&self, position: u64) -> LogFuture<'_, u64> {
        let mut newest = self.position.clone();
        Box::pin(async move {
            let newest = newest.wait_for(|newest| *newest > position).await;
            newest.map(|newest| *newest).map_err(|_| LogError::Closed)
        })
    }
}

impl std::fmt::Debug for SimLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimLog").field("position", &*self.position.borrow()).finish_non_exhaustive()
    }
}
