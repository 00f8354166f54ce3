//! Publish to receive of one 64-byte message: in one task, and to a subscriber that waits on another thread.
//!
//! A sample holds one reading of the clock on every side alike. Every message is checked for its number and for being whole.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use csf_bus::PhaseCoherenceBus;
use csf_core::port::EventBusTx;
use csf_core::{ComponentId, PhasePacket};
use futures_util::FutureExt;

use super::channel::{Probe, Rx, Tx};
use super::experiment::{Effort, Samples};
use super::stopwatch::{Pair, Stopwatch, joined, pin};

/// Messages of a full round; the acceptance test of FAB-101 takes as many.
const MESSAGES: u64 = 10_000;
/// Turns of a spinning thread with a core of its own before it offers the core all the same.
pub(super) const SPINS_ALONE: u32 = 2_000;
/// Turns of one that may have to share its core with the thread it waits for.
const SPINS_SHARED: u32 = 64;

/// Publish and receive in one task.
pub(super) fn one_task<T: Tx, R: Rx>(channel: (T, R), effort: Effort) -> Result<Samples, String> {
    let clock = Stopwatch::get()?;
    let (mut tx, mut rx) = channel;
    let mut number = 0;
    let samples = clock.repeated(effort.of(MESSAGES, 500), 1, || {
        assert_eq!(tx.try_send(number, 0), 1, "there is room for one message");
        assert!(rx.try_take(|probe| assert_eq!(probe.number(), number)), "what was sent is there");
        number += 1;
    });
    Ok(samples)
}

/// The same with whole packets, as FAB-101 has it: subscribe, publish and receive.
pub(super) fn whole_packets(effort: Effort) -> Result<Samples, String> {
    let clock = Stopwatch::get()?;
    let bus = PhaseCoherenceBus::new(csf_bus::BusConfig::new(clock.source()));
    let mut receiver = bus.receiver::<Probe>(csf_bus::Interest::new()).map_err(|error| error.to_string())?;
    let mut number = 0;
    let samples = clock.repeated(effort.of(MESSAGES, 500), 1, || {
        let packet = PhasePacket::new(Probe::new(number, 0), ComponentId::custom(1));
        let published = bus.publish(packet).now_or_never();
        assert!(matches!(published, Some(Ok(_))), "there is room for one packet");
        let delivery = receiver.recv().now_or_never().flatten().expect("what was published is there");
        assert_eq!(black_box(&delivery.payload).number(), number);
        drop(delivery);
        number += 1;
    });
    Ok(samples)
}

/// Where the two threads run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placing {
    /// One core each, for the whole round.
    Pinned,
    /// Wherever the operating system puts them.
    Free,
}

/// From before the publish to the moment a waiting thread has the message. One message travels at a time.
pub(super) fn two_threads<T: Tx, R: Rx>(channel: (T, R), placing: Placing, effort: Effort) -> Result<Samples, String> {
    let clock = Stopwatch::get()?;
    let pair = if placing == Placing::Pinned { Some(Pair::find()?) } else { None };
    let (mut tx, mut rx) = channel;
    let warm = MESSAGES / 10;
    let messages = warm + effort.of(MESSAGES, 500);
    let received = AtomicU64::new(0);
    let turns = if placing == Placing::Pinned { SPINS_ALONE } else { SPINS_SHARED };
    let place = |core: Option<usize>| core.map_or(Ok(()), pin);
    thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let placed = place(pair.map(|pair| pair.1));
            let mut samples = Vec::with_capacity(messages as usize);
            for number in 0..messages {
                rx.wait(|probe| {
                    samples.push((clock.now_ns().saturating_sub(probe.sent_ns)) as f64);
                    assert_eq!(probe.number(), number, "messages come in their order");
                });
                received.store(number + 1, Ordering::Release);
            }
            placed.map(|()| samples.split_off(warm as usize))
        });
        let sending = scope.spawn(|| {
            let placed = place(pair.map(|pair| pair.0));
            for number in 0..messages {
                while tx.try_send(number, clock.now_ns()) == 0 {
                    thread::yield_now();
                }
                spin_until(turns, || received.load(Ordering::Acquire) > number);
            }
            placed
        });
        let samples = joined(receiving)?;
        joined(sending)?;
        Ok(samples)
    })
}

/// Spins, and offers its core after every so many turns.
#[inline(always)]
pub(super) fn spin_until(turns: u32, mut ready: impl FnMut() -> bool) {
    let mut left = turns;
    while !ready() {
        left -= 1;
        if left == 0 {
            thread::yield_now();
            left = turns;
        } else {
            std::hint::spin_loop();
        }
    }
}
