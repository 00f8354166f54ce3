//! Supervisors below supervisors.

use csf_runtime::supervise::{ChildSpec, ExitReason, Flags, ReportKind, Restart, StartError, Strategy, Supervisor};

use super::*;

async fn below(supervisor: &SupervisorRef, id: &str) -> SupervisorRef {
    let children = supervisor.which_children().await.unwrap();
    children.into_iter().find(|c| &*c.id == id).and_then(|c| c.supervisor).unwrap()
}

#[test]
fn tree_a_restarted_supervisor_has_its_own_children_again_and_none_that_were_added() {
    let world = World::new();
    world.run(async {
        let four = flags(Strategy::OneForOne, 4, 3_600);
        let workers = [world.child("child1"), world.child("child2")];
        let children = vec![
            ChildSpec::supervisor("supchild1", four, move || workers.to_vec()),
            ChildSpec::supervisor("supchild2", four, Vec::new),
            ChildSpec::supervisor("supchild3", four, Vec::new).restart(Restart::Transient),
        ];
        let root = world.root(flags(Strategy::OneForAll, 4, 3_600), children).await;
        let top = root.reference();
        top.terminate_child("supchild3").await.unwrap();
        assert_eq!(counts(top).await, [3, 2, 3, 0]);
        let (sup1, sup2) = (below(top, "supchild1").await, below(top, "supchild2").await);
        assert_eq!((counts(&sup1).await, counts(&sup2).await), ([2, 2, 0, 2], [0, 0, 0, 0]));

        let third = sup2.start_child(world.child("child3")).await.unwrap().unwrap();
        let fourth = sup2.start_child(world.child("child4")).await.unwrap().unwrap();
        let first_two = pids(&sup1).await;
        world.end(fourth, boom()).await;
        assert_eq!(pids(&sup1).await, first_two, "a failure stays where it happened");
        let now = pids(&sup2).await;
        assert!(now[0] == third && now[1] != fourth);

        // A child that cannot come back spends the budget of its supervisor; the one above restarts all of its children.
        world.answer("child3", Answer::Refuse { reason: "not again", after: Duration::ZERO });
        world.end(third, boom()).await;
        world.sim.sleep(SECOND).await;
        assert_eq!(counts(top).await, [3, 3, 3, 0], "the stopped one too");
        assert_eq!(counts(&below(top, "supchild1").await).await, [2, 2, 0, 2]);
        assert_eq!(counts(&below(top, "supchild2").await).await, [0, 0, 0, 0]);
        assert_eq!(counts(&below(top, "supchild3").await).await, [0, 0, 0, 0]);
    });
}

#[test]
fn faulty_application_shutdown_the_cause_of_a_failed_start_comes_up_through_every_supervisor() {
    let world = World::new();
    world.answer("server", Answer::Panic("an undefined function"));
    let (before, server) = (world.child("before"), world.child("server"));
    let inner = ChildSpec::supervisor("app", Flags::default(), move || vec![before.clone(), server.clone()]);
    let refused = world.run(Supervisor::start("root", Flags::default(), vec![inner], world.env.clone())).err();
    let cause = StartError::Failed(ExitReason::Panicked("an undefined function".into()));
    let child = |id: &str, reason| StartError::Child { id: id.into(), reason: Box::new(reason) };
    assert_eq!(refused, Some(child("app", child("server", cause))));
    assert_eq!(world.log(), ["start before", "end before"], "what was begun was stopped again");
}

/// The case `simple_global_supervisor` without global names: one supervisor below another, each part of which is ended in turn.
#[test]
fn simple_global_supervisor_whatever_is_ended_comes_back() {
    let world = World::new();
    world.run(async {
        let three = flags(Strategy::OneForAll, 3, 60);
        let server = world.child("server");
        let middle = ChildSpec::supervisor("middle", three, move || vec![server.clone()]);
        let root = world.root(three, vec![middle]).await;
        let top = root.reference();

        let (sup, server) = (pid_of(top, "middle").await, pid_of(&below(top, "middle").await, "server").await);
        let children = top.which_children().await.unwrap();
        children[0].process.as_ref().unwrap().kill();
        world.turn().await;
        assert_ne!(pid_of(top, "middle").await, sup);
        let after_sup = pid_of(&below(top, "middle").await, "server").await;
        assert_ne!(after_sup, server);
        assert_eq!(world.end_of(server), Some(ExitReason::Killed), "no orphan");

        world.kill(after_sup).await;
        let after_kill = pid_of(&below(top, "middle").await, "server").await;
        assert_ne!(after_kill, after_sup);
        world.end(after_kill, ExitReason::Normal).await;
        let after_end = pid_of(&below(top, "middle").await, "server").await;
        assert_ne!(after_end, after_kill);

        let middle = below(top, "middle").await;
        middle.terminate_child("server").await.unwrap();
        assert_ne!(middle.restart_child("server").await.unwrap().unwrap(), after_end);
    });
}

/// The cases `format_log_1` and `format_log_2`, as far as they are about content: who, whom, why.
#[test]
fn format_log_a_report_says_which_supervisor_which_child_and_why() {
    let world = World::new();
    world.run(async {
        let server = world.child("server");
        let inner = ChildSpec::supervisor("inner", two_in_an_hour(Strategy::OneForOne), move || vec![server.clone()]);
        let root = world.root(Flags::default(), vec![inner]).await;
        let first = pid_of(&below(root.reference(), "inner").await, "server").await;
        world.end(first, ExitReason::failed("disk on fire")).await;
        let reports = world.reports.lock().unwrap();
        let report = reports.iter().find(|r| matches!(r.kind, ReportKind::Terminated { .. })).unwrap();
        assert_eq!((&*report.supervisor, &*report.child, report.pid), ("root/inner", "server", Some(first)));
        assert_eq!(report.kind, ReportKind::Terminated { reason: ExitReason::failed("disk on fire") });
        let started: Vec<&str> = reports.iter().filter(|r| r.kind == ReportKind::Started).map(|r| &*r.child).collect();
        assert_eq!(started, ["server", "inner", "server"]);
    });
}
