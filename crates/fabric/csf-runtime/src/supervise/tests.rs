//! What OTP's own `supervisor_SUITE` claims, on ours, and what goes beyond OTP. The names of its cases are kept where one is meant.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::port::Timer;
use csf_sim::{SeededRng, SimExecutor};

use super::*;

/// Much longer than anything here takes.
const QUIET: Duration = Duration::from_secs(600);
const SECOND: Duration = Duration::from_secs(1);

struct World {
    sim: SimExecutor,
    env: Env,
    reports: Arc<Mutex<Vec<Report>>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let sim = SimExecutor::new(seed);
        let reports = Arc::new(Mutex::new(Vec::new()));
        let heard = reports.clone();
        let env = Env::new(Arc::new(sim.clone()), Arc::new(sim.clone()), SeededRng::new(seed))
            .observed_by(move |report| heard.lock().unwrap().push(report.clone()));
        Self { sim, env, reports }
    }

    fn run<T>(&self, main: impl Future<Output = T>) -> T {
        self.sim.block_on(main).unwrap()
    }

    /// Lets everything happen that is ready.
    async fn turn(&self) {
        self.sim.sleep(Duration::from_nanos(1)).await;
    }

    /// The kinds of the reports so far, with their child.
    fn said(&self) -> Vec<(String, ReportKind)> {
        self.reports.lock().unwrap().iter().map(|r| (r.child.to_string(), r.kind.clone())).collect()
    }
}

fn flags(strategy: Strategy, intensity: u32, period_s: u64) -> Flags {
    Flags { strategy, intensity, period_s, ..Flags::default() }
}

/// A worker that runs until it is asked to stop.
fn obedient(id: &'static str) -> ChildSpec {
    ChildSpec::task(id, |cx| async move {
        cx.stopping().await;
        ExitReason::Shutdown
    })
}

/// A worker that fails as soon as it runs, `times` times.
fn failing(id: &'static str, times: usize) -> (ChildSpec, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let spec = ChildSpec::task(id, move |cx| {
        let run = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if run < times {
                return ExitReason::failed("boom");
            }
            cx.stopping().await;
            ExitReason::Shutdown
        }
    });
    (spec, runs)
}

async fn pid_of(supervisor: &SupervisorRef, id: &str) -> Option<Pid> {
    let children = supervisor.which_children().await.ok()?;
    match children.iter().find(|c| &*c.id == id)?.state {
        ChildState::Running(pid) => Some(pid),
        _ => None,
    }
}

#[test]
fn a_task_that_fails_three_times_is_restarted_three_times_with_growing_pauses() {
    let world = World::new(1);
    let (spec, runs) = failing("task", 3);
    let flags = Flags { backoff: Some(Backoff::default()), ..flags(Strategy::OneForOne, 5, 60) };
    world.run(async {
        let root = Supervisor::start("root", flags, vec![spec], world.env.clone()).await.unwrap();
        world.sim.sleep(QUIET).await;
        assert!(pid_of(root.reference(), "task").await.is_some());
    });
    assert_eq!(runs.load(Ordering::Relaxed), 4);
    let pauses: Vec<Duration> = world
        .said()
        .into_iter()
        .filter_map(|(_, k)| if let ReportKind::Delayed { pause } = k { Some(pause) } else { None })
        .collect();
    assert_eq!(pauses, [100, 200, 400].map(Duration::from_millis));
}

#[test]
fn the_sixth_failure_in_sixty_seconds_is_not_restarted_and_stops_the_parent_of_the_parent() {
    let world = World::new(1);
    let (spec, runs) = failing("task", usize::MAX);
    let inner = ChildSpec::supervisor("inner", flags(Strategy::OneForOne, 5, 60), move || vec![spec.clone()]);
    let reason = world.run(async {
        let none = flags(Strategy::OneForOne, 0, 60);
        let mut root =
            Supervisor::start("root", none, vec![inner, obedient("other")], world.env.clone()).await.unwrap();
        root.ended().await
    });
    assert_eq!(reason, ExitReason::Shutdown);
    assert_eq!(runs.load(Ordering::Relaxed), 6, "one start and five restarts");
    let spent: Vec<_> = world.said().into_iter().filter(|(_, k)| matches!(k, ReportKind::BudgetSpent { .. })).collect();
    assert_eq!(
        spent,
        [
            ("task".to_owned(), ReportKind::BudgetSpent { restarts: 6 }),
            ("inner".to_owned(), ReportKind::BudgetSpent { restarts: 1 })
        ]
    );
}

