//! thingbuf: bounded MPSC of slots written and read in place; threads and tasks.

use thingbuf::mpsc;

use crate::payload::{AsyncEnd, CAPACITY, Frame, Rx, SMALL, Tx};

/// Sending half.
pub struct Producer<const WORDS: usize>(mpsc::blocking::Sender<Frame<WORDS>>);
/// Receiving half.
pub struct Consumer<const WORDS: usize>(mpsc::blocking::Receiver<Frame<WORDS>>);

/// One channel.
pub fn pair<const WORDS: usize>() -> (Producer<WORDS>, Consumer<WORDS>) {
    let (tx, rx) = mpsc::blocking::channel(CAPACITY);
    (Producer(tx), Consumer(rx))
}

impl<const WORDS: usize> Tx for Producer<WORDS> {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        let Ok(mut slot) = self.0.try_send_ref() else { return false };
        slot.fill(number);
        true
    }

    fn send(&mut self, number: u64) {
        self.0.send_ref().expect("the consumer lives as long as the load").fill(number);
    }
}

impl<const WORDS: usize> Rx for Consumer<WORDS> {
    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        let Ok(slot) = self.0.try_recv_ref() else { return 0 };
        *sum = sum.wrapping_add(slot.sum());
        1
    }

    fn recv(&mut self, sum: &mut u64) -> usize {
        let slot = self.0.recv_ref().expect("the producer lives as long as the load");
        *sum = sum.wrapping_add(slot.sum());
        1
    }
}

/// One task's end.
pub struct Task(mpsc::Sender<Frame<SMALL>>, mpsc::Receiver<Frame<SMALL>>);

/// Two tasks' ends.
pub fn tasks() -> (Task, Task) {
    let (there, from_here) = mpsc::channel(CAPACITY);
    let (back, from_there) = mpsc::channel(CAPACITY);
    (Task(there, from_there), Task(back, from_here))
}

impl AsyncEnd for Task {
    async fn send(&mut self, number: u64) {
        self.0.send_ref().await.expect("the other task lives as long as the load").fill(number);
    }

    async fn recv(&mut self) -> u64 {
        self.1.recv_ref().await.expect("the other task lives as long as the load").sum()
    }
}
