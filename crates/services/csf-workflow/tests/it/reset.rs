//! Reset: another run goes on from an earlier entry, with today's code, and a crash leaves one of the two.

use std::sync::Arc;
use std::time::Duration;

use csf_core::port::{EventId, EventLog, Timer};
use csf_sim::{SimDisk, SimExecutor, SimLog};
use csf_workflow::{
    Activity, Engine, EngineOptions, Failure, FailureKind, HistoryEvent, ParentClosePolicy, RunStatus, StartOptions,
    Workflow, WorkflowContext, WorkflowError,
};

use crate::{killed_before, kinds, on_disk, with_engine, world};

fn activities() -> Vec<Activity> {
    ["a", "b", "c"].map(|name| Activity::new(name, move |_, n: u64| async move { Ok(format!("{name}{n}")) })).into()
}

/// Does `a`, waits for a word, does `second` with a number drawn before.
fn two_steps(second: &'static str) -> Workflow {
    Workflow::new("w", move |cx: WorkflowContext, (): ()| async move {
        let drawn = cx.random();
        let a: String = cx.activity("a", &1).await?;
        let word: String = cx.signal("word").await?;
        let b: String = cx.activity(second, &2).await?;
        cx.sleep(Duration::from_secs(100)).await?;
        Ok::<_, Failure>((a + &b + &word, drawn, cx.run()))
    })
}

type Said = (String, u64, u32);

#[test]
fn a_reset_run_goes_on_from_its_entry_with_the_code_of_today_and_what_it_was_told() {
    let disk = SimDisk::new();
    let drawn = on_disk(1, &disk, vec![two_steps("b")], activities(), async |engine, world, _| {
        engine.start("w", "r", &(), StartOptions::default()).await.unwrap();
        engine.start("w", "same", &(), StartOptions::default()).await.unwrap();
        engine.signal("r", "word", "x", None).await.unwrap();
        engine.signal("same", "word", "x", None).await.unwrap();
        let (said, drawn, _) = engine.result::<Said>("r").await.unwrap();
        assert_eq!(said, "a1b2x");
        assert!(world.now() >= Duration::from_secs(100));
        drawn
    });
    on_disk(2, &disk, vec![two_steps("c")], activities(), async |engine, _, _| {
        assert!(matches!(engine.diff("r").await, Err(WorkflowError::NonDeterminism { .. })));
        assert_eq!(
            kinds(&engine, "r").await[..4],
            ["started", "activity_scheduled", "activity_completed", "signal_received"]
        );
        for (to, last) in [(0, 8), (9, 8)] {
            let refused = engine.reset("r", to, "why").await.unwrap_err().to_string();
            assert!(refused.contains(&format!("1 to {last}")), "{refused}");
        }
        let misfit = engine.reset("r", 5, "why").await.unwrap_err();
        assert!(matches!(misfit, WorkflowError::NonDeterminism { .. }), "{misfit}");
        assert_eq!(engine.reset("r", 3, "b was wrong").await.unwrap(), 1);
        let (said, again, run) = engine.result::<Said>("r").await.unwrap();
        assert_eq!((said.as_str(), again, run), ("a1c2x", drawn, 0), "what it drew stays, the word is told again");
        let history = engine.history("r").await.unwrap();
        let HistoryEvent::Started { resets, .. } = &history[0].event else { panic!("{history:?}") };
        assert_eq!((resets[0].stream.as_str(), resets[0].to, resets[0].carried), ("workflow-r", 3, 1));
        assert_eq!(engine.describe("r").await.unwrap().run, 1);
        assert!(engine.diff("r").await.is_ok());
        // Once more, from within what was carried over.
        assert_eq!(engine.reset("r", 4, "again").await.unwrap(), 2);
        assert_eq!(engine.result::<Said>("r").await.unwrap().0, "a1c2x");
    });
    on_disk(3, &disk, vec![two_steps("c")], activities(), async |engine, _, _| {
        assert_eq!(engine.result::<Said>("r").await.unwrap().0, "a1c2x");
        assert_eq!(engine.list().await.unwrap().len(), 2);
    });
}

#[test]
fn a_run_under_way_is_given_up_with_the_reason_and_whoever_waits_gets_the_end_of_the_other() {
    with_engine(1, vec![two_steps("b")], activities(), async |engine, world, log| {
        engine
            .start("w", "r", &(), StartOptions { timeout: Some(Duration::from_secs(1000)), ..StartOptions::default() })
            .await
            .unwrap();
        engine.signal("r", "word", "x", None).await.unwrap();
        world.sleep(Duration::from_secs(50)).await;
        let (result, number) = tokio::join!(engine.result::<Said>("r"), engine.reset("r", 1, "from the beginning"));
        assert_eq!((result.unwrap().0.as_str(), number.unwrap()), ("a1b2x", 1));
        assert!(world.now() >= Duration::from_secs(150), "the second step and the sleep came again");
        let old = log.read(csf_core::port::Read::stream("workflow-r").backward().limit(1)).await.unwrap();
        let HistoryEvent::Terminated { failure } = old.events[0].parse().unwrap() else { panic!("{old:?}") };
        assert_eq!(failure.kind, FailureKind::Terminated);
        assert!(failure.message.contains("from the beginning"), "{failure}");
    });
}

