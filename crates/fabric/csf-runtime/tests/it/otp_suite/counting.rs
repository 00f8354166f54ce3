//! Counts and lists of children, few and many.

use csf_runtime::supervise::{ChildSpec, ChildState, Flags, Restart, Shutdown, Strategy};

use super::*;

#[test]
fn count_children_agrees_with_the_list_for_many_instances() {
    let world = World::new();
    world.run(async {
        let template = world.child("child").restart(Restart::Temporary);
        let root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![template]).await;
        let sup = root.reference();
        for thousand in 1..=2 {
            for _ in 0..1_000 {
                sup.start_instance(()).await.unwrap();
            }
            let n = thousand * 1_000;
            assert_eq!((counts(sup).await, pids(sup).await.len()), ([1, n, 0, n], n));
        }
        let all = world.stage().puppets.iter().map(|p| p.process.clone()).collect::<Vec<_>>();
        all.iter().for_each(ProcessRef::kill);
        world.turn().await;
        assert_eq!(counts(sup).await, [1, 0, 0, 0]);
    });
}

#[test]
fn count_children_supervisor_counts_instances_that_supervise_as_supervisors() {
    let world = World::new();
    world.run(async {
        let template = ChildSpec::supervisor("child", Flags::default(), Vec::new).restart(Restart::Temporary);
        let root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![template]).await;
        for _ in 0..1_000 {
            root.reference().start_instance(()).await.unwrap();
        }
        assert_eq!(counts(root.reference()).await, [1, 1_000, 1_000, 0]);
        for child in root.reference().which_children().await.unwrap() {
            assert!(child.supervisor.is_some());
            child.process.unwrap().kill();
        }
        world.turn().await;
        assert_eq!(counts(root.reference()).await, [1, 0, 0, 0]);
    });
}

#[test]
fn count_restarting_children_counts_them_as_workers_and_not_as_active() {
    let world = World::new();
    world.run(async {
        let template = world.child("child").shutdown(Shutdown::BrutalKill);
        let root = world.root(flags(Strategy::SimpleOneForOne, 20, 10), vec![template]).await;
        let sup = root.reference();
        for n in 0..3 {
            assert_eq!(counts(sup).await, [1, n, 0, n]);
            sup.start_instance(()).await.unwrap();
        }
        for pid in pids(sup).await {
            world.end(pid, boom()).await;
        }
        assert_eq!(counts(sup).await, [1, 3, 0, 3], "all are back");

        world.refuse("child");
        let before = pids(sup).await;
        world.end(before[0], boom()).await;
        world.end(before[1], boom()).await;
        world.sim.sleep(4 * SECOND).await;
        assert_eq!(counts(sup).await, [1, 1, 0, 3]);

        world.allow("child");
        world.sim.sleep(4 * SECOND).await;
        assert_eq!(counts(sup).await, [1, 3, 0, 3]);
        for n in (0..3).rev() {
            sup.terminate_instance(pids(sup).await[0]).await.unwrap();
            assert_eq!(counts(sup).await, [1, n, 0, n]);
        }
    });
}

/// What a supervisor does for `n` instances, in polls of the executor: a figure that repeats, unlike a time.
fn polls_for(n: u32) -> u64 {
    let world = World::new();
    world.run(async {
        let template = world.child("child").restart(Restart::Temporary);
        let root = world.root(two_in_an_hour(Strategy::SimpleOneForOne), vec![template]).await;
        let mut pids = Vec::new();
        for _ in 0..n {
            pids.push(root.reference().start_instance(()).await.unwrap().unwrap());
        }
        for pid in pids {
            root.reference().terminate_instance(pid).await.unwrap();
        }
        assert_eq!(counts(root.reference()).await, [1, 0, 0, 0]);
    });
    world.sim.polls()
}

#[test]
fn simple_one_for_one_scale_many_temporary_children_costs_ten_times_for_ten_times_as_many() {
    let (few, many) = (polls_for(200), polls_for(2_000));
    assert!(many <= few * 11, "{few} polls for 200, {many} for 2,000");
}

#[test]
fn scale_start_stop_many_children_by_name() {
    let world = World::new();
    world.run(async {
        let root = world.root(two_in_an_hour(Strategy::OneForOne), vec![]).await;
        let names: Vec<&'static str> = (0..2_000).map(|n| &*format!("child{n}").leak()).collect();
        for name in &names {
            root.reference().start_child(world.child(name)).await.unwrap();
        }
        assert_eq!(counts(root.reference()).await, [2_000, 2_000, 0, 2_000]);
        for name in &names {
            root.reference().terminate_child(name).await.unwrap();
        }
        assert_eq!(counts(root.reference()).await, [2_000, 0, 0, 2_000]);
        assert!(states(root.reference()).await.iter().all(|(_, state)| *state == ChildState::Stopped));
    });
}
