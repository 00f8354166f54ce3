//! A database of one test: PostgreSQL through its own `psql`, or SQLite in the process.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use crate::TestError;
use crate::servers::finish;

/// A step of a schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its name; it is applied once.
    pub name: &'static str,
    /// Its statements, in SQL that both databases understand.
    pub sql: &'static str,
}

/// A database of one test.
pub struct TestDatabase(Kind);

enum Kind {
    PostgreSql { address: SocketAddr, name: String },
    Sqlite(Mutex<Connection>),
}

impl TestDatabase {
    /// A new database called `name` in a PostgreSQL.
    ///
    /// # Errors
    /// [`TestError::Statement`].
    pub fn postgresql(address: SocketAddr, name: &str) -> Result<Self, TestError> {
        let server = Self(Kind::PostgreSql { address, name: "postgres".to_owned() });
        server.execute(&format!("CREATE DATABASE \"{name}\""))?;
        Ok(Self(Kind::PostgreSql { address, name: name.to_owned() }))
    }

    /// A new database in memory.
    ///
    /// # Errors
    /// [`TestError::Statement`].
    pub fn embedded() -> Result<Self, TestError> {
        let connection = Connection::open_in_memory().map_err(|e| failed("open", e))?;
        Ok(Self(Kind::Sqlite(Mutex::new(connection))))
    }

    /// Applies those that were not applied yet, in order, each in a transaction of its own; returns how many those were.
    ///
    /// # Errors
    /// [`TestError::Statement`]: of the one that failed nothing is left, those before it stay.
    pub fn run_migrations(&self, migrations: &[Migration]) -> Result<usize, TestError> {
        self.execute("CREATE TABLE IF NOT EXISTS schema_migrations (name TEXT PRIMARY KEY)")?;
        let applied = self.query("SELECT name FROM schema_migrations")?;
        let mut count = 0;
        for Migration { name, sql } in migrations {
            if applied.iter().any(|row| row[0] == *name) {
                continue;
            }
            self.execute(&format!("BEGIN; {sql}; INSERT INTO schema_migrations VALUES ('{name}'); COMMIT"))?;
            count += 1;
        }
        Ok(count)
    }

    /// Runs statements; when one fails, a transaction that they opened is rolled back.
    ///
    /// # Errors
    /// [`TestError::Statement`].
    pub fn execute(&self, sql: &str) -> Result<(), TestError> {
        match &self.0 {
            Kind::PostgreSql { address, name } => psql(*address, name, sql).map(drop),
            Kind::Sqlite(connection) => {
                let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                connection.execute_batch(sql).map_err(|e| {
                    // Without an open transaction there is nothing to roll back.
                    let _ = connection.execute_batch("ROLLBACK");
                    failed(sql, e)
                })
            }
        }
    }

    /// The rows of a query, each column as text.
    ///
    /// # Errors
    /// [`TestError::Statement`].
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<String>>, TestError> {
        match &self.0 {
            Kind::PostgreSql { address, name } => {
                let text = psql(*address, name, sql)?;
                Ok(text.lines().map(|line| line.split(SEPARATOR).map(str::to_owned).collect()).collect())
            }
            Kind::Sqlite(connection) => {
                let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                let mut statement = connection.prepare(sql).map_err(|e| failed(sql, e))?;
                let columns = statement.column_count();
                let rows = statement.query_map([], |row| (0..columns).map(|i| text_of(row.get_ref(i)?)).collect());
                rows.and_then(Iterator::collect).map_err(|e| failed(sql, e))
            }
        }
    }
}

/// Between columns: no text of a test has it.
const SEPARATOR: char = '\u{1f}';

fn psql(address: SocketAddr, database: &str, sql: &str) -> Result<String, TestError> {
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
    psql.arg(format!("--field-separator={SEPARATOR}"));
    psql.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
    psql.args(["--username", "csf", "--dbname", database, "--command", sql]);
    finish(&mut psql).map_err(|reason| failed(sql, reason))
}

fn text_of(value: rusqlite::types::ValueRef<'_>) -> rusqlite::Result<String> {
    use rusqlite::types::ValueRef;
    Ok(match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned(),
    })
}

fn failed(sql: &str, reason: impl ToString) -> TestError {
    TestError::Statement { statement: sql.to_owned(), reason: reason.to_string() }
}
