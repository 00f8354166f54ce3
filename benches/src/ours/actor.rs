//! Our actors and supervisors: `csf_runtime::actor` and `csf_runtime::supervise` on tokio.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use csf_bus::{BusConfig, PhaseCoherenceBus};
use csf_core::Fault;
use csf_runtime::TokioWorld;
use csf_runtime::actor::{ActorContext, ActorState, ActorSystem, Limits};
use csf_runtime::supervise::{ChildSpec, Env, ExitReason, Flags, Restart, Strategy, Supervisor};
use csf_sim::SeededRng;
use tokio::sync::oneshot;

use crate::clock::ticks;
use crate::load::{Missing, Samples, on_workers, rate};
use crate::stats::Figures;

/// Far longer than any ask takes.
const LIMIT: Duration = Duration::from_secs(5);

struct Counter {
    sum: u64,
    count: u64,
    end: Arc<End>,
}

/// Says when the last message was handled.
struct End {
    at: u64,
    told: std::sync::Mutex<Option<oneshot::Sender<u64>>>,
}

impl ActorState for Counter {
    type Message = u64;
    type Reply = u64;

    async fn handle(&mut self, _cx: &mut ActorContext<'_, Self>, message: &u64) -> Result<u64, Fault> {
        self.sum = self.sum.wrapping_add(*message);
        self.count += 1;
        if self.count == self.end.at
            && let Ok(mut told) = self.end.told.lock()
            && let Some(told) = told.take()
        {
            let _ = told.send(self.sum);
        }
        Ok(self.sum)
    }
}

fn world() -> (Env, ActorSystem) {
    let world = Arc::new(TokioWorld::current());
    let env = Env::new(world.clone(), world, SeededRng::new(1));
    let system = ActorSystem::new(PhaseCoherenceBus::new(BusConfig::default()), &env);
    (env, system)
}

fn missing(error: impl std::fmt::Display) -> Missing {
    Missing(error.to_string())
}

fn counter(system: &ActorSystem, at: u64) -> (csf_runtime::actor::SupervisedActor<Counter>, oneshot::Receiver<u64>) {
    let (told, heard) = oneshot::channel();
    let end = Arc::new(End { at, told: std::sync::Mutex::new(Some(told)) });
    (system.actor("counter", move || Counter { sum: 0, count: 0, end: end.clone() }), heard)
}

/// Whether senders have lanes of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// One for all clones of the address.
    Shared,
    /// One for each sender.
    Own,
}

/// Messages per second into one actor, mailbox of 1,024.
pub fn tell(senders: u64, lanes: Lanes, count: u64) -> Result<Figures, Missing> {
    on_workers(2, async move {
        let (env, system) = world();
        let each = count / senders;
        let (actor, heard) = counter(&system, each * senders);
        let (address, spec) = actor.build().map_err(missing)?;
        let _root = Supervisor::start("root", Flags::default(), vec![spec], env).await.map_err(missing)?;
        let from = ticks();
        for sender in 0..senders {
            let address = match lanes {
                Lanes::Shared => address.clone(),
                Lanes::Own => address.own_lane(&format!("sender {sender}")).map_err(missing)?,
            };
            tokio::spawn(async move {
                for number in 0..each {
                    address.tell(number).await.expect("the actor lives");
                }
            });
        }
        let sum = heard.await.map_err(missing)?;
        assert_eq!(sum, senders * (each * (each - 1) / 2), "a message was lost, doubled or torn");
        Ok(rate(each * senders, from))
    })
}

/// Asks, one after the other, on one worker.
pub fn ask(count: u64) -> Result<Figures, Missing> {
    on_workers(1, async move {
        let (env, system) = world();
        let (address, spec) = counter(&system, u64::MAX).0.build().map_err(missing)?;
        let _root = Supervisor::start("root", Flags::default(), vec![spec], env).await.map_err(missing)?;
        let mut samples = Samples::of(count);
        for number in 0..samples.total() {
            let from = ticks();
            address.ask(number, LIMIT).await.map_err(missing)?;
            samples.add(number, ticks() - from);
        }
        Ok(samples.latency())
    })
}

