//! Answers of queries, kept for a while: never older than the last invalidation that has returned.
//!
//! An entry depends on words: names of streams, categories, tags. Each word has a version, drawn anew whenever an event touches the word. An
//! entry holds the versions that were read before it was loaded, and is an answer only while they are the newest: whoever loads from
//! what was there before an event keeps an entry that nobody takes. Where an invalidation cannot be delivered it returns once every entry from before
//! it has expired, so a cache that is cut off costs time and never truth.
//! Invariant: after [`QueryCache::invalidate`] has returned, no reader of any process gets an answer that was loaded before the call.
//! Reference: Gray and Cheriton, "Leases" (1989), for the wait; Nishtala et al., "Scaling Memcache at Facebook" (2013), 3.2.1, for stale sets.

mod memory;
#[cfg(feature = "redis")]
mod redis;

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use csf_core::port::{EventLog, Filter, Json, LogError, NewEvent, StoredEvent, Timer, category};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use memory::MemoryCache;
#[cfg(feature = "redis")]
pub use redis::{RedisCache, RedisOptions};

use crate::Subscription;

/// Share of the time to live that a wait for expiry is longer, for clocks that do not run alike: 1.6 %.
const MARGIN: u32 = 64;
/// Pause between two tries to deliver an invalidation.
const DELIVER_AGAIN: Duration = Duration::from_millis(50);

/// An answer of a store of entries.
pub type CacheFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, CacheError>> + Send + 'a>>;

/// A store of entries that did not answer. The cache goes on without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cache {place} does not answer: {reason}")]
pub struct CacheError {
    /// Which.
    pub place: String,
    /// Why.
    pub reason: String,
}

/// What a word was given when it was touched last. No version is given twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WordVersion(pub String);

/// An answer and what it was loaded under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// One for each word it depends on, in the order of the words.
    pub versions: Vec<WordVersion>,
    /// The answer, as JSON text.
    pub value: String,
}

/// What a store knows of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// What is kept under the key.
    pub entry: Option<Entry>,
    /// The words' versions now.
    pub versions: Vec<WordVersion>,
    /// Now, on the store's own clock.
    pub at_ms: u64,
}

/// Where entries are kept. Each call is atomic; calls of all processes follow one order.
pub trait CacheStore: Send + Sync {
    /// The entry under a key, and the versions of words. A word without a version gets one.
    fn look<'a>(&'a self, key: &'a str, words: &'a [String]) -> CacheFuture<'a, Looked>;

    /// Keeps an entry until then, on the store's own clock.
    fn keep<'a>(&'a self, key: &'a str, entry: Entry, until_ms: u64) -> CacheFuture<'a, ()>;

    /// Gives the words new versions.
    fn touch<'a>(&'a self, words: &'a [String]) -> CacheFuture<'a, ()>;

    /// Removes everything that this store has kept under its own name, and nothing else, and ends its connection; how many keys.
    fn clear(&self) -> CacheFuture<'_, u64>;

    /// Whether it has a connection.
    fn is_connected(&self) -> bool {
        false
    }
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Answers from the cache.
    pub hits: u64,
    /// Answers that were loaded.
    pub misses: u64,
    /// Calls that the store did not answer.
    pub unanswered: u64,
}

/// A cache of answers. Clones are the same one.
#[derive(Clone)]
pub struct QueryCache {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn CacheStore>,
    timer: Arc<dyn Timer>,
    ttl: Duration,
    /// Who loads a key; others wait for it.
    flights: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    hits: AtomicU64,
    misses: AtomicU64,
    unanswered: AtomicU64,
}

impl QueryCache {
    /// Answers live `ttl` at most; that long an invalidation may take while the store is cut off.
    #[must_use]
    pub fn new(store: Arc<dyn CacheStore>, timer: Arc<dyn Timer>, ttl: Duration) -> Self {
        let (hits, misses, unanswered) = Default::default();
        let shared = Shared { store, timer, ttl, flights: Mutex::default(), hits, misses, unanswered };
        Self { shared: Arc::new(shared) }
    }

