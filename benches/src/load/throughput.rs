//! Throughput between threads.

use std::sync::Barrier;
use std::thread;

use super::{Gate, Missing, SPINS_ALONE, SPINS_SHARED, Watch, joined};
use crate::clock::{cores, ns_per_tick, pin, ticks};
use crate::payload::{Rx, Tx, sum_of};
use crate::stats::{Figures, Metric};

/// Throughput from all `producers` to all `consumers`, each of which sees every frame. `count` frames in all.
///
/// The rate is that of the last nine tenths, from the moment the last consumer has the first tenth to the moment the last one has all.
pub fn throughput<T: Tx, R: Rx>(
    producers: Vec<impl FnOnce() -> T + Send>,
    consumers: Vec<impl FnOnce() -> R + Send>,
    words: usize,
    count: u64,
) -> Result<Figures, Missing> {
    let (writing, reading) = (producers.len(), consumers.len());
    let is_pinned = writing + reading <= cores();
    let turns = if is_pinned { SPINS_ALONE / 10 } else { SPINS_SHARED };
    let each = count / writing as u64 / T::GROUP * T::GROUP;
    let total = each * writing as u64;
    let warm_at = total / 10;
    let watch = Watch::new();
    let (watch, together, done) = (&watch, &Gate::of(writing + reading), &Barrier::new(writing + reading));
    thread::scope(|scope| {
        let readers: Vec<_> = consumers
            .into_iter()
            .enumerate()
            .map(|(index, make)| {
                scope.spawn(move || {
                    if is_pinned {
                        pin(writing + index);
                    }
                    let mut rx = make();
                    together.wait();
                    let (mut sum, mut got, mut warm) = (0, 0, None);
                    while got < total {
                        let mut taken = 0;
                        let goes_on = watch.until(turns, || {
                            taken = rx.poll(&mut sum);
                            taken > 0
                        });
                        if !goes_on {
                            break;
                        }
                        got += taken as u64;
                        if warm.is_none() && got >= warm_at {
                            warm = Some((got, ticks()));
                        }
                    }
                    let end = ticks();
                    done.wait();
                    (sum, got, warm.unwrap_or((got, end)), end)
                })
            })
            .collect();
        let writers: Vec<_> = producers
            .into_iter()
            .enumerate()
            .map(|(index, make)| {
                scope.spawn(move || {
                    if is_pinned {
                        pin(index);
                    }
                    let mut tx = make();
                    together.wait();
                    let mut number = 0;
                    while number < each && watch.until(turns, || tx.try_send(number)) {
                        number += T::GROUP;
                    }
                    // Ports close only when everybody has everything.
                    done.wait();
                })
            })
            .collect();
        writers.into_iter().for_each(joined);
        let seen: Vec<_> = readers.into_iter().map(joined).collect();
        watch.verdict()?;
        let wanted = sum_of(each, words).wrapping_mul(writing as u64);
        for (sum, got, ..) in &seen {
            assert_eq!((*got, *sum), (total, wanted), "a frame was lost, doubled or torn");
        }
        let from = seen.iter().map(|(_, _, (_, at), _)| *at).max().unwrap_or_default();
        let counted = seen.iter().map(|(_, got, (warm, _), _)| got - warm).min().unwrap_or_default();
        let to = seen.iter().map(|(.., end)| *end).max().unwrap_or_default();
        let ns = to.saturating_sub(from).max(1) as f64 * ns_per_tick();
        Ok(Figures::from([(Metric::Rate, counted as f64 / ns * 1e3), (Metric::Mean, ns / counted as f64)]))
    })
}
