//! A saga that outlives crashes: each order is reserved, charged, packed and shipped, or everything is taken back.
//!
//! Run it: `cargo run -p csf-examples --bin 05_order_saga`. With `-- --dir D` its journal stays in `D`; kill it there at any moment, start it
//! again, and it goes on where it was. You will see:
//!
//! > order 1: parcel 1 is under way
//! > order 2 was taken back: card 2 is refused
//! > order 3 was taken back: nobody packed it in time
//! > each effect happened once
//!
//! and the history of order 3: what happened to it and what its code decided.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{EventId, EventLog, TimeSource};
use csf_data::{JournalOptions, SharedLog, SqliteJournal};
use csf_runtime::TokioWorld;
use csf_workflow::{
    Activity, ActivityContext, ActivityOptions, Engine, EngineOptions, Failure, HistoryEvent, RetryPolicy,
    StartOptions, Workflow, WorkflowContext, WorkflowError, World,
};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    number: u32,
    is_card_good: bool,
    /// Without a word from the warehouse in this time the order is taken back.
    packed_within: Duration,
}

const HOUR: Duration = Duration::from_secs(3600);

/// Every third order has a card that is refused, every third one is forgotten by the warehouse.
fn orders() -> impl Iterator<Item = Order> {
    (1..=6).map(|number| Order {
        number,
        is_card_good: number % 3 != 2,
        packed_within: if number % 3 == 0 { Duration::from_millis(300) } else { HOUR },
    })
}

/// The workflow. It is replayed after a crash, so it asks nobody but its context.
async fn fulfil(cx: WorkflowContext, order: Order) -> Result<String, Failure> {
    let state = Arc::new(Mutex::new("new"));
    let asked = state.clone();
    cx.on_query("state", move |(): ()| Ok(*asked.lock().unwrap_or_else(PoisonError::into_inner)));
    let is_now = |now| *state.lock().unwrap_or_else(PoisonError::into_inner) = now;
    // Tries follow each other at once here; the default waits a second before the second one.
    let retry = RetryPolicy { initial: Duration::from_millis(10), ..RetryPolicy::default() };
    let options = ActivityOptions { retry, ..ActivityOptions::default() };

    let mut saga = cx.saga();
    let steps = async {
        // What takes a step back is said before the step: one that was cut short is taken back too.
        saga.compensate_with("release", &order, options.clone())?;
        cx.activity_with::<_, ()>("reserve", &order, options.clone()).await?;
        is_now("reserved");

        saga.compensate_with("refund", &order, options.clone())?;
        cx.activity_with::<_, ()>("charge", &order, options.clone()).await?;
        is_now("paid, waits to be packed");

        // A durable timer against a signal. `biased`: the code must decide alike each time.
        tokio::select! {
            biased;
            packed = cx.signal::<String>("packed") => packed?,
            late = cx.sleep(order.packed_within) => {
                late?;
                return Err(Failure::fatal("late", "nobody packed it in time"));
            }
        };
        is_now("packed");
        cx.activity_with::<_, String>("ship", &order, options.clone()).await
    };
    match steps.await {
        Ok(parcel) => Ok(parcel),
        Err(failure) => {
            saga.undo().await;
            Err(failure)
        }
    }
}

/// The shops, banks and carriers out there: they keep what was done under which key, and do nothing twice under one.
#[derive(Clone)]
struct Outside(Arc<Mutex<Connection>>);

impl Outside {
    fn open(directory: &Path) -> Result<Self, rusqlite::Error> {
        let connection = Connection::open(directory.join("outside.db"))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS effect (key TEXT PRIMARY KEY, action TEXT NOT NULL, number INTEGER NOT NULL)",
        )?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the first time under this key.
    fn act(&self, cx: &ActivityContext, action: &str, number: u32) -> Result<bool, rusqlite::Error> {
        let sql = "INSERT OR IGNORE INTO effect VALUES (?1, ?2, ?3)";
        Ok(self.lock().execute(sql, params![cx.key().to_string(), action, number])? == 1)
    }

    fn times(&self, action: &str, number: u32) -> Result<u32, rusqlite::Error> {
        let sql = "SELECT count(*) FROM effect WHERE action = ?1 AND number = ?2";
        self.lock().query_row(sql, params![action, number], |row| row.get(0))
    }
}

