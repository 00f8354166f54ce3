//! The machine of the models: loom's words, locks and cells, fences as weak as the platform promises, and what a machine may lack.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::atomic::AtomicU64;

use crate::doorbell::Waiting;
use crate::ring::platform::{Bell, Lock, Platform, Watch, Word};

/// Threads of a model, the one that sets it up included.
const THREADS: usize = 3;

/// What a machine lacks.
pub(super) trait Flaw: Send + Sync + Sized + 'static {
    const HAS_LIGHT: bool = true;
    const HAS_HEAVY: bool = true;
    const HAS_FENCE: bool = true;
    const HAS_ORDERS: bool = true;
}

pub(super) struct Nothing;
pub(super) struct LightFence;
pub(super) struct HeavyFence;
pub(super) struct FullFence;
pub(super) struct Orders;

impl Flaw for Nothing {}
impl Flaw for LightFence {
    const HAS_LIGHT: bool = false;
}
impl Flaw for HeavyFence {
    const HAS_HEAVY: bool = false;
}
impl Flaw for FullFence {
    const HAS_FENCE: bool = false;
}
impl Flaw for Orders {
    const HAS_ORDERS: bool = false;
}

pub(super) struct Model<F>(PhantomData<F>);

/// Two of loom's simplifications would make the models say too little or too much:
///
/// * Loom reorders a store with the last access before it only; a thread that loads a word and then stores it hides what others loaded
///   before. So the words of which this is true, those of the cursors, have a turn: a word that every access moves, that orders
///   nothing, and that loom reorders with every other turn.
/// * Loom lets a store come between a swap and what the swap read. So where two threads write, at the bells, a store is a swap.
pub(super) struct ModelWord<F> {
    value: AtomicU64,
    turn: Option<AtomicU64>,
    is_swapped: bool,
    flaw: PhantomData<F>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Ring,
    Cursor,
    Bell,
}

thread_local! {
    /// What words made now are for.
    static KIND: Cell<Kind> = const { Cell::new(Kind::Ring) };
}

/// Makes words of a kind.
pub(super) fn of_kind<R>(kind: Kind, make: impl FnOnce() -> R) -> R {
    KIND.set(kind);
    let result = make();
    KIND.set(Kind::Ring);
    result
}

impl<F> ModelWord<F> {
    fn in_turn(&self) -> &AtomicU64 {
        if let Some(turn) = &self.turn {
            turn.fetch_add(1, Ordering::Relaxed);
        }
        &self.value
    }
}

fn order<F: Flaw>(order: Ordering) -> Ordering {
    if F::HAS_ORDERS { order } else { Ordering::Relaxed }
}

thread_local! {
    /// Stores to words of cursors in this execution, and who sleeps until the next one. Loom knows nothing of either: all its threads
    /// run on one of the machine's.
    static STORES: Cell<u64> = const { Cell::new(0) };
    static SLEEPERS: RefCell<Vec<loom::thread::Thread>> = const { RefCell::new(Vec::new()) };
    /// Most that slept at the same time, in all executions of this test.
    static MOST_ASLEEP: Cell<usize> = const { Cell::new(0) };
}

pub(super) fn most_asleep() -> usize {
    MOST_ASLEEP.get()
}

loom::thread_local! {
    /// Turns for which this thread gave way to others.
    static GIVEN: Cell<u64> = Cell::new(0);
}

/// Loom lets two threads that give way do so to each other for ever. So each gives way once for each store to a cursor, after which loom
/// shows it all of them, and then sleeps until there is another store. Being woken orders more than the store would.
fn give_way() {
    if GIVEN.with(|given| given.replace(given.get() + 1)) < STORES.get() {
        return loom::thread::yield_now();
    }
    GIVEN.with(|given| given.set(STORES.get()));
    let asleep = SLEEPERS.with_borrow_mut(|sleepers| {
        sleepers.push(loom::thread::current());
        sleepers.len()
    });
    MOST_ASLEEP.set(MOST_ASLEEP.get().max(asleep));
    loom::thread::park();
}

fn wake_sleepers() {
    STORES.set(STORES.get() + 1);
    SLEEPERS.with_borrow_mut(|sleepers| sleepers.drain(..).for_each(|sleeper| sleeper.unpark()));
}

