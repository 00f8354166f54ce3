//! The process that is killed: callers that append, a group and a read model that follow, orders that are carried out.
//!
//! Its pipe is the world outside: what has been written there cannot be taken back.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{
    Append, EventId, EventLog, Filter, Journal, JournalError, LogError, Read, StoredEvent, TimeSource, Timer,
};
use csf_data::SharedLog;
use csf_data::group::{Group, GroupOptions};
use csf_data::model::{ModelError, Projection, ReadModel, Rows};
use csf_runtime::TokioWorld;
use csf_workflow::{
    Activity, ActivityContext, ActivityOptions, Engine, EngineOptions, Failure, RetryPolicy, StartOptions, Workflow,
    WorkflowContext, WorkflowError, World,
};

use crate::arguments::{Life, Plant};
use crate::backend::Place;
use crate::shop::Shop;
use crate::told::{self, Line};
use crate::work::{self, BOOKING, CALLER, CALLERS, CHECKPOINT_EVERY, GROUP, Kind, MODEL, SALE, STEPS};

/// Members of the group.
const MEMBERS: usize = 2;
/// Orders that are under way at once.
const ORDERS: u64 = 4;
/// How long the one before may take to be gone.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(30);
/// How often that is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(crate) type Clock = Arc<dyn Fn() -> Stamp + Send + Sync>;

/// Says it outside. Without anybody there is nothing to live for.
pub(crate) fn tell(line: &Line) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// Ends the process: the log has said that it does not go on.
pub(crate) fn give_up(why: impl std::fmt::Display) -> ! {
    eprintln!("gave up: {why}");
    std::process::exit(1)
}

pub(crate) fn run(place: &Place, life: &Life) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|e| e.to_string())?.block_on(live(place, life))
}

