//! Workflows: steps, sleepers and replays of our engine on SQLite.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{Json, TimeSource};
use csf_data::{JournalOptions, SharedLog, SqliteJournal};
use csf_runtime::TokioWorld;
use csf_workflow::{
    Activity, ActivityContext, ActivityOptions, Engine, EngineOptions, Failure, HistoryEntry, HistoryEvent,
    StartOptions, Workflow, WorkflowContext, World,
};
use tokio::runtime::Runtime;

use crate::clock::{ns_per_tick, ticks};
use crate::load::{Folder, Missing};
use crate::stats::{Figures, Metric, latency, median};

/// Starts that are under way at the same time.
const STARTING: usize = 2_048;
/// Sleepers that are to wake while the others sleep, and how far their instants are apart.
const WAKING: u64 = 1_000;
const APART: Duration = Duration::from_millis(5);
/// From the last start to the first instant: by then every run has left the memory.
const SETTLING: Duration = Duration::from_secs(10);
/// When the others would wake.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// Writes of which the disk's own time is the median.
const SYNCS: usize = 200;

fn missing(error: impl std::fmt::Display) -> Missing {
    Missing(error.to_string())
}

fn runtime() -> Result<Runtime, Missing> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(missing)
}

type Clock = Arc<dyn Fn() -> Stamp + Send + Sync>;

fn clock() -> Result<Clock, Missing> {
    let clock = csf_time::SystemClock::detect().map_err(missing)?;
    Ok(Arc::new(move || Stamp(clock.now_ns().map_or(0, |now| now.as_nanos()))))
}

async fn open(
    folder: &Path,
    clock: Clock,
    workflows: Vec<Workflow>,
    activities: Vec<Activity>,
) -> Result<Engine, Missing> {
    let journal = SqliteJournal::open(folder, &JournalOptions::default()).map_err(missing)?;
    let log = Arc::new(SharedLog::start(Box::new(journal)).map_err(missing)?);
    let tokio = Arc::new(TokioWorld::current());
    let world = World { timer: tokio.clone(), spawn: tokio, clock };
    Engine::open(log, world, workflows, activities, EngineOptions::default()).await.map_err(missing)
}

/// When the activities of each run began.
struct Began {
    last: Vec<AtomicU64>,
    samples: Mutex<Vec<u64>>,
}

/// A run of `steps` activities, one after the other.
async fn sequence(cx: WorkflowContext, (run, steps): (u64, u32)) -> Result<u64, Failure> {
    for step in 0..steps {
        cx.activity::<_, u64>("step", &(run, step)).await?;
    }
    Ok(run)
}

/// `runs` runs of `steps` activities each, `in_flight` at a time, each waited for to its durable end.
pub fn steps(runs: u64, in_flight: usize, steps: u32) -> Result<Figures, Missing> {
    let folder = Folder::new("workflow")?;
    runtime()?.block_on(async {
        // The first runs warm up.
        let warm = in_flight as u64;
        let began =
            Arc::new(Began { last: (0..warm + runs).map(|_| AtomicU64::new(0)).collect(), samples: Mutex::default() });
        let own = began.clone();
        let activity = Activity::new("step", move |_: ActivityContext, (run, step): (u64, u32)| {
            let own = own.clone();
            async move {
                let now = ticks();
                let last = own.last[run as usize].swap(now, Ordering::Relaxed);
                if step > 0 {
                    own.samples.lock().unwrap_or_else(PoisonError::into_inner).push(now - last);
                }
                Ok(run)
            }
        });
        let engine = open(folder.path(), clock()?, vec![Workflow::new("sequence", sequence)], vec![activity]).await?;
        drive(&engine, 0..warm, in_flight, steps).await?;
        began.samples.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let from = ticks();
        drive(&engine, warm..warm + runs, in_flight, steps).await?;
        let took = ticks() - from;
        engine.close();
        let samples = std::mem::take(&mut *began.samples.lock().unwrap_or_else(PoisonError::into_inner));
        let mut figures = latency(samples, took);
        let seconds = took as f64 * ns_per_tick() / 1e9;
        figures.insert(Metric::PerSecond, (runs * u64::from(steps)) as f64 / seconds);
        Ok(figures)
    })
}

