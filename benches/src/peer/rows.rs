//! Engines that the log could stand on, under the log's own writer: numbered contents, synced, and nothing else.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use csf_core::port::{Appended, Batch, Durability, Journal, JournalError, JournalReader, Receipt};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use rusqlite::{Connection, params};

use crate::load::Missing;

/// What an engine does with a commit.
pub trait Rows: Send {
    /// Stores the contents under the numbers from `first` on; they are on disk when it returns.
    fn commit(&mut self, first: u64, contents: &[&str]) -> Result<(), String>;
}

fn missing(error: impl std::fmt::Display) -> Missing {
    Missing(error.to_string())
}

/// A file: the contents appended, then `fdatasync`. No index, no check, nothing can be read.
pub fn file(folder: &Path) -> Result<Box<dyn Rows>, Missing> {
    struct Raw(File, Vec<u8>);
    impl Rows for Raw {
        fn commit(&mut self, _: u64, contents: &[&str]) -> Result<(), String> {
            self.1.clear();
            contents.iter().for_each(|content| self.1.extend_from_slice(content.as_bytes()));
            self.0.write_all(&self.1).and_then(|()| self.0.sync_data()).map_err(|e| e.to_string())
        }
    }
    Ok(Box::new(Raw(File::create(folder.join("log")).map_err(missing)?, Vec::new())))
}

/// fjall: a batch, then `persist(SyncData)`.
pub fn fjall(folder: &Path) -> Result<Box<dyn Rows>, Missing> {
    struct Fjall(Database, Keyspace);
    impl Rows for Fjall {
        fn commit(&mut self, first: u64, contents: &[&str]) -> Result<(), String> {
            let mut batch = self.0.batch().durability(Some(PersistMode::SyncData));
            for (number, content) in (first..).zip(contents) {
                batch.insert(&self.1, number.to_be_bytes(), content.as_bytes());
            }
            batch.commit().map_err(|e| e.to_string())
        }
    }
    let database = Database::builder(folder).open().map_err(missing)?;
    let rows = database.keyspace("event", KeyspaceCreateOptions::default).map_err(missing)?;
    Ok(Box::new(Fjall(database, rows)))
}

/// SQLite in WAL mode, `synchronous = FULL`, pages of 8 KiB: a transaction.
pub fn sqlite(folder: &Path) -> Result<Box<dyn Rows>, Missing> {
    struct Sqlite(Connection);
    impl Rows for Sqlite {
        fn commit(&mut self, first: u64, contents: &[&str]) -> Result<(), String> {
            let mut store = || -> rusqlite::Result<()> {
                let transaction = self.0.transaction()?;
                let mut insert = transaction.prepare_cached("INSERT INTO event VALUES (?1, ?2)")?;
                for (number, content) in (first..).zip(contents) {
                    insert.execute(params![number.cast_signed(), content])?;
                }
                drop(insert);
                transaction.commit()
            };
            store().map_err(|e| e.to_string())
        }
    }
    let make = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(folder.join("rows.db"))?;
        connection.execute_batch(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = wal; PRAGMA synchronous = full;
             CREATE TABLE event (position INTEGER PRIMARY KEY, data TEXT NOT NULL) STRICT",
        )?;
        Ok(connection)
    };
    Ok(Box::new(Sqlite(make().map_err(missing)?)))
}

/// An engine under the log's writer.
pub struct RowsJournal {
    rows: Box<dyn Rows>,
    position: u64,
}

impl RowsJournal {
    /// An empty one.
    pub fn new(rows: Box<dyn Rows>) -> Self {
        Self { rows, position: 0 }
    }
}

impl Journal for RowsJournal {
    fn append(&mut self, batch: &Batch) -> Result<Receipt, JournalError> {
        let (mut contents, mut appends) = (Vec::new(), Vec::with_capacity(batch.appends.len()));
        let mut last = self.position;
        for append in &batch.appends {
            let first = last + 1;
            contents.extend(append.events.iter().map(|event| event.data.as_str()));
            last += append.events.len() as u64;
            appends.push(Ok(Appended { first, last, version: 0, is_repeat: false, durability: Durability::Disk }));
        }
        self.rows.commit(self.position + 1, &contents).map_err(|reason| JournalError::Storage {
            directory: "rows".into(),
            action: "written",
            reason,
            full: false,
        })?;
        self.position = last;
        Ok(Receipt { position: self.position, durability: Durability::Disk, appends })
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn incarnation(&self) -> csf_core::Incarnation {
        1
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        Ok(csf_sim::MemoryStore::default().reader())
    }
}
