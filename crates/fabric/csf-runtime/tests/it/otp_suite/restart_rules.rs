//! Permanent, transient, temporary: who comes back after which end, and what is forgotten.

use std::sync::Weak;

use csf_runtime::supervise::{ChildState, ExitReason, Restart, Start, Strategy, SupervisorError};

use super::*;

enum Then {
    Restarted,
    Stopped,
    Forgotten,
}

/// A child of `rule` ends with each of `reasons`; afterwards it is as `then` says.
fn after_each_end(rule: Restart, reasons: &[ExitReason], then: Then) {
    for reason in reasons {
        let world = World::new();
        world.run(async {
            let root = world.root(two_in_an_hour(Strategy::OneForOne), vec![world.child("child1").restart(rule)]).await;
            let sup = root.reference();
            let first = pid_of(sup, "child1").await;
            world.end(first, reason.clone()).await;
            match then {
                Then::Restarted => {
                    assert_ne!(pid_of(sup, "child1").await, first, "{reason}");
                    assert_eq!(counts(sup).await, [1, 1, 0, 1]);
                }
                Then::Stopped => {
                    assert_eq!(states(sup).await, [("child1".into(), ChildState::Stopped)], "{reason}");
                    assert_eq!(counts(sup).await, [1, 0, 0, 1]);
                    assert!(sup.restart_child("child1").await.is_ok(), "by hand it can be");
                }
                Then::Forgotten => {
                    assert_eq!(counts(sup).await, [0, 0, 0, 0], "{reason}");
                    assert!(sup.start_child(world.child("child1")).await.is_ok(), "its name is free");
                }
            }
        });
    }
}

fn shutdowns() -> [ExitReason; 2] {
    [ExitReason::Shutdown, ExitReason::ShutdownWith("some words".into())]
}

#[test]
fn permanent_normal_is_restarted() {
    after_each_end(Restart::Permanent, &[ExitReason::Normal], Then::Restarted);
}

#[test]
fn transient_normal_is_not_restarted() {
    after_each_end(Restart::Transient, &[ExitReason::Normal], Then::Stopped);
}

#[test]
fn temporary_normal_is_forgotten() {
    after_each_end(Restart::Temporary, &[ExitReason::Normal], Then::Forgotten);
}

#[test]
fn permanent_shutdown_is_restarted() {
    after_each_end(Restart::Permanent, &shutdowns(), Then::Restarted);
}

#[test]
fn transient_shutdown_is_not_restarted() {
    after_each_end(Restart::Transient, &shutdowns(), Then::Stopped);
}

#[test]
fn temporary_shutdown_is_forgotten() {
    after_each_end(Restart::Temporary, &shutdowns(), Then::Forgotten);
}

#[test]
fn permanent_abnormal_is_restarted() {
    after_each_end(Restart::Permanent, &[boom(), ExitReason::Killed], Then::Restarted);
}

#[test]
fn transient_abnormal_is_restarted() {
    after_each_end(Restart::Transient, &[boom(), ExitReason::Killed], Then::Restarted);
}

#[test]
fn temporary_abnormal_is_forgotten() {
    after_each_end(Restart::Temporary, &[boom(), ExitReason::Killed], Then::Forgotten);
}

#[test]
fn temporary_bystander_of_a_siblings_failure_is_forgotten_and_costs_no_restart() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let world = World::new();
        world.run(async {
            let children = vec![world.child("child1"), world.child("child2").restart(Restart::Temporary)];
            let root = world.root(flags(strategy, 2, 300), children).await;
            world.end(pid_of(root.reference(), "child1").await, ExitReason::Normal).await;
            world.sim.sleep(SECOND).await;
            pid_of(root.reference(), "child1").await;
            assert_eq!(counts(root.reference()).await, [1, 1, 0, 1], "{strategy:?}");
        });
    }
}