#[test]
fn sup_stop_timeout_a_child_that_ignores_its_supervisor_is_killed_after_its_time() {
    let world = World::new(1);
    let stubborn = ChildSpec::task("stubborn", |cx| async move {
        cx.trap_shutdown();
        std::future::pending().await
    });
    let stubborn = stubborn.shutdown(Shutdown::Within(3 * SECOND));
    world.run(async {
        let mut root = Supervisor::start("root", Flags::default(), vec![stubborn, obedient("b")], world.env.clone())
            .await
            .unwrap();
        let before = world.sim.now();
        root.stop(ExitReason::Shutdown);
        assert_eq!(root.ended().await, ExitReason::Shutdown);
        assert_eq!(world.sim.now() - before, 3 * SECOND);
    });
    assert!(world.said().contains(&("stubborn".to_owned(), ReportKind::ShutdownFailed { reason: ExitReason::Killed })));
}

#[test]
fn sup_stop_brutal_kill_and_infinity() {
    let world = World::new(1);
    let slow = |id: &'static str| {
        ChildSpec::prepared(id, |cx: ChildContext| async move {
            let timer = cx.env().timer.clone();
            Ok(Start::Run(Box::pin(async move {
                cx.stopping().await;
                timer.sleep(Duration::from_secs(50)).await;
                ExitReason::Shutdown
            })))
        })
    };
    for (shutdown, expected) in [(Shutdown::BrutalKill, 0), (Shutdown::Infinity, 50)] {
        let took = world.run(async {
            let child = slow("slow").shutdown(shutdown);
            let mut root = Supervisor::start("root", Flags::default(), vec![child], world.env.clone()).await.unwrap();
            world.turn().await;
            let before = world.sim.now();
            root.stop(ExitReason::Shutdown);
            root.ended().await;
            world.sim.now() - before
        });
        assert_eq!(took.as_secs(), expected, "{shutdown:?}");
    }
}

#[test]
fn a_killed_child_that_never_ends_costs_the_grace_and_is_named() {
    let world = World::new(1);
    // A process whose task is never polled again: its thread is in code that does not return.
    struct Deaf(SimExecutor);
    impl csf_core::port::Spawn for Deaf {
        fn spawn(&self, task: csf_core::port::Task) {
            self.0.spawn(Box::pin(async move {
                let _task = task;
                std::future::pending::<()>().await;
            }));
        }
    }
    let mut env = Env::new(Arc::new(world.sim.clone()), Arc::new(Deaf(world.sim.clone())), SeededRng::new(1));
    env.kill_grace = 7 * SECOND;
    let heard = world.reports.clone();
    let env = env.observed_by(move |r| heard.lock().unwrap().push(r.clone()));
    world.run(async {
        let start = engine::Engine::init("root".into(), Flags::default(), vec![obedient("deaf")], env);
        let engine = start.await.unwrap();
        let me = engine.me.clone();
        me.send(inbox::Message::Parent(ExitReason::Shutdown)).ok();
        assert_eq!(engine.run().await, ExitReason::Shutdown);
    });
    assert_eq!(world.sim.now(), 5 * SECOND + 7 * SECOND, "asked for 5 s, killed, waited for 7 s");
    assert!(world.said().contains(&("deaf".to_owned(), ReportKind::ShutdownFailed { reason: ExitReason::Abandoned })));
}

