//! Where events are: by stream, category, type, tag and name.
//!
//! A commit writes events in order and no index. Their keys are kept in memory (`tail`) until some thousand have come together; then a thread
//! writes them to `index.db` sorted, so that a page is written once for many events and not once for each. The index says up to which position
//! it goes. A reader in another process, or a writer after a crash, reads the keys of what comes after from the events themselves.
//! Invariant: every event up to the newest position is in the tail or in the index, or in both.
//! Invariant: what is found is looked at: a key leads to candidates, the event says whether it is meant. So the index may be lost, and is made
//! anew from the events.

mod folder;
mod key;
mod postings;
mod tail;

use std::path::Path;
use std::sync::Arc;

use csf_core::port::{Direction, JournalError};
use rusqlite::{Connection, Transaction};

use super::reader::ReadError;
use super::redo::Applied;
pub(super) use folder::Folder;
pub(super) use key::{Key, keys};
pub(super) use postings::FILES as INDEX_FILES;
use postings::Row;
use tail::Tail;

/// Finds events for one connection.
#[derive(Debug)]
pub(super) struct Finder {
    tail: Arc<Tail>,
    /// Nothing when there is no index that can be read: the tail has everything then.
    index: Option<Connection>,
}

impl Finder {
    /// Beside a journal that somebody else writes, or nobody.
    pub(super) fn alone(directory: &Path) -> Self {
        Self { tail: Arc::default(), index: postings::open_reader(directory) }
    }

    /// For another connection to the journal.
    pub(super) fn beside(&self, directory: &Path) -> Self {
        Self { tail: self.tail.clone(), index: postings::open_reader(directory) }
    }

    /// What is known of these keys up to `newest`, the newest position that `journal` sees.
    pub(super) fn look<'f>(
        &'f mut self,
        journal: &Connection,
        newest: u64,
        keys: &[Key],
    ) -> Result<Look<'f>, ReadError> {
        let index = self.index.as_ref();
        // Under the tail's lock, so that nothing leaves the tail between the two.
        let (view, fresh) = self.tail.with(|tail| {
            let view = index.map(View::open).transpose()?;
            let mark = view.as_ref().map_or(0, |view| view.mark);
            tail.follow(journal, mark, newest)?;
            Ok::<_, ReadError>((view, keys.iter().map(|key| (*key, tail.after(*key, mark, newest))).collect()))
        })?;
        Ok(Look { view, fresh })
    }
}

/// The index at one moment.
struct View<'f> {
    transaction: Transaction<'f>,
    /// The position up to which it goes.
    mark: u64,
}

impl<'f> View<'f> {
    fn open(index: &'f Connection) -> Result<Self, ReadError> {
        let transaction = index.unchecked_transaction()?;
        let mark = postings::mark(&transaction)?;
        Ok(Self { transaction, mark })
    }
}

/// What is known of some keys at one moment.
pub(super) struct Look<'f> {
    view: Option<View<'f>>,
    /// Positions after the index's mark, ascending.
    fresh: Vec<(Key, Vec<u64>)>,
}

impl Look<'_> {
    /// The newest position that may be meant and is not in the index.
    pub(super) fn newest(&self) -> Option<u64> {
        self.fresh.iter().filter_map(|(_, positions)| positions.last().copied()).max()
    }

    /// The positions from `first` to `last` of events that may have the key.
    pub(super) fn candidates(&self, key: Key, first: u64, last: u64, direction: Direction) -> Candidates<'_> {
        let fresh = self.fresh.iter().find(|(known, _)| *known == key).map_or(&[][..], |(_, positions)| positions);
        let from = fresh.partition_point(|position| *position < first);
        let until = fresh.partition_point(|position| *position <= last).max(from);
        let index = self.view.as_ref().map(|view| (&*view.transaction, Way { key, first, last, is_begun: false }));
        Candidates { fresh: &fresh[from..until], index, direction, wanted: CHUNK_MIN }
    }
}

/// Positions asked for at first, and at most.
const CHUNK_MIN: usize = 8;
const CHUNK_MAX: usize = 512;

/// Positions on the way, in their order.
pub(super) struct Candidates<'l> {
    fresh: &'l [u64],
    index: Option<(&'l Connection, Way)>,
    direction: Direction,
    wanted: usize,
}

/// What of the index is still to be gone through.
#[derive(Clone, Copy)]
struct Way {
    key: Key,
    first: u64,
    last: u64,
    is_begun: bool,
}

impl Candidates<'_> {
    /// The next ones, more each time; none at the end.
    pub(super) fn next(&mut self) -> Result<Vec<u64>, ReadError> {
        let wanted = self.wanted;
        self.wanted = (wanted * 4).min(CHUNK_MAX);
        match self.direction {
            Direction::Forward => {
                let old = self.indexed(wanted)?;
                if !old.is_empty() {
                    return Ok(old);
                }
                let (chunk, rest) = self.fresh.split_at(wanted.min(self.fresh.len()));
                self.fresh = rest;
                Ok(chunk.to_vec())
            }
            Direction::Backward if self.fresh.is_empty() => self.indexed(wanted),
            Direction::Backward => {
                let (rest, chunk) = self.fresh.split_at(self.fresh.len().saturating_sub(wanted));
                self.fresh = rest;
                Ok(chunk.iter().rev().copied().collect())
            }
        }
    }

    /// Some of the index, at least one unless there is none left.
    fn indexed(&mut self, wanted: usize) -> Result<Vec<u64>, ReadError> {
        let mut positions = Vec::new();
        while positions.is_empty()
            && let Some((index, way)) = &mut self.index
        {
            let rows = match (self.direction, way.is_begun) {
                (Direction::Forward, _) => postings::from(index, way.key, way.first, wanted)?,
                // The row in which the last one would be, then those below.
                (Direction::Backward, false) => postings::from(index, way.key, way.last, 1)?,
                (Direction::Backward, true) => postings::below(index, way.key, way.last, wanted)?,
            };
            let is_straddling = self.direction == Direction::Backward && !way.is_begun;
            way.is_begun = true;
            let bounds = way.first..=way.last;
            let is_at_end = rows.len() < wanted && !is_straddling;
            for Row { last, positions: row } in rows {
                positions.extend(row.into_iter().filter(|position| bounds.contains(position)));
                match self.direction {
                    Direction::Forward => way.first = last + 1,
                    Direction::Backward if !is_straddling => way.last = last,
                    Direction::Backward => {}
                }
            }
            if is_at_end || way.first > way.last {
                self.index = None;
            }
        }
        if self.direction == Direction::Backward {
            positions.sort_unstable_by(|a, b| b.cmp(a));
        }
        Ok(positions)
    }
}

/// The writing side's finder and what keeps the index; so many events go into it together.
pub(super) fn open(
    directory: &Path,
    journal: &Connection,
    newest: u64,
    events: usize,
    applied: Option<Arc<Applied>>,
) -> Result<(Finder, Folder), JournalError> {
    let tail = Arc::<Tail>::default();
    let folder = Folder::open(directory, journal, newest, events, tail.clone(), applied)?;
    Ok((Finder { tail, index: postings::open_reader(directory) }, folder))
}