/// Starts each run and waits for its end, in as many tasks as runs may be in flight.
async fn drive(engine: &Engine, runs: std::ops::Range<u64>, in_flight: usize, steps: u32) -> Result<(), Missing> {
    let next = Arc::new(AtomicU64::new(runs.start));
    let callers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (engine, next, end) = (engine.clone(), next.clone(), runs.end);
            tokio::spawn(async move {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= end {
                        return Ok(());
                    }
                    let id = format!("run-{run}");
                    engine.start("sequence", &id, &(run, steps), StartOptions::default()).await.map_err(missing)?;
                    engine.result::<u64>(&id).await.map_err(missing)?;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.map_err(missing)??;
    }
    Ok(())
}

/// What a step of a run that is alone takes beyond `fdatasync` of the same disk in the same minute: the difference of the medians.
pub fn overhead(count: u32) -> Result<Figures, Missing> {
    let mut syncs = synced()?;
    let mut figures = steps(1, 1, count)?;
    syncs.extend(synced()?);
    let disk = median(&syncs).unwrap_or_default();
    let step = figures.get(&Metric::P50).copied().unwrap_or_default();
    figures.insert(Metric::Cost, step - disk);
    figures.insert(Metric::Sync, disk);
    Ok(figures)
}

/// Times of a small write and its `fdatasync`, ns.
fn synced() -> Result<Vec<f64>, Missing> {
    let folder = Folder::new("disk")?;
    let mut file = std::fs::File::create(folder.path().join("log")).map_err(missing)?;
    (0..SYNCS)
        .map(|_| {
            let from = ticks();
            file.write_all(&[b'x'; 1024]).and_then(|()| file.sync_data()).map_err(missing)?;
            Ok((ticks() - from) as f64 * ns_per_tick())
        })
        .collect()
}

/// Memory of this process that is in use, bytes.
fn resident() -> Result<f64, Missing> {
    let statm = std::fs::read_to_string("/proc/self/statm").map_err(missing)?;
    let pages: f64 =
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).ok_or_else(|| missing("statm has no pages"))?;
    Ok(pages * 4096.0)
}

/// A run that sleeps until an instant, and then says by how much it was woken late.
fn sleeper(clock: Clock, late: Arc<Mutex<Vec<u64>>>) -> Workflow {
    Workflow::new("sleeper", move |cx: WorkflowContext, at: Stamp| {
        let (clock, late) = (clock.clone(), late.clone());
        async move {
            cx.sleep_until(at).await?;
            // A look at the real clock, which decides nothing.
            late.lock().unwrap_or_else(PoisonError::into_inner).push(clock().since(at));
            Ok(())
        }
    })
}

fn after(now: Stamp, span: Duration) -> Stamp {
    now.after(span.as_nanos() as u64)
}

/// In a process of its own: `count` runs fall asleep in the folder's log; memory, lateness of those that wake meanwhile, starts per second.
pub fn fall_asleep(folder: &Path, count: u64) -> Result<Vec<(Metric, f64)>, Missing> {
    runtime()?.block_on(async {
        let (clock, late) = (clock()?, Arc::new(Mutex::new(Vec::new())));
        let engine = open(folder, clock.clone(), vec![sleeper(clock.clone(), late.clone())], Vec::new()).await?;
        let (before, from) = (resident()?, ticks());
        let others = after(clock(), LONG);
        start(&engine, "sleeper", 0..count, move |_| others).await?;
        let rate = count as f64 / ((ticks() - from) as f64 * ns_per_tick() / 1e9);
        let first = after(clock(), SETTLING);
        let at = move |run: u64| after(first, APART * u32::try_from(run).unwrap_or(u32::MAX));
        start(&engine, "waking", 0..WAKING, at).await?;
        tokio::time::sleep(SETTLING / 2).await;
        let memory = resident()? - before;
        for run in 0..WAKING {
            engine.result::<()>(&format!("waking-{run}")).await.map_err(missing)?;
        }
        engine.close();
        let mut late = std::mem::take(&mut *late.lock().unwrap_or_else(PoisonError::into_inner));
        late.sort_unstable();
        let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize] as f64;
        Ok(vec![
            (Metric::Memory, memory / 1e6),
            (Metric::PerSecond, rate),
            (Metric::P50, at(0.5)),
            (Metric::P99, at(0.99)),
            (Metric::Worst, at(1.0)),
        ])
    })
}

