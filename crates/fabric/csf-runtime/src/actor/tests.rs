//! Actors in virtual time: what survives, what is given back, who is restarted when.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, Refused};
use csf_core::port::{Spawn, Timer};
use csf_core::{Fault, NanoTime};
use csf_sim::{SeededRng, SimExecutor};
use csf_time::SimulatedClock;

use super::*;
use crate::supervise::{ChildSpec, Env, ExitReason, Flags, ReportKind, Shutdown, Strategy, Supervisor};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

type Log = Arc<Mutex<Vec<u32>>>;
/// Failures that are still to happen, by message.
type Faults = Arc<Mutex<BTreeMap<u32, u32>>>;

#[derive(Clone)]
enum Order {
    Note(u32),
    /// Fails as often as [`Faults`] says.
    Fragile(u32),
    Panic,
    Hang,
    Work(Duration, u32),
    Forward(Address<Probe>, u32),
    Finish,
}

struct Probe {
    log: Log,
    faults: Faults,
}

impl ActorState for Probe {
    type Message = Order;
    type Reply = u32;

    async fn handle(&mut self, cx: &mut ActorContext<'_, Self>, message: &Order) -> Result<u32, Fault> {
        let note = match message {
            Order::Note(note) => *note,
            Order::Fragile(note) => {
                let mut faults = self.faults.lock().unwrap();
                let left = faults.entry(*note).or_default();
                if *left > 0 {
                    *left -= 1;
                    return Err(Fault::Failed(format!("{note} failed")));
                }
                *note
            }
            Order::Panic => panic!("on purpose"),
            Order::Hang => pending().await,
            Order::Work(span, note) => {
                cx.process().env().timer().sleep(*span).await;
                *note
            }
            Order::Forward(to, note) => {
                cx.tell(to, Order::Note(*note)).await.map_err(|e| Fault::Failed(e.to_string()))?;
                0
            }
            Order::Finish => {
                cx.finish();
                0
            }
        };
        self.log.lock().unwrap().push(note);
        Ok(note)
    }
}

struct World {
    sim: SimExecutor,
    env: Env,
    system: ActorSystem,
    bus: PhaseCoherenceBus,
    log: Log,
    faults: Faults,
    ends: Arc<Mutex<Vec<ReportKind>>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let sim = SimExecutor::new(seed);
        let ends = Arc::<Mutex<Vec<ReportKind>>>::default();
        let heard = ends.clone();
        let env = Env::new(Arc::new(sim.clone()), Arc::new(sim.clone()), SeededRng::new(seed)).observed_by(move |r| {
            if r.kind != ReportKind::Started {
                heard.lock().unwrap().push(r.kind.clone());
            }
        });
        let bus = PhaseCoherenceBus::new(BusConfig::new(SimulatedClock::starting_at(NanoTime::from_nanos(1))));
        let system = ActorSystem::new(bus.clone(), &env);
        Self { sim, env, system, bus, log: Log::default(), faults: Faults::default(), ends }
    }

    fn run<T>(&self, main: impl Future<Output = T>) -> T {
        self.sim.block_on(main).unwrap()
    }

    fn probe(&self, id: &str) -> SupervisedActor<Probe> {
        self.probe_in(&self.system, id)
    }

    fn probe_in(&self, system: &ActorSystem, id: &str) -> SupervisedActor<Probe> {
        let (log, faults) = (self.log.clone(), self.faults.clone());
        system.actor(id, move || Probe { log: log.clone(), faults: faults.clone() })
    }

    async fn start(&self, children: Vec<ChildSpec>) -> Supervisor {
        let flags = Flags { intensity: 1_000, ..Flags::default() };
        Supervisor::start("root", flags, children, self.env.clone()).await.unwrap()
    }

    /// Lets everything happen that is ready.
    async fn turn(&self) {
        self.sim.sleep(Duration::from_nanos(1)).await;
    }

    fn noted(&self) -> Vec<u32> {
        self.log.lock().unwrap().clone()
    }
}

