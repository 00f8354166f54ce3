//! How far the counters of a machine's CPUs are apart.
//!
//! No clock of the system tells: the kernel computes it from the very counter of the CPU that asks. So the counters are compared with each
//! other: a thread on the first CPU reads its counter and asks a thread on another one, which reads its own and answers, whereupon the first
//! reads again. With the readings `a`, `b`, `c` the other counter is ahead by at least `b - c` and at most `b - a`; many trips narrow that
//! to the shortest, the journeys of a cache line there and back. What is smaller cannot be told this way, and a drift shows only once it
//! has added up.
//!
//! Invariant: the offset lies within the bounds, however long the trips take, while the counters run at one rate.
//! Reference: Cristian, "Probabilistic clock synchronization" (1989): a round trip bounds an offset by its length.

use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, thread};

use csf_core::{TimeError, TimeResult};
use serde::{Deserialize, Serialize};

use crate::os_clock::Reference;
use crate::tsc;

/// CPUs that are compared with the first; of more, evenly spread ones, so that each socket is among them.
const CPUS_MAX: usize = 64;
/// Trips to each, some 20 us together.
const TRIPS: u64 = 64;
/// On a busy machine the threads wait for their turn; what is not compared by then is not.
const BUDGET_NS: u64 = 20_000_000;
/// Looks for the other's word between two looks at the time.
const LOOKS: u32 = 256;
/// Counters that are certainly further apart than this are none to tell a node's time by: a packet is handed over in less.
const APART_NS_MAX: u64 = 1_000;

/// What a comparison of the counters found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterAgreement {
    /// CPUs that were compared.
    pub cpus: u32,
    /// CPUs there are to run on.
    pub of_cpus: u32,
    /// The counter of some CPU is at least this far from the first one's, nanoseconds; 0 when all may agree.
    pub apart_ns_min: u64,
    /// No compared counter is further from the first one's, nanoseconds.
    pub apart_ns_max: u64,
    /// The first CPU, and the one whose counter is furthest from it.
    pub furthest: (u32, u32),
}

/// For people: how far, and how sure that is.
impl fmt::Display for CounterAgreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpus, of_cpus, apart_ns_min, apart_ns_max, furthest: (first, other) } = self;
        match (cpus, of_cpus) {
            (1, 1) => return write!(f, "there is one CPU, and one counter"),
            (0 | 1, _) => return write!(f, "the counters of the CPUs were not compared"),
            _ => {}
        }
        write!(f, "the counters of {cpus} of {of_cpus} CPUs are ")?;
        if *apart_ns_min > 0 {
            write!(f, "at least {apart_ns_min} ns (CPU {first} and CPU {other}) and ")?;
        }
        write!(f, "at most {apart_ns_max} ns apart")
    }
}

impl CounterAgreement {
    /// Ok when a node may tell its time by these counters.
    fn check(&self) -> TimeResult<()> {
        if self.apart_ns_min <= APART_NS_MAX {
            return Ok(());
        }
        let ((first, other), apart_ns) = (self.furthest, self.apart_ns_min);
        let reason = format!("the time-stamp counters of CPU {first} and CPU {other} are at least {apart_ns} ns apart");
        Err(TimeError::Unavailable { reason })
    }
}

/// The readings of a trip: on the first CPU, on the other one, and on the first again.
type Trip = [u64; 3];

/// The counters of several CPUs.
trait Counters {
    /// Up to [`TRIPS`] trips from the first CPU to the other one; none when there is no time.
    fn trips(&mut self, first: u32, other: u32) -> TimeResult<Vec<Trip>>;
}

/// Compares the counters of this machine. `None` where threads do not move between CPUs, which is no reason not to use the counter.
///
/// # Errors
/// [`TimeError::Unavailable`] when the counters are too far apart to tell a node's time by.
pub(crate) fn compare_and_check(ns_per_tick: f64) -> TimeResult<Option<CounterAgreement>> {
    let Ok(found) = compare(ns_per_tick) else { return Ok(None) };
    found.check().map(|()| Some(found))
}

/// Compares the counters of this machine; the caller's thread stays where it is.
///
/// # Errors
/// [`TimeError::Unavailable`] when the threads or CPUs cannot be had.
fn compare(ns_per_tick: f64) -> TimeResult<CounterAgreement> {
    thread::scope(|scope| {
        let comparing = thread::Builder::new().name("csf-counters".into()).spawn_scoped(scope, || {
            let cpus = affinity::cpus()?;
            let until_ns = Reference::Raw.now_ns()?.saturating_add(BUDGET_NS);
            compare_by(&mut Threads { until_ns }, &cpus, ns_per_tick)
        });
        let comparing = comparing.map_err(|error| TimeError::Unavailable { reason: error.to_string() })?;
        comparing.join().map_err(|_| TimeError::Unavailable { reason: "the comparison of counters failed".into() })?
    })
}

