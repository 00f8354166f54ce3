//! photon-ring: a ring whose slots carry their own stamp; lossy (the producer never waits) or bounded. Plain-old-data only, by copy.

use photon_ring::{TryRecvError, channel, channel_bounded};

use crate::payload::{CAPACITY, Frame, Rx, Tx};

/// The producer that overwrites readers who are too slow.
pub struct LossyProducer<const WORDS: usize>(photon_ring::Publisher<[u64; WORDS]>);
/// The producer that waits for the slowest reader.
pub struct BoundedProducer<const WORDS: usize>(photon_ring::Publisher<[u64; WORDS]>);
/// A reader of either.
pub struct Consumer<const WORDS: usize>(photon_ring::Subscriber<[u64; WORDS]>);

/// A lossy ring with `count` readers.
pub fn lossy<const WORDS: usize>(count: usize) -> (LossyProducer<WORDS>, Vec<Consumer<WORDS>>) {
    let (tx, readers) = channel(CAPACITY);
    (LossyProducer(tx), (0..count).map(|_| Consumer(readers.subscribe())).collect())
}

/// A bounded ring with one reader.
pub fn bounded<const WORDS: usize>() -> (BoundedProducer<WORDS>, Consumer<WORDS>) {
    let (tx, readers) = channel_bounded(CAPACITY, 0);
    (BoundedProducer(tx), Consumer(readers.subscribe()))
}

/// A lossy ring with one reader.
pub fn pair<const WORDS: usize>() -> (LossyProducer<WORDS>, Consumer<WORDS>) {
    let (tx, readers) = channel(CAPACITY);
    (LossyProducer(tx), Consumer(readers.subscribe()))
}

impl<const WORDS: usize> Tx for LossyProducer<WORDS> {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        self.0.publish([number; WORDS]);
        true
    }
}

impl<const WORDS: usize> Tx for BoundedProducer<WORDS> {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        self.0.try_publish([number; WORDS]).is_ok()
    }
}

impl<const WORDS: usize> Rx for Consumer<WORDS> {
    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        match self.0.try_recv() {
            Ok(words) => {
                *sum = sum.wrapping_add(Frame(words).sum());
                1
            }
            Err(TryRecvError::Empty) => 0,
            Err(lost) => panic!("the ring overwrote frames that were not read: {lost:?}"),
        }
    }
}
