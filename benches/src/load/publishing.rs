//! The cost of publishing, in one thread.

use std::hint::black_box;
use std::thread;

use super::{Missing, joined};
use crate::clock::{pin, ticks};
use crate::payload::{Rx, Tx, sum_of};
use crate::stats::{Figures, cost};

/// Publishes between two readings of the counter, which cost about 20 ns together.
const PUBLISHES: u64 = 256;

/// What it costs a producer to publish one frame. The consumers, if any, run in the same thread, between the timed batches.
pub fn publishing<T: Tx, R: Rx>(
    make: impl FnOnce() -> (T, Vec<R>) + Send,
    words: usize,
    batches: u64,
) -> Result<Figures, Missing> {
    let body = || {
        pin(0);
        let (mut tx, mut readers) = make();
        let mut sums = vec![0u64; readers.len()];
        let (mut samples, mut number) = (Vec::with_capacity(batches as usize), 0);
        for batch in 0..batches + batches / 10 {
            let from = ticks();
            for _ in 0..PUBLISHES / T::GROUP {
                if !tx.try_send(black_box(number)) {
                    return Err(Missing("refused a frame although every earlier one was read".to_owned()));
                }
                number += T::GROUP;
            }
            let took = ticks() - from;
            if batch >= batches / 10 {
                samples.push(took);
            }
            for (rx, sum) in readers.iter_mut().zip(&mut sums) {
                let mut got = 0;
                while got < PUBLISHES {
                    got += rx.poll(sum) as u64;
                }
            }
        }
        for sum in sums {
            assert_eq!(sum, sum_of(number, words), "a frame was lost, doubled or torn");
        }
        Ok(cost(samples, PUBLISHES))
    };
    thread::scope(|scope| joined(scope.spawn(body)))
}
