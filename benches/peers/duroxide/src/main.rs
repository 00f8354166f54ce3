//! Durable steps on duroxide with its SQLite provider: `csf-bench-duroxide FOLDER RUNS IN_FLIGHT STEPS`.
//!
//! Prints steps per second, the median and the 99th percentile of the time from one activity of a run to its next, ns, on one line. A run ends for this
//! load when its last activity begins: the client's way to wait for a run polls, and is not measured.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide::{ActivityContext, Client, OrchestrationContext, OrchestrationRegistry};
use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use tokio::sync::mpsc;

/// Connections that the provider opens at most.
const CONNECTIONS: usize = 5;
/// `PRAGMA synchronous`: FULL syncs each commit. The provider asks for `WAL`, which SQLite takes for NORMAL.
const FULL: i64 = 2;
/// The best of 1, 2, 8 and 16 dispatchers of each kind.
const DISPATCHERS: usize = 8;
/// The documentation's default is 100 ms; an idle dispatcher then sleeps that long between two steps.
const POLL: Duration = Duration::from_millis(1);

/// When activities began.
struct Steps {
    origin: Instant,
    /// Of each run, ns since the origin; 0 before its first.
    last: Vec<AtomicU64>,
    samples: Mutex<Vec<u64>>,
    ended: mpsc::UnboundedSender<()>,
    steps: usize,
}

impl Steps {
    fn begin(&self, input: &str) -> Result<String, String> {
        let (run, step) = input.split_once('/').ok_or("an input is RUN/STEP")?;
        let (run, step): (usize, usize) =
            (run.parse().map_err(|e| format!("{e}"))?, step.parse().map_err(|e| format!("{e}"))?);
        let now = self.origin.elapsed().as_nanos() as u64;
        let last = self.last[run].swap(now, Ordering::Relaxed);
        if step > 0 {
            self.samples.lock().map_err(|e| e.to_string())?.push(now - last);
        }
        if step + 1 == self.steps {
            self.ended.send(()).map_err(|e| e.to_string())?;
        }
        Ok(input.to_owned())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, runs, in_flight, steps] = &arguments[..] else { return Err("FOLDER RUNS IN_FLIGHT STEPS".into()) };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure(
        folder,
        runs.parse()?,
        in_flight.parse()?,
        steps.parse()?,
    ))
}

async fn measure(folder: &str, runs: usize, in_flight: usize, steps: usize) -> Result<(), Box<dyn Error>> {
    let database = format!("{folder}/duroxide.db");
    std::fs::File::create(&database)?;
    let store = Arc::new(SqliteProvider::new(&format!("sqlite:{database}"), None).await?);
    let (asked, _held) = sync_each_commit(&store).await?;
    let (ended, mut endings) = mpsc::unbounded_channel();
    // The first runs warm up.
    let warm = in_flight;
    let last = (0..warm + runs).map(|_| AtomicU64::new(0)).collect();
    let state = Arc::new(Steps { origin: Instant::now(), last, samples: Mutex::default(), ended, steps });
    let own = state.clone();
    let activities = ActivityRegistry::builder()
        .register("step", move |_: ActivityContext, input: String| {
            let own = own.clone();
            async move { own.begin(&input) }
        })
        .build();
    let sequence = move |cx: OrchestrationContext, run: String| async move {
        for step in 0..steps {
            cx.schedule_activity("step", format!("{run}/{step}")).await?;
        }
        Ok(run)
    };
    let orchestrations = OrchestrationRegistry::builder().register("sequence", sequence).build();
    let options = RuntimeOptions {
        orchestration_concurrency: DISPATCHERS,
        worker_concurrency: DISPATCHERS,
        dispatcher_min_poll_interval: POLL,
        ..RuntimeOptions::default()
    };
    let runtime = Runtime::start_with_options(store.clone(), activities, orchestrations, options).await;
    let client = Client::new(store);
    let mut measured = Instant::now();
    for (from, until) in [(0, warm), (warm, warm + runs)] {
        measured = Instant::now();
        state.samples.lock().map_err(|e| e.to_string())?.clear();
        let mut open = 0;
        for run in from..until {
            if open == in_flight {
                endings.recv().await;
                open -= 1;
            }
            client.start_orchestration(format!("run-{run}"), "sequence", run.to_string()).await?;
            open += 1;
        }
        for _ in 0..open {
            endings.recv().await;
        }
    }
    let took = measured.elapsed().as_secs_f64();
    let mut samples = std::mem::take(&mut *state.samples.lock().map_err(|e| e.to_string())?);
    samples.sort_unstable();
    let at = |share: f64| samples[((samples.len() - 1) as f64 * share) as usize];
    eprintln!("the provider's own `PRAGMA synchronous` was {asked}");
    println!("{} {} {}", (runs * steps) as f64 / took, at(0.5), at(0.99));
    runtime.shutdown(Some(100)).await;
    Ok(())
}

/// Sets `synchronous` to FULL on every connection of the pool; what it was, and all connections but one. Those are kept from the provider:
/// with more than one its transactions meet, are refused as busy, and wait 200 ms and more each time.
async fn sync_each_commit(store: &SqliteProvider) -> Result<(i64, Vec<PoolConnection<Sqlite>>), Box<dyn Error>> {
    let mut connections = Vec::new();
    let mut asked = FULL;
    for _ in 0..CONNECTIONS {
        let mut connection = store.get_pool().acquire().await?;
        asked = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await?;
        sqlx::query("PRAGMA synchronous = FULL").execute(&mut *connection).await?;
        let is: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await?;
        if is != FULL {
            return Err(format!("synchronous stays {is}").into());
        }
        connections.push(connection);
    }
    connections.pop();
    Ok((asked, connections))
}
