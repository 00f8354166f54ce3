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
mod machine;
mod reading;
mod sleeping;
mod unfencing;

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use csf_core::{Attributes, Stamp};
use machine::*;

use super::memory::Memory;
use super::platform::{Watch, Word};
use super::slot::SlotHeader;
use super::{DropGlue, FENCED, FENCED_MASK, Policy, Reader, Ring, Start, Wants, Writer};

/// By loom's documentation most faults need two or three.
fn preemptions() -> usize {
    std::env::var("CSF_MODEL_PREEMPTIONS").map_or(2, |n| n.parse().expect("CSF_MODEL_PREEMPTIONS is a number"))
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
        machine::begin();
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
