//! Waiting and concurrency as ports: async code that reaches the world only through [`Timer`] and [`Spawn`] runs alike on a machine and
//! in simulation, where time is virtual and one seed decides who runs next.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

/// A wait that ends by itself. Dropping it forgets it.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something that runs on its own once it is spawned.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A monotonic clock one can wait on.
pub trait Timer: Send + Sync {
    /// Time since an origin of the timer's own. Never goes backwards.
    fn now(&self) -> Duration;

    /// Waits at least `span`. The wait counts from this call, not from the first poll.
    fn sleep(&self, span: Duration) -> Sleep;
}

/// Runs tasks beside the caller.
pub trait Spawn: Send + Sync {
    /// Starts `task`. It runs to its end unless its executor ends first, which drops it.
    fn spawn(&self, task: Task);
}

/// Runs `work` for at most `limit`; `None` when it did not end in time, and then it is dropped. Work that is ready at the limit wins.
/// Cancel safe where `work` is.
pub async fn within<T>(timer: &dyn Timer, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut sleep = timer.sleep(limit);
    poll_fn(|cx| {
        if let Poll::Ready(value) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        sleep.as_mut().poll(cx).map(|()| None)
    })
    .await
}
