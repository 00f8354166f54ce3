//! The keys of events that are not in the index yet.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use csf_core::port::EventId;
use rusqlite::Connection;
use smallvec::SmallVec;

use super::key::{ByKey, Key, keys};
use crate::sqlite::journal::signed;
use crate::sqlite::reader::ReadError;

/// The keys of some events that follow each other.
#[derive(Debug, Default)]
pub(super) struct Generation {
    postings: HashMap<Key, SmallVec<[u64; 2]>, ByKey>,
    /// What is no longer there, here or in the index.
    gone: Vec<(Key, u64)>,
    pub(super) events: usize,
    /// Position of the last of them.
    pub(super) last: u64,
}

impl Generation {
    pub(super) fn note(&mut self, position: u64, keys: impl Iterator<Item = Key>) {
        for key in keys {
            let positions = self.postings.entry(key).or_default();
            // A tag may be there twice.
            if positions.last() != Some(&position) {
                positions.push(position);
            }
        }
        self.events += 1;
        self.last = position;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events == 0 && self.gone.is_empty()
    }

    /// The keys with their positions, sorted.
    pub(super) fn postings(&self) -> Vec<(Key, &[u64])> {
        let mut postings: Vec<_> = self.postings.iter().map(|(key, positions)| (*key, &positions[..])).collect();
        postings.sort_unstable();
        postings
    }

    /// What is gone, sorted.
    pub(super) fn gone(&self) -> Vec<(Key, u64)> {
        let mut gone = self.gone.clone();
        gone.sort_unstable();
        gone
    }

    fn after(&self, key: Key, mark: u64, newest: u64, out: &mut Vec<u64>) {
        let positions = self.postings.get(&key).map_or(&[][..], |positions| positions);
        let from = positions.partition_point(|position| *position <= mark);
        let until = positions.partition_point(|position| *position <= newest).max(from);
        out.extend_from_slice(&positions[from..until]);
    }
}

/// What is in the tail.
#[derive(Debug, Default)]
pub(super) struct State {
    /// On its way into the index.
    pub(super) folding: Option<Arc<Generation>>,
    pub(super) young: Generation,
    /// Whether the journal's writer tells of every event here. Otherwise `young` has those after `start`.
    pub(super) is_fed: bool,
    start: u64,
    /// The folding did not work the last time.
    pub(super) has_failed: bool,
}

impl State {
    /// Positions of the key after `mark` and up to `newest`, ascending.
    pub(super) fn after(&self, key: Key, mark: u64, newest: u64) -> Vec<u64> {
        let mut positions = Vec::new();
        if let Some(folding) = &self.folding {
            folding.after(key, mark, newest, &mut positions);
        }
        self.young.after(key, mark, newest, &mut positions);
        positions
    }

    /// Reads what nobody tells of: the keys of events after `mark` and up to `newest`.
    pub(super) fn follow(&mut self, journal: &Connection, mark: u64, newest: u64) -> Result<(), ReadError> {
        if self.is_fed {
            return Ok(());
        }
        if self.young.last <= mark || mark < self.start {
            (self.young, self.start) = (Generation { last: mark, ..Generation::default() }, mark);
        }
        let from = self.young.last;
        if from < newest {
            read_keys(journal, from, newest, usize::MAX, &mut self.young)?;
            self.young.last = newest;
        }
        Ok(())
    }

    /// Forgets events after `position`: they were not stored.
    pub(super) fn cut(&mut self, position: u64) {
        self.young.postings.retain(|_, positions| {
            positions.retain(|known| *known <= position);
            !positions.is_empty()
        });
        self.young.last = self.young.last.min(position);
    }

    pub(super) fn strike(&mut self, gone: impl IntoIterator<Item = (Key, u64)>) {
        self.young.gone.extend(gone);
    }
}

/// Shared by a writer, its readers and the thread that folds.
#[derive(Debug, Default)]
pub(super) struct Tail {
    state: Mutex<State>,
    /// The folding is done, or did not work.
    pub(super) folded: Condvar,
}

impl Tail {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.lock())
    }
}

/// The keys of at most `limit` events after `from` and up to `until`; how many there were.
pub(super) fn read_keys(
    journal: &Connection,
    from: u64,
    until: u64,
    limit: usize,
    into: &mut Generation,
) -> Result<usize, ReadError> {
    let sql = "SELECT position, id, stream, kind, tags FROM event WHERE position > ?1 AND position <= ?2 ORDER BY position LIMIT ?3";
    let mut statement = journal.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query([signed(from), i64::try_from(until).unwrap_or(i64::MAX), limit])?;
    let mut events = 0;
    while let Some(row) = rows.next()? {
        let position = row.get::<_, i64>(0)?.cast_unsigned();
        let bad = |reason: String| ReadError::Damaged { place: format!("event {position}"), reason };
        let id: Option<[u8; 16]> = row.get(1)?;
        let id = id.map(|bytes| EventId::from_u128(u128::from_be_bytes(bytes)));
        let text =
            |at| row.get_ref(at).map_err(ReadError::from).and_then(|v| v.as_str().map_err(|e| bad(e.to_string())));
        let tags: Vec<String> = match row.get_ref(4)?.as_str_or_null().map_err(|e| bad(e.to_string()))? {
            Some(tags) => serde_json::from_str(tags).map_err(|e| bad(e.to_string()))?,
            None => Vec::new(),
        };
        into.note(position, keys(text(2)?, text(3)?, id, &tags));
        events += 1;
    }
    Ok(events)
}
