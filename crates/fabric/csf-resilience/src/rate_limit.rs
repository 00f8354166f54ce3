//! The rate limit: so many tries in a stretch of time, evenly. The generic cell rate algorithm of `governor`, on a [`Timer`]'s clock.
//!
//! `calls` in `per` means one every `per / calls`; after a pause, `burst` may follow each other at once. Callers that wait are served in
//! their order; one that could not be served within `max_wait` is refused at once instead of after the wait.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use csf_core::port::{Timer, within};
use governor::Quota;
use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::bulkhead::Waiting;
use crate::policy::{Problems, span};

/// Settings of a rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitPolicy {
    /// Tries in `per`.
    pub calls: u32,
    /// The stretch of time.
    pub per: Duration,
    /// Tries that may follow each other at once after a pause; `None` = `calls`.
    pub burst: Option<u32>,
    /// Longest wait for a turn; zero fails at once.
    pub max_wait: Duration,
}

impl Default for RateLimitPolicy {
    fn default() -> Self {
        Self { calls: 100, per: Duration::from_secs(1), burst: None, max_wait: Duration::ZERO }
    }
}

impl RateLimitPolicy {
    /// Time between two tries.
    #[must_use]
    pub fn interval(&self) -> Duration {
        (self.per / self.calls.max(1)).max(Duration::from_nanos(1))
    }

    fn burst(&self) -> u32 {
        self.burst.unwrap_or(self.calls).max(1)
    }

    fn quota(&self) -> Quota {
        let burst = NonZeroU32::new(self.burst()).unwrap_or(NonZeroU32::MIN);
        Quota::with_period(self.interval()).unwrap_or(Quota::per_second(burst)).allow_burst(burst)
    }

    pub(crate) fn validate(&self, problems: &mut Problems) {
        problems.range("calls", u64::from(self.calls), 1, 1_000_000_000);
        problems.span("per", self.per, Duration::from_micros(1), span::DAY);
        problems.range("burst", u64::from(self.burst.unwrap_or(1)), 1, 1_000_000_000);
        problems.span("max_wait", self.max_wait, Duration::ZERO, span::DAY);
        let filled_in = self.interval().checked_mul(self.burst());
        if filled_in.is_none_or(|span| span > 30 * span::DAY) {
            let message = format!("a burst of {} takes more than 30 days to come back", self.burst());
            problems.add("burst", message, "lower `burst` or raise the rate");
        }
    }
}

/// The turn would come too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Tries in `per`.
    pub calls: u32,
    /// The stretch of time.
    pub per: Duration,
    /// The limit of the wait.
    pub max_wait: Duration,
    /// When the turn would come at the earliest.
    pub retry_in: Duration,
}

/// A rate limit at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateLimitReport {
    /// Time between two tries, in nanoseconds.
    pub interval_ns: u64,
    /// Calls that wait for their turn.
    pub waiting: u32,
    /// Calls refused ever.
    pub limited: u64,
}

#[derive(Clone)]
struct TimerClock(Arc<dyn Timer>);

impl Clock for TimerClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.now()
    }
}

type Cells = governor::RateLimiter<NotKeyed, InMemoryState, TimerClock, StateInformationMiddleware>;

struct Inner {
    policy: RateLimitPolicy,
    cells: Cells,
    /// Held by the caller whose turn is next.
    turn: Semaphore,
    waiting: AtomicU32,
    /// When the turn of the first that waits comes, in nanoseconds of the clock.
    first_turn_ns: AtomicU64,
    limited: AtomicU64,
    timer: Arc<dyn Timer>,
}

/// A gate that opens at a rate. Clones are the same gate.
#[derive(Clone)]
pub struct RateLimiter(Arc<Inner>);

impl RateLimiter {
    /// A gate with its whole burst.
    #[must_use]
    pub fn new(policy: RateLimitPolicy, timer: Arc<dyn Timer>) -> Self {
        let clock = TimerClock(timer.clone());
        let cells: Cells = governor::RateLimiter::direct_with_clock(policy.quota(), clock).with_middleware();
        let (waiting, first_turn_ns, limited) = (AtomicU32::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { policy, cells, turn: Semaphore::new(1), waiting, first_turn_ns, limited, timer }))
    }

    /// A gate of new settings that grants no burst which this one had not left. Calls that wait at this one keep their turn, at
    /// its rate, until they are through.
    #[must_use]
    pub fn reconfigured(&self, policy: RateLimitPolicy) -> Self {
        if policy == self.0.policy {
            return self.clone();
        }
        let left = self.0.cells.check().map_or(0, |state| state.remaining_burst_capacity().saturating_add(1));
        let new = Self::new(policy, self.0.timer.clone());
        if let Some(gone) = NonZeroU32::new(new.0.policy.burst().saturating_sub(left)) {
            // Never more than the burst, so there is room for it.
            let _ = new.0.cells.check_n(gone);
        }
        new.0.limited.store(self.0.limited.load(Relaxed), Relaxed);
        new
    }

    /// Waits for a turn, `max_wait` at most. Cancel safe: a caller that is dropped leaves the queue and takes no turn.
    ///
    /// # Errors
    /// [`Limited`], at once when the turn cannot come in time.
    pub async fn acquire(&self) -> Result<(), Limited> {
        let Inner { policy, cells, turn, timer, .. } = &*self.0;
        let (ahead, now) = (self.0.waiting.load(Relaxed), timer.now());
        let first = if ahead > 0 {
            Duration::from_nanos(self.0.first_turn_ns.load(Relaxed)).saturating_sub(now)
        } else {
            match cells.check() {
                Ok(_) => return Ok(()),
                Err(not_until) => self.first_turn(not_until.wait_time_from(now)),
            }
        };
        // Each behind the first waits an interval more.
        let wait = policy.interval().saturating_mul(ahead).saturating_add(first);
        if wait > policy.max_wait {
            return Err(self.refuse(wait));
        }
        let _place = Waiting::join(&self.0.waiting);
        let taking = async {
            let _turn = turn.acquire().await.expect("the semaphore is never closed");
            loop {
                match cells.check() {
                    Ok(_) => return,
                    Err(not_until) => timer.sleep(self.first_turn(not_until.wait_time_from(timer.now()))).await,
                }
            }
        };
        let taken = within(&**timer, policy.max_wait, taking).await;
        taken.ok_or_else(|| self.refuse(policy.interval()))
    }

    /// Keeps when the first turn comes, for those who ask behind it.
    fn first_turn(&self, wait: Duration) -> Duration {
        let at = self.0.timer.now().saturating_add(wait);
        self.0.first_turn_ns.store(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        wait
    }

    /// Everything at a glance.
    #[must_use]
    pub fn report(&self) -> RateLimitReport {
        RateLimitReport {
            interval_ns: u64::try_from(self.0.policy.interval().as_nanos()).unwrap_or(u64::MAX),
            waiting: self.0.waiting.load(Relaxed),
            limited: self.0.limited.load(Relaxed),
        }
    }

    fn refuse(&self, retry_in: Duration) -> Limited {
        self.0.limited.fetch_add(1, Relaxed);
        let RateLimitPolicy { calls, per, max_wait, .. } = self.0.policy;
        Limited { calls, per, max_wait, retry_in }
    }
}