fn small(mailbox_size: usize) -> Limits {
    Limits { mailbox_size, message_timeout: None, attempts: 3 }
}

#[test]
fn asks_are_answered_and_tells_come_in_order() {
    let world = World::new(1);
    world.run(async {
        let (address, spec) = world.probe("a").build().unwrap();
        // Before anybody runs: the mailbox is there.
        address.tell(Order::Note(1)).await.unwrap();
        let _root = world.start(vec![spec]).await;
        address.tell(Order::Note(2)).await.unwrap();
        assert_eq!(address.clone().ask(Order::Note(3), SECOND).await, Ok(3));
        assert_eq!(world.noted(), [1, 2, 3]);
        assert_eq!((address.stats().handled, address.stats().starts), (3, 1));
    });
}

#[test]
fn what_was_accepted_survives_a_crash_and_the_failed_message_comes_first() {
    let world = World::new(2);
    world.faults.lock().unwrap().insert(1, 2);
    world.run(async {
        let (address, spec) = world.probe("a").build().unwrap();
        for order in [Order::Note(0), Order::Fragile(1), Order::Note(2)] {
            address.tell(order).await.unwrap();
        }
        let _root = world.start(vec![spec]).await;
        assert_eq!(address.ask(Order::Note(3), SECOND).await, Ok(3));
        assert_eq!(world.noted(), [0, 1, 2, 3]);
        let stats = address.stats();
        assert_eq!((stats.starts, stats.failed, stats.dead), (3, 2, 0));
    });
}

#[test]
fn a_message_that_fails_too_often_is_a_dead_letter_and_its_ask_says_why() {
    for (order, reason) in [(Order::Fragile(1), "1 failed"), (Order::Panic, "its handler panicked or was killed")] {
        let world = World::new(3);
        world.faults.lock().unwrap().insert(1, u32::MAX);
        world.run(async {
            let (address, spec) = world.probe("a").build().unwrap();
            let _root = world.start(vec![spec]).await;
            let refused = address.ask(order, SECOND).await;
            assert_eq!(refused, Err(AskError::Failed { attempts: 3, reason: reason.into() }));
            assert_eq!(address.ask(Order::Note(2), SECOND).await, Ok(2), "the next message is not its victim");
            let dead = address.dead_letters();
            assert_eq!((dead.len(), dead[0].attempts, &*dead[0].reason), (1, 3, reason));
            assert_eq!(address.stats().dead, 1);
        });
    }
}

#[test]
fn a_full_mailbox_refuses_and_makes_tell_wait() {
    let world = World::new(4);
    world.run(async {
        let (address, spec) = world.probe("a").limits(small(2)).build().unwrap();
        let _root = world.start(vec![spec]).await;
        address.tell(Order::Work(SECOND, 1)).await.unwrap();
        world.turn().await;
        address.try_tell(Order::Note(2)).unwrap();
        let Err(Refused::Full(Order::Note(3))) = address.try_tell(Order::Note(3)) else { panic!("no room was left") };
        let before = world.sim.now();
        address.tell(Order::Note(3)).await.unwrap();
        assert!(world.sim.now() - before >= SECOND / 2, "it waited for the actor");
        assert_eq!(address.ask(Order::Note(4), SECOND).await, Ok(4));
        assert_eq!(world.noted(), [1, 2, 3, 4]);
    });
}

#[test]
fn an_ask_that_takes_too_long_ends_and_its_answer_is_late() {
    let world = World::new(5);
    world.run(async {
        let (address, spec) = world.probe("a").build().unwrap();
        let _root = world.start(vec![spec]).await;
        let asked = world.sim.now();
        assert_eq!(address.ask(Order::Work(3 * SECOND, 1), SECOND).await, Err(AskError::TimedOut(SECOND)));
        assert_eq!(world.sim.now() - asked, SECOND);
        assert_eq!(address.stats().late_answers, 0);
        world.sim.sleep(5 * SECOND).await;
        assert_eq!((address.stats().late_answers, address.stats().handled), (1, 1));
    });
}

