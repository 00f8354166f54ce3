//! Threads that read, so that no task waits for a disk.

use std::future::Future;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use csf_core::port::{JournalError, JournalReader, LogError};
use tokio::sync::oneshot;

use super::no_thread;

type Question = Box<dyn FnOnce(&mut dyn JournalReader) + Send>;

/// The threads; they end when this is dropped and every question is answered.
#[derive(Debug)]
pub(super) struct Readers {
    questions: Sender<Question>,
}

impl Readers {
    /// One thread per reader.
    pub(super) fn start(readers: Vec<Box<dyn JournalReader>>) -> Result<Self, JournalError> {
        let (questions, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for reader in readers {
            let receiver = receiver.clone();
            let thread = std::thread::Builder::new().name("csf-log-read".into());
            thread.spawn(move || run(reader, &receiver)).map_err(no_thread)?;
        }
        Ok(Self { questions })
    }

    /// Asks the next reader that is free.
    pub(super) fn ask<T, A>(&self, ask: A) -> impl Future<Output = Result<T, LogError>> + Send + use<T, A>
    where
        T: Send + 'static,
        A: FnOnce(&mut dyn JournalReader) -> Result<T, JournalError> + Send + 'static,
    {
        let (answer, receiver) = oneshot::channel();
        let question: Question = Box::new(move |reader| {
            // Who asked may have gone away.
            let _ = answer.send(ask(reader).map_err(LogError::from));
        });
        let sent = self.questions.send(question);
        async move {
            sent.map_err(|_| LogError::Closed)?;
            receiver.await.map_err(|_| LogError::Closed)?
        }
    }
}

fn run(mut reader: Box<dyn JournalReader>, questions: &Mutex<Receiver<Question>>) {
    loop {
        let question = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match question {
            Ok(question) => question(&mut *reader),
            Err(_) => return,
        }
    }
}
