//! Tasks for agents, many at once: how long they take, and that each result is right (FRM-096).
//!
//! Run it: `cargo run --release -p csf-examples --bin 07_agent_tasks -- 10 100 1000 10000`; without sizes, 10 and 100. The journal is on disk and every
//! step is synced: a task is three of them, submitted, taken, handed in. You will see a row for each size: tasks, agents, time, tasks a second;
//! and last, how the throughput at the largest size compares with that at 100.
#![expect(clippy::print_stdout, reason = "an example talks")]
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use csf_core::Stamp;
use csf_core::port::{EventId, EventLog, Json, Origin, TimeSource};
use csf_data::{JournalOptions, SharedLog, SqliteJournal};
use csf_runtime::TokioWorld;
use csf_workflow::task::{TaskContext, TaskDesk, TaskOutcome, TaskRequest, task_workflow};
use csf_workflow::{Engine, EngineOptions, World};
use tokio::task::JoinSet;

const AGENTS: usize = 64;
/// Runs of each size, of which the median counts.
const RUNS: usize = 3;
const KIND: &str = "collatz";

type Failed = Box<dyn Error + Send + Sync>;

/// What an agent does: steps of the Collatz sequence until it comes to 1.
fn steps(mut n: u64) -> u64 {
    let mut steps = 0;
    while n > 1 {
        n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
        steps += 1;
    }
    steps
}

async fn work(task: TaskContext) -> TaskOutcome {
    match task.lease.input.parse() {
        Ok(n) => TaskOutcome::Done(Json::from(serde_json::Value::from(steps(n)))),
        Err(error) => TaskOutcome::Failed(error.to_string()),
    }
}

/// Time from the first submission to the last result, on a new journal.
async fn run(directory: &Path, tasks: u64) -> Result<Duration, Failed> {
    let journal = SqliteJournal::open(directory, &JournalOptions::default())?;
    let log: Arc<dyn EventLog> = Arc::new(SharedLog::start(Box::new(journal))?);
    let tokio = Arc::new(TokioWorld::current());
    let clock = csf_time::SystemClock::detect()?;
    let clock = Arc::new(move || Stamp(clock.now_ns().map_or(0, |now| now.as_nanos())));
    let world = World { timer: tokio.clone(), spawn: tokio, clock };
    let engine = Engine::open(log, world.clone(), [task_workflow()], [], EngineOptions::default()).await?;
    let desk = TaskDesk::open(engine.clone(), world, EventId::from_u128(u128::from(tasks))).await?;
    let mut agents = JoinSet::new();
    for number in 0..AGENTS {
        let desk = desk.clone();
        agents.spawn(async move { desk.serve(&format!("agent-{number}"), &[KIND.to_owned()], work).await });
    }
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for n in 1..=tasks {
        let (desk, engine) = (desk.clone(), engine.clone());
        clients.spawn(async move {
            let request = TaskRequest::new(KIND, serde_json::Value::from(n));
            let id = desk.submit(None, &request, None, Origin::default()).await?;
            let got: u64 = engine.result(&id).await?;
            if got == steps(n) { Ok(()) } else { Err(Failed::from(format!("task {n} came to {got}"))) }
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let took = begun.elapsed();
    desk.close();
    while let Some(agent) = agents.join_next().await {
        agent??;
    }
    engine.close();
    Ok(took)
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let sizes: Vec<u64> = std::env::args().skip(1).map(|size| size.parse()).collect::<Result<_, _>>()?;
    let sizes = if sizes.is_empty() { vec![10, 100] } else { sizes };
    let directory = std::env::temp_dir().join(format!("csf-example-{}", std::process::id()));
    println!("{:>7}  {:>7}  {:>10}  {:>10}", "tasks", "agents", "seconds", "tasks/s");
    let mut rates = Vec::new();
    for size in sizes {
        let mut times = Vec::new();
        for number in 0..RUNS {
            let directory = directory.join(format!("{size}-{number}"));
            std::fs::create_dir_all(&directory)?;
            times.push(run(&directory, size).await?);
        }
        times.sort();
        let took = times[RUNS / 2].as_secs_f64();
        let rate = size as f64 / took;
        println!("{size:>7}  {AGENTS:>7}  {took:>10.3}  {rate:>10.0}");
        rates.push((size, rate));
    }
    std::fs::remove_dir_all(directory)?;
    println!("every result was checked");
    let hundred = rates.iter().find(|(size, _)| *size == 100);
    if let (Some((_, hundred)), Some((most, rate))) = (hundred, rates.last()) {
        println!("throughput at {most} is {:.2} of that at 100; wanted are 0.90", rate / hundred);
    }
    Ok(())
}