/// What happens in the world. A try may be cut short after its effect and come again: the key is the same then.
fn activities(outside: &Outside) -> Vec<Activity> {
    let activity = |action: &'static str| {
        let outside = outside.clone();
        Activity::new(action, move |cx: ActivityContext, order: Order| {
            let outside = outside.clone();
            async move {
                let number = order.number;
                if action == "charge" && !order.is_card_good {
                    return Err(Failure::fatal("card", format!("card {number} is refused")));
                }
                let broken = |e: rusqlite::Error| Failure::new("outside", e.to_string());
                // Nothing charged, nothing to give back.
                if action == "refund" && outside.times("charge", number).map_err(broken)? == 0 {
                    return Ok(None);
                }
                let is_first = outside.act(&cx, action, number).map_err(broken)?;
                println!("order {number}: {action}{}", if is_first { "" } else { ", which had been done" });
                Ok((action == "ship").then(|| format!("parcel {number}")))
            }
        })
    };
    ["reserve", "charge", "ship", "refund", "release"].map(activity).into()
}

/// The engine waits, runs and tells the time by tokio and the system's clock.
fn world() -> Result<World, Box<dyn Error>> {
    let tokio = Arc::new(TokioWorld::current());
    let clock = csf_time::SystemClock::detect()?;
    let clock = Arc::new(move || Stamp(clock.now_ns().map_or(0, |now| now.as_nanos())));
    Ok(World { timer: tokio.clone(), spawn: tokio, clock })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let kept = std::env::args().skip_while(|argument| argument != "--dir").nth(1).map(PathBuf::from);
    let directory = kept.clone();
    let directory =
        directory.unwrap_or_else(|| std::env::temp_dir().join(format!("csf-example-{}", std::process::id())));
    std::fs::create_dir_all(&directory)?;
    let outside = Outside::open(&directory)?;
    let journal = SqliteJournal::open(&directory, &JournalOptions::default())?;
    let log: Arc<dyn EventLog> = Arc::new(SharedLog::start(Box::new(journal))?);
    let workflows = [Workflow::new("order", fulfil)];
    // Runs of an earlier life go on from here.
    let engine = Engine::open(log, world()?, workflows, activities(&outside), EngineOptions::default()).await?;

    take_orders(&engine).await?;
    for Order { number, .. } in orders() {
        match engine.result::<String>(&format!("order-{number}")).await {
            Ok(parcel) => println!("order {number}: {parcel} is under way"),
            Err(WorkflowError::Refused(failure)) => println!("order {number} was taken back: {failure}"),
            Err(error) => return Err(error.into()),
        }
    }
    audit(&outside)?;
    for entry in engine.history("order-3").await? {
        println!("{:>4}  {:18} {}", entry.version, entry.event.kind(), detail(&entry.event));
    }
    engine.close();
    if kept.is_none() {
        std::fs::remove_dir_all(directory)?;
    }
    Ok(())
}

/// The customers and the warehouse. They do not know what an earlier life has heard, so they say it all again: under the same names.
async fn take_orders(engine: &Engine) -> Result<(), WorkflowError> {
    for order in orders() {
        let request = EventId::from_u128(order.number.into()).derive("start");
        let options = StartOptions { request: Some(request), ..StartOptions::default() };
        engine.start("order", &format!("order-{}", order.number), &order, options).await?;
    }
    for order in orders().filter(|order| order.packed_within == HOUR) {
        let request = EventId::from_u128(order.number.into()).derive("packed");
        match engine.signal(&format!("order-{}", order.number), "packed", "shelf 7", Some(request)).await {
            Ok(()) | Err(WorkflowError::Ended { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    match engine.query::<_, String>("order-3", "state", &()).await {
        Ok(state) => println!("order 3 is {state}"),
        Err(WorkflowError::Ended { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Compares the world outside with what the orders were to do there.
fn audit(outside: &Outside) -> Result<(), Box<dyn Error>> {
    for Order { number, .. } in orders() {
        let actions: &[&str] = match number % 3 {
            1 => &["reserve", "charge", "ship"],
            2 => &["reserve", "release"],
            _ => &["reserve", "charge", "refund", "release"],
        };
        for action in ["reserve", "charge", "ship", "refund", "release"] {
            let (times, wanted) = (outside.times(action, number)?, u32::from(actions.contains(&action)));
            if times != wanted {
                return Err(format!("order {number}: {action} happened {times} times, not {wanted}").into());
            }
        }
    }
    println!("each effect happened once");
    Ok(())
}

/// The part of an entry that people look for.
fn detail(event: &HistoryEvent) -> String {
    match event {
        HistoryEvent::Started { workflow, .. } => workflow.clone(),
        HistoryEvent::ActivityScheduled { seq, activity, .. } => format!("step {seq}: {activity}"),
        HistoryEvent::ActivityCompleted { seq, .. }
        | HistoryEvent::TimerStarted { seq, .. }
        | HistoryEvent::TimerFired { seq } => format!("step {seq}"),
        HistoryEvent::Failed { failure } => failure.to_string(),
        _ => String::new(),
    }
}
