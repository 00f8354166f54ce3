//! A dispatcher or the recorder from outside: a thread on a machine, a task in simulation.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::handler::panic_text;
use crate::World;
use crate::emergency::{escaped, isolate_thread};

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
        let own_name = name.to_owned();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ending = ending;
            // Handlers are under supervision; what panics outside them is nobody's, and no worker can be missed.
            isolate_thread();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work.run())) {
                escaped(&own_name, &panic_text(panic.as_ref()));
                resume_unwind(panic);
            }
        })?;
        worker.thread = Mutex::new(Some(thread));
        Ok(worker)
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        *self.ended.borrow()
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
