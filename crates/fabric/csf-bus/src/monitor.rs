//! What the bus notices about itself: violations, panics of filters, latencies, missed deadlines.
//!
//! Written apart from the traffic: a counter that every packet touches belongs to one reader, and the sums are made when asked for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use csf_core::port::{TimeSource, Timer};
use csf_core::{BusError, Header, MessageId, Stamp};
use serde::{Deserialize, Serialize};

use crate::BusConfig;

/// Dead letters kept; older ones are only counted.
pub const DEAD_LETTERS_MAX: usize = 256;

/// Why a packet could not be delivered in causal order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ViolationKind {
    /// Its cause did not come within the longest hold.
    Overdue,
    /// It waits, over one or more packets, for itself.
    Cyclic,
}

/// A packet that would have been delivered before its cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemporalViolation {
    /// The packet held back.
    pub effect: MessageId,
    /// The cause it named.
    pub cause: MessageId,
    /// Topic of the effect.
    pub topic: String,
    /// How long it was held.
    pub held_ns: u64,
    /// Why it was given up.
    pub kind: ViolationKind,
}

impl From<&TemporalViolation> for BusError {
    fn from(v: &TemporalViolation) -> Self {
        let why = match v.kind {
            ViolationKind::Overdue => format!("which did not come within {} ns", v.held_ns),
            ViolationKind::Cyclic => "which waits for it in turn".to_owned(),
        };
        Self::TemporalViolation {
            details: format!("packet {} on `{}` names as its cause {}, {why}", v.effect, v.topic, v.cause),
        }
    }
}

/// A packet that was taken out of a subscription undelivered.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// Why.
    pub violation: TemporalViolation,
    /// Its header.
    pub header: Header,
    /// Its postcard form; empty when it has none.
    pub payload: Vec<u8>,
}

/// Sums over the subscriptions of a bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryTimes {
    /// Packets whose latency was measured.
    pub samples: u64,
    /// Sum of the measured latencies, from stamp to hand-over.
    pub sum_ns: u64,
    /// Largest measured latency.
    pub peak_ns: u64,
    /// Packets handed out after their deadline.
    pub delivered_late: u64,
    /// Packets passed over because of their deadline.
    pub dropped_late: u64,
}

impl DeliveryTimes {
    fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.peak_ns = self.peak_ns.max(other.peak_ns);
        self.delivered_late += other.delivered_late;
        self.dropped_late += other.dropped_late;
    }
}

/// One subscription's times: written by its reader only.
#[derive(Default)]
struct Times {
    samples: AtomicU64,
    sum_ns: AtomicU64,
    peak_ns: AtomicU64,
    delivered_late: AtomicU64,
    dropped_late: AtomicU64,
}

impl Times {
    fn read(&self) -> DeliveryTimes {
        DeliveryTimes {
            samples: self.samples.load(Ordering::Relaxed),
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
            peak_ns: self.peak_ns.load(Ordering::Relaxed),
            delivered_late: self.delivered_late.load(Ordering::Relaxed),
            dropped_late: self.dropped_late.load(Ordering::Relaxed),
        }
    }
}

/// Adds to a word that only this thread writes.
fn bump(word: &AtomicU64, by: u64) {
    word.store(word.load(Ordering::Relaxed).saturating_add(by), Ordering::Relaxed);
}

#[derive(Default)]
struct Records {
    dead_letters: VecDeque<DeadLetter>,
    /// By address.
    live: BTreeMap<usize, Weak<Times>>,
    retired: DeliveryTimes,
}

/// What one bus notices about itself.
pub(crate) struct Monitor {
    pub(crate) clock: Arc<dyn TimeSource>,
    pub(crate) timer: Arc<dyn Timer>,
    pub(crate) hold_max_ns: u64,
    latency_every: u64,
    records: Mutex<Records>,
    violations: AtomicU64,
    waits: AtomicU64,
    filter_panics: AtomicU64,
}

impl Monitor {
    pub(crate) fn new(config: &BusConfig) -> Self {
        let (clock, timer, latency_every) = (config.time_source.clone(), config.timer.clone(), config.latency_every);
        Self {
            clock,
            timer,
            hold_max_ns: u64::try_from(config.hold_max.as_nanos()).unwrap_or(u64::MAX),
            latency_every,
            records: Mutex::default(),
            violations: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            filter_panics: AtomicU64::new(0),
        }
    }