/// The comparison, over whatever counters.
fn compare_by(counters: &mut impl Counters, cpus: &[u32], ns_per_tick: f64) -> TimeResult<CounterAgreement> {
    let Some((&first, others)) = cpus.split_first() else { return Ok(CounterAgreement::default()) };
    let mut found =
        CounterAgreement { cpus: 1, of_cpus: cpus.len() as u32, furthest: (first, first), ..Default::default() };
    let ns = |ticks: i64| (ticks.max(0) as f64 * ns_per_tick) as u64;
    for &other in others.iter().step_by(others.len().div_ceil(CPUS_MAX).max(1)) {
        let trips = counters.trips(first, other)?;
        // Differences of counters, which may wrap.
        let bounds = trips.iter().map(|[before, there, after]| {
            (there.wrapping_sub(*after).cast_signed(), there.wrapping_sub(*before).cast_signed())
        });
        let narrowed = bounds.reduce(|(min, max), (at_least, at_most)| (min.max(at_least), max.min(at_most)));
        let Some((ahead_min, ahead_max)) = narrowed else { return Ok(found) };
        found.cpus += 1;
        found.apart_ns_max = found.apart_ns_max.max(ns(ahead_max.max(-ahead_min)));
        let apart_ns_min = ns(ahead_min.max(-ahead_max));
        if apart_ns_min >= found.apart_ns_min {
            (found.apart_ns_min, found.furthest) = (apart_ns_min, (first, other));
        }
    }
    Ok(found)
}

/// This machine's, for a thread that may be moved.
struct Threads {
    until_ns: u64,
}

/// What the two threads say to each other: trips asked for times two, and one more while an answer is awaited.
#[derive(Default)]
struct Table {
    word: AtomicU64,
    answer: AtomicU64,
}

impl Threads {
    /// Waits for the word; false when the time is over.
    fn wait_for(&self, table: &Table, word: u64) -> bool {
        loop {
            for _ in 0..LOOKS {
                if table.word.load(Ordering::Acquire) == word {
                    return true;
                }
                std::hint::spin_loop();
            }
            if Reference::Raw.now_ns().is_ok_and(|now_ns| now_ns < self.until_ns) {
                // The other may wait for this very CPU.
                thread::yield_now();
            } else {
                return false;
            }
        }
    }

    /// The other CPU's part.
    fn answer(&self, table: &Table, cpu: u32) -> TimeResult<()> {
        affinity::move_to(cpu)?;
        for trip in 0..TRIPS {
            if !self.wait_for(table, 2 * trip + 1) {
                break;
            }
            table.answer.store(tsc::read(), Ordering::Relaxed);
            table.word.store(2 * trip + 2, Ordering::Release);
        }
        Ok(())
    }
}

impl Counters for Threads {
    fn trips(&mut self, first: u32, other: u32) -> TimeResult<Vec<Trip>> {
        affinity::move_to(first)?;
        let (own, table) = (&*self, &Table::default());
        thread::scope(|scope| {
            let answering = thread::Builder::new().spawn_scoped(scope, || own.answer(table, other));
            let answering = answering.map_err(|error| TimeError::Unavailable { reason: error.to_string() })?;
            let mut trips = Vec::with_capacity(TRIPS as usize);
            for trip in 0..TRIPS {
                let before = tsc::read();
                table.word.store(2 * trip + 1, Ordering::Release);
                if !own.wait_for(table, 2 * trip + 2) {
                    break;
                }
                trips.push([before, table.answer.load(Ordering::Relaxed), tsc::read()]);
            }
            answering
                .join()
                .map_err(|_| TimeError::Unavailable { reason: "the other CPU did not answer".into() })??;
            Ok(trips)
        })
    }
}

#[cfg(target_os = "linux")]
mod affinity {
    use csf_core::{TimeError, TimeResult};

    fn failed(call: &str) -> TimeError {
        TimeError::Unavailable { reason: format!("{call}: {}", std::io::Error::last_os_error()) }
    }

    /// Those this thread may run on.
    pub(super) fn cpus() -> TimeResult<Vec<u32>> {
        // SAFETY: a set of CPUs is an array of bits, of which all zeros is the empty one.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is valid and writable, of the size that is told, and not kept; 0 is the calling thread.
        if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0 {
            return Err(failed("sched_getaffinity"));
        }
        let limit = libc::CPU_SETSIZE as usize;
        // SAFETY: every number is below the size of the set.
        Ok((0..limit).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).map(|cpu| cpu as u32).collect())
    }

    /// Moves the calling thread; it runs there when the call returns (sched_setaffinity(2), NOTES).
    pub(super) fn move_to(cpu: u32) -> TimeResult<()> {
        // SAFETY: as in `cpus`.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the number came out of a set of the same size; the call reads the set and does not keep it.
        let outcome = unsafe {
            libc::CPU_SET(cpu as usize, &mut set);
            libc::sched_setaffinity(0, size_of_val(&set), &raw const set)
        };
        if outcome == 0 { Ok(()) } else { Err(failed("sched_setaffinity")) }
    }
}

#[cfg(not(target_os = "linux"))]
mod affinity {
    use csf_core::{TimeError, TimeResult};

    pub(super) fn cpus() -> TimeResult<Vec<u32>> {
        Err(TimeError::Unavailable { reason: "this system does not move threads between CPUs".into() })
    }

    pub(super) fn move_to(_: u32) -> TimeResult<()> {
        cpus().map(|_| ())
    }
}

#[cfg(test)]
#[path = "agreement/tests.rs"]
mod tests;