impl<F: Flaw> Word for ModelWord<F> {
    fn new(value: u64) -> Self {
        let turn = (KIND.get() == Kind::Cursor).then(|| AtomicU64::new(0));
        let is_swapped = KIND.get() == Kind::Bell;
        Self { value: AtomicU64::new(value), turn, is_swapped, flaw: PhantomData }
    }
    fn load(&self, by: Ordering) -> u64 {
        self.in_turn().load(order::<F>(by))
    }
    fn store(&self, value: u64, by: Ordering) {
        if self.is_swapped {
            self.value.swap(value, order::<F>(by));
        } else {
            self.in_turn().store(value, order::<F>(by));
        }
        if self.turn.is_some() {
            wake_sleepers();
        }
    }
    fn fetch_add(&self, value: u64, by: Ordering) -> u64 {
        self.in_turn().fetch_add(value, order::<F>(by))
    }
    fn swap(&self, value: u64, by: Ordering) -> u64 {
        self.in_turn().swap(value, order::<F>(by))
    }
}

pub(super) struct ModelLock<T>(loom::sync::Mutex<T>);

impl<T: Send> Lock<T> for ModelLock<T> {
    fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }
}

/// As [`Doorbell`](crate::Doorbell), with loom's way to sleep. Without a time limit: a lost call is a deadlock, which loom reports.
pub(super) struct ModelBell<F: Flaw> {
    waiting: Waiting<Model<F>>,
    sleep: loom::sync::Notify,
}

impl<F: Flaw> Default for ModelBell<F> {
    fn default() -> Self {
        Self { waiting: of_kind(Kind::Bell, Waiting::default), sleep: loom::sync::Notify::new() }
    }
}

impl<F: Flaw> ModelBell<F> {
    pub(super) fn wait(&self, ready: impl FnOnce() -> bool) {
        self.waiting.wait(ready, || self.sleep.wait());
    }

    /// The loop of a task.
    pub(super) fn wait_until<R>(&self, mut ready: impl FnMut() -> Option<R>) -> R {
        loop {
            match self.waiting.poll(&mut ready, || ()) {
                std::task::Poll::Ready(value) => return value,
                std::task::Poll::Pending => self.sleep.wait(),
            }
        }
    }
}

impl<F: Flaw> Bell for ModelBell<F> {
    fn ring_after_fence(&self) {
        self.waiting.ring_after_fence(|| self.sleep.notify());
    }
}

loom::lazy_static! {
    /// One word per thread, over which its light fences meet the heavy fences of all.
    static ref MEETINGS: [AtomicU64; THREADS] = [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)];
    static ref NEXT: AtomicUsize = AtomicUsize::new(0);
}

loom::thread_local! {
    static THREAD: usize = NEXT.fetch_add(1, Ordering::Relaxed);
}

impl<F: Flaw> Platform for Model<F> {
    type Word = ModelWord<F>;
    type Lock<T: Send> = ModelLock<T>;
    type Bell = ModelBell<F>;
    type Watch = ModelWatch;

    fn fence_light() {
        if F::HAS_LIGHT {
            MEETINGS[THREAD.with(|own| *own)].fetch_add(1, Ordering::AcqRel);
        }
    }
    /// As the native one: full fences around a barrier in every thread.
    fn fence_heavy() {
        if F::HAS_HEAVY {
            loom::sync::atomic::fence(Ordering::SeqCst);
            for meeting in &*MEETINGS {
                meeting.fetch_add(1, Ordering::AcqRel);
            }
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
    }
    fn fence() {
        if F::HAS_FENCE {
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
    }
    fn spin() {
        loom::thread::yield_now();
    }
    fn give_way() {
        give_way();
    }
}

/// Complains when plain memory is used by two threads without an order between them.
pub(super) struct ModelWatch(loom::cell::UnsafeCell<()>);

impl Default for ModelWatch {
    fn default() -> Self {
        Self(loom::cell::UnsafeCell::new(()))
    }
}

impl Watch for ModelWatch {
    fn on_write(&self) {
        self.0.with_mut(|_| ());
    }
    fn on_read(&self) {
        self.0.with(|_| ());
    }
}

/// Begins an execution. Called before there are threads, so that what is made here orders nothing.
pub(super) fn begin() {
    KIND.set(Kind::Ring);
    STORES.set(0);
    SLEEPERS.take();
    THREAD.with(|own| assert!(*own < MEETINGS.len()));
}
