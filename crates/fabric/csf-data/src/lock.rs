//! Locks with a lease and a fencing token, on the log.
//!
//! The lock of a name is stream `csf.lock-NAME`: who appends at the version it has read holds it. A lease is over for others once they have seen
//! it unchanged for its whole time on their own timer, so no two clocks are compared; its holder counts from before it asked, and so is
//! the first to give up. The token is a position of the log: a resource that refuses tokens smaller than the greatest it has seen is safe
//! from a holder that was asleep.
//! Invariant: of two grants of one lock, the later one has the greater token, and begins after the earlier one's lease is over for its holder.
//! Reference: Gray and Cheriton, "Leases" (1989); Kleppmann, "How to do distributed locking" (2016), for the token.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{
    Append, EventLog, ExpectedVersion, Json, LogError, NewEvent, Origin, Read, Refused, Spawn, StreamChange, Timer,
    within,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Category of the streams of locks.
const LOCK_CATEGORY: &str = "csf.lock";
/// Longest name of a lock and of a holder, bytes.
pub const LOCK_BYTES_MAX: usize = 128;
/// Share of the lease after which it is renewed.
const RENEWALS: u32 = 3;
/// Share of the lease that its holder gives away, for timers that do not run alike: 1.6 %.
const MARGIN: u32 = 64;
/// Shortest lease.
pub const TTL_MIN: Duration = Duration::from_millis(10);

/// Why a lock was not taken, or is held no more.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else held it all the time.
    #[error("lock `{lock}` was held by `{holder}` for all of {waited:?}; try again later")]
    Timeout {
        /// The lock.
        lock: String,
        /// Who held it last.
        holder: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A name or a lease that cannot be one.
    #[error(
        "{what} is no lock: names have 1 to {LOCK_BYTES_MAX} bytes without control characters, leases at least {TTL_MIN:?}"
    )]
    Bad {
        /// What was wrong.
        what: String,
    },
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What stands in a lock's stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    holder: String,
    /// 0 when it was given back.
    ttl_ns: u64,
    /// Position of the grant; 0 in the grant itself.
    token: u64,
}

/// What has been seen of a lock.
struct Seen {
    version: u64,
    /// On the timer, when this version was seen first.
    since: Duration,
}

/// The locks of a log, as one process sees them. Clones are the same.
#[derive(Clone)]
pub struct Locks {
    log: Arc<dyn EventLog>,
    timer: Arc<dyn Timer>,
    spawn: Arc<dyn Spawn>,
    clock: Arc<dyn Fn() -> Stamp + Send + Sync>,
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
}

impl Locks {
    /// The locks of this log.
    #[must_use]
    pub fn new(
        log: Arc<dyn EventLog>,
        timer: Arc<dyn Timer>,
        spawn: Arc<dyn Spawn>,
        clock: Arc<dyn Fn() -> Stamp + Send + Sync>,
    ) -> Self {
        Self { log, timer, spawn, clock, seen: Arc::default() }
    }

    /// Takes the lock for `holder`, waiting for it at most `timeout`. It is renewed until the guard is dropped. Cancel safe: a lock that was
    /// taken while nobody waited any more is free again after `ttl`.
    ///
    /// # Errors
    /// [`LockError`].
    pub async fn acquire(
        &self,
        lock: &str,
        holder: &str,
        ttl: Duration,
        timeout: Duration,
    ) -> Result<LockGuard, LockError> {
        let is_bad = |name: &str| name.is_empty() || name.len() > LOCK_BYTES_MAX || name.chars().any(char::is_control);
        if let Some(what) = [lock, holder].into_iter().find(|name| is_bad(name)) {
            return Err(LockError::Bad { what: format!("`{what}`") });
        }
        if ttl < TTL_MIN {
            return Err(LockError::Bad { what: format!("a lease of {ttl:?}") });
        }
        let end = self.timer.now() + timeout;
        loop {
            let position = self.log.position();
            let (by, left) = match self.attempt(lock, holder, ttl).await? {
                Attempt::Taken(lease) => return Ok(self.guard(lease)),
                Attempt::Held { by, left } => (by, left),
            };
            let now = self.timer.now();
            if now >= end {
                return Err(LockError::Timeout { lock: lock.to_owned(), holder: by, waited: timeout });
            }
            // Whatever is appended may be the lock's return.
            let wait = left.min(end - now).max(Duration::from_millis(1));
            if let Some(news) = within(&*self.timer, wait, self.log.beyond(position)).await {
                news?;
            }
        }
    }

