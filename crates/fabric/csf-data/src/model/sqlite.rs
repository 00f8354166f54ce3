//! Models in an SQLite database of their own: `models.db`. It can be deleted; the models are built anew then.

use std::path::{Path, PathBuf};
use std::time::Duration;

use csf_core::port::Json;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{Checkpoint, ModelError, ModelStore, Rows, SCAN_MAX};

/// A reader or a writer may meet another one's moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS checkpoint (
  model    TEXT PRIMARY KEY,
  version  INTEGER NOT NULL,
  position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS row (
  model TEXT NOT NULL,
  tab   TEXT NOT NULL,
  key   TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (model, tab, key)
) STRICT, WITHOUT ROWID;
";

/// Models in a directory. Their writes reach the disk when the system sees fit, in order: what a power failure takes back is projected again.
#[derive(Debug)]
pub struct SqliteModels {
    path: PathBuf,
    connection: Connection,
}

impl SqliteModels {
    /// Opens `models.db` in `directory`, creating both when they are absent.
    ///
    /// # Errors
    /// [`ModelError::Store`].
    pub fn open(directory: &Path) -> Result<Self, ModelError> {
        let path = directory.join("models.db");
        let place = path.clone();
        let fail = |reason: String| ModelError::Store { place: place.display().to_string(), action: "opened", reason };
        std::fs::create_dir_all(directory).map_err(|e| fail(e.to_string()))?;
        let connect = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            // The log is the truth; a model that lost its last commits goes on from an older checkpoint.
            connection.pragma_update(None, "synchronous", "normal")?;
            connection.execute_batch(TABLES)?;
            Ok(connection)
        };
        let connection = connect().map_err(|e| fail(e.to_string()))?;
        Ok(Self { path, connection })
    }

    fn failed(path: &Path, action: &'static str) -> impl Fn(rusqlite::Error) -> ModelError {
        let place = path.display().to_string();
        move |e| ModelError::Store { place: place.clone(), action, reason: e.to_string() }
    }
}

struct SqliteRows<'t> {
    connection: &'t Connection,
    path: &'t Path,
    model: &'t str,
}

impl Rows for SqliteRows<'_> {
    fn get(&mut self, table: &str, key: &str) -> Result<Option<Json>, ModelError> {
        let fail = SqliteModels::failed(self.path, "read");
        let sql = "SELECT value FROM row WHERE model = ?1 AND tab = ?2 AND key = ?3";
        let text = self.connection.prepare_cached(sql).and_then(|mut statement| {
            statement.query_row(params![self.model, table, key], |row| row.get::<_, String>(0)).optional()
        });
        text.map_err(fail)?.map(|text| json(table, key, text)).transpose()
    }

    fn put(&mut self, table: &str, key: &str, value: Json) -> Result<(), ModelError> {
        let sql = "INSERT OR REPLACE INTO row VALUES (?1, ?2, ?3, ?4)";
        let put = self.connection.prepare_cached(sql);
        let put = put.and_then(|mut statement| statement.execute(params![self.model, table, key, value.as_str()]));
        put.map(drop).map_err(SqliteModels::failed(self.path, "written"))
    }

    fn remove(&mut self, table: &str, key: &str) -> Result<(), ModelError> {
        let sql = "DELETE FROM row WHERE model = ?1 AND tab = ?2 AND key = ?3";
        let removed = self.connection.prepare_cached(sql);
        let removed = removed.and_then(|mut statement| statement.execute(params![self.model, table, key]));
        removed.map(drop).map_err(SqliteModels::failed(self.path, "written"))
    }

    fn scan(
        &mut self,
        table: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Json)>, ModelError> {
        let fail = SqliteModels::failed(self.path, "read");
        let sql = "SELECT key, value FROM row WHERE model = ?1 AND tab = ?2 AND key >= ?3 AND (?4 IS NULL OR key > ?4)
                   ORDER BY key";
        let mut statement = self.connection.prepare_cached(sql).map_err(&fail)?;
        let mut rows = statement.query(params![self.model, table, prefix, after]).map_err(&fail)?;
        let mut found = Vec::new();
        while found.len() < limit.min(SCAN_MAX) {
            let Some(row) = rows.next().map_err(&fail)? else { break };
            let (key, text): (String, String) = row.get(0).and_then(|key| Ok((key, row.get(1)?))).map_err(&fail)?;
            if !key.starts_with(prefix) {
                break;
            }
            let value = json(table, &key, text)?;
            found.push((key, value));
        }
        Ok(found)
    }
}

fn json(table: &str, key: &str, text: String) -> Result<Json, ModelError> {
    Json::from_text(text).map_err(|e| super::no_value(table, key, &e))
}

impl ModelStore for SqliteModels {
    fn checkpoint(&mut self, model: &str) -> Result<Option<Checkpoint>, ModelError> {
        checkpoint(&self.connection, model).map_err(Self::failed(&self.path, "read"))
    }

    fn update(
        &mut self,
        model: &str,
        checkpoint: Checkpoint,
        work: &mut dyn FnMut(&mut dyn Rows) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let fail = Self::failed(&self.path, "written");
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
        work(&mut SqliteRows { connection: &transaction, path: &self.path, model })?;
        let position = checkpoint.position.cast_signed();
        let sql = "INSERT OR REPLACE INTO checkpoint VALUES (?1, ?2, ?3)";
        transaction.execute(sql, params![model, checkpoint.version, position]).map_err(&fail)?;
        transaction.commit().map_err(&fail)
    }

    fn reset(&mut self, model: &str) -> Result<(), ModelError> {
        let fail = Self::failed(&self.path, "written");
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
        for sql in ["DELETE FROM row WHERE model = ?1", "DELETE FROM checkpoint WHERE model = ?1"] {
            transaction.execute(sql, [model]).map_err(&fail)?;
        }
        transaction.commit().map_err(&fail)
    }

    fn look(
        &mut self,
        model: &str,
        look: &mut dyn FnMut(&mut dyn Rows) -> Result<(), ModelError>,
    ) -> Result<u64, ModelError> {
        let fail = Self::failed(&self.path, "read");
        let transaction = self.connection.transaction().map_err(&fail)?;
        let position = checkpoint(&transaction, model).map_err(&fail)?.map_or(0, |checkpoint| checkpoint.position);
        // Dropped without a commit: nothing it does stays.
        look(&mut SqliteRows { connection: &transaction, path: &self.path, model })?;
        Ok(position)
    }

    fn again(&self) -> Result<Box<dyn ModelStore>, ModelError> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        Ok(Box::new(Self::open(directory)?))
    }
}

fn checkpoint(connection: &Connection, model: &str) -> rusqlite::Result<Option<Checkpoint>> {
    let sql = "SELECT version, position FROM checkpoint WHERE model = ?1";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Checkpoint { version: row.get(0)?, position: row.get::<_, i64>(1)?.cast_unsigned() })
    };
    connection.prepare_cached(sql)?.query_row([model], read).optional()
}
