//! One disk, many lives: every order is carried out, each step once in effect, whatever the moment of the crash.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::port::{EventId, EventLog, Rng, Timer};
use csf_sim::{NextWrite, SeededRng, SimDisk, SimExecutor, SimLog};
use csf_workflow::{
    Activity, ActivityContext, Engine, EngineOptions, Failure, FailureKind, ParentClosePolicy, RetryPolicy,
    StartOptions, Workflow, WorkflowContext, WorkflowError,
};

use crate::{killed_before, world};

const ORDERS: u32 = 6;

/// The world outside: what was done under which key. It survives every crash.
#[derive(Clone, Default)]
struct Outside(Arc<Mutex<BTreeMap<String, String>>>);

impl Outside {
    /// Does it once per key, as a system that knows keys would.
    fn act(&self, cx: &ActivityContext, what: &str) -> Result<String, Failure> {
        let mut done = self.0.lock().unwrap();
        let known = done.entry(cx.key().to_string()).or_insert_with(|| what.to_owned());
        assert_eq!(known, what, "a key is one thing");
        Ok(known.clone())
    }
}

fn activities(outside: &Outside, executor: &SimExecutor, rng: &SeededRng) -> Vec<Activity> {
    ["reserve", "charge", "ship", "refund", "release"]
        .into_iter()
        .zip(0..)
        .map(|(name, stream)| {
            let (outside, timer, rng) = (outside.clone(), executor.clone(), Arc::new(Mutex::new(rng.stream(stream))));
            Activity::new(name, move |cx: ActivityContext, order: u32| {
                let (outside, timer, rng) = (outside.clone(), timer.clone(), rng.clone());
                async move {
                    let (before, after, luck) = {
                        let mut rng = rng.lock().unwrap();
                        (rng.below(20), rng.below(20), rng.below(10))
                    };
                    timer.sleep(Duration::from_millis(before)).await;
                    if luck == 0 {
                        return Err(Failure::new("flaky", "not now"));
                    }
                    if name == "charge" && order % 3 == 2 {
                        return Err(Failure::fatal("card", "refused"));
                    }
                    let done = outside.act(&cx, &format!("{name} {order}"))?;
                    timer.sleep(Duration::from_millis(after)).await;
                    Ok(done)
                }
            })
        })
        .collect()
}

fn workflows() -> Vec<Workflow> {
    let options = || csf_workflow::ActivityOptions {
        retry: RetryPolicy { initial: Duration::from_millis(10), ..RetryPolicy::default() },
        ..csf_workflow::ActivityOptions::default()
    };
    let order = Workflow::new("order", move |cx: WorkflowContext, order: u32| async move {
        let mut saga = cx.saga();
        let work = async {
            saga.compensate_with("release", &order, options())?;
            let a: String = cx.activity_with("reserve", &order, options()).await?;
            cx.sleep(Duration::from_millis(30)).await?;
            saga.compensate_with("refund", &order, options())?;
            let b: String = cx.activity_with("charge", &order, options()).await?;
            let c: String = cx.child("shipping", &format!("ship-{order}"), &order, ParentClosePolicy::Cancel).await?;
            let paid: u32 = cx.signal("paid").await?;
            Ok::<_, Failure>(format!("{a}, {b}, {c}, paid {paid}"))
        };
        match work.await {
            Ok(done) => Ok(done),
            Err(failure) => {
                saga.undo().await;
                Err(failure)
            }
        }
    });
    let shipping = Workflow::new("shipping", move |cx: WorkflowContext, order: u32| async move {
        let (shipped, slept) = tokio::join!(
            cx.activity_with::<_, String>("ship", &order, options()),
            cx.sleep(Duration::from_millis(15)),
        );
        slept?;
        cx.signal_other(&format!("order-{order}"), "paid", &order)?;
        shipped
    });
    vec![order, shipping]
}

/// Two seeds of four write checkpoints, so often that each life reads some and is cut off in some.
fn options(seed: u64) -> EngineOptions {
    let checkpoint_every = if seed % 4 > 1 { 1 + seed % 30 } else { u64::MAX };
    EngineOptions { checkpoint_every, ..EngineOptions::default() }
}

