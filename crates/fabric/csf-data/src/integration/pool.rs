//! Connections, each with a thread that sleeps while its database works.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::DataError;
use super::sql::{Database, Sql};

type Work = Box<dyn FnOnce(&mut dyn Database) + Send>;

/// A pool of connections. Dropping it ends them after the work that was accepted.
#[derive(Debug)]
pub(super) struct Pool {
    work: Mutex<Option<Sender<Work>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    /// This many connections, at least one.
    pub(super) fn start(database: Box<dyn Database>, connections: usize) -> Result<Self, DataError> {
        let (work, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut databases = vec![database];
        for _ in 1..connections {
            let more = databases[0].again()?;
            databases.push(more);
        }
        let mut threads = Vec::new();
        for database in databases {
            let receiver = receiver.clone();
            let thread = std::thread::Builder::new().name("csf-database".into());
            let spawned = thread.spawn(move || run(database, &receiver));
            threads.push(spawned.map_err(|e| DataError::Store {
                place: "connections".to_owned(),
                action: "opened",
                reason: format!("no thread for one: {e}"),
            })?);
        }
        Ok(Self { work: Mutex::new(Some(work)), threads: Mutex::new(threads) })
    }

    /// Runs `work` in a transaction on the next connection that is free. Dropped, it may still be done.
    pub(super) fn transact<T, E, W>(&self, work: W) -> impl Future<Output = Result<T, E>> + Send + use<T, E, W>
    where
        T: Send + 'static,
        E: From<DataError> + Send + 'static,
        W: FnOnce(&mut dyn Sql) -> Result<T, E> + Send + 'static,
    {
        let (answer, receiver) = oneshot::channel();
        let work: Work = Box::new(move |database| {
            // Who asked may have gone away.
            let _ = answer.send(within(database, work));
        });
        let sent = match &*self.work.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(sender) => sender.send(work).is_ok(),
            None => false,
        };
        async move {
            if !sent {
                return Err(DataError::Closed.into());
            }
            receiver.await.map_err(|_| DataError::Closed)?
        }
    }

    /// Whether every connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        let has_ended = |thread: &JoinHandle<()>| thread.is_finished();
        self.work.lock().unwrap_or_else(PoisonError::into_inner).is_none()
            && self.threads.lock().unwrap_or_else(PoisonError::into_inner).iter().all(has_ended)
    }

    /// Ends every connection; back when all have ended. Nothing is accepted after that.
    pub(super) fn close(&self) {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread that panicked has ended too.
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

/// Runs `work` in a transaction, with its own kind of error. What panics is rolled back.
fn within<T, E: From<DataError>>(
    database: &mut dyn Database,
    work: impl FnOnce(&mut dyn Sql) -> Result<T, E>,
) -> Result<T, E> {
    let (mut work, mut outcome) = (Some(work), None);
    let done = database.transact(&mut |sql| {
        let Some(work) = work.take() else { return Err(DataError::Closed) };
        let ran = catch_unwind(AssertUnwindSafe(|| work(sql)));
        let ran = ran.unwrap_or_else(|panic| Err(DataError::Panicked { reason: words(&*panic) }.into()));
        let is_done = ran.is_ok();
        outcome = Some(ran);
        // Anything that is no success rolls back; what it was is in `outcome`.
        if is_done { Ok(()) } else { Err(DataError::Closed) }
    });
    match (outcome, done) {
        (Some(Err(own)), _) => Err(own),
        (Some(Ok(value)), Ok(())) => Ok(value),
        (_, Err(error)) => Err(error.into()),
        (None, Ok(())) => Err(DataError::Closed.into()),
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}

fn run(mut database: Box<dyn Database>, work: &Mutex<Receiver<Work>>) {
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(work) => work(&mut *database),
            Err(_) => return,
        }
    }
}