async fn live(place: &Place, life: &Life) -> Result<(), String> {
    let tokio = Arc::new(TokioWorld::current());
    let clock = csf_time::SystemClock::detect().map_err(|e| e.to_string())?;
    let clock: Clock = Arc::new(move || Stamp(clock.now_ns().map_or(0, |now| now.as_nanos())));
    let journal = opened(place, &*tokio).await?;
    let log: Arc<dyn EventLog> = Arc::new(SharedLog::start(journal).map_err(|e| e.to_string())?);
    let sums = Projection::start(log.clone(), place.models()?, Sums, &*tokio).map_err(|e| e.to_string())?;
    let options = GroupOptions {
        filter: Filter::category(CALLER),
        checkpoint_every: CHECKPOINT_EVERY,
        ..GroupOptions::default()
    };
    let group = Group::join(log.clone(), tokio.clone(), clock.clone(), GROUP, options).await;
    let group = group.unwrap_or_else(|e| give_up(e));
    let handled = Arc::new(AtomicU64::new(0));
    for _ in 0..MEMBERS {
        tokio::spawn(member(group.clone(), handled.clone()));
    }
    let shop = Shop::open(place, log.clone(), &tokio, clock.clone(), life.plant).unwrap_or_else(|e| give_up(e));
    let options =
        GroupOptions { filter: Filter::category(SALE), checkpoint_every: CHECKPOINT_EVERY, ..GroupOptions::default() };
    let booking = Group::join(log.clone(), tokio.clone(), clock.clone(), BOOKING, options).await;
    let booking = booking.unwrap_or_else(|e| give_up(e));
    let booked = Arc::new(AtomicU64::new(0));
    tokio::spawn(shop.clone().book(booking.clone(), booked.clone()));
    let world = World { timer: tokio.clone(), spawn: tokio.clone(), clock: clock.clone() };
    let engine = Engine::open(log.clone(), world, [workflow()], activities(&tokio, life), EngineOptions::default());
    let engine = engine.await.unwrap_or_else(|e| give_up(e));
    tell(&Line::Open);
    if life.is_last {
        let groups = [(CALLER, &*group, &*handled), (SALE, &*booking, &*booked)];
        return finish(&*log, groups, &shop, &sums, &engine, &*tokio).await;
    }
    let mut tasks = Vec::new();
    for caller in 0..CALLERS {
        let answered = life.last_answers.get(caller as usize).copied().unwrap_or(0);
        tasks.push(tokio::spawn(call(log.clone(), clock.clone(), caller, answered, life.plant)));
    }
    tasks.push(tokio::spawn(shop.sell()));
    tasks.extend((0..ORDERS).map(|at| tokio::spawn(order(engine.clone(), life.number, at))));
    for task in tasks {
        task.await.map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// The journal, once the process before is known to be gone.
async fn opened(place: &Place, timer: &dyn Timer) -> Result<Box<dyn Journal>, String> {
    let end = timer.now() + PREDECESSOR_LIMIT;
    loop {
        match place.journal() {
            Err(JournalError::InUse { .. }) if timer.now() < end => timer.sleep(LOOK_AGAIN).await,
            // A server that was killed is away for a moment.
            Err(JournalError::Storage { .. }) if timer.now() < end => timer.sleep(LOOK_AGAIN).await,
            other => return other.map_err(|e| e.to_string()),
        }
    }
}

/// One append after the other, for ever.
async fn call(log: Arc<dyn EventLog>, clock: Clock, caller: u64, answered: u64, plant: Option<Plant>) {
    let kind = Kind::of(caller);
    let mut n = match kind {
        Kind::ByName => answered,
        _ => log.head(&work::stream(caller)).await.unwrap_or_else(|e| give_up(e)).version / kind.own_events(),
    };
    loop {
        n += 1;
        let append: Append = work::append(caller, n, clock());
        if plant == Some(Plant::EarlyAcknowledgement) {
            tell(&Line::Acknowledged { caller, n, place: told::Place { first: None, version: n * kind.own_events() } });
            log.append(append).await.unwrap_or_else(|e| give_up(e));
            continue;
        }
        let done = log.append(append).await.unwrap_or_else(|e| give_up(e));
        tell(&Line::Acknowledged { caller, n, place: told::Place { first: Some(done.first), version: done.version } });
    }
}

/// What is done with an event is done before it is settled.
async fn member(group: Arc<Group>, handled: Arc<AtomicU64>) {
    loop {
        let delivery = group.next().await.unwrap_or_else(|e| give_up(e));
        let position = delivery.event().position;
        tell(&Line::Handled(position));
        delivery.ack().await.unwrap_or_else(|e| give_up(e));
        handled.fetch_max(position, Ordering::Relaxed);
    }
}

/// How many events each stream has, and what their numbers add up to.
struct Sums;

impl ReadModel for Sums {
    fn name(&self) -> &str {
        MODEL
    }

    fn version(&self) -> u32 {
        1
    }

    fn filter(&self) -> Filter {
        Filter::category(CALLER)
    }

    fn apply(&mut self, event: &StoredEvent, rows: &mut dyn Rows) -> Result<(), ModelError> {
        let bad = |e: serde_json::Error| ModelError::Event { position: event.position, reason: e.to_string() };
        let said: work::Said = event.parse().map_err(bad)?;
        let (events, sum): (u64, u64) = rows.value("sum", &event.stream)?.unwrap_or_default();
        rows.set("sum", &event.stream, &(events + 1, sum + said.n))
    }
}

fn workflow() -> Workflow {
    Workflow::new("order", |cx: WorkflowContext, (): ()| async move {
        let retry = RetryPolicy { initial: Duration::from_millis(5), ..RetryPolicy::default() };
        let options = ActivityOptions { retry, ..ActivityOptions::default() };
        for step in STEPS {
            cx.activity_with::<_, ()>(step, &(), options.clone()).await?;
            cx.sleep(Duration::from_millis(2)).await?;
        }
        Ok(())
    })
}

fn activities(timer: &Arc<TokioWorld>, life: &Life) -> Vec<Activity> {
    let (number, plant) = (life.number, life.plant);
    let activity = |step: &'static str| {
        let timer = timer.clone();
        Activity::new(step, move |cx: ActivityContext, (): ()| {
            let timer = timer.clone();
            async move {
                let order = cx.key().stream.split_once('-').map_or("", |(_, order)| order).to_owned();
                let mut key = cx.key().to_string();
                if plant == Some(Plant::NewKeys) {
                    key = format!("{key}/{number}");
                }
                tell(&Line::Effect { order, step: step.to_owned(), key });
                timer.sleep(Duration::from_millis(3)).await;
                Ok::<_, Failure>(())
            }
        })
    };
    STEPS.into_iter().map(activity).collect()
}

/// One order after the other, each to its end.
async fn order(engine: Engine, life: u64, at: u64) {
    for n in 0.. {
        let id = format!("{life}.{at}.{n}");
        let request = Some(EventId::from_u128(u128::from(life) << 96 | u128::from(at) << 64 | n));
        let options = StartOptions { request, ..StartOptions::default() };
        engine.start("order", &id, &(), options).await.unwrap_or_else(|e| give_up(e));
        tell(&Line::Started(id.clone()));
        engine.result::<()>(&id).await.unwrap_or_else(|e| give_up(e));
    }
}

/// Waits until everything that was begun has ended.
async fn finish(
    log: &dyn EventLog,
    groups: [(&str, &Group, &AtomicU64); 2],
    shop: &Shop,
    sums: &Projection,
    engine: &Engine,
    timer: &dyn Timer,
) -> Result<(), String> {
    let log_error = |e: LogError| e.to_string();
    for run in engine.list().await.map_err(|e| e.to_string())? {
        match engine.result::<()>(&run.id).await {
            Ok(()) | Err(WorkflowError::Refused(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    shop.relayed(timer).await.map_err(|e| e.to_string())?;
    for (category, group, handled) in groups {
        let last = log.read(Read::log(Filter::category(category)).backward().limit(1)).await.map_err(log_error)?;
        let last = last.events.last().map_or(0, |event| event.position);
        if category == CALLER && !sums.reaches(last).await {
            return Err(format!("the read model stands at {:?}", sums.status()));
        }
        let is_through = || handled.load(Ordering::Relaxed) >= last && group.in_flight() == 0;
        while !is_through() && !is_settled(log, group.name(), last).await.map_err(log_error)? {
            timer.sleep(LOOK_AGAIN).await;
            group.checkpoint().await.map_err(|e| e.to_string())?;
        }
    }
    engine.close();
    tell(&Line::Finished);
    Ok(())
}

/// Whether a group had settled everything up to here before this life.
async fn is_settled(log: &dyn EventLog, group: &str, last: u64) -> Result<bool, LogError> {
    #[derive(serde::Deserialize)]
    struct Checkpoint {
        done_up_to: u64,
    }
    let newest = log.read(Read::stream(format!("csf.group-{group}")).backward().limit(1)).await?.events.pop();
    Ok(newest.and_then(|event| event.parse::<Checkpoint>().ok()).is_some_and(|place| place.done_up_to >= last))
}

/// What the read model of a log says in the end.
pub(crate) fn sums(place: &Place) -> Result<BTreeMap<String, (u64, u64)>, String> {
    let mut sums = BTreeMap::new();
    let mut look = |rows: &mut dyn Rows| {
        for (stream, row) in rows.scan("sum", "", None, usize::MAX)? {
            let sum = row.parse().map_err(|e: serde_json::Error| ModelError::NoValue {
                table: "sum".into(),
                key: stream.clone(),
                reason: e.to_string(),
            })?;
            sums.insert(stream, sum);
        }
        Ok(())
    };
    place.models()?.look(MODEL, &mut look).map_err(|e| e.to_string())?;
    Ok(sums)
}