#[test]
fn hanging_restart_loop_leaves_the_supervisor_able_to_answer() {
    let world = World::new(1);
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = starts.clone();
    let child = ChildSpec::prepared("child", move |cx: ChildContext| {
        let start = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if start > 0 {
                return Err(StartError::failed("not yet"));
            }
            Ok(Start::Run(Box::pin(async move {
                cx.stopping().await;
                ExitReason::Shutdown
            })))
        }
    });
    world.run(async {
        let root = Supervisor::start("root", flags(Strategy::OneForOne, 1_000_000, 60), vec![child], world.env.clone())
            .await
            .unwrap();
        let children = root.reference().which_children().await.unwrap();
        children[0].process.as_ref().unwrap().kill();
        // Its restart fails for ever; between two tries the supervisor still answers.
        while root.reference().which_children().await.unwrap()[0].state != ChildState::Restarting {}
        assert_eq!(root.reference().restart_child("child").await, Err(SupervisorError::Restarting));
        assert_eq!(root.reference().delete_child("child").await, Err(SupervisorError::Restarting));
        assert_eq!(root.reference().terminate_child("child").await, Ok(()));
        let count = root.reference().count_children().await.unwrap();
        assert_eq!((count.specs, count.active), (1, 0));
        let tries = starts.load(Ordering::Relaxed);
        world.sim.sleep(QUIET).await;
        assert_eq!(starts.load(Ordering::Relaxed), tries, "a terminated child is not tried again");
        assert_eq!(root.reference().delete_child("child").await, Ok(()));
    });
}