/// In a process of its own: an engine on the log of [`fall_asleep`]; how long it takes to open, and its memory after that.
pub fn reopen(folder: &Path) -> Result<Vec<(Metric, f64)>, Missing> {
    runtime()?.block_on(async {
        let (clock, before, from) = (clock()?, resident()?, ticks());
        let engine = open(folder, clock.clone(), vec![sleeper(clock, Arc::default())], Vec::new()).await?;
        let took = (ticks() - from) as f64 * ns_per_tick() / 1e9;
        tokio::time::sleep(SETTLING / 2).await;
        let memory = resident()? - before;
        engine.close();
        Ok(vec![(Metric::Seconds, took), (Metric::Memory, memory / 1e6)])
    })
}

/// Starts runs `PREFIX-n` of the sleeper.
async fn start(
    engine: &Engine,
    prefix: &'static str,
    runs: std::ops::Range<u64>,
    at: impl Fn(u64) -> Stamp + Clone + Send + 'static,
) -> Result<(), Missing> {
    let next = Arc::new(AtomicU64::new(runs.start));
    let starters: Vec<_> = (0..STARTING)
        .map(|_| {
            let (engine, next, at, end) = (engine.clone(), next.clone(), at.clone(), runs.end);
            tokio::spawn(async move {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= end {
                        return Ok(());
                    }
                    let id = format!("{prefix}-{run}");
                    engine.start("sleeper", &id, &at(run), StartOptions::default()).await.map_err(missing)?;
                }
            })
        })
        .collect();
    for starter in starters {
        starter.await.map_err(missing)??;
    }
    Ok(())
}

/// Replays histories of `steps` activities with as many entries in all as asked for.
pub fn replay(entries: u64, steps: u32) -> Result<Figures, Missing> {
    let history = history(steps).map_err(missing)?;
    let workflow = Workflow::new("sequence", sequence);
    let times = (entries / history.len() as u64).max(2);
    let (mut count, mut took) = (0, 0);
    // The first tenth warms up.
    for time in 0..times + times / 10 {
        let from = ticks();
        workflow.replay("run-0", &history).map_err(missing)?;
        if time >= times / 10 {
            took += ticks() - from;
            count += history.len();
        }
    }
    let seconds = took as f64 * ns_per_tick() / 1e9;
    Ok(Figures::from([(Metric::PerSecond, count as f64 / seconds)]))
}

/// The history of a run of [`sequence`] that has ended.
fn history(steps: u32) -> Result<Vec<HistoryEntry>, serde_json::Error> {
    let input = Json::of(&(0u64, steps))?;
    let mut events = vec![HistoryEvent::Started {
        workflow: "sequence".into(),
        input,
        run: 0,
        parent: None,
        deadline: None,
        resets: Vec::new(),
        attributes: Default::default(),
    }];
    for step in 0..steps {
        let (seq, options) = (step + 1, ActivityOptions::default());
        let input = Json::of(&(0u64, step))?;
        events.push(HistoryEvent::ActivityScheduled { seq, activity: "step".into(), input, options });
        events.push(HistoryEvent::ActivityCompleted { seq, result: Json::of(&0u64)? });
    }
    events.push(HistoryEvent::Completed { result: Json::of(&0u64)? });
    let entry = |(version, event): (u64, HistoryEvent)| HistoryEntry {
        version,
        position: version,
        stamp: Stamp(version),
        event,
    };
    Ok((1..).zip(events).map(entry).collect())
}
