//! Read models: what the events add up to, kept where it can be asked for.
//!
//! A model is projected once, whoever asks (FAB-112, decision D34). Its rows and the position they stand at change in one transaction, so
//! that a crash repeats no event; a model whose version changed is built anew from the first event.

mod memory;
mod postgres;
mod projection;
mod sqlite;

use csf_core::port::{Filter, Json, StoredEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use memory::MemoryModels;
pub use postgres::PostgresModels;
pub use projection::{Projection, ProjectionStatus};
pub use sqlite::SqliteModels;

/// Most rows of one [`Rows::scan`].
pub const SCAN_MAX: usize = 10_000;

/// What events add up to.
pub trait ReadModel: Send + 'static {
    /// Its name: the place of its rows.
    fn name(&self) -> &str;

    /// What its rows mean. A model of another version than the stored one is built anew.
    fn version(&self) -> u32;

    /// The events it is made of.
    fn filter(&self) -> Filter;

    /// Takes an event in. Everything it changes is in `rows`: after a crash it goes on with those.
    ///
    /// # Errors
    /// [`ModelError`]: the event's changes are dropped, and the projection stops here.
    fn apply(&mut self, event: &StoredEvent, rows: &mut dyn Rows) -> Result<(), ModelError>;
}

/// Rows of one model, by table and key.
pub trait Rows {
    /// The row, if there is one.
    ///
    /// # Errors
    /// [`ModelError::Store`].
    fn get(&mut self, table: &str, key: &str) -> Result<Option<Json>, ModelError>;

    /// Sets a row.
    ///
    /// # Errors
    /// [`ModelError::Store`].
    fn put(&mut self, table: &str, key: &str, value: Json) -> Result<(), ModelError>;

    /// Removes a row, if there is one.
    ///
    /// # Errors
    /// [`ModelError::Store`].
    fn remove(&mut self, table: &str, key: &str) -> Result<(), ModelError>;

    /// Rows whose keys begin with `prefix`, ascending by key, those after key `after`; at most `limit`, and never more than [`SCAN_MAX`].
    ///
    /// # Errors
    /// [`ModelError::Store`].
    fn scan(
        &mut self,
        table: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Json)>, ModelError>;
}

impl dyn Rows + '_ {
    /// [`Rows::get`] as a `T`.
    ///
    /// # Errors
    /// [`ModelError::Store`], [`ModelError::NoValue`].
    pub fn value<T: DeserializeOwned>(&mut self, table: &str, key: &str) -> Result<Option<T>, ModelError> {
        let Some(json) = self.get(table, key)? else { return Ok(None) };
        json.parse().map(Some).map_err(|e| no_value(table, key, &e))
    }

    /// [`Rows::put`] of a `T`.
    ///
    /// # Errors
    /// [`ModelError::Store`], [`ModelError::NoValue`].
    pub fn set<T: Serialize + ?Sized>(&mut self, table: &str, key: &str, value: &T) -> Result<(), ModelError> {
        self.put(table, key, Json::of(value).map_err(|e| no_value(table, key, &e))?)
    }
}

fn no_value(table: &str, key: &str, error: &serde_json::Error) -> ModelError {
    ModelError::NoValue { table: table.to_owned(), key: key.to_owned(), reason: error.to_string() }
}

/// A failure of a model or of where it is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The store failed.
    #[error("models {place} cannot be {action}: {reason}")]
    Store {
        /// Which store.
        place: String,
        /// `read` or `written`.
        action: &'static str,
        /// Its words.
        reason: String,
    },
    /// A row is not what the model takes it for.
    #[error("row `{key}` of table `{table}` does not fit: {reason}; raise the model's version to build it anew")]
    NoValue {
        /// The table.
        table: String,
        /// The row.
        key: String,
        /// Why.
        reason: String,
    },
    /// An event is not what the model takes it for.
    #[error("event {position} does not fit the model: {reason}")]
    Event {
        /// Position of the event.
        position: u64,
        /// Why.
        reason: String,
    },
}

/// How far a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Version of the model that made the rows.
    pub version: u32,
    /// They have taken in everything up to here.
    pub position: u64,
}

/// Where models are kept.
pub trait ModelStore: Send + 'static {
    /// How far a model is; `None` before its first event.
    ///
    /// # Errors
    /// [`ModelError::Store`].
    fn checkpoint(&mut self, model: &str) -> Result<Option<Checkpoint>, ModelError>;

    /// Changes a model's rows and says how far they are, at once. When `work` fails nothing has happened.
    ///
    /// # Errors
    /// Those of `work`, and [`ModelError::Store`].
    fn update(
        &mut self,
        model: &str,
        checkpoint: Checkpoint,
        work: &mut dyn FnMut(&mut dyn Rows) -> Result<(), ModelError>,
    ) -> Result<(), ModelError>;

    /// Forgets a model and its rows.
    ///
    /// # Errors
    /// [`ModelError::Store`].
    fn reset(&mut self, model: &str) -> Result<(), ModelError>;

    /// Shows a model's rows as of one moment, and that moment. What is changed in them is dropped.
    ///
    /// # Errors
    /// Those of `look`, and [`ModelError::Store`].
    fn look(
        &mut self,
        model: &str,
        look: &mut dyn FnMut(&mut dyn Rows) -> Result<(), ModelError>,
    ) -> Result<u64, ModelError>;

    /// Another handle on the same store, to read beside a writer.
    ///
    /// # Errors
    /// [`ModelError::Store`].
    fn again(&self) -> Result<Box<dyn ModelStore>, ModelError>;
}
