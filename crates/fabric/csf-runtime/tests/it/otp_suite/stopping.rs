//! Stops: time to stop, kills, and children that end by themselves meanwhile.

use csf_runtime::supervise::{ChildSpec, ExitReason, ReportKind, Restart, Shutdown, Strategy};

use super::*;

#[test]
fn sup_stop_infinity_is_for_workers_and_supervisors() {
    let world = World::new();
    world.run(async {
        let patient = world.child_with("child2", Manner::taking(600 * SECOND)).shutdown(Shutdown::Infinity);
        let inner = world.child("inner");
        let supervisor =
            ChildSpec::supervisor("child1", flags(Strategy::OneForOne, 2, 3_600), move || vec![inner.clone()]);
        let mut root = world.root(two_in_an_hour(Strategy::OneForOne), vec![supervisor, patient]).await;
        let worker = pid_of(root.reference(), "child2").await;
        root.stop(ExitReason::Shutdown);
        assert_eq!(root.ended().await, ExitReason::Shutdown);
        assert_eq!(world.end_of(worker), Some(ExitReason::Shutdown));
    });
    assert_eq!(world.log(), ["start inner", "start child2", "end child2", "end inner"]);
}

#[test]
fn sup_stop_timeout_kills_who_takes_longer_and_only_those() {
    let world = World::new();
    world.run(async {
        let children = vec![world.child("child1"), world.child_with("child2", Manner::taking(FOR_EVER))];
        let mut root = world.root(two_in_an_hour(Strategy::OneForOne), children).await;
        let pids = pids(root.reference()).await;
        root.stop(ExitReason::Shutdown);
        root.ended().await;
        assert_eq!(world.end_of(pids[0]), Some(ExitReason::Shutdown));
        assert_eq!(world.end_of(pids[1]), Some(ExitReason::Killed));
        assert_eq!(world.sim.now(), SECOND);
    });
}

#[test]
fn sup_stop_timeout_dynamic_the_time_is_one_for_all_instances() {
    let world = World::new();
    world.run(async {
        let template = world.child("child").restart(Restart::Temporary);
        let mut root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![template]).await;
        let quick = root.reference().start_instance(Manner::default()).await.unwrap().unwrap();
        let stuck = root.reference().start_instance(Manner::taking(FOR_EVER)).await.unwrap().unwrap();
        let also = root.reference().start_instance(Manner::taking(FOR_EVER)).await.unwrap().unwrap();
        root.stop(ExitReason::Shutdown);
        assert_eq!(root.ended().await, ExitReason::Shutdown);
        assert_eq!(world.end_of(quick), Some(ExitReason::Shutdown));
        assert_eq!([stuck, also].map(|pid| world.end_of(pid)), [Some(ExitReason::Killed), Some(ExitReason::Killed)]);
        assert_eq!(world.sim.now(), SECOND, "together, not one after the other");
    });
}

#[test]
fn sup_stop_brutal_kill_ends_a_child_without_asking() {
    let world = World::new();
    world.run(async {
        let children = vec![world.child("child1"), world.child("child2").shutdown(Shutdown::BrutalKill)];
        let mut root = world.root(two_in_an_hour(Strategy::OneForOne), children).await;
        let pids = pids(root.reference()).await;
        root.stop(ExitReason::Shutdown);
        root.ended().await;
        assert_eq!(world.end_of(pids[0]), Some(ExitReason::Shutdown));
        assert_eq!(world.end_of(pids[1]), Some(ExitReason::Killed));
    });
    assert_eq!(world.reports_of(|k| matches!(k, ReportKind::ShutdownFailed { .. })), [], "as it was told");
}

#[test]
fn sup_stop_brutal_kill_dynamic_ends_every_instance_without_asking() {
    let world = World::new();
    world.run(async {
        let template = world.child("child").restart(Restart::Temporary).shutdown(Shutdown::BrutalKill);
        let mut root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![template]).await;
        for _ in 0..10 {
            root.reference().start_instance(()).await.unwrap();
        }
        let pids = pids(root.reference()).await;
        root.stop(ExitReason::Shutdown);
        assert_eq!(root.ended().await, ExitReason::Shutdown);
        assert!(pids.iter().all(|&pid| world.end_of(pid) == Some(ExitReason::Killed)));
    });
}

