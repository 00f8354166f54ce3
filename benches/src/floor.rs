//! What no implementation can beat here: a cache line's way between two cores, and the copying of the payload.
//!
//! The line ping-pongs run in the same loop as every round trip. `stream` hands blocks of frames from core to core with one flag per
//! block, over the same memory as the rings: the rate at which the frames themselves can move.

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::load::repeated;
use crate::payload::{CAPACITY, End, Frame, Rx, Tx};
use crate::stats::{Figures, Metric};

/// A word in two adjacent lines of its own: the prefetcher fetches pairs.
#[repr(align(128))]
#[derive(Default)]
struct Word(AtomicU64);

/// One end of a ping-pong of numbers, in one line or in one for each direction.
pub struct Line {
    out: Arc<Word>,
    into: Arc<Word>,
    /// Distinguishes the two writers of a shared line.
    mark: u64,
    awaited_mark: u64,
    awaited: u64,
}

/// Both ends on one shared line.
pub fn one_line() -> (Line, Line) {
    let word = Arc::new(Word::default());
    let end = |mark| Line { out: word.clone(), into: word.clone(), mark, awaited_mark: 3 - mark, awaited: 0 };
    (end(1), end(2))
}

/// Both ends with one line for each direction.
pub fn two_lines() -> (Line, Line) {
    let (there, back) = (Arc::new(Word::default()), Arc::new(Word::default()));
    let end = |out: &Arc<Word>, into: &Arc<Word>| Line {
        out: out.clone(),
        into: into.clone(),
        mark: 1,
        awaited_mark: 1,
        awaited: 0,
    };
    (end(&there, &back), end(&back, &there))
}

impl End for Line {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        self.out.0.store(4 * number + self.mark, Ordering::Release);
        true
    }

    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        if self.into.0.load(Ordering::Acquire) != 4 * self.awaited + self.awaited_mark {
            return 0;
        }
        *sum = sum.wrapping_add(self.awaited);
        self.awaited += 1;
        1
    }

    fn send(&mut self, number: u64) {
        self.try_send(number);
    }

    fn recv(&mut self, sum: &mut u64) -> usize {
        while self.poll(sum) == 0 {}
        1
    }
}

/// Blocks in a stream; together they are as large as the rings.
const BLOCKS: u64 = 4;
/// Frames in a block.
const BLOCK_FRAMES: u64 = CAPACITY as u64 / BLOCKS;

struct Stream<const WORDS: usize> {
    blocks: Vec<UnsafeCell<Vec<Frame<WORDS>>>>,
    written: Word,
    read: Word,
}

// SAFETY: block `n % BLOCKS` is written only while `n < read + BLOCKS` and read only while `n < written`; each counter is moved with
// release after the access and loaded with acquire before the other side's, so the two never touch a block at once.
unsafe impl<const WORDS: usize> Sync for Stream<WORDS> {}

/// Writer of a stream.
pub struct StreamWriter<const WORDS: usize> {
    stream: Arc<Stream<WORDS>>,
    block: u64,
}

/// Reader of a stream.
pub struct StreamReader<const WORDS: usize> {
    stream: Arc<Stream<WORDS>>,
    block: u64,
}

/// A stream of blocks.
pub fn stream<const WORDS: usize>() -> (StreamWriter<WORDS>, StreamReader<WORDS>) {
    let block = || UnsafeCell::new(vec![Frame::default(); BLOCK_FRAMES as usize]);
    let blocks = (0..BLOCKS).map(|_| block()).collect();
    let stream = Arc::new(Stream { blocks, written: Word::default(), read: Word::default() });
    (StreamWriter { stream: stream.clone(), block: 0 }, StreamReader { stream, block: 0 })
}

impl<const WORDS: usize> Tx for StreamWriter<WORDS> {
    const GROUP: u64 = BLOCK_FRAMES;

    fn try_send(&mut self, number: u64) -> bool {
        if self.block >= self.stream.read.0.load(Ordering::Acquire) + BLOCKS {
            return false;
        }
        let block = &self.stream.blocks[(self.block % BLOCKS) as usize];
        // SAFETY: see `Stream`: the reader is past the block's last use and will not look at it before `written` moves.
        let frames = unsafe { &mut *block.get() };
        for (frame, number) in frames.iter_mut().zip(number..) {
            frame.fill(number);
        }
        self.block += 1;
        self.stream.written.0.store(self.block, Ordering::Release);
        true
    }
}

impl<const WORDS: usize> Rx for StreamReader<WORDS> {
    fn poll(&mut self, sum: &mut u64) -> usize {
        if self.block >= self.stream.written.0.load(Ordering::Acquire) {
            return 0;
        }
        let block = &self.stream.blocks[(self.block % BLOCKS) as usize];
        // SAFETY: see `Stream`: the writer is done with the block and will not touch it before `read` moves.
        let frames = unsafe { &*block.get() };
        *sum = frames.iter().fold(*sum, |sum, frame| sum.wrapping_add(frame.sum()));
        self.block += 1;
        self.stream.read.0.store(self.block, Ordering::Release);
        frames.len()
    }
}

/// Cost of copying a frame that lies in the first-level cache.
pub fn copy_frame<const WORDS: usize>(batches: u64) -> Figures {
    let make = || (Box::new(Frame::<WORDS>::new(1)), Box::new(Frame::<WORDS>::default()));
    repeated(make, batches, 1000, |(from, to)| {
        **to = **black_box(&*from);
        black_box(&mut **to);
    })
}

/// Bytes copied at once: half of a second-level cache of 1 MiB, source and target together.
const L2_BYTES: usize = 256 * 1024;

/// Bandwidth of copying within the second-level cache.
pub fn copy_in_l2(batches: u64) -> Figures {
    let make = || (vec![1u8; L2_BYTES], vec![0u8; L2_BYTES]);
    let figures = repeated(make, batches, 10, |(from, to)| {
        to.copy_from_slice(black_box(from));
        black_box(&mut *to);
    });
    let cost = figures.get(&Metric::Cost).map(|ns| (Metric::Bandwidth, L2_BYTES as f64 / ns));
    figures.into_iter().filter(|(metric, _)| *metric != Metric::Cost).chain(cost).collect()
}

/// Cost of reading the processor's counter, without a fence.
#[cfg(target_arch = "x86_64")]
pub fn counter(batches: u64) -> Figures {
    use std::arch::x86_64::_rdtsc;
    // SAFETY: every x86-64 processor has the instruction, and it touches no memory.
    repeated(|| (), batches, 1000, |()| _ = black_box(unsafe { _rdtsc() }))
}

/// Cost of reading what stands for the counter here.
#[cfg(not(target_arch = "x86_64"))]
pub fn counter(batches: u64) -> Figures {
    repeated(|| (), batches, 1000, |()| _ = black_box(crate::clock::ticks()))
}
