//! What the planner asks, from the database.

use std::path::Path;

use csf_core::LaneId;
use csf_core::port::{Direction, EventId, Filter, JournalError, StreamHead};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::{Action, from_sqlite};
use super::events::{Walk, keys_of, named_row, newest_version, walk};
use super::find::{Finder, Key, Look};
use super::journal::signed;
use super::reader::{ReadError, in_directory};
use super::redo::Applied;
use crate::contiguity::LaneEnd;
use crate::plan::{Lookup, Place};

/// The writer's own connection, between its transactions.
pub(super) struct SqliteLookup<'j> {
    pub(super) directory: &'j Path,
    pub(super) connection: &'j Connection,
    pub(super) finder: &'j mut Finder,
    /// How far the database is, when it is behind what is planned.
    pub(super) applied: Option<&'j Applied>,
}

impl SqliteLookup<'_> {
    fn ask<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, JournalError> {
        ask(self.connection).map_err(|e| from_sqlite(self.directory, Action::Read, &e))
    }

    fn look<T>(
        &mut self,
        keys: &[Key],
        ask: impl FnOnce(&Connection, &Look<'_>) -> Result<T, ReadError>,
    ) -> Result<T, JournalError> {
        let looked = self.finder.look(self.connection, u64::MAX, keys);
        if let (Some(applied), Ok(look)) = (self.applied, &looked) {
            // Without a key any event may be meant.
            let newest = if keys.is_empty() { Some(u64::MAX) } else { look.newest() };
            if newest.is_some_and(|newest| newest > applied.position()) {
                applied.settle()?;
            }
        }
        looked.and_then(|look| ask(self.connection, &look)).map_err(|e| in_directory(self.directory, Action::Read, e))
    }
}

fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(at)?.cast_unsigned())
}

/// From a row of position, id, stream, version and kind.
fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place { position: unsigned(row, 0)?, stream: row.get(2)?, version: unsigned(row, 3)?, kind: row.get(4)? })
}

impl Lookup for SqliteLookup<'_> {
    fn lane_end(&mut self, lane: LaneId) -> Result<Option<LaneEnd>, JournalError> {
        let sql =
            "SELECT first_seq + packets, last_position FROM block WHERE node = ?1 AND incarnation = ?2 AND lane = ?3
                   ORDER BY first_seq DESC LIMIT 1";
        let end = |row: &Row<'_>| Ok(LaneEnd { next_seq: unsigned(row, 0)?, position: unsigned(row, 1)? });
        let key = params![lane.node, lane.incarnation, lane.lane];
        self.ask(|connection| connection.prepare_cached(sql)?.query_row(key, end).optional())
    }

    fn head(&mut self, stream: &str) -> Result<StreamHead, JournalError> {
        self.look(&[Key::stream(stream)], |connection, look| head(connection, look, stream))
    }

    fn named(&mut self, id: EventId) -> Result<Option<Place>, JournalError> {
        self.look(&[Key::id(id)], |connection, look| {
            let mut named = None;
            named_row(connection, look, id, &mut |row| {
                named = Some(place(row)?);
                Ok(())
            })?;
            Ok(named)
        })
    }

    fn at(&mut self, position: u64) -> Result<Option<Place>, JournalError> {
        if let Some(applied) = self.applied {
            applied.reach(position)?;
        }
        let sql = "SELECT position, id, stream, version, kind FROM event WHERE position = ?1";
        self.ask(|connection| connection.prepare_cached(sql)?.query_row([signed(position)], place).optional())
    }

    fn newest(
        &mut self,
        filter: &Filter,
        after: u64,
        is_gone: &dyn Fn(&str, u64) -> bool,
    ) -> Result<Option<u64>, JournalError> {
        let mut newest = None;
        let from = Walk { filter, first: after.saturating_add(1), last: u64::MAX, direction: Direction::Backward };
        self.look(&keys_of(filter), |connection, look| {
            walk(connection, look, from, &mut |found| {
                let is_kept = !is_gone(found.stream, found.version);
                if is_kept {
                    newest = newest.max(Some(found.position));
                }
                // The first that counts is the newest of its kind.
                Ok(!is_kept)
            })
        })?;
        Ok(newest)
    }
}

/// What is known of a stream: what was written down when it changed, and its newest event.
pub(super) fn head(connection: &Connection, look: &Look<'_>, stream: &str) -> Result<StreamHead, ReadError> {
    let sql = "SELECT version, first, is_closed FROM stream WHERE stream = ?1";
    let changed =
        |row: &Row<'_>| Ok(StreamHead { version: unsigned(row, 0)?, first: unsigned(row, 1)?, is_closed: row.get(2)? });
    let changed = connection.prepare_cached(sql)?.query_row([stream], changed).optional()?.unwrap_or_default();
    let newest = newest_version(connection, look, stream)?.unwrap_or(0);
    Ok(StreamHead { version: changed.version.max(newest), ..changed })
}
