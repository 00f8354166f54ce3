//! Workflows in a simulated world: virtual time, one seed, a disk that survives.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may fail as the tests do")]

mod activities;
mod attributes;
mod checkpoints;
mod crashes;
mod durable;
mod orchestrate;
mod replay;
mod reset;
mod tasks;

use std::sync::Arc;

use csf_core::Stamp;
use csf_core::port::{EventLog, Timer};
use csf_sim::{SimDisk, SimExecutor, SimLog};
use csf_workflow::{Activity, Engine, EngineOptions, Workflow, World};

/// The epoch of virtual time.
const EPOCH: u64 = 1_700_000_000_000_000_000;

fn world(executor: &SimExecutor) -> World {
    let clock = executor.clone();
    World {
        timer: Arc::new(executor.clone()),
        spawn: Arc::new(executor.clone()),
        clock: Arc::new(move || Stamp(EPOCH + u64::try_from(clock.now().as_nanos()).unwrap())),
    }
}

/// Runs `test` with an engine of these workflows and activities on a new disk.
fn with_engine<T>(
    seed: u64,
    workflows: Vec<Workflow>,
    activities: Vec<Activity>,
    test: impl AsyncFnOnce(Engine, SimExecutor, Arc<dyn EventLog>) -> T,
) -> T {
    on_disk(seed, &SimDisk::new(), workflows, activities, test)
}

/// The same on a disk that holds what earlier engines have left.
fn on_disk<T>(
    seed: u64,
    disk: &SimDisk,
    workflows: Vec<Workflow>,
    activities: Vec<Activity>,
    test: impl AsyncFnOnce(Engine, SimExecutor, Arc<dyn EventLog>) -> T,
) -> T {
    let executor = SimExecutor::new(seed);
    let log: Arc<dyn EventLog> = SimLog::start(&executor, Box::new(disk.open().unwrap()), seed);
    let run = async {
        let options = EngineOptions::default();
        let engine = Engine::open(log.clone(), world(&executor), workflows, activities, options).await.unwrap();
        let outcome = test(engine.clone(), executor.clone(), log.clone()).await;
        engine.close();
        outcome
    };
    let outcome = executor.block_on(run).unwrap_or_else(|stalled| panic!("{stalled}"));
    executor.drop_tasks();
    outcome
}

/// The types of a run's history, one after the other.
async fn kinds(engine: &Engine, id: &str) -> Vec<&'static str> {
    engine.history(id).await.unwrap().iter().map(|entry| entry.event.kind()).collect()
}

/// Whether this life ended before its step of this number.
fn killed_before(executor: &SimExecutor, kill: u64, life: impl Future<Output = ()>) -> bool {
    let mut left = kill;
    let ended = executor.block_on_until(life, || {
        let is_now = left == 0;
        left = left.saturating_sub(1);
        is_now
    });
    executor.drop_tasks();
    ended.unwrap().is_none()
}
