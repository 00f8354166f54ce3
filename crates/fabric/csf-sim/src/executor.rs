//! A one-thread executor on virtual time: the simulated [`Timer`] and [`Spawn`].
//!
//! Which ready task runs next is drawn from the seed, so one seed is one interleaving. Time stands still while anything can run and
//! jumps to the next timer when nothing can. Invariant: two runs of one program from one seed poll the same tasks in the same order.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use csf_core::port::{Sleep, Spawn, Task, Timer};

use crate::SeededRng;

/// The task that [`SimExecutor::block_on`] was called with.
const ROOT: usize = 0;

/// Nothing can run and nothing is waited for: the program waits for itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Stalled {
    /// The seed that repeats it.
    pub seed: u64,
    /// Virtual time of the stall.
    pub at: Duration,
    /// Tasks that wait for ever, the main one among them.
    pub waiting: usize,
}

impl std::fmt::Display for Stalled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, at, waiting } = self;
        write!(f, "seed {seed}: {waiting} tasks wait for each other at {at:?} of virtual time; no timer is set")
    }
}

impl std::error::Error for Stalled {}

struct Timeout {
    waker: Option<Waker>,
    is_due: bool,
}

struct State {
    rng: SeededRng,
    now: Duration,
    polls: u64,
    tasks: Vec<Option<Task>>,
    free: Vec<usize>,
    /// Each at most once, in the order they were woken.
    ready: Vec<usize>,
    is_ready: Vec<bool>,
    timeouts: BTreeMap<(Duration, u64), Timeout>,
    next_timeout: u64,
}

struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self, task: usize) {
        if !self.is_ready[task] {
            self.is_ready[task] = true;
            self.ready.push(task);
        }
    }

    fn draw(&mut self) -> Option<usize> {
        if self.ready.is_empty() {
            return None;
        }
        let at = self.rng.below(self.ready.len() as u64) as usize;
        let task = self.ready.swap_remove(at);
        self.is_ready[task] = false;
        self.polls += 1;
        Some(task)
    }
}

struct TaskWaker {
    task: usize,
    shared: Arc<Shared>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.shared.lock().wake(self.task);
    }
}

/// The executor, its virtual clock and its seed. Clones are the same world.
#[derive(Clone)]
pub struct SimExecutor(Arc<Shared>);

impl SimExecutor {
    /// A world of `seed` at virtual time zero.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            rng: SeededRng::new(seed),
            now: Duration::ZERO,
            polls: 0,
            tasks: vec![None],
            free: Vec::new(),
            ready: Vec::new(),
            is_ready: vec![false],
            timeouts: BTreeMap::new(),
            next_timeout: 0,
        };
        Self(Arc::new(Shared(Mutex::new(state))))
    }

    /// Tasks polled so far: equal in two runs of one program from one seed.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.0.lock().polls
    }

    /// Runs `main` to its end, and every spawned task as far as it gets until then. Tasks that are left go on with the next call.
    ///
    /// # Errors
    /// [`Stalled`] when nothing can run any more and `main` has not ended.
    pub fn block_on<T>(&self, main: impl Future<Output = T>) -> Result<T, Stalled> {
        match self.block_on_until(main, || false)? {
            Some(value) => Ok(value),
            None => unreachable!("nothing asks it to stop"),
        }
    }

    /// As [`SimExecutor::block_on`], but asks `stop` between any two polls, and leaves everything where it is when that says so: a crash.
    ///
    /// # Errors
    /// As [`SimExecutor::block_on`].
    pub fn block_on_until<T>(
        &self,
        main: impl Future<Output = T>,
        mut stop: impl FnMut() -> bool,
    ) -> Result<Option<T>, Stalled> {
        let mut main = std::pin::pin!(main);
        self.0.lock().wake(ROOT);
        loop {
            if stop() {
                return Ok(None);
            }
            let drawn = self.0.lock().draw();
            match drawn {
                Some(ROOT) => {
                    let waker = self.waker(ROOT);
                    if let Poll::Ready(value) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                        return Ok(Some(value));
                    }
                }
                Some(task) => self.poll_task(task),
                None => self.jump()?,
            }
        }
    }

    /// Tasks that were spawned and have not ended.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.0.lock().tasks.iter().flatten().count()
    }

    /// Drops every task where it stands, as a crash of the process does.
    pub fn drop_tasks(&self) {
        // Outside the lock: a task's end may wake and spawn others, which are dropped too.
        loop {
            let tasks: Vec<Task> = self.0.lock().tasks.iter_mut().filter_map(Option::take).collect();
            if tasks.is_empty() {
                break;
            }
            drop(tasks);
        }
        let mut state = self.0.lock();
        state.ready.clear();
        state.is_ready.fill(false);
        state.free = (1..state.tasks.len()).collect();
    }

    fn waker(&self, task: usize) -> Waker {
        Waker::from(Arc::new(TaskWaker { task, shared: self.0.clone() }))
    }

    fn poll_task(&self, index: usize) {
        // The task is taken out while it runs: it may spawn and wake.
        let Some(mut task) = self.0.lock().tasks[index].take() else { return };
        let waker = self.waker(index);
        let is_done = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if is_done {
            drop(task);
            self.0.lock().free.push(index);
            return;
        }
        self.0.lock().tasks[index] = Some(task);
    }

    /// Moves time to the next timer and wakes everything that is due then.
    fn jump(&self) -> Result<(), Stalled> {
        let mut state = self.0.lock();
        let Some((&(at, _), _)) = state.timeouts.iter().find(|(_, t)| !t.is_due) else {
            let waiting = state.tasks.iter().flatten().count() + 1;
            return Err(Stalled { seed: state.rng.seed(), at: state.now, waiting });
        };
        state.now = at;
        let mut due = Vec::new();
        for (_, timeout) in state.timeouts.range_mut(..=(at, u64::MAX)) {
            timeout.is_due = true;
            due.extend(timeout.waker.take());
        }
        drop(state);
        due.into_iter().for_each(Waker::wake);
        Ok(())
    }
}

