//! A thousand messages published, at once or one by one, in one thread; what each costs in time and in cache misses.

use std::thread;

use super::{Missing, joined};
use crate::clock::{pin, ticks};
use crate::stats::{Figures, Metric, cost};

/// Messages of a turn.
pub const MESSAGES: u64 = 1_000;

/// A producer and a consumer in one thread.
pub trait Publishing {
    /// Publishes [`MESSAGES`] messages from `number` on.
    fn publish(&mut self, number: u64) -> Result<(), Missing>;

    /// Takes them all out again and panics when one is missing or torn.
    fn drain(&mut self, number: u64);
}

/// Turns, a tenth of them to get warm; `around` runs each publication and says whether it counts.
fn turns<P: Publishing>(
    make: impl FnOnce() -> P,
    count: u64,
    mut around: impl FnMut(bool, &mut dyn FnMut() -> Result<(), Missing>) -> Result<(), Missing>,
) -> Result<(), Missing> {
    let mut publishing = make();
    for turn in 0..count + count / 10 {
        let number = turn * MESSAGES;
        around(turn >= count / 10, &mut || publishing.publish(number))?;
        publishing.drain(number);
    }
    Ok(())
}

/// Time of a publication, per message.
pub fn thousand<P: Publishing>(make: impl FnOnce() -> P + Send, count: u64) -> Result<Figures, Missing> {
    let body = || {
        pin(0);
        let mut samples = Vec::with_capacity(count as usize);
        turns(make, count, |counts, publish| {
            let from = ticks();
            publish()?;
            let took = ticks() - from;
            if counts {
                samples.push(took);
            }
            Ok(())
        })?;
        Ok(cost(samples, MESSAGES))
    };
    thread::scope(|scope| joined(scope.spawn(body)))
}

/// Cache misses of a publication in user mode, per message, by the processor's own counter.
#[cfg(target_os = "linux")]
pub fn misses<P: Publishing>(make: impl FnOnce() -> P + Send, count: u64, metric: Metric) -> Result<Figures, Missing> {
    use perf_event::Builder;
    use perf_event::events::{Cache, CacheId, CacheOp, CacheResult, Hardware};
    let first = Cache { which: CacheId::L1D, operation: CacheOp::READ, result: CacheResult::MISS };
    let body = || {
        pin(0);
        let counter = match metric {
            Metric::FirstMisses => Builder::new(first).build(),
            _ => Builder::new(Hardware::CACHE_MISSES).build(),
        };
        let absent = |what: &str, error: std::io::Error| {
            let name = metric.name();
            Missing(format!(
                "{what} the processor's counter of {name} failed: {error} (a virtual machine may have none)"
            ))
        };
        let mut counter = counter.map_err(|error| absent("opening", error))?;
        turns(make, count, |counts, publish| {
            if !counts {
                return publish();
            }
            counter.enable().map_err(|error| absent("starting", error))?;
            let published = publish();
            counter.disable().map_err(|error| absent("stopping", error))?;
            published
        })?;
        let counted = counter.read().map_err(|error| absent("reading", error))?;
        Ok(Figures::from([(metric, counted as f64 / (count * MESSAGES) as f64)]))
    };
    thread::scope(|scope| joined(scope.spawn(body)))
}

/// Counters are read on Linux only.
#[cfg(not(target_os = "linux"))]
pub fn misses<P: Publishing>(_: impl FnOnce() -> P + Send, _: u64, _: Metric) -> Result<Figures, Missing> {
    Err(Missing("the processor's counters are read on Linux only".to_owned()))
}
