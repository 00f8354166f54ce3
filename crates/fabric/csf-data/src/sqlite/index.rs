//! A database that repeats what a log elsewhere holds, so that it can be read and asked here.
//!
//! The tables are those of the journal. What it lost in a crash, it reads again: so a commit is not synced, only the folding of the
//! write-ahead file is, which keeps the database whole.
//! Invariant: rows and [`Mark`] change in one transaction, so the rows go at least as far as the mark says.

use std::fs;
use std::path::{Path, PathBuf};

use csf_core::Incarnation;
use csf_core::port::{JournalError, JournalReader, LaneInfo};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::checkpointer::Checkpointer;
use super::error::{Action, damaged, from_io, from_sqlite};
use super::find::{self, Finder, Folder};
use super::journal::{Lock, bytes, lock, newest_position, signed};
use super::lookup::SqliteLookup;
use super::options::JournalOptions;
use super::reader::{ReadError, SqliteReader, in_directory};
use super::schema;
use super::store::{Gone, insert};
use crate::packed::block::Block;
use crate::plan::{Lookup, Step};

/// Rows of the table `meta`, besides the journal's own.
const SEQUENCE: &str = "source_sequence";
const CHECKSUM: &str = "source_checksum";
const SOURCE_HIGH: &str = "source_high";
const SOURCE_LOW: &str = "source_low";
const POSITION: &str = "source_position";

/// How far the log elsewhere has been repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Which log.
    pub(crate) source: u128,
    /// The last message that is repeated here.
    pub(crate) sequence: u64,
    /// Its checksum.
    pub(crate) checksum: u32,
    /// The start it belongs to.
    pub(crate) incarnation: Incarnation,
    /// Position of the newest packet or event up to it. What the rows have beyond is not known to be there.
    pub(crate) position: u64,
}

/// One commit, as rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'c, 'b> {
    pub(crate) blocks: &'c [Block],
    pub(crate) steps: &'c [Step<'b>],
    pub(crate) packets_end: u64,
}

/// The database, its thread and its lock.
#[derive(Debug)]
pub(crate) struct SqliteIndex {
    directory: PathBuf,
    options: JournalOptions,
    database: Database,
    unfolded_bytes: u64,
    /// Held until the index is dropped or the process dies.
    lock: Lock,
}

#[derive(Debug)]
struct Database {
    connection: Connection,
    finder: Finder,
    folder: Folder,
    checkpointer: Checkpointer,
}

impl SqliteIndex {
    /// Opens the index in `directory`, or an empty one when there is none or it cannot be read.
    ///
    /// # Errors
    /// [`JournalError::InUse`] while another writer has it; [`JournalError::Storage`] also when the directory holds a journal of its own.
    pub(crate) fn open(directory: &Path, options: &JournalOptions) -> Result<Self, JournalError> {
        fs::create_dir_all(directory).map_err(|e| from_io(directory, Action::Write, &e))?;
        let lock = lock(directory)?;
        let opened = match connect(directory, options) {
            Err(JournalError::Damaged { .. }) => {
                tracing::warn!(directory = %directory.display(), "the index is damaged and is built anew");
                remove(directory)?;
                connect(directory, options)?
            }
            opened => opened?,
        };
        let index = Self {
            directory: directory.to_owned(),
            options: options.clone(),
            database: opened,
            unfolded_bytes: 0,
            lock,
        };
        if index.meta("incarnation")? != Some(0) && index.mark()?.is_none() {
            let reason = "it is a journal of its own, no index of another; choose another directory".to_owned();
            return Err(JournalError::Storage {
                directory: directory.to_owned(),
                action: "written",
                reason,
                full: false,
            });
        }
        Ok(index)
    }

    /// An empty one in its place.
    pub(crate) fn emptied(self) -> Result<Self, JournalError> {
        let Self { directory, options, database, lock, .. } = self;
        drop(database);
        remove(&directory)?;
        let database = connect(&directory, &options)?;
        Ok(Self { directory, options, database, unfolded_bytes: 0, lock })
    }

