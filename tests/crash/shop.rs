//! Rows of the process's own database with events in one transaction, and what those events do to other rows: the outbox and the inbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use csf_core::port::{EventLog, NewEvent, Timer};
use csf_data::cache::{MemoryCache, QueryCache};
use csf_data::group::Group;
use csf_data::integration::{DataConfig, DataError, DataIntegrationLayer, Database, Sql};
use csf_runtime::TokioWorld;
use serde_json::json;

use crate::arguments::Plant;
use crate::backend::Place;
use crate::told::Line;
use crate::victim::{Clock, give_up, tell};
use crate::work::{BOOKING, SALE};

/// Answers live this long; there is no second process.
const TTL: Duration = Duration::from_secs(10);

/// The rows in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    /// Sales.
    pub(crate) sold: Vec<u64>,
    /// How often each was booked.
    pub(crate) booked: BTreeMap<u64, u64>,
}

/// A shop on its own database.
#[derive(Clone)]
pub(crate) struct Shop {
    layer: Arc<DataIntegrationLayer>,
    log: Arc<dyn EventLog>,
    clock: Clock,
    plant: Option<Plant>,
}

impl Shop {
    pub(crate) fn open(
        place: &Place,
        log: Arc<dyn EventLog>,
        world: &Arc<TokioWorld>,
        clock: Clock,
        plant: Option<Plant>,
    ) -> Result<Self, DataError> {
        let mut database = place.database()?;
        database.transact(&mut |sql| {
            sql.execute("CREATE TABLE IF NOT EXISTS sale (n bigint PRIMARY KEY)", &[])?;
            sql.execute("CREATE TABLE IF NOT EXISTS booked (n bigint PRIMARY KEY, times bigint NOT NULL)", &[])?;
            Ok(())
        })?;
        let cache = QueryCache::new(Arc::new(MemoryCache::new(world.clone())), world.clone(), TTL);
        let config = DataConfig { connections: 2, ..DataConfig::default() };
        let (timer, spawn) = (world.clone(), world.clone());
        let layer = DataIntegrationLayer::initialize(database, log.clone(), cache, timer, spawn, &config)?;
        Ok(Self { layer: Arc::new(layer), log, clock, plant })
    }

    /// One sale after the other.
    pub(crate) async fn sell(self) {
        loop {
            let (stamp, is_detached) = ((self.clock)(), self.plant == Some(Plant::DetachedPublish));
            let sold: Result<u64, DataError> = self
                .layer
                .execute_transaction(move |sql| {
                    let n = numbers(sql, "SELECT coalesce(max(n), 0) + 1 FROM sale")?[0][0];
                    sql.execute("INSERT INTO sale VALUES ($1)", &[n.cast_signed().into()])?;
                    let event = NewEvent::new(format!("{SALE}-{n}"), "sold", stamp, json!({ "n": n }));
                    Ok((n, if is_detached { Vec::new() } else { vec![event] }))
                })
                .await;
            let n = sold.unwrap_or_else(|e| give_up(e));
            tell(&Line::Sold(n));
            if is_detached {
                let event = NewEvent::new(format!("{SALE}-{n}"), "sold", stamp, json!({ "n": n }));
                self.log.append(event.into()).await.unwrap_or_else(|e| give_up(e));
            }
        }
    }

    /// Books what was sold, each sale once.
    pub(crate) async fn book(self, group: Arc<Group>, handled: Arc<AtomicU64>) {
        loop {
            let delivery = group.next().await.unwrap_or_else(|e| give_up(e));
            let event = delivery.event().clone();
            let n = event.data.to_value()["n"].as_u64().unwrap_or(0);
            let booked: Result<Option<()>, DataError> = self
                .layer
                .apply_once(BOOKING, &event, move |sql| {
                    let text =
                        "INSERT INTO booked VALUES ($1, 1) ON CONFLICT (n) DO UPDATE SET times = booked.times + 1";
                    sql.execute(text, &[n.cast_signed().into()])?;
                    Ok(((), Vec::new()))
                })
                .await;
            booked.unwrap_or_else(|e| give_up(e));
            delivery.ack().await.unwrap_or_else(|e| give_up(e));
            handled.fetch_max(event.position, Ordering::Relaxed);
        }
    }

    /// Waits until the log has everything that was sold.
    pub(crate) async fn relayed(&self, timer: &dyn Timer) -> Result<(), DataError> {
        loop {
            let left: Result<u64, DataError> = self
                .layer
                .execute_transaction(|sql| Ok((numbers(sql, "SELECT count(*) FROM csf_outbox")?[0][0], Vec::new())))
                .await;
            if left? == 0 {
                return Ok(());
            }
            timer.sleep(Duration::from_millis(10)).await;
        }
    }
}

fn numbers(sql: &mut dyn Sql, text: &str) -> Result<Vec<Vec<u64>>, DataError> {
    let number = |value: &csf_data::integration::SqlValue| value.as_integer().map_or(0, i64::cast_unsigned);
    Ok(sql.query(text, &[])?.iter().map(|row| row.iter().map(number).collect()).collect())
}

/// The rows of a database in the end.
pub(crate) fn books(database: &mut dyn Database) -> Result<Books, DataError> {
    let mut books = Books::default();
    database.transact(&mut |sql| {
        books.sold = numbers(sql, "SELECT n FROM sale ORDER BY n")?.into_iter().flatten().collect();
        let booked = numbers(sql, "SELECT n, times FROM booked")?;
        books.booked = booked.into_iter().map(|row| (row[0], row[1])).collect();
        Ok(())
    })?;
    Ok(books)
}