/// Every rule with every reason.
fn rules_and_reasons() -> Vec<(Restart, ExitReason)> {
    let reasons = [ExitReason::Normal, ExitReason::Shutdown, ExitReason::ShutdownWith("test".into()), boom()];
    all_rules().into_iter().flat_map(|rule| reasons.clone().map(|reason| (rule, reason))).collect()
}

/// Whether a stopped child of this rule is reported when it says this.
fn is_reported(rule: Restart, reason: &ExitReason) -> bool {
    match reason {
        ExitReason::Shutdown => false,
        ExitReason::Normal | ExitReason::ShutdownWith(_) => rule == Restart::Permanent,
        _ => true,
    }
}

#[test]
fn sup_stop_race_children_that_end_by_themselves_during_the_stop_do_not_disturb_it() {
    const NAMES: [&str; 12] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11"];
    let world = World::new();
    let cases = rules_and_reasons();
    world.run(async {
        let mut children = vec![world.child("a").restart(Restart::Temporary)];
        children.extend(NAMES.iter().zip(&cases).map(|(name, (rule, _))| world.child(name).restart(*rule)));
        let slow = world.child_with("z", Manner::taking(SECOND)).restart(Restart::Temporary);
        children.push(slow.shutdown(Shutdown::Within(2 * SECOND)));
        let mut root = world.root(two_in_an_hour(Strategy::OneForOne), children).await;
        let all = pids(root.reference()).await;
        root.stop(ExitReason::Shutdown);
        world.turn().await;
        // It waits for the last one; meanwhile those before end, each for its own reason.
        for (pid, (_, reason)) in all[1..].iter().zip(&cases) {
            world.end(*pid, reason.clone()).await;
        }
        assert_eq!(root.ended().await, ExitReason::Shutdown);
        for (pid, (_, reason)) in all[1..].iter().zip(&cases) {
            assert_eq!(world.end_of(*pid).as_ref(), Some(reason));
        }
        assert_eq!(world.end_of(all[0]), Some(ExitReason::Shutdown));
        assert_eq!(world.end_of(all[13]), Some(ExitReason::Shutdown));
    });
    let mut expected: Vec<_> = NAMES
        .iter()
        .zip(cases)
        .filter(|(_, (rule, reason))| is_reported(*rule, reason))
        .map(|(name, (_, reason))| ((*name).to_owned(), ReportKind::ShutdownFailed { reason }))
        .collect();
    expected.reverse();
    assert_eq!(world.reports_of(|k| matches!(k, ReportKind::ShutdownFailed { .. })), expected);
    assert_eq!(world.reports_of(|k| matches!(k, ReportKind::Terminated { .. })), [], "nobody is restarted");
}

#[test]
fn sup_stop_non_shutdown_exit_dynamic_instances_may_say_anything_when_asked() {
    for rule in all_rules() {
        let world = World::new();
        let reasons: Vec<ExitReason> = rules_and_reasons().into_iter().take(4).map(|(_, reason)| reason).collect();
        world.run(async {
            let template = world.child("child").restart(rule);
            let mut root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![template]).await;
            let mut pids = Vec::new();
            for reason in &reasons {
                pids.push(root.reference().start_instance(Manner::saying(reason.clone())).await.unwrap().unwrap());
            }
            root.stop(ExitReason::Shutdown);
            assert_eq!(root.ended().await, ExitReason::Shutdown);
            let ends: Vec<_> = pids.iter().filter_map(|&pid| world.end_of(pid)).collect();
            assert_eq!(ends, reasons);
        });
        let reported = world.reports_of(|k| matches!(k, ReportKind::ShutdownFailed { .. })).len();
        assert_eq!(reported, reasons.iter().filter(|r| is_reported(rule, r)).count(), "{rule:?}");
    }
}
