//! What runs in a transaction, on any database: statements and values.

use super::DataError;

/// A value of a statement or of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlValue {
    /// Nothing.
    Null,
    /// A whole number; a boolean is 0 or 1.
    Integer(i64),
    /// A number.
    Real(f64),
    /// A text. PostgreSQL keeps none with U+0000.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl SqlValue {
    /// The number, where it is a whole one.
    #[must_use]
    pub const fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }

    /// The text, where it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

impl From<i64> for SqlValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for SqlValue {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<&str> for SqlValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for SqlValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for SqlValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Blob(bytes)
    }
}

/// A transaction that is under way. Parameters are written `$1`, `$2`, on every database.
pub trait Sql {
    /// Runs a statement; how many rows it has changed.
    ///
    /// # Errors
    /// [`DataError::Store`], [`DataError::Conflict`].
    fn execute(&mut self, sql: &str, values: &[SqlValue]) -> Result<u64, DataError>;

    /// The rows of a statement, each column a value.
    ///
    /// # Errors
    /// [`DataError::Store`], [`DataError::Conflict`].
    fn query(&mut self, sql: &str, values: &[SqlValue]) -> Result<Vec<Vec<SqlValue>>, DataError>;
}

/// A connection to a database of users' tables, with the outbox and the inbox among them.
pub trait Database: Send {
    /// Runs `work` in a transaction: everything it does is done, or nothing. It runs once.
    ///
    /// # Errors
    /// Those of `work`, [`DataError::Store`], [`DataError::Conflict`], and [`DataError::Unknown`] when the answer to the commit was lost and could not be
    /// found out.
    fn transact(&mut self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<(), DataError>) -> Result<(), DataError>;

    /// Another connection to the same database.
    ///
    /// # Errors
    /// [`DataError::Store`].
    fn again(&self) -> Result<Box<dyn Database>, DataError>;
}
