//! Entries in the process: the embedded default.

use std::collections::{BTreeMap, HashMap};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csf_core::port::Timer;

use super::{CacheFuture, CacheStore, Entry, Looked, WordVersion};

/// Entries, and words with a version, unless another number is chosen.
const ENTRIES_MAX: usize = 10_000;

/// Entries in memory; the oldest ones make room.
pub struct MemoryCache {
    timer: Arc<dyn Timer>,
    entries_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// With the number under which it was kept.
    entries: HashMap<String, (Entry, u64, u64)>,
    by_age: BTreeMap<u64, String>,
    words: HashMap<String, u64>,
    /// The next number: of an entry or of a version.
    next: u64,
}

impl MemoryCache {
    /// At most 10,000 entries.
    #[must_use]
    pub fn new(timer: Arc<dyn Timer>) -> Self {
        Self::with_limit(timer, ENTRIES_MAX)
    }

    /// At most this many entries, at least one, and as many words.
    #[must_use]
    pub fn with_limit(timer: Arc<dyn Timer>, entries_max: usize) -> Self {
        Self { timer, entries_max: entries_max.max(1), kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.timer.now().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Kept {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn version(&mut self, word: &str, words_max: usize) -> u64 {
        if let Some(version) = self.words.get(word) {
            return *version;
        }
        if self.words.len() >= words_max {
            // Every word gets another version when it is asked for: no entry is taken for valid by that.
            self.words.clear();
        }
        let version = self.number();
        self.words.insert(word.to_owned(), version);
        version
    }

    fn remove(&mut self, key: &str) {
        if let Some((_, _, number)) = self.entries.remove(key) {
            self.by_age.remove(&number);
        }
    }
}

impl CacheStore for MemoryCache {
    fn look<'a>(&'a self, key: &'a str, words: &'a [String]) -> CacheFuture<'a, Looked> {
        let at_ms = self.now_ms();
        let mut kept = self.kept();
        let versions = words.iter().map(|word| WordVersion(kept.version(word, self.entries_max).to_string())).collect();
        let entry = kept.entries.get(key).filter(|(_, until_ms, _)| at_ms < *until_ms).map(|(entry, ..)| entry.clone());
        Box::pin(ready(Ok(Looked { entry, versions, at_ms })))
    }

    fn keep<'a>(&'a self, key: &'a str, entry: Entry, until_ms: u64) -> CacheFuture<'a, ()> {
        let mut kept = self.kept();
        kept.remove(key);
        while kept.entries.len() >= self.entries_max {
            let Some((_, oldest)) = kept.by_age.pop_first() else { break };
            kept.entries.remove(&oldest);
        }
        let number = kept.number();
        kept.by_age.insert(number, key.to_owned());
        kept.entries.insert(key.to_owned(), (entry, until_ms, number));
        Box::pin(ready(Ok(())))
    }

    fn touch<'a>(&'a self, words: &'a [String]) -> CacheFuture<'a, ()> {
        let mut kept = self.kept();
        for word in words {
            // A word that nobody has asked for gets its version when somebody does.
            kept.words.remove(word);
        }
        Box::pin(ready(Ok(())))
    }

    fn clear(&self) -> CacheFuture<'_, u64> {
        let mut kept = self.kept();
        let keys = kept.entries.len() + kept.words.len();
        (kept.entries, kept.by_age, kept.words) = Default::default();
        Box::pin(ready(Ok(keys as u64)))
    }
}

impl std::fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryCache").field("entries", &self.kept().entries.len()).finish_non_exhaustive()
    }
}
