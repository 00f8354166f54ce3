//! What workflow code can do, each in a run of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::port::{EventId, Timer};
use csf_sim::SimDisk;
use csf_workflow::{
    Activity, Failure, FailureKind, ParentClosePolicy, RetryPolicy, RunStatus, StartOptions, Workflow, WorkflowContext,
    WorkflowError,
};
use futures_util::future;

use crate::{kinds, on_disk, with_engine};

fn start() -> StartOptions {
    StartOptions::default()
}

/// Activities that write down what they did, and fail when they are told to.
fn shop(did: &Arc<Mutex<Vec<String>>>) -> Vec<Activity> {
    let activity = |name: &'static str| {
        let did = did.clone();
        Activity::new(name, move |_, input: String| {
            let did = did.clone();
            async move {
                did.lock().unwrap().push(format!("{name} {input}"));
                if input == "unlucky" { Err(Failure::fatal("refused", format!("{name}: no"))) } else { Ok(name.len()) }
            }
        })
    };
    ["reserve", "charge", "ship", "release", "refund"].map(activity).into()
}

async fn order(cx: WorkflowContext, (item, card): (String, String)) -> Result<usize, Failure> {
    let mut saga = cx.saga();
    let work = async {
        saga.compensate("release", &item)?;
        let a: usize = cx.activity("reserve", &item).await?;
        saga.compensate("refund", &item)?;
        let b: usize = cx.activity("charge", &card).await?;
        let c: usize = cx.activity("ship", &item).await?;
        Ok(a + b + c)
    };
    match work.await {
        Ok(sum) => Ok(sum),
        Err(failure) => {
            let failed = saga.undo().await;
            assert!(failed.is_empty());
            Err(failure)
        }
    }
}

