//! Users' tables in an SQLite database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Error, ErrorCode, Statement, ToSql, TransactionBehavior};

use super::sql::{Database, Sql, SqlValue};
use super::{DataError, outbox};

/// A writer may have to wait for another one's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// An SQLite database of users' tables: the embedded default. A commit is on the disk when it returns.
#[derive(Debug)]
pub struct SqliteDatabase {
    path: PathBuf,
    connection: Connection,
}

impl SqliteDatabase {
    /// Opens the file, creating it, the outbox and the inbox when they are absent.
    ///
    /// # Errors
    /// [`DataError::Store`].
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            let transaction = rusqlite::Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
            transaction.execute_batch(outbox::SQLITE_TABLES)?;
            transaction.commit()?;
            Ok(connection)
        };
        let connection = open().map_err(|e| failed(path, "opened", &e))?;
        Ok(Self { path: path.to_owned(), connection })
    }
}

fn failed(path: &Path, action: &'static str, error: &Error) -> DataError {
    let (place, reason) = (path.display().to_string(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DataError::Conflict { place, reason },
        _ => DataError::Store { place, action, reason },
    }
}

impl Database for SqliteDatabase {
    fn transact(&mut self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<(), DataError>) -> Result<(), DataError> {
        let path = &self.path;
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(|e| failed(path, "written", &e))?;
        work(&mut Within { path, connection: &transaction })?;
        transaction.commit().map_err(|e| failed(path, "written", &e))
    }

    fn again(&self) -> Result<Box<dyn Database>, DataError> {
        Ok(Box::new(Self::open(&self.path)?))
    }
}

struct Within<'t> {
    path: &'t Path,
    connection: &'t Connection,
}

impl Sql for Within<'_> {
    fn execute(&mut self, sql: &str, values: &[SqlValue]) -> Result<u64, DataError> {
        let run = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            bind(&mut statement, values)?;
            statement.raw_execute()
        };
        run().map(|rows| rows as u64).map_err(|e| failed(self.path, "written", &e))
    }

    fn query(&mut self, sql: &str, values: &[SqlValue]) -> Result<Vec<Vec<SqlValue>>, DataError> {
        let run = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            bind(&mut statement, values)?;
            let columns = statement.column_count();
            let (mut rows, mut found) = (statement.raw_query(), Vec::new());
            while let Some(row) = rows.next()? {
                found.push((0..columns).map(|at| row.get_ref(at).map(value)).collect::<Result<_, _>>()?);
            }
            Ok(found)
        };
        run().map_err(|e| failed(self.path, "read", &e))
    }
}

/// `$1` is a name to SQLite: it is found by it, wherever it stands.
fn bind(statement: &mut Statement<'_>, values: &[SqlValue]) -> rusqlite::Result<()> {
    for (number, value) in (1..).zip(values) {
        if let Some(at) = statement.parameter_index(&format!("${number}"))? {
            statement.raw_bind_parameter(at, value)?;
        }
    }
    Ok(())
}

impl ToSql for SqlValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Integer(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Real(number) => ToSqlOutput::Owned(Value::Real(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Blob(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

fn value(value: ValueRef<'_>) -> SqlValue {
    match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(number) => SqlValue::Integer(number),
        ValueRef::Real(number) => SqlValue::Real(number),
        ValueRef::Text(text) => SqlValue::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => SqlValue::Blob(bytes.to_vec()),
    }
}