#[test]
fn a_message_that_takes_longer_than_its_timeout_has_failed() {
    let world = World::new(6);
    world.run(async {
        let limits = Limits { message_timeout: Some(SECOND), attempts: 2, ..Limits::default() };
        let (address, spec) = world.probe("a").limits(limits).build().unwrap();
        let _root = world.start(vec![spec]).await;
        let asked = world.sim.now();
        let Err(AskError::Failed { attempts: 2, reason }) = address.ask(Order::Hang, HOUR).await else {
            panic!("it was handled")
        };
        assert!(reason.contains("message timeout, 1s"), "{reason}");
        assert_eq!(world.sim.now() - asked, 2 * SECOND);
    });
}

/// FRM-016: heartbeats every 5 s; killed after the configured number of missed ones, and restarted.
#[test]
fn a_silent_actor_is_restarted_after_its_missed_heartbeats_and_a_live_one_is_not() {
    let world = World::new(7);
    world.run(async {
        let (watch, watch_spec) = SupervisorActor::build(&world.system, "watch", SECOND).unwrap();
        let system = world.system.clone().watched_by(watch.clone());
        let limits = Limits { attempts: 1, ..small(16) };
        let heartbeat = Heartbeat { every: 5 * SECOND, missed_max: 2 };
        let (silent, first) = world.probe_in(&system, "a").limits(limits).heartbeat(Some(heartbeat)).build().unwrap();
        let (idle, second) = world.probe_in(&system, "b").heartbeat(Some(heartbeat)).build().unwrap();
        let _root = world.start(vec![watch_spec, first, second]).await;
        world.sim.sleep(60 * SECOND).await;
        assert_eq!((silent.stats().starts, idle.stats().starts), (1, 1), "both beat");
        assert_eq!(watch.ask(SupervisorMessage::List, SECOND).await.unwrap().len(), 2);
        // It beat at 60 s last.
        silent.tell(Order::Hang).await.unwrap();
        world.sim.sleep(14 * SECOND).await;
        assert_eq!(silent.stats().starts, 1, "two heartbeats are not missed yet");
        world.sim.sleep(3 * SECOND).await;
        assert_eq!((silent.stats().starts, idle.stats().starts), (2, 1));
        assert_eq!(silent.ask(Order::Note(1), SECOND).await, Ok(1));
        assert_eq!(silent.dead_letters().len(), 1, "what it hung in");
        let killed = ReportKind::Terminated { reason: ExitReason::Killed };
        assert_eq!(*world.ends.lock().unwrap(), [killed]);
    });
}

#[test]
fn who_stopped_in_an_orderly_way_is_not_watched_any_more() {
    let world = World::new(8);
    world.run(async {
        let (watch, watch_spec) = SupervisorActor::build(&world.system, "watch", SECOND).unwrap();
        let (_, spec) = world.probe_in(&world.system.clone().watched_by(watch.clone()), "a").build().unwrap();
        let root = world.start(vec![watch_spec, spec]).await;
        world.turn().await;
        assert_eq!(&*watch.ask(SupervisorMessage::List, SECOND).await.unwrap()[0].0, "a");
        root.reference().terminate_child("a").await.unwrap();
        assert!(watch.ask(SupervisorMessage::List, SECOND).await.unwrap().is_empty());
    });
}

