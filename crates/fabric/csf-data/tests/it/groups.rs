//! Consumer groups in a simulated world: competing members, failures, time-outs, crashes between any two steps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{Append, EventLog, Filter, LogError, Rng, Spawn, Timer};
use csf_data::group::{Group, GroupError, GroupOptions, parked, redrive};
use csf_sim::{MemoryJournal, NextWrite, SeededRng, SimDisk, SimExecutor, SimLog};

use crate::log::event;

fn options() -> GroupOptions {
    GroupOptions { filter: Filter::category("job"), checkpoint_every: 3, ..GroupOptions::default() }
}

async fn join(world: &SimExecutor, log: &Arc<SimLog>, options: GroupOptions) -> Result<Arc<Group>, GroupError> {
    let clock = world.clone();
    let clock = Arc::new(move || Stamp(u64::try_from(clock.now().as_nanos()).unwrap_or_default()));
    Group::join(log.clone(), Arc::new(world.clone()), clock, "workers", options).await
}

fn in_a_world<T>(seed: u64, run: impl AsyncFnOnce(SimExecutor, Arc<SimLog>) -> T) -> T {
    let world = SimExecutor::new(seed);
    let log = SimLog::start(&world, Box::new(MemoryJournal::new()), seed);
    world.block_on(run(world.clone(), log)).unwrap()
}

async fn jobs(log: &SimLog, numbers: std::ops::Range<u64>) {
    for n in numbers {
        log.append(event(&format!("job-{n}"), n).into()).await.unwrap();
    }
}

#[test]
fn members_compete_and_each_event_is_done_once() {
    for seed in 0..20 {
        in_a_world(seed, async |world, log| {
            let group = join(&world, &log, options()).await.unwrap();
            let done = Arc::new(Mutex::new(BTreeMap::<u64, u32>::new()));
            for member in 0..3 {
                let (group, done, timer) = (group.clone(), done.clone(), world.clone());
                world.spawn(Box::pin(async move {
                    loop {
                        let job = group.next().await.unwrap();
                        timer.sleep(Duration::from_millis(member)).await;
                        *done.lock().unwrap().entry(job.event().position).or_default() += 1;
                        assert!(job.ack().await.unwrap());
                    }
                }));
            }
            jobs(&log, 0..40).await;
            world.sleep(Duration::from_secs(5)).await;
            let done = done.lock().unwrap();
            assert!(done.len() == 40 && done.values().all(|times| *times == 1), "seed {seed}: {done:?}");
        });
    }
}

#[test]
fn a_failed_event_comes_again_with_growing_pauses_and_is_parked_at_last() {
    in_a_world(1, async |world, log| {
        let options = GroupOptions { tries_max: 3, retry_after: Duration::from_millis(100), ..options() };
        let group = join(&world, &log, options.clone()).await.unwrap();
        jobs(&log, 0..2).await;
        let mut tries = Vec::new();
        for _ in 0..4 {
            let job = group.next().await.unwrap();
            tries.push((job.event().data.to_value()["n"].as_u64().unwrap(), job.tries(), world.now().as_millis()));
            if tries.last().unwrap().0 == 0 {
                assert!(job.nack("no luck").await.unwrap())
            } else {
                assert!(job.ack().await.unwrap())
            }
        }
        let order: Vec<_> = tries.iter().map(|(n, tries, _)| (*n, *tries)).collect();
        assert_eq!(order, [(0, 1), (1, 1), (0, 2), (0, 3)]);
        assert!(tries[2].2 - tries[0].2 >= 100 && tries[3].2 - tries[2].2 >= 200, "{tries:?}");
        let known = parked(&*log, None).await.unwrap();
        assert_eq!((known.len(), known[0].group.as_str(), known[0].reason.tries), (1, "workers", 3));
        assert_eq!((known[0].reason.position, known[0].reason.reason.as_str()), (1, "no luck"));

        // It comes back once it is told to, also over a restart.
        assert!(redrive(&*log, "workers", 1, Stamp(9), "tester").await.unwrap());
        assert!(!redrive(&*log, "workers", 2, Stamp(9), "tester").await.unwrap(), "that one was never parked");
        let job = group.next().await.unwrap();
        assert_eq!((job.event().position, job.tries()), (1, 1));
        assert!(parked(&*log, Some("workers")).await.unwrap().is_empty());
        group.checkpoint().await.unwrap();
        drop((job, group));
        let group = join(&world, &log, options).await.unwrap();
        let job = group.next().await.unwrap();
        assert_eq!(job.event().position, 1, "a redriven event that was not done comes again");
        job.park("not at all").await.unwrap();
        assert_eq!(parked(&*log, Some("workers")).await.unwrap()[0].reason.reason, "not at all");
    });
}