impl Timer for SimExecutor {
    fn now(&self) -> Duration {
        self.0.lock().now
    }

    fn sleep(&self, span: Duration) -> Sleep {
        let mut state = self.0.lock();
        let key = (state.now.saturating_add(span), state.next_timeout);
        state.next_timeout += 1;
        state.timeouts.insert(key, Timeout { waker: None, is_due: span.is_zero() });
        Box::pin(SimSleep { key, shared: self.0.clone() })
    }
}

impl Spawn for SimExecutor {
    fn spawn(&self, task: Task) {
        let mut state = self.0.lock();
        let index = state.free.pop().unwrap_or_else(|| {
            state.tasks.push(None);
            state.is_ready.push(false);
            state.tasks.len() - 1
        });
        state.tasks[index] = Some(task);
        state.wake(index);
    }
}

struct SimSleep {
    key: (Duration, u64),
    shared: Arc<Shared>,
}

impl Future for SimSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.shared.lock();
        match state.timeouts.get_mut(&self.key) {
            Some(timeout) if !timeout.is_due => {
                timeout.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for SimSleep {
    fn drop(&mut self) {
        let forgotten = self.shared.lock().timeouts.remove(&self.key);
        // Outside the lock: a waker may hold the last handle of a task.
        drop(forgotten);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use csf_core::port::within;

    use super::*;

    /// Lets others run once.
    async fn step_back() {
        let mut has_yielded = false;
        poll_fn(|cx| {
            if has_yielded {
                return Poll::Ready(());
            }
            has_yielded = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Who ran when, of three tasks that step back ten times.
    fn trace(seed: u64) -> Vec<u8> {
        let world = SimExecutor::new(seed);
        let seen = Arc::new(Mutex::new(Vec::new()));
        for name in 0..3u8 {
            let seen = seen.clone();
            world.spawn(Box::pin(async move {
                for _ in 0..10 {
                    seen.lock().unwrap().push(name);
                    step_back().await;
                }
            }));
        }
        world.block_on(world.sleep(Duration::from_secs(1))).unwrap();
        seen.lock().unwrap().clone()
    }

    #[test]
    fn one_seed_is_one_interleaving() {
        assert_eq!(trace(3), trace(3));
        assert_eq!(trace(3).len(), 30);
        let different = (0..10).filter(|&seed| trace(seed) != trace(seed + 1)).count();
        assert!(different >= 9, "{different} of 10 seeds differ from their neighbour");
    }

    #[test]
    fn time_stands_still_while_work_is_ready_and_jumps_when_none_is() {
        let world = SimExecutor::new(1);
        let day = Duration::from_secs(86_400);
        world
            .block_on(async {
                for _ in 0..1_000 {
                    step_back().await;
                }
                assert_eq!(world.now(), Duration::ZERO);
                world.sleep(day).await;
            })
            .unwrap();
        assert_eq!(world.now(), day);
    }

    #[test]
    fn a_limit_ends_a_wait_and_leaves_no_timer() {
        let world = SimExecutor::new(1);
        let second = Duration::from_secs(1);
        let late = world.block_on(within(&world, second, world.sleep(2 * second))).unwrap();
        assert_eq!((late, world.now()), (None, second));
        let in_time = world.block_on(within(&world, second, async { 7 })).unwrap();
        assert_eq!((in_time, world.now()), (Some(7), second));
        assert!(world.0.lock().timeouts.is_empty());
    }

    #[test]
    fn a_program_that_waits_for_itself_is_named() {
        let world = SimExecutor::new(9);
        world.spawn(Box::pin(std::future::pending()));
        let stalled = world.block_on(std::future::pending::<()>()).unwrap_err();
        assert_eq!(stalled, Stalled { seed: 9, at: Duration::ZERO, waiting: 2 });
        assert!(stalled.to_string().contains("seed 9"));
    }
}
