//! Users' tables and the log: rows and events in one transaction, events that take effect in rows once, answers that are kept.
//!
//! Rows live in a database of the users' own, SQLite or PostgreSQL; events go into its outbox in the same transaction, and from there into
//! the log. Invariant: an event is in the log, once, if and only if its transaction was committed; and once
//! [`DataIntegrationLayer::execute_transaction`] has returned, no answer in the cache is older than the transaction.
//! Reference: FRM-020, FRM-021; Richardson, "Microservices Patterns" (2018), 3.3.7 for the outbox, 3.3.6 for the inbox.

mod outbox;
mod pool;
mod postgres;
mod relay;
mod sql;
mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use csf_core::port::{EventLog, LogError, NewEvent, Refused, Spawn, StoredEvent, Timer};
use tokio::sync::{Notify, oneshot, watch};

pub use postgres::PostgresDatabase;
pub use sql::{Database, Sql, SqlValue};
pub use sqlite::SqliteDatabase;

use crate::cache::{CacheError, QueryCache, touched};
use pool::Pool;
use relay::Relay;

/// Longest name of a consumer, bytes.
pub const CONSUMER_BYTES_MAX: usize = 128;

/// Why a transaction was not done, unless it says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The database failed, or refused a statement. Nothing was done.
    #[error("database {place} cannot be {action}: {reason}")]
    Store {
        /// Which.
        place: String,
        /// `opened`, `read` or `written`.
        action: &'static str,
        /// Its words.
        reason: String,
    },
    /// Another transaction was in the way. Nothing was done; the same again may work.
    #[error("another transaction was in the way in database {place}: {reason}; try it again")]
    Conflict {
        /// Which database.
        place: String,
        /// Its words.
        reason: String,
    },
    /// The answer to the commit was lost, and the server did not come back in time to say what became of it.
    #[error("it is not known whether database {place} has committed: {reason}; look at the rows before trying again")]
    Unknown {
        /// Which database.
        place: String,
        /// How the answer was lost.
        reason: String,
    },
    /// An event that the log would not take. Nothing was done.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A name that cannot be one.
    #[error("`{name}` is no name of a consumer: 1 to {CONSUMER_BYTES_MAX} bytes without control characters")]
    BadName {
        /// The name.
        name: String,
    },
    /// The transaction's own code panicked. Nothing was done.
    #[error("the transaction panicked: {reason}")]
    Panicked {
        /// Its words.
        reason: String,
    },
    /// The outbox cannot be read.
    #[error("the outbox is damaged: {reason}")]
    Damaged {
        /// Where and why.
        reason: String,
    },
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The layer has been closed.
    #[error("the data layer is closed")]
    Closed,
}

/// How a layer works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataConfig {
    /// Connections to the database; at least 1. One more is the relay's.
    pub connections: usize,
    /// The outbox is looked at this often even when nobody here has put anything in: others may have.
    pub relay_every: Duration,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { connections: 4, relay_every: Duration::from_millis(500) }
    }
}

/// An event that the log did not take after its transaction was committed: its stream was closed, or its id is another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Row of the outbox.
    pub number: i64,
    /// The log's words.
    pub reason: String,
}

/// Users' database, the log and the cache, as one.
pub struct DataIntegrationLayer {
    pool: Arc<Pool>,
    relay: Arc<Pool>,
    log: Arc<dyn EventLog>,
    cache: QueryCache,
    spawn: Arc<dyn Spawn>,
    news: Arc<Notify>,
    is_closed: watch::Sender<bool>,
}

impl DataIntegrationLayer {
    /// Starts the connections and the relay, which goes on with what an earlier process left in the outbox.
    ///
    /// # Errors
    /// [`DataError::Store`].
    pub fn initialize(
        database: Box<dyn Database>,
        log: Arc<dyn EventLog>,
        cache: QueryCache,
        timer: Arc<dyn Timer>,
        spawn: Arc<dyn Spawn>,
        config: &DataConfig,
    ) -> Result<Self, DataError> {
        let relay = Arc::new(Pool::start(database.again()?, 1)?);
        let pool = Arc::new(Pool::start(database, config.connections)?);
        let news = Arc::new(Notify::new());
        let (is_closed, closed) = watch::channel(false);
        let task = Relay {
            pool: relay.clone(),
            log: log.clone(),
            cache: cache.clone(),
            timer,
            every: config.relay_every,
            news: news.clone(),
            closed,
        };
        spawn.spawn(Box::pin(task.run()));
        Ok(Self { pool, relay, log, cache, spawn, news, is_closed })
    }

