//! Round trips between tasks.

use super::Missing;
use crate::clock::{pin, ticks};
use crate::payload::{AsyncEnd, SMALL, sum_of};
use crate::stats::{Figures, latency};

/// Round trips between two tasks of one worker thread: a switch of tasks, not of cores.
pub fn async_round_trip<E: AsyncEnd>(mut near: E, mut far: E, count: u64) -> Result<Figures, Missing> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(|| pin(0))
        .build()
        .map_err(|e| Missing(format!("no runtime: {e}")))?;
    let (warm_up, total) = (count / 10, count + count / 10);
    let there = runtime.spawn(async move {
        let mut sum = 0u64;
        for number in 0..total {
            sum = sum.wrapping_add(far.recv().await);
            far.send(number).await;
        }
        sum
    });
    let here = runtime.spawn(async move {
        let (mut sum, mut samples, mut started) = (0u64, Vec::with_capacity(count as usize), ticks());
        for number in 0..total {
            if number == warm_up {
                started = ticks();
            }
            let from = ticks();
            near.send(number).await;
            sum = sum.wrapping_add(near.recv().await);
            let took = ticks() - from;
            if number >= warm_up {
                samples.push(took);
            }
        }
        (sum, samples, ticks() - started)
    });
    let ended = runtime.block_on(async { (here.await, there.await) });
    let (Ok((sum, samples, took)), Ok(sum_there)) = ended else {
        return Err(Missing("a task ended early".to_owned()));
    };
    let wanted = sum_of(total, SMALL);
    assert_eq!((sum, sum_there), (wanted, wanted), "a frame was lost, doubled or torn");
    Ok(latency(samples, took))
}
