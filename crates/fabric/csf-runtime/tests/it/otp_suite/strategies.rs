//! Whom a failure concerns, and the failure that is one too many.

use csf_runtime::supervise::{ChildState, ExitReason, Strategy};

use super::*;

/// The starts of this child fail from now on, each at once: a supervisor spends its budget on them.
fn fails_again(world: &World, id: &str) {
    world.answer(id, Answer::Refuse { reason: "not again", after: Duration::ZERO });
}

#[test]
fn one_for_one_restarts_the_failed_one_until_the_budget_is_spent() {
    let world = World::new();
    world.run(async {
        let children = vec![world.child("child1"), world.child("child2")];
        let mut root = world.root(two_in_an_hour(Strategy::OneForOne), children).await;
        let before = pids(root.reference()).await;
        world.end(before[0], boom()).await;
        let after = pids(root.reference()).await;
        assert!(after[0] != before[0] && after[1] == before[1], "{before:?} {after:?}");
        assert_eq!(counts(root.reference()).await, [2, 2, 0, 2]);
        world.end(after[1], boom()).await;
        world.end(pids(root.reference()).await[0], boom()).await;
        assert_eq!(root.ended().await, ExitReason::Shutdown);
    });
}

#[test]
fn one_for_one_escalation_a_child_that_cannot_come_back_ends_its_supervisor() {
    let world = World::new();
    world.run(async {
        let children = vec![world.child("child1"), world.child("child2")];
        let mut root = world.root(flags(Strategy::OneForOne, 4, 3_600), children).await;
        let before = pids(root.reference()).await;
        fails_again(&world, "child1");
        world.end(before[0], boom()).await;
        assert_eq!(root.ended().await, ExitReason::Shutdown);
        assert_eq!(world.end_of(before[1]), Some(ExitReason::Shutdown));
    });
}

#[test]
fn one_for_all_restarts_every_child_until_the_budget_is_spent() {
    let world = World::new();
    world.run(async {
        let children = vec![world.child("child1"), world.child("child2")];
        let mut root = world.root(two_in_an_hour(Strategy::OneForAll), children).await;
        let before = pids(root.reference()).await;
        world.end(before[0], boom()).await;
        assert_eq!(world.end_of(before[1]), Some(ExitReason::Shutdown));
        let after = pids(root.reference()).await;
        assert!(after.len() == 2 && after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
        assert_eq!(counts(root.reference()).await, [2, 2, 0, 2]);
        world.end(after[1], boom()).await;
        world.end(pids(root.reference()).await[1], boom()).await;
        assert_eq!(root.ended().await, ExitReason::Shutdown);
    });
}

#[test]
fn one_for_all_escalation_a_sibling_that_cannot_come_back_ends_the_supervisor() {
    let world = World::new();
    world.run(async {
        let children = vec![world.child("child1"), world.child("child2")];
        let mut root = world.root(flags(Strategy::OneForAll, 4, 3_600), children).await;
        let before = pids(root.reference()).await;
        fails_again(&world, "child2");
        world.end(before[0], boom()).await;
        assert_eq!(root.ended().await, ExitReason::Shutdown);
        assert_eq!(world.end_of(before[1]), Some(ExitReason::Shutdown));
    });
}

#[test]
fn one_for_all_other_child_fails_restart_and_the_one_that_was_back_is_stopped_again() {
    let world = World::new();
    world.run(async {
        let children = vec![world.child("child1"), world.child("child2")];
        let root = world.root(flags(Strategy::OneForAll, 3, 3_600), children).await;
        world.log();
        world.refuse("child2");
        world.end(pid_of(root.reference(), "child1").await, boom()).await;
        world.sim.sleep(SECOND).await;
        world.allow("child2");
        world.sim.sleep(2 * SECOND).await;
        assert_eq!(counts(root.reference()).await, [2, 2, 0, 2]);
    });
    let both = ["end child1", "end child2", "start child1", "end child1", "start child1", "start child2"];
    assert_eq!(world.log()[..6], both, "the second start of child1 gives way to a third");
}

#[test]
fn simple_one_for_one_restarts_the_failed_instance_until_the_budget_is_spent() {
    let world = World::new();
    world.run(async {
        let mut root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![world.child("child")]).await;
        let first = root.reference().start_instance(()).await.unwrap().unwrap();
        let second = root.reference().start_instance(()).await.unwrap().unwrap();
        world.end(first, boom()).await;
        let after = pids(root.reference()).await;
        assert!(after.len() == 2 && after.contains(&second) && !after.contains(&first), "{after:?}");
        assert_eq!(counts(root.reference()).await, [1, 2, 0, 2]);
        world.end(second, boom()).await;
        world.end(pids(root.reference()).await[0], boom()).await;
        assert_eq!(root.ended().await, ExitReason::Shutdown);
    });
}

/// The case `simple_one_for_one_extra`: what an instance was started with comes again with its restart.
#[test]
fn simple_one_for_one_extra_a_restarted_instance_gets_what_it_was_started_with() {
    let world = World::new();
    world.run(async {
        let mut root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![world.child("child")]).await;
        let said = ExitReason::ShutdownWith("as I was told".into());
        let first = root.reference().start_instance(Manner::saying(said.clone())).await.unwrap().unwrap();
        world.end(first, boom()).await;
        let second = pids(root.reference()).await[0];
        root.stop(ExitReason::Shutdown);
        root.ended().await;
        assert_eq!(world.end_of(second), Some(said));
    });
}

