//! The writing side: one per directory, one transaction per append.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use csf_core::Incarnation;
use csf_core::port::{Batch, Durability, Journal, JournalError, JournalReader, Receipt};
use rusqlite::{Connection, TransactionBehavior};

use super::checkpointer::Checkpointer;
use super::error::{Action, from_io, from_sqlite};
use super::find::{self, Finder, Folder};
use super::lookup::SqliteLookup;
use super::options::JournalOptions;
use super::reader::{ReadError, SqliteReader, in_directory};
use super::redo::{self, Applied, Applier, Draft, RedoLog, Written};
use super::schema;
use super::store::{Gone, store};
use crate::packed::block::Block;
use crate::plan::{Plan, Planner, Step};

/// What a block's row costs in the write-ahead file besides its content: half a page.
const BLOCK_ROW_BYTES: usize = 4096;
/// What an event's row costs there besides its content.
const EVENT_ROW_BYTES: usize = 128;
/// What a commit costs there: the last page of the tables.
const COMMIT_BYTES: u64 = 2 * 8192;

/// The journal of a node in a directory: `journal.db`, its write-ahead files, `journal.lock`, the redo log and the index of events, `index.db`.
#[derive(Debug)]
pub struct SqliteJournal {
    directory: PathBuf,
    /// What is planned is looked up here, and written beside.
    lookups: Connection,
    applied: Arc<Applied>,
    // The order of the fields is the order of their ends: the index waits for what is brought in, and the redo log's lock for both.
    _applier: Applier,
    redo: RedoLog,
    connection: Arc<Mutex<Connection>>,
    finder: Finder,
    folder: Folder,
    checkpointer: Checkpointer,
    checkpoint_bytes: u64,
    /// Bytes stored since the last checkpoint was asked for.
    unfolded_bytes: u64,
    incarnation: Incarnation,
    /// Whether the database may be as large as the disk lets it: what is acknowledged ahead of it must find room there.
    has_room: bool,
    planner: Planner,
    /// The disk's words when it failed to sync. What it holds is not known from then on.
    unsynced: Option<String>,
    /// Held until the journal is dropped or the process dies.
    _lock: Lock,
}

impl SqliteJournal {
    /// Opens the journal in `directory` as the next incarnation, creating both when they are absent.
    ///
    /// # Errors
    /// [`JournalError::InUse`] while another writer has it, [`JournalError::NewerFormat`], [`JournalError::Damaged`], or
    /// [`JournalError::Storage`] when the directory cannot be used.
    pub fn open(directory: &Path, options: &JournalOptions) -> Result<Self, JournalError> {
        fs::create_dir_all(directory).map_err(|e| from_io(directory, Action::Write, &e))?;
        let lock = lock(directory)?;
        schema::create_if_absent(directory)?;
        let mut connection = schema::open_writer(directory, options)?;
        let sqlite = |e| from_sqlite(directory, Action::Write, &e);
        let position = newest_position(&connection).map_err(sqlite)?;
        let files = redo::open(directory)?;
        let last = schema::last_start(directory, &connection)?;
        let (position, generation) = redo::recover(directory, &mut connection, last, position)?;
        // Synced, and with it what was brought back.
        let incarnation = next_incarnation(directory, &mut connection)?;
        connection.pragma_update(None, "synchronous", "normal").map_err(sqlite)?;
        let connection = Arc::new(Mutex::new(connection));
        let (applier, applied) = Applier::start(directory, connection.clone(), &files, position)?;
        let lookups = schema::open_reader(directory)?;
        let (finder, folder) = find::open(directory, &lookups, position, options.index_events, Some(applied.clone()))?;
        let lanes = SqliteReader::open(directory, finder.beside(directory))?.lanes()?;
        Ok(Self {
            directory: directory.to_owned(),
            lookups,
            redo: RedoLog::new(directory, files, generation),
            applied,
            _applier: applier,
            connection,
            has_room: options.size_bytes_max.is_none(),
            finder,
            folder,
            checkpointer: Checkpointer::start(directory)?,
            checkpoint_bytes: options.checkpoint_bytes,
            unfolded_bytes: 0,
            incarnation,
            planner: Planner::new(position, lanes, Durability::Disk),
            unsynced: None,
            _lock: lock,
        })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A reader of this journal, also usable after it is closed.
    ///
    /// # Errors
    /// As [`SqliteReader::open_read_only`].
    pub fn sqlite_reader(&self) -> Result<SqliteReader, JournalError> {
        SqliteReader::open(&self.directory, self.finder.beside(&self.directory))
    }
}

impl Journal for SqliteJournal {
    fn append(&mut self, batch: &Batch) -> Result<Receipt, JournalError> {
        if let Some(reason) = &self.unsynced {
            return Err(JournalError::Unsynced { directory: self.directory.clone(), reason: reason.clone() });
        }
        if let Err(error) = self.applied.is_sound() {
            return Err(self.noted(error));
        }
        self.folder.room()?;
        let Self { directory, lookups, finder, applied, .. } = self;
        let lookup = &mut SqliteLookup { directory, connection: lookups, finder, applied: Some(applied) };
        let plan = self.planner.plan(lookup, batch)?;
        if !plan.is_empty() {
            self.folder.note(&plan.steps);
            match self.store(&plan) {
                Ok(gone) => self.folder.stored(gone),
                Err(error) => {
                    self.folder.failed(self.planner.position());
                    return Err(self.noted(error));
                }
            }
        }
        self.unfolded_bytes += bytes(&plan.blocks, &plan.steps);
        if self.unfolded_bytes >= self.checkpoint_bytes {
            self.unfolded_bytes = 0;
            self.checkpointer.wake();
        }
        let appends = self.planner.done(plan);
        Ok(Receipt { position: self.planner.position(), durability: Durability::Disk, appends })
    }

