//! What an engine reads when it is opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{Append, Appended, EventLog, LogFuture, NewEvent, Page, Read, StreamHead, Timer};
use csf_sim::{SimDisk, SimExecutor, SimLog};
use csf_workflow::task::task_workflow;
use csf_workflow::{Engine, EngineOptions, RunStatus, StartOptions, Workflow, WorkflowContext, WorkflowError};
use futures_util::future;

use crate::{EPOCH, world};

const RUNS: u32 = 600;

/// A log that counts the events that are read.
struct Counted {
    log: Arc<dyn EventLog>,
    read: AtomicUsize,
}

impl EventLog for Counted {
    fn append(&self, append: Append) -> LogFuture<'_, Appended> {
        self.log.append(append)
    }

    fn read(&self, read: Read) -> LogFuture<'_, Page> {
        Box::pin(async move {
            let page = self.log.read(read).await?;
            self.read.fetch_add(page.events.len(), Ordering::Relaxed);
            Ok(page)
        })
    }

    fn head(&self, stream: &str) -> LogFuture<'_, StreamHead> {
        self.log.head(stream)
    }

    fn position(&self) -> u64 {
        self.log.position()
    }

    fn beyond(&self, position: u64) -> LogFuture<'_, u64> {
        self.log.beyond(position)
    }
}

/// A run that sleeps so many seconds.
fn nap() -> Workflow {
    Workflow::new("nap", |cx: WorkflowContext, seconds: u64| async move {
        cx.sleep(Duration::from_secs(seconds)).await?;
        Ok(seconds)
    })
}

/// One life of an engine that knows these workflows; how many events it read until it was open.
fn live(disk: &SimDisk, checkpoint_every: u64, knows: Vec<Workflow>, work: impl AsyncFnOnce(Engine)) -> usize {
    let executor = SimExecutor::new(1);
    let log = SimLog::start(&executor, Box::new(disk.open().unwrap()), 1);
    let counted = Arc::new(Counted { log, read: AtomicUsize::new(0) });
    let options = EngineOptions { checkpoint_every, ..EngineOptions::default() };
    let run = async {
        let engine = Engine::open(counted.clone(), world(&executor), knows, [], options).await.unwrap();
        let read = counted.read.load(Ordering::Relaxed);
        work(engine.clone()).await;
        // Time for a checkpoint.
        executor.sleep(Duration::from_secs(1)).await;
        engine.close();
        read
    };
    let read = executor.block_on(run).unwrap_or_else(|stalled| panic!("{stalled}"));
    executor.drop_tasks();
    read
}

#[test]
fn an_engine_that_is_opened_reads_how_the_runs_stood_and_what_followed() {
    for (checkpoint_every, least, most) in [(100, 1, 310), (u64::MAX, 2 * RUNS as usize, usize::MAX)] {
        let disk = SimDisk::new();
        live(&disk, checkpoint_every, vec![nap()], async |engine| {
            for run in 0..RUNS {
                engine.start("nap", &run.to_string(), &(1000 + run), StartOptions::default()).await.unwrap();
            }
        });
        let read = live(&disk, checkpoint_every, vec![nap()], async |engine| {
            let ends = (0..RUNS).map(|run| {
                let engine = engine.clone();
                async move { engine.result::<u32>(&run.to_string()).await.unwrap() }
            });
            assert!(future::join_all(ends).await.into_iter().eq(1000..1000 + RUNS), "every timer has fired");
        });
        assert!((least..=most).contains(&read), "{read} events, checkpoints after {checkpoint_every}");
        // All have ended: nothing stands any more.
        let read = live(&disk, checkpoint_every, vec![nap()], async |_| {});
        assert!(checkpoint_every == u64::MAX || read <= 110, "{read} events");
    }
}

/// A run whose code is missing hears nothing. What it was told stands until it does.
#[test]
fn a_signal_that_was_not_heard_outlives_checkpoints() {
    let hear = || Workflow::new("hear", |cx: WorkflowContext, (): ()| async move { cx.signal::<u32>("word").await });
    let tell = || Workflow::new("tell", |cx: WorkflowContext, (): ()| async move { cx.signal_other("h", "word", &7) });
    let disk = SimDisk::new();
    live(&disk, 1, vec![hear()], async |engine| {
        engine.start("hear", "h", &(), StartOptions::default()).await.unwrap();
    });
    live(&disk, 1, vec![tell()], async |engine| {
        engine.start("tell", "t", &(), StartOptions::default()).await.unwrap();
    });
    for _ in 0..2 {
        let read = live(&disk, 1, vec![tell()], async |_| {});
        assert!(read <= 5, "{read} events: it was in a checkpoint");
    }
    live(&disk, 1, vec![hear(), tell()], async |engine| {
        assert_eq!(engine.result::<u32>("h").await.unwrap(), 7);
    });
}

/// A sleeping run whose history another version has written on. Whether before or after a checkpoint, the others go on without it.
#[test]
fn a_history_that_cannot_be_read_sets_its_run_aside_and_no_other() {
    for checkpoint_every in [1, u64::MAX] {
        for broken in ["future_event", "started"] {
            let disk = SimDisk::new();
            let naps = |engine: Engine| async move {
                for id in ["good", "bad"] {
                    engine.start("nap", id, &100, StartOptions::default()).await.unwrap();
                }
            };
            live(&disk, checkpoint_every, vec![nap()], async |engine| {
                if broken == "future_event" {
                    naps(engine).await;
                } else {
                    engine.start("nap", "good", &100, StartOptions::default()).await.unwrap();
                }
            });
            write_on(&disk, "workflow-bad", broken);
            // Twice: what stands in a checkpoint is as good as what stands in the log.
            for _ in 0..2 {
                live(&disk, checkpoint_every, vec![nap(), task_workflow()], async |engine| {
                    let bad = engine.describe("bad").await.unwrap();
                    let RunStatus::Blocked { reason } = &bad.status else { panic!("{bad:?}") };
                    assert!(reason.contains("`bad` cannot be read at entry"), "{reason}");
                    let listed = engine.list().await.unwrap();
                    let listed = listed.iter().find(|run| run.id == "bad").unwrap();
                    assert!(matches!(listed.status, RunStatus::Blocked { .. }), "{listed:?}");
                    let told = engine.signal("bad", "word", &1, None).await;
                    assert!(matches!(told, Err(WorkflowError::BadHistory { .. })), "{told:?}");
                });
            }
            live(&disk, checkpoint_every, vec![nap()], async |engine| {
                assert_eq!(engine.result::<u32>("good").await.unwrap(), 100);
                engine.start("nap", "new", &1, StartOptions::default()).await.unwrap();
                assert_eq!(engine.result::<u32>("new").await.unwrap(), 1);
            });
        }
    }
}

/// Appends to a run's stream what no engine here can read.
fn write_on(disk: &SimDisk, stream: &str, kind: &str) {
    let executor = SimExecutor::new(2);
    let log = SimLog::start(&executor, Box::new(disk.open().unwrap()), 2);
    let data = serde_json::json!({"type": kind, "means": "nothing yet"});
    let event = NewEvent::new(stream, kind, Stamp(EPOCH + 1), data);
    let written = executor.block_on(log.append(Append::events([event]))).unwrap_or_else(|stalled| panic!("{stalled}"));
    written.unwrap();
    executor.drop_tasks();
}