fn dynamic() -> Flags {
    Flags { strategy: Strategy::SimpleOneForOne, ..Flags::default() }
}

/// Children of a `simple_one_for_one` supervisor, each start answered before the next: processes without a mailbox.
pub fn start_processes(count: u64) -> Result<Figures, Missing> {
    on_workers(1, async move {
        let (env, _) = world();
        let template = ChildSpec::task("child", |_| std::future::pending::<ExitReason>()).restart(Restart::Temporary);
        let root = Supervisor::start("root", dynamic(), vec![template], env).await.map_err(missing)?;
        let from = ticks();
        for _ in 0..count {
            root.reference().start_instance(()).await.map_err(missing)?;
        }
        Ok(rate(count, from))
    })
}

/// Actors with their mailboxes, each start answered before the next.
pub fn start_actors(count: u64) -> Result<Figures, Missing> {
    on_workers(1, async move {
        let (env, system) = world();
        let limits = Limits { mailbox_size: 64, ..Limits::default() };
        let group = counter(&system, u64::MAX).0.limits(limits).group();
        let template = group.template().restart(Restart::Temporary);
        let root = Supervisor::start("root", dynamic(), vec![template], env).await.map_err(missing)?;
        let (mut actors, from) = (Vec::with_capacity(count as usize), ticks());
        for _ in 0..count {
            actors.push(group.start(root.reference()).await.map_err(missing)?);
        }
        Ok(rate(count, from))
    })
}

/// Crashes when it is told to; each instance tells itself that it is new.
struct Fragile {
    crashed_at: Arc<AtomicU64>,
    handled: tokio::sync::mpsc::UnboundedSender<u64>,
}

#[derive(Clone)]
enum Order {
    Crash,
    First,
}

impl ActorState for Fragile {
    type Message = Order;
    type Reply = ();

    async fn on_start(&mut self, cx: &mut ActorContext<'_, Self>) -> Result<(), Fault> {
        cx.try_tell(cx.address(), Order::First).map(drop).map_err(|e| Fault::Failed(e.to_string()))
    }

    async fn handle(&mut self, _cx: &mut ActorContext<'_, Self>, message: &Order) -> Result<(), Fault> {
        match message {
            Order::Crash => {
                self.crashed_at.store(ticks(), Ordering::Relaxed);
                Err(Fault::Failed("told to".to_owned()))
            }
            Order::First => {
                let _ = self.handled.send(ticks());
                Ok(())
            }
        }
    }
}

/// From the crash to the new instance handling its first message, no back-off.
pub fn restart(count: u64) -> Result<Figures, Missing> {
    on_workers(1, async move {
        let (env, system) = world();
        let (handled, mut first) = tokio::sync::mpsc::unbounded_channel();
        let crashed_at = Arc::<AtomicU64>::default();
        let at = crashed_at.clone();
        let make = move || Fragile { crashed_at: at.clone(), handled: handled.clone() };
        let limits = Limits { attempts: 1, ..Limits::default() };
        let (address, spec) = system.actor("fragile", make).limits(limits).build().map_err(missing)?;
        let flags = Flags { intensity: u32::MAX, period_s: 1, ..Flags::default() };
        let _root = Supervisor::start("root", flags, vec![spec], env).await.map_err(missing)?;
        first.recv().await;
        let mut samples = Samples::of(count);
        for number in 0..samples.total() {
            address.tell(Order::Crash).await.map_err(missing)?;
            let handled_at = first.recv().await.ok_or_else(|| Missing("the actor is gone".to_owned()))?;
            samples.add(number, handled_at - crashed_at.load(Ordering::Relaxed));
        }
        Ok(samples.latency())
    })
}