    fn position(&self) -> u64 {
        self.planner.position()
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        Ok(Box::new(self.sqlite_reader()?))
    }
}

impl SqliteJournal {
    /// Makes the plan durable: in the redo log, or in the database itself.
    fn store(&mut self, plan: &Plan<'_>) -> Result<Gone, JournalError> {
        let draft = if self.has_room { Draft::of(plan, self.incarnation, self.planner.position()) } else { None };
        if let Some(mut draft) = draft
            && matches!(self.redo.write(&mut draft, &self.applied)?, Written::Synced)
        {
            self.applied.push(draft);
            return Ok(Gone::new());
        }
        self.applied.settle()?;
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut synced = || -> Result<Gone, ReadError> {
            connection.pragma_update(None, "synchronous", "full")?;
            let stored = store(&mut connection, &mut self.finder, plan);
            connection.pragma_update(None, "synchronous", "normal")?;
            stored
        };
        let gone = synced().map_err(|e| in_directory(&self.directory, Action::Write, e))?;
        self.applied.passed(plan.position);
        Ok(gone)
    }

    /// An error that is final is kept.
    fn noted(&mut self, error: JournalError) -> JournalError {
        if let JournalError::Unsynced { reason, .. } = &error {
            self.unsynced = Some(reason.clone());
        }
        error
    }
}

/// About what a commit adds to the write-ahead file: whole pages, and those of the indexes.
pub(super) fn bytes(blocks: &[Block], steps: &[Step<'_>]) -> u64 {
    let bodies: usize = blocks.iter().map(|block| block.body.len()).sum();
    let events = steps.iter().map(|step| match step {
        Step::Keep(planned) => planned.event.data.as_str().len(),
        Step::Change { .. } => 0,
    });
    let rows = blocks.len() * BLOCK_ROW_BYTES + steps.len() * EVENT_ROW_BYTES;
    (bodies + events.sum::<usize>() + rows) as u64 + COMMIT_BYTES
}

/// SQLite's integers are signed; the bits stay. Positions and sequence numbers never get that far, stamps not before 2262.
pub(crate) const fn signed(value: u64) -> i64 {
    value.cast_signed()
}

/// The one writer's lock on a directory.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would let go of it only once no process that was being started at that moment has it open. If it cannot be said,
        // closing says it.
        let _ = self.0.unlock();
    }
}

pub(super) fn lock(directory: &Path) -> Result<Lock, JournalError> {
    let io = |e| from_io(directory, Action::Write, &e);
    let file =
        File::options().create(true).truncate(false).write(true).open(directory.join("journal.lock")).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(e)) => Err(io(e)),
    }
}

/// Position of the newest packet or event.
pub(crate) fn newest_position(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT max(coalesce((SELECT max(last_position) FROM block), 0), coalesce((SELECT max(position) FROM event), 0))";
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

fn next_incarnation(directory: &Path, connection: &mut Connection) -> Result<Incarnation, JournalError> {
    let mut raise = || -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("UPDATE meta SET value = value + 1 WHERE name = 'incarnation'", [])?;
        transaction.commit()
    };
    raise().map_err(|e| from_sqlite(directory, Action::Write, &e))?;
    schema::last_start(directory, connection)
}