    /// The log that events go to.
    #[must_use]
    pub fn event_store(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// The answers that are kept.
    #[must_use]
    pub fn query_cache(&self) -> &QueryCache {
        &self.cache
    }

    /// Runs `operation` in a transaction with the events it returns: all of it is committed, or nothing. Back when it is committed and no
    /// answer in the cache that depends on what the events touch ([`touched`]) is older; the events are in the log soon after, in one append, and
    /// each once. Dropped, it goes on.
    ///
    /// # Errors
    /// Those of `operation`, and [`DataError`].
    pub async fn execute_transaction<T, E, O>(&self, operation: O) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DataError> + Send + 'static,
        O: FnOnce(&mut dyn Sql) -> Result<(T, Vec<NewEvent>), E> + Send + 'static,
    {
        self.committed(move |sql| operation(sql).map(|(value, events)| (Some(value), events)))
            .await
            .map(|value| value.expect("an operation gives a value"))
    }

    /// The same as the effect of an event on a consumer, once: `None` when this consumer has applied the event at this position before.
    /// What is noted of that commits with the effect.
    ///
    /// # Errors
    /// Those of `operation`, and [`DataError`].
    pub async fn apply_once<T, E, O>(&self, consumer: &str, event: &StoredEvent, operation: O) -> Result<Option<T>, E>
    where
        T: Send + 'static,
        E: From<DataError> + Send + 'static,
        O: FnOnce(&mut dyn Sql) -> Result<(T, Vec<NewEvent>), E> + Send + 'static,
    {
        if consumer.is_empty() || consumer.len() > CONSUMER_BYTES_MAX || consumer.chars().any(char::is_control) {
            return Err(DataError::BadName { name: consumer.to_owned() }.into());
        }
        let (consumer, position) = (consumer.to_owned(), event.position);
        self.committed(move |sql| {
            if !outbox::note(sql, &consumer, position)? {
                return Ok((None, Vec::new()));
            }
            operation(sql).map(|(value, events)| (Some(value), events))
        })
        .await
    }

    /// Commits on a task of its own, so that who gives up waiting leaves no old answer in the cache.
    async fn committed<T, E, O>(&self, operation: O) -> Result<Option<T>, E>
    where
        T: Send + 'static,
        E: From<DataError> + Send + 'static,
        O: FnOnce(&mut dyn Sql) -> Result<(Option<T>, Vec<NewEvent>), E> + Send + 'static,
    {
        let work = self.pool.transact(move |sql| {
            let (value, events) = operation(sql)?;
            outbox::put(sql, &events)?;
            let words: Vec<String> = events.iter().flat_map(|event| touched(&event.stream, &event.tags)).collect();
            Ok::<_, E>((value, words))
        });
        let (cache, news) = (self.cache.clone(), self.news.clone());
        let (answer, receiver) = oneshot::channel();
        self.spawn.spawn(Box::pin(async move {
            let outcome = match work.await {
                Ok((value, words)) => {
                    news.notify_one();
                    cache.invalidate(words).await;
                    Ok(value)
                }
                Err(error) => Err(error),
            };
            // Who asked may have gone away.
            let _ = answer.send(outcome);
        }));
        receiver.await.map_err(|_| DataError::Closed)?
    }

    /// Forgets that a consumer has applied events up to this position: those that cannot come again, such as what its group has settled.
    ///
    /// # Errors
    /// [`DataError`].
    pub async fn forget_applied(&self, consumer: &str, up_to: u64) -> Result<u64, DataError> {
        let consumer = consumer.to_owned();
        self.pool.transact(move |sql| outbox::forget(sql, &consumer, up_to)).await
    }

    /// Committed events that the log did not take. They stay in `csf_outbox`, where an operator removes them or sets `refused` to NULL.
    ///
    /// # Errors
    /// [`DataError`].
    pub async fn set_aside(&self) -> Result<Vec<SetAside>, DataError> {
        let rows: Vec<(i64, String)> = self.pool.transact(|sql| outbox::set_aside_ones(sql)).await?;
        Ok(rows.into_iter().map(|(number, reason)| SetAside { number, reason }).collect())
    }

    /// Ends the relay and every connection, and removes what the cache has kept under its own name; how many keys those were. What is in
    /// the outbox stays for the next start.
    ///
    /// # Errors
    /// [`CacheError`] when the cache cannot be cleared; everything else is closed all the same.
    pub async fn close(&self) -> Result<u64, CacheError> {
        self.is_closed.send_replace(true);
        let (pool, relay) = (self.pool.clone(), self.relay.clone());
        let (told, ended) = oneshot::channel();
        let closing = std::thread::Builder::new().name("csf-database-end".into()).spawn(move || {
            pool.close();
            relay.close();
            // Who asked may have gone away.
            let _ = told.send(());
        });
        if closing.is_ok() {
            // It ends with or without a word.
            let _ = ended.await;
        }
        self.cache.clear().await
    }
}

impl DataIntegrationLayer {
    /// Whether the database's connections and the cache's have ended.
    ///
    /// # Errors
    /// Which have not.
    pub fn check_closed(&self) -> Result<(), &'static str> {
        match (self.pool.is_closed() && self.relay.is_closed(), self.cache.is_connected()) {
            (false, _) => Err("a connection to the database is open"),
            (true, true) => Err("the connection to the cache is open"),
            (true, false) => Ok(()),
        }
    }
}

impl Drop for DataIntegrationLayer {
    fn drop(&mut self) {
        self.is_closed.send_replace(true);
    }
}

impl std::fmt::Debug for DataIntegrationLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataIntegrationLayer").field("cache", &self.cache).finish_non_exhaustive()
    }
}