#[test]
fn a_stop_during_a_back_off_ends_it() {
    let world = World::new(1);
    let (spec, runs) = failing("task", usize::MAX);
    let flags =
        Flags { backoff: Some(Backoff { min: SECOND, ..Backoff::default() }), ..flags(Strategy::OneForOne, 5, 60) };
    world.run(async {
        let mut root = Supervisor::start("root", flags, vec![spec], world.env.clone()).await.unwrap();
        world.turn().await;
        assert_eq!(root.reference().which_children().await.unwrap()[0].state, ChildState::Restarting);
        root.stop(ExitReason::Shutdown);
        root.ended().await;
        world.sim.sleep(QUIET).await;
    });
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[test]
fn with_a_back_off_those_that_depend_on_the_failed_one_stop_at_once_and_start_after_it() {
    let world = World::new(1);
    let (spec, _) = failing("source", 1);
    let flags =
        Flags { backoff: Some(Backoff { min: SECOND, ..Backoff::default() }), ..flags(Strategy::RestForOne, 5, 60) };
    let children = vec![obedient("before"), spec, obedient("after")];
    world.run(async {
        let root = Supervisor::start("root", flags, children, world.env.clone()).await.unwrap();
        world.turn().await;
        let states = |children: Vec<ChildEntry>| children.into_iter().map(|c| c.state).collect::<Vec<_>>();
        let paused = states(root.reference().which_children().await.unwrap());
        assert!(
            matches!(paused[..], [ChildState::Running(_), ChildState::Restarting, ChildState::Stopped]),
            "{paused:?}"
        );
        world.sim.sleep(2 * SECOND).await;
        let after = states(root.reference().which_children().await.unwrap());
        assert!(after.iter().all(|s| matches!(s, ChildState::Running(_))), "{after:?}");
        assert_eq!(after[0], paused[0], "the one before it went on");
    });
}

#[test]
fn a_child_that_recovered_starts_its_back_off_anew() {
    let world = World::new(1);
    let backoff = Backoff { reset_after: 10 * SECOND, ..Backoff::default() };
    let flags = Flags { backoff: Some(backoff), ..flags(Strategy::OneForOne, 100, 1) };
    world.run(async {
        let root = Supervisor::start("root", flags, vec![obedient("a")], world.env.clone()).await.unwrap();
        for run in [1, 1, 11] {
            world.sim.sleep(run * SECOND).await;
            root.reference().which_children().await.unwrap()[0].process.as_ref().unwrap().kill();
            world.turn().await;
            world.sim.sleep(Duration::from_millis(400)).await;
        }
    });
    let pauses: Vec<u128> = world
        .said()
        .into_iter()
        .filter_map(|(_, k)| if let ReportKind::Delayed { pause } = k { Some(pause.as_millis()) } else { None })
        .collect();
    assert_eq!(pauses, [100, 200, 100]);
}

#[test]
fn dropping_the_root_takes_the_whole_tree_down() {
    let world = World::new(1);
    let alive = Arc::new(());
    let held = alive.clone();
    let worker = ChildSpec::task("worker", move |cx| {
        let held = held.clone();
        async move {
            let _held = held;
            cx.stopping().await;
            ExitReason::Shutdown
        }
    });
    let inner = ChildSpec::supervisor("inner", Flags::default(), move || vec![worker.clone()]);
    world.run(async {
        let root = Supervisor::start("root", Flags::default(), vec![inner], world.env.clone()).await.unwrap();
        world.turn().await;
        let running = Arc::strong_count(&alive);
        drop(root);
        world.sim.sleep(QUIET).await;
        assert!(Arc::strong_count(&alive) < running);
    });
    assert_eq!(Arc::strong_count(&alive), 1, "no orphan");
}

#[test]
fn scale_start_stop_many_children() {
    let world = World::new(1);
    let template = obedient("dynamic").restart(Restart::Temporary);
    world.run(async {
        let simple = flags(Strategy::SimpleOneForOne, 1, 5);
        let mut root = Supervisor::start("root", simple, vec![template], world.env.clone()).await.unwrap();
        for n in 0..5_000u32 {
            root.reference().start_instance(n).await.unwrap();
        }
        assert_eq!(root.reference().count_children().await.unwrap().active, 5_000);
        root.stop(ExitReason::Shutdown);
        assert_eq!(root.ended().await, ExitReason::Shutdown);
    });
    assert!(world.said().iter().all(|(_, k)| !matches!(k, ReportKind::ShutdownFailed { .. })));
}

#[test]
fn specifications_that_contradict_themselves_are_refused_with_the_child() {
    let world = World::new(1);
    let any = Flags { auto_shutdown: AutoShutdown::AnySignificant, ..Flags::default() };
    let cases: [(Flags, Vec<ChildSpec>, SpecError); 5] = [
        (flags(Strategy::OneForOne, 1, 0), vec![], SpecError::NoPeriod),
        (Flags::default(), vec![obedient("a"), obedient("a")], SpecError::Duplicate { child: "a".into() }),
        (
            Flags::default(),
            vec![obedient("a").significant()],
            SpecError::SignificantWithoutAutoShutdown { child: "a".into() },
        ),
        (any, vec![obedient("a").significant()], SpecError::SignificantPermanent { child: "a".into() }),
        (flags(Strategy::SimpleOneForOne, 1, 5), vec![], SpecError::NotOneTemplate { count: 0 }),
    ];
    for (flags, children, expected) in cases {
        let refused = world.run(Supervisor::start("root", flags, children, world.env.clone())).err();
        assert_eq!(refused, Some(StartError::Spec(expected)));
    }
}

#[test]
fn what_a_supervisor_saw_is_kept_as_a_history() {
    let world = World::new(1);
    let (spec, _) = failing("task", 2);
    world.run(async {
        let root =
            Supervisor::start("root", flags(Strategy::OneForOne, 3, 60), vec![spec], world.env.clone()).await.unwrap();
        world.turn().await;
        let kinds: Vec<ReportKind> = root.reference().history().await.unwrap().into_iter().map(|r| r.kind).collect();
        let boom = || ReportKind::Terminated { reason: ExitReason::failed("boom") };
        let expected = [ReportKind::Started, boom(), ReportKind::Started, boom(), ReportKind::Started];
        assert_eq!(kinds, expected);
    });
}

#[test]
fn a_panic_is_a_failure_of_the_child_and_of_nobody_else() {
    let world = World::new(1);
    let child = ChildSpec::task("child", |_| async { panic!("on purpose") }).restart(Restart::Temporary);
    let start = ChildSpec::prepared("start", |_| async { panic!("at the start") });
    world.run(async {
        let root = Supervisor::start("root", Flags::default(), vec![child], world.env.clone()).await.unwrap();
        world.turn().await;
        let refused = root.reference().start_child(start).await;
        let panicked = ExitReason::Panicked("at the start".into());
        assert_eq!(refused, Err(SupervisorError::Start(StartError::Failed(panicked))));
    });
    let reason = ExitReason::Panicked("on purpose".into());
    assert!(world.said().contains(&("child".to_owned(), ReportKind::Terminated { reason })));
}