#[test]
fn a_saga_takes_back_what_was_done_newest_first() {
    let did = Arc::default();
    with_engine(1, vec![Workflow::new("order", order)], shop(&did), async |engine, _, _| {
        engine.start("order", "1", &("book", "visa"), start()).await.unwrap();
        assert_eq!(engine.result::<usize>("1").await.unwrap(), "reservechargeship".len());
        engine.start("order", "2", &("pen", "unlucky"), start()).await.unwrap();
        let error = engine.result::<usize>("2").await.unwrap_err();
        assert!(matches!(&error, WorkflowError::Refused(f) if f.message == "charge: no"), "{error}");
        let did = did.lock().unwrap().clone();
        assert_eq!(
            did,
            ["reserve book", "charge visa", "ship book", "reserve pen", "charge unlucky", "refund pen", "release pen"]
        );
        assert_eq!(
            kinds(&engine, "1").await,
            [
                "started",
                "activity_scheduled",
                "activity_completed",
                "activity_scheduled",
                "activity_completed",
                "activity_scheduled",
                "activity_completed",
                "completed"
            ]
        );
        let listed = engine.list().await.unwrap();
        assert_eq!(listed.iter().map(|run| run.id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
        assert!(matches!(&listed[1].status, RunStatus::Failed { failure } if failure.message == "charge: no"));
        let again = engine.start("order", "1", &("book", "visa"), start()).await.unwrap_err();
        assert!(matches!(again, WorkflowError::Exists { .. }), "{again}");
    });
}

#[test]
fn timers_last_over_a_restart_and_fire_in_order() {
    let disk = SimDisk::new();
    let nap = || {
        Workflow::new("nap", |cx: WorkflowContext, minutes: u64| async move {
            let from = cx.now();
            let long = cx.sleep(Duration::from_secs(60 * minutes));
            let short = cx.sleep(Duration::from_secs(60));
            short.await?;
            let after_short = cx.now().since(from) / 1_000_000_000;
            long.await?;
            Ok::<_, Failure>((after_short, cx.now().since(from) / 1_000_000_000))
        })
    };
    on_disk(1, &disk, vec![nap()], vec![], async |engine, world, _| {
        engine.start("nap", "1", &30, start()).await.unwrap();
        world.sleep(Duration::from_secs(600)).await;
    });
    on_disk(2, &disk, vec![nap()], vec![], async |engine, world, _| {
        // The virtual clock of the second life begins anew: the timer is due where the first life's clock would have been.
        let (short, long) = engine.result::<(u64, u64)>("1").await.unwrap();
        assert!((60..=61).contains(&short) && (1800..=1801).contains(&long), "{short} {long}");
        assert!(world.now() <= Duration::from_secs(1801));
    });
}

#[test]
fn signals_queries_and_updates_reach_the_code_in_order() {
    let cart = Workflow::new("cart", |cx: WorkflowContext, limit: usize| async move {
        let items: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, changed) = (items.clone(), items.clone());
        cx.on_query("count", move |(): ()| Ok(seen.lock().unwrap().len()));
        cx.on_update(
            "remove",
            |item: &String| if item.is_empty() { Err(Failure::fatal("empty", "nothing to remove")) } else { Ok(()) },
            move |cx, item: String| {
                let items = changed.clone();
                async move {
                    cx.sleep(Duration::from_secs(1)).await?;
                    items.lock().unwrap().retain(|known| *known != item);
                    Ok(items.lock().unwrap().len())
                }
            },
        );
        while items.lock().unwrap().len() < limit {
            let item: String = cx.signal("add").await?;
            items.lock().unwrap().push(item);
        }
        Ok::<_, Failure>(items.lock().unwrap().join(","))
    });
    with_engine(3, vec![cart], vec![], async |engine, world, _| {
        engine.start("cart", "c", &3, start()).await.unwrap();
        for item in ["a", "b", "b"] {
            // The same request twice is one signal.
            let request = EventId::from_u128(item.as_bytes()[0].into());
            engine.signal("c", "add", item, Some(request)).await.unwrap();
        }
        assert_eq!(engine.query::<_, usize>("c", "count", &()).await.unwrap(), 2);
        let request = EventId::from_u128(7);
        assert_eq!(engine.update::<_, usize>("c", "remove", "a", request).await.unwrap(), 1);
        assert_eq!(engine.update::<_, usize>("c", "remove", "a", request).await.unwrap(), 1, "the same request again");
        let refused = engine.update::<_, usize>("c", "remove", "", EventId::from_u128(8)).await.unwrap_err();
        assert_eq!(refused.to_string(), "nothing to remove");
        let unknown = engine.query::<_, usize>("c", "size", &()).await.unwrap_err();
        assert!(unknown.to_string().contains("count"), "{unknown}");
        // Out of memory and back.
        world.sleep(Duration::from_secs(60)).await;
        for item in ["c", "d"] {
            engine.signal("c", "add", item, None).await.unwrap();
        }
        assert_eq!(engine.result::<String>("c").await.unwrap(), "b,c,d");
        let late = engine.signal("c", "add", "e", None).await.unwrap_err();
        assert!(matches!(late, WorkflowError::Ended { .. }), "{late}");
        let kinds = kinds(&engine, "c").await;
        assert_eq!(
            kinds.iter().filter(|kind| **kind == "update_accepted").count(),
            1,
            "refused updates leave no trace"
        );
    });
}

#[test]
fn children_answer_their_parents_and_end_with_them() {
    let sum = Workflow::new("sum", |cx: WorkflowContext, parts: Vec<u64>| async move {
        let children = parts
            .iter()
            .map(|part| cx.child::<_, u64>("double", &format!("{}.{part}", cx.id()), part, ParentClosePolicy::Cancel));
        let sums = future::join_all(children).await;
        sums.into_iter().sum::<Result<u64, Failure>>()
    });
    let double = Workflow::new("double", |cx: WorkflowContext, part: u64| async move {
        cx.sleep(Duration::from_secs(part)).await?;
        if part == 13 { Err(Failure::fatal("unlucky", "thirteen")) } else { Ok(part * 2) }
    });
    with_engine(4, vec![sum, double], vec![], async |engine, world, _| {
        engine.start("sum", "s", &vec![1, 2, 3], start()).await.unwrap();
        assert_eq!(engine.result::<u64>("s").await.unwrap(), 12);
        engine.start("sum", "t", &vec![1, 13, 100], start()).await.unwrap();
        assert_eq!(engine.result::<u64>("t").await.unwrap_err().to_string(), "thirteen");
        engine.start("sum", "u", &vec![1000, 2000], start()).await.unwrap();
        world.sleep(Duration::from_secs(1)).await;
        engine.terminate("u", "enough").await.unwrap();
        let child = engine.result::<u64>("u.1000").await.unwrap_err();
        assert!(matches!(&child, WorkflowError::Refused(f) if f.kind == FailureKind::Cancelled), "{child}");
        // An id that is taken fails the child, not the engine.
        engine.start("double", "v.5", &1, start()).await.unwrap();
        engine.start("sum", "v", &vec![5], start()).await.unwrap();
        assert!(engine.result::<u64>("v").await.unwrap_err().to_string().contains("exists"));
    });
}

#[test]
fn a_run_continues_as_new_and_its_result_is_the_last_ones() {
    let count = Workflow::new("count", |cx: WorkflowContext, left: u32| async move {
        cx.sleep(Duration::from_secs(1)).await?;
        if left > 0 { cx.continue_as_new(&(left - 1)) } else { Ok(cx.run()) }
    });
    let outer = Workflow::new("outer", |cx: WorkflowContext, left: u32| async move {
        cx.child::<_, u32>("count", "inner", &left, ParentClosePolicy::Cancel).await
    });
    with_engine(5, vec![count, outer], vec![], async |engine, _, _| {
        engine.start("count", "c", &4, start()).await.unwrap();
        assert_eq!(engine.result::<u32>("c").await.unwrap(), 4);
        assert_eq!(kinds(&engine, "c").await, ["started", "timer_started", "timer_fired", "completed"]);
        engine.start("outer", "o", &3, start()).await.unwrap();
        assert_eq!(engine.result::<u32>("o").await.unwrap(), 3, "a parent waits for the last one");
        assert_eq!(engine.list().await.unwrap().len(), 3, "one line an id");
    });
}

#[test]
fn a_run_that_is_cancelled_cleans_up_and_one_that_is_late_is_ended() {
    let did = Arc::default();
    let wait = Workflow::new("wait", |cx: WorkflowContext, item: String| async move {
        let mut saga = cx.saga();
        saga.compensate("release", &item)?;
        let _: usize = cx.activity("reserve", &item).await?;
        let waited = cx.sleep(Duration::from_secs(3600)).await;
        assert!(cx.activity::<_, usize>("ship", &item).await.is_err(), "nothing new begins");
        saga.undo().await;
        waited
    });
    with_engine(6, vec![wait], shop(&did), async |engine, world, _| {
        engine.start("wait", "w", "book", start()).await.unwrap();
        world.sleep(Duration::from_secs(10)).await;
        engine.cancel("w", "no more").await.unwrap();
        let error = engine.result::<()>("w").await.unwrap_err();
        assert!(matches!(&error, WorkflowError::Refused(f) if f.is_cancelled()), "{error}");
        assert_eq!(did.lock().unwrap().as_slice(), ["reserve book", "release book"]);
        assert!(world.now() < Duration::from_secs(60));
        let timeout = Some(Duration::from_secs(30));
        engine.start("wait", "x", "pen", StartOptions { timeout, ..start() }).await.unwrap();
        let error = engine.result::<()>("x").await.unwrap_err();
        assert_eq!(error.to_string(), "the run took too long");
    });
}

#[test]
fn one_run_tells_another() {
    let ping = Workflow::new("ping", |cx: WorkflowContext, to: String| async move {
        cx.signal_other(&to, "ball", &cx.id())?;
        cx.signal::<String>("ball").await
    });
    let pong = Workflow::new("pong", |cx: WorkflowContext, (): ()| async move {
        let from: String = cx.signal("ball").await?;
        cx.signal_other(&from, "ball", "back")?;
        Ok::<_, Failure>(())
    });
    with_engine(7, vec![ping, pong], vec![], async |engine, _, _| {
        engine.start("pong", "b", &(), start()).await.unwrap();
        engine.start("ping", "a", "b", start()).await.unwrap();
        assert_eq!(engine.result::<String>("a").await.unwrap(), "back");
    });
}

#[test]
fn what_is_unknown_or_misshapen_is_said() {
    let did = Arc::default();
    let bad = Workflow::new("bad", |cx: WorkflowContext, what: String| async move {
        match what.as_str() {
            "panic" => panic!("oh no"),
            "activity" => cx.activity::<_, u32>("nothing", &1).await,
            "input" => cx.activity::<_, u32>("reserve", &1).await,
            "child" => cx.child::<_, u32>("nothing", "n", &1, ParentClosePolicy::Abandon).await,
            _ => cx.activity::<_, u32>("reserve", "x").await.map(|_| 1),
        }
    });
    with_engine(8, vec![bad], shop(&did), async |engine, _, _| {
        for (what, kind, word) in [
            ("panic", FailureKind::Panic, "oh no"),
            ("activity", FailureKind::Unknown, "nothing"),
            ("input", FailureKind::BadPayload, "string"),
            ("child", FailureKind::Unknown, "nothing"),
        ] {
            engine.start("bad", what, what, start()).await.unwrap();
            match engine.result::<u32>(what).await.unwrap_err() {
                WorkflowError::Refused(failure) => {
                    assert_eq!(failure.kind, kind);
                    assert!(failure.message.contains(word), "{failure}");
                }
                other => panic!("{what}: {other}"),
            }
        }
        let unknown = engine.start("good", "g", &1, start()).await.unwrap_err();
        assert!(matches!(unknown, WorkflowError::UnknownWorkflow { .. }), "{unknown}");
        assert!(matches!(engine.result::<u32>("g").await, Err(WorkflowError::UnknownRun { .. })));
        assert!(matches!(engine.start("bad", "a~1", "x", start()).await, Err(WorkflowError::BadId { .. })));
        let _ = RetryPolicy::never();
    });
}