#[test]
fn an_event_that_nobody_settles_is_given_to_another() {
    in_a_world(2, async |world, log| {
        let group = join(&world, &log, GroupOptions { in_flight_max: 1, retry_after: Duration::ZERO, ..options() })
            .await
            .unwrap();
        jobs(&log, 0..2).await;
        let lost = group.next().await.unwrap();
        let again = group.next().await.unwrap();
        assert!(world.now() >= Duration::from_secs(30));
        assert_eq!((again.event().position, again.tries()), (lost.event().position, 2));
        assert!(!lost.ack().await.unwrap(), "too late");
        assert!(again.ack().await.unwrap());
        assert_eq!(group.next().await.unwrap().event().data.to_value()["n"], 1);
    });
}

#[test]
fn an_ordered_group_waits_for_the_event_that_failed() {
    in_a_world(5, async |world, log| {
        let group = join(&world, &log, GroupOptions { is_ordered: true, tries_max: 3, ..options() }).await.unwrap();
        jobs(&log, 0..3).await;
        let mut order = Vec::new();
        for _ in 0..5 {
            let job = group.next().await.unwrap();
            let n = job.event().data.to_value()["n"].as_u64().unwrap();
            order.push((n, job.tries()));
            if n == 1 {
                job.nack("not yet").await.unwrap()
            } else {
                job.ack().await.unwrap()
            };
        }
        assert_eq!(order, [(0, 1), (1, 1), (1, 2), (1, 3), (2, 1)]);
    });
}

#[test]
fn a_group_is_consumed_in_one_place() {
    in_a_world(3, async |world, log| {
        let first = join(&world, &log, options()).await.unwrap();
        let second = join(&world, &log, options()).await.unwrap();
        jobs(&log, 0..2).await;
        second.next().await.unwrap().ack().await.unwrap();
        second.checkpoint().await.unwrap();
        let error = first.next().await.unwrap_err();
        assert!(matches!(&error, GroupError::TakenOver { group } if group == "workers"), "{error}");
    });
}

#[test]
fn a_group_of_everything_is_not_kept_busy_by_itself() {
    in_a_world(4, async |world, log| {
        let all = GroupOptions { filter: Filter::all(), checkpoint_every: 1, ..options() };
        let group = join(&world, &log, all).await.unwrap();
        jobs(&log, 0..5).await;
        for n in 0..5 {
            let job = group.next().await.unwrap();
            assert_eq!(job.event().data.to_value()["n"], n);
            job.ack().await.unwrap();
        }
        let nothing = csf_core::port::within(&world, Duration::from_secs(60), group.next()).await;
        assert!(nothing.is_none());
    });
}