    fn records(&self) -> std::sync::MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now; zero while the clock cannot be read, so that nothing is overdue.
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.now_ns().map_or(0, |now| now.as_nanos())
    }

    pub(crate) fn count_wait(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_filter_panic(&self) {
        self.filter_panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn bury(&self, letter: DeadLetter) {
        self.violations.fetch_add(1, Ordering::Relaxed);
        let mut records = self.records();
        if records.dead_letters.len() == DEAD_LETTERS_MAX {
            records.dead_letters.pop_front();
        }
        records.dead_letters.push_back(letter);
    }

    pub(crate) fn violations(&self) -> u64 {
        self.violations.load(Ordering::Relaxed)
    }

    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    pub(crate) fn filter_panics(&self) -> u64 {
        self.filter_panics.load(Ordering::Relaxed)
    }

    pub(crate) fn dead_letters(&self) -> Vec<DeadLetter> {
        self.records().dead_letters.iter().cloned().collect()
    }

    pub(crate) fn times(&self) -> DeliveryTimes {
        let records = self.records();
        let mut sum = records.retired;
        for times in records.live.values().filter_map(Weak::upgrade) {
            sum.add(times.read());
        }
        sum
    }
}

/// Packets whose deadlines are judged by one reading of the clock where they are only counted.
const JUDGED: u32 = 15;
/// How long after that reading they may be published.
const ABOUT_NS: u64 = 10_000;

/// Measures one subscription's deliveries.
pub(crate) struct Meter {
    monitor: Arc<Monitor>,
    times: Arc<Times>,
    drops_late: bool,
    /// Packets until the next measurement.
    countdown: u64,
    /// Packets published before this are judged by the last reading, so many of them: in time when their deadline is later.
    judged_until: Stamp,
    judged_left: u32,
}

impl Meter {
    pub(crate) fn new(monitor: Arc<Monitor>, drops_late: bool) -> Self {
        let times = Arc::new(Times::default());
        let mut records = monitor.records();
        records.live.insert(Arc::as_ptr(&times).addr(), Arc::downgrade(&times));
        drop(records);
        Self { countdown: monitor.latency_every, monitor, times, drops_late, judged_until: Stamp::ZERO, judged_left: 0 }
    }

    /// Packets that came after their deadline, handed out or passed over.
    pub(crate) fn late(&self) -> u64 {
        self.times.delivered_late.load(Ordering::Relaxed) + self.times.dropped_late.load(Ordering::Relaxed)
    }

    pub(crate) fn monitor(&self) -> &Arc<Monitor> {
        &self.monitor
    }

    /// Notes that a packet is handed out; false when it comes too late and shall be passed over. Whether to pass over is decided by a
    /// reading of the clock for each packet; who only counts reads it for every 16th of those that were published about the same time.
    #[inline(always)]
    pub(crate) fn admit(&mut self, stamp: Stamp, deadline: Option<Stamp>) -> bool {
        self.countdown = self.countdown.wrapping_sub(1);
        if self.countdown != 0 {
            let Some(deadline) = deadline else { return true };
            let is_judged = !self.drops_late && self.judged_left > 0 && stamp <= self.judged_until;
            if is_judged && deadline >= self.judged_until {
                self.judged_left -= 1;
                return true;
            }
        }
        self.measure(stamp, deadline)
    }

    #[inline(never)]
    fn measure(&mut self, stamp: Stamp, deadline: Option<Stamp>) -> bool {
        let Ok(now) = self.monitor.clock.now_ns_unordered() else { return true };
        let now = Stamp(now.as_nanos());
        (self.judged_until, self.judged_left) = (now.after(ABOUT_NS), JUDGED);
        if self.countdown == 0 {
            self.countdown = self.monitor.latency_every;
            let latency = now.since(stamp);
            bump(&self.times.samples, 1);
            bump(&self.times.sum_ns, latency);
            if latency > self.times.peak_ns.load(Ordering::Relaxed) {
                self.times.peak_ns.store(latency, Ordering::Relaxed);
            }
        }
        let is_late = deadline.is_some_and(|deadline| now > deadline);
        match (is_late, self.drops_late) {
            (false, _) => true,
            (true, false) => {
                bump(&self.times.delivered_late, 1);
                true
            }
            (true, true) => {
                bump(&self.times.dropped_late, 1);
                false
            }
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let times = self.times.read();
        let mut records = self.monitor.records();
        records.live.remove(&Arc::as_ptr(&self.times).addr());
        records.retired.add(times);
    }
}
