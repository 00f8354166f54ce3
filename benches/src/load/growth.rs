//! Publishing to many consumers, or on many topics, and taking everything out again, in one thread: what each costs.

use std::thread;

use super::{Missing, joined};
use crate::clock::{ns_per_tick, pin, ticks};
use crate::payload::{Rx, Tx, sum_of};
use crate::stats::{Figures, Metric};

/// Frames published before all consumers take them.
const FRAMES: u64 = 64;

/// Cost of a publish and of a delivery. Means, not medians: what happens once in a thousand publishes belongs to the price.
pub fn growth<T: Tx, R: Rx>(
    make: impl FnOnce() -> (T, Vec<R>) + Send,
    words: usize,
    deliveries: u64,
) -> Result<Figures, Missing> {
    let body = || {
        pin(0);
        let (mut tx, mut readers) = make();
        let mut sums = vec![0u64; readers.len()];
        let batches = (deliveries / FRAMES / readers.len() as u64).max(2 * 1024 / FRAMES);
        let (mut publishing, mut delivering, mut number) = (0, 0, 0);
        for batch in 0..batches + batches / 10 {
            let from = ticks();
            for _ in 0..FRAMES {
                if !tx.try_send(number) {
                    return Err(Missing("refused a frame although every earlier one was read".to_owned()));
                }
                number += 1;
            }
            let between = ticks();
            for (rx, sum) in readers.iter_mut().zip(&mut sums) {
                let mut got = 0;
                while got < FRAMES {
                    got += rx.poll(sum) as u64;
                }
            }
            if batch >= batches / 10 {
                publishing += between - from;
                delivering += ticks() - between;
            }
        }
        for sum in &sums {
            assert_eq!(*sum, sum_of(number, words), "a frame was lost, doubled or torn");
        }
        let each = |total: u64, count: u64| total as f64 * ns_per_tick() / count as f64;
        let published = batches * FRAMES;
        Ok(Figures::from([
            (Metric::Cost, each(publishing, published)),
            (Metric::Delivery, each(delivering, published * sums.len() as u64)),
        ]))
    };
    thread::scope(|scope| joined(scope.spawn(body)))
}