    /// How far it goes; nothing while it is empty.
    pub(crate) fn mark(&self) -> Result<Option<Mark>, JournalError> {
        let values = [SEQUENCE, CHECKSUM, SOURCE_HIGH, SOURCE_LOW, "incarnation"].map(|name| self.meta(name));
        let [Some(sequence), Some(checksum), Some(high), Some(low), Some(incarnation)] = transposed(values)? else {
            return Ok(None);
        };
        // Without one, rows and mark went together.
        let position = self.meta(POSITION)?.map_or_else(|| self.position(), |position| Ok(position.cast_unsigned()))?;
        let narrow = |value: i64| {
            u32::try_from(value).map_err(|_| damaged(&self.directory, "meta", format!("{value} is no 32-bit number")))
        };
        Ok(Some(Mark {
            source: u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned()),
            sequence: sequence.cast_unsigned(),
            checksum: narrow(checksum)?,
            incarnation: narrow(incarnation)?,
            position,
        }))
    }

    fn meta(&self, name: &str) -> Result<Option<i64>, JournalError> {
        schema::meta(&self.database.connection, name).map_err(|e| from_sqlite(&self.directory, Action::Read, &e))
    }

    /// Repeats these commits. What is there goes as far as the mark says; as far as before without one.
    pub(crate) fn repeat(&mut self, entries: &[Entry<'_, '_>], mark: Option<&Mark>) -> Result<(), JournalError> {
        let before = self.position()?;
        let Database { connection, finder, folder, checkpointer } = &mut self.database;
        folder.room()?;
        entries.iter().for_each(|entry| folder.note(entry.steps));
        let mut repeat = || -> Result<Gone, ReadError> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut gone = Gone::new();
            for entry in entries {
                insert(&transaction, finder, entry.blocks, entry.steps, entry.packets_end, &mut gone)?;
            }
            if let Some(mark) = mark {
                set_mark(&transaction, mark)?;
            }
            transaction.commit()?;
            Ok(gone)
        };
        match repeat() {
            Ok(gone) => folder.stored(gone),
            Err(error) => {
                folder.failed(before);
                return Err(in_directory(&self.directory, Action::Write, error));
            }
        }
        self.unfolded_bytes += entries.iter().map(|entry| bytes(entry.blocks, entry.steps)).sum::<u64>();
        if self.unfolded_bytes >= self.options.checkpoint_bytes {
            self.unfolded_bytes = 0;
            checkpointer.wake();
        }
        Ok(())
    }

    /// What a planner asks.
    pub(crate) fn lookup(&mut self) -> impl Lookup {
        let Database { connection, finder, .. } = &mut self.database;
        SqliteLookup { directory: &self.directory, connection, finder, applied: None }
    }

    pub(crate) fn position(&self) -> Result<u64, JournalError> {
        newest_position(&self.database.connection).map_err(|e| from_sqlite(&self.directory, Action::Read, &e))
    }

    pub(crate) fn lanes(&self) -> Result<Vec<LaneInfo>, JournalError> {
        self.reader()?.lanes()
    }

    pub(crate) fn reader(&self) -> Result<SqliteReader, JournalError> {
        SqliteReader::open(&self.directory, self.database.finder.beside(&self.directory))
    }
}

fn connect(directory: &Path, options: &JournalOptions) -> Result<Database, JournalError> {
    schema::create_if_absent(directory)?;
    let connection = schema::open_writer(directory, options)?;
    let sqlite = |e| from_sqlite(directory, Action::Write, &e);
    connection.pragma_update(None, "synchronous", "normal").map_err(sqlite)?;
    let newest = newest_position(&connection).map_err(sqlite)?;
    let (finder, folder) = find::open(directory, &connection, newest, options.index_events, None)?;
    Ok(Database { connection, finder, folder, checkpointer: Checkpointer::start(directory)? })
}

/// Readers that have it open keep what they saw.
fn remove(directory: &Path) -> Result<(), JournalError> {
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"].into_iter().chain(find::INDEX_FILES) {
        match fs::remove_file(directory.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(from_io(directory, Action::Write, &e)),
            _ => {}
        }
    }
    Ok(())
}

fn set_mark(transaction: &Transaction<'_>, mark: &Mark) -> rusqlite::Result<()> {
    let values = [
        (SEQUENCE, signed(mark.sequence)),
        (CHECKSUM, i64::from(mark.checksum)),
        (SOURCE_HIGH, signed((mark.source >> 64) as u64)),
        (SOURCE_LOW, signed(mark.source as u64)),
        ("incarnation", i64::from(mark.incarnation)),
        (POSITION, signed(mark.position)),
    ];
    let mut statement = transaction.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?;
    values.into_iter().try_for_each(|(name, value)| statement.execute(params![name, value]).map(drop))
}

/// All of them, or the first that failed.
fn transposed<const N: usize>(
    values: [Result<Option<i64>, JournalError>; N],
) -> Result<[Option<i64>; N], JournalError> {
    let mut all = [None; N];
    for (slot, value) in all.iter_mut().zip(values) {
        *slot = value?;
    }
    Ok(all)
}
