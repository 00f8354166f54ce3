//! The index on disk: `index.db`, rows of a key and the positions that have it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use csf_core::port::JournalError;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::key::Key;
use super::tail::Generation;
use crate::packed::varint;
use crate::sqlite::error::{Action, from_io, from_sqlite};
use crate::sqlite::journal::signed;
use crate::sqlite::reader::ReadError;
use crate::sqlite::schema::keep_plans;

/// What this build reads and writes; another one is made anew.
const FORMAT: i64 = 1;
/// `csfi`, in the database header.
const APPLICATION_ID: i64 = 0x6373_6669;
/// Positions in a row.
const ROW_MAX: usize = 512;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The write-ahead file is folded each time it has so many pages.
const CHECKPOINT_PAGES: i64 = 4096;

const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE posting (
  key  INTEGER NOT NULL,
  last INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (key, last)
) STRICT, WITHOUT ROWID;
";

/// Positions of one key.
#[derive(Debug)]
pub(super) struct Row {
    /// The last of them.
    pub(super) last: u64,
    /// Ascending.
    pub(super) positions: Vec<u64>,
}

fn path(directory: &Path) -> PathBuf {
    directory.join("index.db")
}

/// The index for its writer, empty when there was none that fits the journal, and up to where it goes.
pub(super) fn open_writer(
    directory: &Path,
    journal: &Connection,
    newest: u64,
) -> Result<(Connection, u64), JournalError> {
    let sqlite = |e| from_sqlite(directory, Action::Write, &e);
    match usable(directory, journal, newest) {
        Ok(Some(found)) => return Ok(found),
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(directory = %directory.display(), %error, "the index of events is damaged and is made anew");
        }
    }
    remove(directory)?;
    let create = || -> rusqlite::Result<Connection> {
        let mut index = connect(&path(directory), OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        index.pragma_update(None, "application_id", APPLICATION_ID)?;
        index.pragma_update(None, "journal_mode", "wal")?;
        let transaction = index.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(TABLES)?;
        transaction.execute("INSERT INTO meta VALUES ('format', ?1), ('mark', 0)", [FORMAT])?;
        transaction.commit()?;
        set_up_writer(&index)?;
        Ok(index)
    };
    Ok((create().map_err(sqlite)?, 0))
}

/// What is there, if it is an index of this journal.
fn usable(directory: &Path, journal: &Connection, newest: u64) -> rusqlite::Result<Option<(Connection, u64)>> {
    if !path(directory).exists() {
        return Ok(None);
    }
    let index = connect(&path(directory), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if meta(&index, "format")? != Some(FORMAT) {
        return Ok(None);
    }
    let Some(mark) = meta(&index, "mark")? else { return Ok(None) };
    let of_journal = checksum(journal, mark)?;
    let is_other = of_journal.is_some() && of_journal != meta(&index, "checksum")?;
    if mark.cast_unsigned() > newest || is_other {
        return Ok(None);
    }
    set_up_writer(&index)?;
    Ok(Some((index, mark.cast_unsigned())))
}

/// What a crash takes from the index is read again from the events: a commit need not be synced, only the folding of the write-ahead file.
fn set_up_writer(index: &Connection) -> rusqlite::Result<()> {
    index.pragma_update(None, "journal_mode", "wal")?;
    index.pragma_update(None, "synchronous", "normal")?;
    index.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)
}

/// The index for a reader, if there is one.
pub(super) fn open_reader(directory: &Path) -> Option<Connection> {
    let index = connect(&path(directory), OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    (meta(&index, "format").ok()? == Some(FORMAT)).then_some(index)
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let index = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    index.busy_timeout(BUSY_TIMEOUT)?;
    keep_plans(&index)?;
    Ok(index)
}

fn remove(directory: &Path) -> Result<(), JournalError> {
    for name in FILES {
        match fs::remove_file(directory.join(name)) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(from_io(directory, Action::Write, &e)),
            _ => {}
        }
    }
    Ok(())
}

/// The files of the index.
pub(in crate::sqlite) const FILES: [&str; 3] = ["index.db", "index.db-wal", "index.db-shm"];

fn meta(index: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    let mut statement = index.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    statement.query_row([name], |row| row.get(0)).optional()
}

/// The position up to which the index goes.
pub(super) fn mark(index: &Connection) -> Result<u64, ReadError> {
    Ok(meta(index, "mark").map_err(bad_index)?.unwrap_or(0).cast_unsigned())
}

/// The checksum of the journal's event at this position.
pub(super) fn checksum(journal: &Connection, position: i64) -> rusqlite::Result<Option<i64>> {
    let mut statement = journal.prepare_cached("SELECT checksum FROM event WHERE position = ?1")?;
    statement.query_row([position], |row| row.get(0)).optional()
}

/// Rows of the key whose last position is `position` or later.
pub(super) fn from(index: &Connection, key: Key, position: u64, limit: usize) -> Result<Vec<Row>, ReadError> {
    let sql = "SELECT last, body FROM posting WHERE key = ?1 AND last >= ?2 ORDER BY last LIMIT ?3";
    rows(index, sql, key, position, limit)
}

