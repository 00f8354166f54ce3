//! Tasks: one agent at a time, under a lease, whatever ends first.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::port::{EventId, EventLog, Json, Origin, Timer};
use csf_sim::{SimDisk, SimExecutor, SimLog};
use csf_workflow::task::{TaskDesk, TaskError, TaskLease, TaskOutcome, TaskRequest, TaskState, task_workflow};
use csf_workflow::{Engine, EngineOptions};

use crate::{killed_before, on_disk, with_engine, world};

fn json(value: serde_json::Value) -> Json {
    value.into()
}

async fn desk(engine: &Engine, executor: &SimExecutor, seed: u128) -> TaskDesk {
    TaskDesk::open(engine.clone(), world(executor), EventId::from_u128(seed)).await.unwrap()
}

fn request(lease_ms: u64, attempts: u32) -> TaskRequest {
    TaskRequest { lease_ms, attempts, ..TaskRequest::new("draw", serde_json::json!({"n": 1})) }
}

async fn poll(desk: &TaskDesk, agent: &str, wait: u64) -> Option<TaskLease> {
    desk.poll(agent, &["draw".into()], 1, Duration::from_secs(wait)).await.unwrap().pop()
}

#[test]
fn a_task_goes_to_one_agent_at_a_time_and_ends_once() {
    with_engine(1, vec![task_workflow()], vec![], async |engine, executor, _| {
        let desk = desk(&engine, &executor, 1).await;
        let (first, second) = tokio::join!(poll(&desk, "early", 60), async {
            executor.sleep(Duration::from_secs(5)).await;
            desk.submit(Some("t"), &request(1000, 3), None, Origin::default()).await.unwrap()
        });
        let first = first.expect("who waits gets it");
        assert_eq!((first.id.as_str(), first.attempt, second.as_str()), ("t", 1, "t"));
        assert_eq!(desk.submit(Some("t"), &request(1000, 3), None, Origin::default()).await.unwrap(), "t", "once");
        assert!(poll(&desk, "other", 0).await.is_none(), "it is taken");
        desk.heartbeat("t", &first.token, Some(json(serde_json::json!({"share": 0.5})))).unwrap();
        let shown = desk.show("t").await.unwrap();
        assert_eq!((shown.state, shown.assigned_agent.as_deref()), (TaskState::Running, Some("early")));
        assert_eq!(shown.progress, Some(json(serde_json::json!({"share": 0.5}))));
        // Nothing is heard of the first agent: the second one gets it.
        let before = executor.now();
        let second = poll(&desk, "late", 60).await.expect("the lease ends");
        assert!((1000..1100).contains(&(executor.now() - before).as_millis()), "{:?}", executor.now() - before);
        assert_eq!(second.attempt, 2);
        let stale = desk.complete("t", &first.token, json(1.into())).await.unwrap_err();
        assert!(matches!(&stale, TaskError::Stale { reason, .. } if reason.contains("`late`")), "{stale}");
        assert!(matches!(desk.heartbeat("t", &first.token, None), Err(TaskError::Stale { .. })));
        for _ in 0..10 {
            executor.sleep(Duration::from_millis(600)).await;
            desk.heartbeat("t", &second.token, None).unwrap();
        }
        desk.complete("t", &second.token, json(2.into())).await.unwrap();
        desk.complete("t", &second.token, json(2.into())).await.expect("a repeat is no harm");
        let done = desk.show("t").await.unwrap();
        assert_eq!((done.state, done.assigned_agent.as_deref(), done.attempt), (TaskState::Completed, Some("late"), 2));
        assert!(done.last_failure.unwrap().contains("`early`"));
        let result = done.result.unwrap();
        assert_eq!((result.success, result.output), (true, Some(json(2.into()))));
        assert!(matches!(desk.complete("t", &first.token, json(1.into())).await, Err(TaskError::Stale { .. })));
        assert!(matches!(desk.show("no").await, Err(TaskError::Unknown { .. })));
        assert!(matches!(desk.complete("no", "x", json(1.into())).await, Err(TaskError::Unknown { .. })));
        desk.close();
    });
}

