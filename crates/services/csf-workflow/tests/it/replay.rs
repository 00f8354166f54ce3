//! Code that changed: what fits goes on, what does not is stopped and says where.

use std::time::Duration;

use csf_core::port::Timer;
use csf_sim::SimDisk;
use csf_workflow::{Activity, Failure, RunStatus, StartOptions, Workflow, WorkflowContext, WorkflowError};

use crate::{kinds, on_disk};

fn activities() -> Vec<Activity> {
    ["a", "b", "c"].map(|name| Activity::new(name, move |_, n: u32| async move { Ok(format!("{name}{n}")) })).into()
}

fn first() -> Workflow {
    Workflow::new("w", |cx: WorkflowContext, (): ()| async move {
        let a: String = cx.activity("a", &1).await?;
        cx.sleep(Duration::from_secs(100)).await?;
        let b: String = cx.activity("b", &1).await?;
        Ok::<_, Failure>(a + &b)
    })
}

/// The other code's view of a run that stands in the sleep of [`first`].
fn changed(second: Workflow) -> (Result<String, String>, RunStatus, Option<String>) {
    let disk = SimDisk::new();
    on_disk(1, &disk, vec![first()], activities(), async |engine, world, _| {
        engine.start("w", "r", &(), StartOptions::default()).await.unwrap();
        world.sleep(Duration::from_secs(10)).await;
    });
    on_disk(2, &disk, vec![second], activities(), async |engine, world, _| {
        let diff = engine.diff("r").await.err().map(|e| e.to_string());
        world.sleep(Duration::from_secs(200)).await;
        let status = engine.describe("r").await.unwrap().status;
        let result = match &status {
            RunStatus::Completed { result } => Ok(result.parse().unwrap()),
            other => Err(format!("{other:?}")),
        };
        (result, status, diff)
    })
}

#[test]
fn the_same_code_and_code_that_decides_the_same_go_on() {
    let (result, _, diff) = changed(first());
    assert_eq!((result.unwrap().as_str(), diff), ("a1b1", None));
    let (result, _, diff) = changed(Workflow::new("w", |cx: WorkflowContext, (): ()| async move {
        // Other input, other span, other end: the decisions so far are the same.
        let a: String = cx.activity("a", &7).await?;
        cx.sleep(Duration::from_secs(50)).await?;
        let c: String = cx.activity("c", &2).await?;
        Ok::<_, Failure>(a + &c)
    }));
    assert_eq!((result.unwrap().as_str(), diff), ("a1c2", None));
}

#[test]
fn code_that_decides_otherwise_is_stopped_where_they_part() {
    let other = Workflow::new("w", |cx: WorkflowContext, (): ()| async move {
        let b: String = cx.activity("b", &1).await?;
        cx.sleep(Duration::from_secs(100)).await?;
        Ok::<_, Failure>(b)
    });
    let (_, status, diff) = changed(other);
    let reason = match status {
        RunStatus::Blocked { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(Some(&reason), diff.as_ref());
    assert!(
        reason.contains("entry 2") && reason.contains("activity `a`") && reason.contains("activity `b`"),
        "{reason}"
    );
    let less = Workflow::new("w", |cx: WorkflowContext, (): ()| async move { cx.activity::<_, String>("a", &1).await });
    assert!(changed(less).2.unwrap().contains("entry 4 of the history is step 2: timer, the code decides completed"));
    let more = Workflow::new("w", |cx: WorkflowContext, (): ()| async move {
        let a: String = cx.activity("a", &1).await?;
        let (slept, b) = tokio::join!(cx.sleep(Duration::from_secs(100)), cx.activity::<_, String>("b", &1));
        slept?;
        Ok::<_, Failure>(a + &b?)
    });
    let diff = changed(more).2.unwrap();
    assert!(diff.contains("nothing more") && diff.contains("activity `b`"), "{diff}");
}

#[test]
fn patched_code_takes_the_old_way_in_old_runs_and_the_new_one_in_new_runs() {
    let patched = || {
        Workflow::new("w", |cx: WorkflowContext, (): ()| async move {
            let a: String =
                if cx.patch("better-a") { cx.activity("c", &1).await? } else { cx.activity("a", &1).await? };
            cx.sleep(Duration::from_secs(100)).await?;
            let b: String =
                if cx.patch("better-b") { cx.activity("c", &2).await? } else { cx.activity("b", &1).await? };
            Ok::<_, Failure>(a + &b)
        })
    };
    let (result, _, diff) = changed(patched());
    assert_eq!(
        (result.unwrap().as_str(), diff),
        ("a1c2", None),
        "the old way where it has been, the new one from there"
    );
    let disk = SimDisk::new();
    on_disk(3, &disk, vec![patched()], activities(), async |engine, world, _| {
        engine.start("w", "n", &(), StartOptions::default()).await.unwrap();
        world.sleep(Duration::from_secs(10)).await;
    });
    on_disk(4, &disk, vec![patched()], activities(), async |engine, _, _| {
        assert_eq!(engine.result::<String>("n").await.unwrap(), "c1c2");
        assert_eq!(kinds(&engine, "n").await.iter().filter(|kind| **kind == "patched").count(), 2);
    });
}

#[test]
fn time_chance_and_side_effects_are_the_same_each_time() {
    let disk = SimDisk::new();
    let dice = |outside: u64| {
        Workflow::new("dice", move |cx: WorkflowContext, (): ()| async move {
            let before = (cx.now(), cx.random(), cx.random(), cx.side_effect(|| outside)?);
            cx.sleep(Duration::from_secs(100)).await?;
            Ok::<_, Failure>((before, cx.random(), cx.side_effect(|| outside)?))
        })
    };
    type Drawn = ((csf_core::Stamp, u64, u64, u64), u64, u64);
    on_disk(1, &disk, vec![dice(1)], vec![], async |engine, world, _| {
        engine.start("dice", "d", &(), StartOptions::default()).await.unwrap();
        world.sleep(Duration::from_secs(1)).await;
    });
    let (before, third, outside): Drawn =
        on_disk(2, &disk, vec![dice(2)], vec![], async |engine, _, _| engine.result("d").await.unwrap());
    assert_eq!((before.3, outside), (1, 2), "what was asked is kept, what is asked now is new");
    assert!(before.1 != before.2 && before.2 != third);
    let again: Drawn = on_disk(3, &disk, vec![dice(3)], vec![], async |engine, _, _| {
        assert!(engine.diff("d").await.is_ok());
        engine.result("d").await.unwrap()
    });
    assert_eq!(again, (before, third, outside));
    let unknown = on_disk(4, &disk, vec![], vec![], async |engine, _, _| engine.diff("d").await.unwrap_err());
    assert!(matches!(unknown, WorkflowError::UnknownWorkflow { .. }));
}

#[test]
fn a_child_comes_to_a_patch_for_the_first_time_and_takes_the_changed_way() {
    let parent = Workflow::new("parent", |cx: WorkflowContext, (): ()| async move {
        let policy = csf_workflow::ParentClosePolicy::Cancel;
        cx.child::<_, bool>("child", "c", &(), policy).await
    });
    let child = Workflow::new("child", |cx: WorkflowContext, (): ()| async move {
        let is_new = cx.patch("changed");
        cx.sleep(Duration::from_secs(1)).await?;
        Ok::<_, Failure>(is_new)
    });
    on_disk(5, &SimDisk::new(), vec![parent, child], vec![], async |engine, _, _| {
        engine.start("parent", "p", &(), StartOptions::default()).await.unwrap();
        assert!(engine.result::<bool>("p").await.unwrap());
        assert!(engine.diff("c").await.is_ok());
    });
}