async fn client(engine: &Engine) {
    for order in 0..ORDERS {
        let id = format!("order-{order}");
        // Asked until it is answered, as a client does; one name, one order.
        let request = Some(EventId::from_u128(u128::from(order) + 1000));
        loop {
            let options = StartOptions { request, ..StartOptions::default() };
            match engine.start("order", &id, &order, options).await {
                Ok(()) => break,
                Err(WorkflowError::Log(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn every_order_is_carried_out_once_whatever_crashes() {
    let mut crashes = 0;
    for seed in 0..120 {
        let disk = SimDisk::new();
        let outside = Outside::default();
        let mut rng = SeededRng::new(seed);
        for life in 0..5 {
            let executor = SimExecutor::new(seed * 100 + life);
            let log: Arc<dyn EventLog> = SimLog::start(&executor, Box::new(disk.open().unwrap()), seed * 100 + life);
            let is_last = life == 4;
            let mut left = if is_last { u64::MAX } else { 10 + rng.below(300) };
            if !is_last && rng.next_u64().is_multiple_of(3) {
                disk.set_next(NextWrite::Torn { is_kept: rng.next_u64().is_multiple_of(2) });
            }
            let activities = activities(&outside, &executor, &rng.stream(life));
            let main = async {
                let opened = Engine::open(log.clone(), world(&executor), workflows(), activities, options(seed)).await;
                let engine = match opened {
                    Ok(engine) => engine,
                    Err(WorkflowError::Log(_)) if !is_last => return,
                    Err(other) => panic!("seed {seed}, life {life}: {other}"),
                };
                client(&engine).await;
                for order in 0..ORDERS {
                    let result = engine.result::<String>(&format!("order-{order}")).await;
                    match (order % 3, result) {
                        (2, Err(WorkflowError::Refused(failure))) => assert_eq!(failure.message, "refused"),
                        (_, Ok(done)) => assert_eq!(
                            done,
                            format!("reserve {order}, charge {order}, ship {order}, paid {order}"),
                            "seed {seed}"
                        ),
                        (_, other) => panic!("seed {seed}, order {order}: {other:?}"),
                    }
                }
                engine.close();
            };
            let crashed = executor
                .block_on_until(main, || {
                    left = left.saturating_sub(1);
                    left == 0 || disk.take_crash()
                })
                .unwrap_or_else(|stalled| panic!("seed {seed}, life {life}: {stalled}"));
            crashes += u32::from(crashed.is_none());
            executor.drop_tasks();
            drop(log);
            disk.set_next(NextWrite::Works);
            let _ = disk.take_crash();
            assert!(crashed.is_some() || !is_last);
        }
        let done: Vec<String> = outside.0.lock().unwrap().values().cloned().collect();
        for order in 0..ORDERS {
            let times = |what: &str| done.iter().filter(|d| **d == format!("{what} {order}")).count();
            let wanted = if order % 3 == 2 { [1, 0, 0, 1, 1] } else { [1, 1, 1, 0, 0] };
            let got = ["reserve", "charge", "ship", "refund", "release"].map(times);
            assert_eq!(got, wanted, "seed {seed}, order {order}: each step is done once in effect");
        }
    }
    assert!(crashes > 250, "{crashes} crashes");
}

/// Order 1 goes through, with its child, its timer and its signal; order 2 is taken back.
#[test]
fn a_run_that_is_killed_at_each_step_is_carried_out_once() {
    let mut steps = 0;
    for (order, seed) in [(1, 1), (2, 5), (1, 2), (2, 3)] {
        for kill in 0.. {
            let (disk, outside) = (SimDisk::new(), Outside::default());
            if !is_killed(seed, &disk, &outside, order, kill) {
                // It has ended before: no step is left.
                break;
            }
            assert!(!is_killed(seed, &disk, &outside, order, u64::MAX));
            let mut done: Vec<String> = outside.0.lock().unwrap().values().cloned().collect();
            done.sort();
            let wanted: &[&str] =
                if order == 1 { &["charge 1", "reserve 1", "ship 1"] } else { &["refund 2", "release 2", "reserve 2"] };
            assert_eq!(done, wanted, "seed {seed}, killed at step {kill}");
            steps += 1;
        }
    }
    assert!(steps > 200, "{steps} steps");
}

/// A life of an engine with one order; whether it was killed, before its step of this number.
fn is_killed(seed: u64, disk: &SimDisk, outside: &Outside, order: u32, kill: u64) -> bool {
    let executor = SimExecutor::new(seed);
    let log: Arc<dyn EventLog> = SimLog::start(&executor, Box::new(disk.open().unwrap()), seed);
    let activities = activities(outside, &executor, &SeededRng::new(seed));
    let main = async {
        let engine = Engine::open(log.clone(), world(&executor), workflows(), activities, options(seed)).await.unwrap();
        let id = format!("order-{order}");
        let request = Some(EventId::from_u128(u128::from(order)));
        engine.start("order", &id, &order, StartOptions { request, ..StartOptions::default() }).await.unwrap();
        let is_done = engine.result::<String>(&id).await.is_ok();
        assert_eq!(is_done, order == 1);
        engine.close();
    };
    killed_before(&executor, kill, main)
}

/// A parent that ends while its children sleep; whether the life was killed before its step of this number.
fn is_left(disk: &SimDisk, kill: u64) -> bool {
    let executor = SimExecutor::new(1);
    let log: Arc<dyn EventLog> = SimLog::start(&executor, Box::new(disk.open().unwrap()), 1);
    let parent = Workflow::new("parent", |cx: WorkflowContext, (): ()| async move {
        let (asked, ended) = (
            cx.child::<_, ()>("sleeper", "asked", &(), ParentClosePolicy::Cancel),
            cx.child::<_, ()>("sleeper", "ended", &(), ParentClosePolicy::Terminate),
        );
        cx.sleep(Duration::from_millis(10)).await?;
        // They are not waited for, and not given up either.
        std::mem::forget((asked, ended));
        Ok(())
    });
    let sleeper =
        Workflow::new(
            "sleeper",
            |cx: WorkflowContext, (): ()| async move { cx.sleep(Duration::from_secs(3600)).await },
        );
    let main = async {
        let options = EngineOptions::default();
        let engine = Engine::open(log.clone(), world(&executor), [parent, sleeper], [], options).await.unwrap();
        let request = Some(EventId::from_u128(1));
        engine.start("parent", "p", &(), StartOptions { request, ..StartOptions::default() }).await.unwrap();
        engine.result::<()>("p").await.unwrap();
        for (child, kind) in [("asked", FailureKind::Cancelled), ("ended", FailureKind::Terminated)] {
            let end = engine.result::<()>(child).await;
            assert!(matches!(&end, Err(WorkflowError::Refused(failure)) if failure.kind == kind), "{child}: {end:?}");
        }
        assert!(executor.now() < Duration::from_secs(60), "nobody slept to the end");
        engine.close();
    };
    killed_before(&executor, kill, main)
}

#[test]
fn children_hear_of_their_parents_end_whatever_step_the_node_is_killed_at() {
    let mut kills = 0;
    for kill in 0.. {
        let disk = SimDisk::new();
        if !is_left(&disk, kill) {
            break;
        }
        assert!(!is_left(&disk, u64::MAX), "killed at step {kill}");
        kills += 1;
    }
    assert!(kills > 30, "{kills} kills");
}