/// The process ends while it has the event in its hands, in every life.
#[test]
fn an_event_that_ends_its_process_each_time_is_parked_and_the_others_are_done() {
    const KILLER: u64 = 7;
    let disk = SimDisk::new();
    let done: Arc<Mutex<BTreeMap<u64, u32>>> = Arc::default();
    let mut deaths = 0;
    for life in 0.. {
        let world = SimExecutor::new(life);
        let log = SimLog::start(&world, Box::new(disk.open().unwrap()), life);
        let (is_dead, at_work) = (Arc::new(Mutex::new(false)), done.clone());
        let told = is_dead.clone();
        let main = async {
            if life == 0 {
                jobs(&log, 0..20).await;
            }
            let group = join(&world, &log, options()).await.unwrap();
            for _ in 0..3 {
                let (group, at_work, timer, told) = (group.clone(), at_work.clone(), world.clone(), told.clone());
                world.spawn(Box::pin(async move {
                    while let Ok(job) = group.next().await {
                        if job.event().data.to_value()["n"] == KILLER {
                            *told.lock().unwrap() = true;
                            std::future::pending::<()>().await;
                        }
                        timer.sleep(Duration::from_millis(1)).await;
                        *at_work
                            .lock()
                            .unwrap()
                            .entry(job.event().data.to_value()["n"].as_u64().unwrap())
                            .or_default() += 1;
                        job.ack().await.unwrap();
                    }
                }));
            }
            world.sleep(Duration::from_secs(2)).await;
            let aside = parked(&*log, Some("workers")).await.unwrap();
            let [one] = &aside[..] else { panic!("{aside:?}") };
            assert_eq!(one.reason.tries, options().tries_max);
            assert!(one.reason.reason.contains("process ended"), "{one:?}");
        };
        let ended = world.block_on_until(main, || *is_dead.lock().unwrap()).unwrap();
        world.drop_tasks();
        if ended.is_some() {
            break;
        }
        deaths += 1;
        assert!(deaths <= options().tries_max + 1, "it is tried for ever");
    }
    let done = done.lock().unwrap();
    assert!(deaths >= options().tries_max, "{deaths} deaths");
    assert!((0..20).filter(|n| *n != KILLER).all(|n| done.contains_key(&n)), "{done:?}");
}

/// One disk, many lives: whatever the moment of the crash, every event is done at least once, and one that was acknowledged before a
/// checkpoint never again.
#[test]
fn a_crash_between_any_two_steps_loses_no_event() {
    let mut repeats = 0;
    for seed in 0..150 {
        let disk = SimDisk::new();
        let mut rng = SeededRng::new(seed);
        let done: Arc<Mutex<BTreeMap<u64, u32>>> = Arc::default();
        let mut appended = 0;
        for life in 0..4 {
            let world = SimExecutor::new(seed * 10 + life);
            let log = SimLog::start(&world, Box::new(disk.open().unwrap()), seed * 10 + life);
            let is_last = life == 3;
            let steps = if is_last { u64::MAX } else { 20 + rng.below(600) };
            let mut left = steps;
            if !is_last && rng.next_u64().is_multiple_of(4) {
                disk.set_next(NextWrite::Torn { is_kept: rng.next_u64().is_multiple_of(2) });
            }
            let main = async {
                let options = GroupOptions {
                    retry_after: Duration::from_millis(1),
                    tries_max: 50,
                    checkpoint_every: 1,
                    ..options()
                };
                let group = match join(&world, &log, options).await {
                    Ok(group) => group,
                    Err(GroupError::Log(LogError::Journal(_))) => return,
                    Err(other) => panic!("seed {seed}: {other}"),
                };
                for member in 0..3 {
                    let (group, done, timer) = (group.clone(), done.clone(), world.clone());
                    let mut rng = rng.stream(life * 7 + member);
                    world.spawn(Box::pin(async move {
                        while let Ok(job) = group.next().await {
                            timer.sleep(Duration::from_millis(rng.below(30))).await;
                            if rng.below(5) == 0 {
                                let _ = job.nack("unlucky").await;
                                continue;
                            }
                            *done.lock().unwrap().entry(job.event().position).or_default() += 1;
                            let _ = job.ack().await;
                        }
                    }));
                }
                for n in 0..8 {
                    if log.append(Append::from(event(&format!("job-{n}"), n))).await.is_ok() {
                        appended += 1;
                    }
                }
                world.sleep(Duration::from_secs(100)).await;
            };
            let crashed = world
                .block_on_until(main, || {
                    left = left.saturating_sub(1);
                    left == 0 || disk.take_crash()
                })
                .unwrap();
            assert!(crashed.is_some() || !is_last);
            world.drop_tasks();
            drop(log);
            disk.set_next(NextWrite::Works);
            let _ = disk.take_crash();
        }
        let done = done.lock().unwrap();
        let log = SimDisk::reader(&disk).read(&csf_core::port::Read::log(Filter::category("job"))).unwrap().events;
        assert!(log.len() >= appended, "seed {seed}");
        for event in &log {
            assert!(done.contains_key(&event.position), "seed {seed}: event {} was lost", event.position);
        }
        repeats += done.values().filter(|times| **times > 1).count();
    }
    assert!(repeats > 0, "a crash that repeats nothing tests nothing");
}
