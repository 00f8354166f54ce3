//! The protocols of the ring and of its bells on a machine that reorders: the very code over loom's words, in every interleaving of up
//! to [`preemptions`] preemptions and with every stale value that the C++ memory model lets a load return.
//!
//! * A slot is watched by a cell that complains when it is read while it is written, or without the write happening before the read.
//! * The fences are as weak as the platform promises: a light fence orders against heavy fences only, never against another light one.
//! * Every claim is made again on machines that lack something, and has to fail there: a claim that holds on any machine shows nothing.
//!   What a machine lacks, `Flaw` says.
//!
//! With the environment variable `CSF_MODEL_PREEMPTIONS=3` the models look further and take minutes instead of seconds.

mod attaching;
mod keeping;
mod reading;
mod sleeping;
mod unfencing;

use std::alloc::Layout;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use csf_core::{Attributes, Stamp};
use loom::sync::atomic::AtomicU64;

use super::memory::Memory;
use super::platform::{Bell, Lock, Platform, Watch, Word};
use super::slot::SlotHeader;
use super::{DropGlue, FENCED, FENCED_MASK, Policy, Reader, Ring, Start, Wants, Writer};
use crate::doorbell::Waiting;

/// By loom's documentation most faults need two or three.
fn preemptions() -> usize {
    std::env::var("CSF_MODEL_PREEMPTIONS").map_or(2, |n| n.parse().expect("CSF_MODEL_PREEMPTIONS is a number"))
}

/// Threads of a model, the one that sets it up included.
const THREADS: usize = 3;

/// What a machine lacks.
trait Flaw: Send + Sync + Sized + 'static {
    const HAS_LIGHT: bool = true;
    const HAS_HEAVY: bool = true;
    const HAS_FENCE: bool = true;
    const HAS_ORDERS: bool = true;
}

struct Nothing;
struct LightFence;
struct HeavyFence;
struct FullFence;
struct Orders;

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

struct Model<F>(PhantomData<F>);

/// Two of loom's simplifications would make the models say too little or too much:
///
/// * Loom reorders a store with the last access before it only; a thread that loads a word and then stores it hides what others loaded
///   before. So the words of which this is true, those of the cursors, have a turn: a word that every access moves, that orders
///   nothing, and that loom reorders with every other turn.
/// * Loom lets a store come between a swap and what the swap read. So where two threads write, at the bells, a store is a swap.
struct ModelWord<F> {
    value: AtomicU64,
    turn: Option<AtomicU64>,
    is_swapped: bool,
    flaw: PhantomData<F>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ring,
    Cursor,
    Bell,
}

thread_local! {
    /// What words made now are for.
    static KIND: Cell<Kind> = const { Cell::new(Kind::Ring) };
}