#[test]
fn a_stop_handles_what_was_accepted_and_takes_nothing_more() {
    let world = World::new(9);
    world.run(async {
        let (address, spec) = world.probe("a").build().unwrap();
        let mut root = world.start(vec![spec]).await;
        for note in 0..300 {
            address.tell(Order::Work(Duration::from_millis(1), note)).await.unwrap();
        }
        root.stop(ExitReason::Shutdown);
        // It is seen between two batches, of 128 messages at most.
        world.sim.sleep(Duration::from_millis(200)).await;
        let Err(Refused::Closed(Order::Note(7))) = address.tell(Order::Note(7)).await else { panic!("it is stopping") };
        assert_eq!(root.ended().await, ExitReason::Shutdown);
        assert_eq!(world.noted(), (0..300).collect::<Vec<_>>());
        assert_eq!(address.ask(Order::Note(1), SECOND).await, Err(AskError::Closed));
        assert!(world.ends.lock().unwrap().is_empty(), "an orderly end");
    });
}

#[test]
fn a_stop_that_takes_too_long_is_cut_off_and_open_asks_end() {
    let world = World::new(10);
    world.run(async {
        let (address, spec) = world.probe("a").limits(small(16)).build().unwrap();
        let mut root = world.start(vec![spec.shutdown(Shutdown::Within(SECOND))]).await;
        address.tell(Order::Hang).await.unwrap();
        let asking = address.clone();
        let outcome = Arc::new(Mutex::new(None));
        let told = outcome.clone();
        world.sim.spawn(Box::pin(async move {
            let answer = asking.ask(Order::Note(1), HOUR).await;
            *told.lock().unwrap() = Some(answer);
        }));
        world.turn().await;
        root.stop(ExitReason::Shutdown);
        root.ended().await;
        drop(root);
        world.turn().await;
        assert_eq!(*outcome.lock().unwrap(), Some(Err(AskError::Ended)));
        assert_eq!((address.stats().unhandled, address.stats().handled), (2, 0));
        let Err(Refused::Closed(_)) = address.try_tell(Order::Note(2)) else { panic!("nobody will start it again") };
    });
}

#[test]
fn a_mailbox_that_is_dropped_over_a_restart_ends_its_asks() {
    let world = World::new(11);
    world.faults.lock().unwrap().insert(1, 1);
    world.run(async {
        let (address, spec) = world.probe("a").on_restart(MailboxOnRestart::Drop).build().unwrap();
        address.tell(Order::Fragile(1)).await.unwrap();
        address.tell(Order::Note(2)).await.unwrap();
        let _root = world.start(vec![spec]).await;
        world.turn().await;
        assert_eq!((world.noted(), address.stats().unhandled), (Vec::new(), 2));
        assert_eq!(address.ask(Order::Note(3), SECOND).await, Ok(3));
    });
}

#[test]
fn an_actor_that_finishes_is_started_again_with_what_is_left() {
    let world = World::new(12);
    world.run(async {
        let (address, spec) = world.probe("a").build().unwrap();
        address.tell(Order::Finish).await.unwrap();
        address.tell(Order::Note(1)).await.unwrap();
        let _root = world.start(vec![spec]).await;
        assert_eq!(address.ask(Order::Note(2), SECOND).await, Ok(2));
        assert_eq!((world.noted(), address.stats().starts), (vec![0, 1, 2], 2));
    });
}

#[test]
fn packets_between_actors_have_causes_and_can_be_read_along() {
    let world = World::new(13);
    world.run(async {
        let (a, first) = world.probe("a").build().unwrap();
        let (b, second) = world.probe("b").build().unwrap();
        let (mut at_a, mut at_b) = (a.tap(Interest::new()), b.own_lane("a").unwrap().tap(Interest::new()));
        let _root = world.start(vec![first, second]).await;
        let id = a.tell(Order::Forward(b.clone(), 7)).await.unwrap();
        world.turn().await;
        let cause = at_a.poll(|header, letter| (*header, letter.is_ask())).unwrap();
        assert_eq!((cause.0.id, cause.1), (id, false));
        let effect = at_b.poll(|header, letter| (*header, matches!(letter.message(), Order::Note(7)))).unwrap();
        assert!(effect.1 && effect.0.cause == Some(id) && effect.0.stamp > cause.0.stamp);
        assert!(world.bus.has_published(effect.0.id));
    });
}