#[test]
fn multiple_restarts_that_keep_to_the_budget_go_on_for_ever() {
    let world = World::new();
    world.run(async {
        let root = world.root(flags(Strategy::OneForOne, 1, 1), vec![world.child("child1")]).await;
        for _ in 0..20 {
            world.end(pid_of(root.reference(), "child1").await, boom()).await;
            world.sim.sleep(Duration::from_millis(2_100)).await;
        }
        root.reference().terminate_child("child1").await.unwrap();
        root.reference().delete_child("child1").await.unwrap();
    });
}

/// What a temporary child was started with is not kept for a restart that never comes; with other rules it is.
#[test]
fn do_not_save_start_parameters_for_temporary_children_and_save_those_of_others() {
    for (rule, is_kept) in [(Restart::Permanent, true), (Restart::Transient, true), (Restart::Temporary, false)] {
        let world = World::new();
        world.run(async {
            let root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![letting_go().restart(rule)]).await;
            let kept = start_with_large(root.reference()).await;
            assert_eq!(kept.upgrade().is_some(), is_kept, "{rule:?}");
        });
    }
}

#[test]
fn simple_one_for_one_corruption_after_the_first_end_of_a_temporary_child_nothing_is_kept_either() {
    let world = World::new();
    world.run(async {
        let template = letting_go().restart(Restart::Temporary);
        let root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![template]).await;
        let _first = start_with_large(root.reference()).await;
        let children = root.reference().which_children().await.unwrap();
        children[0].process.as_ref().unwrap().kill();
        world.turn().await;
        assert!(start_with_large(root.reference()).await.upgrade().is_none());
        assert_eq!(counts(root.reference()).await, [1, 1, 0, 1]);
    });
}

/// A child that holds nothing of its start, so that whatever is left of it is its supervisor's.
fn letting_go() -> csf_runtime::supervise::ChildSpec {
    csf_runtime::supervise::ChildSpec::prepared("child", |cx: ChildContext| async move {
        drop(cx);
        Ok(Start::Run(Box::pin(std::future::pending())))
    })
}

async fn start_with_large(supervisor: &SupervisorRef) -> Weak<Vec<u8>> {
    let large = Arc::new(vec![0; 50_000]);
    let weak = Arc::downgrade(&large);
    supervisor.start_instance(large).await.unwrap();
    weak
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Killed,
    Ends(bool),
    ByHand,
}

#[test]
fn do_not_save_child_specs_for_temporary_children_whatever_ended_them() {
    for strategy in [Strategy::OneForAll, Strategy::OneForOne, Strategy::RestForOne] {
        for how in [How::Killed, How::Ends(true), How::Ends(false), How::ByHand] {
            for rule in all_rules() {
                let world = World::new();
                let again = world.run(start_twice(&world, strategy, rule, how));
                let expected = match (rule, how) {
                    (Restart::Temporary, _) => "started",
                    (_, How::ByHand) | (Restart::Transient, How::Ends(true)) => "already present",
                    _ => "already started",
                };
                assert_eq!(again, expected, "{strategy:?}, {how:?}, {rule:?}");
            }
        }
    }
}

/// Starts a child, ends it, starts it again.
async fn start_twice(world: &World, strategy: Strategy, rule: Restart, how: How) -> &'static str {
    let root = world.root(two_in_an_hour(strategy), vec![]).await;
    let spec = world.child("child").restart(rule);
    let pid = root.reference().start_child(spec.clone()).await.unwrap().unwrap();
    match how {
        How::Killed => world.kill(pid).await,
        How::Ends(is_orderly) => world.end(pid, if is_orderly { ExitReason::Normal } else { boom() }).await,
        How::ByHand => root.reference().terminate_child("child").await.unwrap(),
    }
    match root.reference().start_child(spec).await {
        Ok(_) => "started",
        Err(SupervisorError::AlreadyPresent) => "already present",
        Err(SupervisorError::AlreadyStarted(_)) => "already started",
        Err(other) => panic!("{other}"),
    }
}
