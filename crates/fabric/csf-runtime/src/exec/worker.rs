//! A dispatcher or the recorder from outside: a thread on a machine, a task in simulation.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::World;

/// A running worker, and whether it has ended.
pub(super) struct Worker {
    name: String,
    ended: watch::Receiver<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What a worker does: all of it on a thread, or step by step in a task.
pub(super) trait Work: Send + 'static {
    /// Until it is told to stop.
    fn run(self);
    /// The same, in a world without threads.
    fn run_as_task(self, world: World) -> impl Future<Output = ()> + Send;
}

/// Tells the end, also after a panic.
struct Ending(watch::Sender<bool>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

impl Worker {
    pub(super) fn start(name: &str, work: impl Work, world: &World) -> std::io::Result<Self> {
        let (sender, ended) = watch::channel(false);
        let ending = Ending(sender);
        let mut worker = Self { name: name.to_owned(), ended, thread: Mutex::default() };
        if world.is_simulated() {
            let inside = world.clone();
            world.spawn.spawn(Box::pin(async move {
                let _ending = ending;
                work.run_as_task(inside).await;
            }));
            return Ok(worker);
        }
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ending = ending;
            work.run();
        })?;
        worker.thread = Mutex::new(Some(thread));
        Ok(worker)
    }

    /// Waits for the end. Cancel safe.
    pub(super) async fn ended(&self) {
        // The sender's end is the worker's end too.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(worker = self.name, "a worker panicked outside a handler");
        }
    }
}

/// Lets other tasks run first.
pub(crate) async fn step_back() {
    let mut is_second = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut is_second, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
