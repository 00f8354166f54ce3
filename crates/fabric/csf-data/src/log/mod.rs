//! A journal shared by any number of tasks: one writer thread that commits for all who wait, and threads that read.
//!
//! While a commit is under way the next one gathers, so that a slow disk makes large commits and not a long queue.
//! Invariant: an answer is sent after the commit that it tells of, and answers follow the order of positions.

mod readers;
mod writer;

use std::sync::Arc;
use std::thread::JoinHandle;

use csf_core::port::{Append, Appended, EventLog, Journal, JournalError, LogError, LogFuture, Page, Read, StreamHead};
use tokio::sync::{Semaphore, watch};

use readers::Readers;
use writer::{Queue, Request, run};

/// Appends that may wait for their commit; beyond that an append waits for room.
const WAITING_MAX: usize = 16_384;
/// Threads that read.
const READERS: usize = 2;

/// A journal and its threads. Dropping it commits what was accepted and ends them.
#[derive(Debug)]
pub struct SharedLog {
    queue: Arc<Queue>,
    room: Semaphore,
    position: watch::Receiver<u64>,
    readers: Readers,
    writer: Option<JoinHandle<()>>,
}

impl SharedLog {
    /// Takes the journal over.
    ///
    /// # Errors
    /// When its reader cannot be opened or a thread cannot be started.
    pub fn start(journal: Box<dyn Journal>) -> Result<Self, JournalError> {
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let readers = Readers::start((0..READERS).map(|_| journal.reader()).collect::<Result<_, _>>()?)?;
        let (told, position) = watch::channel(journal.position());
        let queue = Arc::new(Queue::default());
        let own = queue.clone();
        let writer = thread("csf-log").spawn(move || run(journal, &own, &told)).map_err(no_thread)?;
        Ok(Self { queue, room: Semaphore::new(WAITING_MAX), position, readers, writer: Some(writer) })
    }
}

fn no_thread(error: std::io::Error) -> JournalError {
    let reason = format!("no thread for it: {error}");
    JournalError::Storage { directory: std::path::PathBuf::new(), action: "opened", reason, full: false }
}

impl EventLog for SharedLog {
    fn append(&self, append: Append) -> LogFuture<'_, Appended> {
        Box::pin(async move {
            let room = self.room.acquire().await.map_err(|_| LogError::Closed)?;
            let (request, answer) = Request::new(append);
            self.queue.push(request)?;
            let answer = answer.await.map_err(|_| LogError::Closed)?;
            drop(room);
            answer
        })
    }

    fn read(&self, read: Read) -> LogFuture<'_, Page> {
        Box::pin(self.readers.ask(move |reader| reader.read(&read)))
    }

    fn head(&self, stream: &str) -> LogFuture<'_, StreamHead> {
        let stream = stream.to_owned();
        Box::pin(self.readers.ask(move |reader| reader.head(&stream)))
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

impl Drop for SharedLog {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            // It has told everybody who waits; there is nothing left to say.
            let _ = writer.join();
        }
    }
}