/// Rows of the key whose last position is before `position`, the latest first.
pub(super) fn below(index: &Connection, key: Key, position: u64, limit: usize) -> Result<Vec<Row>, ReadError> {
    let sql = "SELECT last, body FROM posting WHERE key = ?1 AND last < ?2 ORDER BY last DESC LIMIT ?3";
    rows(index, sql, key, position, limit)
}

fn rows(index: &Connection, sql: &str, key: Key, position: u64, limit: usize) -> Result<Vec<Row>, ReadError> {
    let position = i64::try_from(position).unwrap_or(i64::MAX);
    let read = || -> rusqlite::Result<Vec<Result<Row, ReadError>>> {
        let mut statement = index.prepare_cached(sql)?;
        let mut rows = statement.query(params![key.signed(), position, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (last, body) = (row.get::<_, i64>(0)?.cast_unsigned(), row.get_ref(1)?);
            let positions = body.as_blob().ok().and_then(|body| unpack(last, body));
            found.push(positions.map(|positions| Row { last, positions }).ok_or_else(|| bad_row(last)));
        }
        Ok(found)
    };
    read().map_err(bad_index)?.into_iter().collect()
}

fn bad_row(last: u64) -> ReadError {
    let reason =
        format!("the row that ends at {last} is no list of positions; delete the file, the next start makes it anew");
    ReadError::Damaged { place: "index.db".into(), reason }
}

fn bad_index(error: rusqlite::Error) -> ReadError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => {
            let reason = format!("{error}; delete the file, the next start makes it anew");
            ReadError::Damaged { place: "index.db".into(), reason }
        }
        _ => ReadError::Sqlite(error),
    }
}

/// Writes the keys into the index.
pub(super) fn fold(index: &mut Connection, generation: &Generation, checksum: Option<i64>) -> Result<(), ReadError> {
    let transaction = index.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO posting VALUES (?1, ?2, ?3)")?;
        let mut body = Vec::new();
        for (key, positions) in generation.postings() {
            for positions in positions.chunks(ROW_MAX) {
                let last = pack(positions, &mut body);
                insert.execute(params![key.signed(), signed(last), body])?;
            }
        }
        for gone in generation.gone().chunk_by(|a, b| a.0 == b.0) {
            strike(&transaction, gone)?;
        }
        let mut set = transaction.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?;
        if generation.events > 0 {
            set.execute(params!["mark", signed(generation.last)])?;
            set.execute(params!["checksum", checksum.unwrap_or(-1)])?;
        }
    }
    Ok(transaction.commit()?)
}

/// Takes positions of one key out of their rows.
fn strike(index: &Connection, mut gone: &[(Key, u64)]) -> Result<(), ReadError> {
    while let Some((key, position)) = gone.first() {
        let Some(Row { last, mut positions }) = from(index, *key, *position, 1)?.pop() else { return Ok(()) };
        let in_row = gone.partition_point(|(_, position)| *position <= last);
        positions.retain(|known| gone[..in_row].binary_search_by_key(known, |(_, position)| *position).is_err());
        gone = &gone[in_row..];
        let mut delete = index.prepare_cached("DELETE FROM posting WHERE key = ?1 AND last = ?2")?;
        delete.execute(params![key.signed(), signed(last)])?;
        if !positions.is_empty() {
            let mut body = Vec::new();
            let last = pack(&positions, &mut body);
            let mut insert = index.prepare_cached("INSERT OR REPLACE INTO posting VALUES (?1, ?2, ?3)")?;
            insert.execute(params![key.signed(), signed(last), body])?;
        }
    }
    Ok(())
}

/// The distances between ascending positions, from the last one down; the last one.
fn pack(positions: &[u64], body: &mut Vec<u8>) -> u64 {
    body.clear();
    for pair in positions.windows(2).rev() {
        varint::put(body, pair[1] - pair[0]);
    }
    positions.last().copied().unwrap_or(0)
}

fn unpack(last: u64, mut body: &[u8]) -> Option<Vec<u64>> {
    let mut positions = vec![last];
    let mut position = last;
    while !body.is_empty() {
        let (distance, len) = varint::get(body)?;
        position = position.checked_sub(distance)?;
        positions.push(position);
        body = &body[len..];
    }
    positions.reverse();
    Some(positions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn positions_survive(positions in prop::collection::btree_set(1..u64::MAX, 1..40)) {
            let positions: Vec<u64> = positions.into_iter().collect();
            let mut body = Vec::new();
            let last = pack(&positions, &mut body);
            prop_assert_eq!(unpack(last, &body), Some(positions));
        }

        #[test]
        fn any_bytes_are_positions_or_refused(last: u64, body: Vec<u8>) {
            if let Some(positions) = unpack(last, &body) {
                prop_assert!(positions.is_sorted());
                prop_assert_eq!(positions.last(), Some(&last));
            }
        }
    }
}
