//! Messages per second from one thread to another, each on a core of its own where there are two.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::channel::{Probe, Rx, Tx};
use super::experiment::{Effort, Samples};
use super::latency::{SPINS_ALONE, spin_until};
use super::stopwatch::{Pair, Stopwatch, joined, pin};

/// Messages of a full round.
const MESSAGES: u64 = 2_000_000;
/// Messages whose rate is one sample.
const SAMPLE: u64 = 20_000;
/// Samples at the start that are not counted.
const WARM: u64 = 2;
/// Turns before a thread that finds the channel full or empty offers its core.
const SPINS: u32 = 64;

/// Rates of stretches of [`SAMPLE`] messages as the consumer sees them, millions per second.
struct Rates {
    clock: Stopwatch,
    since_ns: u64,
    next: u64,
    samples: Samples,
}

impl Rates {
    fn new(clock: &Stopwatch) -> Self {
        Self { clock: clock.clone(), since_ns: clock.now_ns(), next: SAMPLE, samples: Vec::new() }
    }

    /// `count` messages have arrived.
    #[inline(always)]
    fn arrived(&mut self, count: u64) {
        if count >= self.next {
            let now_ns = self.clock.now_ns();
            let taken_ns = now_ns.saturating_sub(self.since_ns).max(1);
            self.samples.push((count + SAMPLE - self.next) as f64 * 1e3 / taken_ns as f64);
            self.since_ns = now_ns;
            self.next = count + SAMPLE;
        }
    }

    fn counted(mut self) -> Samples {
        self.samples.split_off((WARM as usize).min(self.samples.len()))
    }
}

/// Sends as fast as the channel takes it.
pub(super) fn full_speed<T: Tx, R: Rx>(channel: (T, R), effort: Effort) -> Result<Samples, String> {
    let clock = Stopwatch::get()?;
    let (mut tx, mut rx) = channel;
    let messages = effort.of(MESSAGES, (WARM + 3) * SAMPLE);
    let pair = Pair::find().ok();
    let place = |core: Option<usize>| core.map_or(Ok(()), pin);
    thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let placed = place(pair.map(|pair| pair.1));
            let (mut count, mut rates) = (0, Rates::new(&clock));
            while count < messages {
                rx.wait_many(|probe| {
                    assert_eq!(probe.number(), count, "messages come in their order");
                    count += 1;
                });
                rates.arrived(count);
            }
            placed.map(|()| rates.counted())
        });
        let sending = scope.spawn(|| {
            let placed = place(pair.map(|pair| pair.0));
            let (mut number, mut refusals) = (0, 0u32);
            // A group that begins in time ends whole, so the last numbers may exceed `messages`.
            while number < messages {
                let sent = tx.try_send(number, 0);
                number += sent;
                if sent == 0 {
                    refusals += 1;
                    if refusals.is_multiple_of(SPINS) { thread::yield_now() } else { std::hint::spin_loop() }
                }
            }
            placed
        });
        let samples = joined(receiving)?;
        joined(sending)?;
        Ok(samples)
    })
}

/// Messages in a block of the floor.
const BLOCK: usize = 256;

/// The floor: blocks of messages handed over whole, with one flag for each, over memory as large as the channels'. What moves a message
/// from core to core writes and reads it at least once, and so does this.
pub(super) fn blocks(effort: Effort) -> Result<Samples, String> {
    let clock = Stopwatch::get()?;
    let pair = Pair::find().ok();
    let messages = effort.of(MESSAGES, (WARM + 3) * SAMPLE);
    let count = super::channel::CAPACITY / BLOCK;
    // The locks are never waited for: the counters say whose turn it is.
    let ring: Vec<Mutex<Vec<Probe>>> = (0..count).map(|_| Mutex::new(vec![Probe::new(0, 0); BLOCK])).collect();
    let block = |index: u64| ring[index as usize % count].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (written, read) = (AtomicU64::new(0), AtomicU64::new(0));
    let place = |core: Option<usize>| core.map_or(Ok(()), pin);
    thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let placed = place(pair.map(|pair| pair.1));
            let mut rates = Rates::new(&clock);
            for index in 0..messages / BLOCK as u64 {
                spin_until(SPINS_ALONE, || written.load(Ordering::Acquire) > index);
                let mut number = index * BLOCK as u64;
                for probe in block(index).iter() {
                    assert_eq!(probe.number(), number, "messages come in their order");
                    number += 1;
                }
                read.store(index + 1, Ordering::Release);
                rates.arrived(number);
            }
            placed.map(|()| rates.counted())
        });
        let sending = scope.spawn(|| {
            let placed = place(pair.map(|pair| pair.0));
            for index in 0..messages / BLOCK as u64 {
                spin_until(SPINS_ALONE, || read.load(Ordering::Acquire) + count as u64 > index);
                for (probe, number) in block(index).iter_mut().zip(index * BLOCK as u64..) {
                    *probe = Probe::new(number, 0);
                }
                written.store(index + 1, Ordering::Release);
            }
            placed
        });
        let samples = joined(receiving)?;
        joined(sending)?;
        Ok(samples)
    })
}
