//! Read models: one transaction for rows and place, rebuilt when their version changes, and asked by their readers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use csf_core::port::{Append, Appended, EventLog, Filter, LogFuture, Page, Read, Spawn, StoredEvent, StreamHead, Task};
use csf_data::model::{
    MemoryModels, ModelError, ModelStore, Projection, ProjectionStatus, ReadModel, Rows, SqliteModels,
};

use crate::log::{event, on_each};
use crate::scratch::Scratch;

/// Adds up what was counted, by stream.
struct Totals {
    version: u32,
    factor: u64,
}

impl ReadModel for Totals {
    fn name(&self) -> &str {
        "totals"
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn filter(&self) -> Filter {
        Filter::category("sum")
    }

    fn apply(&mut self, event: &StoredEvent, rows: &mut dyn Rows) -> Result<(), ModelError> {
        let n = event.data.to_value()["n"].as_u64().unwrap_or_default();
        if n == 13 {
            rows.set("total", "half", &1)?;
            return Err(ModelError::Event { position: event.position, reason: "thirteen".into() });
        }
        let total = rows.value::<u64>("total", &event.stream)?.unwrap_or_default();
        rows.set("total", &event.stream, &(total + n * self.factor))
    }
}

struct TokioSpawn;

impl Spawn for TokioSpawn {
    fn spawn(&self, task: Task) {
        tokio::spawn(task);
    }
}

fn totals(projection: &Projection) -> BTreeMap<String, u64> {
    let (rows, _) = projection.query(|rows| rows.scan("total", "", None, 100)).unwrap();
    rows.into_iter().map(|(key, value)| (key, value.parse().unwrap())).collect()
}

fn start(log: &Arc<dyn EventLog>, store: Box<dyn ModelStore>, version: u32, factor: u64) -> Projection {
    Projection::start(log.clone(), store, Totals { version, factor }, &TokioSpawn).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_follows_its_events_and_who_waits_for_its_write_reads_it() {
    let scratch = Scratch::new();
    let stores: [Box<dyn ModelStore>; 2] =
        [Box::new(MemoryModels::default()), Box::new(SqliteModels::open(scratch.path()).unwrap())];
    for store in stores {
        on_each(|log| {
            let store = store.again().unwrap();
            let mut other = store.again().unwrap();
            async move {
                other.reset("totals").unwrap();
                let model = start(&log, store, 1, 1);
                for n in 1..=10 {
                    let mine = log.append(event(&format!("sum-{}", n % 2), n).into()).await.unwrap();
                    assert!(model.reaches(mine.last).await);
                    let sum: u64 = totals(&model).values().sum();
                    assert_eq!(sum, n * (n + 1) / 2, "a write that was waited for is read");
                }
                let others = log.append(event("other-1", 99).into()).await.unwrap();
                assert!(model.reaches(others.last).await, "others' events are passed over");
                drop(model);
                let again = start(&log, other.again().unwrap(), 1, 1);
                assert_eq!(totals(&again), BTreeMap::from([("sum-0".into(), 30), ("sum-1".into(), 25)]));
                drop(again);
                let renewed = start(&log, other, 2, 10);
                assert!(renewed.reaches(10).await);
                assert_eq!(totals(&renewed)["sum-0"], 300, "another version is built anew");
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_fails_stops_with_its_reason_and_leaves_nothing_half_done() {
    let scratch = Scratch::new();
    on_each(|log| {
        let mut store = SqliteModels::open(scratch.path()).unwrap();
        async move {
            store.reset("totals").unwrap();
            log.append(event("sum-0", 5).into()).await.unwrap();
            let model = start(&log, store.again().unwrap(), 1, 1);
            assert!(model.reaches(1).await);
            log.append(event("sum-0", 13).into()).await.unwrap();
            assert!(!model.reaches(2).await);
            let ProjectionStatus::Stopped { at: 1, reason } = model.status() else { panic!("{:?}", model.status()) };
            assert!(reason.contains("event 2") && reason.contains("thirteen"), "{reason}");
            assert_eq!(totals(&model), BTreeMap::from([("sum-0".into(), 5)]));
        }
    })
    .await;
}

#[test]
fn stores_agree_on_rows() {
    let scratch = Scratch::new();
    let stores: [Box<dyn ModelStore>; 2] =
        [Box::new(MemoryModels::default()), Box::new(SqliteModels::open(scratch.path()).unwrap())];
    for mut store in stores {
        let at = |position| csf_data::model::Checkpoint { version: 1, position };
        let fill = &mut |rows: &mut dyn Rows| {
            for key in ["a", "ab", "abc", "b", "é", "a\u{10ffff}"] {
                rows.set("t", key, key)?;
                rows.set("u", key, "other")?;
            }
            rows.remove("t", "b")
        };
        store.update("m", at(7), fill).unwrap();
        let failed = store.update("m", at(8), &mut |rows| {
            rows.remove("t", "a")?;
            rows.set("t", "z", "z")?;
            Err(ModelError::Event { position: 8, reason: "no".into() })
        });
        assert!(failed.is_err());
        assert_eq!(store.checkpoint("m").unwrap(), Some(at(7)));
        let position = store.look("m", &mut |rows| {
            let mut keys = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
                rows.scan("t", prefix, after, limit).unwrap().into_iter().map(|(key, _)| key).collect()
            };
            assert_eq!(keys("", None, 100), ["a", "ab", "abc", "a\u{10ffff}", "é"]);
            assert_eq!(keys("a", None, 2), ["a", "ab"]);
            assert_eq!(keys("a", Some("ab"), 9), ["abc", "a\u{10ffff}"]);
            assert_eq!(keys("ab", Some("a"), 9), ["ab", "abc"]);
            assert_eq!(keys("b", None, 9), [""; 0]);
            assert_eq!(rows.value::<String>("u", "b")?, Some("other".into()));
            assert!(matches!(rows.value::<u64>("u", "b"), Err(ModelError::NoValue { .. })));
            rows.remove("u", "b")
        });
        assert_eq!(position.unwrap(), 7);
        let mut has_row = |model: &str| {
            let mut has = false;
            let mut look = |rows: &mut dyn Rows| {
                has = rows.get("u", "b")?.is_some();
                Ok(())
            };
            store.look(model, &mut look).unwrap();
            has
        };
        assert!(has_row("m"), "a look changes nothing");
        assert!(!has_row("n"), "models are apart");
        store.reset("m").unwrap();
        assert_eq!(store.checkpoint("m").unwrap(), None);
    }
}

/// A log that counts what it is asked.
struct Asked {
    log: Arc<dyn EventLog>,
    times: AtomicUsize,
}

impl EventLog for Asked {
    fn append(&self, append: Append) -> LogFuture<'_, Appended> {
        self.log.append(append)
    }

    fn read(&self, read: Read) -> LogFuture<'_, Page> {
        self.times.fetch_add(1, Ordering::Relaxed);
        self.log.read(read)
    }

    fn head(&self, stream: &str) -> LogFuture<'_, StreamHead> {
        self.log.head(stream)
    }

    fn position(&self) -> u64 {
        self.log.position()
    }

    fn beyond(&self, position: u64) -> LogFuture<'_, u64> {
        self.times.fetch_add(1, Ordering::Relaxed);
        self.log.beyond(position)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_queries_ask_the_log_nothing() {
    on_each(|log| async move {
        let asked = Arc::new(Asked { log: log.clone(), times: AtomicUsize::new(0) });
        let counted: Arc<dyn EventLog> = asked.clone();
        let model = start(&counted, Box::new(MemoryModels::default()), 1, 1);
        log.append(Append::events((1..=10).map(|n| event("sum-0", n)).collect::<Vec<_>>())).await.unwrap();
        assert!(model.reaches(10).await);
        // The model asks once more, for what comes next, and waits.
        while asked.times.load(Ordering::Relaxed) < 3 {
            tokio::task::yield_now().await;
        }
        for _ in 0..10_000 {
            assert_eq!(totals(&model)["sum-0"], 55);
        }
        assert_eq!(asked.times.load(Ordering::Relaxed), 3, "one page, and a wait on either side of it");
    })
    .await;
}