#[test]
fn failures_are_tried_again_by_others_until_none_is_left_and_the_asked_end_wins() {
    with_engine(2, vec![task_workflow()], vec![], async |engine, executor, _| {
        let desk = desk(&engine, &executor, 2).await;
        let submit =
            async |id: &str| desk.submit(Some(id), &request(60_000, 2), None, Origin::default()).await.unwrap();
        submit("tries").await;
        let lease = poll(&desk, "a", 0).await.unwrap();
        desk.release("tries", &lease.token).await.unwrap();
        for (attempt, state) in [(1, TaskState::Queued), (2, TaskState::Failed)] {
            let lease = poll(&desk, "a", 0).await.unwrap();
            assert_eq!(lease.attempt, attempt, "one that was released does not count");
            desk.fail("tries", &lease.token, "no ink", false).await.unwrap();
            assert_eq!(desk.show("tries").await.unwrap().state, state);
        }
        assert_eq!(desk.show("tries").await.unwrap().result.unwrap().error.as_deref(), Some("no ink"));
        submit("final").await;
        let lease = poll(&desk, "a", 0).await.unwrap();
        desk.fail("final", &lease.token, "bad input", true).await.unwrap();
        assert_eq!(desk.show("final").await.unwrap().state, TaskState::Failed);
        submit("cancelled").await;
        let lease = poll(&desk, "a", 0).await.unwrap();
        desk.cancel("cancelled", "not needed").await.unwrap();
        assert!(matches!(desk.heartbeat("cancelled", &lease.token, None), Err(TaskError::Stale { .. })));
        assert!(matches!(desk.complete("cancelled", &lease.token, json(1.into())).await, Err(TaskError::Stale { .. })));
        assert_eq!(desk.show("cancelled").await.unwrap().state, TaskState::Cancelled);
        submit("unwanted").await;
        desk.cancel("unwanted", "not needed").await.unwrap();
        assert!(poll(&desk, "a", 0).await.is_none(), "nothing is left");
        let ids = |states: &'static [TaskState]| {
            let desk = desk.clone();
            async move { desk.list(states, None, 10).await.unwrap().into_iter().map(|t| t.id).collect::<Vec<_>>() }
        };
        assert_eq!(ids(&[TaskState::Cancelled]).await, ["unwanted", "cancelled"]);
        assert_eq!(ids(&[]).await.len(), 4);
        for bad in [
            request(1, 1),
            TaskRequest::new("", serde_json::json!(1)),
            TaskRequest::new("x".repeat(129), serde_json::json!(1)),
        ] {
            assert!(matches!(desk.submit(None, &bad, None, Origin::default()).await, Err(TaskError::Bad { .. })));
        }
        desk.close();
    });
}

#[test]
fn leases_and_queues_last_over_a_restart() {
    let disk = SimDisk::new();
    let token = on_disk(1, &disk, vec![task_workflow()], vec![], async |engine, executor, _| {
        let desk = desk(&engine, &executor, 1).await;
        desk.submit(Some("held"), &request(10_000, 5), None, Origin::default()).await.unwrap();
        let lease = poll(&desk, "a", 0).await.unwrap();
        desk.submit(Some("waits"), &request(10_000, 5), None, Origin::default()).await.unwrap();
        lease.token
    });
    on_disk(2, &disk, vec![task_workflow()], vec![], async |engine, executor, _| {
        let desk = desk(&engine, &executor, 2).await;
        desk.heartbeat("held", &token, None).expect("the lease is known");
        assert_eq!(poll(&desk, "b", 0).await.unwrap().id, "waits");
        desk.complete("held", &token, json(1.into())).await.unwrap();
        assert_eq!(desk.show("held").await.unwrap().assigned_agent.as_deref(), Some("a"));
        desk.close();
    });
    on_disk(3, &disk, vec![task_workflow()], vec![], async |engine, executor, _| {
        let desk = desk(&engine, &executor, 3).await;
        assert_eq!(poll(&desk, "c", 60).await.unwrap().attempt, 2, "who is not heard of after a restart loses it");
        desk.close();
    });
}

