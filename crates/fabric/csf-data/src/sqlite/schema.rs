//! The database file: its tables, how it comes into being and how connections to it are set up.
//!
//! A new journal is built under another name and renamed into place, so `journal.db` exists only whole; an empty or half file of
//! that name is damage.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use csf_core::Incarnation;
use csf_core::port::JournalError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use super::checkpointer::BACKSTOP;
use super::error::{Action, damaged, from_io, from_sqlite};
use super::journal::newest_position;
use super::options::JournalOptions;
use super::reader::{ReadError, in_directory};
use crate::checksum::checksum;

/// The newest format this build reads and the one it writes.
pub(crate) const FORMAT: u32 = 4;
/// The oldest format that is read; a writer renews what is not the newest, down to 1.
const OLDEST: u32 = 3;
/// `csfj`, in the database header, so that `file` and `sqlite3` can tell what it is.
const APPLICATION_ID: u32 = 0x6373_666a;
/// Larger than SQLite's default: a block of 64 KiB then has 8 overflow pages instead of 16.
const PAGE_BYTES: u64 = 8192;
/// A reader may meet the moment in which a closing writer has the file to itself.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Distinct statements per connection, with room to spare.
const STATEMENTS_MAX: usize = 32;

const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE block (
  last_position  INTEGER PRIMARY KEY,
  first_position INTEGER NOT NULL,
  append_end     INTEGER NOT NULL,
  node           INTEGER NOT NULL,
  incarnation    INTEGER NOT NULL,
  lane           INTEGER NOT NULL,
  first_seq      INTEGER NOT NULL,
  packets        INTEGER NOT NULL,
  stamp_min      INTEGER NOT NULL,
  stamp_max      INTEGER NOT NULL,
  body           BLOB NOT NULL
) STRICT;
CREATE INDEX block_by_sequence ON block (node, incarnation, lane, first_seq);
CREATE INDEX block_by_position ON block (node, incarnation, lane, last_position);
CREATE INDEX block_by_stamp ON block (stamp_max, stamp_min);
";

/// The tables of events. What finds them is elsewhere (`find`), so that a commit only ever grows a table at its end.
const EVENT_TABLES: &str = "
CREATE TABLE event (
  position INTEGER PRIMARY KEY,
  id       BLOB,
  stream   TEXT NOT NULL,
  version  INTEGER NOT NULL,
  kind     TEXT NOT NULL,
  stamp    INTEGER NOT NULL,
  tags     TEXT,
  origin   TEXT,
  data     TEXT NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE stream (
  stream    TEXT PRIMARY KEY,
  version   INTEGER NOT NULL,
  first     INTEGER NOT NULL,
  is_closed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What format 2 had besides: its own indexes.
const FORMAT_2_INDEXES: &str = "
DROP INDEX event_by_stream;
DROP INDEX event_by_id;
DROP INDEX event_by_kind;
DROP INDEX event_by_category;
DROP TABLE tag;
";

/// Path of the database in a journal directory.
pub(crate) fn database(directory: &Path) -> PathBuf {
    directory.join("journal.db")
}

/// Creates the database when the directory has none.
pub(crate) fn create_if_absent(directory: &Path) -> Result<(), JournalError> {
    let io = |e| from_io(directory, Action::Write, &e);
    if database(directory).exists() {
        return Ok(());
    }
    let fresh = directory.join("journal.db.new");
    for name in ["journal.db.new", "journal.db.new-journal"] {
        match fs::remove_file(directory.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
            _ => {}
        }
    }
    let sqlite = |e| from_sqlite(directory, Action::Write, &e);
    let mut connection = Connection::open(&fresh).map_err(sqlite)?;
    fill(&mut connection).map_err(sqlite)?;
    connection.close().map_err(|(_, e)| sqlite(e))?;
    File::open(&fresh).and_then(|file| file.sync_all()).map_err(io)?;
    fs::rename(&fresh, database(directory)).map_err(io)?;
    sync_directory(directory)
}

fn fill(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute_batch(EVENT_TABLES)?;
    transaction.execute("INSERT INTO meta VALUES ('format', ?1), ('incarnation', 0)", [FORMAT])?;
    transaction.commit()
}

/// Makes names in `directory`, and the directory's own name, survive a power failure.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), JournalError> {
    for place in [Some(directory), directory.parent().filter(|p| !p.as_os_str().is_empty())].into_iter().flatten() {
        File::open(place).and_then(|file| file.sync_all()).map_err(|e| from_io(directory, Action::Write, &e))?;
    }
    Ok(())
}

/// The writer's connection.
pub(crate) fn open_writer(directory: &Path, options: &JournalOptions) -> Result<Connection, JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = open(directory, flags)?;
    let found = match check_format(directory, &connection) {
        Err(JournalError::OlderFormat { found, .. }) => found,
        checked => checked?,
    };
    if found < FORMAT {
        renew(&mut connection, found).map_err(|e| in_directory(directory, Action::Write, e))?;
    }
    set_up_writer(&connection, options).map_err(|e| from_sqlite(directory, Action::Write, &e))?;
    Ok(connection)
}

