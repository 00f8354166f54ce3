//! Starts: in order, ignored, failed; specifications and their defaults.

use csf_runtime::supervise::{
    AutoShutdown, ChildSpec, ChildState, ExitReason, Flags, Restart, Shutdown, SpecError, StartError, Strategy,
    Supervisor, SupervisorError, Work, check,
};

use super::*;

#[test]
fn sup_start_normal_an_empty_supervisor_starts_and_stops() {
    let world = World::new();
    let ended = world.run(async {
        let mut root = world.root(two_in_an_hour(Strategy::OneForOne), vec![]).await;
        assert_eq!(counts(root.reference()).await, [0, 0, 0, 0]);
        root.stop(ExitReason::Shutdown);
        root.ended().await
    });
    assert_eq!(ended, ExitReason::Shutdown);
}

#[test]
fn sup_start_ignore_child_keeps_the_specification_of_a_child_that_needs_no_process() {
    let world = World::new();
    world.run(async {
        let root = world.root(two_in_an_hour(Strategy::OneForOne), vec![]).await;
        world.answer("child1", Answer::Ignore);
        assert_eq!(root.reference().start_child(world.child("child1")).await, Ok(None));
        let second = root.reference().start_child(world.child("child2")).await.unwrap().unwrap();
        let expected = [("child1".into(), ChildState::Stopped), ("child2".into(), ChildState::Running(second))];
        assert_eq!(states(root.reference()).await, expected);
        assert_eq!(counts(root.reference()).await, [2, 1, 0, 2]);
    });
}

#[test]
fn sup_start_ignore_temporary_child_is_forgotten() {
    let world = World::new();
    world.answer("child1", Answer::Ignore);
    let temporary = |id| world.child(id).restart(Restart::Temporary);
    world.run(async {
        let children = vec![temporary("child1"), temporary("child2")];
        let root = world.root(two_in_an_hour(Strategy::OneForOne), children).await;
        pid_of(root.reference(), "child2").await;
        assert_eq!(counts(root.reference()).await, [1, 1, 0, 1]);
    });
}

#[test]
fn sup_start_ignore_temporary_child_start_child_is_forgotten_too() {
    let world = World::new();
    world.answer("child1", Answer::Ignore);
    let temporary = |id| world.child(id).restart(Restart::Temporary);
    world.run(async {
        let root = world.root(two_in_an_hour(Strategy::OneForOne), vec![]).await;
        assert_eq!(root.reference().start_child(temporary("child1")).await, Ok(None));
        let second = root.reference().start_child(temporary("child2")).await.unwrap().unwrap();
        assert_eq!(pids(root.reference()).await, [second]);
        assert_eq!(counts(root.reference()).await, [1, 1, 0, 1]);
    });
}

/// The cases `…_temporary_…` and `…_permanent_…`: an instance that needs no process is forgotten whatever its rule, and the stop is in order.
#[test]
fn sup_start_ignore_child_start_child_simple_forgets_instances_that_need_no_process() {
    for rule in all_rules() {
        let world = World::new();
        let ended = world.run(async {
            let template = world.child("child").restart(rule);
            let mut root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![template]).await;
            world.answer("child", Answer::Ignore);
            assert_eq!(root.reference().start_instance(()).await, Ok(None));
            world.allow("child");
            let second = root.reference().start_instance(()).await.unwrap().unwrap();
            assert_eq!(pids(root.reference()).await, [second]);
            assert_eq!(counts(root.reference()).await, [1, 1, 0, 1]);
            root.stop(ExitReason::Shutdown);
            root.ended().await
        });
        assert_eq!(ended, ExitReason::Shutdown, "{rule:?}");
    }
}

#[test]
fn sup_start_fail_a_supervisor_whose_children_cannot_be_made_fails_to_start() {
    let world = World::new();
    let broken = ChildSpec::supervisor("broken", Flags::default(), || panic!("no children today"));
    let refused = world.run(Supervisor::start("root", Flags::default(), vec![broken], world.env.clone())).err();
    let panicked = StartError::Failed(ExitReason::Panicked("no children today".into()));
    assert_eq!(refused, Some(StartError::Child { id: "broken".into(), reason: Box::new(panicked) }));
}

#[test]
fn sup_start_child_returns_error_and_the_specification_is_not_kept() {
    let world = World::new();
    world.answer("child1", Answer::Refuse { reason: "no port", after: Duration::ZERO });
    world.answer("child2", Answer::Panic("index 7 of 3"));
    world.run(async {
        let root = world.root(two_in_an_hour(Strategy::OneForOne), vec![]).await;
        let start = |id| root.reference().start_child(world.child(id));
        let failed = |reason| Err(SupervisorError::Start(StartError::Failed(reason)));
        assert_eq!(start("child1").await, failed(ExitReason::failed("no port")));
        assert_eq!(start("child2").await, failed(ExitReason::Panicked("index 7 of 3".into())));
        assert_eq!(counts(root.reference()).await, [0, 0, 0, 0]);
    });
}

#[test]
fn sup_start_restart_child_returns_error_and_the_specification_is_kept() {
    let world = World::new();
    world.run(async {
        let root = world.root(two_in_an_hour(Strategy::OneForOne), vec![world.child("child1")]).await;
        root.reference().terminate_child("child1").await.unwrap();
        world.refuse("child1");
        let error = SupervisorError::Start(StartError::failed("not now"));
        assert_eq!(root.reference().restart_child("child1").await, Err(error));
        assert_eq!(states(root.reference()).await, [("child1".into(), ChildState::Stopped)]);
    });
}

