//! FRM-020, FRM-021: one suite for the data layer, on SQLite and memory and on PostgreSQL and Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{EventId, EventLog, Filter, NewEvent, Read, Refused, StoredEvent, StreamChange};
use csf_data::cache::{CacheStore, MemoryCache, QueryCache, RedisCache, RedisOptions};
use csf_data::integration::{
    DataConfig, DataError, DataIntegrationLayer, Database, PostgresDatabase, Sql, SqlValue, SqliteDatabase,
};
use csf_data::{JournalOptions, PostgresOptions, SharedLog, SqliteJournal};
use csf_runtime::TokioWorld;
use csf_sim::{MemoryJournal, NextWrite, SimDisk};
use csf_tests::{Backing, IntegrationTestHarness};
use serde_json::json;

use crate::backings;

const TTL: Duration = Duration::from_secs(60);

/// A database, a cache and a log.
struct Ground {
    harness: IntegrationTestHarness,
    timer: Arc<TokioWorld>,
}

impl Ground {
    async fn new(backing: Backing) -> Self {
        let ground = Self {
            harness: IntegrationTestHarness::start(backing).await.unwrap(),
            timer: Arc::new(TokioWorld::current()),
        };
        let mut database = ground.database();
        database
            .transact(&mut |sql| {
                sql.execute("CREATE TABLE item (name text PRIMARY KEY, amount bigint NOT NULL)", &[]).map(drop)
            })
            .unwrap();
        ground
    }

    fn database(&self) -> Box<dyn Database> {
        match self.harness.servers() {
            None => Box::new(SqliteDatabase::open(&self.harness.folder().join("users.db")).unwrap()),
            Some(servers) => {
                let url = format!("postgresql://csf@{}/csf_test", servers.postgresql());
                Box::new(PostgresDatabase::open(&PostgresOptions::new(&url).unwrap()).unwrap())
            }
        }
    }

    fn cache(&self) -> QueryCache {
        let store: Arc<dyn CacheStore> = match self.harness.servers() {
            None => Arc::new(MemoryCache::new(self.timer.clone())),
            Some(servers) => {
                let options = RedisOptions::new(format!("redis://{}", servers.redis()), "shop");
                Arc::new(RedisCache::new(options, self.timer.clone()).unwrap())
            }
        };
        QueryCache::new(store, self.timer.clone(), TTL)
    }

    fn layer(&self, log: Arc<dyn EventLog>) -> DataIntegrationLayer {
        self.cached_layer(log, self.cache())
    }

    fn cached_layer(&self, log: Arc<dyn EventLog>, cache: QueryCache) -> DataIntegrationLayer {
        let config = DataConfig { relay_every: Duration::from_millis(20), ..DataConfig::default() };
        let (timer, spawn) = (self.timer.clone(), self.timer.clone());
        DataIntegrationLayer::initialize(self.database(), log, cache, timer, spawn, &config).unwrap()
    }

    /// Every item with its amount, by name.
    async fn items(&self) -> Vec<(String, i64)> {
        let mut items = Vec::new();
        self.database()
            .transact(&mut |sql| {
                for row in sql.query("SELECT name, amount FROM item ORDER BY name", &[])? {
                    items.push((row[0].as_text().unwrap().to_owned(), row[1].as_integer().unwrap()));
                }
                Ok(())
            })
            .unwrap();
        items
    }
}

fn memory_log() -> Arc<dyn EventLog> {
    Arc::new(SharedLog::start(Box::new(MemoryJournal::new())).unwrap())
}

fn added(name: &str, amount: i64) -> NewEvent {
    NewEvent::new(format!("item-{name}"), "added", Stamp(1), json!({ "amount": amount }))
}

fn add(sql: &mut dyn Sql, name: &str, amount: i64) -> Result<u64, DataError> {
    let statement = "INSERT INTO item VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET amount = item.amount + $2";
    sql.execute(statement, &[name.into(), amount.into()])
}

/// The events of a category, once there are so many.
async fn events(log: &Arc<dyn EventLog>, category: &str, wanted: usize) -> Vec<StoredEvent> {
    loop {
        let position = log.position();
        let found = log.read(Read::log(Filter::category(category))).await.unwrap().events;
        if found.len() >= wanted {
            return found;
        }
        log.beyond(position).await.unwrap();
    }
}

/// Runs a test on everything there is.
fn everywhere(test: impl AsyncFn(Ground)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for backing in backings() {
        runtime.block_on(async { test(Ground::new(backing).await).await });
    }
}