#[test]
fn simple_one_for_one_shutdown_waits_for_the_slow_and_kills_the_too_slow() {
    let world = World::new();
    world.run(async {
        let template = world.child("child").shutdown(Shutdown::Within(2 * SECOND));
        let mut root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![template]).await;
        for seconds in [1, 1, 5] {
            root.reference().start_instance(Manner::taking(seconds * SECOND)).await.unwrap();
        }
        let all = pids(root.reference()).await;
        root.stop(ExitReason::Shutdown);
        root.ended().await;
        assert_eq!(world.sim.now(), 2 * SECOND);
        let ends: Vec<_> = all.iter().filter_map(|&pid| world.end_of(pid)).collect();
        assert_eq!(ends, [ExitReason::Shutdown, ExitReason::Shutdown, ExitReason::Killed]);
    });
}

#[test]
fn simple_one_for_one_escalation_an_instance_that_cannot_come_back_ends_the_supervisor() {
    let world = World::new();
    world.run(async {
        let four = flags(Strategy::SimpleOneForOne, 4, 3_600);
        let mut root = world.root(four, vec![world.child("child")]).await;
        let first = root.reference().start_instance(()).await.unwrap().unwrap();
        let second = root.reference().start_instance(()).await.unwrap().unwrap();
        fails_again(&world, "child");
        world.end(first, boom()).await;
        assert_eq!(root.ended().await, ExitReason::Shutdown);
        assert_eq!(world.end_of(second), Some(ExitReason::Shutdown));
    });
}

#[test]
fn rest_for_one_restarts_the_failed_one_and_those_after_it_until_the_budget_is_spent() {
    let world = World::new();
    world.run(async {
        let children = vec![world.child("child1"), world.child("child2"), world.child("child3")];
        let mut root = world.root(two_in_an_hour(Strategy::RestForOne), children).await;
        let before = pids(root.reference()).await;
        world.end(before[1], boom()).await;
        assert_eq!(world.end_of(before[2]), Some(ExitReason::Shutdown));
        let after = pids(root.reference()).await;
        assert_eq!(after[0], before[0]);
        assert!(after[1..].iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
        assert_eq!(counts(root.reference()).await, [3, 3, 0, 3]);
        world.end(after[2], boom()).await;
        world.end(pids(root.reference()).await[1], boom()).await;
        assert_eq!(root.ended().await, ExitReason::Shutdown);
    });
}

#[test]
fn rest_for_one_escalation_a_later_child_that_cannot_come_back_ends_the_supervisor() {
    let world = World::new();
    world.run(async {
        let children = vec![world.child("child1"), world.child("child2")];
        let mut root = world.root(flags(Strategy::RestForOne, 4, 3_600), children).await;
        let before = pids(root.reference()).await;
        fails_again(&world, "child2");
        world.end(before[0], boom()).await;
        assert_eq!(root.ended().await, ExitReason::Shutdown);
        assert_eq!(world.end_of(before[1]), Some(ExitReason::Shutdown));
    });
}

#[test]
fn rest_for_one_other_child_fails_restart_and_the_one_that_was_back_goes_on() {
    let world = World::new();
    world.run(async {
        let children = vec![world.child("child1"), world.child("child2")];
        let root = world.root(flags(Strategy::RestForOne, 3, 3_600), children).await;
        world.log();
        world.refuse("child2");
        world.end(pid_of(root.reference(), "child1").await, boom()).await;
        world.sim.sleep(SECOND).await;
        world.allow("child2");
        world.sim.sleep(2 * SECOND).await;
        assert_eq!(counts(root.reference()).await, [2, 2, 0, 2]);
    });
    let once = ["end child1", "end child2", "start child1", "start child2"];
    assert_eq!(world.log()[..4], once, "child1 was back already and is left alone");
}

#[test]
fn order_of_children_is_start_order_and_its_reverse_at_every_stop() {
    let world = World::new();
    world.run(async {
        let ids = ["id1", "id2", "id3", "id4", "id5"];
        let children = ids.map(|id| world.child(id)).to_vec();
        let mut root = world.root(two_in_an_hour(Strategy::RestForOne), children).await;
        assert_eq!(world.log(), ids.map(|id| format!("start {id}")));
        world.end(pid_of(root.reference(), "id3").await, boom()).await;
        assert_eq!(world.log(), ["end id3", "end id5", "end id4", "start id3", "start id4", "start id5"]);
        let listed: Vec<String> = states(root.reference()).await.into_iter().map(|(id, _)| id).collect();
        assert_eq!(listed, ids);
        root.stop(ExitReason::Shutdown);
        root.ended().await;
        assert_eq!(world.log(), ["end id5", "end id4", "end id3", "end id2", "end id1"]);
    });
}

/// Beyond the suite: the same strategies when the failure is a kill from outside.
#[test]
fn a_killed_child_is_a_failed_child_under_every_strategy() {
    for (strategy, expected) in [(Strategy::OneForOne, 1), (Strategy::RestForOne, 2), (Strategy::OneForAll, 3)] {
        let world = World::new();
        world.run(async {
            let children = vec![world.child("child1"), world.child("child2"), world.child("child3")];
            let root = world.root(two_in_an_hour(strategy), children).await;
            let before = pids(root.reference()).await;
            world.kill(before[1]).await;
            let after = pids(root.reference()).await;
            let changed = before.iter().zip(&after).filter(|(b, a)| b != a).count();
            assert_eq!(changed, expected, "{strategy:?}");
            let all = states(root.reference()).await;
            assert!(all.iter().all(|(_, state)| matches!(state, ChildState::Running(_))));
        });
    }
}
