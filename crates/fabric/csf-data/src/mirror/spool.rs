//! Commits that are acknowledged and not stored on the server yet: a small database, synced with every one.
//!
//! Invariant: they continue each other, and the first of them continues the server's log.

use std::path::{Path, PathBuf};

use csf_core::port::JournalError;
use rusqlite::{Connection, OptionalExtension, params};

use super::SPOOL_BYTES;
use crate::commit::Commit;
use crate::sqlite::{Action, damaged, from_sqlite, signed};

const FILE: &str = "spool.db";
const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS waiting (after INTEGER PRIMARY KEY, sum INTEGER NOT NULL, body BLOB NOT NULL)";
/// What a row takes beside its commit, bytes.
const ROW_BYTES: u64 = 64;

/// The commits that wait, in their order.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    connection: Connection,
    bytes: u64,
    count: u64,
    limit: u64,
}

impl Spool {
    /// Opens the spool in the directory, or makes one there. `limit` is what it may hold, bytes.
    pub(crate) fn open(directory: &Path, limit: u64) -> Result<Self, JournalError> {
        let open = || {
            let connection = Connection::open(directory.join(FILE))?;
            // WAL: a commit costs one sync. FULL: it is on the disk when it returns.
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")?;
            connection.execute(TABLE, [])?;
            let sizes = "SELECT count(*), coalesce(sum(length(body)), 0) FROM waiting";
            let (count, bytes) =
                connection.query_row(sizes, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
            Ok((connection, count.cast_unsigned(), bytes.cast_unsigned()))
        };
        let (connection, count, bytes) = open().map_err(|e| from_sqlite(&directory.join(FILE), Action::Write, &e))?;
        let bytes = bytes + count * ROW_BYTES;
        Ok(Self { directory: directory.to_owned(), connection, bytes, count, limit })
    }

    /// The spool of the directory; none when nothing may wait (`limit` 0) and no earlier start has left one to be sent.
    pub(crate) fn open_if_any(directory: &Path, limit: u64) -> Result<Option<Self>, JournalError> {
        if limit == 0 && !directory.join(FILE).exists() {
            return Ok(None);
        }
        let limit = if limit == 0 { SPOOL_BYTES } else { limit };
        Self::open(directory, limit).map(Some)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn place(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// Whether a commit of so many bytes is more than may wait.
    pub(crate) fn is_full_for(&self, bytes: usize) -> bool {
        self.bytes + bytes as u64 + ROW_BYTES > self.limit
    }

    /// Keeps a commit, which is on the disk when this returns.
    pub(crate) fn push(&mut self, after: u64, body: &[u8]) -> Result<(), JournalError> {
        let sql = "INSERT INTO waiting VALUES (?1, ?2, ?3)";
        let push = || {
            let mut insert = self.connection.prepare_cached(sql)?;
            insert.execute(params![signed(after), i64::from(crc32fast::hash(body)), body])
        };
        push().map_err(|e| from_sqlite(&self.place(), Action::Write, &e))?;
        self.bytes += body.len() as u64 + ROW_BYTES;
        self.count += 1;
        Ok(())
    }

    /// The oldest of them, as it is sent.
    pub(crate) fn first(&self) -> Result<Option<Commit<'static>>, JournalError> {
        self.next(0)
    }

    /// The oldest of those at `from` or after.
    pub(crate) fn next(&self, from: u64) -> Result<Option<Commit<'static>>, JournalError> {
        let sql = "SELECT after, sum, body FROM waiting WHERE after >= ?1 ORDER BY after LIMIT 1";
        let row =
            |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?));
        let next = || self.connection.prepare_cached(sql)?.query_row([signed(from)], row).optional();
        let Some((after, sum, body)) = next().map_err(|e| from_sqlite(&self.place(), Action::Read, &e))? else {
            return Ok(None);
        };
        let bad = |reason: String| damaged(&self.place(), format!("the commit after {after}"), reason);
        if i64::from(crc32fast::hash(&body)) != sum {
            return Err(bad("the checksum does not fit the content".to_owned()));
        }
        let commit = Commit::decode(&body).map_err(|e| bad(e.to_string()))?;
        if commit.after != after.cast_unsigned() {
            return Err(bad(format!("it is one after {}", commit.after)));
        }
        Ok(Some(commit))
    }

    /// The oldest is stored on the server.
    pub(crate) fn pop(&mut self, after: u64) -> Result<(), JournalError> {
        let sql = "DELETE FROM waiting WHERE after = ?1 RETURNING length(body)";
        let pop = || self.connection.prepare_cached(sql)?.query_row([signed(after)], |row| row.get::<_, i64>(0));
        let bytes = pop().map_err(|e| from_sqlite(&self.place(), Action::Write, &e))?;
        self.bytes -= bytes.cast_unsigned() + ROW_BYTES;
        self.count -= 1;
        Ok(())
    }
}

#[cfg(test)]
#[path = "spool/tests.rs"]
mod tests;
