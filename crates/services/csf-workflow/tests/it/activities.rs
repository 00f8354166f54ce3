//! Activities: tries, the four time-outs, signs of life, and giving up.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::port::{Sleep, Timer};
use csf_sim::SimExecutor;
use csf_workflow::{
    Activity, ActivityContext, ActivityOptions, Failure, FailureKind, RetryPolicy, StartOptions, TimeoutKind, Workflow,
    WorkflowContext, WorkflowError,
};

use crate::{kinds, with_engine};

/// A place for the world, which the activities wait in, once there is one.
type Clock = Arc<Mutex<Option<SimExecutor>>>;

fn sleep(clock: &Clock, span: Duration) -> Sleep {
    clock.lock().unwrap().as_ref().unwrap().sleep(span)
}

fn call(options: ActivityOptions) -> Workflow {
    Workflow::new("call", move |cx: WorkflowContext, seconds: u64| {
        let options = options.clone();
        async move { cx.activity_with::<_, u32>("work", &seconds, options).await }
    })
}

/// One call under these options of an activity; the failure and its history.
fn outcome(
    options: ActivityOptions,
    work: impl Fn(Clock, ActivityContext, u64) -> Sleep + Send + Sync + 'static,
) -> (Result<u32, Failure>, Vec<&'static str>, Duration) {
    let clock: Clock = Arc::default();
    let (own, work) = (clock.clone(), Arc::new(work));
    let activity = Activity::new("work", move |cx: ActivityContext, seconds| {
        let (clock, work) = (own.clone(), work.clone());
        async move {
            let attempt = cx.attempt();
            work(clock, cx, seconds).await;
            Ok(attempt)
        }
    });
    with_engine(1, vec![call(options)], vec![activity], async |engine, world, _| {
        *clock.lock().unwrap() = Some(world.clone());
        engine.start("call", "c", &10, StartOptions::default()).await.unwrap();
        let result = match engine.result::<u32>("c").await {
            Ok(attempt) => Ok(attempt),
            Err(WorkflowError::Refused(failure)) => Err(failure),
            Err(other) => panic!("{other}"),
        };
        (result, kinds(&engine, "c").await, world.now())
    })
}

fn timed_out(result: &Result<u32, Failure>, kind: TimeoutKind) {
    assert!(matches!(result, Err(f) if f.kind == FailureKind::TimedOut(kind)), "{result:?}");
}

#[test]
fn a_try_that_takes_too_long_is_followed_by_another() {
    let options = ActivityOptions {
        start_to_close: Duration::from_secs(5),
        retry: RetryPolicy::attempts(3),
        ..ActivityOptions::default()
    };
    let (result, kinds, took) = outcome(options.clone(), |clock, cx, seconds| {
        sleep(&clock, Duration::from_secs(if cx.attempt() == 3 { 1 } else { seconds }))
    });
    assert_eq!(result, Ok(3));
    assert_eq!(
        kinds[1..],
        ["activity_scheduled", "activity_retrying", "activity_retrying", "activity_completed", "completed"]
    );
    assert!(took >= Duration::from_secs(5 + 1 + 5 + 2 + 1), "{took:?}");
    let (result, _, _) = outcome(options, |clock, _, seconds| sleep(&clock, Duration::from_secs(seconds)));
    timed_out(&result, TimeoutKind::StartToClose);
}

#[test]
fn all_tries_together_have_an_end() {
    let options = ActivityOptions {
        start_to_close: Duration::from_secs(5),
        schedule_to_close: Some(Duration::from_secs(20)),
        ..ActivityOptions::default()
    };
    let (result, _, took) = outcome(options, |clock, _, seconds| sleep(&clock, Duration::from_secs(seconds)));
    timed_out(&result, TimeoutKind::ScheduleToClose);
    assert!(took < Duration::from_secs(22), "{took:?}");
    assert!(result.unwrap_err().details.is_some(), "it says what the last try failed of");
}

#[test]
fn silence_is_a_failure_and_progress_is_kept() {
    let options = ActivityOptions {
        heartbeat: Some(Duration::from_secs(2)),
        retry: RetryPolicy::attempts(2),
        ..ActivityOptions::default()
    };
    let seen: Arc<Mutex<Vec<Option<u64>>>> = Arc::default();
    let own = seen.clone();
    let (result, _, _) = outcome(options, move |clock, cx, seconds| {
        own.lock().unwrap().push(cx.progress());
        let is_silent = cx.attempt() == 1;
        Box::pin(async move {
            for second in 0..seconds {
                sleep(&clock, Duration::from_secs(1)).await;
                if !is_silent || second < 3 {
                    cx.heartbeat(&second);
                }
            }
        })
    });
    assert_eq!(result, Ok(2));
    assert_eq!(*seen.lock().unwrap(), [None, Some(2)]);
}

