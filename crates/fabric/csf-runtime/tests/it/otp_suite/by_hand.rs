//! What people do to children: start, stop, restart and delete them by hand.

use csf_runtime::supervise::{ChildState, ExitReason, Strategy, SupervisorError};

use super::*;

#[test]
fn child_adm_a_name_is_taken_until_its_child_is_deleted() {
    let world = World::new();
    world.run(async {
        let root = world.root(two_in_an_hour(Strategy::OneForOne), vec![world.child("child1")]).await;
        let sup = root.reference();
        let first = pid_of(sup, "child1").await;
        assert_eq!(sup.start_child(world.child("child1")).await, Err(SupervisorError::AlreadyStarted(first)));

        assert_eq!(sup.terminate_child("nobody").await, Err(SupervisorError::NotFound));
        assert_eq!(sup.terminate_child("child1").await, Ok(()));
        assert_eq!(world.end_of(first), Some(ExitReason::Shutdown));
        assert_eq!(states(sup).await, [("child1".into(), ChildState::Stopped)]);
        assert_eq!(counts(sup).await, [1, 0, 0, 1]);
        assert_eq!(sup.terminate_child("child1").await, Ok(()), "what does not run can be stopped");
        assert_eq!(sup.start_child(world.child("child1")).await, Err(SupervisorError::AlreadyPresent));

        let second = sup.restart_child("child1").await.unwrap().unwrap();
        assert_ne!(second, first);
        assert_eq!(sup.restart_child("child1").await, Err(SupervisorError::Running));
        assert_eq!(sup.restart_child("child2").await, Err(SupervisorError::NotFound));

        assert_eq!(sup.delete_child("child1").await, Err(SupervisorError::Running));
        assert_eq!(sup.delete_child("nobody").await, Err(SupervisorError::NotFound));
        sup.terminate_child("child1").await.unwrap();
        assert_eq!(sup.delete_child("child1").await, Ok(()));
        assert_eq!(sup.restart_child("child1").await, Err(SupervisorError::NotFound));
        assert_eq!(counts(sup).await, [0, 0, 0, 0]);

        let third = sup.start_child(world.child("child1")).await.unwrap().unwrap();
        assert_eq!(sup.terminate_instance(third).await, Err(SupervisorError::NotFound), "it has a name");
        assert_eq!(counts(sup).await, [1, 1, 0, 1]);
    });
}

#[test]
fn child_adm_a_supervisor_that_has_ended_says_so_to_every_request() {
    let world = World::new();
    world.run(async {
        let mut root = world.root(two_in_an_hour(Strategy::OneForOne), vec![world.child("child1")]).await;
        let sup = root.reference().clone();
        root.stop(ExitReason::Shutdown);
        root.ended().await;
        let gone = || Err(SupervisorError::Gone(csf_runtime::supervise::Gone));
        assert_eq!(sup.start_child(world.child("child2")).await, gone());
        assert_eq!(sup.terminate_child("child1").await, gone().map(|_: Option<Pid>| ()));
        assert_eq!(sup.restart_child("child1").await, gone());
        assert_eq!(sup.delete_child("child1").await, gone().map(|_: Option<Pid>| ()));
        assert!(sup.which_children().await.is_err() && sup.count_children().await.is_err());
    });
}

#[test]
fn child_adm_simple_instances_are_stopped_by_process_and_never_by_name() {
    let world = World::new();
    world.run(async {
        let root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![world.child("child")]).await;
        let sup = root.reference();
        assert_eq!((states(sup).await, counts(sup).await), (vec![], [1, 0, 0, 0]));
        let first = sup.start_instance(()).await.unwrap().unwrap();
        let second = sup.start_instance(()).await.unwrap().unwrap();
        assert_eq!((pids(sup).await, counts(sup).await), (vec![first, second], [1, 2, 0, 2]));

        assert_eq!(sup.terminate_child("child").await, Err(SupervisorError::SimpleOneForOne));
        assert_eq!(sup.restart_child("child").await, Err(SupervisorError::SimpleOneForOne));
        assert_eq!(sup.delete_child("child").await, Err(SupervisorError::SimpleOneForOne));
        assert_eq!(counts(sup).await, [1, 2, 0, 2]);

        assert_eq!(sup.terminate_instance(first).await, Ok(()));
        assert_eq!(world.end_of(first), Some(ExitReason::Shutdown));
        assert_eq!((pids(sup).await, counts(sup).await), (vec![second], [1, 1, 0, 1]));
        assert_eq!(sup.terminate_instance(first).await, Ok(()), "one that has ended already");
    });
}

/// A difference: in OTP a process that lives and is somebody else's is `not_found`. Ours knows its own only, and leaves the other alone.
#[test]
fn child_adm_simple_a_process_of_another_supervisor_is_left_alone() {
    let world = World::new();
    world.run(async {
        let root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![world.child("child")]).await;
        let other = world.root(two_in_an_hour(Strategy::OneForOne), vec![world.child("other")]).await;
        let stranger = pid_of(other.reference(), "other").await;
        assert_eq!(root.reference().terminate_instance(stranger).await, Ok(()));
        world.turn().await;
        assert_eq!(world.end_of(stranger), None);
        assert_eq!(pid_of(other.reference(), "other").await, stranger);
    });
}

/// The case `extra_return` without the extra: what a start gives to its caller goes through the caller's own closure here.
#[test]
fn extra_return_a_child_started_by_hand_is_restarted_like_any_other() {
    let world = World::new();
    world.run(async {
        let root = world.root(two_in_an_hour(Strategy::OneForOne), vec![]).await;
        let first = root.reference().start_child(world.child("child1")).await.unwrap().unwrap();
        world.end(first, boom()).await;
        assert_ne!(pid_of(root.reference(), "child1").await, first);
        assert_eq!(counts(root.reference()).await, [1, 1, 0, 1]);
    });
}