#[test]
fn members_of_a_group_have_mailboxes_of_their_own_that_survive_their_crashes() {
    let world = World::new(14);
    world.faults.lock().unwrap().insert(1, 1);
    world.run(async {
        let group = world.probe("member").limits(small(8)).group();
        let flags = Flags { strategy: Strategy::SimpleOneForOne, intensity: 9, ..Flags::default() };
        let root = Supervisor::start("group", flags, vec![group.template()], world.env.clone()).await.unwrap();
        let one = group.start(root.reference()).await.unwrap();
        let two = group.start(root.reference()).await.unwrap();
        one.tell(Order::Fragile(1)).await.unwrap();
        assert_eq!((one.ask(Order::Note(2), SECOND).await, two.ask(Order::Note(3), SECOND).await), (Ok(2), Ok(3)));
        assert_eq!((one.stats().starts, two.stats().starts), (2, 1));
        assert!(root.reference().start_instance(7u32).await.is_err(), "a member needs its mailbox");
    });
}

#[test]
fn members_that_come_and_go_use_few_lanes() {
    let world = World::new(15);
    world.run(async {
        let group = world.probe("member").limits(small(2)).group();
        let flags = Flags { strategy: Strategy::SimpleOneForOne, ..Flags::default() };
        let template = group.template().restart(crate::supervise::Restart::Temporary);
        let root = Supervisor::start("group", flags, vec![template], world.env.clone()).await.unwrap();
        for note in 0..1_000 {
            let member = group.start(root.reference()).await.unwrap();
            member.tell(Order::Note(note)).await.unwrap();
            member.ask(Order::Finish, SECOND).await.unwrap();
            world.turn().await;
            assert!(!member.is_open(), "it will not be started again");
        }
        assert_eq!(world.bus.topic("actor.member").unwrap().lanes().len(), 1);
        assert_eq!(world.noted().len(), 2_000);
    });
}

/// Conservation: every message that a sender was told is accepted is handled exactly once or is a dead letter, whatever crashes when.
#[test]
fn nothing_accepted_is_lost_or_handled_twice_whatever_crashes() {
    for seed in 0..60 {
        let world = World::new(seed);
        let mut rng = SeededRng::new(seed ^ 0xA5A5);
        let fragile: Vec<u32> = (0..30).map(|_| rng.below(90) as u32).collect();
        for note in &fragile {
            world.faults.lock().unwrap().insert(*note, 1 + rng.below(4) as u32);
        }
        let faults = world.faults.lock().unwrap().clone();
        world.run(async {
            let (address, spec) = world.probe("a").limits(small(4)).build().unwrap();
            let _root = world.start(vec![spec]).await;
            for sender in 0..3 {
                let own = if sender == 0 { address.clone() } else { address.own_lane("sender").unwrap() };
                world.sim.spawn(Box::pin(async move {
                    for note in 0..30 {
                        own.tell(Order::Fragile(sender * 30 + note)).await.map_err(drop).unwrap();
                    }
                }));
            }
            world.sim.sleep(SECOND).await;
            let mut seen = world.noted();
            for lane in 0..3 {
                let of_lane: Vec<u32> = seen.iter().copied().filter(|note| note / 30 == lane).collect();
                assert!(of_lane.is_sorted(), "seed {seed}: out of order: {of_lane:?}");
            }
            seen.sort_unstable();
            let expected: Vec<u32> = (0..90).filter(|note| faults.get(note).is_none_or(|times| *times < 3)).collect();
            assert_eq!(seen, expected, "seed {seed}");
            let mut dead: Vec<u64> = address.dead_letters().iter().map(|letter| u64::from(letter.attempts)).collect();
            dead.dedup();
            assert_eq!(address.stats().dead as usize, 90 - expected.len(), "seed {seed}");
            assert!(dead.iter().all(|attempts| *attempts == 3), "seed {seed}");
        });
    }
}