fn set_up_writer(connection: &Connection, options: &JournalOptions) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    // FULL: the write-ahead file is synced before a commit returns.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", pages(options.checkpoint_bytes * BACKSTOP))?;
    // A write-ahead file that grew beyond twice that (a reader held it) is cut back at the next chance.
    connection.pragma_update(
        None,
        "journal_size_limit",
        i64::try_from(options.checkpoint_bytes * 2).unwrap_or(i64::MAX),
    )?;
    if let Some(bytes) = options.size_bytes_max {
        connection.pragma_update(None, "max_page_count", pages(bytes))?;
    }
    Ok(())
}

fn pages(bytes: u64) -> i64 {
    i64::try_from((bytes / PAGE_BYTES).max(1)).unwrap_or(i64::MAX)
}

/// A connection that brings back what a writer that is gone has left: the newest position and the last start.
pub(crate) fn open_left(directory: &Path) -> Result<(Connection, u64, Incarnation), JournalError> {
    let sqlite = |e| from_sqlite(directory, Action::Read, &e);
    let connection = open(directory, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    check_format(directory, &connection)?;
    connection.pragma_update(None, "synchronous", "full").map_err(sqlite)?;
    let position = newest_position(&connection).map_err(sqlite)?;
    let incarnation = last_start(directory, &connection)?;
    Ok((connection, position, incarnation))
}

/// The number of the newest start.
pub(crate) fn last_start(directory: &Path, connection: &Connection) -> Result<Incarnation, JournalError> {
    let value = meta(connection, "incarnation").map_err(|e| from_sqlite(directory, Action::Read, &e))?;
    value
        .and_then(|value| Incarnation::try_from(value).ok())
        .ok_or_else(|| damaged(directory, "meta", format!("incarnation {value:?} is no 32-bit number")))
}

/// A connection that only reads.
pub(crate) fn open_reader(directory: &Path) -> Result<Connection, JournalError> {
    let connection = open(directory, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    check_format(directory, &connection)?;
    Ok(connection)
}

/// A connection that folds the write-ahead file.
pub(crate) fn open_checkpointer(directory: &Path) -> Result<Connection, JournalError> {
    let connection = open(directory, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let set_up = connection.pragma_update(None, "synchronous", "full");
    set_up.map_err(|e| from_sqlite(directory, Action::Write, &e))?;
    Ok(connection)
}

fn open(directory: &Path, flags: OpenFlags) -> Result<Connection, JournalError> {
    let path = database(directory);
    // SQLite takes an empty file for a new database; here it is one that was lost.
    let len = fs::metadata(&path).map_err(|e| from_io(directory, Action::Read, &e))?.len();
    if len == 0 {
        return Err(damaged(directory, "journal.db", "the file is empty"));
    }
    let connect = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        keep_plans(&connection)?;
        Ok(connection)
    };
    connect().map_err(|e| from_sqlite(directory, Action::Read, &e))
}

/// Lets no statement be compiled again because a value that is bound to it, such as a limit, could change its plan: in a look-up, that takes
/// several times as long as the rest.
pub(super) fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Brings an older format up to date. One transaction: it is done, or it was never begun.
fn renew(connection: &mut Connection, found: u32) -> Result<(), ReadError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match found {
        1 => renew_format_1(&transaction)?,
        2 => transaction.execute_batch(FORMAT_2_INDEXES)?,
        // Nothing but the number: an older build would not look at the redo log.
        _ => {}
    }
    transaction.execute("UPDATE meta SET value = ?1 WHERE name = 'format'", [FORMAT])?;
    Ok(transaction.commit()?)
}

/// Events get the columns they lacked.
fn renew_format_1(transaction: &Transaction<'_>) -> Result<(), ReadError> {
    transaction.execute_batch("ALTER TABLE event RENAME TO event_1; DROP INDEX event_by_stream;")?;
    transaction.execute_batch(EVENT_TABLES)?;
    {
        let mut old = transaction
            .prepare("SELECT position, stream, version, kind, stamp, data, checksum FROM event_1 ORDER BY position")?;
        let mut new = transaction.prepare("INSERT INTO event VALUES (?1, NULL, ?2, ?3, ?4, ?5, NULL, NULL, ?6, ?7)")?;
        let mut rows = old.query([])?;
        while let Some(row) = rows.next()? {
            let (position, version, stamp): (i64, i64, i64) = (row.get(0)?, row.get(2)?, row.get(4)?);
            let (stream, kind, data): (String, String, String) = (row.get(1)?, row.get(3)?, row.get(5)?);
            let numbers = [position, version, stamp].map(i64::cast_unsigned);
            if checksum(numbers, None, &[&stream, &kind, &data]) != row.get::<_, u32>(6)? {
                let reason = "the checksum does not fit the content".to_owned();
                return Err(ReadError::Damaged { place: format!("event {position}"), reason });
            }
            let sum = checksum(numbers, None, &[&stream, &kind, "", "", &data]);
            new.execute(params![position, stream, version, kind, stamp, data, sum])?;
        }
    }
    Ok(transaction.execute_batch("DROP TABLE event_1")?)
}

fn check_format(directory: &Path, connection: &Connection) -> Result<u32, JournalError> {
    match meta(connection, "format").map_err(|e| foreign(directory, &e))? {
        None => Err(damaged(directory, "meta", "the row `format` is missing")),
        Some(found) if found > i64::from(FORMAT) => {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            Err(JournalError::NewerFormat { directory: directory.to_owned(), found, supported: FORMAT })
        }
        Some(found) if found < 1 => Err(damaged(directory, "meta", format!("format {found} never was"))),
        Some(found) if found < i64::from(OLDEST) => Err(JournalError::OlderFormat {
            directory: directory.to_owned(),
            found: u32::try_from(found).unwrap_or_default(),
            oldest: OLDEST,
        }),
        Some(found) => Ok(u32::try_from(found).unwrap_or_default()),
    }
}

/// A database without our tables is as good as damaged; the rest is what SQLite says.
fn foreign(directory: &Path, error: &rusqlite::Error) -> JournalError {
    match error {
        rusqlite::Error::SqliteFailure(code, Some(text)) if code.extended_code == rusqlite::ffi::SQLITE_ERROR => {
            damaged(directory, "meta", text)
        }
        rusqlite::Error::SqlInputError { msg, .. } => damaged(directory, "meta", msg),
        _ => from_sqlite(directory, Action::Read, error),
    }
}

/// A number of the table `meta`.
pub(crate) fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()
}