/// Makes words of a kind.
fn of_kind<R>(kind: Kind, make: impl FnOnce() -> R) -> R {
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

fn most_asleep() -> usize {
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

struct ModelLock<T>(loom::sync::Mutex<T>);

impl<T: Send> Lock<T> for ModelLock<T> {
    fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }
}

/// As [`Doorbell`](crate::Doorbell), with loom's way to sleep. Without a time limit: a lost call is a deadlock, which loom reports.
struct ModelBell<F: Flaw> {
    waiting: Waiting<Model<F>>,
    sleep: loom::sync::Notify,
}

impl<F: Flaw> Default for ModelBell<F> {
    fn default() -> Self {
        Self { waiting: of_kind(Kind::Bell, Waiting::default), sleep: loom::sync::Notify::new() }
    }
}

impl<F: Flaw> ModelBell<F> {
    fn wait(&self, ready: impl FnOnce() -> bool) {
        self.waiting.wait(ready, || self.sleep.wait());
    }

    /// The loop of a task.
    fn wait_until<R>(&self, mut ready: impl FnMut() -> Option<R>) -> R {
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
struct ModelWatch(loom::cell::UnsafeCell<()>);

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

/// A slot whose payload is its packet's sequence.
struct Slot<F> {
    commit: ModelWord<F>,
    watch: ModelWatch,
    header: UnsafeCell<SlotHeader>,
    payload: UnsafeCell<u64>,
}

struct Slots<F>(Vec<Slot<F>>);

impl<F: Flaw> Slots<F> {
    fn new(capacity: usize) -> Self {
        let slot = |_| Slot {
            commit: Word::new(0),
            watch: ModelWatch::default(),
            header: UnsafeCell::default(),
            payload: UnsafeCell::default(),
        };
        Self((0..capacity).map(slot).collect())
    }
}

// SAFETY: loom runs one thread at a time and switches at its own words only, so plain memory is never touched at once; that the
// protocol would keep threads apart without this is what `watch` checks.
unsafe impl<F: Flaw> Send for Slots<F> {}
// SAFETY: as above.
unsafe impl<F: Flaw> Sync for Slots<F> {}

// SAFETY: every slot has its own fields, and the vector never changes.
unsafe impl<F: Flaw> Memory for Slots<F> {
    type Platform = Model<F>;

    fn capacity(&self) -> u64 {
        self.0.len() as u64
    }
    fn bytes(&self) -> u64 {
        size_of_val(&self.0[..]) as u64
    }
    fn commit(&self, index: usize) -> &ModelWord<F> {
        &self.0[index].commit
    }
    fn header(&self, index: usize) -> *mut SlotHeader {
        self.0[index].header.get()
    }
    fn payload(&self, index: usize) -> *mut u8 {
        self.0[index].payload.get().cast()
    }
    fn payload_layout(&self) -> Layout {
        Layout::new::<u64>()
    }
    fn on_write(&self, index: usize) {
        self.0[index].watch.on_write();
    }
    fn on_read(&self, index: usize) {
        self.0[index].watch.on_read();
    }
}

/// Dropped only when all went well: loom's objects cannot be used while a complaint unwinds.
struct Calm<T>(ManuallyDrop<T>);

impl<T> Calm<T> {
    fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T> Drop for Calm<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: nobody uses the value after its owner's drop.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

impl<T> Deref for Calm<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Calm<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

type Lane<F> = Arc<Calm<Arc<Ring<Slots<F>>>>>;

/// The producer of a lane.
struct Producer<F: Flaw>(Calm<Writer<Slots<F>>>);

/// A reader of a lane, and what it saw.
struct Consumer<F: Flaw> {
    reader: Calm<Reader<Slots<F>>>,
    bell: Arc<ModelBell<F>>,
    seen: Vec<u64>,
}

fn lane<F: Flaw>(capacity: usize, history: usize) -> Lane<F> {
    let ring = Ring::new(Slots::new(capacity), DropGlue::of::<u64>(), history, Arc::default());
    Arc::new(Calm::new(Arc::new(ring)))
}

/// Everybody's packet.
const ALL: u64 = u64::MAX;

impl<F: Flaw> Producer<F> {
    fn new(lane: &Lane<F>) -> Self {
        Self(Calm::new(Writer::new(Arc::clone(lane)).expect("the lane has no producer yet")))
    }

    fn stage(&mut self, targets: u64) {
        let seq = self.0.next_seq();
        if self.0.is_idle() {
            self.0.skip();
            return;
        }
        let attributes = Attributes::default().with_targets(targets);
        // SAFETY: callers have asked for room, and the payload is a `u64`.
        unsafe {
            self.0.stage(|payload| payload.cast::<u64>().write(seq)).fill(Stamp(seq), &attributes, &[]);
        }
    }

    /// Publishes if there is room.
    fn try_publish(&mut self, targets: u64) -> bool {
        let has_room = self.0.has_room(1);
        if has_room {
            self.stage(targets);
            self.0.commit();
        }
        has_room
    }

    /// Publishes, sleeping until there is room: as `Publisher::publish`.
    fn publish(&mut self) {
        if !self.0.has_room(1) {
            let ring = self.0.ring().clone();
            ring.fence_space();
            ring.space().wait_until(|| self.0.has_room(1).then_some(()));
        }
        assert!(self.try_publish(ALL), "there was room");
    }
}

impl<F: Flaw> Consumer<F> {
    fn new(lane: &Lane<F>, start: Start, policy: Policy, mask: u64) -> Self {
        let bell = Arc::new(ModelBell::default());
        let reader =
            of_kind(Kind::Cursor, || Reader::new(Arc::clone(lane), start, Wants::of(policy, mask), bell.clone()));
        Self { reader: Calm::new(reader), bell, seen: Vec::new() }
    }

    /// Reads the next packet, if it is there, as long as a handler would.
    fn read(&mut self) -> Option<u64> {
        let is_there = self.reader.acquire();
        is_there.then(|| self.read_held())
    }

    fn read_held(&mut self) -> u64 {
        let reader = &mut *self.reader;
        let seq = reader.seq();
        for _ in 0..2 {
            // SAFETY: the reader holds the packet, whose payload is a `u64`.
            let payload = unsafe { reader.payload().cast::<u64>().read() };
            assert_eq!((payload, reader.header().stamp().0), (seq, seq), "the slot of {seq} carries something else");
        }
        reader.release();
        self.seen.push(seq);
        seq
    }

    /// As [`Consumer::read`], for who has seen an effect of the packet.
    fn read_cause(&mut self) -> bool {
        let is_there = self.reader.acquire_seen();
        if is_there {
            self.read_held();
        }
        is_there
    }

    fn drain(&mut self) {
        while self.read().is_some() {}
    }
}

fn explore(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions());
    builder.check(move || {
        KIND.set(Kind::Ring);
        STORES.set(0);
        SLEEPERS.take();
        // Made before there are threads, so that making them orders nothing.
        THREAD.with(|own| assert!(*own < MEETINGS.len()));
        run();
    });
}

/// What the model says when a claim does not hold.
fn complaint(run: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("the model notices");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().expect("a panic with words")).to_owned(),
    }
}

/// The claim fails on a machine that lacks something, with one of these complaints.
fn refuted(run: impl FnOnce(), complaints: &[&str]) {
    let text = complaint(run);
    assert!(complaints.iter().any(|c| text.contains(c)), "not one of {complaints:?}: {text}");
}

const TORN: &str = "carries something else";
/// Loom's words for a slot that is read and written at once.
const RACE: &str = "Causality violation";
/// Loom's word for a lost call.
const ASLEEP: &str = "deadlock";