    async fn attempt(&self, lock: &str, holder: &str, ttl: Duration) -> Result<Attempt, LockError> {
        let stream = format!("{LOCK_CATEGORY}-{lock}");
        let newest = self.log.read(Read::stream(&stream).backward().limit(1)).await?.events.pop();
        let version = newest.as_ref().map_or(0, |event| event.version);
        let now = self.timer.now();
        let known = newest.as_ref().and_then(|event| event.parse::<Entry>().ok()).filter(|entry| entry.ttl_ns > 0);
        if let Some(entry) = known {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = seen.entry(lock.to_owned()).or_insert(Seen { version, since: now });
            if seen.version != version {
                *seen = Seen { version, since: now };
            }
            let over = seen.since + Duration::from_nanos(entry.ttl_ns);
            if now < over {
                return Ok(Attempt::Held { by: entry.holder, left: over - now });
            }
        }
        // Counted from before it asks.
        let until = now + (ttl - ttl / MARGIN);
        let entry = Entry { holder: holder.to_owned(), ttl_ns: nanos(ttl), token: 0 };
        match self.log.append(self.entry(&stream, version, "granted", &entry)).await {
            Ok(done) => Ok(Attempt::Taken(Lease {
                stream,
                holder: holder.to_owned(),
                ttl,
                token: done.first,
                version: version + 1,
                until,
            })),
            // Another was faster; the next look says who.
            Err(LogError::Refused(Refused::WrongVersion { .. })) => {
                Ok(Attempt::Held { by: holder.to_owned(), left: Duration::ZERO })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The next entry of a lock, in place of the one before.
    fn entry(&self, stream: &str, version: u64, kind: &str, entry: &Entry) -> Append {
        let stamp = (self.clock)();
        let data = Json::of(entry).expect("texts have a JSON form");
        let origin = Origin { author: Some(entry.holder.clone()), ..Origin::default() };
        let keep = StreamChange::Truncate { stream: stream.to_owned(), before: version + 1 };
        let event = NewEvent::new(stream, kind, stamp, data).with_origin(origin);
        Append::from(event).expecting(stream, ExpectedVersion::Exactly(version)).changing(stamp, keep)
    }

    fn guard(&self, lease: Lease) -> LockGuard {
        let (token, timer) = (lease.token, self.timer.clone());
        let (told, until) = watch::channel(lease.until);
        let (given_back, back) = watch::channel(false);
        self.spawn.spawn(Box::pin(self.clone().keep(lease, told, back)));
        LockGuard { token, until, timer, given_back }
    }

    /// Renews the lease until it is given back, or lost.
    async fn keep(self, mut lease: Lease, told: watch::Sender<Duration>, mut back: watch::Receiver<bool>) {
        loop {
            let wait = lease.ttl / RENEWALS;
            // A guard that is gone counts as one that was given back.
            let is_back = within(&*self.timer, wait, back.wait_for(|back| *back)).await.is_some();
            let entry = |ttl_ns| Entry { holder: lease.holder.clone(), ttl_ns, token: lease.token };
            if is_back {
                let give_back = self.entry(&lease.stream, lease.version, "released", &entry(0));
                // When this fails the lease ends by itself.
                let _ = self.log.append(give_back).await;
                return;
            }
            let now = self.timer.now();
            let renewal = self.entry(&lease.stream, lease.version, "renewed", &entry(nanos(lease.ttl)));
            match self.log.append(renewal).await {
                Ok(_) => {
                    lease.version += 1;
                    told.send_replace(now + (lease.ttl - lease.ttl / MARGIN));
                }
                Err(LogError::Refused(_) | LogError::Closed) => {
                    told.send_replace(Duration::ZERO);
                    return;
                }
                // The lease still has two thirds of its time. Whether this was stored, the next renewal finds out: then it is refused.
                Err(_) => {}
            }
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

enum Attempt {
    Taken(Lease),
    Held { by: String, left: Duration },
}

struct Lease {
    stream: String,
    holder: String,
    ttl: Duration,
    token: u64,
    version: u64,
    until: Duration,
}

/// A lock that is held. Dropping it gives it back.
pub struct LockGuard {
    token: u64,
    until: watch::Receiver<Duration>,
    timer: Arc<dyn Timer>,
    given_back: watch::Sender<bool>,
}

impl LockGuard {
    /// The fencing token: greater than that of every holder before.
    #[must_use]
    pub const fn token(&self) -> u64 {
        self.token
    }

    /// Whether the lease is certain at this moment. What is done with the lock goes to the resource with the token all the same: this thread
    /// may fall asleep after the look.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.timer.now() < *self.until.borrow()
    }

    /// Gives it back.
    pub fn release(self) {}
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.given_back.send_replace(true);
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard").field("token", &self.token).field("is_valid", &self.is_valid()).finish()
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Locks")
    }
}

/// The resource's side: refuses tokens older than the newest it has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    newest: u64,
}

/// A token whose lock has been granted to another since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token {token} is older than {newest}: the lock has been granted to another; take it again")]
pub struct StaleToken {
    /// The token.
    pub token: u64,
    /// The newest one seen.
    pub newest: u64,
}

impl Fence {
    /// Lets a token through.
    ///
    /// # Errors
    /// [`StaleToken`].
    pub fn pass(&mut self, token: u64) -> Result<(), StaleToken> {
        if token < self.newest {
            return Err(StaleToken { token, newest: self.newest });
        }
        self.newest = token;
        Ok(())
    }
}
