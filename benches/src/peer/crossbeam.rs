//! crossbeam-channel: bounded MPMC array queue, frames by value; spins, then parks.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::payload::{CAPACITY, Frame, Rx, Tx};

/// Sending half.
pub struct Producer<const WORDS: usize>(Sender<Frame<WORDS>>);
/// Receiving half.
pub struct Consumer<const WORDS: usize>(Receiver<Frame<WORDS>>);

/// One channel.
pub fn pair<const WORDS: usize>() -> (Producer<WORDS>, Consumer<WORDS>) {
    let (tx, rx) = bounded(CAPACITY);
    (Producer(tx), Consumer(rx))
}

impl<const WORDS: usize> Tx for Producer<WORDS> {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        self.0.try_send(Frame::new(number)).is_ok()
    }

    fn send(&mut self, number: u64) {
        self.0.send(Frame::new(number)).expect("the consumer lives as long as the load");
    }
}

impl<const WORDS: usize> Rx for Consumer<WORDS> {
    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        let Ok(frame) = self.0.try_recv() else { return 0 };
        *sum = sum.wrapping_add(frame.sum());
        1
    }

    fn recv(&mut self, sum: &mut u64) -> usize {
        let frame = self.0.recv().expect("the producer lives as long as the load");
        *sum = sum.wrapping_add(frame.sum());
        1
    }
}
