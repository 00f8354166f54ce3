//! Significant children: whose own end ends their supervisor.

use csf_runtime::supervise::{AutoShutdown, ChildSpec, ExitReason, Flags, Restart, Strategy};

use super::*;

const MODES: [AutoShutdown; 3] = [AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant];

fn five(auto_shutdown: AutoShutdown) -> Flags {
    Flags { intensity: 5, auto_shutdown, ..Flags::default() }
}

#[test]
fn nonsignificant_temporary_never_ends_the_supervisor() {
    for mode in MODES {
        let world = World::new();
        world.run(async {
            let root = world.root(five(mode), vec![]).await;
            let sup = root.reference();
            let spec = world.child("child1").restart(Restart::Temporary);
            for end in [None, Some(ExitReason::Killed), Some(boom()), Some(ExitReason::Normal)] {
                let pid = sup.start_child(spec.clone()).await.unwrap().unwrap();
                match end {
                    None => sup.terminate_child("child1").await.unwrap(),
                    Some(reason) => world.end(pid, reason).await,
                }
                assert!(!is_gone(sup).await, "{mode:?}");
            }
        });
    }
}

#[test]
fn nonsignificant_transient_never_ends_the_supervisor() {
    for mode in MODES {
        let world = World::new();
        world.run(async {
            let root = world.root(five(mode), vec![world.child("child1").restart(Restart::Transient)]).await;
            let sup = root.reference();
            sup.terminate_child("child1").await.unwrap();
            sup.restart_child("child1").await.unwrap();
            for reason in [ExitReason::Killed, boom(), ExitReason::Normal] {
                world.end(pid_of(sup, "child1").await, reason).await;
                assert!(!is_gone(sup).await, "{mode:?}");
            }
        });
    }
}

/// Two significant children and one that is not.
fn three(world: &World, rule: Restart) -> Vec<ChildSpec> {
    let child = |id| world.child(id).restart(rule);
    vec![child("child1").significant(), child("child2").significant(), child("child3")]
}

#[test]
fn significant_temporary_any_end_but_one_by_hand_ends_the_supervisor() {
    for reason in [ExitReason::Killed, boom(), ExitReason::Normal] {
        let world = World::new();
        world.run(async {
            let mut root = world.root(five(AutoShutdown::AnySignificant), three(&world, Restart::Temporary)).await;
            let all = pids(root.reference()).await;
            root.reference().terminate_child("child2").await.unwrap();
            world.turn().await;
            assert!(!is_gone(root.reference()).await, "it was stopped by hand");
            world.end(all[0], reason.clone()).await;
            assert_eq!(root.ended().await, ExitReason::Shutdown);
            assert_eq!(world.end_of(all[2]), Some(ExitReason::Shutdown), "{reason}");
        });
    }
}

#[test]
fn significant_transient_only_an_orderly_end_ends_the_supervisor() {
    let world = World::new();
    world.run(async {
        let mut root = world.root(five(AutoShutdown::AnySignificant), three(&world, Restart::Transient)).await;
        let sup = root.reference().clone();
        sup.terminate_child("child1").await.unwrap();
        sup.restart_child("child1").await.unwrap();
        for reason in [ExitReason::Killed, boom()] {
            world.end(pid_of(&sup, "child1").await, reason).await;
            assert_eq!(counts(&sup).await, [3, 3, 0, 3], "it was restarted");
        }
        world.end(pid_of(&sup, "child1").await, ExitReason::Normal).await;
        assert_eq!(root.ended().await, ExitReason::Shutdown);
    });
}

#[test]
fn significant_all_waits_for_the_last_significant_child() {
    for rule in [Restart::Temporary, Restart::Transient] {
        let world = World::new();
        world.run(async {
            let mut root = world.root(five(AutoShutdown::AllSignificant), three(&world, rule)).await;
            let all = pids(root.reference()).await;
            world.end(all[0], ExitReason::Normal).await;
            assert_eq!((world.end_of(all[1]), world.end_of(all[2])), (None, None));
            world.end(all[1], ExitReason::Normal).await;
            assert_eq!(root.ended().await, ExitReason::Shutdown);
            assert_eq!(world.end_of(all[2]), Some(ExitReason::Shutdown), "{rule:?}");
        });
    }
}

#[test]
fn significant_simple_the_first_or_the_last_instance_ends_the_supervisor() {
    for (mode, ends_with_first) in [(AutoShutdown::AnySignificant, true), (AutoShutdown::AllSignificant, false)] {
        let world = World::new();
        world.run(async {
            let simple = Flags { strategy: Strategy::SimpleOneForOne, ..five(mode) };
            let template = world.child("child1").restart(Restart::Temporary).significant();
            let mut root = world.root(simple, vec![template]).await;
            let first = root.reference().start_instance(()).await.unwrap().unwrap();
            let second = root.reference().start_instance(()).await.unwrap().unwrap();
            world.end(first, ExitReason::Normal).await;
            assert_eq!(world.end_of(second).is_some(), ends_with_first, "{mode:?}");
            if !ends_with_first {
                world.end(second, ExitReason::Normal).await;
            }
            assert_eq!(root.ended().await, ExitReason::Shutdown);
        });
    }
}

#[test]
fn significant_bystander_of_a_siblings_failure_does_not_end_the_supervisor() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        for mode in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
            let world = World::new();
            world.run(async {
                let child = |id| world.child(id).restart(Restart::Transient);
                let children = vec![child("child1").significant(), child("child2"), child("child3").significant()];
                let root = world.root(Flags { strategy, ..five(mode) }, children).await;
                let before = pids(root.reference()).await;
                world.kill(before[1]).await;
                let after = pids(root.reference()).await;
                let same: Vec<bool> = before.iter().zip(&after).map(|(b, a)| b == a).collect();
                let expected = match strategy {
                    Strategy::OneForAll => [false, false, false],
                    Strategy::RestForOne => [true, false, false],
                    _ => [true, false, true],
                };
                assert_eq!(same, expected, "{strategy:?}, {mode:?}");
            });
        }
    }
}

#[test]
fn significant_escalation_goes_up_through_significant_supervisors_only() {
    for is_significant in [true, false] {
        let world = World::new();
        world.run(async {
            let any = Flags { auto_shutdown: AutoShutdown::AnySignificant, ..Flags::default() };
            let worker = world.child("child1").restart(Restart::Transient).significant();
            let inner = ChildSpec::supervisor("sup1", any, move || vec![worker.clone()]).restart(Restart::Transient);
            let inner = if is_significant { inner.significant() } else { inner };
            let root = world.root(any, vec![inner]).await;
            let children = root.reference().which_children().await.unwrap();
            let below = children[0].supervisor.clone().unwrap();
            world.end(pid_of(&below, "child1").await, ExitReason::Normal).await;
            assert!(is_gone(&below).await);
            assert_eq!(is_gone(root.reference()).await, is_significant);
        });
    }
}