    /// The answer under `key`, loaded when there is none that is valid. `depends_on` are the words whose events may change it, the same for
    /// each call of one key. Of the callers of one key in this process one loads at a time. Cancel safe where `load` is.
    ///
    /// # Errors
    /// Those of `load`. A store that does not answer is a miss.
    pub async fn get_or_load<T, E, F>(&self, key: &str, depends_on: &[&str], load: F) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, E>>,
    {
        let words: Vec<String> = depends_on.iter().map(|word| (*word).to_owned()).collect();
        let Ok(looked) = self.answered(self.shared.store.look(key, &words).await) else {
            return self.loaded(load).await;
        };
        if let Some(answer) = self.hit(&looked) {
            return Ok(answer);
        }
        let flight = self.flight(key);
        let _turn = flight.lock().await;
        // Somebody may have loaded it meanwhile.
        let Ok(looked) = self.answered(self.shared.store.look(key, &words).await) else {
            return self.loaded(load).await;
        };
        if let Some(answer) = self.hit(&looked) {
            return Ok(answer);
        }
        let answer = self.loaded(load).await?;
        if let Ok(value) = Json::of(&answer) {
            let ttl_ms = u64::try_from(self.shared.ttl.as_millis()).unwrap_or(u64::MAX);
            let entry = Entry { versions: looked.versions, value: value.as_str().to_owned() };
            let kept = self.shared.store.keep(key, entry, looked.at_ms.saturating_add(ttl_ms)).await;
            // What is not kept is loaded again.
            let _ = self.answered(kept);
        }
        Ok(answer)
    }

    fn hit<T: DeserializeOwned>(&self, looked: &Looked) -> Option<T> {
        let entry = looked.entry.as_ref().filter(|entry| entry.versions == looked.versions)?;
        let answer = serde_json::from_str(&entry.value).ok()?;
        self.shared.hits.fetch_add(1, Ordering::Relaxed);
        Some(answer)
    }

    async fn loaded<T, E>(&self, load: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.shared.misses.fetch_add(1, Ordering::Relaxed);
        load.await
    }

    fn answered<T>(&self, answer: Result<T, CacheError>) -> Result<T, CacheError> {
        answer.inspect_err(|error| {
            if self.shared.unanswered.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(%error, "answers are loaded instead");
            }
        })
    }

    fn flight(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.shared.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::default();
        flights.insert(key.to_owned(), Arc::downgrade(&flight));
        flight
    }

    /// Makes every answer that depends on one of the words invalid, for all processes; back when that is certain. While the store does not
    /// answer that takes as long as answers live. Dropped before, it may not be done.
    pub async fn invalidate(&self, words: impl IntoIterator<Item = impl Into<String>>) {
        let words: Vec<String> = words.into_iter().map(Into::into).collect::<BTreeSet<_>>().into_iter().collect();
        if words.is_empty() {
            return;
        }
        let Shared { store, timer, ttl, .. } = &*self.shared;
        let end = timer.now() + *ttl + *ttl / MARGIN;
        loop {
            if self.answered(store.touch(&words).await).is_ok() {
                return;
            }
            let left = end.saturating_sub(timer.now());
            if left.is_zero() {
                return;
            }
            timer.sleep(left.min(DELIVER_AGAIN)).await;
        }
    }

    /// Invalidates what these events touch. See [`touched`].
    pub async fn invalidate_for_events(&self, events: &[NewEvent]) {
        self.invalidate(events.iter().flat_map(|event| touched(&event.stream, &event.tags))).await;
    }

    /// Invalidates what the events of a log touch, from those after `after` on, for ever: also those that others append. Answers that
    /// depend on them are valid a moment longer than the events are old.
    ///
    /// # Errors
    /// [`LogError`] of the log.
    pub async fn follow(&self, log: Arc<dyn EventLog>, filter: Filter, after: u64) -> Result<(), LogError> {
        let mut events = Subscription::new(log, filter, after);
        loop {
            let page: Vec<StoredEvent> = events.progress().await?;
            self.invalidate(page.iter().flat_map(|event| touched(&event.stream, &event.tags))).await;
        }
    }

    /// Removes what this cache has kept, and nothing else; how many keys.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn clear(&self) -> Result<u64, CacheError> {
        self.shared.store.clear().await
    }

    /// Whether its store has a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.store.is_connected()
    }

    /// How often what happened.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        let Shared { hits, misses, unanswered, .. } = &*self.shared;
        let [hits, misses, unanswered] = [hits, misses, unanswered].map(|count| count.load(Ordering::Relaxed));
        CacheCounts { hits, misses, unanswered }
    }
}

/// The words that an event of this stream with these tags touches: the stream, its category and the tags.
pub fn touched(stream: &str, tags: &[String]) -> impl Iterator<Item = String> {
    [stream.to_owned(), category(stream).to_owned()].into_iter().chain(tags.to_vec())
}

impl std::fmt::Debug for QueryCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryCache").field("ttl", &self.shared.ttl).field("counts", &self.counts()).finish()
    }
}