#[test]
fn the_urgent_goes_first_and_tenants_share_by_weight_over_a_restart_too() {
    let disk = SimDisk::new();
    let of = |priority: u8, key: &str, weight: f64| TaskRequest {
        priority,
        fairness_key: key.into(),
        fairness_weight: weight,
        ..request(10_000, 5)
    };
    // The small tenant comes last, with a quarter of the large one's weight.
    on_disk(1, &disk, vec![task_workflow()], vec![], async |engine, executor, _| {
        let desk = desk(&engine, &executor, 1).await;
        for n in 0..20 {
            desk.submit(Some(&format!("large-{n}")), &of(3, "large", 4.0), None, Origin::default()).await.unwrap();
        }
        for n in 0..5 {
            desk.submit(Some(&format!("small-{n}")), &of(3, "small", 1.0), None, Origin::default()).await.unwrap();
        }
        desk.submit(Some("urgent"), &of(1, "", 1.0), None, Origin::default()).await.unwrap();
        for bad in [of(0, "", 1.0), of(6, "", 1.0), of(3, &"k".repeat(65), 1.0), of(3, "", 0.0)] {
            assert!(matches!(desk.submit(None, &bad, None, Origin::default()).await, Err(TaskError::Bad { .. })));
        }
        assert_eq!(poll(&desk, "a", 0).await.unwrap().id, "urgent");
    });
    on_disk(2, &disk, vec![task_workflow()], vec![], async |engine, executor, _| {
        let desk = desk(&engine, &executor, 2).await;
        let mut order = Vec::new();
        for _ in 0..25 {
            let lease = poll(&desk, "a", 0).await.unwrap();
            desk.complete(&lease.id, &lease.token, json(1.into())).await.unwrap();
            order.push(lease.id);
        }
        let small: Vec<usize> =
            order.iter().zip(1..).filter(|(id, _)| id.starts_with("small")).map(|(_, at)| at).collect();
        assert!(small.iter().zip(1..).all(|(at, n)| (5 * n - 4..=5 * n + 1).contains(at)), "{order:?}");
        let large: Vec<&String> = order.iter().filter(|id| id.starts_with("large")).collect();
        assert!(large.iter().zip(0..).all(|(id, n)| **id == format!("large-{n}")), "first in, first out: {order:?}");
        desk.close();
    });
}

/// One life with an agent in the process, which counts what it does. Whether it was killed before its step `kill`.
fn is_killed(disk: &SimDisk, seed: u64, done: &Arc<Mutex<Vec<String>>>, kill: u64) -> bool {
    let executor = SimExecutor::new(seed);
    let log: Arc<dyn EventLog> = SimLog::start(&executor, Box::new(disk.open().unwrap()), seed);
    let main = async {
        let engine =
            Engine::open(log.clone(), world(&executor), vec![task_workflow()], vec![], EngineOptions::default())
                .await
                .unwrap();
        let desk = desk(&engine, &executor, u128::from(seed)).await;
        let names = ["one", "two", "three"];
        for id in names {
            desk.submit(Some(id), &request(500, 0), None, Origin::default()).await.unwrap();
        }
        let kinds = ["draw".to_owned()];
        let serve = desk.serve("inside", &kinds, |task| {
            let (timer, done) = (executor.clone(), done.clone());
            async move {
                timer.sleep(Duration::from_millis(700)).await;
                done.lock().unwrap().push(task.lease.id.clone());
                TaskOutcome::Done(json(task.lease.id.into()))
            }
        });
        let ended = async {
            for id in names {
                assert_eq!(engine.result::<String>(id).await.unwrap(), id);
            }
            desk.close();
        };
        let (served, ()) = tokio::join!(serve, ended);
        served.unwrap();
        engine.close();
    };
    killed_before(&executor, kill, main)
}

#[test]
fn tasks_are_done_whatever_step_the_node_is_killed_at() {
    let mut kills = 0;
    for kill in 0.. {
        let (disk, done) = (SimDisk::new(), Arc::default());
        if !is_killed(&disk, 1, &done, kill) {
            assert_eq!(done.lock().unwrap().len(), 3, "undisturbed, each is done once");
            break;
        }
        assert!(!is_killed(&disk, 2, &done, u64::MAX), "killed at step {kill}");
        let done = done.lock().unwrap();
        assert!((3..=4).contains(&done.len()), "killed at step {kill}: {done:?}");
        kills += 1;
    }
    assert!(kills > 50, "{kills} kills");
}
