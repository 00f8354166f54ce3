//! tokio's bounded mpsc: frames by value in linked blocks; made for tasks, usable from threads. And its lossy broadcast.

use tokio::sync::broadcast;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::payload::{AsyncEnd, CAPACITY, Frame, Rx, SMALL, Tx};

/// Sending half.
pub struct Producer<const WORDS: usize>(Sender<Frame<WORDS>>);
/// Receiving half.
pub struct Consumer<const WORDS: usize>(Receiver<Frame<WORDS>>);

/// One channel.
pub fn pair<const WORDS: usize>() -> (Producer<WORDS>, Consumer<WORDS>) {
    let (tx, rx) = channel(CAPACITY);
    (Producer(tx), Consumer(rx))
}

impl<const WORDS: usize> Tx for Producer<WORDS> {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        self.0.try_send(Frame::new(number)).is_ok()
    }

    fn send(&mut self, number: u64) {
        self.0.blocking_send(Frame::new(number)).expect("the consumer lives as long as the load");
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
        let frame = self.0.blocking_recv().expect("the producer lives as long as the load");
        *sum = sum.wrapping_add(frame.sum());
        1
    }
}

/// One task's end.
pub struct Task(Sender<Frame<SMALL>>, Receiver<Frame<SMALL>>);

/// Two tasks' ends.
pub fn tasks() -> (Task, Task) {
    let (there, from_here) = channel(CAPACITY);
    let (back, from_there) = channel(CAPACITY);
    (Task(there, from_there), Task(back, from_here))
}

impl AsyncEnd for Task {
    async fn send(&mut self, number: u64) {
        self.0.send(Frame::new(number)).await.expect("the other task lives as long as the load");
    }

    async fn recv(&mut self) -> u64 {
        self.1.recv().await.expect("the other task lives as long as the load").sum()
    }
}

/// Sending half of a broadcast.
pub struct Announcer<const WORDS: usize>(broadcast::Sender<Frame<WORDS>>);
/// A receiver of a broadcast.
pub struct Listener<const WORDS: usize>(broadcast::Receiver<Frame<WORDS>>);

/// A broadcast with `count` receivers.
pub fn broadcast<const WORDS: usize>(count: usize) -> (Announcer<WORDS>, Vec<Listener<WORDS>>) {
    let (tx, _) = broadcast::channel(CAPACITY);
    let listeners = (0..count).map(|_| Listener(tx.subscribe())).collect();
    (Announcer(tx), listeners)
}

impl<const WORDS: usize> Tx for Announcer<WORDS> {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        self.0.send(Frame::new(number)).is_ok()
    }
}

impl<const WORDS: usize> Rx for Listener<WORDS> {
    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        match self.0.try_recv() {
            Ok(frame) => {
                *sum = sum.wrapping_add(frame.sum());
                1
            }
            Err(broadcast::error::TryRecvError::Lagged(lost)) => panic!("{lost} frames were overwritten unread"),
            Err(_) => 0,
        }
    }
}
