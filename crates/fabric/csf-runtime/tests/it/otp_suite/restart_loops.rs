//! Children whose restart fails again and again: the supervisor still answers, and can be stopped.

use csf_runtime::supervise::{ChildState, ExitReason, Shutdown, Strategy, SupervisorError};

use super::*;

/// Lets a supervisor reach the loop: a start that fails takes two seconds.
async fn into_the_loop(world: &World, id: &str, pid: Pid) {
    world.refuse(id);
    world.end(pid, boom()).await;
    world.sim.sleep(3 * SECOND).await;
}

#[test]
fn hanging_restart_loop_child_and_supervisor_can_be_stopped() {
    let world = World::new();
    world.run(async {
        let child = || world.child("child1").shutdown(Shutdown::BrutalKill);
        let mut root = world.root(flags(Strategy::OneForOne, 8, 10), vec![child()]).await;
        let sup = root.reference().clone();
        into_the_loop(&world, "child1", pid_of(&sup, "child1").await).await;
        assert_eq!(sup.start_child(child()).await, Err(SupervisorError::AlreadyPresent));
        assert_eq!(sup.restart_child("child1").await, Err(SupervisorError::Restarting));
        assert_eq!(sup.delete_child("child1").await, Err(SupervisorError::Restarting));
        assert_eq!(states(&sup).await, [("child1".into(), ChildState::Restarting)]);
        assert_eq!(counts(&sup).await, [1, 0, 0, 1]);
        assert_eq!(sup.terminate_child("child1").await, Ok(()));
        assert_eq!(states(&sup).await, [("child1".into(), ChildState::Stopped)]);

        world.allow("child1");
        let again = sup.restart_child("child1").await.unwrap().unwrap();
        into_the_loop(&world, "child1", again).await;
        root.stop(ExitReason::Shutdown);
        assert_eq!(root.ended().await, ExitReason::Shutdown);
        assert_eq!(world.end_of(again), Some(boom()));
    });
}

#[test]
fn hanging_restart_loop_rest_for_one_leaves_those_before_alone_and_those_after_stopped() {
    let world = World::new();
    world.run(async {
        let child = |id| world.child(id).shutdown(Shutdown::BrutalKill);
        let children = vec![child("child1"), child("child2"), child("child3")];
        let mut root = world.root(flags(Strategy::RestForOne, 8, 10), children).await;
        let sup = root.reference().clone();
        let first = pid_of(&sup, "child1").await;
        into_the_loop(&world, "child2", pid_of(&sup, "child2").await).await;
        assert_eq!(sup.start_child(child("child2")).await, Err(SupervisorError::AlreadyPresent));
        assert_eq!(sup.restart_child("child2").await, Err(SupervisorError::Restarting));
        assert_eq!(sup.delete_child("child2").await, Err(SupervisorError::Restarting));
        let shown = |second| {
            [
                ("child1".to_owned(), ChildState::Running(first)),
                ("child2".to_owned(), second),
                ("child3".to_owned(), ChildState::Stopped),
            ]
        };
        assert_eq!(states(&sup).await, shown(ChildState::Restarting));
        assert_eq!(counts(&sup).await, [3, 1, 0, 3]);
        assert_eq!(sup.terminate_child("child2").await, Ok(()));
        assert_eq!(states(&sup).await, shown(ChildState::Stopped));

        world.allow("child2");
        let again = sup.restart_child("child2").await.unwrap().unwrap();
        into_the_loop(&world, "child2", again).await;
        root.stop(ExitReason::Shutdown);
        assert_eq!(root.ended().await, ExitReason::Shutdown);
    });
}

#[test]
fn hanging_restart_loop_simple_instance_and_supervisor_can_be_stopped() {
    let world = World::new();
    world.run(async {
        let template = world.child("child1").shutdown(Shutdown::BrutalKill);
        let mut root = world.root(flags(Strategy::SimpleOneForOne, 8, 10), vec![template]).await;
        let sup = root.reference().clone();
        let first = sup.start_instance(()).await.unwrap().unwrap();
        into_the_loop(&world, "child1", first).await;
        assert_eq!(sup.restart_child("child1").await, Err(SupervisorError::SimpleOneForOne));
        assert_eq!(sup.delete_child("child1").await, Err(SupervisorError::SimpleOneForOne));
        assert_eq!(states(&sup).await, [("child1".into(), ChildState::Restarting)]);
        assert_eq!(counts(&sup).await, [1, 0, 0, 1]);
        assert_eq!(sup.terminate_instance(first).await, Ok(()));
        assert_eq!(states(&sup).await, []);

        world.allow("child1");
        let second = sup.start_instance(()).await.unwrap().unwrap();
        into_the_loop(&world, "child1", second).await;
        root.stop(ExitReason::Shutdown);
        assert_eq!(root.ended().await, ExitReason::Shutdown);
        assert_eq!(world.end_of(second), Some(boom()));
    });
}
