//! A one-thread executor on virtual time: the simulated [`Timer`] and [`Spawn`].
//!
//! Which ready task runs next is drawn from the seed, so one seed is one interleaving. Time stands still while anything can run and
//! jumps to the next timer when nothing can. Invariant: two runs of one program from one seed poll the same tasks in the same order.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
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

/// Where a task lies between two polls.
struct Slot {
    task: Option<Task>,
    /// Made once, for every task that lies here.
    waker: Waker,
    is_ready: bool,
}

struct State {
    rng: SeededRng,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Each at most once, in the order they were woken.
    ready: Vec<usize>,
    /// Those that are not due, each with whom to wake. One that is not here is due.
    timeouts: BTreeMap<(Duration, u64), Option<Waker>>,
    next_timeout: u64,
}

struct Shared {
    state: Mutex<State>,
    /// Nanoseconds of virtual time, for those who only look at the clock. Written under the lock.
    now_ns: AtomicU64,
    /// Tasks polled, likewise.
    polls: AtomicU64,
}

impl Shared {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.now_ns.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self, task: usize) {
        if !std::mem::replace(&mut self.slots[task].is_ready, true) {
            self.ready.push(task);
        }
    }

    /// A place for a task, and its number.
    fn slot(&mut self, shared: &Arc<Shared>) -> usize {
        self.free.pop().unwrap_or_else(|| {
            let task = self.slots.len();
            let waker = Waker::from(Arc::new(TaskWaker { task, shared: Arc::downgrade(shared) }));
            self.slots.push(Slot { task: None, waker, is_ready: false });
            task
        })
    }

    fn tasks(&self) -> usize {
        self.slots.iter().filter(|slot| slot.task.is_some()).count()
    }

    fn draw(&mut self) -> Option<usize> {
        let at = match self.ready.len() {
            0 => return None,
            1 => 0,
            many => self.rng.below(many as u64) as usize,
        };
        let task = self.ready.swap_remove(at);
        self.slots[task].is_ready = false;
        Some(task)
    }
}

/// Lies in the state that it points to, hence weakly.
struct TaskWaker {
    task: usize,
    shared: Weak<Shared>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(shared) = self.shared.upgrade() {
            shared.lock().wake(self.task);
        }
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
            slots: Vec::new(),
            free: Vec::new(),
            ready: Vec::new(),
            timeouts: BTreeMap::new(),
            next_timeout: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), now_ns: AtomicU64::new(0), polls: AtomicU64::new(0) });
        let root = shared.lock().slot(&shared);
        debug_assert_eq!(root, ROOT);
        Self(shared)
    }

    /// Tasks polled so far: equal in two runs of one program from one seed.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.0.polls.load(Ordering::Relaxed)
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
        let waker = {
            let mut state = self.0.lock();
            state.wake(ROOT);
            state.slots[ROOT].waker.clone()
        };
        let cx = &mut Context::from_waker(&waker);
        loop {
            if stop() {
                return Ok(None);
            }
            let drawn = self.0.lock().draw();
            self.0.polls.fetch_add(u64::from(drawn.is_some()), Ordering::Relaxed);
            match drawn {
                Some(ROOT) => {
                    if let Poll::Ready(value) = main.as_mut().poll(cx) {
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
        self.0.lock().tasks()
    }

    /// Drops every task where it stands, as a crash of the process does.
    pub fn drop_tasks(&self) {
        // Outside the lock: a task's end may wake and spawn others, which are dropped too.
        loop {
            let tasks: Vec<Task> = self.0.lock().slots.iter_mut().filter_map(|slot| slot.task.take()).collect();
            if tasks.is_empty() {
                break;
            }
            drop(tasks);
        }
        let mut state = self.0.lock();
        state.ready.clear();
        state.slots.iter_mut().for_each(|slot| slot.is_ready = false);
        state.free = (ROOT + 1..state.slots.len()).collect();
    }

    fn poll_task(&self, index: usize) {
        // The task is taken out while it runs: it may spawn and wake.
        let (mut task, waker) = {
            let slot = &mut self.0.lock().slots[index];
            let Some(task) = slot.task.take() else { return };
            (task, slot.waker.clone())
        };
        let is_done = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if is_done {
            drop(task);
            self.0.lock().free.push(index);
            return;
        }
        self.0.lock().slots[index].task = Some(task);
    }

    /// Moves time to the next timer and wakes everything that is due then.
    fn jump(&self) -> Result<(), Stalled> {
        let mut state = self.0.lock();
        let Some((&(at, _), _)) = state.timeouts.first_key_value() else {
            return Err(Stalled { seed: state.rng.seed(), at: self.0.now(), waiting: state.tasks() + 1 });
        };
        self.0.now_ns.store(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        while let Some(timeout) = state.timeouts.first_entry().filter(|timeout| timeout.key().0 <= at) {
            let waker = timeout.remove();
            // Outside the lock: it takes it, and may hold the last handle of a task.
            drop(state);
            waker.into_iter().for_each(Waker::wake);
            state = self.0.lock();
        }
        Ok(())
    }
}

impl Timer for SimExecutor {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn sleep(&self, span: Duration) -> Sleep {
        let mut state = self.0.lock();
        let key = (self.0.now().saturating_add(span), state.next_timeout);
        state.next_timeout += 1;
        if !span.is_zero() {
            state.timeouts.insert(key, None);
        }
        Box::pin(SimSleep { key, shared: self.0.clone() })
    }
}

impl Spawn for SimExecutor {
    fn spawn(&self, task: Task) {
        let mut state = self.0.lock();
        let index = state.slot(&self.0);
        state.slots[index].task = Some(task);
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
            Some(waker) => {
                match waker {
                    Some(known) => known.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            None => Poll::Ready(()),
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
