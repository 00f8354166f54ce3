//! rtrb: single-producer single-consumer ring; frame by frame, or in place through its chunk API.

use rtrb::RingBuffer;

use crate::payload::{CAPACITY, Frame, Merged, Rx, Tx};

/// Sending half, `push`.
pub struct Producer<const WORDS: usize>(rtrb::Producer<Frame<WORDS>>);
/// Receiving half, `pop`.
pub struct Consumer<const WORDS: usize>(rtrb::Consumer<Frame<WORDS>>);
/// Sending half, in place.
pub struct ChunkProducer<const WORDS: usize>(rtrb::Producer<Frame<WORDS>>);
/// Receiving half, in place and in batches.
pub struct ChunkConsumer<const WORDS: usize>(rtrb::Consumer<Frame<WORDS>>);

/// One ring, frame by frame.
pub fn pair<const WORDS: usize>() -> (Producer<WORDS>, Consumer<WORDS>) {
    let (tx, rx) = RingBuffer::new(CAPACITY);
    (Producer(tx), Consumer(rx))
}

/// One ring, in place.
pub fn chunks<const WORDS: usize>() -> (ChunkProducer<WORDS>, ChunkConsumer<WORDS>) {
    let (tx, rx) = RingBuffer::new(CAPACITY);
    (ChunkProducer(tx), ChunkConsumer(rx))
}

/// A ring for each of `count` producers, read in turn by one consumer.
pub fn merged<const WORDS: usize>(count: usize) -> (Vec<ChunkProducer<WORDS>>, Merged<ChunkConsumer<WORDS>>) {
    let (producers, consumers) = (0..count).map(|_| chunks()).unzip();
    (producers, Merged(consumers))
}

impl<const WORDS: usize> Tx for Producer<WORDS> {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        self.0.push(Frame::new(number)).is_ok()
    }
}

impl<const WORDS: usize> Rx for Consumer<WORDS> {
    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        let Ok(frame) = self.0.pop() else { return 0 };
        *sum = sum.wrapping_add(frame.sum());
        1
    }
}

impl<const WORDS: usize> Tx for ChunkProducer<WORDS> {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        let Ok(mut chunk) = self.0.write_chunk_uninit(1) else { return false };
        chunk.as_mut_slices().0[0].write(Frame::new(number));
        // SAFETY: the chunk has one slot, which was just written.
        unsafe { chunk.commit_all() };
        true
    }
}

impl<const WORDS: usize> Rx for ChunkConsumer<WORDS> {
    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        let count = self.0.slots();
        if count == 0 {
            return 0;
        }
        let Ok(chunk) = self.0.read_chunk(count) else { return 0 };
        let (first, second) = chunk.as_slices();
        *sum = first.iter().chain(second).fold(*sum, |sum, frame| sum.wrapping_add(frame.sum()));
        chunk.commit_all();
        count
    }
}