#[test]
fn sup_start_child_returns_error_simple_and_no_instance_is_kept() {
    let world = World::new();
    world.refuse("child");
    world.run(async {
        let root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![world.child("child")]).await;
        let error = SupervisorError::Start(StartError::failed("not now"));
        assert_eq!(root.reference().start_instance(()).await, Err(error));
        assert_eq!(states(root.reference()).await, []);
    });
}

#[test]
fn sup_start_map_what_a_specification_leaves_out_has_otps_defaults() {
    let world = World::new();
    let task = |id: &'static str| {
        ChildSpec::task(id, |cx| async move {
            cx.stopping().await;
            ExitReason::Shutdown
        })
    };
    world.run(async {
        let children = vec![
            task("child1"),
            task("child2").shutdown(Shutdown::BrutalKill),
            ChildSpec::supervisor("child3", Flags::default(), Vec::new),
        ];
        let root = world.root(Flags::default(), children).await;
        let expected = [
            ("child1", Shutdown::Within(5 * SECOND), Work::Worker),
            ("child2", Shutdown::BrutalKill, Work::Worker),
            ("child3", Shutdown::Infinity, Work::Supervisor),
        ];
        for (id, shutdown, work) in expected {
            let spec = root.reference().child_spec(id).await.unwrap();
            assert_eq!((&*spec.id, spec.restart, spec.significant), (id, Restart::Permanent, false));
            assert_eq!((spec.shutdown, spec.work), (shutdown, work), "{id}");
        }
        assert_eq!(root.reference().child_spec("child4").await.err(), Some(SupervisorError::NotFound));
    });
    let default = Flags::default();
    assert_eq!((default.strategy, default.intensity, default.period_s), (Strategy::OneForOne, 1, 5));
    assert_eq!(default.auto_shutdown, AutoShutdown::Never);
}

#[test]
fn sup_start_map_simple_every_instance_has_the_templates_specification() {
    let world = World::new();
    world.run(async {
        let simple = Flags { strategy: Strategy::SimpleOneForOne, ..Flags::default() };
        let root = world.root(simple, vec![world.child("child").restart(Restart::Temporary)]).await;
        for _ in 0..3 {
            let pid = root.reference().start_instance(()).await.unwrap().unwrap();
            let spec = root.reference().instance_spec(pid).await.unwrap();
            assert_eq!((&*spec.id, spec.restart, spec.work), ("child", Restart::Temporary, Work::Worker));
        }
        let stranger = world.root(Flags::default(), vec![world.child("other")]).await;
        let stranger = pid_of(stranger.reference(), "other").await;
        assert_eq!(root.reference().instance_spec(stranger).await.err(), Some(SupervisorError::NotFound));
    });
}

/// The cases `child_specs`, `child_specs_map` and `sup_start_map_faulty_specs`, as far as a specification can be wrong that compiles.
#[test]
fn child_specs_every_combination_is_taken_or_refused_with_its_contradiction() {
    let world = World::new();
    let shutdowns =
        [Shutdown::Within(Duration::ZERO), Shutdown::Within(SECOND), Shutdown::Infinity, Shutdown::BrutalKill];
    let mut taken = 0;
    for auto_shutdown in [AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        let flags = Flags { auto_shutdown, ..Flags::default() };
        for (rule, shutdown) in all_rules().into_iter().flat_map(|r| shutdowns.map(|s| (r, s))) {
            let plain = world.child("child").restart(rule).shutdown(shutdown);
            assert_eq!(check(&flags, std::slice::from_ref(&plain)), Ok(()));
            let child = || "child".to_owned();
            let expected = match (auto_shutdown, rule) {
                (AutoShutdown::Never, _) => Err(SpecError::SignificantWithoutAutoShutdown { child: child() }),
                (_, Restart::Permanent) => Err(SpecError::SignificantPermanent { child: child() }),
                _ => Ok(()),
            };
            taken += usize::from(expected.is_ok());
            assert_eq!(check(&flags, &[plain.significant()]), expected, "{auto_shutdown:?}, {rule:?}");
        }
    }
    assert_eq!(taken, 2 * 2 * 4);
    let duplicate = SpecError::Duplicate { child: "child".into() };
    assert_eq!(check(&Flags::default(), &[world.child("child"), world.child("child")]), Err(duplicate));
}

#[test]
fn child_specs_a_running_supervisor_refuses_them_too_and_goes_on() {
    let world = World::new();
    world.run(async {
        let root = world.root(Flags::default(), vec![]).await;
        let refused = root.reference().start_child(world.child("child").significant()).await;
        let reason = SpecError::SignificantWithoutAutoShutdown { child: "child".into() };
        assert_eq!(refused, Err(SupervisorError::Spec(reason)));
        assert!(root.reference().start_child(world.child("child")).await.is_ok());
    });
}

#[test]
fn child_specs_a_simple_one_for_one_supervisor_needs_exactly_one() {
    let world = World::new();
    for count in [0, 2, 3] {
        let children = ["a", "b", "c"].into_iter().take(count).map(|id| world.child(id)).collect();
        let start = Supervisor::start("root", two_in_an_hour(Strategy::SimpleOneForOne), children, world.env.clone());
        assert_eq!(world.run(start).err(), Some(StartError::Spec(SpecError::NotOneTemplate { count })));
    }
}

/// The case `sup_flags`: the other wrong flags do not compile.
#[test]
fn sup_flags_a_period_of_nothing_is_refused() {
    assert_eq!(check(&flags(Strategy::OneForOne, 2, 0), &[]), Err(SpecError::NoPeriod));
    assert_eq!(check(&flags(Strategy::OneForOne, 0, 1), &[]), Ok(()), "no restart at all is allowed");
}
