//! flume: bounded MPMC channel behind a lock; threads and tasks.

use flume::{Receiver, Sender, bounded};

use crate::payload::{AsyncEnd, CAPACITY, Frame, Rx, SMALL, Tx};

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

/// One task's end.
pub struct Task(Sender<Frame<SMALL>>, Receiver<Frame<SMALL>>);

/// Two tasks' ends.
pub fn tasks() -> (Task, Task) {
    let (there, from_here) = bounded(CAPACITY);
    let (back, from_there) = bounded(CAPACITY);
    (Task(there, from_there), Task(back, from_here))
}

impl AsyncEnd for Task {
    async fn send(&mut self, number: u64) {
        self.0.send_async(Frame::new(number)).await.expect("the other task lives as long as the load");
    }

    async fn recv(&mut self) -> u64 {
        self.1.recv_async().await.expect("the other task lives as long as the load").sum()
    }
}