#[test]
fn a_blocked_run_says_so_to_whoever_waits_and_goes_on_after_a_reset() {
    let disk = SimDisk::new();
    on_disk(1, &disk, vec![two_steps("b")], activities(), async |engine, world, _| {
        engine.start("w", "r", &(), StartOptions::default()).await.unwrap();
        engine.signal("r", "word", "x", None).await.unwrap();
        world.sleep(Duration::from_secs(1)).await;
    });
    on_disk(2, &disk, vec![two_steps("c")], activities(), async |engine, _, _| {
        let blocked = engine.result::<Said>("r").await.unwrap_err();
        let WorkflowError::Blocked { reason, .. } = &blocked else { panic!("{blocked}") };
        assert!(reason.contains("activity `b`") && reason.contains("activity `c`"), "{reason}");
        assert!(matches!(engine.describe("r").await.unwrap().status, RunStatus::Blocked { .. }));
        engine.reset("r", 4, "the code has changed").await.unwrap();
        assert_eq!(engine.result::<Said>("r").await.unwrap().0, "a1c2x");
    });
}

#[test]
fn ends_of_children_are_carried_over_and_a_child_under_way_is_in_the_way() {
    let parent = Workflow::new("parent", |cx: WorkflowContext, (): ()| async move {
        let child = cx.child::<_, String>("child", &format!("{}-child", cx.id()), &(), ParentClosePolicy::Cancel);
        let a: String = cx.activity("a", &1).await?;
        Ok::<_, Failure>(a + &child.await?)
    });
    let child = Workflow::new("child", |cx: WorkflowContext, (): ()| async move { cx.signal::<String>("go").await });
    with_engine(1, vec![parent, child], activities(), async |engine, world, _| {
        engine.start("parent", "p", &(), StartOptions::default()).await.unwrap();
        world.sleep(Duration::from_secs(1)).await;
        let refused = engine.reset("p", 3, "why").await.unwrap_err().to_string();
        assert!(refused.contains("`p-child`") && refused.contains("under way"), "{refused}");
        engine.signal("p-child", "go", "on", None).await.unwrap();
        assert_eq!(engine.result::<String>("p").await.unwrap(), "a1on");
        engine.reset("p", 3, "why").await.unwrap();
        assert_eq!(engine.result::<String>("p").await.unwrap(), "a1on", "the child is not begun again");
    });
}

/// One life: starts the run, tells it a word, resets it when it has been told, waits for the end. Whether it was killed before its step `kill`.
fn is_killed(disk: &SimDisk, kill: u64) -> bool {
    let executor = SimExecutor::new(7);
    let log: Arc<dyn EventLog> = SimLog::start(&executor, Box::new(disk.open().unwrap()), 7);
    let teller = Workflow::new("w", |cx: WorkflowContext, (): ()| async move {
        let a: String = cx.activity("a", &1).await?;
        cx.signal_other("hears", "heard", &a)?;
        let word: String = cx.signal("word").await?;
        let b: String = cx.activity("b", &2).await?;
        Ok::<_, Failure>(a + &b + &word)
    });
    let hears = Workflow::new("hears", |cx: WorkflowContext, (): ()| async move {
        let mut heard = 0;
        loop {
            tokio::select! {
                biased;
                said = cx.signal::<String>("heard") => { said?; heard += 1; }
                done = cx.signal::<()>("done") => { done?; return Ok::<u32, Failure>(heard); }
            }
        }
    });
    let main = async {
        // Checkpoints all the time, so that one is read that was written around a reset.
        let options = EngineOptions { checkpoint_every: 4, ..EngineOptions::default() };
        let engine =
            Engine::open(log.clone(), world(&executor), vec![teller, hears], activities(), options).await.unwrap();
        let named = |n: u128| Some(EventId::from_u128(n));
        let start = |n| StartOptions { request: named(n), ..StartOptions::default() };
        engine.start("hears", "hears", &(), start(1)).await.unwrap();
        engine.start("w", "r", &(), start(2)).await.unwrap();
        let told = engine.signal("r", "word", "x", named(3)).await;
        assert!(matches!(told, Ok(()) | Err(WorkflowError::Ended { .. })), "{told:?}");
        assert_eq!(engine.result::<String>("r").await.unwrap(), "a1b2x");
        if engine.describe("r").await.unwrap().run == 0 {
            let history = engine.history("r").await.unwrap();
            let sent = history.iter().find(|entry| entry.event.kind() == "signal_sent").unwrap().version;
            assert_eq!(engine.reset("r", sent, "to see").await.unwrap(), 1);
        }
        assert_eq!(engine.result::<String>("r").await.unwrap(), "a1b2x");
        assert_eq!(engine.describe("r").await.unwrap().run, 1, "reset once");
        let told = engine.signal("hears", "done", &(), named(4)).await;
        assert!(matches!(told, Ok(()) | Err(WorkflowError::Ended { .. })), "{told:?}");
        assert_eq!(engine.result::<u32>("hears").await.unwrap(), 1, "what was sent before the point is not sent again");
        engine.close();
    };
    killed_before(&executor, kill, main)
}

#[test]
fn a_crash_at_any_step_of_a_reset_leaves_the_old_run_or_the_new_one() {
    let mut kills = 0;
    for kill in 0.. {
        let disk = SimDisk::new();
        if !is_killed(&disk, kill) {
            break;
        }
        assert!(!is_killed(&disk, u64::MAX), "killed at step {kill}");
        // And once more, so that what an open engine does about both is seen to change nothing.
        assert!(!is_killed(&disk, u64::MAX), "killed at step {kill}");
        kills += 1;
    }
    assert!(kills > 50, "{kills} kills");
}