#[test]
fn rows_and_events_are_committed_together_or_not_at_all() {
    everywhere(async |ground| {
        let log = memory_log();
        let layer = ground.layer(log.clone());
        let done: Result<i64, DataError> = layer
            .execute_transaction(|sql| {
                add(sql, "lamp", 3)?;
                add(sql, "chair", 4)?;
                Ok((7, vec![added("lamp", 3), added("chair", 4)]))
            })
            .await;
        assert_eq!(done.unwrap(), 7);

        #[derive(Debug)]
        enum Own {
            SoldOut,
            Data(DataError),
        }
        impl From<DataError> for Own {
            fn from(error: DataError) -> Self {
                Self::Data(error)
            }
        }
        let refused: Result<(), Own> = layer
            .execute_transaction(|sql| {
                add(sql, "sofa", 1)?;
                Err(Own::SoldOut)
            })
            .await;
        assert!(matches!(refused, Err(Own::SoldOut)));
        let bad_event: Result<(), Own> = layer
            .execute_transaction(|sql| {
                add(sql, "sofa", 1)?;
                Ok(((), vec![NewEvent::new("", "added", Stamp(1), json!(null))]))
            })
            .await;
        assert!(matches!(bad_event, Err(Own::Data(DataError::Refused(Refused::BadName { .. })))), "{bad_event:?}");
        let panicked: Result<(), DataError> = layer
            .execute_transaction(|sql| {
                add(sql, "sofa", 1)?;
                panic!("out of stock")
            })
            .await;
        assert!(matches!(&panicked, Err(DataError::Panicked { reason }) if reason == "out of stock"), "{panicked:?}");
        let bad_sql: Result<(), DataError> = layer
            .execute_transaction(|sql| {
                add(sql, "sofa", 1)?;
                sql.execute("INSERT INTO nowhere VALUES ($1)", &[1.into()])?;
                Ok(((), vec![added("sofa", 1)]))
            })
            .await;
        assert!(matches!(bad_sql, Err(DataError::Store { action: "written", .. })), "{bad_sql:?}");

        let last: Result<(), DataError> =
            layer.execute_transaction(|sql| add(sql, "lamp", 1).map(|_| ((), vec![added("lamp", 1)]))).await;
        last.unwrap();
        assert_eq!(ground.items().await, [("chair".to_owned(), 4), ("lamp".to_owned(), 4)]);
        let found = events(&log, "item", 3).await;
        let found: Vec<_> = found.iter().map(|event| (event.stream.as_str(), event.data.as_str())).collect();
        let (lamp, chair) = (("item-lamp", r#"{"amount":3}"#), ("item-chair", r#"{"amount":4}"#));
        assert_eq!(found, [lamp, chair, ("item-lamp", r#"{"amount":1}"#)], "in the order of the transactions");
        layer.close().await.unwrap();
        let closed: Result<(), DataError> = layer.execute_transaction(|_| Ok(((), Vec::new()))).await;
        assert!(matches!(closed, Err(DataError::Closed)));
        ground.harness.close().await;
    });
}

#[test]
fn what_the_log_did_not_take_yet_waits_for_the_next_process_and_is_there_once() {
    everywhere(async |ground| {
        let disk = SimDisk::new();
        disk.set_next(NextWrite::Full);
        let log: Arc<dyn EventLog> = Arc::new(SharedLog::start(Box::new(disk.open().unwrap())).unwrap());
        let layer = ground.layer(log.clone());
        for n in 0..5 {
            let event = added("lamp", n).with_tag("é\"\\").with_id(EventId::from_u128(n as u128 + 1));
            let done: Result<(), DataError> = layer
                .execute_transaction(move |sql| add(sql, "lamp", n).map(|_| ((), vec![event, added("chair", n)])))
                .await;
            done.unwrap();
        }
        layer.close().await.unwrap();
        drop((layer, log));

        // Now it writes, and the answer to each append is lost.
        disk.set_next(NextWrite::Works);
        let journal = loop {
            // The log's thread has it for a moment.
            match disk.open() {
                Ok(journal) => break journal,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let log: Arc<dyn EventLog> = Arc::new(SharedLog::start(Box::new(journal)).unwrap());
        let forgetful = Arc::new(Forgetful { log: log.clone(), forgotten: AtomicI64::new(0) });
        let layer = ground.layer(forgetful.clone());
        let found = events(&log, "item", 10).await;
        let amounts: Vec<_> = found.iter().map(|event| event.data.to_value()["amount"].as_i64().unwrap()).collect();
        assert_eq!(amounts, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
        assert_eq!(found[0].tags, ["é\"\\"], "every byte is kept");
        let done: Result<(), DataError> =
            layer.execute_transaction(|sql| add(sql, "sofa", 9).map(|_| ((), vec![added("sofa", 9)]))).await;
        done.unwrap();
        let found = events(&log, "item", 11).await;
        assert_eq!(found.len(), 11, "each is there once");
        assert!(forgetful.forgotten.load(Ordering::Relaxed) >= 3, "answers were lost");
        layer.close().await.unwrap();
        ground.harness.close().await;
    });
}

/// Loses the answer to every other append.
struct Forgetful {
    log: Arc<dyn EventLog>,
    forgotten: AtomicI64,
}

impl EventLog for Forgetful {
    fn append(&self, append: csf_core::port::Append) -> csf_core::port::LogFuture<'_, csf_core::port::Appended> {
        Box::pin(async move {
            let done = self.log.append(append).await?;
            if !done.is_repeat {
                self.forgotten.fetch_add(1, Ordering::Relaxed);
                let reason = "the answer is lost".to_owned();
                let directory = "nowhere".into();
                return Err(csf_core::port::JournalError::Storage {
                    directory,
                    action: "written",
                    reason,
                    full: false,
                }
                .into());
            }
            Ok(done)
        })
    }

    fn read(&self, read: Read) -> csf_core::port::LogFuture<'_, csf_core::port::Page> {
        self.log.read(read)
    }

    fn head(&self, stream: &str) -> csf_core::port::LogFuture<'_, csf_core::port::StreamHead> {
        self.log.head(stream)
    }

    fn position(&self) -> u64 {
        self.log.position()
    }

    fn beyond(&self, position: u64) -> csf_core::port::LogFuture<'_, u64> {
        self.log.beyond(position)
    }
}

#[test]
fn an_event_takes_effect_once_however_often_it_comes() {
    everywhere(async |ground| {
        let log = memory_log();
        let layer = ground.layer(log.clone());
        log.append(added("lamp", 5).into()).await.unwrap();
        let event = events(&log, "item", 1).await.remove(0);
        let apply = async |consumer: &str, fails: bool| -> Result<Option<i64>, DataError> {
            layer
                .apply_once(consumer, &event, move |sql| {
                    add(sql, "lamp", 5)?;
                    if fails {
                        sql.execute("no sql", &[])?;
                    }
                    Ok((5, vec![NewEvent::new("effect-1", "applied", Stamp(1), json!(null))]))
                })
                .await
        };
        apply("stock", true).await.unwrap_err();
        assert_eq!(apply("stock", false).await.unwrap(), Some(5), "what failed has not been applied");
        assert_eq!(apply("stock", false).await.unwrap(), None);
        assert_eq!(apply("other", false).await.unwrap(), Some(5), "another consumer is another");
        assert!(matches!(apply("", false).await, Err(DataError::BadName { .. })));
        assert_eq!(ground.items().await, [("lamp".to_owned(), 10)]);
        assert_eq!(events(&log, "effect", 2).await.len(), 2);
        assert_eq!(layer.forget_applied("stock", event.position).await.unwrap(), 1);
        assert_eq!(apply("stock", false).await.unwrap(), Some(5), "what is forgotten is applied again");
        ground.harness.close().await;
    });
}

#[test]
fn what_the_log_refuses_is_set_aside_and_holds_nobody_up() {
    everywhere(async |ground| {
        let log = memory_log();
        let close = StreamChange::Close { stream: "item-lamp".into() };
        log.append(csf_core::port::Append::default().changing(Stamp(1), close)).await.unwrap();
        let layer = ground.layer(log.clone());
        for name in ["lamp", "chair"] {
            let done: Result<(), DataError> =
                layer.execute_transaction(move |sql| add(sql, name, 1).map(|_| ((), vec![added(name, 1)]))).await;
            done.unwrap();
        }
        assert_eq!(events(&log, "item", 1).await[0].stream, "item-chair");
        let aside = layer.set_aside().await.unwrap();
        assert!(matches!(&aside[..], [one] if one.reason.contains("`item-lamp` is closed")), "{aside:?}");
        ground.harness.close().await;
    });
}

#[test]
fn values_come_back_as_they_were_given() {
    everywhere(async |ground| {
        let layer = ground.layer(memory_log());
        let row = [
            SqlValue::Integer(i64::MIN),
            SqlValue::Real(-0.1),
            SqlValue::Text("ü $1 ' \"".into()),
            SqlValue::Blob(vec![0, 255]),
            SqlValue::Null,
        ];
        let given = row.clone();
        let read: Result<Vec<Vec<SqlValue>>, DataError> = layer
            .execute_transaction(move |sql| {
                let bytes =
                    sql.execute("CREATE TABLE kept (a bigint, b double precision, c text, d bytea, e text)", &[]);
                bytes?;
                // The order of the numbers is not that of the places.
                sql.execute("INSERT INTO kept (e, d, c, b, a) VALUES ($5, $4, $3, $2, $1)", &given)?;
                Ok((sql.query("SELECT a, b, c, d, e FROM kept WHERE c = $1", &["ü $1 ' \"".into()])?, Vec::new()))
            })
            .await;
        assert_eq!(read.unwrap(), [row]);
        ground.harness.close().await;
    });
}

/// Whoever begins to read after a writer's call has returned sees what it wrote, however the two meet.
#[test]
fn no_reader_sees_an_answer_from_before_a_call_that_has_returned() {
    everywhere(async |ground| {
        let layer = Arc::new(ground.layer(memory_log()));
        // Another process with a cache of its own, where processes share one.
        let other = Arc::new(match ground.harness.servers() {
            Some(_) => ground.layer(memory_log()),
            None => ground.cached_layer(memory_log(), layer.query_cache().clone()),
        });
        let floor = Arc::new(AtomicI64::new(0));
        let mut tasks = Vec::new();
        for writer in [layer.clone(), other.clone()] {
            let floor = floor.clone();
            tasks.push(tokio::spawn(async move {
                for _ in 0..60 {
                    let amount: Result<i64, DataError> = writer
                        .execute_transaction(|sql| {
                            add(sql, "lamp", 1)?;
                            let rows = sql.query("SELECT amount FROM item WHERE name = $1", &["lamp".into()])?;
                            Ok((rows[0][0].as_integer().unwrap(), vec![added("lamp", 1)]))
                        })
                        .await;
                    floor.fetch_max(amount.unwrap(), Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            }));
        }
        let readers: Vec<_> = [layer.clone(), other.clone(), layer.clone(), other.clone()]
            .into_iter()
            .map(|reader| {
                let floor = floor.clone();
                tokio::spawn(async move {
                    loop {
                        let wanted = floor.load(Ordering::SeqCst);
                        let load = reader.execute_transaction(|sql| {
                            let rows = sql.query("SELECT amount FROM item WHERE name = $1", &["lamp".into()])?;
                            let amount = rows.first().and_then(|row| row[0].as_integer()).unwrap_or(0);
                            Ok::<_, DataError>((amount, Vec::new()))
                        });
                        let found = reader.query_cache().get_or_load("amount", &["item-lamp"], load).await.unwrap();
                        assert!(found >= wanted, "{found} was read after {wanted} was written");
                        if found == 120 {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks.into_iter().chain(readers) {
            task.await.unwrap();
        }
        let counts = layer.query_cache().counts();
        assert!(counts.misses > 0 && counts.unanswered == 0, "{counts:?}");
        // Nothing is written any more: once the last event is told of, the answers come from the cache.
        let cache = layer.query_cache();
        let kept = async {
            while cache.counts().hits < counts.hits + 10 {
                let load = async { Ok::<i64, ()>(120) };
                assert_eq!(cache.get_or_load("amount", &["item-lamp"], load).await, Ok(120));
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), kept).await.expect("answers come from the cache");
        ground.harness.close().await;
    });
}

#[test]
fn an_embedded_log_and_database_survive_together() {
    everywhere(async |ground| {
        let folder = ground.harness.folder().join("journal");
        for life in 1..=3 {
            let journal = SqliteJournal::open(&folder, &JournalOptions::default()).unwrap();
            let log: Arc<dyn EventLog> = Arc::new(SharedLog::start(Box::new(journal)).unwrap());
            let layer = ground.layer(log.clone());
            let done: Result<(), DataError> =
                layer.execute_transaction(|sql| add(sql, "lamp", 1).map(|_| ((), vec![added("lamp", 1)]))).await;
            done.unwrap();
            assert_eq!(events(&log, "item", life).await.len(), life);
            assert_eq!(ground.items().await, [("lamp".to_owned(), life as i64)]);
            layer.close().await.unwrap();
            drop((layer, log));
            while SqliteJournal::open(&folder, &JournalOptions::default()).is_err() {
                tokio::task::yield_now().await;
            }
        }
        ground.harness.close().await;
    });
}