#[test]
fn failures_that_no_try_mends_end_it_at_once() {
    let tries = Arc::new(AtomicU32::new(0));
    let own = tries.clone();
    let activity = Activity::new("work", move |_, name: String| {
        own.fetch_add(1, Ordering::Relaxed);
        async move {
            match name.as_str() {
                "fatal" => Err::<u32, _>(Failure::fatal("gone", "no use")),
                "listed" => Err(Failure::new("listed", "no use either")),
                "panic" => panic!("at the disco"),
                _ => Err(Failure::new("flaky", "try again")),
            }
        }
    });
    let retry = RetryPolicy { fatal: vec!["listed".into()], ..RetryPolicy::attempts(3) };
    let options = ActivityOptions { retry, ..ActivityOptions::default() };
    let call = Workflow::new("call", move |cx: WorkflowContext, name: String| {
        let options = options.clone();
        async move { cx.activity_with::<_, u32>("work", &name, options).await }
    });
    with_engine(2, vec![call], vec![activity], async |engine, _, _| {
        for (name, count) in [("fatal", 1), ("listed", 1), ("flaky", 3), ("panic", 3)] {
            tries.store(0, Ordering::Relaxed);
            engine.start("call", name, name, StartOptions::default()).await.unwrap();
            engine.result::<u32>(name).await.unwrap_err();
            assert_eq!(tries.load(Ordering::Relaxed), count, "{name}");
        }
    });
}

#[test]
fn a_worker_that_is_not_free_in_time_and_a_step_that_is_given_up() {
    let clock: Clock = Arc::default();
    let told = Arc::new(AtomicU32::new(0));
    let (own, heard) = (clock.clone(), told.clone());
    let work = Activity::new("work", move |cx: ActivityContext, _: u64| {
        let (clock, heard) = (own.clone(), heard.clone());
        async move {
            tokio::select! {
                biased;
                () = cx.cancelled() => { heard.fetch_add(1, Ordering::Relaxed); }
                () = sleep(&clock, Duration::from_secs(3600)) => {}
            }
            Ok(1u32)
        }
    });
    let race = Workflow::new("race", |cx: WorkflowContext, (): ()| async move {
        let options = ActivityOptions {
            start_to_close: Duration::from_secs(7200),
            schedule_to_start: Some(Duration::from_secs(10)),
            retry: RetryPolicy::never(),
            ..ActivityOptions::default()
        };
        let work = cx.activity_with::<_, u32>("work", &1, options);
        tokio::select! {
            biased;
            done = work => done,
            waited = cx.sleep(Duration::from_secs(60)) => waited.map(|()| 0),
        }
    });
    let executor = SimExecutor::new(3);
    *clock.lock().unwrap() = Some(executor.clone());
    let disk = csf_sim::SimDisk::new();
    let log = csf_sim::SimLog::start(&executor, Box::new(disk.open().unwrap()), 3);
    let options = csf_workflow::EngineOptions { activities_max: 1, ..csf_workflow::EngineOptions::default() };
    let test = async {
        let world = crate::world(&executor);
        let engine = csf_workflow::Engine::open(log.clone(), world, [race], [work], options).await.unwrap();
        engine.start("race", "first", &(), StartOptions::default()).await.unwrap();
        engine.start("race", "second", &(), StartOptions::default()).await.unwrap();
        let second = match engine.result::<u32>("second").await {
            Err(WorkflowError::Refused(failure)) => Err(failure),
            other => panic!("{other:?}"),
        };
        timed_out(&second, TimeoutKind::ScheduleToStart);
        assert_eq!(engine.result::<u32>("first").await.unwrap(), 0);
        let kinds = kinds(&engine, "first").await;
        assert_eq!(
            kinds[1..],
            ["activity_scheduled", "timer_started", "timer_fired", "activity_cancelled", "completed"]
        );
        engine.close();
    };
    executor.block_on(test).unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 0, "the try was dropped: nobody was left to be told");
}
